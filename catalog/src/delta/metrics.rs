//! What the Delta log says of a data file: the row of an `add` action, with statistics that every reader may prune by.
//!
//! A bound may be wider than the values but never narrower. The kernel turns the statistics into JSON.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;

use crate::write::{WrittenColumn, WrittenFile};

/// What the protocol's reference implementation keeps of a text bound, in characters.
const TEXT_BOUND_MAX: usize = 32;

type Bound = fn(&WrittenColumn) -> Option<ScalarValue>;

/// One row per file, in the columns that the kernel expects; statistics for the columns in `wanted`.
pub(crate) fn add_files(
    files: &[WrittenFile],
    schema: &Schema,
    wanted: &[usize],
    modified_ms: i64,
) -> Result<RecordBatch, ArrowError> {
    let names = files
        .iter()
        .map(|file| file.location.rsplit('/').next().unwrap_or_default());
    let columns: [(&str, ArrayRef, bool); 5] = [
        ("path", Arc::new(StringArray::from_iter_values(names)), false),
        ("partitionValues", no_partition_values(files.len())?, false),
        ("size", integers(files.iter().map(|file| Some(file.size_bytes))), false),
        (
            "modificationTime",
            Arc::new(Int64Array::from(vec![modified_ms; files.len()])),
            false,
        ),
        ("stats", Arc::new(statistics(files, schema, wanted)?), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns)
}

fn no_partition_values(rows: usize) -> Result<ArrayRef, ArrowError> {
    let names = MapFieldNames {
        entry: "key_value".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for _ in 0..rows {
        map.append(true)?;
    }
    Ok(Arc::new(map.finish()))
}

fn statistics(files: &[WrittenFile], schema: &Schema, wanted: &[usize]) -> Result<StructArray, ArrowError> {
    let mut sections = vec![("numRecords", integers(files.iter().map(|file| Some(file.rows))))];
    let nulls = |index: usize| Ok(integers(files.iter().map(move |file| file.columns[index].nulls)));
    sections.extend(section("nullCount", schema, wanted, nulls)?);
    let bounded: Vec<usize> = wanted
        .iter()
        .copied()
        .filter(|i| has_bounds(schema.field(*i).data_type()))
        .collect();
    let bounds: [(&str, Bound); 2] = [
        ("minValues", |column| lower(column.min.as_ref()?)),
        ("maxValues", |column| upper(column.max.as_ref()?)),
    ];
    for (name, bound) in bounds {
        let values = |index: usize| {
            let column_type = text_as_utf8(schema.field(index).data_type());
            let unknown = ScalarValue::try_from(&column_type)?;
            let values = files
                .iter()
                .map(|file| bound(&file.columns[index]).unwrap_or_else(|| unknown.clone()));
            Ok(ScalarValue::iter_to_array(values)?)
        };
        sections.extend(section(name, schema, &bounded, values)?);
    }
    sections.push(("tightBounds", Arc::new(BooleanArray::from(vec![true; files.len()]))));
    structure(sections)
}

/// One part of the statistics: a field for each of `columns`; nothing where there are none.
fn section<'a>(
    name: &'a str,
    schema: &Schema,
    columns: &[usize],
    values: impl Fn(usize) -> Result<ArrayRef, ArrowError>,
) -> Result<Option<(&'a str, ArrayRef)>, ArrowError> {
    if columns.is_empty() {
        return Ok(None);
    }
    let fields = columns
        .iter()
        .map(|index| Ok((schema.field(*index).name().as_str(), values(*index)?)));
    Ok(Some((
        name,
        Arc::new(structure(fields.collect::<Result<_, ArrowError>>()?)?),
    )))
}

fn structure(columns: Vec<(&str, ArrayRef)>) -> Result<StructArray, ArrowError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, values)| Field::new(*name, values.data_type().clone(), true))
        .collect();
    StructArray::try_new(
        fields.into(),
        columns.into_iter().map(|(_, values)| values).collect(),
        None,
    )
}

fn integers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(
        values
            .map(|value| value.and_then(|value| i64::try_from(value).ok()))
            .collect::<Int64Array>(),
    )
}

/// True for types whose bounds the protocol defines.
fn has_bounds(column: &DataType) -> bool {
    column.is_numeric() || column.is_temporal() || column.is_string()
}

fn text_as_utf8(column: &DataType) -> DataType {
    if column.is_string() {
        DataType::Utf8
    } else {
        column.clone()
    }
}

fn lower(value: &ScalarValue) -> Option<ScalarValue> {
    Some(match value {
        ScalarValue::Utf8View(Some(text)) => ScalarValue::Utf8(Some(text.chars().take(TEXT_BOUND_MAX).collect())),
        // The log cuts timestamps to milliseconds, downwards.
        other => other.clone(),
    })
}

fn upper(value: &ScalarValue) -> Option<ScalarValue> {
    Some(match value {
        ScalarValue::Utf8View(Some(text)) => ScalarValue::Utf8(Some(upper_text(text)?)),
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let millis = micros.checked_add(999)?.div_euclid(1000);
            ScalarValue::TimestampMicrosecond(Some(millis * 1000), zone.clone())
        }
        other => other.clone(),
    })
}

/// The first characters and the last character that there is: not less than any text that begins with them.
fn upper_text(text: &str) -> Option<String> {
    let Some((cut, next)) = text.char_indices().nth(TEXT_BOUND_MAX) else {
        return Some(text.to_owned());
    };
    (next != char::MAX).then(|| format!("{}{}", &text[..cut], char::MAX))
}

#[cfg(test)]
mod tests;
