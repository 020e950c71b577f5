//! Rows as Flight messages, at the pace of the client: a message is made when gRPC asks for one. The server and the
//! executors that hand out results themselves write them alike.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::{Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::CompressionType;
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tonic::Status;

/// Well below the 4 MiB that gRPC clients accept by default.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Proxies that cut silent connections wait for at least a minute.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Where a client finds the SQLSTATE of an error: among the trailers of a failed call. The messages of Flight SQL have no
/// place for it.
pub const SQLSTATE_HEADER: &str = "x-lakewing-sqlstate";

/// What DoGet answers with.
pub type FlightStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// The rows of a query with the columns of `schema`. While there are none, empty batches show that the query lives.
/// `refuse` makes the status that an error ends the stream with.
///
/// # Errors
/// Where the compression was not built in.
pub fn of_query(
    rows: SendableRecordBatchStream,
    schema: SchemaRef,
    compression: Option<CompressionType>,
    refuse: impl Fn(DataFusionError) -> Status + Clone + Send + 'static,
) -> Result<FlightStream, DataFusionError> {
    let told = SchemaRef::clone(&schema);
    let batches = rows.map(move |batch| Ok(convert(&batch?, &told)?));
    let batches = audible(batches, SchemaRef::clone(&schema), SILENCE_MAX);
    let options = IpcWriteOptions::default().try_with_compression(compression)?;
    Ok(encode(batches, schema, options, refuse))
}

/// Batches of these columns as they are.
pub fn of_batches(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    schema: SchemaRef,
    refuse: impl Fn(DataFusionError) -> Status + Clone + Send + 'static,
) -> FlightStream {
    encode(batches, schema, IpcWriteOptions::default(), refuse)
}

/// `batch` with the columns of `schema`, which may have cheaper types for the same values.
///
/// # Errors
/// Where a value has no place in the type that was told.
pub fn convert(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let digits = |of: &DataType| match of {
        DataType::Decimal128(_, digits) | DataType::Decimal256(_, digits) => Some(*digits),
        _ => None,
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match (column.data_type(), field.data_type()) {
            (has, told) if has == told => Ok(Arc::clone(column)),
            // A cast would round, and nobody would know.
            (has, told) if digits(has).zip(digits(told)).is_some_and(|(has, told)| told < has) => {
                let detail = format!(
                    "the column {} has the type {has} and was announced as {told}",
                    field.name()
                );
                Err(ArrowError::SchemaError(detail))
            }
            (_, told) => cast(column, told),
        }
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
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

/// The schema comes first, and comes even when there are no rows.
fn encode(
    batches: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
    schema: SchemaRef,
    options: IpcWriteOptions,
    refuse: impl Fn(DataFusionError) -> Status + Clone + Send + 'static,
) -> FlightStream {
    let refuse_rows = refuse.clone();
    let pieces = batches
        .map(|batch| pieces(batch?).map(|pieces| stream::iter(pieces.into_iter().map(Ok))))
        .try_flatten();
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_options(options)
        // The encoder would measure whole buffers, although a batch may be a small slice of them.
        .with_max_flight_data_size(usize::MAX)
        .build(pieces.map_err(move |error: DataFusionError| FlightError::from(refuse_rows(error))));
    Box::pin(messages.map_err(move |error| match error {
        FlightError::Tonic(status) => *status,
        FlightError::Arrow(error) => refuse(DataFusionError::from(error)),
        other => refuse(DataFusionError::External(Box::new(other))),
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
    use datafusion::arrow::array::{ArrayRef, Decimal128Array, Int64Array};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    fn numbers(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn digits_are_never_cut() {
        let check = |has: (u8, i8), told: (u8, i8), fits: bool| {
            let column = Decimal128Array::from(vec![12_345])
                .with_precision_and_scale(has.0, has.1)
                .unwrap();
            let batch = RecordBatch::try_from_iter([("d", Arc::new(column) as ArrayRef)]).unwrap();
            let told = Field::new("d", DataType::Decimal128(told.0, told.1), true);
            let converted = convert(&batch, &Arc::new(Schema::new(vec![told])));
            assert_eq!(converted.is_ok(), fits, "{converted:?}");
        };
        check((10, 4), (10, 2), false);
        check((10, 2), (12, 4), true);
        check((10, 2), (10, 2), true);
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
}
