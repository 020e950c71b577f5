//! A connection to a Flight SQL server: a statement goes in, an answer comes back batch by batch.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_flight::FlightEndpoint;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use catalog::Secret;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

use crate::error::{Error, Result};
use crate::tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// One row may be larger than gRPC's usual 4 MiB.
const MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Which server, and who asks it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `grpc://host:port` or `grpc+tls://host:port`.
    pub(crate) url: String,
    /// What is shown of who asks.
    pub(crate) login: Login,
    /// PEM file of the authority that vouches for the server.
    pub(crate) ca: Option<PathBuf>,
    /// PEM files of the certificate that says who asks, and of its key.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
}

/// What goes along with every call.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// Nothing.
    None,
    /// A user and their password.
    Password(String, Secret),
    /// A bearer token.
    Token(Secret),
}

/// An open connection.
pub(crate) struct Connection {
    client: FlightSqlServiceClient<Channel>,
}

impl Connection {
    /// Connects to `target`. The login is checked by the first statement.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let endpoint = endpoint(target)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| unreachable(&target.url, &error))?;
        let client = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let mut client = FlightSqlServiceClient::new_from_inner(client);
        match &target.login {
            Login::None => {}
            Login::Password(user, password) => {
                let credentials = STANDARD.encode(format!("{user}:{}", password.expose()));
                client.set_header("authorization", format!("Basic {credentials}"));
            }
            Login::Token(token) => client.set_token(token.expose().to_owned()),
        }
        Ok(Self { client })
    }

    /// Sends `statement`. The answer borrows the connection: one at a time.
    pub(crate) async fn query(&mut self, statement: &str) -> Result<Answer<'_>> {
        let info = self.client.execute(statement.to_owned(), None).await.map_err(refused)?;
        let endpoints = info.endpoint.clone().into();
        let schema = info.try_decode_schema().map_err(|error| refused(error.into()))?;
        Ok(Answer {
            client: &mut self.client,
            schema: Arc::new(schema),
            endpoints,
            current: None,
        })
    }
}

/// The rows of an answer, fetched as they are asked for. Dropping it cancels the query.
pub(crate) struct Answer<'a> {
    client: &'a mut FlightSqlServiceClient<Channel>,
    schema: SchemaRef,
    endpoints: VecDeque<FlightEndpoint>,
    current: Option<FlightRecordBatchStream>,
}

impl Answer<'_> {
    /// The columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows, nothing after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(stream) = &mut self.current
                && let Some(batch) = stream.try_next().await.map_err(refused)?
            {
                return Ok(Some(batch));
            }
            let Some(endpoint) = self.endpoints.pop_front() else {
                return Ok(None);
            };
            let ticket = endpoint.ticket.unwrap_or_default();
            self.current = Some(self.client.do_get(ticket).await.map_err(refused)?);
        }
    }
}

fn endpoint(target: &Target) -> Result<Endpoint> {
    let invalid = || Error::config("--url", "must be grpc://HOST:PORT or grpc+tls://HOST:PORT");
    let (scheme, address) = target.url.split_once("://").ok_or_else(invalid)?;
    let encrypted = match scheme {
        "grpc" | "grpc+tcp" => false,
        "grpc+tls" => true,
        _ => return Err(invalid()),
    };
    let url = format!("{}://{address}", if encrypted { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(url)
        .map_err(|_| invalid())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL);
    if !encrypted {
        return Ok(endpoint);
    }
    endpoint
        .tls_config(tls::client(target.ca.as_deref(), target.certificate.as_ref())?)
        .map_err(|error| unreachable(&target.url, &error))
}

fn unreachable(url: &str, error: &tonic::transport::Error) -> Error {
    let reason = innermost(error);
    let hint = match reason.contains("certificate") {
        true => "name the authority that vouches for the server with --ca",
        false => "start a server with \"lakewing serve\", name another with --url, or ask none with --local",
    };
    Error::Remote {
        detail: format!("cannot connect to {url}: {reason}"),
        hint: Some(hint.to_owned()),
    }
}

/// What the server says, or why its connection failed.
fn refused(error: FlightError) -> Error {
    let detail = match error {
        FlightError::Tonic(status) => match std::error::Error::source(status.as_ref()) {
            Some(cause) => return lost(cause),
            None => status.message().to_owned(),
        },
        other => other.to_string(),
    };
    Error::Remote { detail, hint: None }
}

fn lost(cause: &dyn std::error::Error) -> Error {
    Error::Remote {
        detail: format!("the connection failed: {}", innermost(cause)),
        hint: Some("check that the server runs; one that encrypts wants grpc+tls:// in --url".to_owned()),
    }
}

/// The message of the deepest cause, without links: the layers above it say no more than that there is one.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let message = deepest.to_string();
    message.split(": https://").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn refusal(url: &str) -> Error {
        let target = Target {
            url: url.to_owned(),
            login: Login::None,
            ca: None,
            certificate: None,
        };
        Connection::open(&target).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_url_that_names_no_server_is_a_wrong_setting() {
        for url in ["localhost:1", "http://localhost:1", "grpc://", "grpc://a b:1"] {
            let error = refusal(url).await;
            assert!(matches!(error, Error::Config { .. }), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_what_to_do() {
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let error = refusal(&format!("grpc://{free}")).await;
        let expect = format!("cannot connect to grpc://{free}: Connection refused");
        assert!(error.to_string().starts_with(&expect), "{error}");
        assert!(error.hint().unwrap().contains("lakewing serve"));
    }
}
