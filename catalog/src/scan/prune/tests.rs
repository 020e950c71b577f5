//! Which of four files with known bounds and constants a filter keeps.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::DFSchema;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;

use super::*;
use crate::snapshot::Column as Known;

/// Column `a` with the given bounds and nulls in a file of ten rows, and the constant column `p`.
fn file(a: (Option<i64>, Option<i64>, Option<u64>), p: Option<&str>) -> DataFile {
    let (lower, upper, nulls) = a;
    let int = |value: Option<i64>| value.map(|v| ScalarValue::Int64(Some(v)));
    DataFile {
        store_url: ObjectStoreUrl::local_filesystem(),
        path: "f".into(),
        size_bytes: 1,
        rows: Some(10),
        constants: vec![ScalarValue::Utf8View(p.map(str::to_owned))],
        columns: vec![
            Known {
                lower: int(lower),
                upper: int(upper),
                nulls,
            },
            Known::default(),
        ],
        deletes: None,
        sequence: 0,
        table_partition: None,
    }
}

#[track_caller]
fn check(filter: &str, expect: &[usize]) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("p", DataType::Utf8View, true),
    ]));
    let all = [
        file((Some(1), Some(5), Some(0)), Some("x")),
        file((Some(6), Some(9), Some(2)), Some("y")),
        file((None, None, None), Some("x")),
        file((None, None, Some(10)), None),
    ];
    let state = SessionContext::new().state();
    let df_schema = DFSchema::try_from(Arc::clone(&schema)).unwrap();
    let expr = state.create_logical_expr(filter, &df_schema).unwrap();
    let predicate = state.create_physical_expr(expr, &df_schema).unwrap();
    let numbered: Vec<DataFile> = all
        .into_iter()
        .enumerate()
        .map(|(i, file)| DataFile {
            size_bytes: i as u64,
            ..file
        })
        .collect();
    let kept = files(numbered, &[1], &schema, Some(&predicate));
    assert_eq!(
        kept.iter().map(|f| f.size_bytes as usize).collect::<Vec<_>>(),
        expect,
        "{filter}"
    );
}

#[test]
fn bounds_drop_files_that_cannot_match() {
    check("a < 3", &[0, 2]);
    check("a = 7", &[1, 2]);
    check("a > 100", &[2]);
    check("a is null", &[1, 2, 3]);
    check("a is not null", &[0, 1, 2]);
}

#[test]
fn constants_drop_files_of_other_partitions() {
    check("p = 'x'", &[0, 2]);
    check("p is null", &[3]);
    check("p is not null", &[0, 1, 2]);
    check("p in ('y', 'z')", &[1]);
    check("p = 'x' and a > 5", &[2]);
}

#[test]
fn what_bounds_do_not_tell_keeps_every_file() {
    check("a % 2 = 0", &[0, 1, 2, 3]);
    check("a + length(p) = 3", &[0, 1, 2, 3]);
}
