//! Bound parameters: one row that a client uploads, kept as Arrow IPC inside handles and tickets, or many rows that come
//! with the call which runs a write.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt, TryStreamExt, future};
use tonic::Status;

use super::schema;
use crate::error::{Error, Result};

/// They travel in every later call, and gRPC bounds a call's size.
const BYTES_MAX: usize = 1024 * 1024;

/// So much comes with one call that runs a write: the rows are held in memory.
const BATCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads all rows of an upload; none where the client sent no row, or rows without columns.
pub(super) async fn receive_rows(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Vec<RecordBatch>> {
    let mut batches = FlightRecordBatchStream::new_from_flight_data(bounded(messages, BATCH_BYTES_MAX));
    let mut rows = Vec::new();
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(unreadable)?;
        if batch.num_rows() > 0 && batch.num_columns() > 0 {
            let schema = schema::of_result(&batch.schema());
            rows.push(schema::convert(&batch, &schema).map_err(DataFusionError::from)?);
        }
    }
    Ok(rows)
}

/// Ends with an error where the messages have more than `bytes_max`.
fn bounded(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    bytes_max: usize,
) -> impl Stream<Item = Result<FlightData, FlightError>> + Send + 'static {
    let mut bytes = 0;
    messages
        // Some clients begin with a message that has a descriptor only.
        .try_filter(|message| future::ready(!message.data_header.is_empty()))
        .map_err(FlightError::from)
        .and_then(move |message| {
            bytes += message.data_body.len();
            future::ready(match bytes <= bytes_max {
                true => Ok(message),
                false => Err(FlightError::protocol(format!(
                    "they are larger than {} MiB",
                    bytes_max / 1024 / 1024
                ))),
            })
        })
}

fn unreadable(error: FlightError) -> Error {
    Error::request(format!("the parameters cannot be read: {error}"))
}

/// Reads the one row of an upload; empty when the client sent no row, or a row without columns.
pub(super) async fn receive(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Vec<u8>> {
    let mut batches = FlightRecordBatchStream::new_from_flight_data(bounded(messages, BYTES_MAX));
    let mut row: Option<RecordBatch> = None;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(unreadable)?;
        if batch.num_rows() == 0 {
            continue;
        }
        if batch.num_rows() > 1 || row.is_some() {
            return Err(Error::statement(
                "a query takes one row of parameters, and several are bound",
            ));
        }
        row = Some(batch);
    }
    match row {
        Some(row) if row.num_columns() > 0 => pack(&row),
        _ => Ok(Vec::new()),
    }
}

/// The values in a row that [`receive`] packed.
pub(super) fn values(packed: &[u8]) -> Result<Vec<ScalarValue>> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let batches = StreamReader::try_new(Cursor::new(packed), None).map_err(DataFusionError::from)?;
    let mut values = Vec::new();
    for batch in batches {
        let batch = batch.map_err(DataFusionError::from)?;
        for column in batch.columns() {
            values.push(ScalarValue::try_from_array(column, 0)?);
        }
    }
    Ok(values)
}

/// The rows that [`receive`] packed: one or none.
pub(super) fn rows(packed: &[u8]) -> Result<Vec<RecordBatch>> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let batches = StreamReader::try_new(Cursor::new(packed), None).map_err(DataFusionError::from)?;
    let rows = batches.collect::<Result<Vec<_>, _>>();
    Ok(rows.map_err(DataFusionError::from)?)
}

fn pack(row: &RecordBatch) -> Result<Vec<u8>> {
    let schema = schema::of_result(&row.schema());
    let row = schema::convert(row, &schema).map_err(DataFusionError::from)?;
    let mut packed = Vec::new();
    let mut write = || {
        let mut writer = StreamWriter::try_new(&mut packed, &schema)?;
        writer.write(&row)?;
        writer.finish()
    };
    write().map_err(DataFusionError::from)?;
    Ok(packed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use futures::stream;

    use super::*;

    async fn upload(batches: Vec<RecordBatch>) -> Result<Vec<ScalarValue>> {
        let encoded = FlightDataEncoderBuilder::new().build(stream::iter(batches.into_iter().map(Ok)));
        let mut messages: Vec<_> = encoded.try_collect().await.unwrap();
        messages.insert(0, FlightData::default());
        values(&receive(stream::iter(messages.into_iter().map(Ok))).await?)
    }

    fn row(rows: usize, text: &str) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7); rows]));
        let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None; rows]));
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![text; rows]));
        RecordBatch::try_from_iter([("$1", numbers), ("$2", nulls), ("$3", texts)]).unwrap()
    }

    #[tokio::test]
    async fn one_row_comes_back_as_values() {
        let expect = vec![
            ScalarValue::from(7_i64),
            ScalarValue::Int64(None),
            ScalarValue::from("a longer text than 12"),
        ];
        assert_eq!(upload(vec![row(1, "a longer text than 12")]).await.unwrap(), expect);
        assert_eq!(upload(vec![]).await.unwrap(), vec![]);
        assert_eq!(upload(vec![row(0, "")]).await.unwrap(), vec![]);
    }

    #[tokio::test]
    async fn several_rows_and_large_rows_are_refused() {
        let error = upload(vec![row(2, "x")]).await.unwrap_err();
        assert!(error.to_string().contains("one row"), "{error}");
        let error = upload(vec![row(1, "x"), row(1, "y")]).await.unwrap_err();
        assert!(error.to_string().contains("one row"), "{error}");
        let error = upload(vec![row(1, &"x".repeat(BYTES_MAX))]).await.unwrap_err();
        assert!(error.to_string().contains("1 MiB"), "{error}");
    }
}
