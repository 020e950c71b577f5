//! A proxy in front of several servers that gives each connection to another one, as load balancers do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A running proxy. Dropping it ends all of its connections.
pub struct Proxy {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    accepting: AbortHandle,
}

impl Proxy {
    /// In front of `servers`, in turn.
    pub async fn start(servers: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let servers = Arc::new(Mutex::new(servers));
        let behind = Arc::clone(&servers);
        #[allow(clippy::disallowed_methods, reason = "ends when the proxy is dropped")]
        let accepting = tokio::spawn(async move {
            let (mut connections, turn) = (JoinSet::new(), AtomicUsize::new(0));
            while let Ok((mut client, _)) = listener.accept().await {
                let server = {
                    let servers = behind.lock().unwrap_or_else(PoisonError::into_inner);
                    servers
                        .get(turn.fetch_add(1, Ordering::Relaxed) % servers.len().max(1))
                        .copied()
                };
                connections.spawn(async move {
                    if let Some(server) = server
                        && let Ok(mut server) = TcpStream::connect(server).await
                    {
                        // An error is the end of a connection like any other.
                        copy_bidirectional(&mut client, &mut server).await.ok();
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            servers,
            accepting: accepting.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go to these servers from now on.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
