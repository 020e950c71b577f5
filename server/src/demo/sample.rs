//! The sample query of the demo and its answer as text. Asks like any other client.

use std::time::Instant;

use super::NAMESPACE;
use crate::client::{Connection, Target, table};
use crate::error::Result;

/// TPC-H query 5, revenue of local suppliers: six tables joined, five rows to look at.
pub(super) fn sql(catalog: &str) -> String {
    let from = format!("{catalog}.{NAMESPACE}");
    format!(
        "\
SELECT n_name, sum(l_extendedprice * (1 - l_discount)) AS revenue
FROM {from}.customer, {from}.orders, {from}.lineitem,
     {from}.supplier, {from}.nation, {from}.region
WHERE c_custkey = o_custkey AND l_orderkey = o_orderkey AND l_suppkey = s_suppkey
  AND c_nationkey = s_nationkey AND s_nationkey = n_nationkey AND n_regionkey = r_regionkey
  AND r_name = 'ASIA' AND o_orderdate >= DATE '1994-01-01' AND o_orderdate < DATE '1995-01-01'
GROUP BY n_name ORDER BY revenue DESC"
    )
}

/// Runs the query over `catalog`: its name, the time from sending to the last row, and the rows.
pub(super) async fn answer(target: &Target, catalog: &str) -> Result<String> {
    let mut connection = Connection::open(target).await?;
    let began = Instant::now();
    let mut answer = connection.query(&sql(catalog)).await?;
    let mut batches = vec![arrow::array::RecordBatch::new_empty(answer.schema())];
    while let Some(batch) = answer.next().await? {
        batches.push(batch);
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(format!("{catalog}: {seconds:.3} s\n{}\n", table(&batches)?))
}
