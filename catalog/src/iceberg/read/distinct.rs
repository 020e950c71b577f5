//! Numbers of distinct values that ANALYZE left in the metadata, ours and that of other engines.

use std::collections::HashMap;

use iceberg::spec::{Snapshot, StatisticsFile, TableMetadata};

use super::version::lineage;

/// The blobs that sketch distinct values, and the property of them that has the estimate.
///
/// Source: the Puffin specification, "`apache-datasketches-theta-v1` blob type".
pub(crate) const THETA: &str = "apache-datasketches-theta-v1";
pub(crate) const NDV: &str = "ndv";

/// Estimates of a statistics file by field id.
pub(crate) fn in_file(file: &StatisticsFile) -> HashMap<i32, u64> {
    let theta = file.blob_metadata.iter().filter(|blob| blob.r#type == THETA);
    let counts = theta.filter_map(|blob| match blob.fields.as_slice() {
        [field] => Some((*field, blob.properties.get(NDV)?.parse().ok()?)),
        _ => None,
    });
    counts.collect()
}

/// Estimates by field id, of the snapshot or of the nearest one before it that has any.
pub(super) fn distinct_values(metadata: &TableMetadata, snapshot: &Snapshot) -> HashMap<i32, u64> {
    if metadata.statistics_iter().len() == 0 {
        return HashMap::new();
    }
    let files = lineage(metadata, snapshot).filter_map(|one| metadata.statistics_for_snapshot(one.snapshot_id()));
    let mut counts = files.map(in_file).filter(|counts| !counts.is_empty());
    counts.next().unwrap_or_default()
}
