//! One change of a Delta table as one commit of its log.
//!
//! The log is written here and not by the kernel, which refuses constraints, changes whose rows stay the same, and
//! whatever has to be tried again on a newer version. A commit is one object that must not exist yet; whoever makes it
//! makes the version. The loser looks at what won ([`conflict`]) and either tries the next version with the same files or
//! gives up, so that the statement is planned again.

pub(crate) mod actions;
mod added;
pub(crate) mod checkpoint;
pub(crate) mod conflict;
pub(crate) mod constraints;
pub(crate) mod create;
mod gate;
pub(crate) mod live;
pub(crate) mod protocol;
mod put;
pub(crate) mod schema;
mod vectors;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use delta_kernel::table_features::TableFeature;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::actions::{Draft, Ground};
use self::added::Added;
use self::conflict::{Stake, Winner};
use self::live::{LiveFile, Wanted};
use self::put::Outcome;
use super::read::DeltaSnapshot;
use crate::error::Result;
use crate::write::change::{Change, Committed, Operation, Reads};
use crate::write::settle;

/// Races that a commit loses before it gives up: each of them was won by another commit.
const TRIES_MAX: usize = 1000;
/// The longest pause before the next try, which keeps many writers from trying all at once.
const PAUSE_MS_MAX: u64 = 200;
/// Commits `change`, which was computed from `base`. After an error other than [`Error::CommitUnknown`](crate::Error::CommitUnknown) nothing of it
/// is left; the data files are the caller's to delete.
pub(crate) async fn commit(base: &Arc<DeltaSnapshot>, change: &Change) -> Result<Committed> {
    base.check_change(change)?;
    let mut written = Vec::new();
    let outcome = attempt(base, change, &mut written).await;
    let stores = base.cache.stores();
    match outcome {
        Ok(version) => {
            checkpoint::when_due(base, version).await;
            Ok(Committed {
                version: i64::try_from(version).unwrap_or(i64::MAX),
            })
        }
        Err(error) => match settle(stores, &written, Err(error)).await {
            Err(error) => Err(error),
            Ok(()) => Err(conflict::conflict(&base.log)),
        },
    }
}

async fn attempt(base: &Arc<DeltaSnapshot>, change: &Change, written: &mut Vec<String>) -> Result<u64> {
    let deleted = change.deleted.iter().map(|rows| rows.file.clone());
    let paths: HashSet<String> = change.removed.iter().cloned().chain(deleted).collect();
    let live = live::find(&base.log, &base.version.kernel, Wanted::Paths(paths)).await?;
    let stake = Stake {
        operation: change.operation,
        reads: &change.reads,
        touched: live
            .keys()
            .map(|path| conflict::location(base, path))
            .collect::<Result<_>>()?,
    };
    let draft = draft(base, change, &live, written).await?;
    publish(base, &draft, &stake).await
}

/// Makes the next version of `draft`, after those of others that do not conflict with `stake`.
pub(crate) async fn publish(base: &Arc<DeltaSnapshot>, draft: &Draft, stake: &Stake<'_>) -> Result<u64> {
    put::probe(&base.log, base.cache.stores()).await?;
    let mut ground = ground(base).await?;
    for round in 0..TRIES_MAX {
        let id = Uuid::new_v4().to_string();
        let bytes = draft
            .bytes(ground, Utc::now().timestamp_millis(), &id)
            .map_err(|feature| base.log.unsupported(feature))?;
        match put::commit(&base.log, ground.version, bytes.into(), &id).await? {
            Outcome::Committed => return Ok(ground.version),
            Outcome::Taken => {}
        }
        let winners = conflict::winners(base, ground.version).await?;
        conflict::check(base, stake, &winners).await?;
        for winner in &winners {
            follow(&mut ground, winner);
        }
        tokio::time::sleep(pause(round)).await;
    }
    Err(conflict::conflict(&base.log))
}

/// A pause that differs between writers and grows with the number of lost races.
fn pause(round: usize) -> Duration {
    let bound = PAUSE_MS_MAX.min(5 << round.min(6));
    let random = Uuid::new_v4().as_u64_pair().0;
    Duration::from_millis(random % bound)
}

/// What the version after `base` stands on.
async fn ground(base: &DeltaSnapshot) -> Result<Ground> {
    let (kernel, engine) = (Arc::clone(&base.version.kernel), base.log.engine());
    let timed = base.supports(&TableFeature::InCommitTimestamp) && base.is_set("delta.enableInCommitTimestamps");
    let numbered = base.supports(&TableFeature::RowTracking) && !base.is_set("delta.rowTrackingSuspended");
    let read = move || {
        let timestamp = match timed {
            true => Some(kernel.get_in_commit_timestamp(&engine)?.unwrap_or(i64::MIN)),
            false => None,
        };
        let row_id = match numbered {
            true => Some(kernel.get_row_tracking_high_water_mark(&engine)?.unwrap_or(-1)),
            false => None,
        };
        Ok(Ground {
            version: kernel.version() + 1,
            timestamp,
            row_id,
        })
    };
    base.log.blocking(read).await
}

fn follow(ground: &mut Ground, winner: &Winner) {
    ground.version = winner.version + 1;
    if let (Some(known), Some(newer)) = (&mut ground.timestamp, winner.timestamp) {
        *known = newer.max(*known);
    }
    if let (Some(known), Some(newer)) = (&mut ground.row_id, winner.row_id) {
        *known = newer.max(*known);
    }
}

/// The actions of `change`. Writes its deletion vectors, whose locations `written` gets.
async fn draft(
    base: &DeltaSnapshot,
    change: &Change,
    live: &HashMap<String, LiveFile>,
    written: &mut Vec<String>,
) -> Result<Draft> {
    let now_ms = Utc::now().timestamp_millis();
    let data_change = change.operation != Operation::Rewrite;
    let stores = base.cache.stores();
    let mut removed: BTreeSet<&String> = change.removed.iter().collect();
    let mut deletions = vectors::merge(&base.log, live, &change.deleted).await?;
    // A file that goes whole needs no vector.
    deletions.retain(|deletion| !removed.contains(&deletion.path));
    let descriptors = vectors::write(&base.log, stores, &deletions, written).await?;
    removed.extend(
        deletions
            .iter()
            .filter(|deletion| deletion.is_whole())
            .map(|deletion| &deletion.path),
    );
    let mut draft = Draft {
        info: info(change, removed.len(), &deletions),
        ..Draft::default()
    };
    for file in removed.iter().filter_map(|path| live.get(*path)) {
        draft.lines.push(actions::remove(file, now_ms, data_change));
    }
    for (path, vector) in descriptors {
        let Some(file) = live.get(&path) else { continue };
        if file.rows().is_none() {
            return Err(base
                .log
                .unsupported(format!("a number of rows in the statistics of {path}")));
        }
        draft.lines.push(actions::remove(file, now_ms, true));
        draft.adds.push((actions::replace_vector(file, vector), file.rows()));
    }
    let files = Added::of(base).await?;
    for file in &change.added {
        let mut add = files.action(file, now_ms)?;
        add.insert("dataChange".to_owned(), json!(data_change));
        draft.adds.push((add, Some(file.rows)));
    }
    Ok(draft)
}

/// The members of `commitInfo` that say what was done.
fn info(change: &Change, removed: usize, deletions: &[vectors::Deletion]) -> Map<String, Value> {
    let (operation, parameters) = match change.operation {
        Operation::Append => ("WRITE", json!({ "mode": "Append" })),
        Operation::Overwrite => ("WRITE", json!({ "mode": "Overwrite" })),
        Operation::Delete => ("DELETE", json!({})),
        Operation::Update => ("UPDATE", json!({})),
        Operation::Merge => ("MERGE", json!({})),
        Operation::Rewrite => ("OPTIMIZE", json!({})),
    };
    let text = |number: u64| json!(number.to_string());
    let added = &change.added;
    let metrics = json!({
        "numFiles": text(added.len() as u64),
        "numAddedFiles": text(added.len() as u64),
        "numRemovedFiles": text(removed as u64),
        "numDeletionVectorsAdded": text(deletions.iter().filter(|deletion| !deletion.is_whole()).count() as u64),
        "numDeletedRows": text(deletions.iter().map(|deletion| deletion.new_rows).sum()),
        "numOutputRows": text(added.iter().map(|file| file.rows).sum()),
        "numOutputBytes": text(added.iter().map(|file| file.size_bytes).sum()),
    });
    let only_adds = change.removed.is_empty() && change.deleted.is_empty();
    let blind = change.operation == Operation::Append && only_adds && matches!(change.reads, Reads::Nothing);
    let info = json!({
        "operation": operation,
        "operationParameters": parameters,
        "operationMetrics": metrics,
        "isBlindAppend": blind,
    });
    match info {
        Value::Object(info) => info,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
