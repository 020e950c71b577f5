//! An Iceberg REST catalog that takes its time, and counts how often and how often at once it is asked for a table.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The namespace `many` with the tables `t00000` and so on, all with the same metadata.
pub struct SlowCatalog {
    address: SocketAddr,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    loads: AtomicUsize,
    at_once: AtomicUsize,
    at_once_max: AtomicUsize,
}

struct Answers {
    tables: String,
    load: String,
    delay: Duration,
}

impl SlowCatalog {
    /// Serves `tables` tables with this metadata; each load takes `delay`.
    pub async fn start(tables: usize, metadata: Value, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let names = (0..tables).map(|number| json!({"namespace": ["many"], "name": format!("t{number:05}")}));
        let answers = Arc::new(Answers {
            tables: json!({"identifiers": names.collect::<Vec<_>>()}).to_string(),
            load: json!({"metadata-location": "file:///nowhere/metadata.json", "metadata": metadata}).to_string(),
            delay,
        });
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(serve(connection, Arc::clone(&answers), Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            counts,
            _serving: serving,
        })
    }

    /// Its section of the configuration, as the catalog `slow`.
    pub fn section(&self) -> String {
        format!(
            "[catalogs.slow]\ntype = \"iceberg-rest\"\nuri = \"http://{}\"\n",
            self.address
        )
    }

    /// Loads of tables since this was last asked.
    pub fn loads(&self) -> usize {
        self.counts.loads.swap(0, Ordering::Relaxed)
    }

    /// The most loads that ever ran at once.
    pub fn at_once_max(&self) -> usize {
        self.counts.at_once_max.load(Ordering::Relaxed)
    }
}

/// Answers the requests of one connection, which have no bodies.
async fn serve(connection: TcpStream, answers: Arc<Answers>, counts: Arc<Counts>) -> Result<()> {
    let mut connection = BufReader::new(connection);
    loop {
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            if connection.read_line(&mut request).await? == 0 {
                return Ok(());
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let body = match path {
            "/v1/config" => "{\"defaults\": {}, \"overrides\": {}}",
            "/v1/namespaces" => "{\"namespaces\": [[\"many\"]]}",
            "/v1/namespaces/many/tables" => &answers.tables,
            _ if path.starts_with("/v1/namespaces/many/tables/") => {
                counts.loads.fetch_add(1, Ordering::Relaxed);
                let running = counts.at_once.fetch_add(1, Ordering::Relaxed) + 1;
                counts.at_once_max.fetch_max(running, Ordering::Relaxed);
                tokio::time::sleep(answers.delay).await;
                counts.at_once.fetch_sub(1, Ordering::Relaxed);
                &answers.load
            }
            _ => "",
        };
        let status = if body.is_empty() { "404 Not Found" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection
            .get_mut()
            .write_all(&[head.as_bytes(), body.as_bytes()].concat())
            .await?;
    }
}
