//! A logical plan in, record batches out: which engine runs a plan, and the sessions plans are made in.
//!
//! An engine is chosen by [`Config`]; nothing above knows which. Table snapshots are pinned in the plan, so running it
//! twice reads the same data.

mod local;
mod progress;
mod streaming;
mod yielding;

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use async_trait::async_trait;
use catalog::Stores;
use catalog::write::plan::LakePlanner;
use datafusion::catalog::CatalogProviderList;
use datafusion::config::ConfigNonZeroUsize;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::prelude::SessionConfig;

use crate::cluster::Cluster;
use crate::config::{Config, Mode};
use crate::error::Result;
use crate::process::memory;

use local::LocalEngine;
use streaming::StreamingEngine;
use yielding::Yielding;

pub use progress::Progress;
pub(crate) use streaming::task_routes;

/// One way to run plans.
#[async_trait]
trait Engine: Send + Sync {
    /// The session `base` describes, made fit for this engine's [`Engine::execute`].
    fn session_state(&self, base: SessionStateBuilder) -> Result<SessionState>;

    /// Optimises and runs `plan`. Dropping the stream ends its work everywhere.
    async fn execute(&self, state: &SessionState, plan: &LogicalPlan) -> Result<Execution>;
}

/// A plan that runs.
pub struct Execution {
    /// Its rows. Dropping it ends the work everywhere.
    pub stream: SendableRecordBatchStream,
    /// How far it is.
    pub progress: Progress,
}

/// The engines of one process, with the memory and the executors they use.
pub struct Engines {
    engine: Box<dyn Engine>,
    runtime: Arc<RuntimeEnv>,
    target_partitions: usize,
    cluster: Option<Arc<Cluster>>,
}

impl Engines {
    /// Starts what `config` asks for; reads data files through `stores`. Executors elsewhere are not contacted before a
    /// plan needs them.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config), [`Error::Spill`](crate::Error::Spill), or
    /// [`Error::Listen`](crate::Error::Listen) for executors inside this process.
    pub async fn start(config: &Config, stores: Arc<Stores>) -> Result<Self> {
        config.validate()?;
        let runtime = memory::runtime_env(&config.memory(), stores)?;
        let cluster = Cluster::start(config, &runtime).await?.map(Arc::new);
        let engine: Box<dyn Engine> = match &cluster {
            None => Box::new(LocalEngine),
            Some(cluster) => Box::new(StreamingEngine::new(
                Arc::clone(cluster),
                config.scan_bytes_per_partition,
            )),
        };
        Ok(Self {
            engine,
            runtime,
            target_partitions: target_partitions(config),
            cluster,
        })
    }

    /// The session for the statements of one client: `config` as the client set it, names of tables from `catalogs`,
    /// names of types that DataFusion lacks from `types`, everything else from this process. The number of partitions is
    /// that of an executor, whatever `config` says.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) where `config` contradicts the engine.
    pub fn session_state(
        &self,
        mut config: SessionConfig,
        catalogs: Arc<dyn CatalogProviderList>,
        types: Arc<dyn TypePlanner>,
    ) -> Result<SessionState> {
        let options = &mut config.options_mut().execution;
        options.target_partitions = self.target_partitions;
        // One file per spilled batch: two open files of one output can wait for each other without end
        // (apache/datafusion#24883).
        options.max_spill_file_size_bytes = ConfigNonZeroUsize::try_new(1)?;
        let base = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_query_planner(Arc::new(LakePlanner))
            .with_physical_optimizer_rule(Arc::new(Yielding))
            .with_catalog_list(catalogs)
            .with_type_planner(types);
        self.engine.session_state(base)
    }

    /// Runs `plan` in a session made by [`Engines::session_state`]. Dropping the stream ends its work everywhere.
    ///
    /// Errors in the stream that concern executors carry [`Error`](crate::Error) as `DataFusionError::External`.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) where the plan cannot be optimised or started.
    pub async fn execute(&self, state: &SessionState, plan: LogicalPlan) -> Result<Execution> {
        self.engine.execute(state, &plan).await
    }

    /// Ends the executors inside this process, once their queries ended or the grace period is over.
    pub async fn shutdown(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.shutdown().await;
        }
    }
}

fn target_partitions(config: &Config) -> usize {
    let machine = available_parallelism().map_or(1, NonZero::get);
    let default = match config.mode {
        Mode::Embedded => machine,
        // A scan of one partition stays in one task.
        Mode::InProcess { .. } | Mode::Static { .. } => machine.max(2),
    };
    config.target_partitions.unwrap_or(default)
}
