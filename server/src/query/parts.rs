//! Results in parts: several streams for a client that fetches them side by side. Only where each row of the result is made
//! of one row of one table, and of nothing that differs from one run to the next, since every part is a query of its own.

use catalog::LakeTable;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use uuid::Uuid;

use super::{Origin, Queries, guarded};
use crate::error::Result;
use crate::sql::plan::Plan;

/// A client opens all of them at once. More than there are cores to make them only get into each other's way.
const PARTS_MAX: usize = 16;
/// A part reads about so many bytes of files: fewer are not worth a stream of their own.
const PART_BYTES: u64 = 16 << 20;

impl Queries {
    /// In how many parts the rows of the query `id`, which was offered to `user` a moment ago, are best fetched.
    pub(crate) async fn parts(&self, id: Uuid, user: &str, origin: &Origin) -> Result<u32> {
        let limits = self.admission.limits(user, origin);
        // What limits a whole query cannot be told from the outside of its parts.
        if limits.scan_bytes_max.is_some() || self.admission.rows_max(user, origin).is_some() {
            return Ok(1);
        }
        let table = self.look_at_planned(id, |plan| only_table(&plan.plan)).await;
        let Some(table) = table.transpose()?.flatten() else {
            return Ok(1);
        };
        if table.bytes().await?.is_some_and(|bytes| bytes < 2 * PART_BYTES) {
            return Ok(1);
        }
        let Some(plan) = self.look_at_planned(id, Plan::clone).await else {
            return Ok(1);
        };
        let bytes = guarded(async { Ok(self.engines.divisible_bytes(&plan.state, &plan.plan).await?) }).await?;
        let most = plan.state.config().target_partitions().clamp(1, PARTS_MAX);
        let parts = bytes.unwrap_or(0) / PART_BYTES;
        Ok(u32::try_from(parts.clamp(1, most as u64)).unwrap_or(1))
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
