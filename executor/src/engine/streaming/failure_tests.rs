//! A loss is an error as long as rows are missing, and none afterwards.

use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{FutureExt, TryStreamExt, stream};
use tokio::sync::watch;

use super::*;

/// One batch of a stream that never ends; its executor is lost after a while.
async fn received(total: Option<usize>) -> Result<usize, DataFusionError> {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("n", column)])?;
    let schema = batch.schema();
    let rows = stream::iter([Ok(batch)]).chain(stream::pending());
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
    let loss = async {
        tokio::time::sleep(ENDING / 4).await;
        Error::Expired
    };
    let (_reporter, failures) = failures();
    let (_total, batches) = watch::channel(total);
    let rows: Vec<_> = failures.watch(rows, loss.boxed(), batches).try_collect().await?;
    Ok(rows.len())
}

#[tokio::test]
async fn a_loss_before_the_last_row_is_an_error() {
    assert!(received(None).await.is_err());
    assert!(received(Some(2)).await.is_err());
}

#[tokio::test]
async fn a_loss_after_the_last_row_is_none() {
    assert_eq!(received(Some(1)).await.unwrap(), 1);
}

#[tokio::test]
async fn executors_that_never_end_hold_no_query_up() {
    let nothing = stream::pending::<Result<RecordBatch, DataFusionError>>();
    let schema = Arc::new(datafusion::arrow::datatypes::Schema::empty());
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema, nothing));
    let (_reporter, failures) = failures();
    let (_total, batches) = watch::channel(Some(0));
    let rows = failures.watch(rows, std::future::pending().boxed(), batches);
    assert!(rows.try_collect::<Vec<_>>().await.unwrap().is_empty());
}
