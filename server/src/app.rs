//! The rooms, wired: configuration in, a running server out. The only place that knows which room needs which.
//!
//! Starting does no more than it must: catalogs are not contacted and tables not loaded before a statement names them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Lakehouse, Stores};
use datafusion::common::runtime::SpawnedTask;
use executor::Engines;
use futures::FutureExt;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::layer::util::{Identity, Stack};
use tracing::{error, info};

use crate::access::Access;
use crate::auth::Authenticator;
use crate::config::{Config, below_executor};
use crate::error::{Error, Result};
use crate::flight::{Flight, Limit, Rooms, limit_requests};
use crate::query::{Admission, Ending, Endings, Queries, Registry, Spool};
use crate::session::Sessions;
use crate::shutdown::Lifecycle;
use crate::telemetry::{call_span, metrics};
use crate::tls::Acceptor;

/// Probes silent connections, so that proxies keep them and lost clients are noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Tokens and connection properties travel in headers; the usual 8 KiB are too few for some clients.
const HEADERS_BYTES_MAX: u32 = 64 * 1024;
/// What a client may send ahead of our reading, per call and in all.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Calls that one connection may have open.
const STREAMS_MAX: u32 = 1024;

/// A running server.
pub struct App {
    address: SocketAddr,
    encrypted: bool,
    lakehouse: Arc<Lakehouse>,
    engines: Arc<Engines>,
    lifecycle: Lifecycle,
    running: Registry,
    grace: Duration,
    /// Goes on while the last queries do, so that they too can be ended through other servers.
    _endings: SpawnedTask<()>,
    _metrics: Option<SpawnedTask<()>>,
}

impl App {
    /// Starts a server as `config` describes it; it accepts connections when this returns.
    /// Fails where the configuration contradicts itself, a file it names cannot be read, or the address is taken.
    pub async fn start(config: Config) -> Result<Self> {
        config.validate()?;
        if config.is_embedded() {
            create_folder(&config.data_dir)?;
        }
        let lake = config.lake()?;
        let stores = Stores::new(&lake.storage)?;
        let lakehouse = Arc::new(Lakehouse::new(&lake, Arc::clone(&stores))?);
        let spool = Arc::new(Spool::new(&config.spool, &config.data_dir.join("spool"), &stores)?);
        let engines = Arc::new(Engines::start(&config.executor, stores).await.map_err(below_executor)?);
        let lifecycle = Lifecycle::default();
        let auth = Authenticator::new(&config.auth)?;
        let access = Access::new(config.access.clone(), auth.directory(), Arc::clone(&lakehouse));
        let endings = Endings::new(Arc::clone(&spool), auth.seal());
        let queries = Queries::new(
            (Arc::clone(&lakehouse), Arc::new(access)),
            Arc::clone(&engines),
            (Admission::new(config.queries.clone()), endings.clone()),
            lifecycle.clone(),
        );
        let running = queries.registry().clone();
        let names = (config.starting_catalog()?, config.default_namespace);
        let sessions = Sessions::new(names, Arc::clone(&spool), auth.seal());
        lifecycle.spawn_until_stop(auth.watch());
        lifecycle.spawn_until_stop(queries.clone().sweep_temporary());
        let watched = (queries.clone(), Arc::clone(&lakehouse), Arc::clone(&engines));
        let metrics = metrics::serve(&config.metrics, watched, lifecycle.stop()).await?;
        let rooms = Rooms {
            queries,
            sessions,
            spool,
            tasks: lifecycle.clone(),
        };
        let acceptor = config.tls.as_ref().map(Acceptor::new).transpose()?;
        let flight = Flight::new(rooms, auth, config.tls.is_some())?;
        let router = server().add_service(flight.into_server());

        let (listener, address) = listen(config.listen).await?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let stop = lifecycle.stop().cancelled_owned();
        let serving = match acceptor {
            Some(acceptor) => {
                lifecycle.spawn_until_stop(Arc::clone(&acceptor).watch());
                let encrypted = Box::pin(acceptor.accept(incoming));
                router.serve_with_incoming_shutdown(encrypted, stop).boxed()
            }
            None => router.serve_with_incoming_shutdown(incoming, stop).boxed(),
        };
        lifecycle.spawn(async move {
            if let Err(error) = serving.await {
                error!(%error, "the server failed");
            }
        });
        info!(%address, catalogs = ?lakehouse.catalog_names(), "serving");
        Ok(Self {
            address,
            encrypted: config.tls.is_some(),
            lakehouse,
            engines,
            lifecycle,
            _endings: SpawnedTask::spawn(endings.watch(running.clone())),
            running,
            grace: config.shutdown_grace,
            _metrics: metrics,
        })
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// [`App::address`] as Flight clients write it.
    pub fn url(&self) -> String {
        format!(
            "{}://{}",
            if self.encrypted { "grpc+tls" } else { "grpc" },
            self.address
        )
    }

    /// The lake it serves.
    pub fn lakehouse(&self) -> &Lakehouse {
        &self.lakehouse
    }

    /// Accepts no more connections, lets running calls finish within the configured grace period, and ends the rest: their
    /// clients are told, and their executors have nothing left to finish.
    pub async fn shutdown(self) {
        let end = || self.running.end_all(&Ending::ServerStops);
        self.lifecycle.finish(self.grace, end).await;
        self.engines.shutdown().await;
        info!(address = %self.address, "stopped");
    }
}

fn server() -> Server<Stack<Limit, Identity>> {
    Server::builder()
        .layer(limit_requests())
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .trace_fn(call_span)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |source| Error::Io {
        action: format!("listen on {address}"),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn create_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| Error::Io {
        action: format!("create {}", folder.display()),
        source,
    })
}
