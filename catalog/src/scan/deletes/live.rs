//! Rows as Parquet gives them, with their positions -> those that are not deleted.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int64Type, Schema};
use datafusion::common::internal_err;
use datafusion::error::Result;
use roaring::RoaringTreemap;

/// Which rows of a part of a data file are left. The position of a row in its file is the last column of each batch.
#[derive(Debug, Clone)]
pub(crate) struct LiveRows {
    /// The position of the first row that `live` tells of.
    first: i64,
    live: BooleanBuffer,
}

impl LiveRows {
    /// Of the rows at the positions `rows`.
    pub(crate) fn new(deleted: &RoaringTreemap, rows: Range<u64>) -> Result<Self> {
        let length = usize::try_from(rows.end.saturating_sub(rows.start));
        let (Ok(length), Ok(first)) = (length, i64::try_from(rows.start)) else {
            return internal_err!("a mask for the rows {rows:?}");
        };
        let mut live = BooleanBufferBuilder::new(length);
        live.append_n(length, true);
        let mut positions = deleted.iter();
        positions.advance_to(rows.start);
        for position in positions.take_while(|position| *position < rows.end) {
            live.set_bit(usize::try_from(position - rows.start).unwrap_or(usize::MAX), false);
        }
        let live = live.finish();
        Ok(Self { first, live })
    }

    /// The batch without its deleted rows and without its positions.
    pub(crate) fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let Some(positions) = batch.columns().last() else {
            return internal_err!("a batch without positions");
        };
        let Some(positions) = positions.as_primitive_opt::<Int64Type>() else {
            return internal_err!("positions of the type {}", positions.data_type());
        };
        let live = self.mask(positions.values())?;
        Ok(filter_record_batch(
            &without_positions(batch)?,
            &BooleanArray::new(live, None),
        )?)
    }

    /// Which of the rows at these positions are left.
    fn mask(&self, positions: &[i64]) -> Result<BooleanBuffer> {
        let Some(first) = positions.first() else {
            return Ok(BooleanBuffer::new_unset(0));
        };
        // Where no filter has dropped a row, positions are as good as counted.
        let counted = positions.iter().zip(*first..);
        if counted.fold(true, |counted, (position, at)| counted & (*position == at)) {
            let start = self.index(*first)?;
            self.index(first + (positions.len() as i64 - 1))?;
            return Ok(self.live.slice(start, positions.len()));
        }
        let mut mask = BooleanBufferBuilder::new(positions.len());
        for position in positions {
            mask.append(self.live.value(self.index(*position)?));
        }
        Ok(mask.finish())
    }

    fn index(&self, position: i64) -> Result<usize> {
        match usize::try_from(position.wrapping_sub(self.first)) {
            Ok(index) if index < self.live.len() => Ok(index),
            _ => internal_err!("a row at the position {position} that was not to be read"),
        }
    }
}

/// The batch without its last column.
pub(crate) fn without_positions(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let (Some((_, fields)), Some((_, columns))) = (schema.fields().split_last(), batch.columns().split_last()) else {
        return internal_err!("a batch without positions");
    };
    let schema = Arc::new(Schema::new_with_metadata(fields.to_vec(), schema.metadata().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema, columns.to_vec(), &options)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn what_is_left_is_what_is_not_deleted() {
        let edge = 1_i64 << 32;
        let deleted = [0, 1, 5, 65_535, 65_536, 70_000, edge - 1, edge, edge + 9];
        let gone: BTreeSet<i64> = deleted.into_iter().collect();
        let positions: RoaringTreemap = deleted.iter().map(|row| u64::try_from(*row).unwrap()).collect();
        let check = |rows: Range<i64>, read: Vec<i64>| {
            let bound = |row: i64| u64::try_from(row).unwrap();
            let live = LiveRows::new(&positions, bound(rows.start)..bound(rows.end)).unwrap();
            let expect: Vec<i64> = read.iter().copied().filter(|row| !gone.contains(row)).collect();
            let column: ArrayRef = Arc::new(Int64Array::from(read.clone()));
            let batch = RecordBatch::try_from_iter([("row", Arc::clone(&column)), ("position", column)]).unwrap();
            let left = live.of(&batch).unwrap();
            assert_eq!(
                left.column(0).as_primitive::<Int64Type>().values().as_ref(),
                expect,
                "{read:?}"
            );
            assert_eq!(left.num_columns(), 1);
            let counted = live.of(&batch.project(&[1]).unwrap()).unwrap();
            assert_eq!((counted.num_rows(), counted.num_columns()), (expect.len(), 0));
        };
        check(0..10, Vec::new());
        check(0..10, (0..10).collect());
        check(3..70_001, (65_530..65_540).collect());
        check(0..100_000, vec![2, 6, 65_535, 65_537, 70_000, 99_999]);
        check(0..100_000, vec![65_534, 65_535, 65_536, 0, 1, 2, 1]);
        check(edge - 3..edge + 10, (edge - 3..edge + 10).collect());
        check(edge - 3..edge + 10, vec![edge - 2, edge - 1, edge + 9]);

        let live = LiveRows::new(&positions, 5..10).unwrap();
        for read in [vec![4, 5], vec![9, 10], vec![5, 7, 11], vec![-1]] {
            let column: ArrayRef = Arc::new(Int64Array::from(read));
            let batch = RecordBatch::try_from_iter([("position", column)]).unwrap();
            let error = live.of(&batch).unwrap_err().to_string();
            assert!(error.contains("was not to be read"), "{error}");
        }
    }
}
