//! The live data files of a version, as batches: what a replay of the log gives, reduced to what scans ask for.
//!
//! A batch has one row per file and the columns `path`, `size`, `modificationTime`, `deletionVector`, `baseRowId`,
//! `defaultRowCommitVersion`, `partitionValues_parsed` and `stats_parsed`, the last two absent where the table has nothing for them. Columns of
//! the table have their physical names there.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, MapArray, RecordBatch, StringArray, StructArray};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, concat_batches, filter_record_batch, is_not_null, nullif};
use arrow::datatypes::Field;
use arrow::error::ArrowError;
use delta_kernel::log_replay::FileActionKey;

use super::columns::Columns;
use super::vector::Vectors;

/// Batches are merged up to this many files.
const BATCH_FILES_MAX: usize = 1 << 16;

/// A batch of the kernel's replay, reduced. Refuses partition values that are no value of their column: the kernel
/// reads them as NULL.
pub(crate) fn reduce(batch: &RecordBatch, columns: &Columns) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| {
        let found = batch.column_by_name(name);
        found.ok_or_else(|| ArrowError::SchemaError(format!("the replay of the log has no column {name}")))
    };
    let mut reduced: Vec<(&str, ArrayRef)> = Vec::new();
    for name in ["path", "size", "modificationTime", "deletionVector"] {
        reduced.push((name, Arc::clone(column(name)?)));
    }
    let constants = batch
        .column_by_name("fileConstantValues")
        .and_then(|c| c.as_struct_opt());
    for name in ["baseRowId", "defaultRowCommitVersion"] {
        let values = constants.and_then(|constants| constants.column_by_name(name));
        reduced.extend(values.map(|values| (name, Arc::clone(values))));
    }
    let raw = constants.and_then(|c| c.column_by_name("partitionValues")?.as_map_opt());
    let parsed = batch
        .column_by_name("partitionValues_parsed")
        .and_then(|c| c.as_struct_opt());
    if let Some(parsed) = parsed {
        let values = partition_values(parsed, raw, columns)?;
        reduced.push(("partitionValues_parsed", Arc::new(values)));
    }
    if let Some(stats) = batch.column_by_name("stats_parsed").and_then(|c| c.as_struct_opt()) {
        reduced.push(("stats_parsed", Arc::new(flat(stats, 1)?)));
    }
    RecordBatch::try_from_iter_with_nullable(reduced.into_iter().map(|(name, values)| (name, values, true)))
}

/// The statistics without those of nested columns; what is NULL as a whole is NULL in each part. `depth` counts the
/// structs that are the statistics' own.
fn flat(stats: &StructArray, depth: usize) -> Result<StructArray, ArrowError> {
    let mut kept: (Vec<Field>, Vec<ArrayRef>) = Default::default();
    let absent = stats.nulls().map(|nulls| BooleanArray::new(!nulls.inner(), None));
    for (field, values) in stats.fields().iter().zip(stats.columns()) {
        let values = match &absent {
            Some(absent) => nullif(values, absent)?,
            None => Arc::clone(values),
        };
        let values: ArrayRef = match values.as_struct_opt() {
            Some(section) if depth > 0 => Arc::new(flat(section, depth - 1)?),
            Some(_) => continue,
            None if values.data_type().is_nested() => continue,
            None => values,
        };
        kept.0.push(Field::new(field.name(), values.data_type().clone(), true));
        kept.1.push(values);
    }
    StructArray::try_new_with_length(kept.0.into(), kept.1, stats.nulls().cloned(), stats.len())
}

/// The partition values with NULL for what means NULL. Other writers spell values in more ways than the kernel reads:
/// a decimal without its zeros, the date that a timestamp was.
fn partition_values(
    parsed: &StructArray,
    raw: Option<&MapArray>,
    columns: &Columns,
) -> Result<StructArray, ArrowError> {
    let mut values = Vec::with_capacity(parsed.num_columns());
    for (field, parsed) in parsed.fields().iter().zip(parsed.columns()) {
        // A checkpoint may have parsed values where the map is left out.
        let text = |row| raw.and_then(|raw| raw_value(raw, row, field.name()));
        let means_null = (0..parsed.len()).map(|row| matches!(text(row), Some("")));
        let means_null: Vec<bool> = means_null.collect();
        let unread = |row: usize| text(row).filter(|_| parsed.is_null(row) && !means_null[row]);
        let unread: StringArray = (0..parsed.len()).map(unread).collect();
        let known = nullif(parsed, &BooleanArray::from(means_null))?;
        if unread.null_count() == unread.len() {
            values.push(known);
            continue;
        }
        let read = cast(&unread, field.data_type())?;
        if let Some(row) = (0..unread.len()).find(|row| unread.is_valid(*row) && read.is_null(*row)) {
            let (name, value) = (columns.logical_name(field.name()), unread.value(row));
            let detail = format!("the partition value \"{value}\" of {name} is no {}", field.data_type());
            return Err(ArrowError::ParseError(detail));
        }
        values.push(zip(&is_not_null(&unread)?, &read, &known)?);
    }
    StructArray::try_new(parsed.fields().clone(), values, parsed.nulls().cloned())
}

fn raw_value<'a>(map: &'a MapArray, row: usize, name: &str) -> Option<&'a str> {
    if map.is_null(row) {
        return None;
    }
    let offsets = map.value_offsets();
    let entries = usize::try_from(offsets[row]).ok()?..usize::try_from(offsets[row + 1]).ok()?;
    let (keys, values) = (map.keys().as_string_opt::<i32>()?, map.values().as_string_opt::<i32>()?);
    let position = entries.into_iter().find(|entry| keys.value(*entry) == name)?;
    values.is_valid(position).then(|| values.value(position))
}

/// A list brought forward: `base` without the files that are in one of the sets, then `added`.
pub(crate) fn advance(
    base: &[RecordBatch],
    gone: &HashSet<FileActionKey>,
    replaced: &HashSet<FileActionKey>,
    added: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut batches = Vec::with_capacity(base.len() + added.len());
    for batch in base {
        let (path, vectors) = (batch.column(0).as_string_opt::<i32>(), Vectors::new(batch.column(3)));
        let (Some(path), Some(vectors)) = (path, vectors) else {
            return Err(ArrowError::SchemaError("a list of files has no paths".to_owned()));
        };
        let keep = (0..batch.num_rows()).map(|row| {
            let key = FileActionKey::new(path.value(row), vectors.unique_id(row));
            !gone.contains(&key) && !replaced.contains(&key)
        });
        batches.push(filter_record_batch(batch, &keep.collect::<Vec<_>>().into())?);
    }
    batches.extend(added);
    merge(batches)
}

/// The same files in as few batches as is reasonable: a log of many small commits gives many small batches.
pub(crate) fn merge(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut merged = Vec::new();
    let mut run: Vec<RecordBatch> = Vec::new();
    for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
        let files: usize = run.iter().map(RecordBatch::num_rows).sum();
        let fits = run.first().is_none_or(|first| first.schema() == batch.schema());
        if !fits || files + batch.num_rows() > BATCH_FILES_MAX {
            merged.extend(joined(&run)?);
            run.clear();
        }
        run.push(batch);
    }
    merged.extend(joined(&run)?);
    Ok(merged)
}

fn joined(run: &[RecordBatch]) -> Result<Option<RecordBatch>, ArrowError> {
    match run {
        [] => Ok(None),
        [batch] => Ok(Some(batch.clone())),
        [first, ..] => concat_batches(&first.schema(), run).map(Some),
    }
}

#[cfg(test)]
mod tests;
