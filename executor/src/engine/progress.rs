//! How far a running plan is: the part of its files that was read. Reading is what takes time in a lake; what sorts
//! and aggregates do after their last input is not seen.

use std::sync::Arc;

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_plan::ExecutionPlan;

/// What a plan that still runs may claim.
const UNFINISHED_MAX: f64 = 0.99;

/// How far a plan is. Cheap to clone; keeps the plan.
#[derive(Clone, Default)]
pub struct Progress {
    leaves: Arc<[Leaf]>,
}

/// One scan of files.
struct Leaf {
    scan: Arc<dyn ExecutionPlan>,
    files: usize,
    rows: Option<usize>,
}

impl Progress {
    /// Of a plan that runs in this process.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Self {
        let mut leaves = Vec::new();
        let found = plan.apply(|node| {
            leaves.extend(Leaf::of(node));
            Ok(TreeNodeRecursion::Continue)
        });
        debug_assert!(found.is_ok(), "nothing fails on the way");
        Self { leaves: leaves.into() }
    }

    /// The finished part, from 0 to 1. Never less than before while nothing else is asked to run the plan.
    pub fn fraction(&self) -> f64 {
        let total: usize = self.leaves.iter().map(|leaf| leaf.files).sum();
        if total == 0 {
            return 0.0;
        }
        let done: f64 = self.leaves.iter().map(Leaf::done).sum();
        (done / total as f64).min(UNFINISHED_MAX)
    }
}

impl Leaf {
    fn of(node: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let scan = node
            .downcast_ref::<DataSourceExec>()?
            .data_source()
            .downcast_ref::<FileScanConfig>()?;
        let rows = match scan.statistics().num_rows {
            Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows).filter(|rows| *rows > 0),
            Precision::Absent => None,
        };
        Some(Self {
            scan: Arc::clone(node),
            files: scan.file_groups.iter().map(|group| group.len()).sum(),
            rows,
        })
    }

    /// In files: those that are read, or as many as the rows that came make up.
    fn done(&self) -> f64 {
        let Some(metrics) = self.scan.metrics() else { return 0.0 };
        let files = metrics
            .sum_by_name("files_processed")
            .map_or(0, |count| count.as_usize());
        let rows = match (metrics.output_rows(), self.rows) {
            (Some(come), Some(all)) => (come as f64 / all as f64).min(UNFINISHED_MAX),
            _ => 0.0,
        };
        (files as f64).max(rows * self.files as f64).min(self.files as f64)
    }
}
