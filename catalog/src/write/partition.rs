//! The partition values of rows: the transforms of the Iceberg specification, a column at a time.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, Decimal128Array, Int32Array, Int64Array, StringViewArray, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimeUnit};
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta};
use datafusion::error::{DataFusionError, Result};

use super::target::Transform;

const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

/// The partition values of `column`, of the type that [`Transform::result_type`] tells.
pub(crate) fn values(transform: Transform, column: &ArrayRef) -> Result<ArrayRef> {
    let refused = || unsupported(transform, column.data_type());
    match transform {
        Transform::Identity => Ok(Arc::clone(column)),
        Transform::Void => Ok(new_null_array(column.data_type(), column.len())),
        Transform::Bucket(buckets) => bucket(column, i32::try_from(buckets).ok().filter(|n| *n > 0), refused),
        Transform::Truncate(width) => truncate(column, width).ok_or_else(refused),
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => period(transform, column, refused),
    }
}

fn period(transform: Transform, column: &ArrayRef, refused: impl Fn() -> DataFusionError) -> Result<ArrayRef> {
    let days: Option<i64> = match (column.data_type(), transform) {
        (DataType::Date32, Transform::Hour) => return Err(refused()),
        (DataType::Date32, _) => None,
        (DataType::Timestamp(TimeUnit::Microsecond, _), _) => Some(DAY_MICROS),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => Some(DAY_MICROS * 1000),
        _ => return Err(refused()),
    };
    let numbers: Int64Array = match days {
        None => column.as_primitive::<Date32Type>().unary(i64::from),
        Some(_) => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
    };
    let number = |value: i64| -> Option<i32> {
        let number = match (transform, days) {
            (Transform::Hour, Some(day)) => value.div_euclid(day / (DAY_MICROS / HOUR_MICROS)),
            (Transform::Day, _) => value.div_euclid(days.unwrap_or(1)),
            _ => {
                let date = date(value.div_euclid(days.unwrap_or(1)))?;
                let year = i64::from(date.year()) - 1970;
                match transform {
                    Transform::Year => year,
                    _ => year * 12 + i64::from(date.month0()),
                }
            }
        };
        i32::try_from(number).ok()
    };
    let of = |value: Option<i64>| match value {
        None => Ok(None),
        Some(value) => match number(value) {
            Some(number) => Ok(Some(number)),
            None => Err(DataFusionError::Execution(format!(
                "the partition of the time {value} cannot be told"
            ))),
        },
    };
    let periods: Int32Array = numbers.iter().map(of).collect::<Result<_>>()?;
    Ok(Arc::new(periods))
}

/// The date so many days after 1970-01-01.
fn date(days: i64) -> Option<NaiveDate> {
    let epoch = DateTime::UNIX_EPOCH.date_naive();
    epoch.checked_add_signed(TimeDelta::try_days(days)?)
}

fn truncate(column: &ArrayRef, width: u32) -> Option<ArrayRef> {
    let length = usize::try_from(width).ok().filter(|width| *width > 0)?;
    Some(match column.data_type() {
        DataType::Int32 => {
            let width = i32::try_from(width).ok()?;
            Arc::new(
                column
                    .as_primitive::<Int32Type>()
                    .unary::<_, Int32Type>(|value| value.wrapping_sub(value.rem_euclid(width))),
            )
        }
        DataType::Int64 => {
            let width = i64::from(width);
            Arc::new(
                column
                    .as_primitive::<Int64Type>()
                    .unary::<_, Int64Type>(|value| value.wrapping_sub(value.rem_euclid(width))),
            )
        }
        DataType::Decimal128(precision, scale) => {
            let width = i128::from(width);
            let cut: Decimal128Array = column
                .as_primitive::<Decimal128Type>()
                .unary(|value| value - value.rem_euclid(width));
            Arc::new(cut.with_precision_and_scale(*precision, *scale).ok()?)
        }
        DataType::Utf8View => {
            let prefix = |text: &str| match text.char_indices().nth(length) {
                Some((end, _)) => text[..end].to_owned(),
                None => text.to_owned(),
            };
            let texts = column.as_string_view().iter().map(|text| text.map(prefix));
            Arc::new(texts.collect::<StringViewArray>())
        }
        DataType::BinaryView => {
            let bytes = column.as_binary_view().iter();
            let bytes = bytes.map(|bytes| bytes.map(|bytes| bytes[..bytes.len().min(length)].to_vec()));
            Arc::new(bytes.collect::<BinaryViewArray>())
        }
        _ => return None,
    })
}

fn bucket(column: &ArrayRef, buckets: Option<i32>, refused: impl Fn() -> DataFusionError) -> Result<ArrayRef> {
    let buckets = buckets.ok_or_else(&refused)?;
    let number = |bytes: &[u8]| (murmur3(bytes).cast_signed() & i32::MAX) % buckets;
    let long = |value: i64| number(&value.to_le_bytes());
    let numbers: Int32Array = match column.data_type() {
        DataType::Int32 => column.as_primitive::<Int32Type>().unary(|value| long(i64::from(value))),
        DataType::Date32 => column
            .as_primitive::<Date32Type>()
            .unary(|value| long(i64::from(value))),
        DataType::Int64 => column.as_primitive::<Int64Type>().unary(long),
        DataType::Time64(TimeUnit::Microsecond) | DataType::Timestamp(TimeUnit::Microsecond, _) => {
            cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().unary(long)
        }
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().unary(|value| {
            let bytes = value.to_be_bytes();
            number(&bytes[redundant(&bytes)..])
        }),
        DataType::Utf8View => {
            let texts = column.as_string_view().iter();
            texts.map(|text| text.map(|text| number(text.as_bytes()))).collect()
        }
        DataType::BinaryView => {
            let bytes = column.as_binary_view().iter();
            bytes.map(|bytes| bytes.map(number)).collect()
        }
        DataType::FixedSizeBinary(_) => {
            let bytes = column.as_fixed_size_binary().iter();
            bytes.map(|bytes| bytes.map(number)).collect()
        }
        _ => return Err(refused()),
    };
    Ok(Arc::new(numbers))
}

/// How many leading bytes of a two's complement number tell nothing.
fn redundant(bytes: &[u8; 16]) -> usize {
    let fill = if bytes[0] & 0x80 == 0 { 0 } else { 0xff };
    let told = bytes.iter().position(|byte| *byte != fill).unwrap_or(15);
    // The sign has to stay.
    match told > 0 && (bytes[told] & 0x80) != (fill & 0x80) {
        true => told - 1,
        false => told,
    }
}

/// The 32-bit Murmur3 hash, x86 variant, seed 0 (appendix B of the specification).
fn murmur3(bytes: &[u8]) -> u32 {
    let mix = |block: u32| {
        block
            .wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    };
    let (blocks, rest) = bytes.as_chunks::<4>();
    let mut hash: u32 = 0;
    for block in blocks {
        hash = (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13);
        hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash ^= mix(u32::from_le_bytes(last));
    }
    // The length counts modulo 2^32.
    hash ^= u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default();
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

fn unsupported(transform: Transform, column: &DataType) -> DataFusionError {
    DataFusionError::NotImplemented(format!(
        "the partition transform {transform:?} of a column of type {column}"
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{Date32Array, TimestampMicrosecondArray};
    use datafusion::common::ScalarValue;

    use super::*;

    fn check(transform: Transform, value: ScalarValue, expect: ScalarValue) {
        let array = value.to_array_of_size(2).unwrap();
        let found = values(transform, &array).unwrap();
        assert_eq!(found.data_type(), &transform.result_type(array.data_type()));
        assert_eq!(
            ScalarValue::try_from_array(&found, 1).unwrap(),
            expect,
            "{transform:?} of {value}"
        );
    }

    fn hash(value: ScalarValue, expect: u32) {
        let buckets = 1 << 20;
        let expect = (expect.cast_signed() & i32::MAX) % buckets;
        check(Transform::Bucket(1 << 20), value, ScalarValue::Int32(Some(expect)));
    }

    /// The examples of the specification's appendix B.
    #[test]
    fn hashes_are_those_of_the_specification() {
        hash(ScalarValue::Int32(Some(34)), 2_017_239_379);
        hash(ScalarValue::Int64(Some(34)), 2_017_239_379);
        hash(
            ScalarValue::Decimal128(Some(1420), 9, 2),
            (-500_754_589_i32).cast_unsigned(),
        );
        hash(ScalarValue::Date32(Some(17_486)), (-653_330_422_i32).cast_unsigned());
        hash(
            ScalarValue::Time64Microsecond(Some(81_068_000_000)),
            (-662_762_989_i32).cast_unsigned(),
        );
        hash(
            ScalarValue::TimestampMicrosecond(Some(1_510_871_468_000_000), None),
            (-2_047_944_441_i32).cast_unsigned(),
        );
        hash(ScalarValue::Utf8View(Some("iceberg".to_owned())), 1_210_000_089);
        hash(
            ScalarValue::BinaryView(Some(vec![0, 1, 2, 3])),
            (-188_683_207_i32).cast_unsigned(),
        );
        hash(
            ScalarValue::FixedSizeBinary(4, Some(vec![0, 1, 2, 3])),
            (-188_683_207_i32).cast_unsigned(),
        );
    }

    #[test]
    fn numbers_and_texts_are_cut_downwards() {
        check(
            Transform::Truncate(10),
            ScalarValue::Int32(Some(-1)),
            ScalarValue::Int32(Some(-10)),
        );
        check(
            Transform::Truncate(10),
            ScalarValue::Int64(Some(19)),
            ScalarValue::Int64(Some(10)),
        );
        check(
            Transform::Truncate(50),
            ScalarValue::Decimal128(Some(1065), 9, 2),
            ScalarValue::Decimal128(Some(1050), 9, 2),
        );
        let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
        check(Transform::Truncate(2), text("üöä"), text("üö"));
        check(Transform::Truncate(3), text("a"), text("a"));
        check(
            Transform::Truncate(3),
            ScalarValue::Utf8View(None),
            ScalarValue::Utf8View(None),
        );
    }

    #[test]
    fn times_before_the_epoch_round_down() {
        let date = |days| ScalarValue::Date32(Some(days));
        let int = |number| ScalarValue::Int32(Some(number));
        check(Transform::Year, date(-1), int(-1));
        check(Transform::Month, date(-1), int(-1));
        check(Transform::Month, date(31), int(1));
        check(Transform::Day, date(-1), int(-1));
        let micros = |micros| ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
        check(Transform::Hour, micros(-1), int(-1));
        check(Transform::Hour, micros(HOUR_MICROS), int(1));
        check(Transform::Day, micros(-1), int(-1));
        check(Transform::Year, micros(DAY_MICROS * 365), int(1));
        let nanos = ScalarValue::TimestampNanosecond(Some(-1), None);
        check(Transform::Hour, nanos.clone(), int(-1));
        check(Transform::Year, nanos, int(-1));
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![0]));
        assert!(values(Transform::Hour, &dates).is_err());
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]));
        assert!(values(Transform::Truncate(2), &times).is_err());
    }
}
