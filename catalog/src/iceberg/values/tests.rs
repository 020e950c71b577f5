//! The binary form against the `iceberg` crate's own, and bounds of two sources.

use datafusion::common::ScalarValue;
use iceberg::spec::Datum;

use super::*;

#[track_caller]
fn check(bytes: &[u8], expect: ScalarValue) {
    let array = typed(&BinaryArray::from_vec(vec![bytes]), &expect.data_type()).unwrap();
    assert_eq!(ScalarValue::try_from_array(&array, 0).unwrap(), expect, "{bytes:?}");
}

#[test]
fn every_type_has_its_form() {
    let bytes = |datum: Datum| datum.to_bytes().unwrap().to_vec();
    check(&bytes(Datum::bool(true)), ScalarValue::Boolean(Some(true)));
    check(&bytes(Datum::int(-7)), ScalarValue::Int32(Some(-7)));
    check(&bytes(Datum::long(-7)), ScalarValue::Int64(Some(-7)));
    check(&bytes(Datum::float(-1.5)), ScalarValue::Float32(Some(-1.5)));
    check(&bytes(Datum::double(-1.5)), ScalarValue::Float64(Some(-1.5)));
    check(&bytes(Datum::date(-1)), ScalarValue::Date32(Some(-1)));
    check(
        &bytes(Datum::time_micros(5).unwrap()),
        ScalarValue::Time64Microsecond(Some(5)),
    );
    check(
        &bytes(Datum::timestamp_micros(-5)),
        ScalarValue::TimestampMicrosecond(Some(-5), None),
    );
    check(
        &bytes(Datum::timestamptz_nanos(-5)),
        ScalarValue::TimestampNanosecond(Some(-5), Some("UTC".into())),
    );
    check(&bytes(Datum::string("é")), ScalarValue::Utf8View(Some("é".to_owned())));
    check(&bytes(Datum::binary([1, 2])), ScalarValue::BinaryView(Some(vec![1, 2])));
    check(
        &bytes(Datum::fixed([1, 2])),
        ScalarValue::FixedSizeBinary(2, Some(vec![1, 2])),
    );
    check(
        &bytes(Datum::uuid(uuid::Uuid::from_u128(9))),
        ScalarValue::FixedSizeBinary(16, Some(9_u128.to_be_bytes().to_vec())),
    );
    check(&[0xfe, 0x0c], ScalarValue::Decimal128(Some(-500), 9, 2));
}

#[test]
fn promoted_columns_read_what_they_were() {
    check(&(-7_i32).to_le_bytes(), ScalarValue::Int64(Some(-7)));
    check(&1.5_f32.to_le_bytes(), ScalarValue::Float64(Some(1.5)));
}

#[test]
fn what_does_not_fit_is_unknown() {
    check(&[1, 2, 3], ScalarValue::Int64(None));
    check(&i64::MAX.to_le_bytes(), ScalarValue::Int32(None));
    // A date that became a timestamp.
    check(&7_i32.to_le_bytes(), ScalarValue::TimestampMicrosecond(None, None));
    check(&[0xff], ScalarValue::Utf8View(None));
    check(&[1; 17], ScalarValue::Decimal128(None, 38, 0));
    check(&[], ScalarValue::Decimal128(None, 38, 0));
    check(&[1], ScalarValue::FixedSizeBinary(2, None));
}

#[test]
fn the_tighter_bound_wins() {
    let one: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(5), None, Some(3), None]));
    let other: ArrayRef = Arc::new(Int64Array::from(vec![Some(4), Some(2), Some(7), None, None]));
    let check = |end, expect: [Option<i64>; 5]| {
        let expect: ArrayRef = Arc::new(Int64Array::from(expect.to_vec()));
        assert_eq!(&tighter(Arc::clone(&one), Arc::clone(&other), end), &expect);
    };
    check(End::Lower, [Some(4), Some(5), Some(7), Some(3), None]);
    check(End::Upper, [Some(1), Some(2), Some(7), Some(3), None]);
}
