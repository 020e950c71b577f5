//! What a manifest says of a data file: counts, and bounds that every reader may prune by.
//!
//! A bound may be wider than the values but never narrower. Text and binary bounds are cut to 16 characters or bytes,
//! so that a manifest of wide columns stays small.

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, PartitionSpec, PrimitiveType, Schema,
    Struct, Type,
};

use crate::write::{WrittenColumn, WrittenFile};

/// What the specification's reference implementation keeps of a text or binary bound.
const BOUND_LENGTH_MAX: usize = 16;

/// The manifest's entry for a file that was written with the columns of `schema` and the fields of `spec`.
pub(crate) fn data_file(file: &WrittenFile, schema: &Schema, spec: &PartitionSpec) -> iceberg::Result<DataFile> {
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
        .partition(partition(file, schema, spec)?)
        .partition_spec_id(spec.spec_id())
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

/// The file's partition values, in the types of the spec's fields.
fn partition(file: &WrittenFile, schema: &Schema, spec: &PartitionSpec) -> iceberg::Result<Struct> {
    let invalid = |detail: String| iceberg::Error::new(iceberg::ErrorKind::DataInvalid, detail);
    let types = spec.partition_type(schema)?;
    let fields = types.fields();
    if fields.len() != file.partition.len() {
        let (values, fields) = (file.partition.len(), fields.len());
        return Err(invalid(format!(
            "{values} partition values for {fields} partition fields"
        )));
    }
    let mut literals = Vec::with_capacity(fields.len());
    for (field, value) in fields.iter().zip(&file.partition) {
        if value.is_null() {
            literals.push(None);
            continue;
        }
        let of_type = field.field_type.as_primitive_type();
        let literal = of_type.and_then(|kind| literal(value, kind));
        let literal = literal.ok_or_else(|| {
            let (kind, name) = (&field.field_type, &field.name);
            invalid(format!("{value} is no {kind}, the type of the partition field {name}"))
        })?;
        literals.push(Some(literal));
    }
    Ok(Struct::from_iter(literals))
}

/// A value that is not NULL as one of that type; `None` where it is none.
pub(super) fn literal(value: &ScalarValue, kind: &PrimitiveType) -> Option<Literal> {
    let bytes = fits(value, kind).then(|| binary_form(value))??;
    Some(datum(&bytes, kind)?.into())
}

/// True where the value's binary form is one of that type.
fn fits(value: &ScalarValue, kind: &PrimitiveType) -> bool {
    use PrimitiveType as P;
    use ScalarValue as S;
    match (value, kind) {
        (S::Boolean(_), P::Boolean)
        | (S::Int32(_), P::Int | P::Date)
        | (S::Date32(_), P::Date)
        | (S::Int64(_), P::Long)
        | (S::Float32(_), P::Float)
        | (S::Float64(_), P::Double)
        | (S::Time64Microsecond(_), P::Time)
        | (S::TimestampMicrosecond(..), P::Timestamp | P::Timestamptz)
        | (S::TimestampNanosecond(..), P::TimestampNs | P::TimestamptzNs)
        | (S::Utf8(_) | S::Utf8View(_), P::String)
        | (S::Binary(_) | S::BinaryView(_), P::Binary) => true,
        (S::FixedSizeBinary(16, _), P::Uuid) => true,
        (S::FixedSizeBinary(length, _), P::Fixed(wanted)) => u64::try_from(*length) == Ok(*wanted),
        (S::Decimal128(_, _, scale), P::Decimal { scale: wanted, .. }) => u32::try_from(*scale) == Ok(*wanted),
        _ => false,
    }
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
        | ScalarValue::TimestampMicrosecond(Some(value), _)
        | ScalarValue::TimestampNanosecond(Some(value), _) => value.to_le_bytes().to_vec(),
        ScalarValue::Float32(Some(value)) => value.to_le_bytes().to_vec(),
        ScalarValue::Float64(Some(value)) => value.to_le_bytes().to_vec(),
        ScalarValue::Decimal128(Some(value), _, _) => value.to_be_bytes().to_vec(),
        ScalarValue::FixedSizeBinary(_, Some(value))
        | ScalarValue::Binary(Some(value))
        | ScalarValue::BinaryView(Some(value)) => value.clone(),
        ScalarValue::Utf8(Some(value)) | ScalarValue::Utf8View(Some(value)) => value.clone().into_bytes(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
