//! Primitive types of files as the primitive types that their columns have since.
//!
//! Only what keeps every value, or fails for the value that it cannot keep; timestamps alone may lose digits below the
//! table's unit, as readers of the old 96-bit ones agree.

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;

/// A value that does not fit is an error, never NULL.
const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: datafusion::common::format::DEFAULT_FORMAT_OPTIONS,
};

/// How values of one primitive type become those of another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LeafCast {
    /// Types to cast to, one after the other; the last is the table's.
    steps: Vec<DataType>,
    /// The cast keeps the order of values and is a single one, so that file statistics and bloom filters still tell
    /// about a predicate over its result.
    pub(super) prunable: bool,
}

impl LeafCast {
    /// The cast from `file` to `table`; `None` where a value could be lost.
    pub(super) fn new(file: &DataType, table: &DataType) -> Option<Self> {
        use DataType as D;
        let prunable = |wanted: bool| {
            wanted.then(|| Self {
                steps: vec![table.clone()],
                prunable: true,
            })
        };
        match (file, table) {
            // The values decide, and the same cast unpacks them.
            (D::Dictionary(_, values), _) if values.as_ref() == table => prunable(true),
            (D::Dictionary(_, values), _) => Self::new(values, table).map(|cast| cast.after(values)),
            (D::Timestamp(..), D::Timestamp(..)) => Some(Self::timestamp(file, table)),
            (D::Time32(_) | D::Time64(_), D::Time64(unit)) => {
                let cut = matches!(file, D::Time64(TimeUnit::Nanosecond)) && *unit == TimeUnit::Microsecond;
                Some(Self::opaque([table.clone()])).map(|cast| Self { prunable: !cut, ..cast })
            }
            (D::Date32, D::Timestamp(_, None)) => prunable(true),
            // Parquet stores small integers as 32 bits, and old writers do not say that they are small.
            (D::Int32, D::Int8 | D::Int16) => Some(Self::opaque([table.clone()])),
            // Whole days, whatever the unit.
            (D::Date64, D::Date32) => Some(Self::opaque([table.clone()])),
            _ if is_text(file) && is_text(table) => prunable(true),
            (D::FixedSizeBinary(_), _) if is_binary(table) => prunable(true),
            _ if is_binary(file) && is_binary(table) => prunable(true),
            // A writer that did not annotate its text: it is checked to be UTF-8.
            _ if is_binary(file) && is_text(table) => Some(Self::opaque([D::Binary, D::Utf8, table.clone()])),
            _ if is_text(file) && is_binary(table) => Some(Self::opaque([D::Utf8, D::Binary, table.clone()])),
            _ => prunable(number_fits(file, table)),
        }
    }

    /// A cast in steps, whose result no file statistics tell about.
    fn opaque(steps: impl Into<Vec<DataType>>) -> Self {
        Self {
            steps: steps.into(),
            prunable: false,
        }
    }

    /// The cast of dictionaries whose values have the type `values`.
    fn after(mut self, values: &DataType) -> Self {
        if !self.prunable {
            self.steps.insert(0, values.clone());
        }
        self
    }

    /// The same instant. One without a zone is taken as UTC's, as the formats store both.
    fn timestamp(file: &DataType, table: &DataType) -> Self {
        let step = |prunable, steps| Self { steps, prunable };
        match (file, table) {
            (DataType::Timestamp(unit, Some(zone)), DataType::Timestamp(_, None)) if !is_utc(zone) => step(
                false,
                vec![DataType::Timestamp(*unit, Some("UTC".into())), table.clone()],
            ),
            (DataType::Timestamp(unit, None), DataType::Timestamp(_, Some(zone))) if !is_utc(zone) => step(
                false,
                vec![DataType::Timestamp(*unit, Some("UTC".into())), table.clone()],
            ),
            _ => step(true, vec![table.clone()]),
        }
    }

    /// The values of `array` in the table's type; an error where one does not fit.
    pub(super) fn apply(&self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        let mut values = ArrayRef::clone(array);
        for step in &self.steps {
            if values.data_type() != step {
                values = cast_with_options(&values, step, &STRICT)?;
            }
        }
        Ok(values)
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00" | "Etc/UTC" | "Z")
}

fn is_text(leaf: &DataType) -> bool {
    matches!(leaf, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(leaf: &DataType) -> bool {
    matches!(leaf, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// True where every number of `file` is one of `table`.
fn number_fits(file: &DataType, table: &DataType) -> bool {
    use DataType as D;
    if let Some((digits, scale)) = decimal(table) {
        return match (decimal(file), file) {
            (Some((file_digits, file_scale)), _) => file_digits <= digits && file_scale <= scale,
            (None, D::Int8) => digits >= 3,
            (None, D::Int16) => digits >= 5,
            (None, D::Int32) => digits >= 10,
            (None, D::Int64) => digits >= 19,
            _ => false,
        };
    }
    matches!(
        (file, table),
        (D::Int8 | D::UInt8, D::Int16)
            | (D::Int8 | D::Int16 | D::UInt8 | D::UInt16, D::Int32)
            | (
                D::Int8 | D::Int16 | D::Int32 | D::UInt8 | D::UInt16 | D::UInt32,
                D::Int64
            )
            | (D::Float16, D::Float32 | D::Float64)
            | (D::Int8 | D::Int16 | D::Int32 | D::Float32, D::Float64)
    )
}

/// Digits before and after the point.
fn decimal(leaf: &DataType) -> Option<(i16, i16)> {
    match leaf {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let scale = i16::from(*scale);
            Some((i16::from(*precision) - scale, scale))
        }
        _ => None,
    }
}
