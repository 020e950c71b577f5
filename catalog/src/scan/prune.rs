//! Which containers of rows (manifests, data files) can hold a row that a filter keeps.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

/// Which containers of `statistics` may hold a row for which `predicate` is true; `None` where the predicate is too
/// complex to reason about.
pub(crate) fn containers(
    schema: &SchemaRef,
    predicate: &Arc<dyn PhysicalExpr>,
    statistics: &impl PruningStatistics,
) -> Option<Vec<bool>> {
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    builder.try_build(Arc::clone(predicate)).ok()?.prune(statistics).ok()
}
