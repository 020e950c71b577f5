//! Which snapshot a version of a table is.

use iceberg::spec::{Snapshot, SnapshotRef, TableMetadata};

use crate::error::{Error, Result};

/// Snapshots and refs that an error names.
pub(super) const HINTS_MAX: usize = 5;

/// The snapshot of that id.
pub(super) fn by_id(table: &str, metadata: &TableMetadata, id: i64) -> Result<SnapshotRef> {
    let found = metadata.snapshot_by_id(id).cloned();
    found.ok_or_else(|| {
        let mut snapshots: Vec<_> = metadata.snapshots().collect();
        snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.timestamp_ms()));
        let newest: Vec<String> = snapshots
            .iter()
            .take(HINTS_MAX)
            .map(|s| s.snapshot_id().to_string())
            .collect();
        let hint = match newest.is_empty() {
            true => "the table has no snapshot".to_owned(),
            false => format!("its newest snapshots are {}", newest.join(", ")),
        };
        not_found(table, &format!("snapshot {id}"), hint)
    })
}

/// The snapshot that was current at that time, in microseconds since the epoch.
pub(super) fn by_time(table: &str, metadata: &TableMetadata, micros: i64) -> Result<SnapshotRef> {
    let log = metadata.history();
    let at = log
        .iter()
        .rfind(|entry| entry.timestamp_ms().saturating_mul(1_000) <= micros);
    match at {
        Some(entry) => by_id(table, metadata, entry.snapshot_id),
        None => {
            let oldest = log
                .first()
                .and_then(|entry| chrono::DateTime::from_timestamp_millis(entry.timestamp_ms()));
            let hint = match oldest {
                Some(oldest) => format!("its oldest snapshot is of {}", oldest.to_rfc3339()),
                None => "the table has no history".to_owned(),
            };
            let time = chrono::DateTime::from_timestamp_micros(micros);
            let time = time.map_or_else(|| format!("{micros} microseconds"), |time| time.to_rfc3339());
            Err(not_found(table, &format!("snapshot at {time}"), hint))
        }
    }
}

/// The snapshot, then the one before it, and so on as far as the metadata go back.
pub(crate) fn lineage<'a>(metadata: &'a TableMetadata, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Snapshot> {
    let before = |snapshot: &&'a Snapshot| {
        let parent = snapshot.parent_snapshot_id()?;
        metadata.snapshot_by_id(parent).map(AsRef::as_ref)
    };
    // Damaged metadata may go round in a circle.
    std::iter::successors(Some(snapshot), before).take(metadata.snapshots().len())
}

/// No such version.
pub(super) fn not_found(table: &str, what: &str, hint: String) -> Error {
    Error::NotFound {
        what: "version",
        name: format!("{table}: {what}"),
        hint: Some(hint),
    }
}
