//! Parquet files, engines over them, and statements.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::Stores;
use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use executor::{Config, Engines, Error, Executor, ExecutorConfig, Mode};
use futures::TryStreamExt;
use tempfile::TempDir;
use tokio::sync::watch;
use url::Url;

/// Spreads every scan, however small.
pub(crate) fn config(mode: Mode) -> Config {
    Config {
        mode,
        target_partitions: Some(2),
        scan_bytes_per_partition: 1,
        broadcast_bytes_max: 1 << 20,
        memory_bytes_max: Some(1 << 30),
        lost_after: Duration::from_secs(2),
        executors_wait: Duration::from_secs(3),
        grace: Duration::from_millis(500),
        ..Config::default()
    }
}

pub(crate) fn executor_config() -> ExecutorConfig {
    ExecutorConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        memory_bytes_max: Some(1 << 30),
        grace: Duration::from_millis(500),
        ..ExecutorConfig::default()
    }
}

/// No names of types beyond DataFusion's.
#[derive(Debug)]
pub(crate) struct NoTypes;

impl TypePlanner for NoTypes {}

/// A folder with `fact` (4 files of 30,000 rows), `dimension` (2 files of 50 rows) and `single` (1 file of 30,000).
pub(crate) async fn tables() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..4 {
        let (from, to) = (file * 30_000, (file + 1) * 30_000);
        let fact = format!(
            "SELECT value AS id, value % 100 AS grp, value * 1.5 AS amount, \
             '2024-01-0' || (value % 9 + 1) || ' 10:00:00' AS at FROM range({from}, {to})"
        );
        write(&fact, &folder.path().join(format!("fact/{file}.parquet"))).await;
        if file < 2 {
            let (from, to) = (file * 50, (file + 1) * 50);
            let dimension = format!("SELECT value AS grp, 'group ' || value AS name FROM range({from}, {to})");
            write(&dimension, &folder.path().join(format!("dimension/{file}.parquet"))).await;
        }
    }
    write(
        "SELECT value AS id, value % 7 AS grp FROM range(0, 30000)",
        &folder.path().join("single/0.parquet"),
    )
    .await;
    folder
}

async fn write(query: &str, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let copy = format!("COPY ({query}) TO '{}' STORED AS PARQUET", path.display());
    SessionContext::new().sql(&copy).await.unwrap().collect().await.unwrap();
}

pub(crate) async fn engines(config: &Config) -> Engines {
    Engines::start(config, Stores::new(&[]).unwrap()).await.unwrap()
}

/// A session over the tables of `folder`.
pub(crate) async fn session(engines: &Engines, config: SessionConfig, folder: &TempDir) -> SessionContext {
    let state = engines
        .session_state(config, Arc::new(MemoryCatalogProviderList::new()), Arc::new(NoTypes))
        .unwrap();
    let session = SessionContext::new_with_state(state);
    for table in ["fact", "dimension", "single"] {
        let files = format!("{}/{table}/", folder.path().display());
        session
            .register_parquet(table, &files, ParquetReadOptions::default())
            .await
            .unwrap();
    }
    session
}

/// Begins a statement.
pub(crate) async fn start(
    engines: &Engines,
    session: &SessionContext,
    sql: &str,
) -> Result<SendableRecordBatchStream, Error> {
    let state = session.state();
    let plan = state.create_logical_plan(sql).await?;
    Ok(engines.execute(&state, plan).await?.stream)
}

/// All rows of a statement.
pub(crate) async fn run(
    engines: &Engines,
    session: &SessionContext,
    sql: &str,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    start(engines, session, sql).await?.try_collect().await
}

/// All rows of a statement as a table of text.
pub(crate) async fn text(engines: &Engines, session: &SessionContext, sql: &str) -> String {
    pretty_format_batches(&run(engines, session, sql).await.unwrap())
        .unwrap()
        .to_string()
}

/// This crate's error in what a statement failed with.
pub(crate) fn ours(error: &DataFusionError) -> &Error {
    match error.find_root() {
        DataFusionError::External(inner) => inner.downcast_ref().unwrap_or_else(|| panic!("not ours: {error}")),
        _ => panic!("not ours: {error}"),
    }
}

/// An executor in its own runtime, as near to an own process as threads come.
pub(crate) struct Process {
    pub(crate) address: Url,
    runtime: Option<tokio::runtime::Runtime>,
    draining: watch::Sender<bool>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Process {
    pub(crate) fn start(config: ExecutorConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (bound, address) = std::sync::mpsc::channel();
        let (report, ended) = std::sync::mpsc::channel();
        let (draining, told) = watch::channel(false);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let task = async move {
            let executor = Executor::bind(&config, Stores::new(&[]).unwrap()).await.unwrap();
            bound.send(executor.local_addr()).unwrap();
            executor.serve(told).await.unwrap();
            drop(report);
        };
        drop(runtime.handle().spawn(task));
        let address = Url::parse(&format!("{scheme}://{}", address.recv().unwrap())).unwrap();
        Self {
            address,
            runtime: Some(runtime),
            draining,
            ended,
        }
    }

    /// Ends as a crash does: without a word.
    pub(crate) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }

    /// Ends as on SIGTERM.
    pub(crate) fn stop(&self) {
        self.draining.send_replace(true);
    }

    /// Takes it back, as on SIGUSR1.
    pub(crate) fn go_on(&self) {
        self.draining.send_replace(false);
    }

    /// True where it ended within `wait`.
    pub(crate) fn has_ended(&self, wait: Duration) -> bool {
        self.ended.recv_timeout(wait) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn listed(processes: &[Process]) -> Mode {
    Mode::Static {
        addresses: processes.iter().map(|process| process.address.clone()).collect(),
    }
}

/// A table of one row, 1, that comes after `delay`.
pub(crate) fn slow(delay: Duration) -> Arc<StreamingTable> {
    let schema = Arc::new(Schema::new(vec![Field::new("one", DataType::Int64, false)]));
    let rows = Slow(Arc::clone(&schema), delay);
    Arc::new(StreamingTable::try_new(schema, vec![Arc::new(rows)]).unwrap())
}

#[derive(Debug)]
struct Slow(SchemaRef, Duration);

impl PartitionStream for Slow {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, delay) = (Arc::clone(&self.0), self.1);
        let row = async move {
            tokio::time::sleep(delay).await;
            Ok(RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1]))])?)
        };
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.0),
            futures::stream::once(row),
        ))
    }
}
