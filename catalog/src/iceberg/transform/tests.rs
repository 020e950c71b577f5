//! Bounds of a partition enclose every value that the transform puts into it, whatever the value.

use datafusion::common::ScalarValue;
use iceberg::spec::Datum;

use super::*;

/// Numbers that look random but are the same in every run, with the edges of their types among them.
fn numbers() -> impl Iterator<Item = i64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.cast_signed()
    };
    let edges = [0, 1, -1, 9, -9, 86_399_999_999, -86_400_000_000, -86_400_000_001];
    edges.into_iter().chain((0..500_u32).map(move |i| next() >> (i % 50)))
}

/// Asserts that `value` lies within the bounds of its partition.
fn check(transform: Transform, value: &Datum, column: &DataType) {
    let function = create_transform_function(&transform).unwrap();
    let partition = function.transform_literal(value).unwrap().unwrap().to_bytes().unwrap();
    let partition = BinaryArray::from_opt_vec(vec![Some(&partition), None]);
    let value = typed(&BinaryArray::from_vec(vec![&value.to_bytes().unwrap()]), column).unwrap();
    let value = ScalarValue::try_from_array(&value, 0).unwrap();
    let bound = |end| {
        let bounds = source_bounds(transform, &partition, column, end).unwrap();
        assert_eq!(bounds.data_type(), column);
        assert!(bounds.is_null(1), "{transform} of NULL has no bound");
        ScalarValue::try_from_array(&bounds, 0).unwrap()
    };
    let (lower, upper) = (bound(End::Lower), bound(End::Upper));
    assert!(lower.is_null() || lower <= value, "{transform}: {lower} > {value}");
    assert!(upper.is_null() || upper >= value, "{transform}: {upper} < {value}");
}

#[test]
fn periods_enclose_their_times() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
    // A hundred thousand years is further than what a date library counts.
    let near = |number: i64| number % (100_000 * 365 * DAY_MICROS);
    for number in numbers() {
        for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour] {
            check(transform, &Datum::timestamptz_micros(near(number)), &micros);
            check(transform, &Datum::timestamp_nanos(number), &nanos);
        }
        let day = i32::try_from(number % 36_000_000).unwrap();
        for transform in [Transform::Year, Transform::Month, Transform::Day] {
            check(transform, &Datum::date(day), &DataType::Date32);
        }
    }
}

#[test]
fn truncated_values_enclose_what_they_cut() {
    for number in numbers() {
        for width in [1, 2, 7, 1_000] {
            let transform = Transform::Truncate(width);
            if number > i64::MIN + i64::from(width) {
                check(transform, &Datum::long(number), &DataType::Int64);
            }
            check(
                transform,
                &Datum::int(i32::try_from(number % (1 << 30)).unwrap()),
                &DataType::Int32,
            );
            let text: String = number
                .to_string()
                .chars()
                .map(|c| if c == '7' { '\u{10ffff}' } else { c })
                .collect();
            check(transform, &Datum::string(text), &DataType::Utf8View);
        }
    }
    let decimal = iceberg::spec::PrimitiveType::Decimal {
        precision: 20,
        scale: 2,
    };
    for number in numbers() {
        let value = Datum::try_from_bytes(&i128::from(number).to_be_bytes(), decimal.clone()).unwrap();
        check(Transform::Truncate(50), &value, &DataType::Decimal128(20, 2));
    }
}

#[test]
fn identity_encloses_zeros_of_both_signs_and_knows_no_nan() {
    let floats = [Some(0.0_f64), Some(-0.0), Some(f64::NAN), Some(1.5)].map(|value| value.map(f64::to_le_bytes));
    let floats = BinaryArray::from_iter(floats);
    let at = |end, row: usize| {
        let bounds = source_bounds(Transform::Identity, &floats, &DataType::Float64, end).unwrap();
        ScalarValue::try_from_array(&bounds, row).unwrap()
    };
    for row in [0, 1] {
        assert!(matches!(at(End::Lower, row), ScalarValue::Float64(Some(zero)) if zero.is_sign_negative()));
        assert!(matches!(at(End::Upper, row), ScalarValue::Float64(Some(zero)) if zero.is_sign_positive()));
    }
    assert!(at(End::Upper, 2).is_null());
    assert_eq!(at(End::Lower, 3), ScalarValue::Float64(Some(1.5)));
}

#[test]
fn old_writers_rounded_towards_zero() {
    // The hour 0 of such a writer has half past eleven in the evening before.
    let zero = BinaryArray::from_vec(vec![&[0; 4]]);
    let column = DataType::Timestamp(TimeUnit::Microsecond, None);
    let lower = source_bounds(Transform::Hour, &zero, &column, End::Lower).unwrap();
    let lower = ScalarValue::try_from_array(&lower, 0).unwrap();
    assert_eq!(lower, ScalarValue::TimestampMicrosecond(Some(-HOUR_MICROS), None));
}

#[test]
fn values_without_order_have_no_bounds() {
    let value = BinaryArray::from_vec(vec![&[0; 4]]);
    for transform in [Transform::Bucket(4), Transform::Void, Transform::Unknown] {
        assert!(source_bounds(transform, &value, &DataType::Int32, End::Lower).is_none());
    }
    assert!(!keeps_null(Transform::Void));
}

#[test]
fn garbage_bounds_nothing() {
    let garbage: Vec<&[u8]> = vec![
        b"",
        b"1",
        b"12345",
        &[0xff; 40],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ];
    let garbage = BinaryArray::from_vec(garbage);
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour] {
        for end in [End::Lower, End::Upper] {
            let bounds = source_bounds(transform, &garbage, &micros, end).unwrap();
            assert_eq!(bounds.null_count(), 5, "{transform} {end:?}");
        }
    }
    for column in [
        DataType::Int32,
        DataType::Float32,
        DataType::Boolean,
        DataType::FixedSizeBinary(3),
    ] {
        typed(&garbage, &column).unwrap();
    }
}

#[test]
fn buckets_are_known_for_literals_of_the_column_only() {
    let long = Type::Primitive(PrimitiveType::Long);
    let wanted = |literal: ScalarValue| buckets(Transform::Bucket(16), &long, &HashSet::from([literal]));
    assert_eq!(wanted(ScalarValue::Int64(Some(34))).unwrap().len(), 1);
    assert!(wanted(ScalarValue::Int64(None)).is_none());
    assert!(wanted(ScalarValue::Utf8(Some("34".to_owned()))).is_none());
    let nanos = Type::Primitive(PrimitiveType::TimestampNs);
    let literal = HashSet::from([ScalarValue::TimestampNanosecond(Some(5), None)]);
    assert!(buckets(Transform::Bucket(16), &nanos, &literal).is_none());
}
