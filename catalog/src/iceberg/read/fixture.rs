//! Small Iceberg tables on local disk, written by the `iceberg` crate's own manifest writers.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use iceberg::io::{MemoryStorage, Storage};
use iceberg::spec::{
    DataContentType, DataFile as File, DataFileBuilder, DataFileFormat, Datum, ManifestListWriter,
    ManifestWriterBuilder, PartitionSpec, Struct,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::iceberg::metadata::Metadata;
use crate::stores::Stores;

/// Fields 1 to 5: `id` long, `name` string, `at` timestamptz, `price` double, `day` date.
pub(crate) fn fields() -> Value {
    json!([
        {"id": 1, "name": "id", "type": "long", "required": false},
        {"id": 2, "name": "name", "type": "string", "required": false},
        {"id": 3, "name": "at", "type": "timestamptz", "required": false},
        {"id": 4, "name": "price", "type": "double", "required": false},
        {"id": 5, "name": "day", "type": "date", "required": false},
    ])
}

/// A manifest that is to be written.
pub(crate) struct Part {
    pub(crate) spec_id: i32,
    pub(crate) sequence: i64,
    pub(crate) deletes: bool,
    pub(crate) files: Vec<File>,
}

/// A table of one snapshot.
pub(crate) struct Fixture {
    _folder: TempDir,
    pub(crate) metadata: Value,
    pub(crate) cache: ManifestCache,
}

impl Fixture {
    /// `specs` are the fields of the partition specs 0, 1, ...
    pub(crate) async fn new(specs: &[Value], parts: Vec<Part>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let specs: Vec<Value> = specs
            .iter()
            .enumerate()
            .map(|(id, fields)| json!({"spec-id": id, "fields": fields}))
            .collect();
        let metadata = json!({
            "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": at(""),
            "last-sequence-number": 100, "last-updated-ms": 3_000, "last-column-id": 5,
            "schemas": [
                {"type": "struct", "schema-id": 0, "fields": [fields()[0].clone()]},
                {"type": "struct", "schema-id": 1, "fields": fields()},
            ],
            "current-schema-id": 1, "partition-specs": specs, "default-spec-id": 0, "last-partition-id": 1_010,
            "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0, "current-snapshot-id": 7,
            "snapshots": [
                {"snapshot-id": 6, "sequence-number": 1, "timestamp-ms": 1_000, "manifest-list": at("list-6"),
                 "summary": {"operation": "append"}, "schema-id": 0},
                {"snapshot-id": 7, "parent-snapshot-id": 6, "sequence-number": 100, "timestamp-ms": 2_000,
                 "manifest-list": at("list-7"), "summary": {"operation": "append"}, "schema-id": 1},
            ],
            "snapshot-log": [{"snapshot-id": 6, "timestamp-ms": 1_000}, {"snapshot-id": 7, "timestamp-ms": 2_000}],
            "refs": {
                "main": {"snapshot-id": 7, "type": "branch"}, "old": {"snapshot-id": 6, "type": "branch"},
                "first": {"snapshot-id": 6, "type": "tag"},
            },
        });
        let parsed = Metadata::parse(metadata.to_string().as_bytes()).unwrap().table;
        let memory = MemoryStorage::new();
        let mut manifests = Vec::new();
        for (number, part) in parts.into_iter().enumerate() {
            let path = at(&format!("m{number}"));
            let spec: PartitionSpec = parsed.partition_spec_by_id(part.spec_id).unwrap().as_ref().clone();
            let output = memory.new_output(&path).unwrap();
            let schema = Arc::clone(parsed.current_schema());
            let builder = ManifestWriterBuilder::new(output, Some(7), schema, spec);
            let mut writer = match part.deletes {
                true => builder.build_v2_deletes(),
                false => builder.build_v2_data(),
            };
            for file in part.files {
                writer.add_file(file, -1).unwrap();
            }
            let mut manifest = writer.write_manifest_file().await.unwrap();
            manifest.sequence_number = part.sequence;
            manifest.min_sequence_number = part.sequence;
            manifest.added_snapshot_id = 5;
            manifests.push(manifest);
            std::fs::write(&path, memory.read(&path).await.unwrap()).unwrap();
        }
        let path = at("list-7");
        let output = memory.new_output(&path).unwrap().writer().await.unwrap();
        let mut list = ManifestListWriter::v2(output, 7, Some(6), 100);
        list.add_manifests(manifests.into_iter()).unwrap();
        list.close().await.unwrap();
        std::fs::write(&path, memory.read(&path).await.unwrap()).unwrap();
        let cache = ManifestCache::new(Stores::new(&[]).unwrap());
        Self {
            _folder: folder,
            metadata,
            cache,
        }
    }

    pub(crate) fn at(&self, as_of: &AsOf) -> Result<IcebergSnapshot> {
        let metadata = Metadata::parse(self.metadata.to_string().as_bytes()).unwrap();
        IcebergSnapshot::at("t".to_owned(), Arc::new(metadata), as_of, self.cache.clone())
    }

    /// What a scan with the filter reads.
    pub(crate) async fn files(&self, filter: Option<&str>) -> Result<FileList> {
        let snapshot = self.at(&AsOf::Latest)?;
        let predicate = filter.map(|filter| predicate(snapshot.schema(), filter));
        let request = FileRequest {
            only: None,
            with_origin: false,
            wanted: &[0, 1, 2, 3, 4],
            predicate: predicate.as_ref(),
        };
        snapshot.files(request).await
    }
}

pub(crate) fn predicate(schema: &SchemaRef, filter: &str) -> Arc<dyn PhysicalExpr> {
    let state = SessionContext::new().state();
    let schema = DFSchema::try_from(Arc::clone(schema)).unwrap();
    let expr = state.create_logical_expr(filter, &schema).unwrap();
    state.create_physical_expr(expr, &schema).unwrap()
}

/// A file of ten rows at `/data/NAME`.
pub(crate) fn file(name: &str, partition: Struct) -> DataFileBuilder {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data)
        .file_path(format!("/data/{name}"))
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(0)
        .record_count(10)
        .file_size_in_bytes(100);
    file
}

pub(crate) fn bounds(id: i32, value: Datum) -> std::collections::HashMap<i32, Datum> {
    std::collections::HashMap::from([(id, value)])
}

/// The names of the files in a list, sorted.
pub(crate) fn names(list: &FileList) -> Vec<String> {
    let files = list.sets.iter().flat_map(|set| &set.files);
    let mut names: Vec<String> = files.map(|file| file.path.filename().unwrap().to_owned()).collect();
    names.sort();
    names
}
