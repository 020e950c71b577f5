//! What the Delta log says of a data file's columns: statistics that every reader may prune by.
//!
//! A bound may be wider than the values but never narrower. Source: the Delta protocol, "Per-file Statistics".

use arrow::datatypes::{DataType, Field};
use chrono::DateTime;
use datafusion::common::ScalarValue;
use serde_json::json;

use crate::write::{WrittenColumn, WrittenFile};

/// What the protocol's reference implementation keeps of a text bound, in characters.
const TEXT_BOUND_MAX: usize = 32;
/// Columns that have statistics where the table does not say.
const COLUMNS_DEFAULT: usize = 32;

/// A column of the written files.
#[derive(Debug, Clone)]
pub(crate) struct StatsColumn {
    /// Its position among the file's columns.
    pub(crate) index: usize,
    /// Its name in the log.
    pub(crate) name: String,
}

/// Which of the files' columns have statistics, as the table's properties say: the first so many leaves, or a list of
/// names. `columns` are the files' columns with the names that they have in the table; `always` are names in the log of
/// columns that need statistics whatever the properties say.
pub(crate) fn wanted(
    columns: &[(&str, &Field)],
    first: Option<&str>,
    listed: Option<&str>,
    always: &[String],
) -> Vec<StatsColumn> {
    let limit = match first.map(str::parse::<i64>) {
        Some(Ok(-1)) => usize::MAX,
        Some(Ok(first)) => usize::try_from(first).unwrap_or(0),
        Some(Err(_)) | None => COLUMNS_DEFAULT,
    };
    let listed: Option<Vec<&str>> =
        listed.map(|listed| listed.split(',').map(|name| name.trim().trim_matches('`')).collect());
    let mut leaves = 0_usize;
    let mut wanted = Vec::new();
    for (index, (logical, field)) in columns.iter().enumerate() {
        let within = leaves < limit;
        leaves = leaves.saturating_add(leaf_count(field.data_type()));
        let chosen = match &listed {
            Some(listed) => listed.iter().any(|name| name.eq_ignore_ascii_case(logical)),
            None => within,
        };
        if (chosen || always.contains(field.name())) && !field.data_type().is_nested() {
            wanted.push(StatsColumn {
                index,
                name: field.name().clone(),
            });
        }
    }
    wanted
}

fn leaf_count(column: &DataType) -> usize {
    match column {
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field.data_type())).sum(),
        _ => 1,
    }
}

/// The statistics of a new file as JSON.
pub(crate) fn stats(file: &WrittenFile, wanted: &[StatsColumn]) -> String {
    let known = |value: &dyn Fn(&WrittenColumn) -> Option<String>| {
        let members = wanted.iter().filter_map(|column| {
            let value = value(file.columns.get(column.index)?)?;
            Some(format!("{}:{value}", json!(column.name)))
        });
        members.collect::<Vec<_>>().join(",")
    };
    let nulls = known(&|column| column.nulls.map(|nulls| nulls.to_string()));
    let lower = known(&|column| text(&lower(column.min.as_ref()?)?));
    let upper = known(&|column| text(&upper(column.max.as_ref()?)?));
    format!(
        r#"{{"numRecords":{},"minValues":{{{lower}}},"maxValues":{{{upper}}},"nullCount":{{{nulls}}},"tightBounds":true}}"#,
        file.rows
    )
}

/// A bound as JSON; `None` for types whose bounds the protocol does not define, and values that JSON has not.
fn text(bound: &ScalarValue) -> Option<String> {
    Some(match bound {
        ScalarValue::Int8(Some(value)) => value.to_string(),
        ScalarValue::Int16(Some(value)) => value.to_string(),
        ScalarValue::Int32(Some(value)) => value.to_string(),
        ScalarValue::Int64(Some(value)) => value.to_string(),
        ScalarValue::Float32(Some(value)) if value.is_finite() => json!(value).to_string(),
        ScalarValue::Float64(Some(value)) if value.is_finite() => json!(value).to_string(),
        ScalarValue::Decimal128(Some(_), ..) => bound.to_string(),
        ScalarValue::Utf8(Some(value)) | ScalarValue::Utf8View(Some(value)) | ScalarValue::LargeUtf8(Some(value)) => {
            json!(value).to_string()
        }
        ScalarValue::Date32(Some(_)) => json!(bound.to_string()).to_string(),
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let time = DateTime::from_timestamp_micros(*micros)?;
            let zone = if zone.is_some() { "Z" } else { "" };
            json!(format!("{}{zone}", time.format("%Y-%m-%dT%H:%M:%S%.3f"))).to_string()
        }
        _ => return None,
    })
}

fn lower(value: &ScalarValue) -> Option<ScalarValue> {
    Some(match value {
        ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text)) => {
            ScalarValue::Utf8(Some(text.chars().take(TEXT_BOUND_MAX).collect()))
        }
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            ScalarValue::TimestampMicrosecond(micros.div_euclid(1000).checked_mul(1000), zone.clone())
        }
        other => other.clone(),
    })
}

fn upper(value: &ScalarValue) -> Option<ScalarValue> {
    Some(match value {
        ScalarValue::Utf8View(Some(text)) | ScalarValue::Utf8(Some(text)) => ScalarValue::Utf8(Some(upper_text(text)?)),
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let millis = micros.checked_add(999)?.div_euclid(1000);
            ScalarValue::TimestampMicrosecond(Some(millis.checked_mul(1000)?), zone.clone())
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

/// A partition value as the log writes it; `Ok(None)` for NULL, an error that says what cannot be written.
pub(crate) fn partition_text(value: &ScalarValue) -> Result<Option<String>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let text = match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            text.clone()
        }
        ScalarValue::Boolean(Some(value)) => value.to_string(),
        ScalarValue::Float32(Some(value)) => float_text(f64::from(*value), value.to_string()),
        ScalarValue::Float64(Some(value)) => float_text(*value, value.to_string()),
        ScalarValue::Int8(_) | ScalarValue::Int16(_) | ScalarValue::Int32(_) | ScalarValue::Int64(_) => {
            value.to_string()
        }
        ScalarValue::Decimal128(..) | ScalarValue::Date32(_) => value.to_string(),
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            let time = DateTime::from_timestamp_micros(*micros).ok_or("a timestamp is out of range")?;
            match zone {
                Some(_) => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
                None => time.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            }
        }
        other => {
            return Err(format!(
                "values of the type {} cannot be partition values",
                other.data_type()
            ));
        }
    };
    match text.is_empty() {
        true => Err("an empty text cannot be a partition value: Delta reads it as NULL".to_owned()),
        false => Ok(Some(text)),
    }
}

fn float_text(value: f64, plain: String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned()
    } else {
        plain
    }
}

#[cfg(test)]
mod tests;
