//! What one server does, for Prometheus, and whether it takes calls: plain HTTP on an address of its own, so that it can be
//! kept from those who ask queries. Figures of queries name neither users nor SQL.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use catalog::Lakehouse;
use datafusion::common::runtime::SpawnedTask;
use executor::Engines;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::{error, info};

use crate::error::{Error, Result};
use crate::query::Queries;

/// Whoever asks for so long gets no answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that one connection may have open.
const CALLS_MAX: usize = 4;
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Where metrics are served.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address of `/metrics`, `/live` and `/ready`, without encryption and for everybody who reaches it. None by default.
    pub listen: Option<SocketAddr>,
}

/// Serves them while the answer lives, also while the server stops: it is not ready once `stop` is cancelled. None where
/// they are not wanted.
///
/// # Errors
/// [`Error::Io`] where the address cannot be listened on.
pub(crate) async fn serve(
    config: &Config,
    (queries, lakehouse, engines): (Queries, Arc<Lakehouse>, Arc<Engines>),
    stop: CancellationToken,
) -> Result<Option<SpawnedTask<()>>> {
    let Some(listen) = config.listen else {
        return Ok(None);
    };
    let failed = |source| Error::Io {
        action: format!("listen on {listen} for metrics"),
        source,
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut registry = Registry::with_prefix("lakewing");
    queries.registry().tally().register(&mut registry);
    registry.register_collector(Box::new(Now {
        queries,
        lakehouse,
        engines,
    }));
    let serving = Server::builder()
        .accept_http1(true)
        .timeout(TIMEOUT)
        .concurrency_limit_per_connection(CALLS_MAX)
        .add_routes(Routes::from(router(registry, stop)))
        .serve_with_incoming(TcpIncoming::from(listener));
    info!(%address, "serving metrics");
    Ok(Some(SpawnedTask::spawn(async move {
        if let Err(error) = serving.await {
            error!(%error, "metrics are served no more");
        }
    })))
}

fn router(registry: Registry, stop: CancellationToken) -> Router {
    let registry = Arc::new(registry);
    Router::new()
        .route("/metrics", get(async move || metrics(&registry)))
        .route("/live", get(async || "live\n"))
        .route(
            "/ready",
            get(async move || match stop.is_cancelled() {
                true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
                false => (StatusCode::OK, "ready\n"),
            }),
        )
}

fn metrics(registry: &Registry) -> Response {
    let mut page = String::new();
    match text::encode(&mut page, registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(fmt::Error) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// What is so at the moment of the question.
struct Now {
    queries: Queries,
    lakehouse: Arc<Lakehouse>,
    engines: Arc<Engines>,
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut encoder;
        self.queries(page)?;
        self.memory(page)?;
        self.caches(page)?;
        self.executors(page)
    }
}

type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

impl Now {
    fn queries(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let states = self.queries.registry().states();
        let states = states.iter().map(|(state, count)| ([("state", *state)], gauge(*count)));
        gauges(page, "queries", "Queries and writes, by what they do", states)?;
        let groups = self.queries.groups();
        let running = groups
            .iter()
            .map(|(name, running, _)| ([("group", &**name)], gauge(*running)));
        gauges(page, "group_running", "Queries that run, by group of users", running)?;
        let waiting = groups
            .iter()
            .map(|(name, _, waiting)| ([("group", &**name)], gauge(*waiting)));
        gauges(page, "group_waiting", "Queries that wait, by group of users", waiting)
    }

    fn memory(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let memory = self.engines.memory_use();
        for (name, help, bytes) in [
            ("memory", "What plans hold in this process", memory.bytes),
            (
                "memory_max",
                "The most that plans may hold in this process",
                memory.bytes_max,
            ),
            (
                "spilled",
                "Files that plans of this process have spilled to",
                memory.spilled_bytes,
            ),
        ] {
            let gauge = ConstGauge::new(gauge(bytes));
            gauge.encode(page.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?)?;
        }
        Ok(())
    }

    fn caches(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut caches = self.lakehouse.caches();
        caches.push(self.engines.footer_cache());
        let of = |value: fn(&catalog::CacheUse) -> u64| {
            caches
                .iter()
                .map(move |cache| ([("cache", cache.name)], gauge(value(cache))))
        };
        gauges(page, "cache_entries", "Entries of caches", of(|cache| cache.entries))?;
        gauges(page, "cache_bytes", "Bytes in caches", of(|cache| cache.bytes))?;
        gauges(
            page,
            "cache_bytes_max",
            "The most that caches may hold",
            of(|cache| cache.bytes_max),
        )?;
        let counted = caches
            .iter()
            .filter_map(|cache| Some((cache.name, cache.hits_and_misses?)));
        let hits = counted.clone().map(|(name, (hits, _))| ([("cache", name)], hits));
        counters(page, "cache_hits", "Questions that caches answered", hits)?;
        let misses = counted.map(|(name, (_, misses))| ([("cache", name)], misses));
        counters(page, "cache_misses", "Questions that caches could not answer", misses)
    }

    fn executors(&self, page: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let executors = self.engines.executors();
        let mut states = BTreeMap::new();
        for executor in &executors {
            *states.entry((&*executor.set, executor.state)).or_insert(0_i64) += 1;
        }
        let states = states
            .into_iter()
            .map(|((set, state), count)| ([("set", set), ("state", state)], count));
        gauges(page, "executors", "Executors, by set and state", states)?;
        let tasks: u32 = executors.iter().map(|executor| executor.running_tasks).sum();
        let help = "Queries that executors work for and streams that are read from them";
        let descriptor = page.encode_descriptor("executor_tasks", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(tasks)).encode(descriptor)?;

        let sets = self.engines.executor_sets();
        let wanted = sets.iter().map(|set| ([("set", &*set.set)], gauge(set.wanted)));
        let help = "Executors that would suffice for all that is asked";
        gauges(page, "executors_wanted", help, wanted)?;
        let max = sets.iter().map(|set| ([("set", &*set.set)], gauge(set.max)));
        gauges(page, "executors_max", "The most executors there may be", max)?;
        let started = sets.iter().map(|set| ([("set", &*set.set)], set.started));
        counters(page, "executors_started", "Executors that this server started", started)?;
        let failed = sets.iter().map(|set| ([("set", &*set.set)], set.failed));
        let help = "Starts that failed, and executors that ended by themselves";
        counters(page, "executors_failed", help, failed)?;
        let mut seconds = page.encode_descriptor(
            "executor",
            "Executor-seconds of what this server started",
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for set in &sets {
            ConstCounter::new(set.seconds).encode(seconds.encode_family(&[("set", &*set.set)])?)?;
        }
        Ok(())
    }
}

fn gauges<'a, const N: usize, V: EncodeGaugeValue>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels<'a, N>, V)>,
) -> fmt::Result {
    let mut family = page.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn counters<'a, const N: usize>(
    page: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (Labels<'a, N>, u64)>,
) -> fmt::Result {
    let mut family = page.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in values {
        ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn gauge(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}
