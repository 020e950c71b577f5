//! Columns of files under the names, orders and types that their tables have since.

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;

use super::*;

fn field(name: &str, id: i32, data_type: DataType) -> Field {
    let id = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
    Field::new(name, data_type, true).with_metadata(HashMap::from(id))
}

fn factory() -> LakeExprAdapterFactory {
    LakeExprAdapterFactory::new("lake.s.t", Arc::new(ColumnMapping::by(ColumnMatch::FieldId)))
}

/// Reads the table's columns from a batch of a file.
fn read(table: &Schema, batch: &RecordBatch) -> Vec<ArrayRef> {
    let adapter = factory().create(Arc::new(table.clone()), batch.schema()).unwrap();
    let columns = table.fields().iter().enumerate().map(|(index, field)| {
        let expr = adapter.rewrite(Arc::new(Column::new(field.name(), index))).unwrap();
        expr.evaluate(batch).unwrap().into_array(batch.num_rows()).unwrap()
    });
    columns.collect()
}

#[test]
fn columns_are_found_by_id_whatever_their_names() {
    // The file was written as (a: 1, b: 2, dropped: 3); since then a and b swapped names, and a column was added that
    // has the name of the dropped one.
    let file = Schema::new(vec![
        field("a", 1, DataType::Int32),
        field("b", 2, DataType::Utf8),
        field("dropped", 3, DataType::Int32),
    ]);
    let values: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2])),
        Arc::new(StringArray::from(vec!["x", "y"])),
        Arc::new(Int32Array::from(vec![8, 9])),
    ];
    let batch = RecordBatch::try_new(Arc::new(file), values).unwrap();
    let table = Schema::new(vec![
        field("a", 2, DataType::Utf8View),
        field("dropped", 4, DataType::Int32),
        field("b", 1, DataType::Int64),
    ]);
    let columns = read(&table, &batch);
    assert_eq!(
        cast(&columns[0], &DataType::Utf8).unwrap().as_ref(),
        &StringArray::from(vec!["x", "y"]) as &dyn Array
    );
    assert_eq!(columns[1].null_count(), 2);
    assert_eq!(columns[2].as_ref(), &Int64Array::from(vec![1, 2]) as &dyn Array);
}

#[track_caller]
fn refused(table: Field, file: Field, message: &str) {
    let schema = |field: Field| Arc::new(Schema::new(vec![field]));
    let error = factory().create(schema(table), schema(file)).unwrap_err().to_string();
    assert!(error.contains(message) && error.contains("lake.s.t"), "{error}");
}

#[test]
fn what_cannot_be_read_right_is_refused() {
    let plain = |name| Field::new(name, DataType::Int32, true);
    refused(field("a", 1, DataType::Int32), plain("a"), "name mapping");
    let nested = |inner| DataType::Struct(Fields::from(vec![inner]));
    let renamed = nested(field("new", 2, DataType::Int32));
    let written = nested(field("old", 2, DataType::Int32));
    refused(field("s", 1, renamed), field("s", 1, written), "nested column s");
}
