//! Iceberg types and values to Arrow's: the columns that users see, and the defaults of new ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use chrono::NaiveDateTime;
use datafusion::common::ScalarValue;
use iceberg::spec::{Literal, NestedField, NestedFieldRef, PrimitiveLiteral, PrimitiveType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::Value;

use crate::snapshot::plan_column;

/// Arrow's name of the key under which a field tells its extension type.
pub(crate) const EXTENSION_NAME: &str = "ARROW:extension:name";

/// The Arrow schema of an Iceberg schema, as plans see it; field ids are in the metadata.
pub(crate) fn arrow_schema(schema: &iceberg::spec::Schema) -> SchemaRef {
    let fields = schema.as_struct().fields().iter();
    Arc::new(Schema::new(
        fields.map(|field| plan_column(&arrow_field(field))).collect::<Vec<_>>(),
    ))
}

fn arrow_field(field: &NestedField) -> Field {
    let mut metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    if matches!(field.field_type.as_ref(), Type::Primitive(PrimitiveType::Uuid)) {
        metadata.insert(EXTENSION_NAME.to_owned(), "arrow.uuid".to_owned());
    }
    Field::new(&field.name, arrow_type(&field.field_type), !field.required).with_metadata(metadata)
}

fn arrow_type(iceberg: &Type) -> DataType {
    match iceberg {
        Type::Primitive(primitive) => primitive_type(primitive),
        Type::Struct(fields) => DataType::Struct(
            fields
                .fields()
                .iter()
                .map(|field| Arc::new(arrow_field(field)))
                .collect(),
        ),
        Type::List(list) => DataType::List(Arc::new(arrow_field(&list.element_field))),
        Type::Map(map) => {
            let entries = [arrow_field(&map.key_field), arrow_field(&map.value_field)];
            let entries = DataType::Struct(Fields::from(entries.to_vec()));
            DataType::Map(Arc::new(Field::new("key_value", entries, false)), false)
        }
    }
}

/// The type of a column, as plans see it.
pub(crate) fn column_type(primitive: &PrimitiveType) -> DataType {
    let field = plan_column(&Field::new("", primitive_type(primitive), true));
    field.data_type().clone()
}

fn primitive_type(primitive: &PrimitiveType) -> DataType {
    let utc = || Some("UTC".into());
    match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        // The specification allows precisions of 1 to 38 and scales up to the precision.
        PrimitiveType::Decimal { precision, scale } => DataType::Decimal128(*precision as u8, *scale as i8),
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, utc()),
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => DataType::Timestamp(TimeUnit::Nanosecond, utc()),
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(length) => i32::try_from(*length).map_or(DataType::Binary, DataType::FixedSizeBinary),
        PrimitiveType::Binary => DataType::Binary,
    }
}

/// A column that an Iceberg schema has at its top level, as plans see it.
pub(crate) fn column(field: &NestedField) -> Field {
    plan_column(&arrow_field(field))
}

/// The values of columns and nested fields, by field id, in files that were written before them. `schema` is `columns`
/// in Iceberg's types; `written` are the defaults as the metadata has them, since the crate forgets those that it
/// cannot read. The error names what cannot be read right.
pub(crate) fn defaults(
    schema: &iceberg::spec::Schema,
    columns: &Schema,
    written: &HashMap<(i32, String), Value>,
) -> Result<BTreeMap<i32, ScalarValue>, String> {
    let mut defaults = BTreeMap::new();
    collect_defaults(schema.as_struct().fields(), columns.fields(), written, &mut defaults)?;
    Ok(defaults)
}

fn collect_defaults(
    fields: &[NestedFieldRef],
    columns: &Fields,
    written: &HashMap<(i32, String), Value>,
    defaults: &mut BTreeMap<i32, ScalarValue>,
) -> Result<(), String> {
    for (field, column) in fields.iter().zip(columns) {
        let refused = || {
            format!(
                "the initial default of type {} (column {})",
                field.field_type, field.name
            )
        };
        match (field.field_type.as_ref(), &field.initial_default) {
            (Type::Primitive(_), Some(Literal::Primitive(literal))) => {
                let value = literal_scalar(literal, column.data_type()).ok_or_else(refused)?;
                defaults.insert(field.id, value);
            }
            (Type::Primitive(primitive), None) => {
                if let Some(json) = written.get(&(field.id, primitive.to_string())) {
                    let value = nanoseconds(json, column.data_type()).ok_or_else(refused)?;
                    defaults.insert(field.id, value);
                }
            }
            // A struct has no default but NULL or the defaults of its fields.
            (Type::Struct(inner), _) => {
                if let DataType::Struct(columns) = column.data_type() {
                    collect_defaults(inner.fields(), columns, written, defaults)?;
                }
            }
            (Type::List(list), None) => {
                if let DataType::List(item) = column.data_type() {
                    let item = Fields::from(vec![Arc::clone(item)]);
                    collect_defaults(&[Arc::clone(&list.element_field)], &item, written, defaults)?;
                }
            }
            (Type::Map(map), None) => {
                if let DataType::Map(entries, _) = column.data_type()
                    && let DataType::Struct(columns) = entries.data_type()
                {
                    let inner = [Arc::clone(&map.key_field), Arc::clone(&map.value_field)];
                    collect_defaults(&inner, columns, written, defaults)?;
                }
            }
            (_, Some(_)) => return Err(refused()),
        }
    }
    Ok(())
}

/// A timestamp in nanoseconds as JSON has it: ISO 8601, with `+00:00` where it has a zone.
fn nanoseconds(json: &Value, column: &DataType) -> Option<ScalarValue> {
    let DataType::Timestamp(TimeUnit::Nanosecond, zone) = column else {
        return None;
    };
    let text = json.as_str()?;
    let text = match zone {
        Some(_) => text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z'))?,
        None => text,
    };
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    let nanos = time.and_utc().timestamp_nanos_opt()?;
    Some(ScalarValue::TimestampNanosecond(Some(nanos), zone.clone()))
}

/// A default value as a scalar of the column's type; `None` where the types do not fit.
pub(crate) fn literal_scalar(literal: &PrimitiveLiteral, column: &DataType) -> Option<ScalarValue> {
    use PrimitiveLiteral as P;
    Some(match (literal, column) {
        (P::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (P::Int(value), DataType::Int32) => ScalarValue::Int32(Some(*value)),
        (P::Int(value), DataType::Int64) => ScalarValue::Int64(Some(i64::from(*value))),
        (P::Long(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (P::Float(value), DataType::Float32) => ScalarValue::Float32(Some(value.0)),
        (P::Float(value), DataType::Float64) => ScalarValue::Float64(Some(f64::from(value.0))),
        (P::Double(value), DataType::Float64) => ScalarValue::Float64(Some(value.0)),
        (P::Int128(value), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*value), *precision, *scale)
        }
        (P::Int(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
        (P::Long(value), DataType::Time64(TimeUnit::Microsecond)) => ScalarValue::Time64Microsecond(Some(*value)),
        (P::Long(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
        }
        (P::Long(value), DataType::Timestamp(TimeUnit::Nanosecond, zone)) => {
            ScalarValue::TimestampNanosecond(Some(*value), zone.clone())
        }
        (P::String(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        (P::String(value), DataType::Utf8) => ScalarValue::Utf8(Some(value.clone())),
        (P::Binary(value), DataType::BinaryView) => ScalarValue::BinaryView(Some(value.clone())),
        (P::Binary(value), DataType::Binary) => ScalarValue::Binary(Some(value.clone())),
        (P::Binary(value), DataType::FixedSizeBinary(length)) if i32::try_from(value.len()) == Ok(*length) => {
            ScalarValue::FixedSizeBinary(*length, Some(value.clone()))
        }
        (P::UInt128(value), DataType::FixedSizeBinary(16)) => {
            ScalarValue::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec()))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
