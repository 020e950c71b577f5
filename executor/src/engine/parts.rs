//! A part of a query's rows: those of a part of its files. Which files, or which range of a file, is told by the file's
//! name and size alone, so that all parts together have every row once, wherever and whenever each of them is planned.

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;

use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfig, FileScanConfigBuilder};
use datafusion::error::DataFusionError;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, Statistics};

use super::scan;
use super::streaming::file_scan;
use crate::error::Result;

/// A smaller file is in one part as a whole.
const CUT_BYTES_MIN: u64 = 4 << 20;

/// One of the parts of a query whose plan reads the files of one scan, each row for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

/// The bytes of the files that `plan` reads, where it can be run in parts as far as its scans tell.
pub(super) fn divisible_bytes(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<u64>> {
    match only_scan(plan)? {
        Some(_) => scan::bytes(plan).map(Some),
        None => Ok(None),
    }
}

/// The scan that is the only leaf of a plan, where its files can be cut.
fn only_scan(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<FileScanConfig>, DataFusionError> {
    let (mut leaves, mut found) = (0, None);
    plan.apply(|node| {
        if node.children().is_empty() {
            leaves += 1;
            found = file_scan(node).filter(|scan| divisible(scan)).cloned();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found.filter(|_| leaves == 1))
}

fn divisible(scan: &FileScanConfig) -> bool {
    let plain = scan.output_partitioning.is_none() && scan.output_ordering.is_empty() && scan.limit.is_none();
    plain && scan.file_source().file_type() == "parquet"
}

/// Leaves of a plan's only scan what is in one part.
#[derive(Debug)]
pub(super) struct OnePart(pub(super) Part);

impl PhysicalOptimizerRule for OnePart {
    fn name(&self) -> &str {
        "OnePart"
    }

    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let Some(whole) = only_scan(&plan)? else {
            return Err(DataFusionError::Internal(
                "a plan that is run in parts has to have one scan".to_owned(),
            ));
        };
        let files = whole.file_groups.iter().flat_map(FileGroup::iter);
        let files = files.filter_map(|file| self.0.of_file(file)).collect();
        // The numbers of rows of the whole table are nobody's here.
        let unknown = Statistics::new_unknown(whole.file_source().table_schema().table_schema());
        let groups = spread(files, whole.file_groups.len());
        let scan = FileScanConfigBuilder::from(whole)
            .with_file_groups(groups)
            .with_statistics(unknown)
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(scan);
        plan.transform_up(|node| {
            Ok(match node.children().is_empty() {
                true => Transformed::yes(Arc::clone(&scan)),
                false => Transformed::no(node),
            })
        })
        .data()
    }

    fn schema_check(&self) -> bool {
        true
    }
}

impl Part {
    /// What of `file`, which may be a range of an object, is in this part.
    fn of_file(self, file: &PartitionedFile) -> Option<PartitionedFile> {
        let (index, count) = (u64::from(self.index), u64::from(self.count));
        let size = file.object_meta.size;
        let first = stable_hash(file.object_meta.location.as_ref()) % count;
        if size < CUT_BYTES_MIN {
            return (first == index).then(|| uncounted(file, file.range()));
        }
        // Parts have their ranges of different files in different places: the first is not always in the first part.
        let turn = (index + count - first) % count;
        let place = |turn: u64| u64::try_from(u128::from(size) * u128::from(turn) / u128::from(count)).unwrap_or(size);
        let (from, to) = file.range();
        let (from, to) = (from.max(place(turn)), to.min(place(turn + 1)));
        (from < to).then(|| uncounted(file, (from, to)))
    }
}

/// This range of a file, of which nobody knows how many rows it has.
fn uncounted(file: &PartitionedFile, (from, to): (u64, u64)) -> PartitionedFile {
    let whole = (from, to) == (0, file.object_meta.size);
    let place = |place: u64| i64::try_from(place).unwrap_or(i64::MAX);
    PartitionedFile {
        range: (!whole).then(|| FileRange {
            start: place(from),
            end: place(to),
        }),
        statistics: None,
        ..file.clone()
    }
}

/// The files in so many groups of about as many bytes, some of which may be empty.
fn spread(files: Vec<PartitionedFile>, groups: usize) -> Vec<FileGroup> {
    let together = vec![FileGroup::new(files)];
    let spread = FileGroupPartitioner::new()
        .with_target_partitions(groups)
        .with_repartition_file_min_size(0)
        .repartition_file_groups(&together);
    let mut spread = spread.unwrap_or(together);
    spread.resize_with(groups.max(1), || FileGroup::new(Vec::new()));
    spread
}

/// FNV-1a, of 64 bits: the same in every version of every server.
fn stable_hash(text: &str) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix)
}
