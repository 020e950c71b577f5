//! What a plan knows to be constant it does not sort by, although windows are partitioned by it. A stage that reads rows of
//! another one does not know of the constant, and its windows refuse rows that seem to be unsorted. Here sorts below windows
//! name all columns that the windows are partitioned by. No row changes its place: only what is the same in all rows that
//! the columns before it leave together is added.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, ReplaceChildrenOptions,
};

/// Makes sorts below windows whole.
#[derive(Debug)]
pub(super) struct WholeSorts;

impl PhysicalOptimizerRule for WholeSorts {
    fn name(&self) -> &str {
        "WholeSorts"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        plan.transform_down(|node| {
            Ok(match wholly_sorted(&node, &mut Vec::new())? {
                Some(whole) => Transformed::yes(whole),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `node`, a chain of windows above a sort, with a sort that is whole; `None` where it is something else, or whole
/// already. `above` are the partitions of the windows above it.
fn wholly_sorted(
    node: &Arc<dyn ExecutionPlan>,
    above: &mut Vec<Vec<Arc<dyn PhysicalExpr>>>,
) -> Result<Option<Arc<dyn ExecutionPlan>>, DataFusionError> {
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        return Ok(whole(sort, above));
    }
    let (Some(partition_by), [input]) = (partition_by(node), &*node.children()) else {
        return Ok(None);
    };
    above.push(partition_by);
    let Some(input) = wholly_sorted(input, above)? else {
        return Ok(None);
    };
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node).replace_children(vec![input], options).map(Some)
}

fn partition_by(node: &Arc<dyn ExecutionPlan>) -> Option<Vec<Arc<dyn PhysicalExpr>>> {
    let windows = match node.downcast_ref::<BoundedWindowAggExec>() {
        Some(node) => node.window_expr(),
        None => node.downcast_ref::<WindowAggExec>()?.window_expr(),
    };
    windows.first().map(|window| window.partition_by().to_vec())
}

/// Adds the constants that are missing, behind the columns of the same window that are sorted by: windows of fewer columns
/// below or above it keep theirs in front. What is missing for another reason, such as a month where the day is sorted by,
/// stays out: sorting by it may turn an order around that others rely on.
fn whole(sort: &SortExec, windows: &[Vec<Arc<dyn PhysicalExpr>>]) -> Option<Arc<dyn ExecutionPlan>> {
    let known = sort.input().equivalence_properties();
    let mut sorted: Vec<PhysicalSortExpr> = sort.expr().iter().cloned().collect();
    let before = sorted.len();
    for partition_by in windows {
        let prefix = sorted
            .iter()
            .take_while(|sorted| partition_by.iter().any(|expr| sorted.expr.eq(expr)))
            .count();
        let is_sorted = |expr: &Arc<dyn PhysicalExpr>| sorted.iter().any(|sorted| sorted.expr.eq(expr));
        let equals_one = |expr: &Arc<dyn PhysicalExpr>| {
            let class = known.eq_group().get_equivalence_class(expr);
            sorted
                .iter()
                .take(prefix)
                .any(|sorted| class.is_some_and(|class| class.contains(&sorted.expr)))
        };
        let missing: Vec<_> = partition_by
            .iter()
            .filter(|expr| !is_sorted(expr) && (known.is_expr_constant(expr).is_some() || equals_one(expr)))
            .map(|expr| PhysicalSortExpr::new_default(Arc::clone(expr)))
            .collect();
        sorted.splice(prefix..prefix, missing);
    }
    if sorted.len() == before {
        return None;
    }
    let whole = SortExec::new(LexOrdering::new(sorted)?, Arc::clone(sort.input()))
        .with_preserve_partitioning(sort.preserve_partitioning())
        .with_fetch(sort.fetch());
    Some(Arc::new(whole))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::physical_plan::displayable;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    async fn sorts(sql: &str) -> (Vec<String>, Vec<String>) {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        let table = "CREATE TABLE t AS VALUES (1, 2, 3), (1, 3, 4), (2, 3, 4)";
        context.sql(table).await.unwrap();
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let whole = WholeSorts
            .optimize(Arc::clone(&plan), context.state().config_options())
            .unwrap();
        let lines = |plan: &Arc<dyn ExecutionPlan>| {
            let text = displayable(plan.as_ref()).indent(false).to_string();
            let sorts = text.lines().map(str::trim).filter(|line| line.starts_with("SortExec"));
            sorts.map(str::to_owned).collect::<Vec<_>>()
        };
        (lines(&plan), lines(&whole))
    }

    #[tokio::test]
    async fn a_constant_is_sorted_by_behind_the_other_columns_of_its_window() {
        let (before, after) = sorts(
            "SELECT sum(column3) OVER (PARTITION BY column1, column2), \
                    rank() OVER (PARTITION BY column2 ORDER BY column1, column3) \
             FROM t WHERE column1 = 1",
        )
        .await;
        assert!(!before.iter().any(|sort| sort.contains("column1")), "{before:?}");
        assert_eq!(before.len(), after.len());
        assert!(
            after
                .iter()
                .any(|sort| sort.contains("expr=[column2@1 ASC NULLS LAST, column1@0 ASC")),
            "{before:?} became {after:?}"
        );
    }

    #[tokio::test]
    async fn what_only_follows_from_an_order_does_not_change_it() {
        let (before, after) = sorts(
            "SELECT sum(n) OVER (PARTITION BY month), rank() OVER (ORDER BY moment DESC) FROM ( \
             SELECT column1 AS n, to_timestamp(column2) AS moment, date_trunc('month', to_timestamp(column2)) AS month \
             FROM t) AS moments",
        )
        .await;
        assert_eq!(before, after);
        assert!(before.iter().any(|sort| sort.contains("DESC")), "{before:?}");
    }

    #[tokio::test]
    async fn what_is_whole_stays() {
        let (before, after) = sorts("SELECT sum(column3) OVER (PARTITION BY column1, column2) FROM t").await;
        assert_eq!(before, after);
        assert!(!before.is_empty());
    }
}
