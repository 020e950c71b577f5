//! Which column of a file is the table's: by physical name, by name mapping, by position; and files that contradict.

use arrow::datatypes::Schema;

use super::tests::*;
use super::*;

#[test]
fn delta_columns_are_found_by_their_physical_names() {
    let physical = |name: &str, physical: &str, data_type: DataType| {
        let metadata = [("delta.columnMapping.physicalName".to_owned(), physical.to_owned())];
        plain(name, data_type).with_metadata(HashMap::from(metadata))
    };
    let file = batch(
        vec![
            plain("col-1", DataType::Int32),
            plain(
                "b",
                structure(vec![plain("col-2", DataType::Int32), plain("c", DataType::Int32)]),
            ),
            plain("B", DataType::Int32),
        ],
        r#"{"col-1":1,"b":{"col-2":2,"c":3},"B":4}"#,
    );
    let inner = structure(vec![
        plain("C", DataType::Int32),
        physical("c", "col-2", DataType::Int64),
    ]);
    let table = vec![
        physical("B", "col-1", DataType::Int32),
        physical("a", "b", inner),
        plain("col-1", DataType::Int32),
        physical("b", "B", DataType::Int32),
        physical("gone", "col-9", DataType::Utf8View),
    ];
    let expect = [r#"{"B":1,"a":{"C":null,"c":2},"col-1":1,"b":4,"gone":null}"#];
    check(ColumnMapping::by(ColumnMatch::Name), table, &file, &expect);
}

const NAMES: &str = r#"[
    {"field-id": 1, "names": ["a", "A"]},
    {"field-id": 2, "names": ["s"], "fields": [{"field-id": 3, "names": ["old", "older"]}, {"names": ["y"]}]},
    {"field-id": 5, "names": ["l"], "fields": [{"field-id": 6, "names": ["element"]}]},
    {"field-id": 7, "names": ["m"], "fields": [{"field-id": 8, "names": ["key"]}, {"field-id": 9, "names": ["value"]}]},
    {"field-id": 10, "names": []}
]"#;

fn nested_table() -> Vec<Field> {
    let key = field("key", 8, DataType::Utf8);
    vec![
        field("s", 1, DataType::Int64),
        field(
            "t",
            2,
            structure(vec![field("x", 3, DataType::Int32), field("y", 4, DataType::Int32)]),
        ),
        field("l", 5, list(field("element", 6, DataType::Int64))),
        field("m", 7, map("key_value", key, field("value", 9, DataType::Int32))),
        field("b", 10, DataType::Int32),
        field("c", 11, DataType::Int32),
    ]
}

#[test]
fn a_name_mapping_gives_ids_to_files_without() {
    let file = batch(
        vec![
            plain("b", DataType::Int32),
            plain("c", DataType::Int32),
            plain("A", DataType::Int32),
            plain(
                "s",
                structure(vec![plain("y", DataType::Int32), plain("older", DataType::Int32)]),
            ),
            plain("l", list(plain("item", DataType::Int32))),
            plain(
                "m",
                map(
                    "entries",
                    plain("keys", DataType::Utf8),
                    plain("values", DataType::Int32),
                ),
            ),
        ],
        r#"{"b":1,"c":2,"A":3,"s":{"y":4,"older":5},"l":[6],"m":{"k":7}}"#,
    );
    let expect = [r#"{"s":3,"t":{"x":5,"y":null},"l":[6],"m":{"k":7},"b":null,"c":11}"#];
    let columns = ColumnMapping {
        defaults: [(11, ScalarValue::Int32(Some(11)))].into(),
        ..mapped(NAMES)
    };
    check(columns, nested_table(), &file, &expect);
}

#[test]
fn a_file_with_ids_needs_no_mapping() {
    // One id is enough: columns without one are not the table's, whatever a mapping says of their names.
    let file = batch(
        vec![field("z", 1, DataType::Int32), plain("b", DataType::Int32)],
        r#"{"z":1,"b":2}"#,
    );
    let table = vec![field("a", 1, DataType::Int32), field("b", 2, DataType::Int32)];
    let names = r#"[{"field-id":1,"names":["b"]},{"field-id":2,"names":["b"]}]"#;
    check(mapped(names), table.clone(), &file, &[r#"{"a":1,"b":null}"#]);

    let nested = structure(vec![field("x", 3, DataType::Int32)]);
    let file = batch(vec![plain("a", DataType::Int32), plain("s", nested)], r#"{"a":1}"#);
    check(mapped(names), table, &file, &[r#"{"a":null,"b":null}"#]);
}

#[test]
fn a_mapping_that_is_none_is_refused() {
    let table = || field("a", 1, DataType::Int32);
    let refused = |names: &str, file: Field, message: &str| refused(mapped(names), table(), file, message);
    let object = r#"{"type":"struct","fields":[{"field-id":1,"names":["a"]}]}"#;
    refused(object, plain("a", DataType::Int32), "schema.name-mapping.default");
    let (a, id) = (plain("a", DataType::Int32), field("a", 1, DataType::Int32));
    let adapted = adapter(
        mapped(object),
        &Arc::new(Schema::new(vec![table()])),
        &Arc::new(Schema::new(vec![id])),
    );
    assert!(adapted.is_ok());

    let twice = [a.clone(), plain("A", DataType::Int32)];
    let columns = mapped(r#"[{"field-id":1,"names":["a","A"]}]"#);
    let table = Arc::new(Schema::new(vec![table()]));
    let adapter = adapter(columns, &table, &Arc::new(Schema::new(twice.to_vec()))).unwrap();
    let error = adapter.rewrite(Arc::new(Column::new("a", 0))).unwrap_err().to_string();
    assert!(error.contains("two of its fields have the field id 1"), "{error}");
}

#[test]
fn a_mapping_that_names_no_elements_is_refused() {
    let names = r#"[{"field-id":1,"names":["l"]}]"#;
    let table = field("l", 1, list(field("element", 2, DataType::Int32)));
    let file = plain("l", list(plain("element", DataType::Int32)));
    refused(mapped(names), table, file, "does not name its element");
    refused(
        mapped("[]"),
        field("a", 1, DataType::Int32).with_nullable(false),
        plain("a", DataType::Int32),
        "required",
    );
}

#[test]
fn without_ids_and_mapping_columns_count() {
    let file = batch(
        vec![
            plain("x", DataType::Int32),
            plain("s", structure(vec![plain("y", DataType::Int32)])),
        ],
        r#"{"x":1}"#,
    );
    let table = vec![
        field("third", 3, DataType::Int32),
        field("first", 1, DataType::Int64),
        field("zeroth", 0, DataType::Int32),
    ];
    check(by_id(), table, &file, &[r#"{"third":null,"first":1,"zeroth":null}"#]);
    let nested = structure(vec![plain("y", DataType::Int32)]);
    let table = structure(vec![field("y", 2, DataType::Int32)]);
    refused(
        by_id(),
        field("s", 1, table),
        plain("s", nested),
        "a name mapping (the nested column s",
    );
}

#[test]
fn ids_that_contradict_are_refused() {
    let twice = Schema::new(vec![field("a", 1, DataType::Int32), field("b", 1, DataType::Int32)]);
    let table = Arc::new(Schema::new(vec![field("a", 1, DataType::Int32)]));
    let error = adapter(by_id(), &table, &Arc::new(twice)).unwrap_err().to_string();
    assert!(error.contains("field id 1 too"), "{error}");

    let element = |id: i32| field("l", 1, list(field("element", id, DataType::Int32)));
    refused(by_id(), element(2), element(3), "element has field id 3");
    let inner = |ids: [i32; 2]| {
        let fields = vec![field("x", ids[0], DataType::Int32), field("y", ids[1], DataType::Int32)];
        field("s", 1, structure(fields))
    };
    refused(
        by_id(),
        inner([2, 3]),
        inner([2, 2]),
        "two of its fields have the field id 2",
    );
}
