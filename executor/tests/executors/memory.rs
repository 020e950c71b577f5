//! Queries that do not fit into memory end: with rows or with an error, never without end.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use executor::{Config, Mode};

use crate::support::{config, engines, run};

/// Two input tasks of one shuffle spill at once into the same output: apache/datafusion#24883.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn spilling_shuffles_do_not_wait_for_each_other() {
    let tight = Config {
        memory_bytes_max: Some(4 << 20),
        ..config(Mode::Embedded)
    };
    for attempt in 0..12 {
        let engines = engines(&tight).await;
        let state = engines
            .session_state(SessionConfig::new(), Arc::new(MemoryCatalogProviderList::new()))
            .unwrap();
        let session = SessionContext::new_with_state(state);
        session.register_table("spans", Arc::new(spans())).unwrap();
        let sql = "SELECT g, count(DISTINCT trace_id) AS n FROM spans GROUP BY g";
        let result = tokio::time::timeout(Duration::from_secs(20), run(&engines, &session, sql)).await;
        let batches = result.unwrap_or_else(|_| panic!("attempt {attempt} hangs")).unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    }
}

/// 40,000 rows in two partitions.
fn spans() -> MemTable {
    let batch = |from: i64| {
        let ids = from..from + 1000;
        let groups: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.clone().map(|id| id % 10)));
        let traces = ids.map(|id| format!("{:032x}", id.wrapping_mul(0x9e37_79b9)));
        let traces: ArrayRef = Arc::new(StringArray::from_iter_values(traces));
        RecordBatch::try_from_iter([("g", groups), ("trace_id", traces)]).unwrap()
    };
    let partition = |first: i64| (0..20).map(|index| batch((first + index) * 1000)).collect::<Vec<_>>();
    let partitions = vec![partition(0), partition(20)];
    MemTable::try_new(partitions[0][0].schema(), partitions).unwrap()
}
