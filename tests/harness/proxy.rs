//! A proxy in front of several servers that gives each connection to another one, as load balancers do; that can be cut
//! off, as networks are; and that may answer requests by itself, as services do that are overloaded or have shut somebody
//! out.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// How long the rest of a request that is refused is read for.
const LINGER: Duration = Duration::from_secs(5);

/// A running proxy. Dropping it ends all of its connections.
pub struct Proxy {
    address: SocketAddr,
    servers: Arc<Mutex<Vec<SocketAddr>>>,
    is_cut: watch::Sender<bool>,
    accepting: AbortHandle,
    answer: watch::Sender<Option<&'static str>>,
}

impl Proxy {
    /// In front of `servers`, in turn.
    pub async fn start(servers: Vec<SocketAddr>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let servers = Arc::new(Mutex::new(servers));
        let behind = Arc::clone(&servers);
        let is_cut = watch::Sender::new(false);
        let cut = is_cut.subscribe();
        let (answer, answers) = watch::channel(None::<&'static str>);
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
                let cut = cut.clone();
                let mut answers = answers.clone();
                connections.spawn(async move {
                    let answer = *answers.borrow_and_update();
                    // An error is the end of a connection like any other.
                    if let Some(answer) = answer {
                        refuse(&mut client, answer).await.ok();
                    } else if let Some(server) = server
                        && let Ok(server) = TcpStream::connect(server).await
                    {
                        let (mut from_client, mut to_client) = client.into_split();
                        let (mut from_server, mut to_server) = server.into_split();
                        let passing = async {
                            tokio::try_join!(
                                pass(&mut from_client, &mut to_server, cut.clone()),
                                pass(&mut from_server, &mut to_client, cut)
                            )
                        };
                        tokio::select! {
                            _ = passing => {}
                            _ = answers.changed() => {}
                        }
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            servers,
            is_cut,
            accepting: accepting.abort_handle(),
            answer,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes in either direction, and neither side is told.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// What was held back passes again, and what follows.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }

    /// Ends all connections; the requests of new ones get this status line and body, such as `503 Slow Down`, until there
    /// is none.
    pub fn set_answer(&self, answer: Option<&'static str>) {
        self.answer.send_replace(answer);
    }

    /// New connections go to these servers from now on.
    pub fn set_servers(&self, servers: Vec<SocketAddr>) {
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }
}

/// Hands on what one side sends, and that it has ended.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut cut: watch::Receiver<bool>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let bytes = from.read(&mut buffer).await?;
        cut.wait_for(|is_cut| !is_cut).await?;
        if bytes == 0 {
            return Ok(to.shutdown().await?);
        }
        to.write_all(&buffer[..bytes]).await?;
    }
}

/// Answers one request by its beginning. What follows is read and left: a socket that is closed with bytes unread is reset,
/// and takes the answer with it (RFC 9112, section 9.6).
async fn refuse(client: &mut TcpStream, status: &str) -> std::io::Result<()> {
    let mut head = vec![0; 64 << 10];
    let _read = client.read(&mut head).await?;
    let code = status
        .split_once(' ')
        .map_or("Failed", |(_, reason)| reason)
        .replace(' ', "");
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{status}</Message></Error>");
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    let mut nowhere = tokio::io::sink();
    tokio::time::timeout(LINGER, tokio::io::copy(client, &mut nowhere))
        .await
        .map_err(std::io::Error::other)??;
    Ok(())
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
