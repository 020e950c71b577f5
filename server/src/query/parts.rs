//! Results in parts: several streams for a client that fetches them side by side. Only where each row of the result is made
//! of one row of one table, and of nothing that differs from one run to the next, since every part is a query of its own.

use catalog::LakeTable;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use executor::Door;

use super::{Origin, Queries, guarded};
use crate::error::Result;
use crate::sql::plan::Plan;

/// A client opens all of them at once. More than there are cores to make them only get into each other's way.
const PARTS_MAX: usize = 16;
/// A part reads about so many bytes of files: fewer are not worth a stream of their own.
const PART_BYTES: u64 = 16 << 20;

impl Queries {
    /// In how many parts the rows of the query of `origin`, which was offered to `user` a moment ago, are best fetched from
    /// so many executors, or from here; none where they cannot be divided, or are few.
    pub(crate) async fn parts(&self, user: &str, origin: &Origin, executors: usize) -> Result<Option<u32>> {
        let id = origin.id;
        let limits = self.admission.limits(user, origin);
        // What limits a whole query cannot be told from the outside of its parts.
        if limits.scan_bytes_max.is_some() || self.admission.rows_max(user, origin).is_some() {
            return Ok(None);
        }
        let table = self.look_at_planned(id, |plan| only_table(&plan.plan)).await;
        let Some(table) = table.transpose()?.flatten() else {
            return Ok(None);
        };
        if table.bytes().await?.is_some_and(|bytes| bytes < 2 * PART_BYTES) {
            return Ok(None);
        }
        let Some(plan) = self.look_at_planned(id, Plan::clone).await else {
            return Ok(None);
        };
        let bytes = guarded(async { Ok(self.engines.divisible_bytes(&plan.state, &plan.plan).await?) }).await?;
        let most = plan
            .state
            .config()
            .target_partitions()
            .max(executors)
            .clamp(1, PARTS_MAX);
        let parts = bytes.unwrap_or(0) / PART_BYTES;
        Ok((parts >= 2).then(|| u32::try_from(parts.min(most as u64)).unwrap_or(1)))
    }

    /// The executors from which the rows of `origin`'s query can be fetched, as a session may that `named` a set of them.
    pub(crate) fn doors(&self, user: &str, origin: &Origin, named: Option<&str>, encrypted: bool) -> Result<Vec<Door>> {
        let limits = self.admission.limits(user, origin);
        let set = named.or(limits.executor_set.as_deref());
        Ok(self.engines.doors(set, encrypted)?)
    }
}

/// The table whose rows the plan gives, each for itself; none where it is another kind of plan.
fn only_table(mut plan: &LogicalPlan) -> Result<Option<LakeTable>, DataFusionError> {
    loop {
        let steady = plan
            .expressions()
            .iter()
            .map(is_steady)
            .collect::<Result<Vec<_>, _>>()?;
        if steady.contains(&false) {
            return Ok(None);
        }
        plan = match plan {
            LogicalPlan::Projection(projection) => &projection.input,
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
                let provider = source_as_provider(&scan.source)?;
                return Ok(provider.downcast_ref::<LakeTable>().cloned());
            }
            _ => return Ok(None),
        };
    }
}

/// Whether an expression gives the same of the same row in every run.
fn is_steady(expression: &Expr) -> Result<bool, DataFusionError> {
    let unsteady = expression.exists(|part| {
        Ok(match part {
            Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
            Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_) => true,
            _ => false,
        })
    })?;
    Ok(!unsteady)
}
