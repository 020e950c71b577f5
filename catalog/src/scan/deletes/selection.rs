//! Deleted rows to what Parquet reads: each row group whole, without its long runs of deleted rows, or not at all.

use std::ops::Range;

use datafusion::datasource::listing::FileRange;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::file::metadata::RowGroupMetaData;

use super::rows::DeletedRows;

/// What is wrong with the file's footer.
type Result<T> = std::result::Result<T, &'static str>;

/// Number of rows in a file with these row groups, or what is wrong with them.
pub(crate) fn rows(groups: &[RowGroupMetaData]) -> Result<u64> {
    let add = |rows: u64, group| {
        let sum = rows.checked_add(group_rows(group)?);
        sum.ok_or("its row counts overflow")
    };
    groups.iter().try_fold(0, add)
}

/// What is read of a data file: every row that is left, and deleted ones that are not worth skipping.
#[derive(Debug)]
pub(crate) struct RowsToRead {
    pub(crate) plan: ParquetAccessPlan,
    /// All of them lie in here.
    pub(crate) within: Range<u64>,
}

/// What is read of a file with these row groups, or what is wrong with them. Row groups outside `range` are another
/// reader's and skipped.
pub(crate) fn rows_to_read(
    deleted: &DeletedRows,
    groups: &[RowGroupMetaData],
    range: Option<&FileRange>,
) -> Result<RowsToRead> {
    let mut first = 0_u64;
    let mut within: Option<Range<u64>> = None;
    let mut accesses = Vec::with_capacity(groups.len());
    for group in groups {
        let rows = first..first.saturating_add(group_rows(group)?);
        first = rows.end;
        if !range.is_none_or(|range| overlaps(group, range)) {
            accesses.push(RowGroupAccess::Skip);
            continue;
        }
        let start = within.map_or(rows.start, |within| within.start);
        within = Some(start..rows.end);
        accesses.push(access(deleted.long_runs(&rows), rows)?);
    }
    Ok(RowsToRead {
        plan: ParquetAccessPlan::new(accesses),
        within: within.unwrap_or_default(),
    })
}

/// `rows` without these runs.
fn access(runs: &[Range<u64>], rows: Range<u64>) -> Result<RowGroupAccess> {
    if runs.is_empty() {
        return Ok(RowGroupAccess::Scan);
    }
    let mut selectors = Vec::with_capacity(runs.len() * 2 + 1);
    let mut next = rows.start;
    for run in runs {
        let run = run.start.max(rows.start)..run.end.min(rows.end);
        if run == rows {
            return Ok(RowGroupAccess::Skip);
        }
        selectors.push(RowSelector::select(length(next..run.start)?));
        selectors.push(RowSelector::skip(length(run.clone())?));
        next = run.end;
    }
    selectors.push(RowSelector::select(length(next..rows.end)?));
    Ok(RowGroupAccess::Selection(RowSelection::from(selectors)))
}

/// False where no byte of the row group lies in `range`.
fn overlaps(group: &RowGroupMetaData, range: &FileRange) -> bool {
    group.columns().iter().any(|column| {
        let start = column
            .dictionary_page_offset()
            .map_or(column.data_page_offset(), |offset| {
                offset.min(column.data_page_offset())
            });
        let end = column
            .data_page_offset()
            .max(start)
            .saturating_add(column.compressed_size().max(1));
        start < range.end && range.start < end
    })
}

fn group_rows(group: &RowGroupMetaData) -> Result<u64> {
    u64::try_from(group.num_rows()).map_err(|_| "a row group has a negative number of rows")
}

fn length(rows: Range<u64>) -> Result<usize> {
    usize::try_from(rows.end.saturating_sub(rows.start)).map_err(|_| "a row group is larger than memory")
}
