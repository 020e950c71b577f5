//! An Iceberg table in a folder: schemas, partition specs, and snapshots of data and delete files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use serde_json::{Value, json};

use super::iceberg_schema::{greatest_id, schema_json};
use super::manifest::known;
use super::{
    ColumnStatistics, FileLayout, Transform, WrittenFile, bitmap, delete_positions_schema, field_id, manifest,
    write_parquet,
};

/// One field of a partition spec.
#[derive(Debug, Clone)]
pub struct PartitionField {
    /// Field id of the source column.
    pub source_id: i32,
    /// Its own id, from 1000.
    pub field_id: i32,
    /// Its name.
    pub name: String,
    /// How values become partition values.
    pub transform: Transform,
    /// Type of the partition values.
    pub data_type: DataType,
}

/// How rows are distributed over files.
#[derive(Debug, Clone, Default)]
pub struct PartitionSpec {
    /// Number of the spec.
    pub id: i32,
    /// Its fields.
    pub fields: Vec<PartitionField>,
}

/// A data file, delete file or deletion vector.
#[derive(Debug, Clone)]
pub struct IcebergFile {
    /// 0: data, 1: position deletes and deletion vectors, 2: equality deletes.
    pub content: u8,
    /// Where it lies.
    pub path: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Number of rows; of a deletion vector, of positions.
    pub rows: u64,
    /// Number of the partition spec.
    pub spec_id: i32,
    /// A value per field of the spec.
    pub partition: Vec<ScalarValue>,
    /// What is known of its columns.
    pub columns: Vec<ColumnStatistics>,
    /// Columns of equality deletes.
    pub equality_ids: Vec<i32>,
    /// The only data file that it deletes from.
    pub referenced: Option<String>,
    /// Offset and length of a deletion vector in its Puffin file.
    pub blob: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Existing = 0,
    Added = 1,
    Deleted = 2,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) status: Status,
    pub(super) snapshot_id: i64,
    pub(super) sequence: i64,
    pub(super) file: IcebergFile,
}

#[derive(Debug, Clone)]
pub(super) struct Manifest {
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) spec_id: i32,
    pub(super) deletes: bool,
    pub(super) snapshot_id: i64,
    pub(super) sequence: i64,
    pub(super) first_row_id: u64,
    pub(super) entries: Vec<Entry>,
}

/// What a snapshot changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// Files that it adds.
    pub add: Vec<IcebergFile>,
    /// Files that it removes, by path and offset of the blob.
    pub remove: Vec<(String, Option<(u64, u64)>)>,
    /// Whether all manifests of a partition spec become one.
    pub merge_manifests: bool,
}

/// A table. It becomes readable, and changes for readers, by [`IcebergTable::commit`].
#[derive(Debug)]
pub struct IcebergTable {
    /// The table's folder.
    pub folder: PathBuf,
    /// The format version, 1 to 3; may be raised.
    pub version: u8,
    /// Every schema so far; the last is current.
    pub schemas: Vec<SchemaRef>,
    /// Every partition spec so far; the last is current.
    pub specs: Vec<PartitionSpec>,
    /// Table properties.
    pub properties: BTreeMap<String, String>,
    /// The sequence number of the last commit.
    pub sequence: i64,
    manifests: Vec<Manifest>,
    snapshots: Vec<Value>,
    commits: u32,
    files: u32,
    next_row_id: u64,
}

impl IcebergTable {
    /// A table without a snapshot, in a folder that need not exist.
    pub fn new(folder: &Path, version: u8, schema: SchemaRef) -> Self {
        Self {
            folder: folder.to_owned(),
            version,
            schemas: vec![schema],
            specs: vec![PartitionSpec::default()],
            properties: BTreeMap::new(),
            sequence: 0,
            manifests: Vec::new(),
            snapshots: Vec::new(),
            commits: 0,
            files: 0,
            next_row_id: 0,
        }
    }

    /// The current partition spec.
    pub fn spec(&self) -> Result<&PartitionSpec> {
        known(self.specs.last(), "partition spec")
    }

    /// A path for a new file, below the table's folder.
    pub fn new_path(&mut self, name: &str) -> PathBuf {
        self.files += 1;
        self.folder.join(format!("data/{:05}-{name}", self.files))
    }

    /// Describes a data file of the current partition spec.
    pub fn data_file(&self, written: &WrittenFile, partition: Vec<ScalarValue>) -> Result<IcebergFile> {
        Ok(IcebergFile {
            content: 0,
            path: text(&written.path)?,
            size_bytes: written.size_bytes,
            rows: written.rows,
            spec_id: self.spec()?.id,
            partition,
            columns: written.columns.clone(),
            equality_ids: Vec::new(),
            referenced: None,
            blob: None,
        })
    }

    /// Writes a position delete file for rows of data files that are of one partition.
    pub fn position_deletes(
        &mut self,
        of: &IcebergFile,
        rows: &[(String, u64)],
        layout: &FileLayout,
    ) -> Result<IcebergFile> {
        let mut rows = rows.to_vec();
        rows.sort();
        let paths: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(path, _)| path)));
        let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, pos)| *pos as i64)));
        let batch = RecordBatch::try_new(delete_positions_schema(), vec![paths, positions])?;
        let path = self.new_path("position-deletes.parquet");
        let written = write_parquet(&path, &[batch], layout)?;
        let one_file = rows.iter().all(|(path, _)| *path == rows[0].0);
        Ok(IcebergFile {
            content: 1,
            path: text(&path)?,
            size_bytes: written.size_bytes,
            rows: written.rows,
            columns: written.columns,
            referenced: (one_file && self.files.is_multiple_of(2)).then(|| rows[0].0.clone()),
            ..of.clone()
        })
    }

    /// Writes an equality delete file: rows of the partition `of` that equal one of `batch`, whose fields have ids.
    pub fn equality_deletes(
        &mut self,
        partition: Vec<ScalarValue>,
        batch: &RecordBatch,
        layout: &FileLayout,
    ) -> Result<IcebergFile> {
        let path = self.new_path("equality-deletes.parquet");
        let written = write_parquet(&path, std::slice::from_ref(batch), layout)?;
        let ids = batch
            .schema()
            .fields()
            .iter()
            .filter_map(|field| field_id(field))
            .collect();
        Ok(IcebergFile {
            content: 2,
            equality_ids: ids,
            ..self.data_file(&written, partition)?
        })
    }

    /// Writes one Puffin file with a deletion vector for each of the data files.
    pub fn deletion_vectors(
        &mut self,
        vectors: &[(&IcebergFile, &BTreeSet<u64>)],
        runs: bool,
    ) -> Result<Vec<IcebergFile>> {
        let path = self.new_path("deletes.puffin");
        let named: Vec<_> = vectors.iter().map(|(file, set)| (file.path.clone(), *set)).collect();
        let (bytes, blobs) = bitmap::puffin(&named, runs);
        std::fs::create_dir_all(self.folder.join("data"))?;
        std::fs::write(&path, &bytes)?;
        let path = text(&path)?;
        let files = vectors.iter().zip(blobs).map(|((file, positions), blob)| IcebergFile {
            content: 1,
            path: path.clone(),
            size_bytes: bytes.len() as u64,
            rows: positions.len() as u64,
            columns: Vec::new(),
            referenced: Some(file.path.clone()),
            blob: Some(blob),
            ..(*file).clone()
        });
        Ok(files.collect())
    }

    /// Makes the changes, and those of the public fields, the table's newest version.
    pub fn commit(&mut self, changes: Changes) -> Result<()> {
        std::fs::create_dir_all(self.folder.join("metadata"))?;
        self.commits += 1;
        self.sequence += 1;
        let snapshot_id = 1000 + i64::from(self.commits);
        let first_row_id = self.next_row_id;
        let mut manifests = Vec::new();
        for manifest in std::mem::take(&mut self.manifests) {
            let removed = manifest.entries.iter().any(|entry| removes(&changes, &entry.file));
            if !removed && !changes.merge_manifests {
                manifests.push(manifest);
                continue;
            }
            let Manifest { spec_id, deletes, .. } = manifest;
            let mut entries = Vec::new();
            for mut entry in manifest.entries {
                if entry.status != Status::Deleted {
                    entry.status = if removes(&changes, &entry.file) {
                        entry.snapshot_id = snapshot_id;
                        Status::Deleted
                    } else {
                        Status::Existing
                    };
                    entries.push(entry);
                }
            }
            self.add_manifest(&mut manifests, (spec_id, deletes), entries, &changes);
        }
        let kinds: BTreeSet<(i32, bool)> = changes
            .add
            .iter()
            .map(|file| (file.spec_id, file.content > 0))
            .collect();
        for kind in kinds {
            let of_kind = changes
                .add
                .iter()
                .filter(|file| (file.spec_id, file.content > 0) == kind);
            let entries = of_kind.map(|file| Entry {
                status: Status::Added,
                snapshot_id,
                sequence: if self.version > 1 { self.sequence } else { 0 },
                file: file.clone(),
            });
            let none = Changes::default();
            self.add_manifest(&mut manifests, kind, entries.collect(), &none);
        }
        for manifest in &mut manifests {
            if manifest.path.is_empty() {
                self.write_manifest(manifest, snapshot_id)?;
            }
        }
        manifests.retain(|manifest| !manifest.entries.is_empty());
        let list = self.folder.join(format!("metadata/snap-{snapshot_id}.avro"));
        std::fs::write(
            &list,
            manifest::manifest_list(self.version, snapshot_id, self.sequence, &manifests),
        )?;
        // Manifests of nothing but deleted files end with the snapshot that made them.
        manifests.retain(|m| m.entries.iter().any(|entry| entry.status != Status::Deleted));
        self.manifests = manifests;
        self.snapshots
            .push(self.snapshot(snapshot_id, &text(&list)?, first_row_id));
        self.write_metadata()
    }

    /// A manifest that is not written yet, or more entries for one.
    fn add_manifest(&self, to: &mut Vec<Manifest>, kind: (i32, bool), entries: Vec<Entry>, changes: &Changes) {
        let (spec_id, deletes) = kind;
        let open = |m: &&mut Manifest| m.path.is_empty() && (m.spec_id, m.deletes) == kind && changes.merge_manifests;
        match to.iter_mut().find(open) {
            Some(manifest) => manifest.entries.extend(entries),
            None => to.push(Manifest {
                path: String::new(),
                length: 0,
                spec_id,
                deletes,
                snapshot_id: 0,
                sequence: 0,
                first_row_id: 0,
                entries,
            }),
        }
    }

    fn write_manifest(&mut self, manifest: &mut Manifest, snapshot_id: i64) -> Result<()> {
        self.files += 1;
        let path = self.folder.join(format!("metadata/{:05}-m.avro", self.files));
        manifest.path = text(&path)?;
        manifest.snapshot_id = snapshot_id;
        manifest.sequence = if self.version > 1 { self.sequence } else { 0 };
        manifest.first_row_id = self.next_row_id;
        if !manifest.deletes {
            self.next_row_id += manifest.entries.iter().map(|entry| entry.file.rows).sum::<u64>();
        }
        let mut spec = known(self.specs.iter().find(|spec| spec.id == manifest.spec_id), "such spec")?.clone();
        let schema = self.schema_with(&spec)?;
        for (position, field) in spec.fields.iter_mut().enumerate() {
            let source = known(
                self.schemas[schema]
                    .fields()
                    .iter()
                    .find(|f| field_id(f) == Some(field.source_id)),
                "column",
            )?;
            field.data_type = field.transform.result_type(source.data_type());
            for entry in &mut manifest.entries {
                entry.file.partition[position] = entry.file.partition[position].cast_to(&field.data_type)?;
            }
        }
        let schema = schema_json(&self.schemas[schema], schema)?;
        let bytes = manifest::manifest(self.version, &schema, &spec, manifest)?;
        manifest.length = bytes.len() as u64;
        Ok(std::fs::write(&path, bytes)?)
    }

    /// The newest schema that has every source column of the spec.
    fn schema_with(&self, spec: &PartitionSpec) -> Result<usize> {
        let has = |schema: &SchemaRef, id: i32| schema.fields().iter().any(|field| field_id(field) == Some(id));
        let complete = |schema: &SchemaRef| spec.fields.iter().all(|field| has(schema, field.source_id));
        known(self.schemas.iter().rposition(complete), "schema for a partition spec")
    }

    fn snapshot(&self, snapshot_id: i64, list: &str, first_row_id: u64) -> Value {
        let entries = self.manifests.iter().flat_map(|manifest| &manifest.entries);
        let live = entries.filter(|entry| entry.status != Status::Deleted && entry.file.content == 0);
        let summary = json!({ "operation": "append", "total-data-files": live.count().to_string() });
        let mut snapshot = json!({
            "snapshot-id": snapshot_id, "timestamp-ms": 1_700_000_000_000_i64 + i64::from(self.commits),
            "manifest-list": list, "summary": summary, "schema-id": self.schemas.len() - 1,
        });
        if let Some(parent) = self.snapshots.last() {
            snapshot["parent-snapshot-id"] = parent["snapshot-id"].clone();
        }
        if self.version > 1 {
            snapshot["sequence-number"] = json!(self.sequence);
        }
        if self.version > 2 {
            snapshot["first-row-id"] = json!(first_row_id);
            snapshot["added-rows"] = json!(self.next_row_id - first_row_id);
        }
        snapshot
    }

    fn write_metadata(&self) -> Result<()> {
        let schemas = self
            .schemas
            .iter()
            .enumerate()
            .map(|(id, schema)| schema_json(schema, id));
        let schemas = schemas.collect::<Result<Vec<_>>>()?;
        let last = known(self.snapshots.last(), "snapshot")?;
        let log: Vec<Value> = self
            .snapshots
            .iter()
            .map(|s| json!({ "snapshot-id": s["snapshot-id"], "timestamp-ms": s["timestamp-ms"] }))
            .collect();
        let partition_ids = self
            .specs
            .iter()
            .flat_map(|spec| spec.fields.iter().map(|field| field.field_id));
        let mut metadata = json!({
            "format-version": self.version, "table-uuid": "00000000-0000-4000-8000-000000000001",
            "location": text(&self.folder)?, "last-updated-ms": last["timestamp-ms"],
            "last-column-id": self.schemas.iter().flat_map(|s| s.fields().iter().map(|f| greatest_id(f))).max(),
            "schemas": schemas, "current-schema-id": self.schemas.len() - 1,
            "partition-specs": self.specs.iter().map(PartitionSpec::json).collect::<Vec<_>>(),
            "default-spec-id": self.spec()?.id, "last-partition-id": partition_ids.max().unwrap_or(999),
            "sort-orders": [{ "order-id": 0, "fields": [] }], "default-sort-order-id": 0,
            "properties": self.properties, "current-snapshot-id": last["snapshot-id"], "snapshots": self.snapshots,
            "snapshot-log": log, "metadata-log": [],
            "refs": { "main": { "snapshot-id": last["snapshot-id"], "type": "branch" } },
        });
        if self.version > 1 {
            metadata["last-sequence-number"] = json!(self.sequence);
        } else {
            metadata["schema"] = known(schemas.last(), "schema")?.clone();
            metadata["partition-spec"] = self.spec()?.json()["fields"].clone();
        }
        if self.version > 2 {
            metadata["next-row-id"] = json!(self.next_row_id);
        }
        let file = self.folder.join(format!("metadata/v{}.metadata.json", self.commits));
        std::fs::write(file, metadata.to_string())?;
        Ok(std::fs::write(
            self.folder.join("metadata/version-hint.text"),
            self.commits.to_string(),
        )?)
    }
}

fn removes(changes: &Changes, file: &IcebergFile) -> bool {
    changes
        .remove
        .iter()
        .any(|(path, blob)| *path == file.path && *blob == file.blob)
}

fn text(path: &Path) -> Result<String> {
    Ok(known(path.to_str(), "path of text")?.to_owned())
}
