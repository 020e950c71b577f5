//! What the optimizer is told of a scan before it runs.

use std::collections::BTreeMap;

use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};

use crate::snapshot::{Column, DataFile};

/// The statistics of the rows in `files`, in a scan of `width` columns. `positions` tells where the n-th column of the
/// table stands, `distinct` what is known of its values in the whole table. The row count is exact where every file's is
/// known after its deletes; bounds may be wider than the values, values may have come and gone since they were counted,
/// and neither is ever exact.
pub(crate) fn of_scan(
    files: &[DataFile],
    positions: &[usize],
    distinct: &BTreeMap<usize, u64>,
    width: usize,
) -> Statistics {
    let exact: Option<u64> = files.iter().map(rows).sum();
    let physical: Option<u64> = files.iter().map(|file| file.rows).sum();
    let count = |rows: Option<u64>| rows.and_then(|rows| usize::try_from(rows).ok());
    let num_rows = match (count(exact), count(physical)) {
        (Some(rows), _) => Precision::Exact(rows),
        (None, Some(rows)) => Precision::Inexact(rows),
        (None, None) => Precision::Absent,
    };
    let bytes = files.iter().map(|file| file.size_bytes).sum::<u64>();
    let mut column_statistics = vec![ColumnStatistics::new_unknown(); width];
    for (index, position) in positions.iter().enumerate() {
        column_statistics[*position] = of_column(files, index);
        if let Some(values) = count(distinct.get(&index).copied()) {
            let values = num_rows.get_value().map_or(values, |rows| values.min(*rows));
            column_statistics[*position].distinct_count = Precision::Inexact(values);
        }
    }
    let total_byte_size = usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
    Statistics {
        num_rows,
        total_byte_size,
        column_statistics,
    }
}

/// Exact number of rows that are not deleted.
fn rows(file: &DataFile) -> Option<u64> {
    match &file.deletes {
        None => file.rows,
        Some(deletes) => file.rows?.checked_sub(deletes.cardinality()?),
    }
}

/// Bounds for pruning one file while the scan runs. DataFusion prunes by bounds that claim to be exact and, where a
/// count of NULLs is exact too, takes them for the values: so there is none, and no count of rows.
pub(crate) fn of_file(file: &DataFile, positions: &[usize], width: usize) -> Statistics {
    let mut column_statistics = vec![ColumnStatistics::new_unknown(); width];
    for (column, position) in file.columns.iter().zip(positions) {
        let bound = |value: &Option<ScalarValue>| value.clone().map_or(Precision::Absent, Precision::Exact);
        column_statistics[*position].min_value = bound(&column.lower);
        column_statistics[*position].max_value = bound(&column.upper);
    }
    Statistics {
        num_rows: Precision::Absent,
        total_byte_size: Precision::Absent,
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
