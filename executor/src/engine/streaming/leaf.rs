//! How many tasks may read a leaf, and which files each of them reads.

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;

use std::iter::repeat_with;
use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfig};
use datafusion::error::DataFusionError;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DistributedLeafExec, ScaleUpLeafNodeEvent,
    ScaleUpLeafNodeEventResponse,
};

use crate::error::Result;

/// Keeps the stage of a leaf in one task where splitting the leaf gives wrong rows: a leaf with one partition, because
/// DataFusion plans single-step aggregates and limits above it, and a leaf that declares which rows its partitions
/// hold, because joins above rely on it.
pub(super) fn tasks_max(
    event: DesiredTaskCountEvent<'_>,
) -> Option<Result<DesiredTaskCountEventResponse, DataFusionError>> {
    let declared = file_scan(event.plan).is_some_and(|scan| scan.output_partitioning.is_some());
    let single = event.plan.children().is_empty() && event.plan.output_partitioning().partition_count() == 1;
    (declared || single).then(|| Ok(DesiredTaskCountEventResponse::maximum(1)))
}

/// Deals the files of a scan, or ranges of them, to its tasks. Every task gets equally many partitions: some may be
/// empty.
pub(super) fn split(event: ScaleUpLeafNodeEvent<'_>) -> Option<Result<ScaleUpLeafNodeEventResponse, DataFusionError>> {
    let scan = file_scan(event.plan)?;
    let partitions = event.plan.output_partitioning().partition_count();
    let by_range = || {
        FileGroupPartitioner::new()
            .with_target_partitions(partitions * event.task_count)
            .with_repartition_file_min_size(0)
            .with_preserve_order_within_groups(!scan.output_ordering.is_empty())
            .repartition_file_groups(&scan.file_groups)
    };
    // A CSV file whose values have several lines has no place to be cut at.
    let ranges = scan.file_source().supports_repartitioning().then(by_range).flatten();
    let mut groups = ranges.unwrap_or_else(|| scan.file_groups.clone());
    let slots = groups.len().next_multiple_of(event.task_count);
    groups.extend(repeat_with(|| FileGroup::new(Vec::new())).take(slots - groups.len()));

    let mut template = scan.clone();
    template.file_groups.clear();
    let mut tasks = vec![template; event.task_count];
    for (index, group) in groups.into_iter().enumerate() {
        tasks[index % event.task_count].file_groups.push(group);
    }
    let tasks = tasks
        .into_iter()
        .map(|scan| DataSourceExec::from_data_source(scan) as Arc<dyn ExecutionPlan>);
    let leaf = DistributedLeafExec::try_new(Arc::clone(event.plan), tasks);
    Some(leaf.map(|leaf| ScaleUpLeafNodeEventResponse::new(Arc::new(leaf))))
}

pub(in crate::engine) fn file_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?
        .data_source()
        .downcast_ref::<FileScanConfig>()
}
