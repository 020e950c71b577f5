//! Which row-level deletes apply to which data file.
//!
//! | delete | applies to a data file of | when the delete's sequence number is |
//! |---|---|---|
//! | deletion vector | the path that it references; replaces position delete files | not less |
//! | position delete file | the path that it references, else the same partition | not less |
//! | equality delete file | the same partition, or every partition where its spec has none | greater |
//!
//! Source: the Iceberg specification, "Scan Planning". A delete too many is as wrong as one too few.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::Array;
use iceberg::spec::{TableMetadata, Transform};

use super::cache::LoadedManifest;
use super::manifest::{Content, Format, Manifest, Number};
use super::values::{decimal, double, integer};
use crate::error::{Error, Result};
use crate::scan::deletes::{DeleteSource, RowDeletes, VectorFrame};
use crate::snapshot::{DataFile, EqualityDeleteFile};
use crate::stores::Stores;

/// Field id of `file_path` in position delete files.
const FILE_PATH_ID: i32 = 2_147_483_546;

/// The row-level deletes of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct DeleteIndex {
    /// By the data file's location, as the metadata spells it.
    vectors: HashMap<String, (i64, DeleteSource)>,
    by_path: HashMap<String, Vec<(i64, DeleteSource)>>,
    by_partition: HashMap<Partition, Vec<PositionDelete>>,
    equality: Vec<EqualityDelete>,
}

/// A partition spec and the values of its fields, so that equal values are equal bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Partition {
    spec_id: i32,
    values: Vec<Option<Vec<u8>>>,
}

#[derive(Debug)]
struct PositionDelete {
    sequence: i64,
    /// No location in it is less; none is greater and does not begin with it.
    paths: (Option<String>, Option<String>),
    source: DeleteSource,
}

/// One equality delete file, before it is known whether it applies.
#[derive(Debug)]
struct EqualityDelete {
    file: EqualityDeleteFile,
    /// Its partition, where its spec has any.
    scope: Option<Partition>,
}

/// What the index has to know of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) name: &'a str,
    pub(crate) metadata: &'a TableMetadata,
    pub(crate) stores: &'a Stores,
}

impl Table<'_> {
    fn unsupported(&self, feature: String) -> Error {
        Error::Unsupported {
            table: self.name.to_owned(),
            feature,
        }
    }

    fn corrupt(&self, file: &str, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            table: self.name.to_owned(),
            file: file.to_owned(),
            detail: detail.into(),
        }
    }
}

/// The data sequence number of an entry, its own or the manifest's; `None` where neither is known.
pub(crate) fn sequence(manifest: &LoadedManifest, row: usize) -> Option<i64> {
    let entry = manifest.entries.entries.get(row)?;
    let inherits = entry.added || manifest.file.sequence == 0;
    entry.sequence.or(inherits.then_some(manifest.file.sequence))
}

/// The partition of an entry.
pub(crate) fn partition(manifest: &LoadedManifest, row: usize) -> Partition {
    let values = manifest.entries.partition.iter().map(|column| {
        if column.values.is_null(row) {
            return None;
        }
        let bytes = column.values.value(row);
        // A column that was promoted has longer values since.
        let normal = match column.number {
            Number::Integer => integer(bytes).map(|value| value.to_le_bytes().to_vec()),
            Number::Float => double(bytes).map(|value| value.to_le_bytes().to_vec()),
            Number::Decimal => decimal(bytes).map(|value| value.to_le_bytes().to_vec()),
            Number::None => None,
        };
        Some(normal.unwrap_or_else(|| bytes.to_vec()))
    });
    Partition {
        spec_id: manifest.file.spec_id,
        values: values.collect(),
    }
}

impl DeleteIndex {
    /// Reads the entries of delete manifests. `equality_columns` are the columns of an equality delete's field ids.
    pub(crate) fn build(
        table: Table<'_>,
        manifests: &[LoadedManifest],
        equality_columns: impl Fn(&[i32]) -> Result<Vec<arrow::datatypes::Field>>,
    ) -> Result<Self> {
        let mut index = Self::default();
        for manifest in manifests {
            let spec = table.metadata.partition_spec_by_id(manifest.file.spec_id);
            let spec = spec.ok_or_else(|| {
                let detail = format!(
                    "it has the partition spec {}, which does not exist",
                    manifest.file.spec_id
                );
                table.corrupt(&manifest.file.path, detail)
            })?;
            let is_partitioned = spec.fields().iter().any(|field| field.transform != Transform::Void);
            for (row, entry) in manifest.entries.entries.iter().enumerate() {
                let path = manifest.entries.paths.value(row);
                if entry.encrypted {
                    return Err(table.unsupported("encrypted delete files".to_owned()));
                }
                let sequence = sequence(manifest, row)
                    .ok_or_else(|| table.corrupt(&manifest.file.path, format!("{path} has no sequence number")))?;
                match (entry.content, entry.format) {
                    (Content::Data, _) => {
                        let detail = format!("{path} is a data file in a manifest of delete files");
                        return Err(table.corrupt(&manifest.file.path, detail));
                    }
                    (Content::PositionDeletes, Format::Puffin) => index.vector(table, manifest, row, sequence)?,
                    (Content::PositionDeletes, Format::Parquet) => index.positions(table, manifest, row, sequence)?,
                    (Content::PositionDeletes, format) => {
                        return Err(table.unsupported(format!("position delete files of the format {}", format.name())));
                    }
                    (Content::EqualityDeletes, Format::Parquet) => {
                        let ids = manifest
                            .entries
                            .deletes
                            .get(row)
                            .map_or(&[][..], |delete| &delete.equality_ids);
                        if ids.is_empty() {
                            return Err(table.corrupt(&manifest.file.path, format!("{path} has no equality ids")));
                        }
                        let at = table.stores.locate(path)?;
                        index.equality.push(EqualityDelete {
                            file: EqualityDeleteFile {
                                store_url: at.store_url,
                                path: at.path,
                                size_bytes: entry.size_bytes,
                                rows: entry.rows,
                                equality_columns: equality_columns(ids)?,
                                sequence,
                                table_partition: None,
                            },
                            scope: is_partitioned.then(|| partition(manifest, row)),
                        });
                    }
                    (Content::EqualityDeletes, format) => {
                        return Err(table.unsupported(format!("equality delete files of the format {}", format.name())));
                    }
                }
            }
        }
        Ok(index)
    }

    fn vector(&mut self, table: Table<'_>, manifest: &LoadedManifest, row: usize, sequence: i64) -> Result<()> {
        let path = manifest.entries.paths.value(row);
        let number = |value: Option<i64>, what: &str| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            value.ok_or_else(|| table.corrupt(&manifest.file.path, format!("{path} has no {what}")))
        };
        let delete = manifest.entries.deletes.get(row).cloned().unwrap_or_default();
        let data_file = delete
            .referenced_data_file
            .ok_or_else(|| table.corrupt(&manifest.file.path, format!("{path} references no data file")))?;
        let at = table.stores.locate(path)?;
        let source = DeleteSource::Vector {
            store_url: at.store_url,
            path: at.path,
            offset: number(delete.content_offset, "content offset")?,
            size_bytes: number(delete.content_size, "content size")?,
            cardinality: manifest.entries.entries[row].rows,
            frame: VectorFrame::Puffin,
        };
        match self.vectors.insert(data_file.clone(), (sequence, source)) {
            None => Ok(()),
            Some(_) => Err(table.corrupt(&manifest.file.path, format!("{data_file} has two deletion vectors"))),
        }
    }

    fn positions(&mut self, table: Table<'_>, manifest: &LoadedManifest, row: usize, sequence: i64) -> Result<()> {
        let at = table.stores.locate(manifest.entries.paths.value(row))?;
        let source = DeleteSource::Positions {
            store_url: at.store_url,
            path: at.path,
            size_bytes: manifest.entries.entries[row].size_bytes,
        };
        let delete = manifest.entries.deletes.get(row);
        let paths = path_bounds(&manifest.entries, row);
        let one_file = match (delete.and_then(|delete| delete.referenced_data_file.clone()), &paths) {
            (Some(path), _) => Some(path),
            // Equal bounds of whole paths; a path that was cut has lost its ending.
            (None, (Some(lower), Some(upper))) if lower == upper && lower.ends_with(".parquet") => Some(lower.clone()),
            _ => None,
        };
        match one_file {
            Some(path) => self.by_path.entry(path).or_default().push((sequence, source)),
            None => {
                let deletes = self.by_partition.entry(partition(manifest, row)).or_default();
                deletes.push(PositionDelete {
                    sequence,
                    paths,
                    source,
                });
            }
        }
        Ok(())
    }

    /// True where no delete is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.vectors.is_empty() && self.by_path.is_empty() && self.by_partition.is_empty() && self.equality.is_empty()
    }

    /// The rows that are deleted by position from the data file at `path` with that sequence number.
    pub(crate) fn row_deletes(
        &self,
        table: Table<'_>,
        path: &str,
        sequence: i64,
        partition: &Partition,
    ) -> Result<Option<Arc<RowDeletes>>> {
        let sources = match self.vectors.get(path) {
            Some((vector_sequence, _)) if *vector_sequence < sequence => {
                let detail = "its deletion vector is older than it is";
                return Err(table.corrupt(path, detail));
            }
            Some((_, source)) => vec![source.clone()],
            None => {
                let of_path = self.by_path.get(path).into_iter().flatten();
                let of_path = of_path
                    .filter(|(delete, _)| *delete >= sequence)
                    .map(|(_, source)| source);
                let of_partition = self.by_partition.get(partition).into_iter().flatten();
                let of_partition = of_partition
                    .filter(|delete| delete.sequence >= sequence && delete.may_name(path))
                    .map(|delete| &delete.source);
                of_path.chain(of_partition).cloned().collect()
            }
        };
        Ok((!sources.is_empty()).then(|| {
            Arc::new(RowDeletes {
                data_file: path.to_owned(),
                sources,
            })
        }))
    }

    /// The equality deletes that apply to one of the data files at least; gives files and deletes of one partition one
    /// number. `files` come with their partitions.
    pub(crate) fn equality_deletes(self, files: &mut [(&mut DataFile, Partition)]) -> Vec<EqualityDeleteFile> {
        if self.equality.is_empty() {
            return Vec::new();
        }
        let mut oldest = i64::MAX;
        let mut oldest_in: HashMap<&Partition, i64> = HashMap::new();
        for (file, partition) in files.iter() {
            oldest = oldest.min(file.sequence);
            let in_partition = oldest_in.entry(partition).or_insert(i64::MAX);
            *in_partition = (*in_partition).min(file.sequence);
        }
        let applies = |delete: &EqualityDelete| {
            let oldest = match &delete.scope {
                None => Some(oldest),
                Some(scope) => oldest_in.get(scope).copied(),
            };
            oldest.is_some_and(|oldest| delete.file.sequence > oldest)
        };
        let kept: Vec<EqualityDelete> = self.equality.into_iter().filter(applies).collect();
        let mut numbered: HashMap<Partition, i32> = HashMap::new();
        let mut deletes = Vec::with_capacity(kept.len());
        for delete in kept {
            let mut file = delete.file;
            if let Some(scope) = delete.scope {
                let next = i32::try_from(numbered.len()).unwrap_or(i32::MAX);
                file.table_partition = Some(*numbered.entry(scope).or_insert(next));
            }
            deletes.push(file);
        }
        for (file, partition) in files.iter_mut() {
            file.table_partition = numbered.get(partition).copied();
        }
        deletes
    }
}

impl PositionDelete {
    fn may_name(&self, path: &str) -> bool {
        let (lower, upper) = &self.paths;
        let below = lower.as_ref().is_some_and(|lower| path < lower.as_str());
        // Some writers cut an upper bound without raising it.
        let above = upper
            .as_ref()
            .is_some_and(|upper| path > upper.as_str() && !path.starts_with(upper));
        !below && !above
    }
}

fn path_bounds(manifest: &Manifest, row: usize) -> (Option<String>, Option<String>) {
    let Some(metrics) = manifest.metrics.get(&FILE_PATH_ID) else {
        return (None, None);
    };
    let bound = |bounds: &Option<arrow::array::BinaryArray>| {
        let bounds = bounds.as_ref().filter(|bounds| !bounds.is_null(row))?;
        std::str::from_utf8(bounds.value(row)).ok().map(str::to_owned)
    };
    (bound(&metrics.lower), bound(&metrics.upper))
}
