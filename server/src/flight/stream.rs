//! DoGet: batches to Flight messages at the pace of the client. Nothing is read ahead: a message is made when gRPC
//! asks for one.

use std::pin::Pin;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tonic::Status;

use super::{refuse, schema};

/// Well below the 4 MiB that gRPC clients accept by default.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Proxies that cut silent connections wait for at least a minute.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What DoGet answers with.
pub(super) type FlightStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// The rows of a query with the columns of `schema`, which [`schema::of_result`] made for them. While there are none,
/// empty batches show that the query lives.
pub(super) fn of_query(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    compression: Option<CompressionType>,
) -> Result<FlightStream, crate::error::Error> {
    let told = SchemaRef::clone(&schema);
    let batches = rows.map(move |batch| Ok(schema::convert(&batch?, &told)?));
    let batches = audible(batches, SchemaRef::clone(&schema), SILENCE_MAX);
    let options = IpcWriteOptions::default().try_with_compression(compression);
    Ok(encode(batches, schema, options.map_err(DataFusionError::from)?))
}

/// Batches of these columns as they are.
pub(super) fn of_batches(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    schema: SchemaRef,
) -> FlightStream {
    encode(batches, schema, IpcWriteOptions::default())
}

/// `batches`, and an empty one whenever none came for `silence`: proxies cut connections on which nothing moves.
fn audible(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    schema: SchemaRef,
    silence: Duration,
) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static {
    stream::unfold((Box::pin(batches), schema), move |(mut batches, schema)| async move {
        let batch = match tokio::time::timeout(silence, batches.next()).await {
            Ok(batch) => batch?,
            Err(_) => Ok(RecordBatch::new_empty(SchemaRef::clone(&schema))),
        };
        Some((batch, (batches, schema)))
    })
}

/// One batch as it is.
pub(super) fn of_batch(batch: RecordBatch) -> FlightStream {
    let schema = batch.schema();
    of_batches(stream::once(async { Ok(batch) }), schema)
}

/// The schema comes first, and comes even when there are no rows.
fn encode(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    schema: SchemaRef,
    options: IpcWriteOptions,
) -> FlightStream {
    let pieces = batches
        .map(|batch| pieces(batch?).map(|pieces| stream::iter(pieces.into_iter().map(Ok))))
        .try_flatten();
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_options(options)
        // The encoder would measure whole buffers, although a batch may be a small slice of them.
        .with_max_flight_data_size(usize::MAX)
        .build(pieces.map_err(|error: DataFusionError| FlightError::from(refuse(error.into()))));
    Box::pin(messages.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(error) => refuse(DataFusionError::from(error).into()),
        other => refuse(DataFusionError::External(Box::new(other)).into()),
    }))
}

/// Halves a batch until each piece fits into a message; a single row is never cut.
fn pieces(batch: RecordBatch) -> Result<Vec<RecordBatch>, DataFusionError> {
    let sizes = batch
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size());
    let rows = batch.num_rows();
    if rows <= 1 || sizes.sum::<Result<usize, _>>()? <= MESSAGE_BYTES_MAX {
        return Ok(vec![batch]);
    }
    let (first, second) = (batch.slice(0, rows / 2), batch.slice(rows / 2, rows - rows / 2));
    Ok([pieces(first)?, pieces(second)?].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow_flight::decode::FlightRecordBatchStream;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use tonic::Code;

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
                .all(|message| message.data_body.len() <= MESSAGE_BYTES_MAX + 4096)
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
    async fn silence_is_broken_by_empty_batches() {
        let slow = stream::once(async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(numbers(3))
        });
        let heard = audible(slow, numbers(0).schema(), Duration::from_millis(30));
        let rows: Vec<_> = heard.map_ok(|batch| batch.num_rows()).try_collect().await.unwrap();
        let (last, silent) = rows.split_last().unwrap();
        assert_eq!(*last, 3);
        assert!(!silent.is_empty() && silent.iter().all(|rows| *rows == 0), "{silent:?}");
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
