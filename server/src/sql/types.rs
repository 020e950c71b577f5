//! What Arrow types are called in SQL, and how many digits they hold. Knows types only, no protocol.

use arrow::datatypes::{DataType, TimeUnit};

/// An Arrow type in SQL's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SqlType {
    /// The name without parameters, such as `DECIMAL`.
    pub(crate) name: &'static str,
    /// Decimal digits of a number, bytes of fixed binary, digits of a fraction of a second.
    pub(crate) precision: Option<i32>,
    /// Digits after the decimal point.
    pub(crate) scale: Option<i32>,
}

impl SqlType {
    /// The words for `data_type`.
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::plain("NULL"),
            DataType::Boolean => Self::plain("BOOLEAN"),
            DataType::Int8 => Self::number("TINYINT", 3, 0),
            DataType::Int16 => Self::number("SMALLINT", 5, 0),
            DataType::Int32 => Self::number("INTEGER", 10, 0),
            DataType::Int64 => Self::number("BIGINT", 19, 0),
            DataType::UInt8 => Self::number("TINYINT UNSIGNED", 3, 0),
            DataType::UInt16 => Self::number("SMALLINT UNSIGNED", 5, 0),
            DataType::UInt32 => Self::number("INTEGER UNSIGNED", 10, 0),
            DataType::UInt64 => Self::number("BIGINT UNSIGNED", 20, 0),
            DataType::Float16 | DataType::Float32 => Self::precise("REAL", 7),
            DataType::Float64 => Self::precise("DOUBLE", 15),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale) => {
                Self::number("DECIMAL", i32::from(*precision), i32::from(*scale))
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::plain("VARCHAR"),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::plain("VARBINARY"),
            DataType::FixedSizeBinary(bytes) => Self::precise("BINARY", *bytes),
            DataType::Date32 | DataType::Date64 => Self::plain("DATE"),
            DataType::Time32(unit) | DataType::Time64(unit) => Self::precise("TIME", fraction_digits(unit)),
            DataType::Timestamp(unit, None) => Self::precise("TIMESTAMP", fraction_digits(unit)),
            DataType::Timestamp(unit, Some(_)) => Self::precise("TIMESTAMP WITH TIME ZONE", fraction_digits(unit)),
            DataType::Duration(_) | DataType::Interval(_) => Self::plain("INTERVAL"),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..) => Self::plain("ARRAY"),
            DataType::Struct(_) => Self::plain("STRUCT"),
            DataType::Map(..) => Self::plain("MAP"),
            DataType::Union(..) => Self::plain("UNION"),
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type()),
        }
    }

    /// Whether values have a sign and digits.
    pub(crate) fn is_numeric(&self) -> bool {
        self.scale.is_some() || matches!(self.name, "REAL" | "DOUBLE")
    }

    fn plain(name: &'static str) -> Self {
        Self {
            name,
            precision: None,
            scale: None,
        }
    }

    fn precise(name: &'static str, precision: i32) -> Self {
        Self {
            name,
            precision: Some(precision),
            scale: None,
        }
    }

    fn number(name: &'static str, precision: i32, scale: i32) -> Self {
        Self {
            name,
            precision: Some(precision),
            scale: Some(scale),
        }
    }
}

fn fraction_digits(unit: &TimeUnit) -> i32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
