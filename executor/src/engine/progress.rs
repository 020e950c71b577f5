//! How far a running plan is: the part of its files that was read. Reading is what takes time in a lake; what sorts
//! and aggregates do after their last input is not seen.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::catalog::memory::DataSourceExec;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::physical_plan::ExecutionPlan;

use super::streaming::Elsewhere;

/// What a plan that still runs may claim.
const UNFINISHED_MAX: f64 = 0.99;

/// Where a plan runs, and so where its progress is seen.
#[derive(Clone)]
pub(super) enum Source {
    /// In this process; keeps the plan.
    Here(Arc<dyn ExecutionPlan>),
    /// On executors.
    Elsewhere(Arc<Elsewhere>),
}

/// How far a query is. Cheap to clone.
#[derive(Clone, Default)]
pub struct Progress(Arc<Mutex<Option<Source>>>);

impl Progress {
    /// It is that of `source` from now on.
    pub(super) fn follow(&self, source: Source) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// The finished part, from 0 to 1.
    pub fn fraction(&self) -> f64 {
        let source = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fraction = match source {
            None => 0.0,
            Some(Source::Elsewhere(tasks)) => tasks.fraction(),
            Some(Source::Here(plan)) => match files(&plan) {
                (_, 0) => 0.0,
                (done, all) => done / all as f64,
            },
        };
        fraction.min(UNFINISHED_MAX)
    }
}

/// The files that `plan` has read, parts counted, and those that it reads.
pub(super) fn files(plan: &Arc<dyn ExecutionPlan>) -> (f64, usize) {
    let (mut done, mut all) = (0.0, 0);
    let walked = plan.apply(|node| {
        if let Some(leaf) = Leaf::of(node) {
            done += leaf.done();
            all += leaf.files;
        }
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(walked.is_ok(), "nothing fails on the way");
    (done, all)
}

/// One scan of files.
struct Leaf<'a> {
    scan: &'a Arc<dyn ExecutionPlan>,
    files: usize,
    rows: Option<usize>,
}

impl<'a> Leaf<'a> {
    fn of(node: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        let scan = node
            .downcast_ref::<DataSourceExec>()?
            .data_source()
            .downcast_ref::<FileScanConfig>()?;
        let rows = match scan.statistics().num_rows {
            Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows).filter(|rows| *rows > 0),
            Precision::Absent => None,
        };
        Some(Self {
            scan: node,
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
