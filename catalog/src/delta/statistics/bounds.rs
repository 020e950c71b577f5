//! Column bounds of a batch of files, as pruning may use them: they enclose every value, or they are absent.
//!
//! Source: the Delta protocol, "Per-file Statistics". Statistics whose `tightBounds` is false, such as those of a file
//! with a deletion vector, enclose the values too.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};

/// The log cuts timestamps to milliseconds, downwards.
const CUT_MICROS: i64 = 999;

/// The minima as the column's type, none greater than a value of its file; `None` where nothing is known. A NaN, which
/// compares beyond every number, is no minimum; a float that was widened is spelled as the narrow one.
pub(crate) fn lower(minima: &ArrayRef, column: &DataType) -> Option<ArrayRef> {
    (!column.is_floating()).then(|| as_column(minima, column))?
}

/// The maxima as the column's type, none less than a value of its file; `None` where nothing is known. Writers differ
/// in whether a NaN, which compares above every number, is a maximum.
pub(crate) fn upper(maxima: &ArrayRef, column: &DataType) -> Option<ArrayRef> {
    let maxima = as_column(maxima, column)?;
    match column {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => None,
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let maxima = maxima.as_primitive_opt::<TimestampMicrosecondType>()?;
            let maxima: PrimitiveArray<TimestampMicrosecondType> = maxima.unary_opt(|v: i64| v.checked_add(CUT_MICROS));
            Some(Arc::new(maxima.with_timezone_opt(zone.clone())))
        }
        _ => Some(maxima),
    }
}

/// Nested columns have no bounds of their own.
fn as_column(values: &ArrayRef, column: &DataType) -> Option<ArrayRef> {
    if values.data_type().is_nested() || column.is_nested() {
        return None;
    }
    cast(values, column).ok()
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
