//! May a change that was computed from one version become a later one? Decided by what the commits in between did.
//!
//! | A commit in between          | Append that read nothing | DELETE, UPDATE, MERGE and others that read | Rewrite  |
//! |------------------------------|--------------------------|--------------------------------------------|----------|
//! | adds rows                    | no conflict              | conflict where they may match the filter   | none     |
//! | removes files, new vectors   | no conflict              | conflict where they were read or removed   | conflict where they were removed |
//! | changes metadata or protocol | conflict                 | conflict                                   | conflict |
//!
//! It is the same whether a commit says `dataChange` or not: a compaction moves rows out of the files that a DELETE has
//! counted positions in. Under `delta.isolationLevel = WriteSerializable` rows that were appended blindly do not
//! conflict.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use object_store::ObjectStoreExt;
use serde::Deserialize;

use super::actions::ROW_TRACKING;
use super::put::COMMIT_BYTES_MAX;
use crate::delta::cache::{Commit, commits_from};
use crate::delta::files::locate;
use crate::delta::log::Log;
use crate::delta::read::DeltaSnapshot;
use crate::error::{Error, Result};
use crate::snapshot::{AsOf, FileRequest};
use crate::write::change::{Operation, Reads};

/// What a commit of another writer did, as far as it matters here.
#[derive(Debug, Default)]
pub(crate) struct Winner {
    /// Its version.
    pub(crate) version: u64,
    /// The time in its `commitInfo`.
    pub(crate) timestamp: Option<i64>,
    /// The greatest row id that it gave out.
    pub(crate) row_id: Option<i64>,
    /// New metadata or another protocol.
    changes_table: bool,
    blind_append: bool,
    /// Files with new rows, as locations.
    added: HashSet<String>,
    /// Files that it removed, for good or to give them another vector.
    removed: HashSet<String>,
}

/// What of the table a change depends on.
#[derive(Debug)]
pub(crate) struct Stake<'a> {
    /// What the change is.
    pub(crate) operation: Operation,
    /// What it read.
    pub(crate) reads: &'a Reads,
    /// The files that it removes or deletes rows from, as [`location`] names them.
    pub(crate) touched: HashSet<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    add: Option<FileAction>,
    remove: Option<FileAction>,
    meta_data: Option<serde::de::IgnoredAny>,
    protocol: Option<serde::de::IgnoredAny>,
    domain_metadata: Option<Domain>,
    commit_info: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileAction {
    path: String,
    #[serde(default)]
    data_change: Option<bool>,
}

#[derive(Deserialize)]
struct Domain {
    domain: String,
    #[serde(default)]
    configuration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HighWaterMark {
    row_id_high_water_mark: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(default)]
    in_commit_timestamp: Option<i64>,
    #[serde(default)]
    is_blind_append: Option<bool>,
}

/// One name for a file, however its path is spelled.
pub(crate) fn location(snapshot: &DeltaSnapshot, path: &str) -> Result<String> {
    let at = locate(&snapshot.log, snapshot.cache.stores(), path)?;
    Ok(format!("{}{}", at.store_url, at.path))
}

/// The commits from `version` on. There must be one.
pub(crate) async fn winners(snapshot: &DeltaSnapshot, version: u64) -> Result<Vec<Winner>> {
    let log = &snapshot.log;
    let mut winners = Vec::new();
    for commit in commits_from(log, version).await? {
        let expect = version + winners.len() as u64;
        if commit.version != expect {
            // The commits that matter are cut off already.
            return Err(conflict(log));
        }
        winners.push(read(snapshot, &commit).await?);
    }
    match winners.is_empty() {
        true => Err(conflict(log)),
        false => Ok(winners),
    }
}

async fn read(snapshot: &DeltaSnapshot, commit: &Commit) -> Result<Winner> {
    let log = &snapshot.log;
    if commit.object.size > COMMIT_BYTES_MAX {
        return Err(conflict(log));
    }
    let failed = |error| Error::storage(log.root_url.as_str(), error);
    let got = log.root.store.get(&commit.object.location).await.map_err(failed)?;
    let bytes = got.bytes().await.map_err(failed)?;
    let mut winner = Winner {
        version: commit.version,
        ..Winner::default()
    };
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
    {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| log.corrupt(format!("version {}: {error}", commit.version)))?;
        winner.take(snapshot, line)?;
    }
    Ok(winner)
}

impl Winner {
    fn take(&mut self, snapshot: &DeltaSnapshot, line: Line) -> Result<()> {
        self.changes_table |= line.meta_data.is_some() || line.protocol.is_some();
        if let Some(info) = line.commit_info {
            self.timestamp = info.in_commit_timestamp;
            self.blind_append = info.is_blind_append == Some(true);
        }
        if let Some(add) = line.add
            && add.data_change != Some(false)
        {
            self.added.insert(location(snapshot, &add.path)?);
        }
        if let Some(remove) = line.remove {
            self.removed.insert(location(snapshot, &remove.path)?);
        }
        if let Some(domain) = line.domain_metadata
            && domain.domain == ROW_TRACKING
        {
            let mark: HighWaterMark = serde_json::from_str(&domain.configuration)
                .map_err(|error| snapshot.log.corrupt(format!("its row tracking: {error}")))?;
            self.row_id = Some(mark.row_id_high_water_mark);
        }
        Ok(())
    }
}

/// [`Error::Conflict`] where one of `winners`, which follow `base`, conflicts with the change.
pub(crate) async fn check(base: &Arc<DeltaSnapshot>, stake: &Stake<'_>, winners: &[Winner]) -> Result<()> {
    let log = &base.log;
    let touches = |winner: &Winner| winner.changes_table || !winner.removed.is_disjoint(&stake.touched);
    if winners.iter().any(touches) {
        return Err(conflict(log));
    }
    let filter = match stake.reads {
        Reads::Nothing => return Ok(()),
        // The rows of a rewrite stay what they are.
        Reads::Rows(_) if stake.operation == Operation::Rewrite => return Ok(()),
        Reads::Rows(filter) => filter.as_ref().and_then(|filter| predicate(base, filter)),
    };
    let removed: HashSet<&String> = winners.iter().flat_map(|winner| &winner.removed).collect();
    if !removed.is_empty() {
        let read = locations(base, filter.as_ref()).await?;
        if removed.iter().any(|file| read.contains(*file)) {
            return Err(conflict(log));
        }
    }
    let weak = base
        .property("delta.isolationLevel")
        .is_some_and(|level| level == "WriteSerializable");
    let added = winners.iter().filter(|winner| !(weak && winner.blind_append));
    let added: HashSet<&String> = added.flat_map(|winner| &winner.added).collect();
    if added.is_empty() {
        return Ok(());
    }
    // Where an added file is gone again, its rows may be in a file that no longer tells.
    let mut later = winners;
    let mut gone = false;
    while let [winner, rest @ ..] = later {
        gone |= rest.iter().any(|next| !next.removed.is_disjoint(&winner.added));
        later = rest;
    }
    if filter.is_none() || gone {
        return Err(conflict(log));
    }
    let newest = DeltaSnapshot::at(log.table.clone(), &base.root(), &AsOf::Latest, &base.cache).await?;
    let matching = locations(&Arc::new(newest), filter.as_ref()).await?;
    match added.iter().any(|file| matching.contains(*file)) {
        true => Err(conflict(log)),
        false => Ok(()),
    }
}

/// The files that may hold a row for which the filter is true.
async fn locations(snapshot: &Arc<DeltaSnapshot>, filter: Option<&Arc<dyn PhysicalExpr>>) -> Result<HashSet<String>> {
    let request = FileRequest {
        wanted: &[],
        predicate: filter,
        only: None,
        with_origin: false,
    };
    let list = Arc::clone(snapshot).files(request).await?;
    let files = list.sets.iter().flat_map(|set| &set.files);
    Ok(files.map(|file| format!("{}{}", file.store_url, file.path)).collect())
}

/// The filter over the table's columns; `None`, which means every row, where it is none that files can be asked.
fn predicate(snapshot: &DeltaSnapshot, filter: &Expr) -> Option<Arc<dyn PhysicalExpr>> {
    let unqualified = filter.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(datafusion::common::Column::from_name(column.name))),
            other => Transformed::no(other),
        })
    });
    let schema = DFSchema::try_from(Arc::clone(snapshot.schema())).ok()?;
    create_physical_expr(
        &unqualified.ok()?.data,
        &schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .ok()
}

/// The error of a change that has to be computed anew.
pub(crate) fn conflict(log: &Log) -> Error {
    Error::Conflict {
        table: log.table.clone(),
    }
}
