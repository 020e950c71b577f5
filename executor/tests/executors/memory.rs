//! Queries that do not fit into memory end: with rows or with an error, never without end.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use executor::{Config, Mode};

use crate::support::{config, engines, run};

/// Two input tasks of one shuffle spill at once into the same output: apache/datafusion#24883. With files of the
/// default size the first attempt hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn spilling_shuffles_do_not_wait_for_each_other() {
    let tight = Config {
        memory_bytes_max: Some(4 << 20),
        ..config(Mode::Embedded)
    };
    let mut answered = 0;
    for attempt in 0..12 {
        let engines = engines(&tight).await;
        let small = SessionConfig::new().with_batch_size(64);
        let state = engines
            .session_state(small, Arc::new(MemoryCatalogProviderList::new()))
            .unwrap();
        let session = SessionContext::new_with_state(state);
        session.register_table("spans", Arc::new(spans())).unwrap();
        let sql = "SELECT g, count(DISTINCT trace_id) AS n FROM spans GROUP BY g";
        let result = tokio::time::timeout(Duration::from_secs(20), run(&engines, &session, sql)).await;
        match result.unwrap_or_else(|_| panic!("attempt {attempt} hangs")) {
            Ok(batches) => {
                assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 13);
                answered += 1;
            }
            Err(error) => assert!(
                matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)),
                "{error}"
            ),
        }
    }
    assert!(answered > 6, "only {answered} attempts had enough memory");
}

/// 40,000 rows in two partitions of small batches.
fn spans() -> MemTable {
    let batch = |from: i64| {
        let rows = from..from + 64;
        let groups: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.clone().map(|row| row % 13)));
        let traces = rows.map(|row| (row % 29 != 0).then(|| format!("{:032x}", (row % 337) * 0x9e37_79b9)));
        let traces: ArrayRef = Arc::new(StringViewArray::from_iter(traces));
        RecordBatch::try_from_iter([("g", groups), ("trace_id", traces)]).unwrap()
    };
    let partition = |first: i64| (0..313).map(|index| batch((first + index) * 64)).collect::<Vec<_>>();
    let partitions = vec![partition(0), partition(313)];
    MemTable::try_new(partitions[0][0].schema(), partitions).unwrap()
}
