//! What keeps a Delta table small: VACUUM and checkpoints.
//!
//! A file is needed while a version that is retained has it: the version that was current when the retention began, and
//! every later one. So it is live in the former, or a later commit adds it. Files are looked at before the log is read,
//! so that a commit meanwhile makes none superfluous.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use serde::Deserialize;

use super::cache::{Commit, commits_from};
use super::commit::checkpoint;
use super::commit::conflict::location;
use super::commit::live::{self, Wanted};
use super::log::decoded;
use super::read::{DeltaSnapshot, history};
use crate::error::{Error, Result};
use crate::write::delete_all;
use crate::write::maintenance::{HISTORY_FLOOR, Maintained, Maintenance, Retention};

/// A commit above this is refused.
const COMMIT_BYTES_MAX: u64 = 512 << 20;
/// The property that says how long files are kept that the table refers to no longer.
const RETENTION: &str = "delta.deletedFileRetentionDuration";

#[derive(Deserialize)]
struct Line {
    add: Option<Named>,
    cdc: Option<Named>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    path: String,
    deletion_vector: Option<DeletionVectorDescriptor>,
}

impl DeltaSnapshot {
    /// Does it to the table, whose newest version this is.
    pub(crate) async fn maintain(self: &Arc<Self>, what: &Maintenance) -> Result<Maintained> {
        let refused = |feature: &str| Err(self.log.unsupported(feature.to_owned()));
        match what {
            Maintenance::Vacuum { retention, dry_run } => self.vacuum(*retention, *dry_run).await,
            Maintenance::Checkpoint => {
                self.check_protocol()?;
                checkpoint::write(&self.log, self.version.number()).await?;
                Ok(Maintained::Counts(vec![("checkpoint_version", self.version.number())]))
            }
            Maintenance::ExpireSnapshots { .. } => {
                refused("expire_snapshots of a Delta table: its log ends by itself, and VACUUM deletes files")
            }
            Maintenance::RemoveOrphanFiles { .. } => {
                refused("remove_orphan_files of a Delta table: VACUUM deletes files")
            }
            Maintenance::OptimizeManifests => refused("manifests, which are Iceberg's"),
        }
    }

    async fn vacuum(self: &Arc<Self>, retention: Retention, dry_run: bool) -> Result<Maintained> {
        self.check_protocol()?;
        let told = match self.property(RETENTION) {
            Some(text) => Some(
                interval(&text).ok_or_else(|| self.log.unsupported(format!("the property {RETENTION} = {text}")))?,
            ),
            None => None,
        };
        let default = told.unwrap_or(HISTORY_FLOOR);
        // Where the table itself says less, that is what its owner wants.
        let age_ms = retention
            .millis(default, HISTORY_FLOOR.min(default))
            .map_err(|complaint| self.log.unsupported(complaint))?;
        let oldest_ms = Utc::now().timestamp_millis().saturating_sub(age_ms);
        let oldest = DateTime::from_timestamp_millis(oldest_ms).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let mut found = self.files_before(oldest).await?;
        self.check_listed(&found).await?;
        found.retain(|_, old| *old);
        for needed in self.needed(oldest_ms).await? {
            found.remove(&needed);
        }
        let files: Vec<String> = found.into_keys().collect();
        if dry_run {
            return Ok(Maintained::WouldDelete(files));
        }
        delete_all(self.cache.stores(), &files).await;
        Ok(Maintained::Counts(vec![(
            "deleted_files_count",
            u64::try_from(files.len()).unwrap_or(u64::MAX),
        )]))
    }

    /// The objects in the table's folder by their location, and whether they are older than `oldest`. Names that begin with `_` or
    /// `.`, and what is below folders of such a name, are not the table's rows.
    async fn files_before(&self, oldest: DateTime<Utc>) -> Result<BTreeMap<String, bool>> {
        let root = &self.log.root;
        let depth = root.path.parts_count();
        let mut found = BTreeMap::new();
        let mut listed = root.store.list(Some(&root.path));
        let failed = |error| Error::storage(self.log.root_url.as_str(), error);
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            let hidden = |part: object_store::path::PathPart<'_>| part.as_ref().starts_with(['_', '.']);
            if object.location.parts().skip(depth).any(hidden) {
                continue;
            }
            let location = format!("{}{}", root.store_url, object.location);
            found.insert(location, object.last_modified < oldest);
        }
        Ok(found)
    }

    /// Refuses to go on where the store lists a live file under another name than the log, or not at all.
    async fn check_listed(&self, found: &BTreeMap<String, bool>) -> Result<()> {
        let root = format!("{}{}/", self.log.root.store_url, self.log.root.path);
        for path in live::find(&self.log, &self.version.kernel, Wanted::All)
            .await?
            .into_keys()
        {
            let location = location(self, &path)?;
            let inside = location.strip_prefix(&root);
            let hidden = inside.is_none_or(|inside| inside.split('/').any(|part| part.starts_with(['_', '.'])));
            if !hidden && !found.contains_key(&location) {
                let detail = format!("{path} is not in the listing of the table's folder: nothing is deleted");
                return Err(self.log.corrupt(detail));
            }
        }
        Ok(())
    }

    /// The files that a version has which was current at that time or later, as [`location`] names them.
    async fn needed(self: &Arc<Self>, since_ms: i64) -> Result<HashSet<String>> {
        let log = &self.log;
        let first = history::of_time_or_oldest(log, &self.cache, since_ms.saturating_mul(1000)).await?;
        let mut needed = HashSet::new();
        for file in live::find(log, &first.kernel, Wanted::All).await?.into_values() {
            needed.insert(location(self, &file.path)?);
            needed.extend(self.vector_file(file.vector.as_ref())?);
        }
        let newer = first.number() + 1;
        for (version, commit) in (newer..).zip(commits_from(log, newer).await?) {
            if commit.version != version {
                return Err(log.corrupt(format!("the commit {version:020}.json does not exist")));
            }
            self.named_by(&commit, &mut needed).await?;
        }
        Ok(needed)
    }

    /// The files that one commit adds.
    async fn named_by(&self, commit: &Commit, needed: &mut HashSet<String>) -> Result<()> {
        let log = &self.log;
        let failed = |error| Error::storage(log.root_url.as_str(), error);
        if commit.object.size > COMMIT_BYTES_MAX {
            return Err(log.unsupported(format!("a commit of {} bytes", commit.object.size)));
        }
        let got = log.root.store.get(&commit.object.location).await.map_err(failed)?;
        let bytes = got.bytes().await.map_err(failed)?;
        let lines = bytes.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            let line: Line = serde_json::from_slice(line)
                .map_err(|error| log.corrupt(format!("version {}: {error}", commit.version)))?;
            for named in line.add.into_iter().chain(line.cdc) {
                needed.insert(location(self, &named.path)?);
                needed.extend(self.vector_file(named.deletion_vector.as_ref())?);
            }
        }
        Ok(())
    }

    /// Where a deletion vector lies, unless it is in the log itself.
    fn vector_file(&self, vector: Option<&DeletionVectorDescriptor>) -> Result<Option<String>> {
        let corrupt = |detail: String| self.log.corrupt(detail);
        let url = vector.map(|vector| vector.absolute_path(&self.log.root_url));
        let Some(url) = url.transpose().map_err(|error| corrupt(error.to_string()))?.flatten() else {
            return Ok(None);
        };
        let at = self.cache.stores().locate(&decoded(url.as_str()).map_err(corrupt)?)?;
        Ok(Some(format!("{}{}", at.store_url, at.path)))
    }
}

/// A time such as `interval 1 week` or `interval 30 days`.
fn interval(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let mut words = text.strip_prefix("interval").unwrap_or(&text).split_whitespace();
    let mut sum = Duration::ZERO;
    loop {
        let Some(number) = words.next() else {
            return Some(sum).filter(|sum| !sum.is_zero());
        };
        let number: u64 = number.parse().ok()?;
        let unit = match words.next()?.trim_end_matches('s') {
            "second" => 1,
            "minute" => 60,
            "hour" => 60 * 60,
            "day" => 24 * 60 * 60,
            "week" => 7 * 24 * 60 * 60,
            _ => return None,
        };
        sum = sum.checked_add(Duration::from_secs(number.checked_mul(unit)?))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units() {
        let check =
            |text: &str, seconds: Option<u64>| assert_eq!(interval(text), seconds.map(Duration::from_secs), "{text}");
        check("interval 1 week", Some(604_800));
        check("INTERVAL 30 DAYS", Some(2_592_000));
        check("interval 1 day 12 hours", Some(129_600));
        check("interval 1 month", None);
        check("7", None);
        check("", None);
    }
}
