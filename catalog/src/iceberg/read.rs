//! Table metadata to a [`IcebergSnapshot`], and that to the list of its data files.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use flate2::read::GzDecoder;
use iceberg::spec::{
    DataContentType, DataFile as IcebergFile, DataFileFormat, Datum, Literal, ManifestContentType, ManifestFile,
    PartitionField, SnapshotRef, TableMetadata, Transform,
};
use proto::ColumnMatch;

use super::manifest::ManifestCache;
use super::schema;
use crate::error::{Error, Result};
use crate::scan::adapt::field_id;
use crate::scan::prune;
use crate::snapshot::{Column, ColumnMapping, DataFile, FileList, FileRequest, FileSet, Pruned};
use crate::stores::Stores;

/// Metadata files above this are refused: a table of a hundred thousand snapshots stays below it.
const METADATA_BYTES_MAX: u64 = 256 << 20;

/// One snapshot of an Iceberg table.
#[derive(Debug)]
pub(crate) struct IcebergSnapshot {
    table: String,
    metadata: Arc<TableMetadata>,
    snapshot: Option<SnapshotRef>,
    schema: SchemaRef,
    manifests: ManifestCache,
}

/// Reads a metadata file, gzipped or not.
pub(crate) async fn metadata(stores: &Stores, table: &str, location: &str) -> Result<TableMetadata> {
    let bytes = stores.read(location, METADATA_BYTES_MAX).await?;
    let corrupt = |detail: String| Error::Corrupt {
        table: table.to_owned(),
        file: location.to_owned(),
        detail,
    };
    let parsed = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut json = Vec::new();
        let unpacked = GzDecoder::new(bytes.as_ref())
            .take(METADATA_BYTES_MAX)
            .read_to_end(&mut json);
        unpacked.map_err(|error| corrupt(error.to_string()))?;
        serde_json::from_slice(&json)
    } else {
        serde_json::from_slice(&bytes)
    };
    parsed.map_err(|error: serde_json::Error| {
        let detail = error.to_string();
        // The library's words for snapshots that hold their manifests themselves.
        if detail.contains("only manifest list is supported") {
            let feature = "manifests inside the table metadata (format version 1 without a manifest list)";
            return Error::Unsupported {
                table: table.to_owned(),
                feature: feature.to_owned(),
            };
        }
        corrupt(detail)
    })
}

impl IcebergSnapshot {
    /// The current snapshot of the table, under its current schema. Refuses what this reader cannot read right.
    pub(crate) fn current(table: String, metadata: TableMetadata, manifests: ManifestCache) -> Result<Self> {
        let unsupported = |feature: String| Error::Unsupported {
            table: table.clone(),
            feature,
        };
        if metadata.properties().contains_key("encryption.key-id") || metadata.encryption_keys_iter().len() > 0 {
            return Err(unsupported("table encryption".to_owned()));
        }
        let defaulted = metadata
            .current_schema()
            .field_id_to_fields()
            .values()
            .find(|f| f.initial_default.is_some());
        if let Some(field) = defaulted {
            return Err(unsupported(format!("an initial default value (column {})", field.name)));
        }
        let snapshot = metadata.current_snapshot().cloned();
        let schema = schema::arrow_schema(metadata.current_schema());
        Ok(Self {
            table,
            metadata: Arc::new(metadata),
            snapshot,
            schema,
            manifests,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn id(&self) -> Option<i64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id())
    }

    pub(crate) fn property(&self, key: &str) -> Option<String> {
        self.metadata.properties().get(key).cloned()
    }

    /// The data files that may hold a wanted row.
    pub(crate) async fn files(&self, request: FileRequest<'_>) -> Result<FileList> {
        let manifests = match &self.snapshot {
            Some(snapshot) => {
                let list = self
                    .manifests
                    .list(&self.table, snapshot, self.metadata.format_version())
                    .await?;
                self.manifests.load(&self.table, self.data_manifests(list)?).await?
            }
            None => Vec::new(),
        };
        let live = || {
            manifests.iter().flat_map(|manifest| {
                manifest
                    .entries()
                    .iter()
                    .filter(|e| e.is_alive())
                    .map(move |entry| (&manifest.file, entry.data_file()))
            })
        };
        let partitioning = self.partitioning(live().map(|(manifest, _)| manifest.partition_spec_id))?;
        if !partitioning.others.is_empty() {
            return Err(self.unsupported("identity partitions in some partition specs only"));
        }
        let files = live().map(|(manifest, file)| self.file(manifest, file, &partitioning, request.wanted));
        let files = files.collect::<Result<Vec<_>>>()?;
        let constant_columns: Vec<usize> = partitioning.constants.iter().map(|(column, _)| *column).collect();
        let manifests_total = manifests.len() as u64;
        let files_total = files.len() as u64;
        let files = prune::files(files, &constant_columns, &self.schema, request.predicate);
        let pruned = Pruned {
            manifests_total,
            manifests_read: manifests_total,
            files_total,
            files_read: files.len() as u64,
        };
        Ok(FileList {
            sets: vec![FileSet {
                constant_columns,
                files,
            }],
            equality_deletes: Vec::new(),
            columns: Arc::new(ColumnMapping::by(ColumnMatch::FieldId)),
            pruned,
        })
    }

    /// Data manifests that may hold live files. Delete manifests with live entries refuse the table.
    fn data_manifests(&self, list: Vec<ManifestFile>) -> Result<Vec<ManifestFile>> {
        let live = |m: &ManifestFile| m.added_files_count.unwrap_or(1) + m.existing_files_count.unwrap_or(1) > 0;
        let (data, deletes): (Vec<_>, Vec<_>) = list
            .into_iter()
            .filter(live)
            .partition(|m| m.content == ManifestContentType::Data);
        if !deletes.is_empty() {
            return Err(self.unsupported("row-level deletes (position deletes, equality deletes or deletion vectors)"));
        }
        if data.iter().any(|manifest| manifest.key_metadata.is_some()) {
            return Err(self.unsupported("table encryption"));
        }
        Ok(data)
    }

    fn file(
        &self,
        manifest: &ManifestFile,
        file: &IcebergFile,
        partitioning: &Partitioning,
        wanted: &[usize],
    ) -> Result<DataFile> {
        if file.content_type() != DataContentType::Data {
            return Err(self.unsupported("row-level deletes"));
        }
        if file.file_format() != DataFileFormat::Parquet {
            return Err(self.unsupported(&format!("data files of the format {}", file.file_format())));
        }
        if file.key_metadata().is_some() {
            return Err(self.unsupported("encrypted data files"));
        }
        let at = self.manifests.locate(file.file_path())?;
        let constants = partitioning.constants.iter().map(|(column, field_id)| {
            let spec = self.metadata.partition_spec_by_id(manifest.partition_spec_id);
            let position = spec.and_then(|s| {
                s.fields()
                    .iter()
                    .position(|f| is_identity(f) && f.source_id == *field_id)
            });
            let value = position.and_then(|position| file.partition().fields().get(position));
            self.constant(*column, value.and_then(Option::as_ref))
        });
        let mut columns = vec![Column::default(); self.schema.fields().len()];
        for index in wanted {
            columns[*index] = self.column(file, *index);
        }
        Ok(DataFile {
            store_url: at.store_url,
            path: at.path,
            size_bytes: file.file_size_in_bytes(),
            rows: Some(file.record_count()),
            constants: constants.collect::<Result<_>>()?,
            columns,
            deletes: None,
            sequence: 0,
            table_partition: None,
        })
    }

    fn constant(&self, column: usize, value: Option<&Literal>) -> Result<ScalarValue> {
        let field = self.schema.field(column);
        let scalar = match value {
            None => ScalarValue::try_from(field.data_type()).ok(),
            Some(Literal::Primitive(literal)) => schema::literal_scalar(literal, field.data_type()),
            Some(_) => None,
        };
        scalar.ok_or_else(|| {
            self.unsupported(&format!(
                "identity partitions of type {} (column {})",
                field.data_type(),
                field.name()
            ))
        })
    }

    fn column(&self, file: &IcebergFile, index: usize) -> Column {
        let field = self.schema.field(index);
        let Some(id) = field_id(field) else {
            return Column::default();
        };
        let bound = |bounds: &HashMap<i32, Datum>| schema::scalar(bounds.get(&id)?, field.data_type());
        // Upper bounds leave NaN out, and NaN compares above every number.
        let may_be_nan = field.data_type().is_floating() && file.nan_value_counts().get(&id) != Some(&0);
        Column {
            lower: bound(file.lower_bounds()),
            upper: bound(file.upper_bounds()).filter(|_| !may_be_nan),
            nulls: file.null_value_counts().get(&id).copied(),
        }
    }

    fn unsupported(&self, feature: &str) -> Error {
        Error::Unsupported {
            table: self.table.clone(),
            feature: feature.to_owned(),
        }
    }

    /// Which columns are constant in every file of the given partition specs.
    fn partitioning(&self, specs: impl Iterator<Item = i32>) -> Result<Partitioning> {
        let specs: BTreeSet<i32> = specs.collect();
        let mut identities = Vec::with_capacity(specs.len());
        for id in specs {
            let Some(spec) = self.metadata.partition_spec_by_id(id) else {
                let detail = format!("a manifest names the partition spec {id}, which does not exist");
                let file = "the table metadata".to_owned();
                return Err(Error::Corrupt {
                    table: self.table.clone(),
                    file,
                    detail,
                });
            };
            identities.push(
                spec.fields()
                    .iter()
                    .filter(|f| is_identity(f))
                    .map(|f| f.source_id)
                    .collect(),
            );
        }
        let any: BTreeSet<i32> = identities.iter().flatten().copied().collect();
        let (everywhere, others): (Vec<i32>, Vec<i32>) = any
            .into_iter()
            .partition(|id| identities.iter().all(|spec: &BTreeSet<i32>| spec.contains(id)));
        let column = |id: &i32| {
            self.schema
                .fields()
                .iter()
                .position(|field| field_id(field) == Some(*id))
        };
        let constants = everywhere
            .into_iter()
            .filter_map(|id| Some((column(&id)?, id)))
            .collect();
        Ok(Partitioning { constants, others })
    }
}

/// What partition values tell about columns.
struct Partitioning {
    /// Columns by position, with their field ids, that are identity partitions in every file.
    constants: Vec<(usize, i32)>,
    /// Field ids of identity partitions in some files only.
    others: Vec<i32>,
}

fn is_identity(field: &PartitionField) -> bool {
    field.transform == Transform::Identity
}
