//! What a manifest says of a data file: counts, and bounds that every reader may prune by.
//!
//! A bound may be wider than the values but never narrower. Text and binary bounds are cut to 16 characters or bytes,
//! so that a manifest of wide columns stays small.

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, PrimitiveType, Schema, Struct, Type,
};

use crate::write::{WrittenColumn, WrittenFile};

/// What the specification's reference implementation keeps of a text or binary bound.
const BOUND_LENGTH_MAX: usize = 16;

/// The manifest's entry for a file that was written with the columns of `schema`.
pub(crate) fn data_file(file: &WrittenFile, schema: &Schema, spec_id: i32) -> iceberg::Result<DataFile> {
    let columns = || schema.as_struct().fields().iter().zip(&file.columns);
    let counts = |count: fn(&WrittenColumn) -> Option<u64>| -> HashMap<i32, u64> {
        columns()
            .filter_map(|(field, column)| Some((field.id, count(column)?)))
            .collect()
    };
    let bounds = |bound: fn(&WrittenColumn, &PrimitiveType) -> Option<Datum>| -> HashMap<i32, Datum> {
        let of = |field: &Type, column| bound(column, field.as_primitive_type()?);
        columns()
            .filter_map(|(field, column)| Some((field.id, of(&field.field_type, column)?)))
            .collect()
    };
    let built = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(file.location.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(spec_id)
        .record_count(file.rows)
        .file_size_in_bytes(file.size_bytes)
        .column_sizes(counts(|column| Some(column.size_bytes)))
        .value_counts(counts(|column| Some(column.values)))
        .null_value_counts(counts(|column| column.nulls))
        .nan_value_counts(counts(|column| column.nans))
        .lower_bounds(bounds(|column, kind| datum(&lower(column.min.as_ref()?)?, kind)))
        .upper_bounds(bounds(|column, kind| datum(&upper(column.max.as_ref()?)?, kind)))
        .split_offsets(Some(file.row_group_offsets.clone()))
        .build();
    built.map_err(|error| iceberg::Error::new(iceberg::ErrorKind::Unexpected, error.to_string()))
}

/// A bound in the specification's binary form, as the column's type.
fn datum(bytes: &[u8], kind: &PrimitiveType) -> Option<Datum> {
    Datum::try_from_bytes(bytes, kind.clone()).ok()
}

/// A lower bound of everything that is not less than `value`.
fn lower(value: &ScalarValue) -> Option<Vec<u8>> {
    match value {
        ScalarValue::Utf8View(Some(text)) => Some(text.chars().take(BOUND_LENGTH_MAX).collect::<String>().into_bytes()),
        ScalarValue::BinaryView(Some(bytes)) => Some(bytes.iter().take(BOUND_LENGTH_MAX).copied().collect()),
        other => binary_form(other),
    }
}

/// An upper bound of everything that is not greater than `value`; `None` where no short one exists.
fn upper(value: &ScalarValue) -> Option<Vec<u8>> {
    match value {
        ScalarValue::Utf8View(Some(text)) => upper_text(text).map(String::into_bytes),
        ScalarValue::BinaryView(Some(bytes)) => upper_binary(bytes),
        other => binary_form(other),
    }
}

fn upper_text(text: &str) -> Option<String> {
    let Some((cut, _)) = text.char_indices().nth(BOUND_LENGTH_MAX) else {
        return Some(text.to_owned());
    };
    let mut prefix = text[..cut].to_owned();
    while let Some(last) = prefix.pop() {
        // The range steps over the surrogates; nothing follows the last character.
        if let Some(next) = (last..=char::MAX).nth(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

fn upper_binary(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= BOUND_LENGTH_MAX {
        return Some(bytes.to_vec());
    }
    let mut prefix = bytes[..BOUND_LENGTH_MAX].to_vec();
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

/// The specification's single-value serialization.
pub(super) fn binary_form(value: &ScalarValue) -> Option<Vec<u8>> {
    Some(match value {
        ScalarValue::Boolean(Some(value)) => vec![u8::from(*value)],
        ScalarValue::Int32(Some(value)) | ScalarValue::Date32(Some(value)) => value.to_le_bytes().to_vec(),
        ScalarValue::Int64(Some(value))
        | ScalarValue::Time64Microsecond(Some(value))
        | ScalarValue::TimestampMicrosecond(Some(value), _) => value.to_le_bytes().to_vec(),
        ScalarValue::Float32(Some(value)) => value.to_le_bytes().to_vec(),
        ScalarValue::Float64(Some(value)) => value.to_le_bytes().to_vec(),
        ScalarValue::Decimal128(Some(value), _, _) => value.to_be_bytes().to_vec(),
        ScalarValue::FixedSizeBinary(_, Some(value)) => value.clone(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
