//! Iceberg's JSON form of schemas, from Arrow fields with ids.

use anyhow::{Result, bail};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use super::{INITIAL_DEFAULT, field_id};

/// The greatest field id in a column.
pub(super) fn greatest_id(field: &Field) -> i32 {
    let inner = match field.data_type() {
        DataType::Struct(fields) => fields.iter().map(|field| greatest_id(field)).max(),
        DataType::List(item) => Some(greatest_id(item)),
        DataType::Map(entries, _) => Some(greatest_id(entries)),
        _ => None,
    };
    inner.max(field_id(field)).unwrap_or(0)
}

/// A schema of the metadata, with its number.
pub(super) fn schema_json(schema: &SchemaRef, id: usize) -> Result<Value> {
    let mut json = struct_json(schema.fields())?;
    json["schema-id"] = json!(id);
    Ok(json)
}

fn struct_json(fields: &arrow::datatypes::Fields) -> Result<Value> {
    let fields = fields.iter().map(|field| {
        let mut json = json!({
            "id": field_id(field), "name": field.name(), "required": false, "type": type_json(field.data_type())?,
        });
        if let Some(default) = field.metadata().get(INITIAL_DEFAULT) {
            json["initial-default"] = serde_json::from_str(default)?;
            json["write-default"] = json["initial-default"].clone();
        }
        Ok(json)
    });
    Ok(json!({ "type": "struct", "fields": fields.collect::<Result<Vec<_>>>()? }))
}

fn type_json(data_type: &DataType) -> Result<Value> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision}, {scale})")),
        DataType::Date32 => json!("date"),
        DataType::Time64(_) => json!("time"),
        DataType::Timestamp(TimeUnit::Microsecond, None) => json!("timestamp"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => json!("timestamptz"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::FixedSizeBinary(length) => json!(format!("fixed[{length}]")),
        DataType::Struct(fields) => struct_json(fields)?,
        DataType::List(item) => json!({
            "type": "list", "element-id": field_id(item), "element-required": false,
            "element": type_json(item.data_type())?,
        }),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => json!({
                "type": "map", "key-id": field_id(&fields[0]), "key": type_json(fields[0].data_type())?,
                "value-id": field_id(&fields[1]), "value": type_json(fields[1].data_type())?, "value-required": false,
            }),
            other => bail!("a map of {other}"),
        },
        other => bail!("{other} is no type of Iceberg"),
    })
}
