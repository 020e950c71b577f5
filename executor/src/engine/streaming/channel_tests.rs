//! Rows that nobody asks for are asked for in time.

use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{ArrayRef, Int64Array};
use futures::TryStreamExt;

use super::*;

fn numbers(asked: &Arc<AtomicUsize>) -> Partition {
    let asked = Arc::clone(asked);
    let batch = move |number| {
        asked.fetch_add(1, Ordering::Relaxed);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        RecordBatch::try_from_iter([("n", column)]).map_err(DataFusionError::from)
    };
    stream::iter(0..3).map(batch).boxed()
}

#[tokio::test]
async fn after_a_while_the_first_rows_are_fetched_and_no_more() {
    let asked = Arc::new(AtomicUsize::new(0));
    let partition = awaited(numbers(&asked), Duration::from_millis(20));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(partition.try_collect::<Vec<_>>().await.unwrap().len(), 3);
}

#[tokio::test]
async fn who_asks_early_gets_all_rows_at_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let partition = awaited(numbers(&asked), Duration::from_secs(3600));
    assert_eq!(partition.try_collect::<Vec<_>>().await.unwrap().len(), 3);
    let nothing = awaited(stream::empty().boxed(), Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(nothing.try_collect::<Vec<_>>().await.unwrap().is_empty());
}
