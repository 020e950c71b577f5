//! A server of this process over a small embedded lake, and a client of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{ArrowPrimitiveType, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{ActionClosePreparedStatementRequest, ProstMessageExt};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, PollInfo, Ticket};
use catalog::write::{NewTable, create_table};
use catalog::{Secret, TableName};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use server::app::App;
use server::auth;
use server::config::Config;
use tempfile::TempDir;
use tonic::transport::Channel;
use tonic::{IntoRequest, Request, Status};

/// A running server.
pub(crate) struct House {
    app: App,
    data: TempDir,
}

impl House {
    /// With the defaults.
    pub(crate) async fn embedded() -> Self {
        Self::with(|_| ()).await
    }

    /// With another configuration. The catalogs `lake` and `delta` have one table each, `shop.orders`.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::embedded(data.path());
        config.listen = ([127, 0, 0, 1], 0).into();
        change(&mut config);
        let app = App::start(config).await.unwrap();
        for catalog in ["lake", "delta"] {
            app.lakehouse()
                .client(catalog)
                .unwrap()
                .create_namespace("shop", &[])
                .await
                .unwrap();
            let rows = orders();
            let new = NewTable {
                file_rows_max: 2,
                ..NewTable::new(rows.schema())
            };
            let rows = Box::pin(RecordBatchStreamAdapter::new(rows.schema(), stream::iter([Ok(rows)])));
            create_table(app.lakehouse(), &TableName::new(catalog, "shop", "orders"), &new, rows)
                .await
                .unwrap();
        }
        Self { app, data }
    }

    /// The folder of its lake.
    pub(crate) fn folder(&self) -> &Path {
        self.data.path()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.app.address()
    }

    /// A client that has not logged in.
    pub(crate) async fn client(&self) -> Client {
        Client::of(&format!("http://{}", self.app.address())).await
    }

    /// A client that has logged in.
    pub(crate) async fn client_of(&self, user: &str, password: &str) -> Client {
        let mut client = self.client().await;
        client.sql.handshake(user, password).await.unwrap();
        client
    }

    pub(crate) async fn close(self) {
        self.app.shutdown().await;
    }

    /// The folder of its lake, without it.
    pub(crate) async fn leave(self) -> TempDir {
        self.app.shutdown().await;
        self.data
    }
}

/// Passwords for alice and bob.
pub(crate) fn two_users() -> auth::Config {
    let users = [("alice", "wonderland"), ("bob", "builder")];
    let users = users.map(|(user, password)| (user.to_owned(), Secret::new(password)));
    auth::Config {
        mode: auth::Mode::Basic,
        users: BTreeMap::from(users),
        ..auth::Config::default()
    }
}

/// A client and what its crate does not offer.
pub(crate) struct Client {
    pub(crate) sql: FlightSqlServiceClient<Channel>,
}

impl Client {
    /// That has not logged in.
    pub(crate) async fn of(url: &str) -> Self {
        let channel = Channel::from_shared(url.to_owned()).unwrap();
        Self {
            sql: FlightSqlServiceClient::new(channel.connect().await.unwrap()),
        }
    }

    /// The columns that GetFlightInfo announces and the rows that DoGet gives.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<(SchemaRef, RecordBatch), Status> {
        let info = self.sql.execute(sql.to_owned(), None).await.map_err(status)?;
        let announced = Arc::new(info.clone().try_decode_schema().unwrap());
        Ok((announced, self.fetch(info).await?))
    }

    /// GetFlightInfo.
    pub(crate) async fn info<M: ProstMessageExt>(&mut self, command: &M) -> Result<FlightInfo, Status> {
        let request = self.authorized(descriptor(command));
        Ok(self.sql.inner_mut().get_flight_info(request).await?.into_inner())
    }

    /// All rows of the only endpoint.
    pub(crate) async fn fetch(&mut self, info: FlightInfo) -> Result<RecordBatch, Status> {
        assert_eq!(info.endpoint.len(), 1);
        self.get(info.endpoint[0].ticket.clone().unwrap().ticket.to_vec()).await
    }

    /// DoGet, not read yet.
    pub(crate) async fn open(&mut self, info: &FlightInfo) -> Result<FlightRecordBatchStream, Status> {
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        let request = self.authorized(ticket);
        let messages = self.sql.inner_mut().do_get(request).await?.into_inner();
        Ok(FlightRecordBatchStream::new_from_flight_data(
            messages.map_err(FlightError::from),
        ))
    }

    /// DoAction; the body of the only answer.
    pub(crate) async fn act(&mut self, name: &str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
        let action = Action {
            r#type: name.to_owned(),
            body: body.into(),
        };
        let request = self.authorized(action);
        let mut results = self.sql.inner_mut().do_action(request).await?.into_inner();
        let answer = results.message().await?.unwrap().body.to_vec();
        assert!(results.message().await?.is_none());
        Ok(answer)
    }

    /// PollFlightInfo.
    pub(crate) async fn poll(&mut self, descriptor: FlightDescriptor) -> Result<PollInfo, Status> {
        let request = self.authorized(descriptor);
        Ok(self.sql.inner_mut().poll_flight_info(request).await?.into_inner())
    }

    /// DoGet.
    pub(crate) async fn get(&mut self, ticket: Vec<u8>) -> Result<RecordBatch, Status> {
        let request = self.authorized(Ticket::new(ticket));
        let messages = self.sql.inner_mut().do_get(request).await?.into_inner();
        let mut rows = FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from));
        let mut batches = Vec::new();
        while let Some(batch) = rows.next().await {
            batches.push(batch.map_err(status)?);
        }
        Ok(concat_batches(rows.schema().unwrap(), &batches).unwrap())
    }

    /// DoPut of parameters; the handle in the answer is thrown away.
    pub(crate) async fn bind<M: ProstMessageExt>(&mut self, command: &M, row: RecordBatch) -> Result<(), Status> {
        let encoder = FlightDataEncoderBuilder::new().with_flight_descriptor(Some(descriptor(command)));
        let messages: Vec<_> = encoder.build(stream::iter([Ok(row)])).try_collect().await.unwrap();
        let mut answers = self.sql.inner_mut().do_put(stream::iter(messages)).await?.into_inner();
        answers.message().await?.unwrap();
        Ok(())
    }

    /// ClosePreparedStatement.
    pub(crate) async fn close_prepared(&mut self, handle: &[u8]) -> Result<(), Status> {
        let request = ActionClosePreparedStatementRequest {
            prepared_statement_handle: handle.to_vec().into(),
        };
        let body = request.as_any().encode_to_vec().into();
        let action = Action {
            r#type: "ClosePreparedStatement".to_owned(),
            body,
        };
        let mut results = self.sql.inner_mut().do_action(action).await?.into_inner();
        assert!(results.message().await?.is_none());
        Ok(())
    }

    fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = message.into_request();
        if let Some(token) = self.sql.token() {
            request
                .metadata_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        request
    }
}

/// The descriptor of a command.
pub(crate) fn descriptor<M: ProstMessageExt>(command: &M) -> FlightDescriptor {
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

/// A column of numbers.
pub(crate) fn column<T: ArrowPrimitiveType>(rows: &RecordBatch, at: usize) -> Vec<T::Native> {
    rows.column(at).as_primitive::<T>().values().to_vec()
}

/// A column of texts.
pub(crate) fn texts(rows: &RecordBatch, at: usize) -> Vec<String> {
    rows.column(at)
        .as_string::<i32>()
        .iter()
        .map(|text| text.unwrap_or("NULL").to_owned())
        .collect()
}

pub(crate) fn orders() -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=5));
    let names: ArrayRef = Arc::new(StringArray::from(vec!["apple", "bread", "cake", "dates", "eggs"]));
    let prices = Decimal128Array::from_iter_values([100, 250, 999, 1, 30])
        .with_precision_and_scale(15, 2)
        .unwrap();
    RecordBatch::try_from_iter([("id", ids), ("name", names), ("price", Arc::new(prices))]).unwrap()
}

pub(crate) fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("the call failed without a status: {other}"),
    }
}
