//! Answers as plain values, compared value by value.

use anyhow::{Result, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// One value: floating point numbers by value, everything else by its exact text.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// A float or double.
    Float(f64),
    /// The text of any other value; decimals keep their scale.
    Text(String),
}

impl Cell {
    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(one), Self::Float(two)) => {
                one == two || (one - two).abs() <= 1e-9 * one.abs().max(two.abs()) || (one.is_nan() && two.is_nan())
            }
            _ => self == other,
        }
    }
}

/// The rows of `batches`, in order.
pub fn rows(batches: &[RecordBatch]) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| cells(column))
            .collect::<Result<Vec<_>>>()?;
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|cells| cells[row].clone()).collect()));
    }
    Ok(rows)
}

fn cells(column: &dyn Array) -> Result<Vec<Cell>> {
    let nulls = column.logical_nulls();
    let present = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
    let cells = |cell: &dyn Fn(usize) -> Cell| {
        let cells = (0..column.len()).map(|row| Some(row).filter(&present).map_or(Cell::Null, cell));
        cells.collect()
    };
    if column.data_type().is_floating() {
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        return Ok(cells(&|row| Cell::Float(numbers.value(row))));
    }
    let options = FormatOptions::default();
    let texts = ArrayFormatter::try_new(column, &options)?;
    Ok(cells(&|row| Cell::Text(texts.value(row).to_string())))
}

/// Fails, naming the first difference, unless both hold equal rows; order counts only when `ordered`.
pub fn same_rows(what: &str, expected: &[Vec<Cell>], got: &[Vec<Cell>], ordered: bool) -> Result<()> {
    ensure!(
        expected.len() == got.len(),
        "{what}: expected {} rows, got {}",
        expected.len(),
        got.len()
    );
    let (mut expected, mut got) = (expected.to_vec(), got.to_vec());
    if !ordered {
        sort(&mut expected);
        sort(&mut got);
    }
    for (index, (one, two)) in expected.iter().zip(&got).enumerate() {
        let equal = one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.equals(two));
        ensure!(equal, "{what}: row {index} differs\nexpected {one:?}\n     got {two:?}");
    }
    Ok(())
}

/// Floats last and rounded, so that a tiny difference moves no row that other columns tell apart.
fn sort(rows: &mut [Vec<Cell>]) {
    rows.sort_by_cached_key(|row| {
        let (mut exact, mut rounded) = (Vec::new(), Vec::new());
        for cell in row {
            match cell {
                Cell::Null => exact.push(None),
                Cell::Text(text) => exact.push(Some(text.clone())),
                Cell::Float(number) => rounded.push(format!("{number:.6e}")),
            }
        }
        (exact, rounded)
    });
}
