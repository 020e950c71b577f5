//! Every file is read once, and no leaf is split that must stay whole.

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, Partitioning, PhysicalSortExpr};
use datafusion::prelude::SessionConfig;

use super::*;

/// Groups of files by their sizes in bytes.
fn leaf(groups: &[&[u64]], sorted: bool, declared: bool) -> Arc<dyn ExecutionPlan> {
    let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let id = col("id", &schema).unwrap();
    let ordering = LexOrdering::new([PhysicalSortExpr::new_default(Arc::clone(&id))]);
    let mut number = 0;
    let mut file = |size: &u64| {
        number += 1;
        PartitionedFile::new(format!("{number}.parquet"), *size)
    };
    let files = groups
        .iter()
        .map(|sizes| FileGroup::new(sizes.iter().map(&mut file).collect()))
        .collect();
    let mut scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(ParquetSource::new(schema)))
        .with_file_groups(files)
        .with_output_ordering(ordering.into_iter().filter(|_| sorted).collect())
        .build();
    scan.output_partitioning = declared.then(|| Partitioning::Hash(vec![id], groups.len()));
    DataSourceExec::from_data_source(scan)
}

/// The bytes each partition of each task reads.
fn split_into(plan: &Arc<dyn ExecutionPlan>, task_count: usize) -> Vec<Vec<u64>> {
    let session_config = SessionConfig::new();
    let event = ScaleUpLeafNodeEvent {
        plan,
        task_count,
        session_config: &session_config,
    };
    let response = split(event).unwrap().unwrap();
    let leaf = response.plan.downcast_ref::<DistributedLeafExec>().unwrap();
    let bytes = |group: &FileGroup| group.iter().map(PartitionedFile::effective_size).sum();
    leaf.variants()
        .iter()
        .map(|task| file_scan(task).unwrap().file_groups.iter().map(bytes).collect())
        .collect()
}

fn stays_whole(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let session_config = SessionConfig::new();
    let event = DesiredTaskCountEvent {
        plan,
        session_config: &session_config,
    };
    tasks_max(event).is_some_and(|response| response.is_ok())
}

#[test]
fn files_are_cut_into_equal_parts() {
    assert_eq!(split_into(&leaf(&[&[600], &[600]], false, false), 3), [[200, 200]; 3]);
}

#[test]
fn too_few_bytes_leave_partitions_empty() {
    assert_eq!(
        split_into(&leaf(&[&[4], &[4]], false, false), 3),
        [[2, 2], [2, 0], [2, 0]]
    );
    assert_eq!(split_into(&leaf(&[&[0], &[0]], false, false), 3), [[0], [0], [0]]);
}

#[test]
fn sorted_groups_stay_sorted() {
    assert_eq!(
        split_into(&leaf(&[&[7, 8], &[9, 1]], true, false), 3),
        [[15], [10], [0]]
    );
}

#[test]
fn one_partition_or_declared_partitions_stay_whole() {
    assert!(stays_whole(&leaf(&[&[600, 600]], false, false)));
    assert!(stays_whole(&leaf(&[&[600], &[600]], false, true)));
    assert!(!stays_whole(&leaf(&[&[600], &[600]], false, false)));
}
