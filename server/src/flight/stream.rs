//! DoGet: batches to Flight messages at the pace of the client, and errors to the status that clients get.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use executor::results;
use futures::{Stream, stream};
use tonic::Status;

use super::refuse;
use crate::error::Result;

pub(super) use executor::results::FlightStream;

/// The rows of a query with the columns of `schema`, which [`of_result`](super::schema::of_result) made for them.
pub(super) fn of_query(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    compression: Option<CompressionType>,
) -> Result<FlightStream> {
    Ok(results::of_query(rows, schema, compression, refused)?)
}

/// Batches of these columns as they are.
pub(super) fn of_batches(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    schema: SchemaRef,
) -> FlightStream {
    results::of_batches(batches, schema, refused)
}

/// One batch as it is.
pub(super) fn of_batch(batch: RecordBatch) -> FlightStream {
    let schema = batch.schema();
    of_batches(stream::once(async { Ok(batch) }), schema)
}

fn refused(error: DataFusionError) -> Status {
    refuse(error.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow_flight::decode::FlightRecordBatchStream;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::{StreamExt, TryStreamExt};
    use tonic::Code;

    use super::super::schema;
    use super::*;

    fn numbers(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    async fn sizes(batch: RecordBatch) -> Vec<usize> {
        let messages: Vec<_> = of_batch(batch).try_collect().await.unwrap();
        assert!(
            messages
                .iter()
                .all(|message| message.data_body.len() <= (2 << 20) + 4096)
        );
        let messages = stream::iter(messages.into_iter().map(Ok));
        let batches: Vec<_> = FlightRecordBatchStream::new_from_flight_data(messages)
            .try_collect()
            .await
            .unwrap();
        batches.iter().map(RecordBatch::num_rows).collect()
    }

    #[tokio::test]
    async fn messages_are_small_and_no_smaller_than_needed() {
        assert_eq!(sizes(numbers(1000)).await, [1000]);
        assert_eq!(sizes(numbers(1_000_000)).await, [250_000; 4]);
        // A slice is measured by its own rows, not by the buffer it was cut from.
        assert_eq!(sizes(numbers(1_000_000).slice(500_000, 8192)).await, [8192]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1_500_000); 3]));
        assert_eq!(
            sizes(RecordBatch::try_from_iter([("t", text)]).unwrap()).await,
            [1, 1, 1]
        );
    }

    #[tokio::test]
    async fn an_empty_result_has_a_schema() {
        let messages: Vec<_> = of_batch(numbers(0)).try_collect().await.unwrap();
        let schema = Schema::try_from(messages.first().unwrap()).unwrap();
        assert_eq!(schema, Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    }

    #[tokio::test]
    async fn results_are_compressed_where_that_is_asked_for() {
        let bytes = async |compression| {
            let sevens: ArrayRef = Arc::new(Int64Array::from(vec![7; 10_000]));
            let batch = RecordBatch::try_from_iter([("n", sevens)]).unwrap();
            let schema = batch.schema();
            let rows = stream::iter(vec![Ok(batch.clone())]);
            let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows));
            let messages = of_query(rows, schema::of_result(&schema), compression).unwrap();
            let messages: Vec<_> = messages.try_collect().await.unwrap();
            let bytes: usize = messages.iter().map(|message| message.data_body.len()).sum();
            let messages = stream::iter(messages.into_iter().map(Ok));
            let batches: Vec<_> = FlightRecordBatchStream::new_from_flight_data(messages)
                .try_collect()
                .await
                .unwrap();
            assert_eq!(batches[0].column(0), batch.column(0));
            bytes
        };
        let plain = bytes(None).await;
        for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            assert!(bytes(Some(compression)).await < plain / 2, "{compression:?}");
        }
    }

    #[tokio::test]
    async fn an_error_after_rows_keeps_its_status() {
        let schema = numbers(1).schema();
        let failure = DataFusionError::ResourcesExhausted("out of memory".to_owned());
        let rows = stream::iter(vec![Ok(numbers(10)), Err(failure)]);
        let rows = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows));
        let mut messages = of_query(rows, schema::of_result(&schema), None).unwrap();
        assert!(messages.next().await.unwrap().is_ok(), "schema");
        assert!(messages.next().await.unwrap().is_ok(), "rows");
        let status = messages.next().await.unwrap().unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::ResourceExhausted, "out of memory")
        );
        assert!(messages.next().await.is_none());
    }
}
