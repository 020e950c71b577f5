//! Old snapshots leave the metadata in one commit; then the files go that only they had.
//!
//! A branch keeps its head, its newest snapshots and those that are young enough; a tag keeps its snapshot. Where the
//! table or a branch says that snapshots are kept longer, or more of them, that holds.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chrono::Utc;
use iceberg::spec::{MAIN_BRANCH, Snapshot, SnapshotReference, SnapshotRetention, TableMetadata};
use iceberg::{TableRequirement, TableUpdate};

use super::super::commit::TableCommit;
use super::super::commit::land::{Now, Pace, now};
use super::{check_owned, for_each_file, manifests_of, unsupported};
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::delete_all;
use crate::write::maintenance::{HISTORY_FLOOR, Maintained, Retention};

/// What is to leave the metadata.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expired {
    snapshots: BTreeSet<i64>,
    refs: BTreeSet<String>,
}

/// How long and how many.
#[derive(Debug, Clone, Copy)]
struct Rule {
    now_ms: i64,
    age_ms: i64,
    retain_last: usize,
}

/// Expires what may go, and says what was deleted.
pub(super) async fn expire(
    lakehouse: &Lakehouse,
    name: &TableName,
    retention: Retention,
    retain_last: Option<usize>,
) -> Result<Maintained> {
    let age_ms = retention
        .millis(HISTORY_FLOOR, HISTORY_FLOOR)
        .map_err(|complaint| unsupported(name, &complaint))?;
    let rule = Rule {
        now_ms: Utc::now().timestamp_millis(),
        age_ms,
        retain_last: retain_last.unwrap_or(1).max(1),
    };
    let mut pace: Option<Pace> = None;
    let (before, expired) = loop {
        let now = now(lakehouse, name).await?;
        let metadata = &now.metadata.table;
        check_owned(name, metadata)?;
        let expired = Expired::of(metadata, &now.metadata.refs(), rule);
        if expired == Expired::default() {
            return Ok(Counts::default().told(0));
        }
        match lakehouse
            .client(&name.catalog)?
            .commit(name, &expired.commit(&now))
            .await
        {
            Ok(()) => break (now, expired),
            Err(Error::Conflict { .. }) => {
                let pace = pace.get_or_insert_with(|| Pace::of(metadata));
                if !pace.wait().await {
                    return Err(Error::Conflict {
                        table: name.to_string(),
                    });
                }
            }
            // Where it took place, the table has none of them; where it did not, the files stay.
            Err(Error::CommitUnknown { table, detail }) => {
                let found = super::super::commit::land::now(lakehouse, name).await?;
                let gone = |id: &i64| found.metadata.table.snapshot_by_id(*id).is_none();
                match expired.snapshots.iter().all(gone) && !expired.snapshots.is_empty() {
                    true => break (now, expired),
                    false => return Err(Error::CommitUnknown { table, detail }),
                }
            }
            Err(error) => return Err(error),
        }
    };
    delete_files(lakehouse, name, &before.metadata.table, &expired).await
}

impl Expired {
    fn of(metadata: &TableMetadata, refs: &std::collections::BTreeMap<String, SnapshotReference>, rule: Rule) -> Self {
        let number = |key: &str| metadata.properties().get(key)?.parse::<i64>().ok();
        let ref_age_default = number("history.expire.max-ref-age-ms");
        let age_default = number("history.expire.max-snapshot-age-ms").unwrap_or(0);
        let count_default = number("history.expire.min-snapshots-to-keep").unwrap_or(1);
        let (mut kept, mut reachable) = (HashSet::new(), HashSet::new());
        let mut expired = Self::default();
        for (name, reference) in refs {
            let Some(head) = metadata.snapshot_by_id(reference.snapshot_id) else {
                continue;
            };
            let (count, age, ref_age) = match &reference.retention {
                SnapshotRetention::Branch {
                    min_snapshots_to_keep,
                    max_snapshot_age_ms,
                    max_ref_age_ms,
                } => (
                    min_snapshots_to_keep.map_or(count_default, i64::from),
                    max_snapshot_age_ms.unwrap_or(age_default),
                    *max_ref_age_ms,
                ),
                SnapshotRetention::Tag { max_ref_age_ms } => (1, 0, *max_ref_age_ms),
            };
            if let Some(ref_age) = ref_age.or(ref_age_default)
                && name != MAIN_BRANCH
                && rule.now_ms.saturating_sub(head.timestamp_ms()) > ref_age.max(rule.age_ms)
            {
                expired.refs.insert(name.clone());
                continue;
            }
            kept.insert(head.snapshot_id());
            if !reference.is_branch() {
                continue;
            }
            let count = usize::try_from(count).unwrap_or(1).max(rule.retain_last);
            let oldest_ms = rule.now_ms.saturating_sub(age.max(rule.age_ms));
            let mut next: Option<&Arc<Snapshot>> = Some(head);
            let mut number = 0;
            let mut keeps = true;
            while let Some(snapshot) = next.filter(|_| number < metadata.snapshots().len()) {
                keeps &= number < count || snapshot.timestamp_ms() >= oldest_ms;
                if keeps {
                    kept.insert(snapshot.snapshot_id());
                }
                reachable.insert(snapshot.snapshot_id());
                number += 1;
                next = snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id));
            }
        }
        // What no branch has may be staged, to be published by whoever wrote it.
        let oldest_ms = rule.now_ms.saturating_sub(age_default.max(rule.age_ms));
        for snapshot in metadata.snapshots() {
            let id = snapshot.snapshot_id();
            let young = !reachable.contains(&id) && snapshot.timestamp_ms() >= oldest_ms;
            if !kept.contains(&id) && !young {
                expired.snapshots.insert(id);
            }
        }
        expired
    }

    /// The commit that takes them out of `now`, unless a branch or tag has moved since.
    fn commit(&self, now: &Now) -> TableCommit {
        let metadata = &now.metadata.table;
        let mut requirements = vec![TableRequirement::UuidMatch { uuid: metadata.uuid() }];
        for (name, reference) in now.metadata.refs() {
            requirements.push(TableRequirement::RefSnapshotIdMatch {
                r#ref: name,
                snapshot_id: Some(reference.snapshot_id),
            });
        }
        let mut updates: Vec<TableUpdate> = Vec::new();
        for name in &self.refs {
            updates.push(TableUpdate::RemoveSnapshotRef { ref_name: name.clone() });
        }
        for file in metadata.statistics_iter() {
            if self.snapshots.contains(&file.snapshot_id) {
                updates.push(TableUpdate::RemoveStatistics {
                    snapshot_id: file.snapshot_id,
                });
            }
        }
        for file in metadata.partition_statistics_iter() {
            if self.snapshots.contains(&file.snapshot_id) {
                updates.push(TableUpdate::RemovePartitionStatistics {
                    snapshot_id: file.snapshot_id,
                });
            }
        }
        if !self.snapshots.is_empty() {
            updates.push(TableUpdate::RemoveSnapshots {
                snapshot_ids: self.snapshots.iter().copied().collect(),
            });
        }
        TableCommit {
            base: Arc::clone(&now.metadata),
            base_location: now.location.clone(),
            requirements,
            updates,
        }
    }
}

/// What was deleted.
#[derive(Debug, Default)]
struct Counts {
    data_files: u64,
    delete_files: u64,
    manifests: u64,
    lists: u64,
    statistics: u64,
}

impl Counts {
    fn told(self, snapshots: u64) -> Maintained {
        Maintained::Counts(vec![
            ("expired_snapshots_count", snapshots),
            ("deleted_data_files_count", self.data_files),
            ("deleted_delete_files_count", self.delete_files),
            ("deleted_manifest_files_count", self.manifests),
            ("deleted_manifest_lists_count", self.lists),
            ("deleted_statistics_files_count", self.statistics),
        ])
    }
}

/// Deletes the files of the snapshots that left `before`, but for those that a snapshot of the table still has. What a
/// failure leaves behind nothing names: it is an orphan.
async fn delete_files(
    lakehouse: &Lakehouse,
    name: &TableName,
    before: &TableMetadata,
    expired: &Expired,
) -> Result<Maintained> {
    let cache = lakehouse.manifests();
    let after = now(lakehouse, name).await?;
    let left = &after.metadata.table;
    let is_gone = |snapshot: &&Snapshot| {
        expired.snapshots.contains(&snapshot.snapshot_id()) && left.snapshot_by_id(snapshot.snapshot_id()).is_none()
    };
    let gone: Vec<&Snapshot> = before.snapshots().map(AsRef::as_ref).filter(is_gone).collect();
    let kept = manifests_of(cache, name, left.snapshots().map(AsRef::as_ref)).await?;
    let mut dropped = manifests_of(cache, name, gone.iter().copied()).await?;
    dropped.retain(|path, _| !kept.contains_key(path));
    // Only what the dropped manifests name can have lost its last snapshot.
    let mut files: HashMap<String, (String, bool)> = HashMap::new();
    for_each_file(cache, name, dropped.values(), |path, key, deletes| {
        files.insert(key, (path.to_owned(), deletes));
    })
    .await?;
    if !files.is_empty() {
        for_each_file(cache, name, kept.values(), |_, key, _| {
            files.remove(&key);
        })
        .await?;
    }
    let statistics_of = |metadata: &TableMetadata| {
        let tables = metadata.statistics_iter().map(|file| file.statistics_path.clone());
        let partitions = metadata
            .partition_statistics_iter()
            .map(|file| file.statistics_path.clone());
        tables.chain(partitions).collect::<HashSet<String>>()
    };
    let statistics: Vec<String> = statistics_of(before)
        .difference(&statistics_of(left))
        .cloned()
        .collect();
    let kept_lists: HashSet<&str> = left.snapshots().map(|snapshot| snapshot.manifest_list()).collect();
    let lists: Vec<String> = gone
        .iter()
        .map(|snapshot| snapshot.manifest_list())
        .filter(|list| !kept_lists.contains(list))
        .map(str::to_owned)
        .collect();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let delete_files = files.values().filter(|(_, deletes)| *deletes).count();
    let counts = Counts {
        data_files: count(files.len() - delete_files),
        delete_files: count(delete_files),
        manifests: count(dropped.len()),
        lists: count(lists.len()),
        statistics: count(statistics.len()),
    };
    // Rows first: what still names them can be found again.
    let stores = lakehouse.stores();
    delete_all(stores, &files.into_values().map(|(path, _)| path).collect::<Vec<_>>()).await;
    delete_all(
        stores,
        &dropped.into_values().map(|manifest| manifest.path).collect::<Vec<_>>(),
    )
    .await;
    delete_all(stores, &lists).await;
    delete_all(stores, &statistics).await;
    Ok(counts.told(count(gone.len())))
}
