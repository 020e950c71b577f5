//! Manifests as commits need them: every field of every entry, read to be written again.
//!
//! The crate's types serve here, since they are what its writers take. What it leaves to its caller: lists of format
//! version 1 without counts, sequence numbers and row ids that entries inherit, and names and types of partition fields
//! that its Avro would write wrong.

use std::sync::Arc;

use bytes::Bytes;
use iceberg::io::{MemoryStorage, Storage};
use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, Manifest, ManifestContentType, ManifestFile, ManifestList,
    ManifestStatus, ManifestWriterBuilder, PartitionSpec, PrimitiveType, SchemaRef, Snapshot, TableMetadata, Type,
};

use super::super::manifest::{self, decode};
use super::failed;
use crate::error::{Error, Result};
use crate::stores::Stores;
use crate::write;

/// A manifest list or manifest above this is refused.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// One live entry of a manifest, with everything that it inherits filled in.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The snapshot that added the file.
    pub(super) snapshot_id: i64,
    /// The data sequence number.
    pub(super) sequence: i64,
    /// The sequence number of the commit that added the file.
    pub(super) file_sequence: i64,
    /// The file. Its first row id is filled in where the manifest has one to inherit.
    pub(super) file: DataFile,
}

/// The live entries of a manifest, and what they were written with.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The schema of the table when the manifest was written: its partition values have types of it.
    pub(super) schema: SchemaRef,
    /// The partition spec of all of its files.
    pub(super) spec: PartitionSpec,
    /// The live entries.
    pub(super) entries: Vec<Entry>,
}

/// Reads and writes the manifests of one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manifests<'a> {
    /// The table's name, for messages.
    pub(super) table: &'a str,
    pub(super) stores: &'a Stores,
}

/// What a manifest is to hold.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Files that this snapshot adds.
    pub(super) added: Vec<DataFile>,
    /// Files that were there before.
    pub(super) existing: Vec<Entry>,
    /// Files that this snapshot takes away.
    pub(super) removed: Vec<Entry>,
}

/// How a manifest is to be written.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) version: FormatVersion,
    pub(super) content: ManifestContentType,
    pub(super) schema: SchemaRef,
    pub(super) spec: PartitionSpec,
    pub(super) snapshot_id: i64,
}

impl Manifests<'_> {
    /// The manifests of a snapshot, those without a live file left out.
    pub(super) async fn list(&self, metadata: &TableMetadata, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
        let location = snapshot.manifest_list();
        if location.is_empty() {
            return Err(self.unsupported("writing behind a snapshot without a manifest list"));
        }
        let bytes = self.stores.read(location, MANIFEST_BYTES_MAX).await?;
        let version = metadata.format_version();
        let own = decode::list(&bytes).map_err(|detail| self.corrupt(location, detail))?;
        let list = self
            .parse(location, move || {
                // A list keeps the version that the table had when it was written.
                ManifestList::parse_with_version(&bytes, version)
                    .or_else(|_| ManifestList::parse_with_version(&bytes, FormatVersion::V1))
            })
            .await?;
        // What a reader takes from the list must be what is written again.
        let same = |file: &ManifestFile, own: &manifest::ManifestFile| {
            file.manifest_path == own.path
                && file.partition_spec_id == own.spec_id
                && (file.content == ManifestContentType::Deletes) == own.deletes
                && file.sequence_number == own.sequence
        };
        let pairs = list.entries().iter().zip(&own);
        if list.entries().len() != own.len() || !pairs.into_iter().all(|(file, own)| same(file, own)) {
            return Err(self.unsupported("writing behind a manifest list that is not of its table's format version"));
        }
        let mut files = Vec::with_capacity(own.len());
        for file in list.entries() {
            let mut file = file.clone();
            if file.key_metadata.is_some() {
                return Err(self.unsupported("table encryption"));
            }
            self.count(&mut file).await?;
            if file.has_added_files() || file.has_existing_files() {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Fills in the counts that a list of format version 1 may lack.
    async fn count(&self, file: &mut ManifestFile) -> Result<()> {
        let known = [
            file.added_files_count,
            file.existing_files_count,
            file.deleted_files_count,
        ];
        let rows = [file.added_rows_count, file.existing_rows_count, file.deleted_rows_count];
        if known.iter().all(Option::is_some) && rows.iter().all(Option::is_some) {
            return Ok(());
        }
        let manifest = self.manifest(&file.manifest_path).await?;
        let of = |status: ManifestStatus| {
            let entries = manifest.entries().iter().filter(move |entry| entry.status() == status);
            let (mut files, mut rows) = (0_u32, 0_u64);
            for entry in entries {
                files = files.saturating_add(1);
                rows = rows.saturating_add(entry.record_count());
            }
            (Some(files), Some(rows))
        };
        (file.added_files_count, file.added_rows_count) = of(ManifestStatus::Added);
        (file.existing_files_count, file.existing_rows_count) = of(ManifestStatus::Existing);
        (file.deleted_files_count, file.deleted_rows_count) = of(ManifestStatus::Deleted);
        Ok(())
    }

    /// The live entries of a manifest, with what they inherit from its entry in the list.
    pub(super) async fn load(&self, file: &ManifestFile) -> Result<Loaded> {
        let manifest = self.manifest(&file.manifest_path).await?;
        let (entries, metadata) = manifest.into_parts();
        let mut next_row_id =
            file.first_row_id.map(i64::try_from).transpose().map_err(|error| {
                self.corrupt(&file.manifest_path, format!("its first row id is too large: {error}"))
            })?;
        let mut live = Vec::with_capacity(entries.len());
        for entry in entries {
            if !entry.is_alive() {
                continue;
            }
            // Of a manifest of format version 1, whose sequence number is 0, every entry inherits it.
            let inherits = entry.status() == ManifestStatus::Added || file.sequence_number == 0;
            let inherited = inherits.then_some(file.sequence_number);
            let numbered = |own: Option<i64>| {
                own.or(inherited).ok_or_else(|| {
                    let detail = format!("{} has no sequence number", entry.file_path());
                    self.corrupt(&file.manifest_path, detail)
                })
            };
            let mut data_file = entry.data_file().clone();
            if data_file.key_metadata().is_some() {
                return Err(self.unsupported("table encryption"));
            }
            if let Some(next) = next_row_id
                && data_file.first_row_id().is_none()
                && file.content == ManifestContentType::Data
            {
                let rows = i64::try_from(data_file.record_count());
                next_row_id = rows.ok().and_then(|rows| next.checked_add(rows));
                data_file = self.with_first_row_id(&data_file, next)?;
            }
            live.push(Entry {
                snapshot_id: entry.snapshot_id().unwrap_or(file.added_snapshot_id),
                sequence: numbered(entry.sequence_number())?,
                file_sequence: numbered(entry.file_sequence_number)?,
                file: data_file,
            });
        }
        Ok(Loaded {
            schema: metadata.schema,
            spec: metadata.partition_spec.with_spec_id(file.partition_spec_id),
            entries: live,
        })
    }

    /// The same file with the row id that it inherited.
    fn with_first_row_id(&self, file: &DataFile, first_row_id: i64) -> Result<DataFile> {
        let mut builder = DataFileBuilder::default();
        builder
            .content(file.content_type())
            .file_path(file.file_path().to_owned())
            .file_format(file.file_format())
            .partition(file.partition().clone())
            .record_count(file.record_count())
            .file_size_in_bytes(file.file_size_in_bytes())
            .column_sizes(file.column_sizes().clone())
            .value_counts(file.value_counts().clone())
            .null_value_counts(file.null_value_counts().clone())
            .nan_value_counts(file.nan_value_counts().clone())
            .lower_bounds(file.lower_bounds().clone())
            .upper_bounds(file.upper_bounds().clone())
            .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
            .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
            .equality_ids(file.equality_ids())
            .first_row_id(Some(first_row_id))
            .referenced_data_file(file.referenced_data_file())
            .content_offset(file.content_offset())
            .content_size_in_bytes(file.content_size_in_bytes());
        if let Some(order) = file.sort_order_id() {
            builder.sort_order_id(order);
        }
        builder.build().map_err(|error| failed(self.table, error))
    }

    async fn manifest(&self, location: &str) -> Result<Manifest> {
        let bytes = self.stores.read(location, MANIFEST_BYTES_MAX).await?;
        self.parse(location, move || Manifest::parse_avro(&bytes)).await
    }

    /// Runs a parser of the crate off the async threads; one that panics on damaged bytes reports damage.
    async fn parse<T: Send + 'static>(
        &self,
        location: &str,
        parse: impl FnOnce() -> iceberg::Result<T> + Send + 'static,
    ) -> Result<T> {
        match tokio::task::spawn_blocking(parse).await {
            Ok(Ok(parsed)) => Ok(parsed),
            Ok(Err(error)) => Err(self.corrupt(location, error.to_string())),
            Err(panic) => Err(self.corrupt(location, panic.to_string())),
        }
    }

    /// Writes one manifest to `location`.
    pub(super) async fn write(&self, location: &str, layout: Layout, contents: Contents) -> Result<ManifestFile> {
        self.check(&layout, &contents)?;
        let (manifest, bytes) = encode(location, layout, contents)
            .await
            .map_err(|error| failed(self.table, error))?;
        write::put(self.stores, location, bytes).await?;
        Ok(manifest)
    }

    /// Refuses what the crate's Avro writer would write wrong, or panic at.
    fn check(&self, layout: &Layout, contents: &Contents) -> Result<()> {
        let partition = layout.spec.partition_type(&layout.schema);
        let partition = partition.map_err(|error| failed(self.table, error))?;
        for field in partition.fields() {
            let plain = |name: &str| {
                let mut letters = name.chars();
                letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                    && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if !plain(&field.name) {
                return Err(self.unsupported(&format!("writing the partition field \"{}\"", field.name)));
            }
            if let Type::Primitive(kind @ (PrimitiveType::Uuid | PrimitiveType::Fixed(_))) = field.field_type.as_ref() {
                let feature = format!("writing partition values of the type {kind} (field {})", field.name);
                return Err(self.unsupported(&feature));
            }
        }
        let width = partition.fields().len();
        let entries = contents
            .existing
            .iter()
            .chain(&contents.removed)
            .map(|entry| &entry.file);
        for file in entries.chain(&contents.added) {
            if file.partition().fields().len() != width {
                let values = file.partition().fields().len();
                let detail = format!("it has {values} partition values where its spec has {width} fields");
                return Err(self.corrupt(file.file_path(), detail));
            }
        }
        Ok(())
    }

    pub(super) fn unsupported(&self, feature: &str) -> Error {
        Error::Unsupported {
            table: self.table.to_owned(),
            feature: feature.to_owned(),
        }
    }

    pub(super) fn corrupt(&self, file: &str, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            table: self.table.to_owned(),
            file: file.to_owned(),
            detail: detail.into(),
        }
    }
}

/// The bytes of a manifest and its entry in a manifest list.
async fn encode(location: &str, layout: Layout, contents: Contents) -> iceberg::Result<(ManifestFile, Bytes)> {
    // The crate's writers want a storage of its own kind: they get one in memory.
    let memory = MemoryStorage::new();
    let output = memory.new_output(location)?;
    let builder = ManifestWriterBuilder::new(
        output,
        Some(layout.snapshot_id),
        Arc::clone(&layout.schema),
        layout.spec,
    );
    let mut writer = match (layout.version, layout.content) {
        (FormatVersion::V1, _) => builder.build_v1(),
        (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
        (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
        (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
        (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
    };
    for file in contents.added {
        // A negative number is inherited: the sequence number that the snapshot gets.
        writer.add_file(file, -1)?;
    }
    for entry in contents.existing {
        writer.add_existing_file(entry.file, entry.snapshot_id, entry.sequence, Some(entry.file_sequence))?;
    }
    for entry in contents.removed {
        writer.add_delete_file(entry.file, entry.sequence, Some(entry.file_sequence))?;
    }
    let manifest = writer.write_manifest_file().await?;
    Ok((manifest, memory.read(location).await?))
}
