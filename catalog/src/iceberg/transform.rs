//! What a partition value tells about the column that it was computed from.
//!
//! Every order-preserving transform maps a range of column values to one partition value; the ends of that range are
//! bounds of the column in every file of the partition. Bucket numbers have no order: they tell which literals cannot
//! be in a file.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array,
    StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::NaiveDate;
use datafusion::common::ScalarValue;
use iceberg::spec::{Datum, PrimitiveType, Transform, Type};
use iceberg::transform::create_transform_function;

use super::metrics::binary_form;
use super::values::{End, decimal, enclosing, integer, typed};

const DAY_MICROS: i64 = 86_400_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

/// True where a NULL partition value means that the column is NULL in every row, and any other that it is in none.
pub(crate) fn keeps_null(transform: Transform) -> bool {
    !matches!(transform, Transform::Void | Transform::Unknown)
}

/// The bounds at one end of the source column, of type `column`, in files with these partition values; `None` where
/// the transform has no order.
pub(crate) fn source_bounds(
    transform: Transform,
    values: &BinaryArray,
    column: &DataType,
    end: End,
) -> Option<ArrayRef> {
    match transform {
        Transform::Identity => Some(enclosing(typed(values, column)?, end)),
        Transform::Truncate(width) => truncated(values, column, width, end),
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
            let bounds = values
                .iter()
                .map(|bytes| period(transform, integer(bytes?)?, column, end));
            temporal(bounds, column)
        }
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => None,
    }
}

/// True where a partition value at or below `greatest` may stand for integers at the other end of their type: truncating
/// the least of them goes below it, and writers come out at its upper end.
pub(crate) fn may_wrap(transform: Transform, greatest: &[u8], column: &DataType) -> bool {
    let (Transform::Truncate(width), Some(greatest)) = (transform, integer(greatest)) else {
        return false;
    };
    let end = match column {
        DataType::Int32 => i64::from(i32::MAX),
        DataType::Int64 => i64::MAX,
        _ => return false,
    };
    greatest > end - i64::from(width)
}

/// The first or last value of a period, in units of the column.
fn period(transform: Transform, number: i64, column: &DataType, end: End) -> Option<i64> {
    let is_date = matches!(column, DataType::Date32);
    // Old writers rounded towards zero: the period before a negative or zero one may be in the same partition.
    let number = match end {
        End::Lower if number <= 0 && !(is_date && transform == Transform::Day) => number.checked_sub(1)?,
        End::Lower => number,
        End::Upper => number.checked_add(1)?,
    };
    let start = match transform {
        Transform::Year => months(number.checked_mul(12)?)?.checked_mul(DAY_MICROS)?,
        Transform::Month => months(number)?.checked_mul(DAY_MICROS)?,
        Transform::Day => number.checked_mul(DAY_MICROS)?,
        _ => number.checked_mul(HOUR_MICROS)?,
    };
    let start = match column {
        DataType::Date32 => start.div_euclid(DAY_MICROS),
        DataType::Timestamp(TimeUnit::Microsecond, _) => start,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => start.checked_mul(1_000)?,
        _ => return None,
    };
    match end {
        End::Lower => Some(start),
        // The last value before the next period.
        End::Upper => start.checked_sub(1),
    }
}

/// The day on which a month begins; both count from 1970-01.
fn months(number: i64) -> Option<i64> {
    let year = i32::try_from(1970 + number.div_euclid(12)).ok()?;
    let month = u32::try_from(number.rem_euclid(12) + 1).ok()?;
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    Some(
        NaiveDate::from_ymd_opt(year, month, 1)?
            .signed_duration_since(epoch)
            .num_days(),
    )
}

fn temporal(bounds: impl Iterator<Item = Option<i64>>, column: &DataType) -> Option<ArrayRef> {
    Some(match column {
        DataType::Date32 => {
            let days = bounds.map(|value| i32::try_from(value?).ok());
            Arc::new(days.collect::<Date32Array>())
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = bounds.collect::<TimestampMicrosecondArray>();
            Arc::new(micros.with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let nanos = bounds.collect::<TimestampNanosecondArray>();
            Arc::new(nanos.with_timezone_opt(zone.clone()))
        }
        _ => return None,
    })
}

/// Numbers of a partition begin at its value and end before that plus the width; texts and binaries begin with it.
fn truncated(values: &BinaryArray, column: &DataType, width: u32, end: End) -> Option<ArrayRef> {
    let reach = i64::from(width).checked_sub(1)?;
    if end == End::Lower {
        let transform = Transform::Truncate(width);
        let sure = values.iter();
        let sure: BinaryArray = sure
            .map(|bytes| bytes.filter(|v| !may_wrap(transform, v, column)))
            .collect();
        return typed(&sure, column);
    }
    Some(match column {
        DataType::Int32 => {
            // Beyond the type's end there is no value to keep out.
            let last = |value: i64| Some(i32::try_from(value.checked_add(reach)?).unwrap_or(i32::MAX));
            let ends = values.iter().map(|bytes| last(integer(bytes?)?));
            Arc::new(ends.collect::<Int32Array>())
        }
        DataType::Int64 => {
            let ends = values.iter().map(|bytes| Some(integer(bytes?)?.saturating_add(reach)));
            Arc::new(ends.collect::<Int64Array>())
        }
        DataType::Decimal128(precision, scale) => {
            let ends = values
                .iter()
                .map(|bytes| Some(decimal(bytes?)?.saturating_add(i128::from(reach))));
            let ends = ends.collect::<Decimal128Array>();
            Arc::new(ends.with_precision_and_scale(*precision, *scale).ok()?)
        }
        DataType::Utf8View => {
            let ends = values.iter().map(|bytes| after_text(std::str::from_utf8(bytes?).ok()?));
            Arc::new(ends.collect::<StringViewArray>())
        }
        DataType::BinaryView => {
            let ends = values.iter().map(|bytes| after_binary(bytes?));
            Arc::new(ends.collect::<BinaryViewArray>())
        }
        _ => return None,
    })
}

/// A text after every text that begins with `prefix`; `None` where there is none.
fn after_text(prefix: &str) -> Option<String> {
    let mut prefix = prefix.to_owned();
    while let Some(last) = prefix.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

/// As [`after_text`], of bytes.
fn after_binary(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut prefix = prefix.to_vec();
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

/// The buckets that some of the literals fall into; `None` where that cannot be told for one of them.
pub(crate) fn buckets(transform: Transform, source: &Type, literals: &HashSet<ScalarValue>) -> Option<HashSet<i64>> {
    let (Transform::Bucket(_), Type::Primitive(source)) = (transform, source) else {
        return None;
    };
    // Nanoseconds are hashed as microseconds by some and as they are by others.
    if matches!(source, PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs) {
        return None;
    }
    let function = create_transform_function(&transform).ok()?;
    let bucket = |literal: &ScalarValue| {
        let literal = Datum::try_from_bytes(&literal_form(literal, source)?, source.clone()).ok()?;
        let bucket = function.transform_literal(&literal).ok()??;
        match bucket.literal() {
            iceberg::spec::PrimitiveLiteral::Int(number) => Some(i64::from(*number)),
            _ => None,
        }
    };
    literals.iter().map(bucket).collect()
}

/// A literal in binary form, where its type is the one that the column has.
fn literal_form(literal: &ScalarValue, source: &PrimitiveType) -> Option<Vec<u8>> {
    use PrimitiveType as P;
    use ScalarValue as S;
    match (literal, source) {
        (S::Int32(_), P::Int)
        | (S::Int64(_), P::Long)
        | (S::Date32(_), P::Date)
        | (S::Time64Microsecond(_), P::Time)
        | (S::TimestampMicrosecond(..), P::Timestamp | P::Timestamptz)
        | (S::FixedSizeBinary(..), P::Uuid | P::Fixed(_)) => binary_form(literal),
        (S::Decimal128(_, _, scale), P::Decimal { scale: wanted, .. }) => {
            (u32::try_from(*scale) == Ok(*wanted)).then(|| binary_form(literal))?
        }
        (S::Utf8(Some(text)) | S::LargeUtf8(Some(text)) | S::Utf8View(Some(text)), P::String) => {
            Some(text.clone().into_bytes())
        }
        (S::Binary(Some(bytes)) | S::LargeBinary(Some(bytes)) | S::BinaryView(Some(bytes)), P::Binary) => {
            Some(bytes.clone())
        }
        _ => None,
    }
}

/// Which files hold none of the literals, by their bucket numbers: false where that is sure, NULL elsewhere.
pub(crate) fn outside_buckets(values: &BinaryArray, wanted: &HashSet<i64>) -> BooleanArray {
    let outside = values.iter().map(|bytes| {
        let hit = match bytes {
            // A NULL bucket has NULLs only.
            None => false,
            Some(bytes) => integer(bytes).is_none_or(|bucket| wanted.contains(&bucket)),
        };
        (!hit).then_some(false)
    });
    outside.collect()
}

#[cfg(test)]
mod tests;
