//! Table metadata to an [`IcebergSnapshot`], and that to the list of its data files.

pub(super) mod distinct;
pub(super) mod version;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::ScalarValue;
use futures::future::try_join;
use iceberg::spec::{MAIN_BRANCH, PartitionSpec, SnapshotRef, Transform};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use proto::ColumnMatch;

use self::distinct::distinct_values;
use self::version::{HINTS_MAX, by_id, by_time, not_found};
use super::alter::COMMENT;
use super::cache::{LoadedManifest, ManifestCache};
use super::deletes::{self, DeleteIndex};
use super::manifest::{Content, Entry, Format, ManifestFile};
use super::metadata::Metadata;
use super::values::{End, typed};
use super::{prune, schema};
use crate::error::{Error, Result};
use crate::scan::adapt::field_id;
use crate::snapshot::{
    AsOf, Column, ColumnMapping, Comments, DataFile, FileList, FileRequest, FileSet, Pruned, RowOrigin, StoredLineage,
};

/// The table property that maps names to field ids.
const NAME_MAPPING: &str = "schema.name-mapping.default";
/// Field ids that the specification reserves.
const ROW_ID: i32 = 2_147_483_540;
const LAST_UPDATED_SEQUENCE_NUMBER: i32 = 2_147_483_539;

/// One snapshot of an Iceberg table.
#[derive(Debug)]
pub(crate) struct IcebergSnapshot {
    pub(super) table: String,
    pub(super) metadata: Arc<Metadata>,
    pub(super) snapshot: Option<SnapshotRef>,
    /// The branch whose head it is, or that what is written behind it begins; `None` for any other version, which nobody writes behind.
    pub(crate) branch: Option<String>,
    iceberg_schema: iceberg::spec::SchemaRef,
    schema: SchemaRef,
    columns: Arc<ColumnMapping>,
    pub(super) manifests: ManifestCache,
}

impl IcebergSnapshot {
    /// The table as it was, or is. A snapshot has the columns of its time; the head of a branch has the table's.
    /// Refuses what this reader cannot read right.
    pub(crate) fn at(table: String, metadata: Arc<Metadata>, as_of: &AsOf, manifests: ManifestCache) -> Result<Self> {
        let unsupported = |feature: String| Error::Unsupported {
            table: table.clone(),
            feature,
        };
        let of = metadata.table.as_ref();
        if of.properties().contains_key("encryption.key-id") || of.encryption_keys_iter().len() > 0 {
            return Err(unsupported("table encryption".to_owned()));
        }
        let (snapshot, own_schema) = match as_of {
            AsOf::Latest => (of.current_snapshot().cloned(), false),
            AsOf::Version(id) => (Some(by_id(&table, of, *id)?), true),
            AsOf::Timestamp(micros) => (Some(by_time(&table, of, *micros)?), true),
            AsOf::Ref(name) => {
                let refs = metadata.refs();
                let Some(reference) = refs.get(name) else {
                    let names: Vec<&str> = refs.keys().take(HINTS_MAX).map(String::as_str).collect();
                    let hint = format!("the table has the branches and tags {}", names.join(", "));
                    return Err(not_found(&table, &format!("ref {name}"), hint));
                };
                (Some(by_id(&table, of, reference.snapshot_id)?), !reference.is_branch())
            }
            AsOf::Branch(name) => match metadata.refs().get(name) {
                Some(reference) if reference.is_branch() => (Some(by_id(&table, of, reference.snapshot_id)?), false),
                Some(_) => return Err(unsupported(format!("{name} as a branch: it is a tag"))),
                None => (of.current_snapshot().cloned(), false),
            },
        };
        let branch = match as_of {
            AsOf::Latest => Some(MAIN_BRANCH.to_owned()),
            AsOf::Ref(name) => (!own_schema).then(|| name.clone()),
            AsOf::Branch(name) => Some(name.clone()),
            AsOf::Version(_) | AsOf::Timestamp(_) => None,
        };
        let schema_id = snapshot.as_ref().and_then(|s| s.schema_id()).filter(|_| own_schema);
        let iceberg_schema = match schema_id {
            None => of.current_schema(),
            Some(id) => of.schema_by_id(id).ok_or_else(|| Error::Corrupt {
                table: table.clone(),
                file: "the table metadata".to_owned(),
                detail: format!("a snapshot names the schema {id}, which does not exist"),
            })?,
        };
        let iceberg_schema = Arc::clone(iceberg_schema);
        let schema = schema::arrow_schema(&iceberg_schema);
        let defaults = schema::defaults(&iceberg_schema, &schema, &metadata.initial_defaults).map_err(unsupported)?;
        let columns = Arc::new(ColumnMapping {
            column_match: ColumnMatch::FieldId,
            name_mapping: of.properties().get(NAME_MAPPING).cloned(),
            defaults,
        });
        Ok(Self {
            table,
            metadata,
            snapshot,
            branch,
            iceberg_schema,
            schema,
            columns,
            manifests,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What the summary of the snapshot counts.
    pub(crate) fn bytes(&self) -> Option<u64> {
        let Some(snapshot) = &self.snapshot else { return Some(0) };
        snapshot
            .summary()
            .additional_properties
            .get("total-files-size")?
            .parse()
            .ok()
    }

    pub(crate) fn id(&self) -> Option<i64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id())
    }

    pub(crate) fn property(&self, key: &str) -> Option<String> {
        self.metadata.table.properties().get(key).cloned()
    }

    pub(crate) fn comments(&self) -> Comments {
        let fields = self.iceberg_schema.as_struct().fields().iter();
        Comments {
            table: self.property(COMMENT),
            columns: fields.map(|field| field.doc.clone()).collect(),
        }
    }

    /// The columns that the specification reserves for what rows took over.
    pub(crate) fn stored_lineage() -> StoredLineage {
        StoredLineage::known_by(
            [ROW_ID, LAST_UPDATED_SEQUENCE_NUMBER]
                .map(|id| HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())])),
        )
    }

    /// These columns as new data files have them.
    pub(crate) fn stored_columns() -> [Field; 2] {
        [
            ("_row_id", ROW_ID),
            ("_last_updated_sequence_number", LAST_UPDATED_SEQUENCE_NUMBER),
        ]
        .map(|(name, id)| {
            let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
            Field::new(name, DataType::Int64, true).with_metadata(metadata)
        })
    }

    /// The snapshot's manifests, of data files and of delete files, those without a live file left out.
    pub(super) async fn live_manifests(&self) -> Result<(Vec<ManifestFile>, Vec<ManifestFile>)> {
        let Some(snapshot) = &self.snapshot else {
            return Ok((Vec::new(), Vec::new()));
        };
        let list = match self.metadata.inline_manifests.get(&snapshot.snapshot_id()) {
            Some(locations) => self.manifests.inline(&self.table, locations).await?,
            None => self.manifests.list(&self.table, snapshot.manifest_list()).await?,
        };
        let summary = &snapshot.summary().additional_properties;
        let files = summary
            .get("total-data-files")
            .and_then(|count| count.parse::<u64>().ok());
        if list.is_empty() && files.is_some_and(|files| files > 0) {
            // A file that ends before its first block is whole as far as Avro can tell.
            let detail = format!(
                "it lists no manifest, the snapshot counts {} data files",
                files.unwrap_or(0)
            );
            return Err(self.corrupt(snapshot.manifest_list(), detail));
        }
        let live: Vec<ManifestFile> = list.iter().filter(|file| file.may_be_live()).cloned().collect();
        if live.iter().any(|manifest| manifest.encrypted) {
            return Err(self.unsupported("table encryption"));
        }
        Ok(live.into_iter().partition(|manifest| !manifest.deletes))
    }

    /// Every live entry of the snapshot's manifests, of data files and of delete files.
    pub(super) async fn loaded_manifests(&self) -> Result<(Vec<LoadedManifest>, Vec<LoadedManifest>)> {
        let (data, deletes) = self.live_manifests().await?;
        try_join(
            self.manifests.load(&self.table, data),
            self.manifests.load(&self.table, deletes),
        )
        .await
    }

    /// Which of these deletes apply to which data file.
    pub(super) fn delete_index(&self, deletes: &[LoadedManifest]) -> Result<DeleteIndex> {
        DeleteIndex::build(self.delete_table(), deletes, |ids| self.equality_columns(ids))
    }

    /// The data files that may hold a wanted row.
    pub(crate) async fn files(&self, request: FileRequest<'_>) -> Result<FileList> {
        let table = prune::Table {
            schema: &self.schema,
            iceberg_schema: &self.iceberg_schema,
            metadata: &self.metadata.table,
        };
        let (data, deletes) = self.live_manifests().await?;
        let manifests_total = count(data.len());
        let data = prune::manifests(table, data, request.predicate);
        let deletes = match data.is_empty() {
            true => Vec::new(),
            false => prune::manifests(table, deletes, request.predicate),
        };
        let (data, deletes) = try_join(
            self.manifests.load(&self.table, data),
            self.manifests.load(&self.table, deletes),
        )
        .await?;
        let mut kept = prune::entries(table, &data, request.predicate);
        if let Some(only) = request.only {
            for (manifest, rows) in data.iter().zip(&mut kept) {
                rows.retain(|row| only.contains(manifest.entries.paths.value(*row)));
            }
        }
        let mut list = FileList {
            sets: Vec::new(),
            equality_deletes: Vec::new(),
            columns: Arc::clone(&self.columns),
            distinct: self.distinct_values(),
            pruned: Pruned {
                manifests_total,
                manifests_read: count(data.len()),
                files_total: data.iter().map(|manifest| count(manifest.entries.len())).sum(),
                files_read: kept.iter().map(|rows| count(rows.len())).sum(),
            },
        };
        let index = self.delete_index(&deletes)?;
        let mut sets: BTreeMap<Vec<usize>, Vec<DataFile>> = BTreeMap::new();
        let mut partitions = BTreeMap::new();
        for (manifest, rows) in data.iter().zip(&kept) {
            if rows.is_empty() {
                continue;
            }
            let (constant_columns, files) = self.data_files(manifest, rows, request, &index)?;
            if !index.is_empty() {
                let keys = rows.iter().map(|row| deletes::partition(manifest, *row));
                partitions
                    .entry(constant_columns.clone())
                    .or_insert_with(Vec::new)
                    .extend(keys);
            }
            sets.entry(constant_columns).or_default().extend(files);
        }
        if !index.is_empty() {
            let keys = partitions.into_values().flatten();
            let mut keyed: Vec<_> = sets.values_mut().flatten().zip(keys).collect();
            list.equality_deletes = index.equality_deletes(&mut keyed);
        }
        let sets = sets.into_iter();
        list.sets = sets
            .map(|(constant_columns, files)| FileSet {
                constant_columns,
                files,
            })
            .collect();
        Ok(list)
    }

    /// Estimates of the number of distinct values, by the column's position.
    fn distinct_values(&self) -> Arc<BTreeMap<usize, u64>> {
        let snapshot = self.snapshot.as_ref();
        let counts = snapshot.map(|snapshot| distinct_values(&self.metadata.table, snapshot));
        let counts = counts.unwrap_or_default();
        let columns = self.schema.fields().iter().enumerate();
        let known = columns.filter_map(|(index, field)| Some((index, *counts.get(&field_id(field)?)?)));
        Arc::new(known.collect())
    }

    /// The given entries of a manifest, and the columns that are constant in each of them.
    fn data_files(
        &self,
        manifest: &LoadedManifest,
        rows: &[usize],
        request: FileRequest<'_>,
        index: &DeleteIndex,
    ) -> Result<(Vec<usize>, Vec<DataFile>)> {
        let indices: UInt64Array = rows.iter().map(|row| Some(count(*row))).collect();
        let (constant_columns, constants) = self.constants(manifest, &indices)?;
        let wanted = request.wanted.iter().map(|column| {
            let field = self.schema.field(*column);
            let id = field_id(field);
            let bounds = |end| prune::column_bounds(&manifest.entries, id?, field.data_type(), end, Some(&indices));
            let nulls = id.and_then(|id| manifest.entries.metrics.get(&id)?.nulls.as_ref());
            (*column, bounds(End::Lower), bounds(End::Upper), nulls)
        });
        let wanted: Vec<_> = wanted.collect();
        let mut files = Vec::with_capacity(rows.len());
        let first_row_ids = request.with_origin.then(|| manifest.first_row_ids());
        for (position, row) in rows.iter().enumerate() {
            let path = manifest.entries.paths.value(*row);
            let entry = &manifest.entries.entries[*row];
            self.check(manifest, path, entry)?;
            let at = self.manifests.stores().locate(path)?;
            let known = deletes::sequence(manifest, *row);
            let (sequence, deletes) = match index.is_empty() {
                true => (known.unwrap_or(0), None),
                false => {
                    let sequence = known
                        .ok_or_else(|| self.corrupt(&manifest.file.path, format!("{path} has no sequence number")))?;
                    let partition = deletes::partition(manifest, *row);
                    let deletes = index.row_deletes(self.delete_table(), path, sequence, &partition)?;
                    (sequence, deletes)
                }
            };
            let mut columns = vec![Column::default(); self.schema.fields().len()];
            for (column, lower, upper, nulls) in &wanted {
                columns[*column] = Column {
                    lower: lower.as_ref().and_then(|bounds| known_scalar(bounds, position)),
                    upper: upper.as_ref().and_then(|bounds| known_scalar(bounds, position)),
                    nulls: nulls
                        .filter(|nulls| nulls.is_valid(*row))
                        .and_then(|nulls| u64::try_from(nulls.value(*row)).ok()),
                };
            }
            let constants = constants
                .iter()
                .map(|values| ScalarValue::try_from_array(values, position));
            let constants = constants.collect::<datafusion::error::Result<_>>();
            files.push(DataFile {
                store_url: at.store_url,
                path: at.path,
                size_bytes: entry.size_bytes,
                rows: Some(entry.rows),
                constants: constants.map_err(|error| self.corrupt(&manifest.file.path, error.to_string()))?,
                columns,
                deletes,
                sequence,
                table_partition: None,
                origin: first_row_ids.as_ref().map(|first_row_ids| {
                    let first_row_id = first_row_ids[*row];
                    Box::new(RowOrigin {
                        location: path.to_owned(),
                        first_row_id,
                        sequence: first_row_id.and(known),
                        partition: Some(deletes::partition(manifest, *row)),
                    })
                }),
            });
        }
        Ok((constant_columns, files))
    }

    /// Refuses a file that this reader cannot read.
    fn check(&self, manifest: &LoadedManifest, path: &str, entry: &Entry) -> Result<()> {
        if entry.content != Content::Data {
            let detail = format!("{path} is a delete file in a manifest of data files");
            return Err(self.corrupt(&manifest.file.path, detail));
        }
        if entry.format != Format::Parquet {
            return Err(self.unsupported(&format!("data files of the format {}", entry.format.name())));
        }
        if entry.encrypted {
            return Err(self.unsupported("encrypted data files"));
        }
        Ok(())
    }

    /// The columns that the manifest's partition spec takes as they are, and their values in the given entries.
    fn constants(&self, manifest: &LoadedManifest, rows: &UInt64Array) -> Result<(Vec<usize>, Vec<ArrayRef>)> {
        let (mut columns, mut constants) = (Vec::new(), Vec::new());
        for field in self
            .spec(manifest)?
            .fields()
            .iter()
            .filter(|f| f.transform == Transform::Identity)
        {
            let of_source = |column: &Arc<Field>| field_id(column) == Some(field.source_id);
            // The column may have been dropped since, or be a part of another.
            let Some(column) = self.schema.fields().iter().position(of_source) else {
                continue;
            };
            if columns.contains(&column) {
                continue;
            }
            let data_type = self.schema.field(column).data_type();
            let values = manifest
                .entries
                .partition_values(field.field_id, &field.name)
                .ok_or_else(|| {
                    let detail = format!("it has no values of the partition field {}", field.name);
                    self.corrupt(&manifest.file.path, detail)
                })?;
            let taken =
                take(values, rows, None).map_err(|error| self.corrupt(&manifest.file.path, error.to_string()))?;
            let constant = taken.as_any().downcast_ref().and_then(|taken| typed(taken, data_type));
            let constant = constant.filter(|constant| constant.null_count() == taken.null_count());
            constants.push(constant.ok_or_else(|| {
                let feature = format!("identity partitions of type {data_type} (column {})", field.name);
                self.unsupported(&feature)
            })?);
            columns.push(column);
        }
        Ok((columns, constants))
    }

    fn spec(&self, manifest: &LoadedManifest) -> Result<&PartitionSpec> {
        let id = manifest.file.spec_id;
        let spec = self.metadata.table.partition_spec_by_id(id).map(AsRef::as_ref);
        spec.ok_or_else(|| {
            let detail = format!("it has the partition spec {id}, which does not exist");
            self.corrupt(&manifest.file.path, detail)
        })
    }

    /// The columns that an equality delete compares, as plans see them, in the order of their ids. A column that was
    /// dropped since has the type of the newest schema that has it.
    fn equality_columns(&self, ids: &[i32]) -> Result<Vec<Field>> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut older: Vec<_> = self.metadata.table.schemas_iter().collect();
        older.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        let column = |id: i32| {
            let current = self.schema.fields().iter().find(|field| field_id(field) == Some(id));
            if let Some(field) = current {
                return Ok(field.as_ref().clone());
            }
            let schemas = || std::iter::once(&self.iceberg_schema).chain(older.iter().copied());
            let fields = schemas().flat_map(|schema| schema.as_struct().fields());
            if let Some(field) = fields.into_iter().find(|field| field.id == id) {
                return Ok(schema::column(field));
            }
            match schemas().find_map(|schema| schema.field_by_id(id)) {
                Some(field) => Err(self.unsupported(&format!("equality deletes by the nested column {}", field.name))),
                None => {
                    let detail = format!("an equality delete compares the column {id}, which does not exist");
                    Err(self.corrupt("the table metadata", detail))
                }
            }
        };
        ids.into_iter().map(column).collect()
    }

    pub(super) fn delete_table(&self) -> deletes::Table<'_> {
        deletes::Table {
            name: &self.table,
            metadata: &self.metadata.table,
            stores: self.manifests.stores(),
        }
    }

    pub(super) fn unsupported(&self, feature: &str) -> Error {
        Error::Unsupported {
            table: self.table.clone(),
            feature: feature.to_owned(),
        }
    }

    fn corrupt(&self, file: &str, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            table: self.table.clone(),
            file: file.to_owned(),
            detail: detail.into(),
        }
    }
}

fn known_scalar(values: &ArrayRef, row: usize) -> Option<ScalarValue> {
    let is_known = values.is_valid(row);
    is_known.then(|| ScalarValue::try_from_array(values, row).ok())?
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
