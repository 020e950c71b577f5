//! Executors that are not there, do not answer, or go away; plans that cannot travel; rows nobody wants any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionConfig;
use executor::{Config, Error, ExecutorConfig, Mode};
use futures::StreamExt;
use proto::ErrorKind;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::{Service, ServiceExt};
use url::Url;

use crate::support::{Process, config, engines, executor_config, listed, ours, run, session, start, tables, text};

const AGGREGATE: &str = "SELECT grp, count(*) AS n FROM fact GROUP BY grp ORDER BY grp LIMIT 1";
/// Enough rows for hours.
const ENDLESS: &str = "SELECT a.id, b.amount FROM fact a JOIN fact b ON a.id + b.id >= 0";

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_not_there_and_then_is() {
    let folder = tables().await;
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{address}")).unwrap();
    let there = engines(&config(Mode::Static { addresses: vec![url] })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;

    let began = Instant::now();
    let error = run(&there, &session, AGGREGATE).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let error = ours(&error);
    assert!(
        error.to_string().starts_with(&format!("executor http://{address}")),
        "{error}"
    );
    assert!(
        error.to_string().contains("is unreachable: Connection refused"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.hint().unwrap().contains("check that the executor runs"));

    assert!(text(&there, &session, "SELECT 40 + 2 AS answer").await.contains("42"));
    let _process = Process::start(ExecutorConfig {
        listen: address,
        ..executor_config()
    });
    assert!(text(&there, &session, AGGREGATE).await.contains("1200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_does_not_answer() {
    let folder = tables().await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", mute.local_addr().unwrap());
    let other = Process::start(executor_config());
    let addresses = vec![Url::parse(&address).unwrap(), other.address.clone()];
    let probing = Config {
        keep_alive: Duration::from_millis(500),
        ..config(Mode::Static { addresses })
    };
    let there = engines(&probing).await;
    let session = session(&there, SessionConfig::new(), &folder).await;

    let began = Instant::now();
    let rows = text(&there, &session, AGGREGATE).await;
    assert!(rows.contains("1200"), "{rows}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_lost() {
    let folder = tables().await;
    let mut processes = [Process::start(executor_config()), Process::start(executor_config())];
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;

    let mut rows = start(&there, &session, ENDLESS).await.unwrap();
    assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
    processes[1].kill();
    let began = Instant::now();
    let error = loop {
        if let Err(error) = rows.next().await.unwrap() {
            break error;
        }
    };
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(matches!(ours(&error), Error::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(processes[1].address.as_str().trim_end_matches('/')),
        "{error}"
    );
    assert!(rows.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_rows_ends_the_work() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 3 })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    run(&there, &session, AGGREGATE).await.unwrap();
    let idle = settled().await;

    let mut rows = start(&there, &session, ENDLESS).await.unwrap();
    assert!(rows.next().await.unwrap().unwrap().num_rows() > 0);
    assert!(alive() > idle, "{} tasks while idle, {} while running", idle, alive());
    drop(rows);
    let began = Instant::now();
    while alive() > idle {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{} tasks while idle, {} after the drop",
            idle,
            alive()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// The number of tasks once it no longer changes.
async fn settled() -> usize {
    loop {
        let before = alive();
        tokio::time::sleep(Duration::from_millis(300)).await;
        if alive() == before {
            return before;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_do_not_read_hold_up_nobody() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 2 })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let budget = "distributed.worker_connection_buffer_budget_bytes";
    session
        .state_ref()
        .write()
        .config_mut()
        .options_mut()
        .set(budget, "1000000")
        .unwrap();
    let mut paused = Vec::new();
    for _ in 0..12 {
        let mut rows = start(&there, &session, ENDLESS).await.unwrap();
        rows.next().await.unwrap().unwrap();
        paused.push(rows);
    }
    settled().await;
    tokio::time::timeout(Duration::from_secs(20), run(&there, &session, AGGREGATE))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_cannot_travel_says_so() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 3 })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let schema = Arc::new(Schema::new(vec![Field::new("grp", DataType::Int64, true)]));
    let table = StreamingTable::try_new(Arc::clone(&schema), vec![Arc::new(OnlyHere(schema))]).unwrap();
    session.register_table("only_here", Arc::new(table)).unwrap();

    let began = Instant::now();
    let sql = "SELECT grp, count(*) AS n FROM (SELECT grp FROM fact UNION ALL SELECT grp FROM only_here) GROUP BY grp";
    let error = run(&there, &session, sql).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(error.to_string().contains("StreamingTableExec"), "{error}");
    run(&there, &session, AGGREGATE).await.unwrap();
}

/// A table of this process alone.
#[derive(Debug)]
struct OnlyHere(SchemaRef);

impl PartitionStream for OnlyHere {
    fn schema(&self) -> &SchemaRef {
        &self.0
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.0)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_settings_is_refused() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 2 })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let error = session.sql(AGGREGATE).await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().contains("a plan arrived without them"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_stay_outside() {
    let process = Process::start(executor_config());
    let call = async |version: Option<&str>| {
        let mut channel = Endpoint::from_shared(process.address.to_string())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let method = process.address.join("worker.WorkerService/GetWorkerInfo").unwrap();
        let mut request = http::Request::post(method.as_str()).header("content-type", "application/grpc");
        if let Some(version) = version {
            request = request.header("x-lakewing-version", version);
        }
        let answer = channel
            .ready()
            .await
            .unwrap()
            .call(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let text = |key| {
            answer
                .headers()
                .get(key)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        (text("grpc-status"), text("grpc-message"))
    };
    let precondition = Some("9".to_owned());
    let (status, message) = call(None).await;
    assert_eq!(status, precondition);
    assert!(message.unwrap().contains("lakewing"), "says whom it works for");
    let (status, message) = call(Some("0.0.1")).await;
    assert_eq!(status, precondition);
    assert!(message.unwrap().contains(env!("CARGO_PKG_VERSION")), "says its version");
    assert_ne!(call(Some(env!("CARGO_PKG_VERSION"))).await.0, precondition);
}
