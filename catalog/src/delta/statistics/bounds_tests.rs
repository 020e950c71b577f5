//! Bounds that enclose every value, or none.

use arrow::array::{Float64Array, StringArray, TimestampMicrosecondArray};

use super::*;

fn check(found: Option<ArrayRef>, expect: Option<&dyn Array>) {
    match (found, expect) {
        (Some(found), Some(expect)) => assert_eq!(found.as_ref(), expect),
        (None, None) => {}
        (found, expect) => panic!("{found:?} is not {expect:?}"),
    }
}

#[test]
fn floats_have_no_bounds() {
    let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(0.0), None]));
    check(lower(&values, &DataType::Float64), None);
    check(upper(&values, &DataType::Float64), None);
}

#[test]
fn maxima_of_timestamps_were_cut() {
    let zoned = |values: Vec<Option<i64>>| TimestampMicrosecondArray::from(values).with_timezone("UTC");
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let values: ArrayRef = Arc::new(zoned(vec![Some(1000), Some(i64::MAX), None]));
    check(upper(&values, &utc), Some(&zoned(vec![Some(1999), None, None])));
    check(
        lower(&values, &utc),
        Some(&zoned(vec![Some(1000), Some(i64::MAX), None])),
    );
}

#[test]
fn other_bounds_are_cast_or_dropped() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["b", "no number"]));
    check(
        lower(&texts, &DataType::Int32),
        Some(&arrow::array::Int32Array::from(vec![None, None])),
    );
    let nested = DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(DataType::Utf8, true)));
    check(upper(&texts, &nested), None);
}
