//! A new Iceberg table with its rows: schema and metadata, one manifest, one snapshot.
//!
//! ```text
//! NewTable -> metadata -> StagedTable -> (data files) -> FirstVersion -> the catalog's own commit
//! ```

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::ScalarValue;
use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, ListType, Literal, MapType, NestedField, NestedFieldRef, NullOrder, PartitionSpec, PrimitiveType,
    Schema, SortDirection, SortField, SortOrder, StructType, TableMetadata, TableMetadataBuilder, Transform, Type,
    UnboundPartitionField, UnboundPartitionSpec,
};
use uuid::Uuid;

use super::super::schema::{self, EXTENSION_NAME};
use super::manifests::Manifests;
use super::producer::Producer;
use super::touched::Touched;
use super::{failed, metadata_folder, snapshot_id, target};
use crate::client::{StagedFormat, StagedTable};
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::change::{Change, Operation, Reads};
use crate::write::{self, NewTable, WrittenFile};

/// The property that names the table's format version when it is created.
pub(super) const FORMAT_VERSION: &str = "format-version";
/// The metadata key of an Arrow field that holds a column's description.
pub(crate) const COMMENT: &str = "comment";

/// The metadata of an empty table at `location`.
pub(crate) fn metadata(name: &TableName, new: &NewTable, location: String) -> Result<TableMetadata> {
    let version = format_version(name, new)?;
    let properties = new.properties.iter().filter(|(key, _)| key != FORMAT_VERSION);
    let schema = table_schema(name, new)?;
    let builder = TableMetadataBuilder::new(
        schema.clone(),
        partition_spec(name, new, &schema)?.unwrap_or_else(|| PartitionSpec::unpartition_spec().into_unbound()),
        sort_order(new, &schema)?,
        location,
        version,
        properties.cloned().collect(),
    );
    let built = builder
        .and_then(TableMetadataBuilder::build)
        .map_err(|error| failed(name, error))?;
    Ok(built.metadata)
}

/// The format version that the properties name; 2 where they name none.
pub(crate) fn format_version(name: &TableName, new: &NewTable) -> Result<FormatVersion> {
    let named = new.properties.iter().find(|(key, _)| key == FORMAT_VERSION);
    match named.map(|(_, version)| version.as_str()) {
        Some("1") => Ok(FormatVersion::V1),
        None | Some("2") => Ok(FormatVersion::V2),
        Some("3") => Ok(FormatVersion::V3),
        Some(other) => Err(unsupported(name, format!("the format version {other}"))),
    }
}

/// The Iceberg schema of the table's Arrow schema. Field ids count from 1, those of the table's columns first.
pub(crate) fn table_schema(name: &TableName, new: &NewTable) -> Result<Schema> {
    replacing_schema(name, new, format_version(name, new)?, 0)
}

/// As [`table_schema`], in a table of that format version whose columns have had ids up to `last`.
pub(super) fn replacing_schema(name: &TableName, new: &NewTable, version: FormatVersion, last: i32) -> Result<Schema> {
    let mut ids = Ids {
        name,
        last,
        nanoseconds: version == FormatVersion::V3,
    };
    let mut fields = ids.fields(new.schema.fields().iter(), "")?;
    if !new.defaults.is_empty() && !ids.nanoseconds {
        return Err(unsupported(
            name,
            "DEFAULT, which takes a table of format version 3".to_owned(),
        ));
    }
    for (index, value) in &new.defaults {
        let Some(field) = fields.get_mut(*index) else { continue };
        let default = default(&field.field_type, value);
        let default = default.ok_or_else(|| unsupported(name, format!("the default {value} of {}", field.name)))?;
        let with_default = field.as_ref().clone();
        *field = Arc::new(
            with_default
                .with_initial_default(default.clone())
                .with_write_default(default),
        );
    }
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| failed(name, error))
}

/// A constant as a default of a primitive type; `None` where it is none.
pub(crate) fn default(field: &Type, value: &ScalarValue) -> Option<Literal> {
    let kind = field.as_primitive_type()?;
    let literal = super::metrics::literal(&value.cast_to(&schema::column_type(kind)).ok()?, kind)?;
    // The crate writes no default of a type in nanoseconds.
    (!matches!(kind, PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs)).then_some(literal)
}

/// Numbers the fields of a new schema.
pub(crate) struct Ids<'a> {
    pub(crate) name: &'a TableName,
    /// The last id that was given.
    pub(crate) last: i32,
    /// Whether the table's format version has types in nanoseconds.
    pub(crate) nanoseconds: bool,
}

impl Ids<'_> {
    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }

    /// Fields of one level: their own ids first, then those inside of them. `path` is where they are, for messages.
    fn fields<'f>(&mut self, fields: impl Iterator<Item = &'f FieldRef>, path: &str) -> Result<Vec<NestedFieldRef>> {
        let numbered: Vec<(i32, &FieldRef)> = fields.map(|field| (self.next(), field)).collect();
        let numbered = numbered.into_iter();
        numbered
            .map(|(id, field)| Ok(Arc::new(self.numbered(id, field, path)?)))
            .collect()
    }

    /// The field with the next id, and ids inside of it.
    pub(crate) fn field(&mut self, field: &Field) -> Result<NestedField> {
        let id = self.next();
        self.numbered(id, field, "")
    }

    fn numbered(&mut self, id: i32, field: &Field, path: &str) -> Result<NestedField> {
        let path = format!("{path}{}", field.name());
        // Arrow has no type of its own for it.
        let is_uuid = field
            .metadata()
            .get(EXTENSION_NAME)
            .is_some_and(|name| name == "arrow.uuid");
        let field_type = match field.data_type() {
            DataType::FixedSizeBinary(16) if is_uuid => Type::Primitive(PrimitiveType::Uuid),
            other => self.field_type(other, &path)?,
        };
        let nested = NestedField::new(id, field.name(), field_type, !field.is_nullable());
        Ok(match field.metadata().get(COMMENT) {
            Some(comment) => nested.with_doc(comment),
            None => nested,
        })
    }

    /// The Iceberg type that holds every value of an Arrow type.
    pub(crate) fn field_type(&mut self, arrow: &DataType, path: &str) -> Result<Type> {
        let inside = format!("{path}.");
        let part = |ids: &mut Self, id, name: &str, field: &Field| -> Result<NestedFieldRef> {
            let field = field.clone().with_name(name);
            Ok(Arc::new(ids.numbered(id, &field, &inside)?))
        };
        Ok(match arrow {
            DataType::Struct(fields) => Type::Struct(StructType::new(self.fields(fields.iter(), &inside)?)),
            DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
                let id = self.next();
                Type::List(ListType::new(part(self, id, "element", item)?))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(self.no_such_type(arrow, path));
                };
                let [key, value] = fields.as_ref() else {
                    return Err(self.no_such_type(arrow, path));
                };
                let (key_id, value_id) = (self.next(), self.next());
                let key = part(self, key_id, "key", &key.as_ref().clone().with_nullable(false))?;
                Type::Map(MapType::new(key, part(self, value_id, "value", value)?))
            }
            _ => {
                let primitive = primitive_type(arrow, self.nanoseconds);
                Type::Primitive(primitive.ok_or_else(|| self.no_such_type(arrow, path))?)
            }
        })
    }

    fn no_such_type(&self, arrow: &DataType, path: &str) -> Error {
        unsupported(self.name, format!("the type {arrow} (column {path})"))
    }
}

/// The Iceberg type that holds every value of an Arrow type. Nanoseconds need format version 3.
pub(crate) fn primitive_type(arrow: &DataType, nanoseconds: bool) -> Option<PrimitiveType> {
    Some(match arrow {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => PrimitiveType::Int,
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::UInt64 => PrimitiveType::Decimal {
            precision: 20,
            scale: 0,
        },
        DataType::Float16 | DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) => PrimitiveType::Decimal {
            precision: u32::from(*precision),
            scale: u32::try_from(*scale).ok()?,
        },
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time32(_) | DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => match (nanoseconds, zone) {
            (false, _) => return None,
            (true, None) => PrimitiveType::TimestampNs,
            (true, Some(_)) => PrimitiveType::TimestamptzNs,
        },
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(length) => PrimitiveType::Fixed(u64::try_from(*length).ok()?),
        _ => return None,
    })
}

/// The partition spec of a new table; `None` for one without partitions.
pub(crate) fn partition_spec(
    name: &TableName,
    new: &NewTable,
    schema: &Schema,
) -> Result<Option<UnboundPartitionSpec>> {
    if new.partition.is_empty() {
        return Ok(None);
    }
    // Other catalogs demand an id.
    let mut builder = UnboundPartitionSpec::builder().with_spec_id(0);
    for (column, transform, field_name) in &new.partition {
        let Some(source) = schema.as_struct().fields().get(*column) else {
            return Err(failed(name, format!("it has no column {column} to be partitioned by")));
        };
        let field = UnboundPartitionField::builder()
            .source_id(source.id)
            .name(
                field_name
                    .clone()
                    .unwrap_or_else(|| target::field_name(&source.name, *transform)),
            )
            .transform(target::iceberg_transform(*transform))
            .build();
        builder = builder
            .add_partition_fields([field])
            .map_err(|error| failed(name, error))?;
    }
    Ok(Some(builder.build()))
}

/// The sort order of a new table.
pub(crate) fn sort_order(new: &NewTable, schema: &Schema) -> Result<SortOrder> {
    let mut fields = Vec::with_capacity(new.sort_order.len());
    for key in &new.sort_order {
        let Some(source) = schema.as_struct().fields().get(key.column) else {
            continue;
        };
        let field = SortField::builder()
            .source_id(source.id)
            .transform(Transform::Identity)
            .direction(match key.descending {
                true => SortDirection::Descending,
                false => SortDirection::Ascending,
            })
            .null_order(match key.nulls_first {
                true => NullOrder::First,
                false => NullOrder::Last,
            });
        fields.push(field.build());
    }
    if fields.is_empty() {
        return Ok(SortOrder::unsorted_order());
    }
    let mut builder = SortOrder::builder();
    builder.with_order_id(1).with_fields(fields);
    builder.build(schema).map_err(|error| Error::InvalidName {
        detail: error.to_string(),
    })
}

/// A table that the catalog may publish later, under the metadata that it agreed to.
pub(crate) fn stage(name: &TableName, new: &NewTable, metadata: TableMetadata) -> Result<StagedTable> {
    let columns = schema::arrow_schema(metadata.current_schema());
    let target = target::of(&name.to_string(), &metadata, &columns)?.with_rows_max(new.file_rows_max);
    Ok(StagedTable::new(target, StagedFormat::Iceberg(Box::new(metadata))))
}

/// The first version of a table, written but not published.
#[derive(Debug)]
pub(crate) struct FirstVersion {
    /// The whole metadata.
    pub(crate) metadata: TableMetadata,
    /// What makes it from the staged metadata: a snapshot, or nothing for a table without rows.
    pub(crate) updates: Vec<TableUpdate>,
    written: Vec<String>,
}

impl FirstVersion {
    /// Writes the manifest and the manifest list of `files`, the first snapshot of that branch.
    pub(crate) async fn write(
        stores: &Stores,
        name: &TableName,
        (metadata, branch): (TableMetadata, &str),
        files: &[WrittenFile],
    ) -> Result<Self> {
        let mut version = Self {
            metadata,
            updates: Vec::new(),
            written: Vec::new(),
        };
        if !files.is_empty() {
            let written = version.write_snapshot(stores, name, branch, files).await;
            write::settle(stores, &version.written, written).await?;
        }
        Ok(version)
    }

    async fn write_snapshot(
        &mut self,
        stores: &Stores,
        name: &TableName,
        branch: &str,
        files: &[WrittenFile],
    ) -> Result<()> {
        let attempt = Uuid::new_v4();
        let table = name.to_string();
        let mut producer = Producer {
            manifests: Manifests { table: &table, stores },
            metadata: &self.metadata,
            parent: None,
            snapshot_id: snapshot_id(attempt),
            attempt,
            written: Vec::new(),
            merging: None,
            merged: (0, 0),
        };
        let change = Change {
            operation: Operation::Append,
            added: files.to_vec(),
            removed: Vec::new(),
            deleted: Vec::new(),
            reads: Reads::Nothing,
        };
        let snapshot = producer.produce(&change, &Touched::default()).await;
        self.written = producer.written;
        let builder = self.metadata.clone().into_builder(None);
        let built = builder
            .set_branch_snapshot(snapshot?, branch)
            .and_then(TableMetadataBuilder::build)
            .map_err(|error| failed(name, error))?;
        self.metadata = built.metadata;
        self.updates = built.changes;
        Ok(())
    }

    /// Writes the metadata file, for a catalog that only points to it.
    pub(crate) async fn write_metadata(&mut self, stores: &Stores, name: &TableName) -> Result<String> {
        let json = serde_json::to_vec(&self.metadata).map_err(|error| failed(name, error))?;
        let location = format!(
            "{}/00000-{}.metadata.json",
            metadata_folder(&self.metadata),
            Uuid::new_v4()
        );
        self.written.push(location.clone());
        write::put(stores, &location, json.into()).await?;
        Ok(location)
    }

    /// Ends the commit: what nothing refers to is deleted.
    pub(crate) async fn settle(self, stores: &Stores, published: Result<()>) -> Result<()> {
        write::settle(stores, &self.written, published).await
    }
}

fn unsupported(name: &TableName, feature: String) -> Error {
    Error::Unsupported {
        table: name.to_string(),
        feature,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_types_that_iceberg_has() {
        let check = |arrow: DataType, expect: Option<PrimitiveType>| {
            assert_eq!(primitive_type(&arrow, false), expect, "{arrow}");
        };
        check(DataType::UInt32, Some(PrimitiveType::Long));
        check(DataType::Utf8View, Some(PrimitiveType::String));
        check(
            DataType::Decimal128(15, 2),
            Some(PrimitiveType::Decimal {
                precision: 15,
                scale: 2,
            }),
        );
        check(DataType::Decimal128(15, -2), None);
        check(DataType::FixedSizeBinary(16), Some(PrimitiveType::Fixed(16)));
        check(
            DataType::Timestamp(TimeUnit::Second, None),
            Some(PrimitiveType::Timestamp),
        );
        check(
            DataType::Timestamp(TimeUnit::Microsecond, Some("+01:00".into())),
            Some(PrimitiveType::Timestamptz),
        );
        check(DataType::Timestamp(TimeUnit::Nanosecond, None), None);
        check(
            DataType::UInt64,
            Some(PrimitiveType::Decimal {
                precision: 20,
                scale: 0,
            }),
        );
        check(DataType::Duration(TimeUnit::Second), None);
    }
}
