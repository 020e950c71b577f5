//! ALTER TABLE on an Iceberg table: a new version of its metadata with the same rows.
//!
//! Where another commit comes first, everything is computed again on the table as it is then.

mod columns;
mod layout;
mod refs;
pub(crate) mod reused;
mod together;

use std::sync::Arc;

use iceberg::spec::{FormatVersion, TableMetadata, TableMetadataBuilder, Transform};
use iceberg::{TableRequirement, TableUpdate};

use self::columns::{Columns, NewColumn, ids_of, invalid};
use self::layout::{partition_spec, sort_order};
use self::refs::{Refs, change_ref};
pub(crate) use self::together::alter_together;
use super::IcebergSnapshot;
use super::commit::TableCommit;
use super::commit::land::{Now, Pace, now};
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::snapshot::AsOf;
use crate::write::alter::Alteration;

/// How often a table is read to find out whether a commit whose answer was lost took place.
const LOOKS: usize = 5;
/// The property that holds a table's description.
pub(super) const COMMENT: &str = "comment";

/// Makes all of the changes in one commit.
pub(crate) async fn alter(lakehouse: &Lakehouse, name: &TableName, alterations: &[Alteration]) -> Result<()> {
    let mut pace: Option<Pace> = None;
    loop {
        let now = now(lakehouse, name).await?;
        let change = MetadataChange::of(lakehouse, name, &now, alterations).await?;
        if change.commit.updates.is_empty() {
            return Ok(());
        }
        match lakehouse.client(&name.catalog)?.commit(name, &change.commit).await {
            Ok(()) => return Ok(()),
            Err(Error::Conflict { .. }) => {
                let pace = pace.get_or_insert_with(|| Pace::of(&now.metadata.table));
                if !pace.wait().await {
                    return Err(Error::Conflict {
                        table: name.to_string(),
                    });
                }
            }
            Err(Error::CommitUnknown { table, detail }) => {
                let mut pace = Pace::of(&now.metadata.table);
                return match took_place(lakehouse, name, &change.after, &mut pace).await {
                    true => Ok(()),
                    false => Err(Error::CommitUnknown { table, detail }),
                };
            }
            Err(error) => return Err(error),
        }
    }
}

/// True where the table has become what the commit would have made of it.
async fn took_place(lakehouse: &Lakehouse, name: &TableName, after: &TableMetadata, pace: &mut Pace) -> bool {
    for _ in 0..LOOKS {
        if let Ok(found) = now(lakehouse, name).await {
            let found = &found.metadata;
            let table = &found.table;
            let refs = |metadata: &TableMetadata| {
                serde_json::to_value(metadata)
                    .ok()
                    .and_then(|json| json.get("refs").cloned())
            };
            let same = table.current_schema().as_struct() == after.current_schema().as_struct()
                && table.default_partition_spec().fields() == after.default_partition_spec().fields()
                && table.default_sort_order().fields == after.default_sort_order().fields
                && table.properties() == after.properties()
                && table.location() == after.location()
                && table.format_version() == after.format_version()
                && refs(table) == refs(after);
            if same {
                return true;
            }
        }
        if !pace.wait().await {
            return false;
        }
    }
    false
}

/// A commit of changes to the metadata, and what it makes.
struct MetadataChange {
    commit: TableCommit,
    after: TableMetadata,
}

impl MetadataChange {
    async fn of(lakehouse: &Lakehouse, name: &TableName, now: &Now, alterations: &[Alteration]) -> Result<Self> {
        let base = &now.metadata.table;
        let mut after = base.as_ref().clone();
        let mut updates = Vec::new();
        for alteration in alterations {
            if let Alteration::SetNullable {
                column,
                nullable: false,
            } = alteration
            {
                check_no_nulls(lakehouse, name, now, column).await?;
            }
            let refs = || now.metadata.refs();
            let builder = apply(name, &after, refs, alteration)?;
            let built = builder.build().map_err(|error| invalid(error.to_string()))?;
            after = built.metadata;
            updates.extend(built.changes);
        }
        let updates = reused::named_by_id(base, &after, updates);
        let mut requirements = vec![TableRequirement::UuidMatch { uuid: base.uuid() }];
        if updates.iter().any(is_of_columns) {
            requirements.extend([
                TableRequirement::CurrentSchemaIdMatch {
                    current_schema_id: base.current_schema_id(),
                },
                TableRequirement::LastAssignedFieldIdMatch {
                    last_assigned_field_id: base.last_column_id(),
                },
                TableRequirement::DefaultSpecIdMatch {
                    default_spec_id: base.default_partition_spec_id(),
                },
                TableRequirement::LastAssignedPartitionIdMatch {
                    last_assigned_partition_id: base.last_partition_id(),
                },
                TableRequirement::DefaultSortOrderIdMatch {
                    default_sort_order_id: base.default_sort_order_id(),
                },
            ]);
        }
        let needs_no_nulls =
            |alteration: &Alteration| matches!(alteration, Alteration::SetNullable { nullable: false, .. });
        if alterations.iter().any(needs_no_nulls) {
            requirements.push(ref_is(iceberg::spec::MAIN_BRANCH, base.current_snapshot_id()));
            let others = now.metadata.refs().into_iter();
            let others = others.filter(|(name, found)| found.is_branch() && name != iceberg::spec::MAIN_BRANCH);
            requirements.extend(others.map(|(name, found)| ref_is(&name, Some(found.snapshot_id))));
        }
        let refs = now.metadata.refs();
        let known = |name: &str| refs.get(name).map(|reference| reference.snapshot_id);
        for update in &updates {
            if let TableUpdate::SetSnapshotRef { ref_name, .. } | TableUpdate::RemoveSnapshotRef { ref_name } = update {
                requirements.push(ref_is(ref_name, known(ref_name)));
            }
        }
        let commit = TableCommit {
            base: Arc::clone(&now.metadata),
            base_location: now.location.clone(),
            requirements,
            updates,
        };
        Ok(Self { commit, after })
    }
}

fn ref_is(name: &str, snapshot_id: Option<i64>) -> TableRequirement {
    TableRequirement::RefSnapshotIdMatch {
        r#ref: name.to_owned(),
        snapshot_id,
    }
}

fn is_of_columns(update: &TableUpdate) -> bool {
    matches!(
        update,
        TableUpdate::AddSchema { .. }
            | TableUpdate::SetCurrentSchema { .. }
            | TableUpdate::AddSpec { .. }
            | TableUpdate::SetDefaultSpec { .. }
            | TableUpdate::AddSortOrder { .. }
            | TableUpdate::SetDefaultSortOrder { .. }
    )
}

/// Refuses NOT NULL for a column that may hold NULL, at the head of any branch: all of them have the table's columns.
async fn check_no_nulls(lakehouse: &Lakehouse, name: &TableName, now: &Now, column: &[String]) -> Result<()> {
    check_no_nulls_at(lakehouse, name, now, (column, &AsOf::Latest)).await?;
    for (branch, _) in now.metadata.refs().into_iter().filter(|(_, found)| found.is_branch()) {
        check_no_nulls_at(lakehouse, name, now, (column, &AsOf::Ref(branch))).await?;
    }
    Ok(())
}

async fn check_no_nulls_at(
    lakehouse: &Lakehouse,
    name: &TableName,
    now: &Now,
    (column, head): (&[String], &AsOf),
) -> Result<()> {
    let manifests = lakehouse.manifests().clone();
    let head = IcebergSnapshot::at(name.to_string(), Arc::clone(&now.metadata), head, manifests)?;
    let field = Columns::of(name, &now.metadata.table).get(column)?;
    let refused = || {
        invalid(format!(
            "rows of the table may hold NULL in {}: it cannot become NOT NULL",
            column.join(".")
        ))
    };
    let (data, _) = head.loaded_manifests().await?;
    if column.len() > 1 && !data.is_empty() {
        return Err(refused());
    }
    for manifest in &data {
        let nulls = manifest
            .entries
            .metrics
            .get(&field.id)
            .and_then(|metrics| metrics.nulls.as_ref());
        let none = nulls.is_some_and(|nulls| nulls.iter().all(|count| count == Some(0)));
        if !none && manifest.entries.len() > 0 {
            return Err(refused());
        }
    }
    Ok(())
}

/// The metadata with one change.
fn apply(
    name: &TableName,
    metadata: &TableMetadata,
    refs: impl Fn() -> Refs,
    alteration: &Alteration,
) -> Result<TableMetadataBuilder> {
    let builder = metadata.clone().into_builder(None);
    let failed = |error: iceberg::Error| invalid(error.message().to_owned());
    match alteration {
        Alteration::CommentTable { comment: Some(comment) } => {
            let properties = [(COMMENT.to_owned(), comment.clone())];
            builder.set_properties(properties.into()).map_err(failed)
        }
        Alteration::CommentTable { comment: None } => builder.remove_properties(&[COMMENT.to_owned()]).map_err(failed),
        Alteration::SetProperties { properties } => set_properties(name, builder, properties),
        Alteration::UnsetProperties { keys, if_exists } => {
            let missing = keys.iter().find(|key| !metadata.properties().contains_key(*key));
            if let Some(missing) = missing.filter(|_| !if_exists) {
                return Err(Error::NotFound {
                    what: "property",
                    name: missing.clone(),
                    hint: None,
                });
            }
            builder.remove_properties(keys).map_err(failed)
        }
        Alteration::AddPartitionField { .. }
        | Alteration::DropPartitionField { .. }
        | Alteration::ReplacePartitionField { .. } => {
            let spec = partition_spec(name, metadata, alteration)?;
            builder.add_default_partition_spec(spec).map_err(failed)
        }
        Alteration::SetSortOrder { keys } => {
            let order = sort_order(name, metadata, keys)?;
            let builder = builder.add_sort_order(order).map_err(failed)?;
            builder.set_default_sort_order(-1).map_err(failed)
        }
        Alteration::SetLocation { location } => Ok(builder.set_location(location.trim_end_matches('/').to_owned())),
        Alteration::CreateRef { .. } | Alteration::DropRef { .. } | Alteration::FastForward { .. } => {
            change_ref(metadata, builder, &refs(), alteration)
        }
        Alteration::AddConstraint { .. } | Alteration::DropConstraint { .. } => Err(Error::Unsupported {
            table: name.to_string(),
            feature: format!("{}, which Iceberg does not have", alteration.feature()),
        }),
        _ => {
            let mut columns = Columns::of(name, metadata);
            change_columns(metadata, &mut columns, alteration)?;
            builder.add_current_schema(columns.build()?).map_err(failed)
        }
    }
}

fn change_columns(metadata: &TableMetadata, columns: &mut Columns<'_>, alteration: &Alteration) -> Result<()> {
    match alteration {
        Alteration::AddColumn {
            parent,
            field,
            comment,
            default,
            position,
            if_not_exists,
        } => {
            let path: Vec<String> = parent.iter().chain([field.name()]).cloned().collect();
            if *if_not_exists && columns.find(&path).is_some() {
                return Ok(());
            }
            let new = NewColumn {
                field,
                comment: comment.as_deref(),
                default: default.as_ref(),
                position,
            };
            columns.add(parent, new)
        }
        Alteration::DropColumn { column, if_exists } => match columns.find(column) {
            None if *if_exists => Ok(()),
            found => {
                if let Some(field) = found {
                    let mut ids = Vec::new();
                    ids_of(&field, &mut ids);
                    check_unused(metadata, &column.join("."), &ids)?;
                }
                columns.drop(column)
            }
        },
        Alteration::RenameColumn { column, to } => columns.rename(column, to),
        Alteration::MoveColumn { column, position } => columns.move_to(column, position),
        Alteration::WidenColumn { column, to } => columns.widen(column, to),
        Alteration::SetNullable { column, nullable } => columns.set_nullable(column, *nullable),
        Alteration::SetDefault { column, value } => columns.set_default(column, value.as_ref()),
        Alteration::CommentColumn { column, comment } => columns.comment(column, comment.as_deref()),
        _ => Ok(()),
    }
}

/// Refuses to drop what new files are divided or sorted by.
fn check_unused(metadata: &TableMetadata, column: &str, ids: &[i32]) -> Result<()> {
    let mut fields = metadata.default_partition_spec().fields().iter();
    if let Some(field) = fields.find(|field| ids.contains(&field.source_id) && field.transform != Transform::Void) {
        let detail = format!(
            "the table is partitioned by {column}: drop the partition field {} first",
            field.name
        );
        return Err(invalid(detail));
    }
    let mut keys = metadata.default_sort_order().fields.iter();
    match keys.any(|key| ids.contains(&key.source_id)) {
        true => Err(invalid(format!(
            "the table is sorted by {column}: change its sort order first"
        ))),
        false => Ok(()),
    }
}

fn set_properties(
    name: &TableName,
    builder: TableMetadataBuilder,
    properties: &[(String, String)],
) -> Result<TableMetadataBuilder> {
    let failed = |error: iceberg::Error| invalid(error.message().to_owned());
    let mut builder = builder;
    let mut plain = std::collections::HashMap::new();
    for (key, value) in properties {
        match (key.as_str(), value.as_str()) {
            ("format-version", version) => {
                let version = match version {
                    "1" => FormatVersion::V1,
                    "2" => FormatVersion::V2,
                    "3" => FormatVersion::V3,
                    other => {
                        return Err(Error::Unsupported {
                            table: name.to_string(),
                            feature: format!("the format version {other}"),
                        });
                    }
                };
                builder = builder.upgrade_format_version(version).map_err(failed)?;
            }
            _ => {
                plain.insert(key.clone(), value.clone());
            }
        }
    }
    builder.set_properties(plain).map_err(failed)
}
