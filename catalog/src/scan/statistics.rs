//! What the optimizer is told of a scan before it runs.

use arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};

use crate::snapshot::{Column, DataFile};

/// The statistics of the rows in `files`, columns in the order of the scan. The row count is exact where every file
/// has one, since no rows are deleted from them; bounds may be wider than the values and are never exact.
pub(crate) fn of_table(files: &[DataFile], positions: &[usize], schema: &SchemaRef) -> Statistics {
    let rows: Option<u64> = files.iter().map(|file| file.rows).sum();
    let num_rows = rows
        .and_then(|rows| usize::try_from(rows).ok())
        .map_or(Precision::Absent, Precision::Exact);
    let bytes = files.iter().map(|file| file.size_bytes).sum::<u64>();
    let mut column_statistics = vec![ColumnStatistics::new_unknown(); schema.fields().len()];
    for (index, position) in positions.iter().enumerate() {
        column_statistics[*position] = of_column(files, index);
    }
    let total_byte_size = usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
    Statistics {
        num_rows,
        total_byte_size,
        column_statistics,
    }
}

fn of_column(files: &[DataFile], index: usize) -> ColumnStatistics {
    let columns = || files.iter().map(move |file| file.columns.get(index));
    let nulls: Option<u64> = columns().map(|column| column?.nulls).sum();
    ColumnStatistics {
        null_count: nulls
            .and_then(|n| usize::try_from(n).ok())
            .map_or(Precision::Absent, Precision::Inexact),
        min_value: fold(columns(), |column| column.lower.as_ref(), |new, least| new < least),
        max_value: fold(
            columns(),
            |column| column.upper.as_ref(),
            |new, greatest| new > greatest,
        ),
        ..ColumnStatistics::new_unknown()
    }
}

/// The outermost bound, where every file has one.
fn fold<'a>(
    columns: impl Iterator<Item = Option<&'a Column>>,
    bound: impl Fn(&'a Column) -> Option<&'a ScalarValue>,
    outer: impl Fn(&ScalarValue, &ScalarValue) -> bool,
) -> Precision<ScalarValue> {
    let mut outermost: Option<&ScalarValue> = None;
    for column in columns {
        let Some(value) = column.and_then(&bound) else {
            return Precision::Absent;
        };
        if outermost.is_none_or(|current| outer(value, current)) {
            outermost = Some(value);
        }
    }
    outermost.cloned().map_or(Precision::Absent, Precision::Inexact)
}
