//! Iceberg's partition transforms, value by value.

use std::fmt;

use anyhow::{Context, Result, bail};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::manifest::value_bytes;

const DAY_MICROS: i64 = 86_400_000_000;

/// A partition transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// A hash, modulo this number.
    Bucket(i32),
    /// The value cut to this width.
    Truncate(i32),
    /// Years since 1970.
    Year,
    /// Months since 1970.
    Month,
    /// Days since 1970.
    Day,
    /// Hours since 1970.
    Hour,
    /// Always NULL.
    Void,
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Bucket(count) => write!(f, "bucket[{count}]"),
            Self::Truncate(width) => write!(f, "truncate[{width}]"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Void => f.write_str("void"),
        }
    }
}

impl Transform {
    /// The type of the results.
    pub fn result_type(self, source: &DataType) -> DataType {
        match self {
            Self::Identity | Self::Truncate(_) | Self::Void => source.clone(),
            Self::Bucket(_) | Self::Year | Self::Month | Self::Hour => DataType::Int32,
            Self::Day => DataType::Date32,
        }
    }

    /// The partition value of a value.
    pub fn apply(self, value: &ScalarValue) -> Result<ScalarValue> {
        let result = self.result_type(&value.data_type());
        if value.is_null() || self == Self::Void {
            return Ok(ScalarValue::try_from(&result)?);
        }
        Ok(match self {
            Self::Identity | Self::Void => value.clone(),
            Self::Bucket(count) => {
                let hash = murmur3(&hashed_bytes(value)?) & 0x7fff_ffff;
                ScalarValue::Int32(Some(hash.cast_signed() % count))
            }
            Self::Truncate(width) => truncate(value, width)?,
            Self::Day => ScalarValue::Date32(Some(i32::try_from(micros(value)?.div_euclid(DAY_MICROS))?)),
            Self::Hour => ScalarValue::Int32(Some(i32::try_from(micros(value)?.div_euclid(DAY_MICROS / 24))?)),
            Self::Year | Self::Month => {
                let (year, month) = civil(micros(value)?.div_euclid(DAY_MICROS));
                let number = if self == Self::Year {
                    year - 1970
                } else {
                    (year - 1970) * 12 + month - 1
                };
                ScalarValue::Int32(Some(i32::try_from(number)?))
            }
        })
    }
}

fn micros(value: &ScalarValue) -> Result<i64> {
    match value {
        ScalarValue::Date32(Some(days)) => Ok(i64::from(*days) * DAY_MICROS),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => Ok(*micros),
        other => bail!("{other:?} has no date"),
    }
}

/// Year and month of a day since 1970 in the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month)
}

fn truncate(value: &ScalarValue, width: i32) -> Result<ScalarValue> {
    let count = usize::try_from(width)?;
    Ok(match value {
        ScalarValue::Int32(Some(v)) => ScalarValue::Int32(Some(v - v.rem_euclid(width))),
        ScalarValue::Int64(Some(v)) => ScalarValue::Int64(Some(v - v.rem_euclid(i64::from(width)))),
        ScalarValue::Decimal128(Some(v), p, s) => {
            ScalarValue::Decimal128(Some(v - v.rem_euclid(i128::from(width))), *p, *s)
        }
        ScalarValue::Utf8(Some(v)) => ScalarValue::Utf8(Some(v.chars().take(count).collect())),
        ScalarValue::Binary(Some(v)) => ScalarValue::Binary(Some(v.iter().take(count).copied().collect())),
        other => bail!("{other:?} cannot be truncated"),
    })
}

/// What `bucket` hashes: integers and dates as eight bytes.
fn hashed_bytes(value: &ScalarValue) -> Result<Vec<u8>> {
    Ok(match value {
        ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => i64::from(*v).to_le_bytes().to_vec(),
        other => value_bytes(other).context("a NULL has no bucket")?,
    })
}

/// The 32-bit x86 variant with the seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    let mix = |word: u32| word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let word = |chunk: &[u8]| {
        chunk
            .iter()
            .rev()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
    };
    let chunks = bytes.chunks_exact(4);
    let tail = word(chunks.remainder());
    let mut hash = chunks.fold(0_u32, |hash, chunk| {
        (hash ^ mix(word(chunk)))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    });
    hash ^= mix(tail);
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
