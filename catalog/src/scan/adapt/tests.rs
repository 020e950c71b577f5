//! Columns of files under the names, orders and types that their tables have since.
//!
//! Rows are written as JSON, one per line; a column that a line leaves out is NULL.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, DictionaryArray, Int8Array, Int32Array, RecordBatch, StructArray,
    TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Int32Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::json::{LineDelimitedWriter, ReaderBuilder, WriterBuilder, writer::LineDelimited};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use super::*;

pub(super) fn field(name: &str, id: i32, data_type: DataType) -> Field {
    let id = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
    plain(name, data_type).with_metadata(HashMap::from(id))
}

pub(super) fn plain(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

pub(super) fn structure(fields: impl Into<Fields>) -> DataType {
    DataType::Struct(fields.into())
}

pub(super) fn list(element: Field) -> DataType {
    DataType::List(Arc::new(element))
}

pub(super) fn map(entries: &str, key: Field, value: Field) -> DataType {
    let entries = Field::new(entries, structure(vec![key.with_nullable(false), value]), false);
    DataType::Map(Arc::new(entries), false)
}

pub(super) fn by_id() -> ColumnMapping {
    ColumnMapping::by(ColumnMatch::FieldId)
}

pub(super) fn with_defaults(defaults: impl IntoIterator<Item = (i32, ScalarValue)>) -> ColumnMapping {
    ColumnMapping {
        defaults: defaults.into_iter().collect(),
        ..by_id()
    }
}

pub(super) fn mapped(json: &str) -> ColumnMapping {
    ColumnMapping {
        name_mapping: Some(json.to_owned()),
        ..by_id()
    }
}

pub(super) fn batch(fields: Vec<Field>, rows: &str) -> RecordBatch {
    let schema = Arc::new(Schema::new(fields));
    let reader = ReaderBuilder::new(schema).build(rows.as_bytes()).unwrap().next();
    reader.unwrap().unwrap()
}

pub(super) fn adapter(
    columns: ColumnMapping,
    table: &SchemaRef,
    file: &SchemaRef,
) -> Result<Arc<dyn PhysicalExprAdapter>> {
    LakeExprAdapterFactory::new("lake.s.t", Arc::new(columns)).create(Arc::clone(table), Arc::clone(file))
}

/// The table's rows of a file's batch. The batch has exactly the table's types, or arrow refuses it.
pub(super) fn read(columns: ColumnMapping, table: &SchemaRef, file: &RecordBatch) -> Result<RecordBatch> {
    let adapter = adapter(columns, table, &file.schema())?;
    let column = |(index, field): (usize, &FieldRef)| {
        let expr = adapter.rewrite(Arc::new(Column::new(field.name(), index)))?;
        assert_eq!(expr.data_type(&file.schema())?, *field.data_type());
        expr.evaluate(file)?.into_array(file.num_rows())
    };
    let arrays = table
        .fields()
        .iter()
        .enumerate()
        .map(column)
        .collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(table), arrays)?)
}

pub(super) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut text = Vec::new();
    let mut writer: LineDelimitedWriter<_> = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(&mut text);
    writer.write_batches(&batches.iter().collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

/// Reads `file` as the table's columns: whole, cut into slices, and without rows.
#[track_caller]
pub(super) fn check(columns: ColumnMapping, table: Vec<Field>, file: &RecordBatch, expect: &[&str]) {
    let table = Arc::new(Schema::new(table));
    let rows = |file: &RecordBatch| lines(&[read(columns.clone(), &table, file).unwrap()]);
    assert_eq!(rows(file), expect);
    for from in 0..=file.num_rows() {
        assert_eq!(rows(&file.slice(from, file.num_rows() - from)), expect[from..]);
    }
    assert_eq!(rows(&file.slice(0, 0)), Vec::<String>::new());
}

#[track_caller]
pub(super) fn refused(columns: ColumnMapping, table: Field, file: Field, message: &str) {
    let schema = |field: Field| Arc::new(Schema::new(vec![field]));
    let (table, file) = (schema(table), schema(file));
    let column = Arc::new(Column::new(table.field(0).name(), 0));
    let adapted = adapter(columns, &table, &file).and_then(|adapter| adapter.rewrite(column));
    let error = adapted.unwrap_err().to_string();
    assert!(error.contains(message) && error.contains("lake.s.t"), "{error}");
}

#[test]
fn columns_are_found_by_id_whatever_their_names() {
    // Since the file was written, a and b swapped names, and a column was added that has the name of a dropped one.
    let file = batch(
        vec![
            field("a", 1, DataType::Int32),
            field("b", 2, DataType::Utf8),
            field("dropped", 3, DataType::Int32),
        ],
        r#"{"a":1,"b":"x","dropped":8}
        {"a":2,"dropped":9}"#,
    );
    let table = vec![
        field("a", 2, DataType::Utf8View),
        field("dropped", 4, DataType::Int32),
        field("b", 1, DataType::Int64),
    ];
    let expect = [
        r#"{"a":"x","dropped":null,"b":1}"#,
        r#"{"a":null,"dropped":null,"b":2}"#,
    ];
    check(by_id(), table, &file, &expect);
}

#[test]
fn a_missing_column_has_its_default() {
    let file = batch(vec![field("a", 1, DataType::Int32)], r#"{"a":1} {"a":2}"#);
    let required = field("n", 2, DataType::Int64).with_nullable(false);
    let inner = structure(vec![field("x", 5, DataType::Int32), field("y", 6, DataType::Utf8View)]);
    let table = vec![
        field("a", 1, DataType::Int32),
        required.clone(),
        field("text", 3, DataType::Utf8View),
        field("s", 4, inner.clone()),
        field("none", 7, inner.clone()),
    ];
    // An empty struct: its fields have their own defaults.
    let empty = ScalarValue::Struct(Arc::new(StructArray::new_empty_fields(1, None)));
    let defaults = with_defaults([
        (2, ScalarValue::Int32(Some(7))),
        (3, ScalarValue::Utf8View(Some("new".to_owned()))),
        (4, empty),
        (5, ScalarValue::Int32(Some(50))),
    ]);
    let rest = r#""n":7,"text":"new","s":{"x":50,"y":null},"none":null}"#;
    let expect = [format!(r#"{{"a":1,{rest}"#), format!(r#"{{"a":2,{rest}"#)];
    check(defaults, table, &file, &expect.each_ref().map(String::as_str));

    refused(
        by_id(),
        required,
        field("a", 1, DataType::Int32),
        "column n of a data file",
    );
}

/// Checks one value, and NULL, of a file's type as the table's.
#[track_caller]
fn promotes(table: DataType, file: DataType, value: &str, expect: &str) {
    let rows = format!(r#"{{"n":{value}}} {{"n":null}}"#);
    let file = batch(vec![field("n", 1, file)], &rows);
    let expect = [format!(r#"{{"n":{expect}}}"#), r#"{"n":null}"#.to_owned()];
    check(
        by_id(),
        vec![field("n", 1, table)],
        &file,
        &expect.each_ref().map(String::as_str),
    );
}

#[test]
fn numbers_are_promoted() {
    use DataType as D;
    promotes(D::Int64, D::Int32, "-5", "-5");
    promotes(D::Int32, D::Int8, "-128", "-128");
    promotes(D::Int16, D::Int32, "-32768", "-32768");
    promotes(D::Int64, D::UInt32, "4294967295", "4294967295");
    promotes(D::Float64, D::Float32, "0.5", "0.5");
    promotes(D::Float64, D::Int32, "2147483647", "2147483647.0");
    promotes(
        D::Decimal128(20, 2),
        D::Decimal128(9, 2),
        "\"1234567.89\"",
        "1234567.89",
    );
    promotes(
        D::Decimal128(12, 4),
        D::Decimal128(9, 2),
        "\"1234567.89\"",
        "1234567.8900",
    );
    promotes(D::Decimal128(12, 2), D::Int32, "-7", "-7.00");
    promotes(
        D::Decimal128(20, 1),
        D::Int64,
        "-9223372036854775808",
        "-9223372036854775808.0",
    );
}

#[test]
fn times_text_and_bytes_are_converted() {
    use DataType as D;
    let micros = |zone: Option<&str>| D::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let nanos = |zone: Option<&str>| D::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
    promotes(micros(None), D::Date32, "\"1969-12-31\"", "\"1969-12-31T00:00:00\"");
    promotes(
        micros(Some("UTC")),
        micros(None),
        "\"2020-01-02T03:04:05\"",
        "\"2020-01-02T03:04:05Z\"",
    );
    promotes(
        micros(None),
        micros(Some("UTC")),
        "\"2020-01-02T03:04:05Z\"",
        "\"2020-01-02T03:04:05\"",
    );
    promotes(
        micros(None),
        micros(Some("+02:00")),
        "\"2020-01-02T03:04:05Z\"",
        "\"2020-01-02T03:04:05\"",
    );
    promotes(
        micros(None),
        nanos(None),
        "\"2020-01-02T03:04:05\"",
        "\"2020-01-02T03:04:05\"",
    );
    promotes(
        nanos(Some("UTC")),
        micros(None),
        "\"2020-01-02T03:04:05\"",
        "\"2020-01-02T03:04:05Z\"",
    );
    promotes(D::Utf8View, D::Utf8, "\"text\"", "\"text\"");
    promotes(D::Utf8View, D::LargeUtf8, "\"text\"", "\"text\"");
    promotes(D::BinaryView, D::Binary, "\"00ff\"", "\"00ff\"");
    promotes(D::BinaryView, D::LargeBinary, "\"00ff\"", "\"00ff\"");
    promotes(D::BinaryView, D::FixedSizeBinary(2), "\"00ff\"", "\"00ff\"");
    promotes(D::FixedSizeBinary(2), D::FixedSizeBinary(2), "\"00ff\"", "\"00ff\"");
    promotes(D::Utf8View, D::BinaryView, "\"7465\"", "\"te\"");
    promotes(D::BinaryView, D::Utf8View, "\"te\"", "\"7465\"");
    promotes(
        D::Time64(TimeUnit::Microsecond),
        D::Time32(TimeUnit::Millisecond),
        "\"01:02:03\"",
        "\"01:02:03\"",
    );
}

#[test]
fn a_dictionary_is_unpacked() {
    let words: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("x")].into_iter().collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(words)];
    let schema = Schema::new(vec![field("w", 1, columns[0].data_type().clone())]);
    let file = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let expect = [r#"{"w":"x"}"#, r#"{"w":null}"#, r#"{"w":"x"}"#];
    check(by_id(), vec![field("w", 1, DataType::Utf8View)], &file, &expect);
    let expect = [r#"{"w":"78"}"#, r#"{"w":null}"#, r#"{"w":"78"}"#];
    check(by_id(), vec![field("w", 1, DataType::BinaryView)], &file, &expect);
}

#[test]
fn a_cast_that_could_lose_a_value_is_refused() {
    let not = |table: DataType, file: DataType| {
        let message = format!("column c of a data file is damaged: it has the type {file}");
        refused(by_id(), field("c", 1, table), field("c", 1, file), &message);
    };
    use DataType as D;
    not(D::Int32, D::Utf8);
    not(D::Int32, D::Int64);
    not(D::Int64, D::UInt64);
    not(D::Int32, D::Float32);
    not(D::Float32, D::Float64);
    not(D::Float64, D::Int64);
    not(D::Utf8View, D::Int32);
    not(D::Decimal128(9, 2), D::Decimal128(10, 2));
    not(D::Decimal128(10, 1), D::Decimal128(9, 2));
    not(D::Decimal128(10, 2), D::Int32);
    not(D::FixedSizeBinary(16), D::FixedSizeBinary(8));
    not(D::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), D::Date32);
    not(D::Date32, D::Timestamp(TimeUnit::Microsecond, None));
    not(structure(vec![field("x", 2, D::Int32)]), D::Int32);
    not(D::Int32, structure(vec![field("x", 2, D::Int32)]));
    not(
        list(field("element", 2, D::Int32)),
        structure(vec![field("x", 2, D::Int32)]),
    );
    let deep = structure(vec![field("l", 2, list(field("element", 3, D::Int32)))]);
    let wrong = structure(vec![field("l", 2, list(field("element", 3, D::Utf8)))]);
    refused(
        by_id(),
        field("s", 1, deep),
        field("s", 1, wrong),
        "column s.l.element of a data file",
    );
}

#[test]
fn a_value_that_does_not_fit_is_an_error() {
    let fails = |table: DataType, column: ArrayRef| {
        let file = Schema::new(vec![field("c", 1, column.data_type().clone())]);
        let file = RecordBatch::try_new(Arc::new(file), vec![column]).unwrap();
        let table = Arc::new(Schema::new(vec![field("c", 1, table)]));
        read(by_id(), &table, &file).unwrap_err();
    };
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    fails(nanos, Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX / 10])));
    fails(DataType::Int8, Arc::new(Int32Array::from(vec![128])));
    fails(DataType::Utf8View, Arc::new(BinaryArray::from(vec![&b"\xff\xfe"[..]])));
}

#[test]
fn old_timestamps_are_cut_to_the_tables_unit() {
    let column: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(1_999), None]));
    let file = Schema::new(vec![field("c", 1, column.data_type().clone())]);
    let file = RecordBatch::try_new(Arc::new(file), vec![column]).unwrap();
    let table = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let rows = read(by_id(), &Arc::new(Schema::new(vec![field("c", 1, table)])), &file).unwrap();
    let micros = rows.column(0).as_primitive::<TimestampMicrosecondType>();
    assert_eq!((micros.value(0), micros.is_null(1)), (1, true));
}

/// A struct in which b was dropped, a and c swapped names and places, and c was promoted; d is new, and so is e,
/// inside a struct that is new.
fn evolved() -> (DataType, DataType, ColumnMapping) {
    let file = structure(vec![
        field("a", 10, DataType::Int32),
        field("b", 11, DataType::Utf8),
        field("c", 12, DataType::Utf8),
    ]);
    let table = structure(vec![
        field("a", 12, DataType::Utf8View),
        field("c", 10, DataType::Int64),
        field("b", 13, DataType::Int32),
        field("d", 14, structure(vec![field("e", 15, DataType::Int32)])),
    ]);
    (table, file, with_defaults([(13, ScalarValue::Int32(Some(9)))]))
}

const IN_FILE: &str = r#"{"a":1,"b":"gone","c":"x"}"#;
const IN_TABLE: &str = r#"{"a":"x","c":1,"b":9,"d":null}"#;

#[test]
fn a_struct_evolves() {
    let (table, file, columns) = evolved();
    let rows = format!(r#"{{"s":{IN_FILE}}} {{"s":null}} {{"s":{{}}}}"#);
    let file = batch(vec![field("s", 1, file)], &rows);
    let expect = [
        format!(r#"{{"s":{IN_TABLE}}}"#),
        r#"{"s":null}"#.to_owned(),
        r#"{"s":{"a":null,"c":null,"b":9,"d":null}}"#.to_owned(),
    ];
    check(
        columns,
        vec![field("s", 1, table)],
        &file,
        &expect.each_ref().map(String::as_str),
    );
}

#[test]
fn elements_and_map_values_evolve() {
    let (table, file, columns) = evolved();
    let fields = |inner: &DataType, entries: &str| {
        let value = list(field("item", 6, inner.clone()));
        vec![
            field("l", 1, list(field("element", 2, inner.clone()))),
            field(
                "m",
                3,
                map(entries, field("key", 4, DataType::Utf8), field("value", 5, value)),
            ),
        ]
    };
    let mut table = fields(&table, "key_value");
    // Keys are text: plans see those of maps as they are.
    table[0] = table[0].clone().with_name("renamed");
    let rows = format!(
        r#"{{"l":[{IN_FILE},null,{IN_FILE}],"m":{{"k":[{IN_FILE}],"n":null,"e":[]}}}}
        {{"l":[],"m":{{}}}}
        {{"l":null,"m":null}}
        {{"l":[{IN_FILE}],"m":{{"k":[null,{IN_FILE}]}}}}"#
    );
    let file = batch(fields(&file, "entries"), &rows);
    let expect = [
        format!(r#"{{"renamed":[{IN_TABLE},null,{IN_TABLE}],"m":{{"k":[{IN_TABLE}],"n":null,"e":[]}}}}"#),
        r#"{"renamed":[],"m":{}}"#.to_owned(),
        r#"{"renamed":null,"m":null}"#.to_owned(),
        format!(r#"{{"renamed":[{IN_TABLE}],"m":{{"k":[null,{IN_TABLE}]}}}}"#),
    ];
    check(columns, table, &file, &expect.each_ref().map(String::as_str));
}

#[test]
fn what_lies_under_null_stays_there() {
    // Values below a NULL struct and a NULL list, which no reader makes but arrow allows.
    let inner = Fields::from(vec![field("a", 2, DataType::Int32)]);
    let values: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![1, 2, 3]))];
    let nulls = NullBuffer::from(vec![true, false, true]);
    let column = Arc::new(StructArray::new(inner.clone(), values, Some(nulls)));
    let file = Schema::new(vec![field("s", 1, structure(inner))]);
    let file = RecordBatch::try_new(Arc::new(file), vec![column]).unwrap();
    let table = structure(vec![field("b", 3, DataType::Int32), field("a", 2, DataType::Int64)]);
    let table = Arc::new(Schema::new(vec![field("s", 1, table)]));
    let columns = with_defaults([(3, ScalarValue::Int32(Some(5)))]);
    let rows = read(columns.clone(), &table, &file).unwrap();
    let defaults = rows.column(0).as_struct().column(0).as_primitive::<Int32Type>();
    assert_eq!(defaults, &Int32Array::from(vec![Some(5), None, Some(5)]));
    assert_eq!(get(columns, &table, &file, &["s", "b"]), "[5, null, 5]");
}

#[test]
fn other_lists_are_lists() {
    let element = || Arc::new(plain("item", DataType::Int32));
    let table = vec![field("l", 1, list(field("element", 2, DataType::Int32)))];
    let rows = r#"{"l":[1,2]} {"l":null} {"l":[3,null]}"#;
    let expect = [r#"{"l":[1,2]}"#, r#"{"l":null}"#, r#"{"l":[3,null]}"#];
    for file in [
        DataType::LargeList(element()),
        DataType::List(element()),
        DataType::FixedSizeList(element(), 2),
    ] {
        check(by_id(), table.clone(), &batch(vec![field("l", 1, file)], rows), &expect);
    }
}

#[test]
fn equal_columns_stay_columns_and_promoted_ones_are_casts() {
    let inner = structure(vec![field("x", 3, DataType::Int32)]);
    let file = Arc::new(Schema::new(vec![
        plain("unknown", DataType::Int32),
        field("old", 1, DataType::Int32).with_nullable(false),
        field("s", 2, inner.clone()),
    ]));
    let table = Arc::new(Schema::new(vec![
        field("new", 1, DataType::Int32),
        field("t", 2, inner),
        field("unknown", 9, DataType::Int32),
    ]));
    let adapter = adapter(by_id(), &table, &file).unwrap();
    let rewrite = |name: &str| adapter.rewrite(Arc::new(Column::new(name, 7))).unwrap();
    assert_eq!(rewrite("new").downcast_ref::<Column>(), Some(&Column::new("old", 1)));
    assert_eq!(rewrite("t").downcast_ref::<Column>(), Some(&Column::new("s", 2)));
    assert!(rewrite("unknown").downcast_ref::<Literal>().is_some());

    let promoted = Arc::new(Schema::new(vec![field("new", 1, DataType::Int64)]));
    let adapter = super::tests::adapter(by_id(), &promoted, &file).unwrap();
    let cast = adapter.rewrite(Arc::new(Column::new("new", 0))).unwrap();
    let cast = cast.downcast_ref::<CastExpr>().unwrap();
    assert_eq!(cast.expr().downcast_ref::<Column>(), Some(&Column::new("old", 1)));
}

fn get_field_expr(table: &SchemaRef, keys: &[&str]) -> Arc<dyn PhysicalExpr> {
    let mut args: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(Column::new(keys[0], 0))];
    args.extend(keys[1..].iter().map(|key| lit(*key)));
    let config = Arc::new(ConfigOptions::default());
    Arc::new(ScalarFunctionExpr::try_new(get_field(), args, table, config).unwrap())
}

/// The values of a field inside a struct, after the expression as a plan shows it, where that is asked for.
fn get(columns: ColumnMapping, table: &SchemaRef, file: &RecordBatch, keys: &[&str]) -> String {
    let expr = get_field_expr(table, keys);
    let adapted = adapter(columns, table, &file.schema()).unwrap().rewrite(expr).unwrap();
    let array = adapted.evaluate(file).unwrap().into_array(file.num_rows()).unwrap();
    let values = (0..array.len()).map(|row| arrow::util::display::array_value_to_string(&array, row).unwrap());
    let values = values.map(|value| if value.is_empty() { "null".to_owned() } else { value });
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

#[test]
fn a_field_of_a_struct_is_read_alone() {
    let (inner, file_inner, columns) = evolved();
    let outer = |inner: DataType| structure(vec![field("other", 20, DataType::Int32), field("in", 21, inner)]);
    let table = Arc::new(Schema::new(vec![field("s", 1, outer(inner))]));
    let rows = format!(r#"{{"f":{{"in":{IN_FILE}}}}} {{"f":null}} {{"f":{{"in":null}}}}"#);
    let file = batch(
        vec![plain("first", DataType::Int32), field("f", 1, outer(file_inner))],
        &rows,
    );
    let field = |keys: &[&str]| {
        let mut path = vec!["s", "in"];
        path.extend(keys);
        let expr = get_field_expr(&table, &path);
        let adapted = adapter(columns.clone(), &table, &file.schema())
            .unwrap()
            .rewrite(expr)
            .unwrap();
        (get(columns.clone(), &table, &file, &path), adapted.to_string())
    };
    let shown = |values: &str, expr: &str| (values.to_owned(), expr.to_owned());
    assert_eq!(
        field(&["a"]),
        shown("[x, null, null]", "CAST(get_field(f@1, in, c) AS Utf8View)")
    );
    assert_eq!(
        field(&["c"]),
        shown("[1, null, null]", "CAST(get_field(f@1, in, a) AS Int64)")
    );
    assert_eq!(
        field(&["b"]),
        shown("[9, null, null]", "restructure(b AS Int32, get_field(f@1, in, a))")
    );
    assert_eq!(field(&["d"]).0, "[null, null, null]");
    assert_eq!(field(&["d", "e"]), shown("[null, null, null]", "NULL"));
    let (_, whole) = field(&[]);
    assert!(
        whole.ends_with("get_field(f@1, in, c), get_field(f@1, in, a))"),
        "{whole}"
    );
}

#[test]
fn a_key_of_a_map_inside_a_struct_is_found() {
    let inner = |entries: &str, value: DataType| {
        let inner = map(entries, plain("key", DataType::Utf8), plain("value", value));
        structure(vec![field("n", 5, DataType::Int32), field("m", 2, inner)])
    };
    let rows = r#"{"s":{"m":{"k":1,"l":2}}} {"s":{"m":{"l":3}}} {"s":null}"#;
    for file in [inner("key_value", DataType::Int64), inner("entries", DataType::Int32)] {
        let table = Arc::new(Schema::new(vec![field("t", 1, inner("key_value", DataType::Int64))]));
        let file = batch(vec![field("s", 1, file)], rows);
        assert_eq!(get(by_id(), &table, &file, &["t", "m", "k"]), "[1, null, null]");
    }
}

#[test]
fn deep_columns_only_relabelled_are_not_copied() {
    let deep = |name: &str, id: fn(&str, i32, DataType) -> Field| {
        let inner = structure(vec![id("x", 5, DataType::Int32)]);
        let value = map(name, id("key", 3, DataType::Utf8), id("value", 4, inner));
        list(id("element", 2, structure(vec![id("m", 6, value)])))
    };
    let without_inner_ids: fn(&str, i32, DataType) -> Field = |name, _, data_type| plain(name, data_type);
    let file = batch(
        vec![field("l", 1, deep("entries", field))],
        r#"{"l":[{"m":{"k":{"x":1}}},null,{"m":null}]} {"l":null}"#,
    );
    let expect = [r#"{"l":[{"m":{"k":{"x":1}}},null,{"m":null}]}"#, r#"{"l":null}"#];
    let table = vec![field("l", 1, deep("key_value", field))];
    check(by_id(), table.clone(), &file, &expect);
    let rows = read(by_id(), &Arc::new(Schema::new(table)), &file).unwrap();
    let leaf = |array: &ArrayRef| {
        let maps = array.as_list::<i32>().values().as_struct().column(0).as_map().clone();
        maps.values()
            .as_struct()
            .column(0)
            .as_primitive::<Int32Type>()
            .values()
            .as_ptr()
    };
    assert_eq!(leaf(rows.column(0)), leaf(file.column(0)));

    let by_name = vec![plain("l", deep("key_value", without_inner_ids))];
    check(ColumnMapping::by(ColumnMatch::Name), by_name, &file, &expect);
}

#[test]
fn made_up_columns_stay() {
    let position = plain("\u{0}position", DataType::Int64)
        .with_nullable(false)
        .with_extension_type(parquet::arrow::RowNumber);
    let table = Arc::new(Schema::new(vec![field("a", 1, DataType::Int32), position.clone()]));
    let file = Arc::new(Schema::new(vec![
        plain("x", DataType::Int32),
        plain("y", DataType::Int32),
        position,
    ]));
    for columns in [by_id(), ColumnMapping::by(ColumnMatch::Name)] {
        let adapter = adapter(columns, &table, &file).unwrap();
        let kept = adapter.rewrite(Arc::new(Column::new("\u{0}position", 1))).unwrap();
        assert_eq!(kept.to_string(), "\u{0}position@2");
    }
}

#[test]
fn null_columns_of_a_file_are_null() {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(arrow::array::NullArray::new(2)),
        Arc::new(Int8Array::from(vec![1, 2])),
    ];
    let schema = Schema::new(vec![field("n", 1, DataType::Null), field("i", 2, DataType::Int8)]);
    let file = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
    let table = vec![field("n", 1, DataType::Utf8View), field("i", 2, DataType::Int32)];
    check(by_id(), table, &file, &[r#"{"n":null,"i":1}"#, r#"{"n":null,"i":2}"#]);
}
