//! Deleted rows to what Parquet reads: each row group whole, in part or not at all.

use std::ops::Range;

use datafusion::datasource::listing::FileRange;
use datafusion::datasource::physical_plan::parquet::{ParquetAccessPlan, RowGroupAccess};
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::file::metadata::RowGroupMetaData;
use roaring::RoaringTreemap;

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

/// The rows that are left of a file with these row groups, or what is wrong with them. Row groups outside `range` are
/// another reader's: how they are read does not matter, and no selection is built for them.
pub(crate) fn live_rows(
    deleted: &RoaringTreemap,
    groups: &[RowGroupMetaData],
    range: Option<&FileRange>,
) -> Result<ParquetAccessPlan> {
    let mut first = 0_u64;
    let mut accesses = Vec::with_capacity(groups.len());
    for group in groups {
        let rows = first..first.saturating_add(group_rows(group)?);
        first = rows.end;
        let mine = range.is_none_or(|range| overlaps(group, range));
        accesses.push(if mine {
            access(deleted, rows)?
        } else {
            RowGroupAccess::Skip
        });
    }
    Ok(ParquetAccessPlan::new(accesses))
}

fn access(deleted: &RoaringTreemap, rows: Range<u64>) -> Result<RowGroupAccess> {
    if rows.is_empty() {
        return Ok(RowGroupAccess::Scan);
    }
    let count = deleted.range_cardinality(rows.clone());
    if count == 0 {
        return Ok(RowGroupAccess::Scan);
    }
    if count == rows.end - rows.start {
        return Ok(RowGroupAccess::Skip);
    }
    let mut selectors = Vec::new();
    let mut next = rows.start;
    for run in runs(deleted, &rows) {
        selectors.push(RowSelector::select(length(next..run.start)?));
        selectors.push(RowSelector::skip(length(run.clone())?));
        next = run.end;
    }
    selectors.push(RowSelector::select(length(next..rows.end)?));
    Ok(RowGroupAccess::Selection(RowSelection::from(selectors)))
}

/// The deleted rows among `rows`, as runs in ascending order.
pub(super) fn runs<'a>(deleted: &'a RoaringTreemap, rows: &'a Range<u64>) -> impl Iterator<Item = Range<u64>> + 'a {
    deleted.bitmaps().flat_map(move |(high, bitmap)| {
        let base = u64::from(high) << 32;
        let low = |row: u64| u32::try_from(row.saturating_sub(base)).unwrap_or(u32::MAX);
        // Of a bitmap that lies outside `rows`, nothing is left once the runs are cut.
        let mut within = bitmap.range(low(rows.start)..=low(rows.end - 1));
        let cut = move |run: std::ops::RangeInclusive<u32>| {
            let (start, end) = run.into_inner();
            let start = (base + u64::from(start)).max(rows.start);
            let end = (base + u64::from(end) + 1).min(rows.end);
            start..end
        };
        std::iter::from_fn(move || within.next_range())
            .map(cut)
            .filter(|run| !run.is_empty())
    })
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
