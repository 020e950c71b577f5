//! The columns a client is told of and gets. Drivers do not all know every Arrow type: views become plain texts and
//! bytes, dictionaries their values, large and viewed lists plain lists, at any depth. Every schema that leaves the
//! server passes here, and so does every batch, so that all of them agree.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use catalog::TableName;
use datafusion::error::DataFusionError;

use crate::error::Result;
use crate::sql::types::SqlType;

pub(super) use executor::results::convert;

const PREFIX: &str = "ARROW:FLIGHT:SQL:";

/// A result's columns, each with what SQL calls its type.
pub(super) fn of_result(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| described(field, []));
    Arc::new(Schema::new_with_metadata(
        fields.collect::<Vec<_>>(),
        schema.metadata().clone(),
    ))
}

/// A statement's parameters in the types that clients shall bind. The JDBC driver writes milliseconds into a time of
/// any unit, and to a parameter of no type it can bind nothing but NULL; the server casts what is bound.
pub(super) fn of_parameters(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            DataType::Null => DataType::Utf8,
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
            DataType::Time32(_) | DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
            other => other.clone(),
        };
        field.as_ref().clone().with_data_type(data_type)
    });
    of_result(&Schema::new(fields.collect::<Vec<_>>()))
}

/// A table's columns, each with the table's name.
pub(super) fn of_table(name: &TableName, schema: &Schema) -> Schema {
    let names = [
        ("CATALOG_NAME", &name.catalog),
        ("DB_SCHEMA_NAME", &name.namespace),
        ("TABLE_NAME", &name.table),
    ];
    let fields = schema
        .fields()
        .iter()
        .map(|field| described(field, names.map(|(key, name)| (key, name.clone()))));
    Schema::new(fields.collect::<Vec<_>>())
}

/// A schema as an encapsulated IPC message.
pub(super) fn encode(schema: &Schema) -> Result<Bytes> {
    let options = IpcWriteOptions::default();
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(DataFusionError::from)?;
    Ok(bytes)
}

/// The inverse of [`encode`].
pub(super) fn decode(encapsulated: &[u8]) -> Result<SchemaRef> {
    let message = IpcMessage(Bytes::copy_from_slice(encapsulated));
    Ok(SchemaRef::new(
        Schema::try_from(message).map_err(DataFusionError::from)?,
    ))
}

fn described(field: &FieldRef, more: impl IntoIterator<Item = (&'static str, String)>) -> Field {
    let sql = SqlType::of(field.data_type());
    let flag = |value: bool| if value { "1" } else { "0" }.to_owned();
    let mut facts = vec![
        ("TYPE_NAME", sql.name.to_owned()),
        ("IS_AUTO_INCREMENT", flag(false)),
        ("IS_CASE_SENSITIVE", flag(sql.name == "VARCHAR")),
        ("IS_READ_ONLY", flag(true)),
        ("IS_SEARCHABLE", flag(true)),
    ];
    // The digits of a fraction of a second are no size of a column, which drivers take this for.
    let size = sql.precision.filter(|_| !sql.name.starts_with("TIME"));
    facts.extend(size.map(|size| ("PRECISION", size.to_string())));
    facts.extend(sql.scale.map(|scale| ("SCALE", scale.to_string())));
    facts.extend(more);
    let facts: HashMap<_, _> = facts
        .into_iter()
        .map(|(key, value)| (format!("{PREFIX}{key}"), value))
        .collect();
    let plain = plain_field(field);
    let metadata = plain.metadata().clone().into_iter().chain(facts).collect();
    plain.with_metadata(metadata)
}

/// A field without what only concerns the data files: a client that writes the rows elsewhere would copy it.
fn plain_field(field: &FieldRef) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| !key.starts_with("PARQUET:"));
    Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()).with_metadata(metadata)
}

/// The type that every driver knows for the values of `data_type`.
fn plain_type(data_type: &DataType) -> DataType {
    let child = |field: &FieldRef| Arc::new(plain_field(field));
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => DataType::List(child(field)),
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(child(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect()),
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{
        Array, ArrayRef, AsArray, DictionaryArray, Int32Array, ListArray, RecordBatch, RecordBatchOptions, StringArray,
        StringViewArray, StructArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Fields, Int32Type};

    use super::*;

    #[test]
    fn no_view_reaches_a_client_at_any_depth() {
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![
            Some("a"),
            None,
            Some("a text of some length"),
        ]));
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let list = ListArray::new(item, OffsetBuffer::from_lengths([1, 0, 2]), Arc::clone(&views), None);
        let inner = Fields::from(vec![Field::new("s", DataType::Utf8View, true)]);
        let nested = StructArray::new(inner, vec![Arc::clone(&views)], None);
        let words = Arc::new(StringArray::from(vec!["x", "y"]));
        let dictionary = DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0, 1, 0]), words);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("view", views),
            ("list", Arc::new(list)),
            ("struct", Arc::new(nested)),
            ("dictionary", Arc::new(dictionary)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();

        let schema = of_result(&batch.schema());
        let types: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| field.data_type().to_string())
            .collect();
        assert!(
            types
                .iter()
                .all(|name| !name.contains("View") && !name.contains("Dictionary")),
            "{types:?}"
        );
        let converted = convert(&batch, &schema).unwrap();
        assert_eq!(converted.schema(), schema);
        assert_eq!(converted.column(0).as_string::<i32>().value(2), "a text of some length");
        assert!(converted.column(0).is_null(1));
        assert_eq!(
            converted
                .column(1)
                .as_list::<i32>()
                .value(2)
                .as_string::<i32>()
                .value(1),
            "a text of some length"
        );
        assert_eq!(converted.column(3).as_string::<i32>().value(1), "y");
    }

    #[test]
    fn fields_say_what_sql_calls_them_and_keep_what_they_said() {
        let field = Field::new("price", DataType::Decimal128(15, 2), false).with_metadata(HashMap::from(
            [("comment", "net"), ("PARQUET:field_id", "7")].map(|(key, text)| (key.to_owned(), text.to_owned())),
        ));
        let table = of_table(&TableName::new("lake", "tpch", "part"), &Schema::new(vec![field]));
        let metadata = table.field(0).metadata();
        let check = |key: &str, expect: &str| assert_eq!(metadata.get(key).map(String::as_str), Some(expect), "{key}");
        check("ARROW:FLIGHT:SQL:TYPE_NAME", "DECIMAL");
        check("ARROW:FLIGHT:SQL:PRECISION", "15");
        check("ARROW:FLIGHT:SQL:SCALE", "2");
        check("ARROW:FLIGHT:SQL:TABLE_NAME", "part");
        check("comment", "net");
        assert!(!metadata.contains_key("PARQUET:field_id"));
        assert!(!table.field(0).is_nullable());
    }

    #[test]
    fn parameters_have_types_that_drivers_can_bind() {
        let zone = Some(Arc::from("UTC"));
        for (planned, told) in [
            (DataType::Null, DataType::Utf8),
            (DataType::Int32, DataType::Int32),
            (DataType::Utf8View, DataType::Utf8),
            (
                DataType::Time64(TimeUnit::Nanosecond),
                DataType::Time32(TimeUnit::Millisecond),
            ),
            (
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                DataType::Timestamp(TimeUnit::Millisecond, zone),
            ),
        ] {
            let parameters = of_parameters(&Schema::new(vec![Field::new("$1", planned, true)]));
            assert_eq!(*parameters.field(0).data_type(), told);
        }
    }

    #[test]
    fn a_batch_without_columns_keeps_its_rows() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let batch = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        assert_eq!(convert(&batch, &of_result(&Schema::empty())).unwrap().num_rows(), 3);
    }
}
