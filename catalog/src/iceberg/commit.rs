//! A new Iceberg table with its rows: schema and metadata, one manifest, one snapshot.
//!
//! ```text
//! NewTable -> metadata -> StagedTable -> (data files) -> FirstVersion -> the catalog's own commit
//! ```
//! Everything that is written here has a new name, so that nobody sees it before the catalog points to it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use bytes::Bytes;
use chrono::Utc;
use iceberg::TableUpdate;
use iceberg::io::{MemoryStorage, Storage};
use iceberg::spec::{
    FormatVersion, MAIN_BRANCH, ManifestListWriter, ManifestWriterBuilder, NestedField, Operation, PartitionSpec,
    PrimitiveType, Schema, Snapshot, SortOrder, Summary, TableMetadata, TableMetadataBuilder, Type,
};
use uuid::Uuid;

use super::{metrics, schema};
use crate::client::{StagedFormat, StagedTable};
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::target::WriteTarget;
use crate::write::{self, NewTable, WrittenFile};

/// The metadata of an empty, unpartitioned table of format version 2 at `location`.
pub(crate) fn metadata(name: &TableName, new: &NewTable, location: String) -> Result<TableMetadata> {
    let properties = new.properties.iter().cloned().collect();
    let builder = TableMetadataBuilder::new(
        table_schema(name, new)?,
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        location,
        FormatVersion::V2,
        properties,
    );
    let built = builder
        .and_then(TableMetadataBuilder::build)
        .map_err(|error| failed(name, error))?;
    Ok(built.metadata)
}

/// The Iceberg schema of the table's Arrow schema. Field ids count from 1.
pub(crate) fn table_schema(name: &TableName, new: &NewTable) -> Result<Schema> {
    let mut fields = Vec::with_capacity(new.schema.fields().len());
    for (id, field) in (1..).zip(new.schema.fields()) {
        let Some(primitive) = primitive_type(field.data_type()) else {
            let feature = format!("the type {} (column {})", field.data_type(), field.name());
            return Err(Error::Unsupported {
                table: name.to_string(),
                feature,
            });
        };
        fields.push(Arc::new(NestedField::new(
            id,
            field.name(),
            Type::Primitive(primitive),
            !field.is_nullable(),
        )));
    }
    Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(|error| failed(name, error))
}

/// The Iceberg type that holds every value of an Arrow type. Nanoseconds need format version 3.
fn primitive_type(arrow: &DataType) -> Option<PrimitiveType> {
    Some(match arrow {
        DataType::Boolean => PrimitiveType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => PrimitiveType::Int,
        DataType::Int64 | DataType::UInt32 => PrimitiveType::Long,
        DataType::Float32 => PrimitiveType::Float,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Decimal128(precision, scale) => PrimitiveType::Decimal {
            precision: u32::from(*precision),
            scale: u32::try_from(*scale).ok()?,
        },
        DataType::Date32 => PrimitiveType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PrimitiveType::Time,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => return None,
        DataType::Timestamp(_, None) => PrimitiveType::Timestamp,
        DataType::Timestamp(_, Some(_)) => PrimitiveType::Timestamptz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => PrimitiveType::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => PrimitiveType::Binary,
        DataType::FixedSizeBinary(length) => PrimitiveType::Fixed(u64::try_from(*length).ok()?),
        _ => return None,
    })
}

/// A table that the catalog may publish later, under the metadata that it agreed to.
pub(crate) fn stage(name: &TableName, new: &NewTable, metadata: TableMetadata) -> StagedTable {
    let data_folder = format!("{}/data", metadata.location().trim_end_matches('/'));
    let file_schema = schema::arrow_schema(metadata.current_schema());
    StagedTable {
        target: WriteTarget::new(name.to_string(), data_folder, file_schema).with_rows_max(new.file_rows_max),
        format: StagedFormat::Iceberg(Box::new(metadata)),
    }
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
    /// Writes the manifest and the manifest list of `files`.
    pub(crate) async fn write(
        stores: &Stores,
        name: &TableName,
        metadata: TableMetadata,
        files: &[WrittenFile],
    ) -> Result<Self> {
        if metadata.format_version() != FormatVersion::V2 || !metadata.default_partition_spec().is_unpartitioned() {
            let feature = "writing to anything but an unpartitioned table of format version 2".to_owned();
            return Err(Error::Unsupported {
                table: name.to_string(),
                feature,
            });
        }
        let mut version = Self {
            metadata,
            updates: Vec::new(),
            written: Vec::new(),
        };
        if !files.is_empty() {
            let written = version.write_snapshot(stores, name, files).await;
            write::settle(stores, &version.written, written).await?;
        }
        Ok(version)
    }

    async fn write_snapshot(&mut self, stores: &Stores, name: &TableName, files: &[WrittenFile]) -> Result<()> {
        let encoded = encode(&self.metadata, files)
            .await
            .map_err(|error| failed(name, error))?;
        for (location, bytes) in encoded.objects {
            self.written.push(location.clone());
            write::put(stores, &location, bytes).await?;
        }
        let builder = self
            .metadata
            .clone()
            .into_builder(None)
            .set_branch_snapshot(encoded.snapshot, MAIN_BRANCH);
        let built = builder
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

/// A snapshot and the objects that it refers to, by location.
struct Encoded {
    snapshot: Snapshot,
    objects: [(String, Bytes); 2],
}

/// The first snapshot of a table, with `files`.
async fn encode(metadata: &TableMetadata, files: &[WrittenFile]) -> iceberg::Result<Encoded> {
    let commit = Uuid::new_v4();
    let snapshot_id = snapshot_id(commit);
    let folder = metadata_folder(metadata);
    let manifest_at = format!("{folder}/{commit}-m0.avro");
    let list_at = format!("{folder}/snap-{snapshot_id}-1-{commit}.avro");
    // The crate's writers want a storage of its own kind: they get one in memory.
    let memory = MemoryStorage::new();
    let schema = metadata.current_schema();
    let spec = metadata.default_partition_spec().as_ref().clone();
    let output = memory.new_output(&manifest_at)?;
    let mut manifest = ManifestWriterBuilder::new(output, Some(snapshot_id), Arc::clone(schema), spec).build_v2_data();
    for file in files {
        // A negative number is inherited: the sequence number that the snapshot gets.
        manifest.add_file(
            metrics::data_file(file, schema, metadata.default_partition_spec_id())?,
            -1,
        )?;
    }
    let manifest = manifest.write_manifest_file().await?;
    let sequence_number = metadata.next_sequence_number();
    let output = memory.new_output(&list_at)?.writer().await?;
    let mut list = ManifestListWriter::v2(output, snapshot_id, None, sequence_number);
    list.add_manifests(std::iter::once(manifest))?;
    list.close().await?;
    let snapshot = Snapshot::builder()
        .with_snapshot_id(snapshot_id)
        .with_sequence_number(sequence_number)
        .with_timestamp_ms(Utc::now().timestamp_millis().max(metadata.last_updated_ms()))
        .with_manifest_list(list_at.clone())
        .with_summary(Summary {
            operation: Operation::Append,
            additional_properties: summary(files),
        })
        .with_schema_id(schema.schema_id())
        .build();
    let objects = [
        (memory.read(&manifest_at).await?, manifest_at),
        (memory.read(&list_at).await?, list_at),
    ];
    Ok(Encoded {
        snapshot,
        objects: objects.map(|(bytes, location)| (location, bytes)),
    })
}

/// What the first snapshot adds, and the same again as the table's totals.
fn summary(files: &[WrittenFile]) -> HashMap<String, String> {
    let counts = [
        ("data-files", files.len() as u64),
        ("records", files.iter().map(|file| file.rows).sum()),
        ("files-size", files.iter().map(|file| file.size_bytes).sum()),
    ];
    let mut summary = HashMap::new();
    for (what, count) in counts {
        summary.insert(format!("added-{what}"), count.to_string());
        summary.insert(format!("total-{what}"), count.to_string());
    }
    for what in ["delete-files", "position-deletes", "equality-deletes"] {
        summary.insert(format!("total-{what}"), "0".to_owned());
    }
    summary
}

/// A positive id out of a random one.
fn snapshot_id(commit: Uuid) -> i64 {
    let (high, low) = commit.as_u64_pair();
    ((high ^ low) & (u64::MAX >> 1)).cast_signed()
}

fn metadata_folder(metadata: &TableMetadata) -> String {
    format!("{}/metadata", metadata.location().trim_end_matches('/'))
}

fn failed(name: &TableName, error: impl std::fmt::Display) -> Error {
    Error::Write {
        table: name.to_string(),
        detail: error.to_string(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_types_that_iceberg_has() {
        let check = |arrow: DataType, expect: Option<PrimitiveType>| {
            assert_eq!(primitive_type(&arrow), expect, "{arrow}");
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
        check(DataType::UInt64, None);
    }

    #[test]
    fn snapshot_ids_are_positive() {
        for _ in 0..1_000 {
            assert!(snapshot_id(Uuid::new_v4()) >= 0);
        }
    }
}
