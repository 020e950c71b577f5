//! A Delta schema as plans and data files know it, and which reader features may touch it.
//!
//! A variant is read as its struct of two binaries, `metadata` and `value`; a table whose variants may be shredded
//! into further columns is refused. Columns of a wider type than their files are cast by whoever reads the files.
//! Source: the Delta protocol, "Column Mapping", "Type Widening", "Variant Data Type".

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use delta_kernel::Snapshot;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::schema::DataType as KernelType;
use delta_kernel::table_features::ColumnMappingMode;
use proto::ColumnMatch;

use super::log::Log;
use crate::error::{Error, Result};
use crate::snapshot::plan_column;

/// Reader features that this reader follows. The kernel replays the log for all of them; writers alone are bound by
/// the others that a table may list, such as row tracking, domain metadata, clustering and in-commit timestamps.
const FEATURES_READ: [&str; 11] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantType",
    "variantType-preview",
    SHREDDING,
    SHREDDING_PREVIEW,
];
const SHREDDING: &str = "variantShredding";
const SHREDDING_PREVIEW: &str = "variantShredding-preview";

/// The key of a column's name in the log and in data files.
pub(crate) const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
/// The key of a column's id.
pub(crate) const COLUMN_ID: &str = "delta.columnMapping.id";
/// Where Arrow keeps the field id of a Parquet column.
pub(crate) const PARQUET_FIELD_ID: &str = "PARQUET:field_id";

/// The columns of one version of a table.
#[derive(Debug, PartialEq)]
pub(crate) struct Columns {
    /// As plans see them. Under column mapping each field, nested ones too, carries the key of its file column:
    /// `delta.columnMapping.physicalName` or `PARQUET:field_id`.
    pub(crate) schema: SchemaRef,
    /// Their names in the log and, by name, in data files.
    pub(crate) physical: Vec<String>,
    /// Columns, by position, whose values are in the log and not in the files.
    pub(crate) partition_columns: Vec<usize>,
    /// By what a column is known in data files.
    pub(crate) column_match: ColumnMatch,
}

impl Columns {
    /// The columns of a version. Refuses what this reader cannot read right.
    pub(crate) fn of(log: &Log, kernel: &Snapshot) -> Result<Self> {
        check_features(log, kernel)?;
        let configuration = kernel.table_configuration();
        let mode = configuration.column_mapping_mode();
        let corrupt = |error: String| log.corrupt(error);
        let logical: Schema = kernel
            .schema()
            .as_ref()
            .try_into_arrow()
            .map_err(|error| corrupt(error.to_string()))?;
        let fields = logical.fields().iter();
        let physical = fields.clone().map(|field| physical_name(field, mode)).collect();
        let schema = Schema::new(
            fields
                .map(|field| plan_column(&mapped(field, mode)))
                .collect::<Vec<_>>(),
        );
        let partition_columns = configuration
            .logical_partition_columns()
            .iter()
            .map(|name| schema.index_of(name).map_err(|error| corrupt(error.to_string())))
            .collect::<Result<_>>()?;
        Ok(Self {
            schema: Arc::new(schema),
            physical,
            partition_columns,
            column_match: match mode {
                ColumnMappingMode::Id => ColumnMatch::FieldId,
                ColumnMappingMode::None | ColumnMappingMode::Name => ColumnMatch::Name,
            },
        })
    }

    /// The name of a column, given its physical name.
    pub(crate) fn logical_name<'a>(&'a self, physical: &'a str) -> &'a str {
        let index = self.physical.iter().position(|name| name == physical);
        index.map_or(physical, |index| self.schema.field(index).name().as_str())
    }
}

fn check_features(log: &Log, kernel: &Snapshot) -> Result<()> {
    let refused = |feature: String| {
        Err(Error::Unsupported {
            table: log.table.clone(),
            feature,
        })
    };
    let protocol = kernel.table_configuration().protocol();
    for feature in protocol.reader_features().unwrap_or_default() {
        let name: &str = feature.as_ref();
        if !FEATURES_READ.contains(&name) {
            return refused(format!("the reader feature {name}"));
        }
        let shreds = name == SHREDDING || name == SHREDDING_PREVIEW;
        if shreds && kernel.schema().fields().any(|field| has_variant(field.data_type())) {
            return refused(format!("shredded variants (the reader feature {name})"));
        }
    }
    Ok(())
}

fn has_variant(column: &KernelType) -> bool {
    match column {
        KernelType::Variant(_) => true,
        KernelType::Struct(fields) => fields.fields().any(|field| has_variant(field.data_type())),
        KernelType::Array(array) => has_variant(&array.element_type),
        KernelType::Map(map) => has_variant(&map.key_type) || has_variant(&map.value_type),
        KernelType::Primitive(_) => false,
    }
}

fn physical_name(field: &Field, mode: ColumnMappingMode) -> String {
    let mapped = match mode {
        ColumnMappingMode::None => None,
        ColumnMappingMode::Id | ColumnMappingMode::Name => field.metadata().get(PHYSICAL_NAME),
    };
    mapped.unwrap_or(field.name()).clone()
}

/// The field with nothing but the key of its file column in its metadata, and so the fields inside it.
fn mapped(field: &Field, mode: ColumnMappingMode) -> Field {
    let metadata = field.metadata();
    let key = match mode {
        ColumnMappingMode::None => None,
        ColumnMappingMode::Name => metadata.get(PHYSICAL_NAME).map(|name| (PHYSICAL_NAME, name)),
        ColumnMappingMode::Id => metadata.get(COLUMN_ID).map(|id| (PARQUET_FIELD_ID, id)),
    };
    let key = key.map(|(key, value)| (key.to_owned(), value.clone()));
    field
        .clone()
        .with_data_type(mapped_type(field.data_type(), mode))
        .with_metadata(key.into_iter().collect::<HashMap<_, _>>())
}

fn mapped_type(column: &DataType, mode: ColumnMappingMode) -> DataType {
    let inner = |field: &FieldRef| Arc::new(mapped(field, mode));
    match column {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
