//! A change to the next snapshot: manifests, delete files and the manifest list behind the branch's newest snapshot.
//!
//! ```text
//! parent's manifest list ──► carried over as they are
//!                        ──► rewritten: files leave, deletion vectors give way to larger ones
//!                        ──► merged: many small ones of one spec
//! change ──► new manifests: one for each partition spec and content
//! ```
//! Everything that is written has a new name, so that nobody sees it before the catalog points to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use iceberg::io::{MemoryStorage, Storage};
use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestFile, ManifestListWriter, Operation, PartitionSpec,
    SchemaRef, Snapshot, SnapshotRef, Summary, TableMetadata,
};
use uuid::Uuid;

use super::deletes::{Positions, position_file, vector_file};
use super::manifests::{Contents, Layout, Manifests};
use super::merging::{Merging, merge};
use super::summary::Changes;
use super::touched::Touched;
use super::{data_folder, failed, metadata_folder, metrics};
use crate::error::Result;
use crate::write::change::{Change, Operation as Statement};
use crate::write::{self};

/// What one attempt to commit needs.
#[derive(Debug)]
pub(super) struct Producer<'a> {
    pub(super) manifests: Manifests<'a>,
    /// The table as it is now.
    pub(super) metadata: &'a TableMetadata,
    /// The newest snapshot of the branch.
    pub(super) parent: Option<SnapshotRef>,
    pub(super) snapshot_id: i64,
    /// In the name of every file of this attempt.
    pub(super) attempt: Uuid,
    /// The files that were begun, for who cleans up.
    pub(super) written: Vec<String>,
    /// How the manifests are merged; never where it is `None`.
    pub(super) merging: Option<Merging>,
    /// How many manifests were merged so far, and into how many.
    pub(super) merged: (usize, usize),
}

/// Files of one partition spec that join the table, and what their manifest is written with.
struct Group {
    schema: SchemaRef,
    spec: PartitionSpec,
    files: Vec<DataFile>,
}

/// By partition spec and schema: the values of one spec may have had another type.
type Groups = BTreeMap<(i32, i32), Group>;

impl Producer<'_> {
    /// Writes the snapshot of `change`, whose files are found in `touched`.
    pub(super) async fn produce(&mut self, change: &Change, touched: &Touched) -> Result<Snapshot> {
        let version = self.metadata.format_version();
        if version == FormatVersion::V1 && !change.deleted.is_empty() {
            return Err(self
                .manifests
                .unsupported("row-level deletes in a table of format version 1"));
        }
        let mut changes = Changes::default();
        let listed = match &self.parent {
            Some(parent) => self.manifests.list(self.metadata, parent).await?,
            None => Vec::new(),
        };
        let added = self.data_groups(change, &mut changes)?;
        let deletes = self.delete_groups(touched, &mut changes).await?;
        let mut kept = Vec::with_capacity(listed.len());
        for file in listed {
            match touched.leaves(&file.manifest_path) {
                true => kept.push(self.rewrite(&file, touched, &mut changes).await?),
                false => kept.push(file),
            }
        }
        let mut manifests = Vec::new();
        for (content, groups) in [
            (ManifestContentType::Data, added),
            (ManifestContentType::Deletes, deletes),
        ] {
            for group in groups.into_values() {
                let contents = Contents {
                    added: group.files,
                    ..Contents::default()
                };
                let layout = self.layout(content, group.schema, group.spec);
                manifests.push(self.write_manifest(layout, contents).await?);
            }
        }
        manifests.extend(kept);
        let manifests = match self.merging {
            Some(merging) => merge(self, merging, manifests).await?,
            None => manifests,
        };
        self.finish(change, manifests, &changes).await
    }

    /// The data files that join the table.
    fn data_groups(&self, change: &Change, changes: &mut Changes) -> Result<Groups> {
        let schema = self.metadata.current_schema();
        let mut groups = Groups::new();
        for written in &change.added {
            let Some(spec) = self.metadata.partition_spec_by_id(written.spec_id) else {
                let detail = format!(
                    "it was written for the partition spec {}, which is gone",
                    written.spec_id
                );
                return Err(failed(self.manifests.table, detail));
            };
            let file =
                metrics::data_file(written, schema, spec).map_err(|error| failed(self.manifests.table, error))?;
            changes.add(written.spec_id, &file);
            push(&mut groups, schema, spec, file);
        }
        Ok(groups)
    }

    /// Writes the files of the rows that are deleted by position.
    async fn delete_groups(&mut self, touched: &Touched, changes: &mut Changes) -> Result<Groups> {
        let mut groups = Groups::new();
        if touched.positions.is_empty() {
            return Ok(groups);
        }
        let table = self.manifests.table;
        let folder = data_folder(self.metadata);
        let mut files = Vec::new();
        if self.metadata.format_version() == FormatVersion::V2 {
            for (number, part) in self.delete_parts(&touched.positions).into_iter().enumerate() {
                let location = format!("{folder}/{}-{number:05}-deletes.parquet", self.attempt);
                let (file, bytes) = position_file(&location, &part).map_err(|error| failed(table, error))?;
                self.put(location, bytes).await?;
                let of = part.first().map(|part| part.file.clone()).unwrap_or_default();
                files.push((of, file));
            }
        } else {
            let location = format!("{folder}/{}-deletes.puffin", self.attempt);
            let (entries, bytes) = vector_file(&location, &touched.positions).map_err(|error| failed(table, error))?;
            self.put(location, bytes).await?;
            let of = touched.positions.iter().map(|positions| positions.file.clone());
            files.extend(of.zip(entries));
        }
        for (of, file) in files {
            let Some(origin) = touched.origins.get(&of) else {
                return Err(failed(table, format!("the data file {of} is not known")));
            };
            changes.add(origin.spec.spec_id(), &file);
            push(&mut groups, &origin.schema, &origin.spec, file);
        }
        Ok(groups)
    }

    /// The positions file by file, or partition by partition, as the table wants its delete files.
    fn delete_parts(&self, positions: &[Positions]) -> Vec<Vec<Positions>> {
        let granularity = self.metadata.properties().get("write.delete.granularity");
        if granularity.is_some_and(|granularity| granularity == "file") {
            return positions.iter().map(|positions| vec![positions.clone()]).collect();
        }
        let mut parts: HashMap<_, Vec<Positions>> = HashMap::new();
        for positions in positions {
            let partition = (positions.spec_id, positions.partition.clone());
            parts.entry(partition).or_default().push(positions.clone());
        }
        let mut parts: Vec<_> = parts.into_values().collect();
        for part in &mut parts {
            part.sort_by(|a, b| a.file.cmp(&b.file));
        }
        parts
    }

    /// Writes a manifest anew without the files that leave the table.
    async fn rewrite(&mut self, file: &ManifestFile, touched: &Touched, changes: &mut Changes) -> Result<ManifestFile> {
        let loaded = self.manifests.load(file).await?;
        let (mut existing, mut removed) = (Vec::new(), Vec::new());
        for entry in loaded.entries {
            match touched.removes(file.content, &entry.file) {
                true => {
                    changes.remove(file.partition_spec_id, &entry.file);
                    removed.push(entry);
                }
                false => existing.push(entry),
            }
        }
        let contents = Contents {
            existing,
            removed,
            ..Contents::default()
        };
        let layout = self.layout(file.content, loaded.schema, loaded.spec);
        self.write_manifest(layout, contents).await
    }

    pub(super) fn layout(&self, content: ManifestContentType, schema: SchemaRef, spec: PartitionSpec) -> Layout {
        Layout {
            version: self.metadata.format_version(),
            content,
            schema,
            spec,
            snapshot_id: self.snapshot_id,
        }
    }

    pub(super) async fn write_manifest(&mut self, layout: Layout, contents: Contents) -> Result<ManifestFile> {
        let folder = metadata_folder(self.metadata);
        let location = format!("{folder}/{}-m{}.avro", self.attempt, self.written.len());
        self.written.push(location.clone());
        self.manifests.write(&location, layout, contents).await
    }

    async fn put(&mut self, location: String, bytes: Bytes) -> Result<()> {
        self.written.push(location.clone());
        write::put(self.manifests.stores, &location, bytes).await
    }

    /// Writes the manifest list and makes the snapshot of it.
    async fn finish(&mut self, change: &Change, manifests: Vec<ManifestFile>, changes: &Changes) -> Result<Snapshot> {
        let table = self.manifests.table;
        let sequence = self.metadata.next_sequence_number();
        let parent = self.parent.as_ref().map(|parent| parent.snapshot_id());
        let mut summary = changes.summary(self.parent.as_deref());
        if change.is_empty() {
            summary.insert("manifests-replaced".to_owned(), self.merged.0.to_string());
            summary.insert("manifests-created".to_owned(), self.merged.1.to_string());
        }
        let folder = metadata_folder(self.metadata);
        let location = format!("{folder}/snap-{}-1-{}.avro", self.snapshot_id, self.attempt);
        let next_row_id = self.metadata.next_row_id();
        let list = List {
            version: self.metadata.format_version(),
            snapshot_id: self.snapshot_id,
            parent,
            sequence,
            next_row_id,
        };
        let (bytes, row_ids_end) = list
            .encode(&location, manifests)
            .await
            .map_err(|error| failed(table, error))?;
        self.put(location.clone(), bytes).await?;
        let now = Utc::now().timestamp_millis();
        let snapshot = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent)
            .with_sequence_number(sequence)
            .with_timestamp_ms(now.max(self.metadata.last_updated_ms()))
            .with_manifest_list(location)
            .with_summary(Summary {
                operation: operation(change),
                additional_properties: summary,
            })
            .with_schema_id(self.metadata.current_schema_id());
        Ok(match row_ids_end {
            Some(end) => snapshot
                .with_row_range(next_row_id, end.saturating_sub(next_row_id))
                .build(),
            None => snapshot.build(),
        })
    }
}

/// A manifest list that is to be written.
struct List {
    version: FormatVersion,
    snapshot_id: i64,
    parent: Option<i64>,
    sequence: i64,
    next_row_id: u64,
}

impl List {
    /// The bytes, and in format version 3 the first row id that is still free.
    async fn encode(self, location: &str, manifests: Vec<ManifestFile>) -> iceberg::Result<(Bytes, Option<u64>)> {
        let memory = MemoryStorage::new();
        let output = memory.new_output(location)?.writer().await?;
        let (id, parent) = (self.snapshot_id, self.parent);
        let mut list = match self.version {
            FormatVersion::V1 => ManifestListWriter::v1(output, id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(output, id, parent, self.sequence),
            FormatVersion::V3 => ManifestListWriter::v3(output, id, parent, self.sequence, Some(self.next_row_id)),
        };
        list.add_manifests(manifests.into_iter())?;
        let end = list.next_row_id();
        list.close().await?;
        Ok((memory.read(location).await?, end))
    }
}

fn push(groups: &mut Groups, schema: &SchemaRef, spec: &PartitionSpec, file: DataFile) {
    let group = groups
        .entry((spec.spec_id(), schema.schema_id()))
        .or_insert_with(|| Group {
            schema: Arc::clone(schema),
            spec: spec.clone(),
            files: Vec::new(),
        });
    group.files.push(file);
}

/// What the snapshot did, in the specification's four words.
fn operation(change: &Change) -> Operation {
    match change.operation {
        Statement::Rewrite => Operation::Replace,
        Statement::Append if change.removed.is_empty() && change.deleted.is_empty() => Operation::Append,
        Statement::Delete if change.added.is_empty() => Operation::Delete,
        _ => Operation::Overwrite,
    }
}
