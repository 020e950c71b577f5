//! The executor at the far end: a server that runs the tasks coordinators give it, until it is told to stop. Knows
//! neither catalogs nor who asked.

mod connection;
pub(crate) mod drain;
pub(crate) mod memory;
pub(crate) mod results;
pub(crate) mod session;
pub(crate) mod status;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use catalog::Stores;
use futures::future::{ready, try_join};
use futures::{FutureExt, Stream, TryStreamExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Status};

use crate::cluster::channel::{Channels, HEADERS_BYTES_MAX, RESET_STREAMS_MAX, VERSION, VERSION_HEADER};
use crate::cluster::tls;
use crate::config::ExecutorConfig;
use crate::engine::direct::Runner;
use crate::engine::{self, Tasks};
use crate::error::{Error, Result};

use connection::Connection;
use drain::Drain;
use memory::Memory;
use results::{ClientDoor, Results};
use status::StatusService;

/// Other executors one executor keeps connections to.
const PEERS_MAX: usize = 1024;
/// Streams one connection may have open. A query holds one per task and one per pair of tasks that exchange rows, and
/// waits for good where it gets too few.
const STREAMS_MAX: u32 = 64 * 1024;

/// One executor, listening.
#[derive(Debug)]
pub struct Executor {
    listener: TcpListener,
    address: SocketAddr,
    routes: Routes,
    results: Results,
    clients: Option<ClientDoor>,
    drain: Drain,
    tls: Option<ServerTlsConfig>,
    keep_alive: Duration,
    grace: Duration,
}

impl Executor {
    /// Listens on `config.listen`; reads data files through `stores`. Connections wait until [`Executor::serve`] runs.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Spill`] or [`Error::Listen`].
    pub async fn bind(config: &ExecutorConfig, stores: Arc<Stores>) -> Result<Self> {
        config.validate()?;
        Self::with_memory(config, Memory::start(&config.memory(), stores)?).await
    }

    /// Like [`Executor::bind`], with memory, spill folder and stores that are shared with others.
    pub(crate) async fn with_memory(config: &ExecutorConfig, memory: Arc<Memory>) -> Result<Self> {
        let failed = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let drain = Drain::default();
        let channels = Channels::new(config.links(), config.tls.as_ref(), PEERS_MAX)?;
        let tls = config.tls.as_ref().map(tls::server).transpose()?;
        let clients = match &config.results {
            Some(results) => Some(ClientDoor::bind(results).await?),
            None => None,
        };
        let tasks = Arc::new(Tasks::default());
        let results = Results::new(Runner::new(Arc::clone(&memory), Arc::clone(&tasks)), drain.clone());
        let told = clients.as_ref().map(ClientDoor::address);
        let status = StatusService::new(drain.clone(), Arc::clone(memory.stores()), told);
        let routes = engine::task_routes(memory, channels, tasks, same_version, &drain)
            .add_service(InterceptedService::new(results.clone(), same_version))
            .add_service(InterceptedService::new(status, same_version));
        Ok(Self {
            listener,
            address,
            routes,
            results,
            clients,
            drain,
            tls,
            keep_alive: config.keep_alive,
            grace: config.grace,
        })
    }

    /// Where it listens, with the port the system chose.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Runs tasks until it is to drain; then takes no new ones, lets running queries end within the grace period, cuts the
    /// others, and ends. Where it is not to drain any more before that, it goes on.
    ///
    /// # Errors
    /// [`Error::Serve`] where the server ends by itself.
    pub async fn serve(self, mut draining: watch::Receiver<bool>) -> Result<()> {
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let tasks = server(self.tls, self.keep_alive)?
            .max_concurrent_streams(STREAMS_MAX)
            .add_routes(self.routes)
            .serve_with_incoming_shutdown(incoming(self.listener, &cut), stop.clone().cancelled_owned());
        let clients = match self.clients {
            Some(ClientDoor { listener, tls, .. }) => results::router(server(tls, self.keep_alive)?, &self.results)
                .serve_with_incoming_shutdown(incoming(listener, &cut), stop.clone().cancelled_owned())
                .boxed(),
            None => ready(Ok(())).boxed(),
        };
        let mut server = pin!(try_join(tasks, clients));
        let ended = |result: std::result::Result<_, _>| match result {
            Ok(((), ())) => Ok(()),
            Err(source) => Err(Error::Serve { source }),
        };
        let until = loop {
            tokio::select! {
                result = &mut server => return ended(result),
                () = becomes(&mut draining, true) => self.drain.begin(),
            }
            tracing::info!(address = %self.address, calls = self.drain.calls(), "takes no new tasks");
            let until = tokio::time::Instant::now() + self.grace;
            tokio::select! {
                result = &mut server => return ended(result),
                () = becomes(&mut draining, false) => self.drain.take_back(),
                // Their queries still open streams here: the door closes behind the last of them.
                _ = tokio::time::timeout_at(until, self.drain.finished()) => break until,
            }
            tracing::info!(address = %self.address, "takes tasks again");
        };
        stop.cancel();
        self.results.close();
        if let Ok(result) = tokio::time::timeout_at(until, &mut server).await {
            return ended(result);
        }
        tracing::warn!(address = %self.address, grace = ?self.grace, "running queries are cut at shutdown");
        cut.cancel();
        ended(server.await)
    }
}

/// The connections of a listener, which end when `cut` is cancelled.
fn incoming(listener: TcpListener, cut: &CancellationToken) -> impl Stream<Item = std::io::Result<Connection>> + use<> {
    let cut = cut.clone();
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .map_ok(move |socket| Connection::new(socket, cut.clone()))
}

/// The settings of those connections.
fn server(tls: Option<ServerTlsConfig>, keep_alive: Duration) -> Result<Server> {
    let server = match tls {
        Some(tls) => Server::builder()
            .tls_config(tls)
            .map_err(|source| Error::Serve { source })?,
        None => Server::builder(),
    };
    Ok(server
        .http2_keepalive_interval(Some(keep_alive))
        .http2_keepalive_timeout(Some(keep_alive))
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX)))
}

/// Waits until `flag` is `value`; for ever where nobody can change it any more.
async fn becomes(flag: &mut watch::Receiver<bool>, value: bool) {
    if flag.wait_for(|now| *now == value).await.is_err() {
        std::future::pending().await
    }
}

/// Lets requests of the same version pass.
#[allow(clippy::result_large_err, reason = "the type of a tonic interceptor")]
fn same_version(request: Request<()>) -> std::result::Result<Request<()>, Status> {
    match request
        .metadata()
        .get(VERSION_HEADER.as_str())
        .and_then(|value| value.to_str().ok())
    {
        Some(VERSION) => Ok(request),
        Some(other) => Err(Status::failed_precondition(format!(
            "it runs version {VERSION}, not {other}"
        ))),
        None => Err(Status::failed_precondition(
            "it works for lakewing servers and executors only",
        )),
    }
}
