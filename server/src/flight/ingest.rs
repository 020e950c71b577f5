//! Bulk ingest (`CommandStatementIngest`): the rows of an upload into a table, as they arrive.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption};
use catalog::TableName;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt, future, stream};
use tonic::Status;
use uuid::Uuid;

use super::{Flight, refuse_transaction, schema};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::query::{IfExists, Ingest, Origin};

impl Flight {
    /// Writes the rows of `messages`; their number. Names of tables are taken as they are, in upper and lower case.
    pub(super) async fn ingest(
        &self,
        caller: &Caller,
        command: CommandStatementIngest,
        messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    ) -> Result<i64> {
        refuse_transaction(command.transaction_id.as_ref())?;
        if command.temporary {
            return Err(Error::unsupported("ingest into a temporary table", ""));
        }
        if let Some(option) = command.options.keys().next() {
            return Err(Error::unsupported(format!("the ingest option \"{option}\""), ""));
        }
        let session = self.sessions.of(caller).await;
        let (creates, if_exists) = modes(&command.table_definition_options.unwrap_or_default())?;
        let name = TableName::new(
            command.catalog.unwrap_or_else(|| session.catalog.clone()),
            command.schema.unwrap_or_else(|| session.namespace.clone()),
            command.table,
        );
        let origin = Origin {
            id: Uuid::now_v7(),
            session_id: caller.session_id.clone(),
            tags: caller.tags.clone(),
        };
        let ingest = Ingest {
            name,
            creates,
            if_exists,
            rows: Box::pin(rows(messages).await?),
        };
        self.queries.ingest(&session, origin, ingest).await
    }
}

/// Whether a missing table is created, and what happens to one that exists. What a client leaves open is a refusal.
fn modes(options: &TableDefinitionOptions) -> Result<(bool, IfExists)> {
    let unknown = |option: i32| Error::request(format!("{option} is no way to define a table"));
    let missing = TableNotExistOption::try_from(options.if_not_exist).map_err(|_| unknown(options.if_not_exist))?;
    let exists = TableExistsOption::try_from(options.if_exists).map_err(|_| unknown(options.if_exists))?;
    let creates = missing == TableNotExistOption::Create;
    let if_exists = match exists {
        TableExistsOption::Unspecified | TableExistsOption::Fail => IfExists::Fail,
        TableExistsOption::Append => IfExists::Append,
        TableExistsOption::Replace => IfExists::Replace,
    };
    Ok((creates, if_exists))
}

/// The rows in an upload, in types that every table format knows or widens. One message is held at a time.
async fn rows(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<RecordBatchStreamAdapter<impl Stream<Item = Result<RecordBatch, DataFusionError>>>> {
    let messages = messages
        // Some clients begin with a message that has a descriptor only.
        .try_filter(|message| future::ready(!message.data_header.is_empty()))
        .map_err(FlightError::from);
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    // The columns are known when the first batch is, or the end.
    let first = batches.try_next().await.map_err(unreadable)?;
    let found = batches
        .schema()
        .ok_or_else(|| Error::request("the upload has no schema, so that its columns are unknown"))?;
    let columns = widened(&schema::of_result(found));
    let converted = Arc::clone(&columns);
    let rows = stream::iter(first.map(Ok)).chain(batches).map(move |batch| {
        let batch = batch.map_err(|error| DataFusionError::External(Box::new(unreadable(error))))?;
        Ok(schema::convert(&batch, &converted)?)
    });
    Ok(RecordBatchStreamAdapter::new(columns, rows))
}

/// The columns in types that hold all of their values in a table: none has unsigned numbers of 64 bits.
fn widened(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::UInt64 => Arc::new(field.as_ref().clone().with_data_type(DataType::Decimal128(20, 0))),
        _ => Arc::clone(field),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn unreadable(error: FlightError) -> Error {
    Error::request(format!("the rows of the upload cannot be read: {error}"))
}
