//! Iceberg types and values to Arrow's: the columns that users see, and bounds as scalars.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use iceberg::spec::{Datum, NestedField, PrimitiveLiteral, PrimitiveType, Type};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::snapshot::plan_column;

/// Arrow's name of the key under which a field tells its extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";

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

/// A bound or partition value as a scalar of the column's type, widened where the column was promoted since; `None`
/// where the value does not tell about that type.
pub(crate) fn scalar(datum: &Datum, column: &DataType) -> Option<ScalarValue> {
    literal_scalar(datum.literal(), column)
}

/// As [`scalar`], of a value whose type is the source column's.
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
        (P::Binary(value), DataType::BinaryView) => ScalarValue::BinaryView(Some(value.clone())),
        _ => return None,
    })
}
