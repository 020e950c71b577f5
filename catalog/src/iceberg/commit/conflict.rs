//! May a change that was computed from one version of a table land on a newer one?
//!
//! | since then | append | DELETE | UPDATE, MERGE, overwrite of what was read | overwrite | compaction |
//! |---|---|---|---|---|---|
//! | a touched file left the table | – | conflict | conflict | conflict | conflict |
//! | rows of a touched file were deleted | – | conflict if its rows are rewritten | conflict | lands | conflict |
//! | rows joined that the filter may match | – | conflict (serializable) | conflict (serializable) | – | lands |
//! | rows left that the filter may match | – | lands | conflict (serializable) | – | lands |
//! | the columns changed | conflict | conflict | conflict | conflict | conflict |
//!
//! A conflict too many costs a statement another run; one too few loses rows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use iceberg::spec::Operation as SnapshotOperation;

use super::super::IcebergSnapshot;
use super::super::cache::LoadedManifest;
use super::super::deletes::{self, DeleteIndex};
use super::super::manifest::Content;
use super::super::prune;
use crate::error::{Error, Result};
use crate::scan::deletes::RowDeletes;
use crate::write::change::{Change, Operation, Reads};

/// The snapshots of others since the change was computed.
#[derive(Debug, Default)]
struct Between {
    /// All of them.
    ids: HashSet<i64>,
    /// Those that leave the table's rows alone.
    rewrites: HashSet<i64>,
    /// True where one of them may have taken rows away.
    removes: bool,
}

/// One version of the table with its manifests decoded.
struct Version<'a> {
    snapshot: &'a IcebergSnapshot,
    data: Vec<LoadedManifest>,
    index: DeleteIndex,
    deletes: Vec<LoadedManifest>,
}

/// Fails with [`Error::Conflict`] where `change`, computed from `base`, may not land on `now`.
pub(super) async fn check(base: &IcebergSnapshot, now: &IcebergSnapshot, change: &Change) -> Result<()> {
    let conflict = || Error::Conflict {
        table: now.table.clone(),
    };
    let (then, newest) = (&base.metadata.table, &now.metadata.table);
    if then.uuid() != newest.uuid() || then.current_schema() != newest.current_schema() {
        return Err(conflict());
    }
    if base.id() == now.id() {
        return Ok(());
    }
    // Nobody's commit is undone: the newest snapshot must descend from the one that was read.
    let between = Between::of(base, now).ok_or_else(conflict)?;
    let reads_rows = matches!(change.reads, Reads::Rows(_));
    let touches_rows = !change.removed.is_empty() || !change.deleted.is_empty();
    if !touches_rows && !reads_rows {
        return Ok(());
    }
    let now = Version::load(now).await?;
    // Rows that go as a whole may have lost some of their neighbours before: the outcome is the same.
    let rewrites_rows = match change.operation {
        Operation::Delete => !change.added.is_empty(),
        Operation::Overwrite | Operation::Append => reads_rows,
        Operation::Update | Operation::Merge | Operation::Rewrite => true,
    };
    if rewrites_rows && now.has_equality_deletes_of(&between) {
        return Err(conflict());
    }
    let serializable = reads_rows && is_serializable(now.snapshot, change.operation);
    let predicate = match &change.reads {
        Reads::Rows(Some(filter)) => physical(now.snapshot, filter),
        _ => None,
    };
    if serializable && now.rows_joined(&between, predicate.as_ref()) {
        return Err(conflict());
    }
    let compares_matches = serializable && between.removes && change.operation != Operation::Delete;
    let compares_deletes = rewrites_rows && touches_rows;
    if !compares_matches && !compares_deletes {
        return Ok(());
    }
    let base = Version::load(base).await?;
    if rewrites_rows {
        let touched = change
            .removed
            .iter()
            .chain(change.deleted.iter().map(|rows| &rows.file));
        let touched: HashSet<&str> = touched.map(String::as_str).collect();
        let before = base.row_deletes(|path| touched.contains(path))?;
        if before != now.row_deletes(|path| touched.contains(path))? {
            return Err(conflict());
        }
    }
    if compares_matches {
        let matching = base.matching(predicate.as_ref());
        let before = base.row_deletes(|path| matching.contains(path))?;
        if before != now.row_deletes(|path| matching.contains(path))? {
            return Err(conflict());
        }
    }
    Ok(())
}

/// What the table demands of statements that run at the same time; serializable where it does not say.
fn is_serializable(now: &IcebergSnapshot, operation: Operation) -> bool {
    let key = match operation {
        Operation::Delete => "write.delete.isolation-level",
        Operation::Update => "write.update.isolation-level",
        Operation::Merge => "write.merge.isolation-level",
        Operation::Rewrite => return false,
        Operation::Append | Operation::Overwrite => return true,
    };
    let level = now.metadata.table.properties().get(key);
    !level.is_some_and(|level| level.eq_ignore_ascii_case("snapshot"))
}

/// The filter over the table's columns; `None`, which every row matches, where it cannot be had.
fn physical(now: &IcebergSnapshot, filter: &datafusion::logical_expr::Expr) -> Option<Arc<dyn PhysicalExpr>> {
    let schema = DFSchema::try_from(Arc::clone(now.schema())).ok()?;
    create_physical_expr(
        filter,
        &schema,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
    .ok()
}

impl Between {
    /// The snapshots behind `base` up to `now`; `None` where `now` does not descend from `base`.
    fn of(base: &IcebergSnapshot, now: &IcebergSnapshot) -> Option<Self> {
        let mut between = Self::default();
        let mut next = now.snapshot.clone();
        while next.as_ref().map(|snapshot| snapshot.snapshot_id()) != base.id() {
            let snapshot = next?;
            between.ids.insert(snapshot.snapshot_id());
            match snapshot.summary().operation {
                SnapshotOperation::Append => {}
                SnapshotOperation::Replace => {
                    between.rewrites.insert(snapshot.snapshot_id());
                }
                SnapshotOperation::Overwrite | SnapshotOperation::Delete => between.removes = true,
            }
            next = match snapshot.parent_snapshot_id() {
                Some(parent) => Some(Arc::clone(now.metadata.table.snapshot_by_id(parent)?)),
                None => None,
            };
        }
        Some(between)
    }
}

impl<'a> Version<'a> {
    async fn load(snapshot: &'a IcebergSnapshot) -> Result<Self> {
        let (data, deletes) = snapshot.loaded_manifests().await?;
        Ok(Self {
            snapshot,
            index: snapshot.delete_index(&deletes)?,
            data,
            deletes,
        })
    }

    fn table(&self) -> prune::Table<'_> {
        prune::Table {
            schema: self.snapshot.schema(),
            iceberg_schema: self.snapshot.metadata.table.current_schema(),
            metadata: &self.snapshot.metadata.table,
        }
    }

    fn has_equality_deletes_of(&self, between: &Between) -> bool {
        self.deletes.iter().any(|manifest| {
            let entries = &manifest.entries.entries;
            let mut added = entries.iter().filter(|entry| {
                let by = entry.snapshot_id.or(manifest.file.added_snapshot_id);
                by.is_none_or(|id| between.ids.contains(&id))
            });
            added.any(|entry| entry.content == Content::EqualityDeletes)
        })
    }

    /// True where a file with new rows may hold one that matches.
    fn rows_joined(&self, between: &Between, predicate: Option<&Arc<dyn PhysicalExpr>>) -> bool {
        let kept = prune::entries(self.table(), &self.data, predicate);
        let mut matching = self.data.iter().zip(&kept).flat_map(|(manifest, rows)| {
            rows.iter().map(|row| {
                let entry = manifest.entries.entries.get(*row);
                entry.and_then(|entry| entry.snapshot_id.or(manifest.file.added_snapshot_id))
            })
        });
        matching.any(|by| by.is_none_or(|id| between.ids.contains(&id) && !between.rewrites.contains(&id)))
    }

    /// The data files that may hold a row that matches.
    fn matching(&self, predicate: Option<&Arc<dyn PhysicalExpr>>) -> HashSet<&str> {
        let kept = prune::entries(self.table(), &self.data, predicate);
        let files = self.data.iter().zip(kept);
        files
            .flat_map(|(manifest, rows)| rows.into_iter().map(|row| manifest.entries.paths.value(row)))
            .collect()
    }

    /// What is deleted by position from each of the wanted data files that are there.
    fn row_deletes(&self, wanted: impl Fn(&str) -> bool) -> Result<HashMap<String, Vec<String>>> {
        let mut found = HashMap::new();
        for manifest in &self.data {
            for row in 0..manifest.entries.len() {
                let path = manifest.entries.paths.value(row);
                if !wanted(path) {
                    continue;
                }
                let sequence = deletes::sequence(manifest, row).unwrap_or(0);
                let partition = deletes::partition(manifest, row);
                let table = self.snapshot.delete_table();
                let sources = self.index.row_deletes(table, path, sequence, &partition)?;
                found.insert(path.to_owned(), sources.as_deref().map(names).unwrap_or_default());
            }
        }
        Ok(found)
    }
}

/// The sources of deletes by name, in an order of their own.
fn names(deletes: &RowDeletes) -> Vec<String> {
    let mut names: Vec<String> = deletes.sources.iter().map(|source| source.name()).collect();
    names.sort();
    names
}
