//! Tables in a SQLite catalog on local disk, and data files for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use iceberg::spec::{Manifest, ManifestFile, ManifestList};
use parquet::arrow::ArrowWriter;
use roaring::RoaringTreemap;
use tempfile::TempDir;
use url::Url;
use uuid::Uuid;

use crate::config::{CatalogConfig, Config, Secret};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::snapshot::{AsOf, TableSnapshot};
use crate::stores::Stores;
use crate::write::change::{Change, Committed, DeletedRows, Operation, Reads};
use crate::write::{NewTable, TableFormat, WrittenColumn, WrittenFile};
use crate::{Error, Result};

/// A lakehouse with one catalog, `lake`, which has the namespace `s`.
pub(crate) struct House {
    _folder: TempDir,
    pub(crate) lakehouse: Arc<Lakehouse>,
    pub(crate) name: TableName,
}

/// Columns `id` (long, NOT NULL) and `name` (text).
pub(crate) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]))
}

impl House {
    /// With the table `lake.s.t` as `new` describes it.
    pub(crate) async fn with(new: &NewTable) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| Url::from_file_path(folder.path().join(name)).unwrap();
        let config = Config {
            catalogs: BTreeMap::from([(
                "lake".to_owned(),
                CatalogConfig::IcebergSql {
                    uri: Secret::new(format!("sqlite://{}/catalog.db", folder.path().display())),
                    name: None,
                    warehouse: url("warehouse"),
                    default_format: TableFormat::Iceberg,
                },
            )]),
            ..Config::default()
        };
        let lakehouse = Arc::new(Lakehouse::new(&config, Stores::new(&[]).unwrap()).unwrap());
        let name = TableName::new("lake", "s", "t");
        let client = lakehouse.client("lake").unwrap();
        client.create_namespace("s", &[]).await.unwrap();
        let staged = client.stage(&name, new).await.unwrap();
        client.create(&name, staged, &[]).await.unwrap();
        Self {
            _folder: folder,
            lakehouse,
            name,
        }
    }

    /// With a table of that format version and these properties.
    pub(crate) async fn of(version: u8, properties: &[(&str, &str)]) -> Self {
        let version = version.to_string();
        let own = [("format-version", version.as_str())];
        let properties = own.iter().chain(properties);
        Self::with(&NewTable {
            properties: properties.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..NewTable::new(columns())
        })
        .await
    }

    pub(crate) async fn snapshot(&self) -> TableSnapshot {
        self.lakehouse.table(&self.name).await.unwrap().snapshot().clone()
    }

    /// A data file of these ids, whose names are their texts.
    pub(crate) async fn file(&self, ids: &[i64], partition: Vec<ScalarValue>) -> WrittenFile {
        let target = self.snapshot().await.write_target().unwrap();
        let names = ids.iter().map(|id| Some(format!("n{id}")));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(names.collect::<StringViewArray>()),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&target.file_schema), columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        let location = format!("{}/{}.parquet", target.data_folder, Uuid::new_v4());
        let (rows, size_bytes) = (ids.len() as u64, bytes.len() as u64);
        crate::write::put(self.lakehouse.stores(), &location, bytes.into())
            .await
            .unwrap();
        let text = |id: Option<&i64>| id.map(|id| ScalarValue::Utf8View(Some(format!("n{id}"))));
        let column = |min, max| WrittenColumn {
            size_bytes: 10,
            values: rows,
            nulls: Some(0),
            nans: None,
            min,
            max,
        };
        let long = |id: Option<&i64>| Some(ScalarValue::Int64(id.copied()));
        let mut texts: Vec<String> = ids.iter().map(i64::to_string).collect();
        texts.sort();
        let first = texts.first().and_then(|id| id.parse().ok());
        let last = texts.last().and_then(|id| id.parse().ok());
        WrittenFile {
            location,
            size_bytes,
            rows,
            row_group_offsets: vec![4],
            columns: vec![
                column(long(ids.iter().min()), long(ids.iter().max())),
                column(text(first.as_ref()), text(last.as_ref())),
            ],
            partition,
            spec_id: target.spec_id,
        }
    }

    pub(crate) async fn commit(&self, base: &TableSnapshot, change: Change) -> Result<Committed> {
        self.lakehouse.commit(&self.name, base, change).await
    }

    /// Appends a file of these ids; its location.
    pub(crate) async fn append(&self, ids: &[i64]) -> String {
        let file = self.file(ids, Vec::new()).await;
        let location = file.location.clone();
        self.commit(&self.snapshot().await, added(vec![file])).await.unwrap();
        location
    }

    /// The ids of the table, sorted.
    pub(crate) async fn ids(&self) -> Vec<i64> {
        self.ids_as_of(&AsOf::Latest).await
    }

    pub(crate) async fn ids_as_of(&self, as_of: &AsOf) -> Vec<i64> {
        let table = self.lakehouse.table_as_of(&self.name, as_of).await.unwrap();
        let context = SessionContext::new_with_config_rt(
            datafusion::prelude::SessionConfig::new(),
            Arc::new(datafusion::execution::runtime_env::RuntimeEnv {
                object_store_registry: Arc::clone(self.lakehouse.stores()) as _,
                ..datafusion::execution::runtime_env::RuntimeEnv::default()
            }),
        );
        let rows = context.read_table(Arc::new(table)).unwrap();
        let rows = rows.select_columns(&["id"]).unwrap().collect().await.unwrap();
        let Some(first) = rows.first() else { return Vec::new() };
        let all = concat_batches(&first.schema(), &rows).unwrap();
        let ids = all.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        let mut ids = ids.values().to_vec();
        ids.sort_unstable();
        ids
    }

    /// The table's metadata file as JSON.
    pub(crate) async fn metadata(&self) -> serde_json::Value {
        let now = super::land::now(&self.lakehouse, &self.name).await.unwrap();
        serde_json::from_slice(&std::fs::read(now.location.trim_start_matches("file://")).unwrap()).unwrap()
    }

    /// The newest snapshot's manifests, read by the crate, and their entries.
    pub(crate) async fn manifests(&self) -> Vec<(ManifestFile, Manifest)> {
        let now = super::land::now(&self.lakehouse, &self.name).await.unwrap();
        let table = &now.metadata.table;
        let read = |location: &str| std::fs::read(location.trim_start_matches("file://")).unwrap();
        let list = read(table.current_snapshot().unwrap().manifest_list());
        let list = ManifestList::parse_with_version(&list, table.format_version()).unwrap();
        let manifest = |file: &ManifestFile| (file.clone(), Manifest::parse_avro(&read(&file.manifest_path)).unwrap());
        list.entries().iter().map(manifest).collect()
    }

    /// A value of the newest snapshot's summary.
    pub(crate) async fn summary(&self, key: &str) -> Option<String> {
        let now = super::land::now(&self.lakehouse, &self.name).await.unwrap();
        let snapshot = now.metadata.table.current_snapshot().unwrap();
        snapshot.summary().additional_properties.get(key).cloned()
    }
}

/// An append of files.
pub(crate) fn added(files: Vec<WrittenFile>) -> Change {
    Change {
        operation: Operation::Append,
        added: files,
        removed: Vec::new(),
        deleted: Vec::new(),
        reads: Reads::Nothing,
    }
}

/// Rows of one file, by position.
pub(crate) fn rows(file: &str, positions: &[u64]) -> DeletedRows {
    DeletedRows {
        file: file.to_owned(),
        positions: positions.iter().copied().collect::<RoaringTreemap>(),
    }
}

/// A change by a statement that read every row.
pub(crate) fn reading(operation: Operation) -> Change {
    Change {
        operation,
        reads: Reads::Rows(None),
        ..added(Vec::new())
    }
}

pub(crate) fn is_conflict<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Conflict { .. }))
}
