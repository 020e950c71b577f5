//! Iceberg's binary single-value form (appendix D of the specification) to Arrow arrays and scalars of a column's type.
//!
//! A value that does not tell about that type becomes NULL, which prunes nothing.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, new_null_array,
};
use arrow::compute::kernels::cmp::lt;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{is_null, or};
use arrow::datatypes::{DataType, TimeUnit};

/// The values as an array of the column's type, widened where the column was promoted since; `None` for types without
/// a binary form.
pub(crate) fn typed(values: &BinaryArray, column: &DataType) -> Option<ArrayRef> {
    let integers = || values.iter().map(|bytes| integer(bytes?));
    let longs = || values.iter().map(|bytes| long(bytes?));
    Some(match column {
        DataType::Boolean => {
            let flags = values.iter().map(|bytes| match bytes? {
                [byte] => Some(*byte != 0),
                _ => None,
            });
            Arc::new(flags.collect::<BooleanArray>())
        }
        DataType::Int32 => {
            let ints = integers().map(|value| i32::try_from(value?).ok());
            Arc::new(ints.collect::<Int32Array>())
        }
        DataType::Date32 => {
            let days = integers().map(|value| i32::try_from(value?).ok());
            Arc::new(days.collect::<Date32Array>())
        }
        DataType::Int64 => Arc::new(integers().collect::<Int64Array>()),
        DataType::Float32 => Arc::new(values.iter().map(|bytes| float(bytes?)).collect::<Float32Array>()),
        DataType::Float64 => Arc::new(values.iter().map(|bytes| double(bytes?)).collect::<Float64Array>()),
        DataType::Decimal128(precision, scale) => {
            let unscaled = values.iter().map(|bytes| decimal(bytes?)).collect::<Decimal128Array>();
            Arc::new(unscaled.with_precision_and_scale(*precision, *scale).ok()?)
        }
        DataType::Time64(TimeUnit::Microsecond) => Arc::new(longs().collect::<Time64MicrosecondArray>()),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Arc::new(
            longs()
                .collect::<TimestampMicrosecondArray>()
                .with_timezone_opt(zone.clone()),
        ),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => Arc::new(
            longs()
                .collect::<TimestampNanosecondArray>()
                .with_timezone_opt(zone.clone()),
        ),
        DataType::Utf8View => {
            let texts = values.iter().map(|bytes| std::str::from_utf8(bytes?).ok());
            Arc::new(texts.collect::<StringViewArray>())
        }
        DataType::BinaryView => Arc::new(values.iter().collect::<BinaryViewArray>()),
        DataType::FixedSizeBinary(length) => {
            let fits = |bytes: &&[u8]| i32::try_from(bytes.len()) == Ok(*length);
            let fixed = values.iter().map(|bytes| bytes.filter(fits));
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(fixed, *length).ok()?)
        }
        _ => return None,
    })
}

/// An integer of 32 or 64 bits.
pub(crate) fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        4 => Some(i64::from(i32::from_le_bytes(bytes.try_into().ok()?))),
        _ => long(bytes),
    }
}

fn long(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(bytes.try_into().ok()?))
}

fn float(bytes: &[u8]) -> Option<f32> {
    Some(f32::from_le_bytes(bytes.try_into().ok()?))
}

/// A float of 32 or 64 bits.
pub(crate) fn double(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => float(bytes).map(f64::from),
        _ => Some(f64::from_le_bytes(bytes.try_into().ok()?)),
    }
}

/// An unscaled decimal: big endian, of at most 16 bytes.
pub(crate) fn decimal(bytes: &[u8]) -> Option<i128> {
    let fill = match bytes.first()? {
        0x80.. => 0xff,
        _ => 0,
    };
    let mut wide = [fill; 16];
    wide.get_mut(16_usize.checked_sub(bytes.len())?..)?
        .copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

/// Which end of the values a bound closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Lower,
    Upper,
}

/// Bounds that also enclose what Arrow orders otherwise than Iceberg: a zero bound takes in the zero of the other sign,
/// and a NaN is no bound.
pub(crate) fn enclosing(bounds: ArrayRef, end: End) -> ArrayRef {
    let sign = match end {
        End::Lower => -1.0,
        End::Upper => 1.0,
    };
    if let Some(floats) = bounds.as_any().downcast_ref::<Float32Array>() {
        let widened = floats.iter().map(|value| match value? {
            value if value.is_nan() => None,
            0.0 => Some(0.0_f32.copysign(if sign < 0.0 { -1.0 } else { 1.0 })),
            value => Some(value),
        });
        return Arc::new(widened.collect::<Float32Array>());
    }
    if let Some(floats) = bounds.as_any().downcast_ref::<Float64Array>() {
        let widened = floats.iter().map(|value| match value? {
            value if value.is_nan() => None,
            0.0 => Some(0.0_f64.copysign(sign)),
            value => Some(value),
        });
        return Arc::new(widened.collect::<Float64Array>());
    }
    bounds
}

/// Row by row the narrower of two bounds, or the one that there is. Both enclose the values, so either is right.
pub(crate) fn tighter(one: ArrayRef, other: ArrayRef, end: End) -> ArrayRef {
    let pick = || {
        let (small, great) = match end {
            End::Lower => (&one, &other),
            End::Upper => (&other, &one),
        };
        // `other` where it is narrower, and where `one` is missing but `other` is not.
        let narrower = lt(small, great).ok()?;
        // Without a NULL it is a mask already, and arrow's function panics.
        let narrower = match narrower.null_count() {
            0 => narrower,
            _ => arrow::compute::prep_null_mask_filter(&narrower),
        };
        let take_other = or(&narrower, &is_null(&one).ok()?).ok()?;
        zip(&take_other, &other, &one).ok()
    };
    pick().unwrap_or(one)
}

/// `rows` unknown values of the column's type.
pub(crate) fn unknown(column: &DataType, rows: usize) -> ArrayRef {
    new_null_array(column, rows)
}

#[cfg(test)]
mod tests;
