//! How much a plan reads.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;

use super::streaming::{file_scan, whole_leaf};
use crate::error::{Error, Result};

/// Refuses a plan whose files, after pruning, have more than `bytes_max` bytes together.
pub(super) fn check(plan: &Arc<dyn ExecutionPlan>, bytes_max: Option<u64>) -> Result<()> {
    match bytes_max {
        Some(bytes_max) if bytes(plan)? > bytes_max => Err(Error::ScanTooLarge {
            bytes: bytes(plan)?,
            bytes_max,
        }),
        _ => Ok(()),
    }
}

/// The bytes of all files, or parts of them, that `plan` reads.
pub(super) fn bytes(plan: &Arc<dyn ExecutionPlan>) -> Result<u64> {
    let mut bytes = 0;
    plan.apply(|node| {
        let files = file_scan(whole_leaf(node))
            .into_iter()
            .flat_map(|scan| &scan.file_groups);
        bytes += files
            .flat_map(|group| group.iter())
            .map(|file| file.effective_size())
            .sum::<u64>();
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(bytes)
}
