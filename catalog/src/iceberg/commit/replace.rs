//! CREATE OR REPLACE TABLE: new columns and rows in the place of the old ones, in one commit. The table keeps its
//! identity and its older snapshots.

use std::sync::Arc;

use iceberg::spec::{MAIN_BRANCH, PartitionSpec, Schema, TableMetadata, TableMetadataBuilder};
use iceberg::{TableRequirement, TableUpdate};

use super::super::alter::reused::named_by_id;
use super::super::metadata::Metadata;
use super::super::schema;
use super::create::{self, FirstVersion};
use super::land::{TableCommit, now};
use super::{failed, target};
use crate::client::{StagedFormat, StagedTable};
use crate::error::Result;
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::{NewTable, WrittenFile};

/// What takes the place of a table.
#[derive(Debug)]
pub(crate) struct Replacement {
    base: Arc<Metadata>,
    base_location: String,
    /// The metadata without any row.
    metadata: TableMetadata,
    /// What makes them from `base`.
    updates: Vec<TableUpdate>,
}

/// Chooses the columns of what takes the table's place. None of them is a column of the table: their ids are new.
pub(crate) async fn stage_replacement(lakehouse: &Lakehouse, name: &TableName, new: &NewTable) -> Result<StagedTable> {
    let now = now(lakehouse, name).await?;
    let base = &now.metadata.table;
    let wrong = |error: iceberg::Error| failed(name, error);
    let version = create::format_version(name, new)?.max(base.format_version());
    let schema = create::replacing_schema(name, new, version, base.last_column_id())?;
    let built = of(name, new, base, version, &schema)?.build().map_err(wrong)?;
    let columns = schema::arrow_schema(built.metadata.current_schema());
    let target = target::of(&name.to_string(), &built.metadata, &columns)?.with_rows_max(new.file_rows_max);
    let updates = named_by_id(base, &built.metadata, built.changes);
    let replacement = Replacement {
        base: Arc::clone(&now.metadata),
        base_location: now.location,
        metadata: built.metadata,
        updates,
    };
    Ok(StagedTable::new(
        target,
        StagedFormat::Replacement(Box::new(replacement)),
    ))
}

fn of(
    name: &TableName,
    new: &NewTable,
    base: &TableMetadata,
    version: iceberg::spec::FormatVersion,
    schema: &Schema,
) -> Result<TableMetadataBuilder> {
    let wrong = |error: iceberg::Error| failed(name, error);
    let spec = create::partition_spec(name, new, schema)?;
    let spec = spec.unwrap_or_else(|| PartitionSpec::unpartition_spec().into_unbound());
    let properties = new.properties.iter().filter(|(key, _)| key != create::FORMAT_VERSION);
    let properties: std::collections::HashMap<_, _> = properties.cloned().collect();
    let gone: Vec<String> = base
        .properties()
        .keys()
        .filter(|key| !properties.contains_key(*key))
        .cloned()
        .collect();
    let mut builder = base.clone().into_builder(None);
    if version != base.format_version() {
        builder = builder.upgrade_format_version(version).map_err(wrong)?;
    }
    builder = builder
        .remove_ref(MAIN_BRANCH)
        .add_current_schema(schema.clone())
        .and_then(|builder| builder.add_default_partition_spec(spec))
        .map_err(wrong)?;
    let order = create::sort_order(new, schema)?;
    builder = builder
        .add_sort_order(order)
        .and_then(|builder| builder.set_default_sort_order(-1))
        .map_err(wrong)?;
    if !gone.is_empty() {
        builder = builder.remove_properties(&gone).map_err(wrong)?;
    }
    if !properties.is_empty() {
        builder = builder.set_properties(properties).map_err(wrong)?;
    }
    Ok(match &new.location {
        Some(location) => builder.set_location(location.trim_end_matches('/').to_owned()),
        None => builder,
    })
}

/// Puts the replacement with all of `files` in the table's place.
pub(crate) async fn replace(
    lakehouse: &Lakehouse,
    name: &TableName,
    replacement: Replacement,
    files: &[WrittenFile],
) -> Result<()> {
    let stores = lakehouse.stores();
    let version = FirstVersion::write(stores, name, (replacement.metadata, MAIN_BRANCH), files).await?;
    let base = &replacement.base.table;
    let mut updates = replacement.updates;
    updates.extend(version.updates.iter().cloned());
    let commit = TableCommit {
        requirements: vec![
            TableRequirement::UuidMatch { uuid: base.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: base.current_snapshot_id(),
            },
            TableRequirement::LastAssignedFieldIdMatch {
                last_assigned_field_id: base.last_column_id(),
            },
            TableRequirement::CurrentSchemaIdMatch {
                current_schema_id: base.current_schema_id(),
            },
        ],
        base: replacement.base,
        base_location: replacement.base_location,
        updates,
    };
    let published = lakehouse.client(&name.catalog)?.commit(name, &commit).await;
    let published = match published {
        Err(crate::Error::CommitUnknown { table, detail }) => {
            let found = now(lakehouse, name).await;
            let columns = version.metadata.current_schema().as_struct();
            let landed = found.is_ok_and(|found| {
                let table = &found.metadata.table;
                table.current_snapshot_id() == version.metadata.current_snapshot_id()
                    && table.current_schema().as_struct() == columns
            });
            match landed {
                true => Ok(()),
                false => Err(crate::Error::CommitUnknown { table, detail }),
            }
        }
        published => published,
    };
    version.settle(stores, published).await
}
