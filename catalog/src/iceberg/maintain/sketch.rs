//! The aggregate behind ANALYZE: a Theta sketch of a column's distinct values.
//!
//! Two engines that sketch the same rows make the same sketch: values are hashed in the binary form of the Iceberg
//! specification, "Appendix D: Single-value serialization", as its `apache-datasketches-theta-v1` blobs are.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
};
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use datasketches::hash::value::raw_bytes::from_slice;
use datasketches::theta::{CompactThetaSketch, ThetaSketch, ThetaSketchBuilder, ThetaUnion, ThetaUnionBuilder};

/// Its name in SQL.
pub(super) const NAME: &str = "iceberg_theta_sketch";

/// `iceberg_theta_sketch(column)`: the compact Theta sketch of the column's values that are neither NULL nor empty, with
/// the library's defaults for size and seed, as BINARY.
pub fn theta_sketch() -> AggregateUDF {
    AggregateUDF::new_from_impl(Sketch {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

/// Estimates of a sketch that [`theta_sketch`] made.
pub(super) fn estimate(sketch: &[u8]) -> Result<u64, String> {
    let sketch = CompactThetaSketch::deserialize(sketch).map_err(|error| error.to_string())?;
    // More than 2^53 distinct values are no less an estimate for being rounded.
    Ok(sketch.estimate().round() as u64)
}

/// Whether values of this type have a binary form.
pub(super) fn is_sketched(data_type: &DataType) -> bool {
    plain(data_type).is_some()
}

/// The type with the same bytes that arrays are read as.
fn plain(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Date32 => DataType::Int32,
        DataType::Int64 | DataType::Time64(TimeUnit::Microsecond) => DataType::Int64,
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => DataType::Int64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::BinaryView,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::BinaryView,
        DataType::Boolean | DataType::Float32 | DataType::Float64 => data_type.clone(),
        DataType::Decimal128(..) | DataType::FixedSizeBinary(_) => data_type.clone(),
        _ => return None,
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sketch {
    signature: Signature,
}

impl AggregateUDFImpl for Sketch {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [values] if is_sketched(values) => Ok(DataType::Binary),
            _ => plan_err!("{NAME} takes a column of a simple type, and not {arguments:?}"),
        }
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(
            format!("{}[sketch]", arguments.name),
            DataType::Binary,
            true,
        ))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Sketching {
            values: ThetaSketchBuilder::default().build().map_err(failed)?,
            merged: ThetaUnionBuilder::default().build().map_err(failed)?,
        }))
    }
}

fn failed(error: datasketches::error::Error) -> DataFusionError {
    exec_datafusion_err!("a sketch of distinct values failed: {error}")
}

/// What has been seen: values, and sketches of values that others saw.
#[derive(Debug)]
struct Sketching {
    values: ThetaSketch,
    merged: ThetaUnion,
}

impl Sketching {
    fn compact(&mut self) -> Result<Vec<u8>> {
        self.merged.update(&self.values).map_err(failed)?;
        Ok(self.merged.to_sketch(true).serialize())
    }

    /// Java's and C++'s libraries skip empty values; sketches that shall be equal to theirs do so too.
    fn add(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.values.update(from_slice(bytes));
        }
    }
}

impl Accumulator for Sketching {
    fn update_batch(&mut self, arguments: &[ArrayRef]) -> Result<()> {
        let [values] = arguments else {
            return exec_err!("{NAME} takes one argument");
        };
        let Some(read_as) = plain(values.data_type()) else {
            return exec_err!("{NAME} takes no {}", values.data_type());
        };
        let values = cast(values, &read_as)?;
        match &read_as {
            DataType::Int32 => {
                let values = values.as_primitive::<Int32Type>().iter().flatten();
                values.for_each(|value| self.add(&value.to_le_bytes()));
            }
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>().iter().flatten();
                values.for_each(|value| self.add(&value.to_le_bytes()));
            }
            DataType::Float32 => {
                let values = values.as_primitive::<Float32Type>().iter().flatten();
                values.for_each(|value| self.add(&value.to_le_bytes()));
            }
            DataType::Float64 => {
                let values = values.as_primitive::<Float64Type>().iter().flatten();
                values.for_each(|value| self.add(&value.to_le_bytes()));
            }
            DataType::Decimal128(..) => {
                let values = values.as_primitive::<Decimal128Type>().iter().flatten();
                values.for_each(|value| self.add(shortest(&value.to_be_bytes())));
            }
            DataType::Boolean => {
                let values = values.as_boolean().iter().flatten();
                values.for_each(|value| self.add(&[u8::from(value)]));
            }
            DataType::FixedSizeBinary(_) => {
                let values = values.as_fixed_size_binary().iter().flatten();
                values.for_each(|value| self.add(value));
            }
            _ => {
                let values = values.as_binary_view().iter().flatten();
                values.for_each(|value| self.add(value));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for sketches in states {
            for sketch in sketches.as_binary::<i32>().iter().flatten() {
                let sketch = CompactThetaSketch::deserialize(sketch).map_err(failed)?;
                self.merged.update(&sketch).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.compact()?))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Binary(Some(self.compact()?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.estimated_size() + self.merged.estimated_size()
    }
}

/// The fewest bytes of a two's complement, big endian number that have its sign.
fn shortest(bytes: &[u8; 16]) -> &[u8] {
    let spare =
        |pair: &&[u8]| matches!(pair, [0, next] if *next < 0x80) || matches!(pair, [0xff, next] if *next >= 0x80);
    let leading = bytes.windows(2).take_while(spare).count();
    &bytes[leading..]
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Decimal128Array, Int32Array, Int64Array, NullArray, StringViewArray};

    use super::*;

    fn sketch() -> Sketching {
        Sketching {
            values: ThetaSketchBuilder::default().build().unwrap(),
            merged: ThetaUnionBuilder::default().build().unwrap(),
        }
    }

    fn of(values: ArrayRef) -> Vec<u8> {
        let mut sketch = sketch();
        sketch.update_batch(&[values]).unwrap();
        sketch.compact().unwrap()
    }

    #[test]
    fn distinct_values_are_counted() {
        let check = |values: ArrayRef, expect: u64| assert_eq!(estimate(&of(values)), Ok(expect));
        check(Arc::new(Int64Array::from(vec![Some(7), None, Some(7), Some(-7)])), 2);
        check(Arc::new(Int64Array::from(Vec::<i64>::new())), 0);
        check(
            Arc::new(StringViewArray::from(vec![
                Some("a"),
                Some(""),
                None,
                Some("b"),
                Some("a"),
            ])),
            2,
        );
        check(Arc::new(BooleanArray::from(vec![true, false, true])), 2);
        let decimals = Decimal128Array::from(vec![0, 127, 128, -128, -129, i128::MAX, 127]);
        check(Arc::new(decimals), 6);
    }

    #[test]
    fn sketches_of_parts_make_that_of_the_whole() {
        let numbers = |range: std::ops::Range<i32>| Arc::new(Int32Array::from_iter_values(range)) as ArrayRef;
        let whole = of(numbers(0..60_000));
        let mut merged = sketch();
        merged.update_batch(&[numbers(0..30_000)]).unwrap();
        let part = arrow::array::BinaryArray::from_vec(vec![&of(numbers(20_000..60_000))]);
        merged.merge_batch(&[Arc::new(part)]).unwrap();
        let (whole, merged) = (estimate(&whole).unwrap(), estimate(&merged.compact().unwrap()).unwrap());
        for estimate in [whole, merged] {
            assert!((57_000..63_000).contains(&estimate), "{estimate}");
        }
    }

    #[test]
    fn decimals_have_the_fewest_bytes() {
        let check = |number: i128, expect: &[u8]| assert_eq!(shortest(&number.to_be_bytes()), expect, "{number}");
        check(0, &[0]);
        check(-1, &[0xff]);
        check(127, &[0x7f]);
        check(128, &[0, 0x80]);
        check(-128, &[0x80]);
        check(-129, &[0xff, 0x7f]);
        check(i128::MIN, &i128::MIN.to_be_bytes());
    }

    #[test]
    fn other_types_are_refused() {
        assert!(sketch().update_batch(&[Arc::new(NullArray::new(1))]).is_err());
        assert!(!is_sketched(&DataType::List(Arc::new(Field::new(
            "item",
            DataType::Int32,
            true
        )))));
    }
}
