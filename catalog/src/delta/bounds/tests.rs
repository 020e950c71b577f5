use arrow::array::{Float32Array, Float64Array, StringArray, TimestampMicrosecondArray};

use super::*;

fn check(found: Option<ArrayRef>, expect: Option<&dyn Array>) {
    match (found, expect) {
        (Some(found), Some(expect)) => assert_eq!(found.as_ref(), expect),
        (None, None) => {}
        (found, expect) => panic!("{found:?} is not {expect:?}"),
    }
}

#[test]
fn minima_of_floats_are_below_every_value() {
    let minima: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(0.0), None]));
    let found = lower(&minima, &DataType::Float64, false).unwrap();
    let found = found.as_primitive::<Float64Type>();
    assert_eq!(
        found.iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>(),
        [Some(1.5_f64.to_bits()), None, Some((-0.0_f64).to_bits()), None]
    );
    let narrow: ArrayRef = Arc::new(Float32Array::from(vec![0.7]));
    check(lower(&narrow, &DataType::Float64, true), None);
    check(upper(&minima, &DataType::Float64), None);
}

#[test]
fn maxima_of_timestamps_were_cut() {
    let zoned = |values: Vec<Option<i64>>| TimestampMicrosecondArray::from(values).with_timezone("UTC");
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let values: ArrayRef = Arc::new(zoned(vec![Some(1000), Some(i64::MAX), None]));
    check(upper(&values, &utc), Some(&zoned(vec![Some(1999), None, None])));
    check(
        lower(&values, &utc, false),
        Some(&zoned(vec![Some(1000), Some(i64::MAX), None])),
    );
}

#[test]
fn other_bounds_are_cast_or_dropped() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["b", "no number"]));
    check(
        lower(&texts, &DataType::Int32, false),
        Some(&arrow::array::Int32Array::from(vec![None, None])),
    );
    let nested = DataType::List(Arc::new(arrow::datatypes::Field::new_list_field(DataType::Utf8, true)));
    check(upper(&texts, &nested), None);
}
