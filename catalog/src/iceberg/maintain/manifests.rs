//! Small manifests become few, in a snapshot of the same files.

use super::super::commit::land::land_manifests;
use crate::error::Result;
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::maintenance::Maintained;

/// Merges the manifests of the main branch.
pub(super) async fn optimize(lakehouse: &Lakehouse, name: &TableName) -> Result<Maintained> {
    let (rewritten, added) = land_manifests(lakehouse, name).await?;
    Ok(Maintained::Counts(vec![
        ("rewritten_manifests_count", rewritten),
        ("added_manifests_count", added),
    ]))
}
