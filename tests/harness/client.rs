//! The simplest Flight SQL client: text in, batches or the server's message out.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A connection.
pub struct Client(FlightSqlServiceClient<Channel>);

impl Client {
    /// Connects as nobody.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let endpoint = Endpoint::new(format!("http://{address}"))?.connect_timeout(Duration::from_secs(10));
        let service = FlightServiceClient::new(endpoint.connect().await?).max_decoding_message_size(usize::MAX);
        Ok(Self(FlightSqlServiceClient::new_from_inner(service)))
    }

    /// Exchanges a password for a token that all later calls carry.
    pub async fn login(&mut self, user: &str, password: &str) -> Result<()> {
        self.0.handshake(user, password).await?;
        Ok(())
    }

    /// The protocol client, for what no well-behaved client does.
    pub fn raw(&mut self) -> &mut FlightSqlServiceClient<Channel> {
        &mut self.0
    }

    /// Runs a statement and collects all of its endpoints in order; no rows are one empty batch.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<RecordBatch>> {
        let info = self.0.execute(sql.to_owned(), None).await?;
        let mut batches = Vec::new();
        for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
            let mut stream = self.0.do_get(ticket).await?;
            while let Some(batch) = stream.try_next().await? {
                batches.push(batch);
            }
            if batches.is_empty() {
                batches.extend(stream.schema().cloned().map(RecordBatch::new_empty));
            }
        }
        Ok(batches)
    }

    /// How a statement fails that must fail.
    pub async fn failure(&mut self, sql: &str) -> Result<Status> {
        match self.query(sql).await {
            Ok(batches) => bail!("{sql} answered {batches:?}"),
            Err(error) => match error.downcast::<FlightError>()? {
                FlightError::Tonic(status) => Ok(*status),
                other => Err(other.into()),
            },
        }
    }
}
