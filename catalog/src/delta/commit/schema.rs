//! Arrow columns as a Delta schema: the JSON of the `metaData` action, and the columns of the data files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::delta::columns::{COLUMN_ID, PARQUET_FIELD_ID, PHYSICAL_NAME};

/// The key of a column's description, in Arrow's metadata and in Delta's.
pub(crate) const COMMENT: &str = "comment";

/// The field ids that are given out under column mapping; `None` without it.
#[derive(Debug)]
pub(crate) struct Ids(pub(crate) Option<i64>);

impl Ids {
    /// Another id, where the table has them.
    fn next(&mut self) -> Option<i64> {
        let next = self.0.as_mut()?;
        *next += 1;
        Some(*next)
    }
}

/// The column in a type that Delta has, and so the fields inside it; text and binary of the table's own columns as
/// views. The error is the type that has none.
pub(crate) fn file_field(field: &Field) -> Result<Field, DataType> {
    let data_type = match file_type(field.data_type())? {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other,
    };
    Ok(Field::new(field.name(), data_type, field.is_nullable()))
}

/// The Delta type that holds every value of an Arrow type. Delta counts microseconds.
fn file_type(arrow: &DataType) -> Result<DataType, DataType> {
    let inner = |field: &FieldRef, name: &str| {
        let name = if name.is_empty() { field.name() } else { name };
        Ok(Arc::new(Field::new(
            name,
            file_type(field.data_type())?,
            field.is_nullable(),
        )))
    };
    Ok(match arrow {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, 0..)
        | DataType::Date32 => arrow.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => return Err(arrow.clone()),
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|field| inner(field, ""))
                .collect::<Result<_, DataType>>()?,
        ),
        DataType::List(item) | DataType::LargeList(item) => DataType::List(inner(item, "element")?),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => {
                let parts = Fields::from(vec![inner(&parts[0], "key")?, inner(&parts[1], "value")?]);
                DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(parts), false)), false)
            }
            _ => return Err(arrow.clone()),
        },
        _ => return Err(arrow.clone()),
    })
}

/// The field of the schema's JSON for a column of a file type. Under column mapping it gets an id and a physical name.
pub(crate) fn field_json(field: &Field, comment: Option<&str>, ids: &mut Ids) -> Value {
    let mut metadata = Map::new();
    if let Some(comment) = comment {
        metadata.insert(COMMENT.to_owned(), json!(comment));
    }
    if let Some(id) = ids.next() {
        metadata.insert(COLUMN_ID.to_owned(), json!(id));
        metadata.insert(PHYSICAL_NAME.to_owned(), json!(format!("col-{}", Uuid::new_v4())));
    }
    json!({
        "name": field.name(),
        "type": type_json(field.data_type(), ids),
        "nullable": field.is_nullable(),
        "metadata": metadata,
    })
}

/// A file type in the words of the schema's JSON.
pub(crate) fn type_json(file_type: &DataType, ids: &mut Ids) -> Value {
    json!(match file_type {
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 => "short",
        DataType::Int32 => "integer",
        DataType::Int64 => "long",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Date32 => "date",
        DataType::Timestamp(_, Some(_)) => "timestamp",
        DataType::Timestamp(_, None) => "timestamp_ntz",
        DataType::Binary | DataType::BinaryView => "binary",
        DataType::Decimal128(precision, scale) => return json!(format!("decimal({precision},{scale})")),
        DataType::Struct(fields) => {
            let fields: Vec<Value> = fields
                .iter()
                .map(|field| field_json(field, comment(field), ids))
                .collect();
            return json!({ "type": "struct", "fields": fields });
        }
        DataType::List(item) => {
            return json!({
                "type": "array",
                "elementType": type_json(item.data_type(), ids),
                "containsNull": item.is_nullable(),
            });
        }
        DataType::Map(entries, _) => {
            let parts = match entries.data_type() {
                DataType::Struct(parts) => parts.clone(),
                _ => Fields::empty(),
            };
            let part = |index: usize, ids: &mut Ids| parts.get(index).map(|part| type_json(part.data_type(), ids));
            return json!({
                "type": "map",
                "keyType": part(0, ids),
                "valueType": part(1, ids),
                "valueContainsNull": parts.get(1).is_none_or(|value| value.is_nullable()),
            });
        }
        // The other file types are texts.
        _ => "string",
    })
}

/// A column's description, where it has one.
pub(crate) fn comment(field: &Field) -> Option<&str> {
    field.metadata().get(COMMENT).map(String::as_str)
}

/// The field of a data file for a field of the schema's JSON: under its physical name, with its id.
pub(crate) fn physical_field(field: &Field, json: &Value) -> Field {
    let metadata = &json["metadata"];
    let id = metadata[COLUMN_ID]
        .as_i64()
        .map(|id| (PARQUET_FIELD_ID.to_owned(), id.to_string()));
    Field::new(
        metadata[PHYSICAL_NAME].as_str().unwrap_or(field.name()),
        physical_type(field.data_type(), &json["type"]),
        field.is_nullable(),
    )
    .with_metadata(id.into_iter().collect::<HashMap<_, _>>())
}

fn physical_type(file_type: &DataType, json: &Value) -> DataType {
    let part = |field: &FieldRef, json: &Value| {
        let data_type = physical_type(field.data_type(), json);
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match file_type {
        DataType::Struct(fields) => {
            let fields = fields.iter().enumerate();
            DataType::Struct(
                fields
                    .map(|(index, field)| Arc::new(physical_field(field, &json["fields"][index])))
                    .collect(),
            )
        }
        DataType::List(item) => DataType::List(part(item, &json["elementType"])),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(parts) if parts.len() == 2 => {
                let parts = vec![part(&parts[0], &json["keyType"]), part(&parts[1], &json["valueType"])];
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(parts.into()));
                DataType::Map(Arc::new(entries), *sorted)
            }
            other => other.clone(),
        },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_types_that_delta_has() {
        let utc = || Some("UTC".into());
        let check = |arrow: DataType, expect: Option<DataType>| {
            let field = file_field(&Field::new("c", arrow.clone(), true));
            assert_eq!(field.ok().map(|field| field.data_type().clone()), expect, "{arrow}");
        };
        check(DataType::UInt32, Some(DataType::Int64));
        check(DataType::LargeUtf8, Some(DataType::Utf8View));
        check(DataType::Decimal128(15, 2), Some(DataType::Decimal128(15, 2)));
        check(DataType::Decimal128(15, -2), None);
        check(
            DataType::Timestamp(TimeUnit::Millisecond, Some("+01:00".into())),
            Some(DataType::Timestamp(TimeUnit::Microsecond, utc())),
        );
        check(DataType::Timestamp(TimeUnit::Nanosecond, None), None);
        check(DataType::UInt64, Some(DataType::Decimal128(20, 0)));
        check(DataType::Time64(TimeUnit::Microsecond), None);
        let list = |name: &str, item| DataType::List(Arc::new(Field::new(name, item, true)));
        check(list("item", DataType::UInt8), Some(list("element", DataType::Int16)));
    }

    #[test]
    fn mapped_columns_have_ids_inside_too() {
        let inner = Fields::from(vec![Field::new("x", DataType::Int32, true)]);
        let column = Field::new("s", DataType::Struct(inner), false);
        let json = field_json(&column, Some("what"), &mut Ids(Some(4)));
        assert_eq!(json["metadata"][COLUMN_ID], 5);
        assert_eq!(json["metadata"][COMMENT], "what");
        assert_eq!(json["type"]["fields"][0]["metadata"][COLUMN_ID], 6);
        let physical = physical_field(&column, &json);
        assert!(physical.name().starts_with("col-"));
        assert_eq!(physical.metadata()[PARQUET_FIELD_ID], "5");
    }
}
