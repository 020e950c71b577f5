//! From a batch of files to the [`DataFile`]s that a scan reads: pruned as a batch, so that only files that may matter
//! become rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray, UInt64Array,
};
use arrow::compute::{cast, filter_record_batch};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column as ColumnName, ScalarValue};
use delta_kernel::KernelError;
use object_store::path::Path;

use super::columns::Columns;
use super::log::{Log, decoded};
use super::statistics::{FileBatch, PARSED, StatsParser, are_parsed, bounds};
use super::vector::{self, Vectors};
use crate::error::Result;
use crate::scan::prune;
use crate::snapshot::{Column, DataFile, FileRequest, RowOrigin};
use crate::stores::{Location, Stores};

/// Statistics are parsed for one file in so many, or for all of a batch.
const FEW: usize = 8;

/// The files of `batch` that `request` asks for. Where partition values leave few of them, only their statistics are
/// parsed.
pub(crate) fn files(
    (log, stores, columns): (&Log, &Stores, &Columns),
    batch: &FileBatch,
    parser: impl Fn() -> Result<StatsParser, KernelError>,
    request: FileRequest<'_>,
) -> Result<Vec<DataFile>> {
    let mut files = batch.files();
    if !are_parsed(&files) {
        let keep = BooleanArray::from(Batch::new(log, stores, columns, &files).kept(request)?);
        let few = keep.true_count().saturating_mul(FEW) < keep.len();
        let parsed = parser().and_then(|parser| match few {
            true => parser.parsed(filter_record_batch(&files, &keep)?),
            false => batch.with_stats(&parser),
        });
        files = parsed.map_err(|error| log.error(error))?;
    }
    Batch::new(log, stores, columns, &files).files(request)
}

/// One batch of files of one version.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    log: &'a Log,
    stores: &'a Stores,
    columns: &'a Columns,
    batch: &'a RecordBatch,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(log: &'a Log, stores: &'a Stores, columns: &'a Columns, batch: &'a RecordBatch) -> Self {
        Self {
            log,
            stores,
            columns,
            batch,
        }
    }

    /// The files that `request` asks for.
    pub(crate) fn files(&self, request: FileRequest<'_>) -> Result<Vec<DataFile>> {
        let (keep, rows) = (self.kept(request)?, Rows::new(self, request)?);
        let kept = (0..keep.len()).filter(|row| keep[*row]);
        kept.map(|row| rows.file(row)).collect()
    }

    /// Which of the files `request` asks for, as far as it is known.
    fn kept(&self, request: FileRequest<'_>) -> Result<Vec<bool>> {
        let pruned = request
            .predicate
            .and_then(|predicate| prune::containers(&self.columns.schema, predicate, self));
        let mut keep = pruned.unwrap_or_else(|| vec![true; self.batch.num_rows()]);
        if let Some(only) = request.only {
            let path = self.path()?;
            for (row, keep) in keep.iter_mut().enumerate() {
                *keep &= only.contains(path.value(row));
            }
        }
        Ok(keep)
    }

    fn path(&self) -> Result<&'a StringArray> {
        let path = self.batch.column_by_name("path").and_then(|path| path.as_string_opt());
        path.ok_or_else(|| self.log.corrupt("its files have no path".to_owned()))
    }

    fn section(&self, name: &str) -> Option<&'a StructArray> {
        self.batch.column_by_name(name)?.as_struct_opt()
    }

    fn stat(&self, section: &str, column: usize) -> Option<&'a ArrayRef> {
        let section = self.section(PARSED)?.column_by_name(section)?.as_struct_opt()?;
        section.column_by_name(&self.columns.physical[column])
    }

    fn rows(&self) -> Option<&'a Int64Array> {
        self.section(PARSED)?.column_by_name("numRecords")?.as_primitive_opt()
    }

    /// The number of rows for pruning: that of a file without statistics equals no count of NULLs but the one of a
    /// partition column that is NULL.
    fn row_count(&self, row: usize) -> u64 {
        self.rows().and_then(|rows| unsigned(rows, row)).unwrap_or(u64::MAX)
    }

    /// The values of a partition column, in its type as plans see it.
    pub(crate) fn constants(&self, column: usize) -> Result<ArrayRef> {
        let physical = &self.columns.physical[column];
        let values = self
            .section("partitionValues_parsed")
            .and_then(|values| values.column_by_name(physical))
            .ok_or_else(|| {
                self.log
                    .corrupt(format!("its files have no partition values for {physical}"))
            })?;
        cast(values, self.columns.schema.field(column).data_type()).map_err(|error| self.log.corrupt(error.to_string()))
    }

    fn lower(&self, column: usize) -> Option<ArrayRef> {
        bounds::lower(
            self.stat("minValues", column)?,
            self.columns.schema.field(column).data_type(),
        )
    }

    fn upper(&self, column: usize) -> Option<ArrayRef> {
        bounds::upper(
            self.stat("maxValues", column)?,
            self.columns.schema.field(column).data_type(),
        )
    }

    fn nulls(&self, column: usize) -> Option<&'a Int64Array> {
        self.stat("nullCount", column)?.as_primitive_opt()
    }

    fn column(&self, name: &ColumnName) -> Option<usize> {
        self.columns.schema.index_of(&name.name).ok()
    }

    fn is_constant(&self, column: usize) -> bool {
        self.columns.partition_columns.contains(&column)
    }
}

impl PruningStatistics for Batch<'_> {
    fn min_values(&self, column: &ColumnName) -> Option<ArrayRef> {
        let column = self.column(column)?;
        match self.is_constant(column) {
            true => self.constants(column).ok(),
            false => self.lower(column),
        }
    }

    fn max_values(&self, column: &ColumnName) -> Option<ArrayRef> {
        let column = self.column(column)?;
        match self.is_constant(column) {
            true => self.constants(column).ok(),
            false => self.upper(column),
        }
    }

    fn num_containers(&self) -> usize {
        self.batch.num_rows()
    }

    fn null_counts(&self, column: &ColumnName) -> Option<ArrayRef> {
        let column = self.column(column)?;
        let counts: UInt64Array = match self.is_constant(column) {
            true => {
                let values = self.constants(column).ok()?;
                let nulls = |row| if values.is_null(row) { self.row_count(row) } else { 0 };
                (0..values.len()).map(|row| Some(nulls(row))).collect()
            }
            false => {
                let nulls = self.nulls(column)?;
                (0..nulls.len()).map(|row| unsigned(nulls, row)).collect()
            }
        };
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let counts: UInt64Array = (0..self.batch.num_rows())
            .map(|row| Some(self.row_count(row)))
            .collect();
        Some(Arc::new(counts))
    }

    fn contained(&self, _column: &ColumnName, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// A batch row by row, with the bounds of the wanted columns at hand.
struct Rows<'a> {
    batch: &'a Batch<'a>,
    path: &'a StringArray,
    size: &'a Int64Array,
    vectors: Vectors<'a>,
    rows: Option<&'a Int64Array>,
    constants: Vec<ArrayRef>,
    wanted: Vec<Bounds<'a>>,
    /// The ids of first rows and the versions that added the files, where asked for.
    origins: Option<[Option<&'a Int64Array>; 2]>,
}

struct Bounds<'a> {
    column: usize,
    lower: Option<ArrayRef>,
    upper: Option<ArrayRef>,
    nulls: Option<&'a Int64Array>,
}

impl<'a> Rows<'a> {
    fn new(batch: &'a Batch<'a>, request: FileRequest<'_>) -> Result<Self> {
        let column = |name: &str| {
            let found = batch.batch.column_by_name(name);
            found.ok_or_else(|| batch.log.corrupt(format!("its files have no {name}")))
        };
        let untyped = |name: &str| batch.log.corrupt(format!("the {name} of its files is of another type"));
        let constants = batch.columns.partition_columns.iter();
        let wanted = request.wanted.iter().filter(|column| !batch.is_constant(**column));
        let of_rows = |name: &str| batch.batch.column_by_name(name)?.as_primitive_opt();
        Ok(Self {
            batch,
            path: batch.path()?,
            size: column("size")?.as_primitive_opt().ok_or_else(|| untyped("size"))?,
            vectors: Vectors::new(column("deletionVector")?).ok_or_else(|| untyped("deletionVector"))?,
            rows: batch.rows(),
            constants: constants
                .map(|column| batch.constants(*column))
                .collect::<Result<_>>()?,
            wanted: wanted
                .map(|column| Bounds {
                    column: *column,
                    lower: batch.lower(*column),
                    upper: batch.upper(*column),
                    nulls: batch.nulls(*column),
                })
                .collect(),
            origins: request
                .with_origin
                .then(|| ["baseRowId", "defaultRowCommitVersion"].map(of_rows)),
        })
    }

    fn file(&self, row: usize) -> Result<DataFile> {
        let Batch {
            log, stores, columns, ..
        } = self.batch;
        if self.path.is_null(row) {
            return Err(log.corrupt("a file has no path".to_owned()));
        }
        let path = self.path.value(row);
        let size_bytes = unsigned(self.size, row).ok_or_else(|| log.corrupt(format!("{path} has no size")))?;
        let constants = self.constants.iter().map(|values| {
            ScalarValue::try_from_array(values, row).map_err(|error| log.corrupt(format!("{path}: {error}")))
        });
        let mut known = vec![Column::default(); columns.schema.fields().len()];
        for bounds in &self.wanted {
            known[bounds.column] = bounds.of(row);
        }
        let at = locate(log, stores, path)?;
        Ok(DataFile {
            store_url: at.store_url,
            path: at.path,
            size_bytes,
            rows: self.rows.and_then(|rows| unsigned(rows, row)),
            constants: constants.collect::<Result<_>>()?,
            columns: known,
            deletes: vector::of_row(log, stores, path, self.vectors, row)?,
            sequence: 0,
            table_partition: None,
            origin: self.origins.map(|origins| {
                let [first_row_id, sequence] = origins.map(|values| {
                    values
                        .filter(|values| values.is_valid(row))
                        .map(|values| values.value(row))
                });
                Box::new(RowOrigin {
                    location: path.to_owned(),
                    first_row_id,
                    sequence,
                    partition: None,
                })
            }),
        })
    }
}

impl Bounds<'_> {
    fn of(&self, row: usize) -> Column {
        let value = |values: &ArrayRef| {
            let value = ScalarValue::try_from_array(values, row).ok()?;
            (!value.is_null()).then_some(value)
        };
        Column {
            lower: self.lower.as_ref().and_then(value),
            upper: self.upper.as_ref().and_then(value),
            nulls: self.nulls.and_then(|nulls| unsigned(nulls, row)),
        }
    }
}

/// The store and key of an `add` action's path: percent-encoded, relative to the table or a URL of its own.
pub(crate) fn locate(log: &Log, stores: &Stores, path: &str) -> Result<Location> {
    let decoded = decoded(path).map_err(|detail| log.corrupt(format!("{path}: {detail}")))?;
    if path.contains("://") || path.starts_with('/') || path.starts_with("file:/") {
        return stores.locate(&decoded);
    }
    let key = format!("{}/{decoded}", log.root.path);
    let path = Path::parse(key).map_err(|error| log.corrupt(error.to_string()))?;
    Ok(Location {
        store: Arc::clone(&log.root.store),
        store_url: log.root.store_url.clone(),
        path,
    })
}

/// The number of that row, where there is one and it is none below zero.
fn unsigned(values: &Int64Array, row: usize) -> Option<u64> {
    values.is_valid(row).then(|| values.value(row))?.try_into().ok()
}

#[cfg(test)]
mod tests;
