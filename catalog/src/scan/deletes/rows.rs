//! The deleted rows of one data file, and which of them lie in long runs.

use std::ops::Range;
use std::sync::Arc;

use roaring::{RoaringBitmap, RoaringTreemap};

/// Rows in a long run at least. Parquet decodes shorter ones, to be dropped after: a reader that stops and goes costs more.
const LONG_RUN_ROWS: u64 = 1024;
/// About what a container of a bitmap takes beside its values: one for every 65,536 rows.
const CONTAINER_BYTES: u64 = 48;

/// Positions of deleted rows, counted from 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeletedRows {
    positions: RoaringTreemap,
    /// Ascending, none touches the next.
    long_runs: Vec<Range<u64>>,
}

impl DeletedRows {
    /// Finds the long runs, which takes time for every run: what is kept is this, not the positions.
    pub(super) fn new(mut positions: RoaringTreemap) -> Self {
        positions.optimize();
        let long_runs = merged(runs(&positions)).filter(|run| run.end - run.start >= LONG_RUN_ROWS);
        Self {
            long_runs: long_runs.collect(),
            positions,
        }
    }

    /// The rows that either deletes. A run that only both together make long is not among the long ones.
    pub(super) fn union(mut all: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        if all.positions.is_empty() {
            return other;
        }
        let union = Arc::make_mut(&mut all);
        union.positions |= &other.positions;
        let mut runs = [union.long_runs.as_slice(), other.long_runs.as_slice()].concat();
        runs.sort_by_key(|run| run.start);
        union.long_runs = merged(runs.into_iter()).collect();
        all
    }

    pub(crate) fn positions(&self) -> &RoaringTreemap {
        &self.positions
    }

    /// The long runs that have a row among `rows`, in ascending order.
    pub(super) fn long_runs(&self, rows: &Range<u64>) -> &[Range<u64>] {
        let start = self.long_runs.partition_point(|run| run.end <= rows.start);
        let end = self.long_runs.partition_point(|run| run.start < rows.end);
        self.long_runs.get(start..end).unwrap_or_default()
    }

    /// About what it takes in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        let bitmap = |(_, bitmap): (u32, &RoaringBitmap)| {
            let statistics = bitmap.statistics();
            statistics.n_bytes_array_containers
                + statistics.n_bytes_run_containers
                + statistics.n_bytes_bitset_containers
                + u64::from(statistics.n_containers) * CONTAINER_BYTES
        };
        let runs = u64::try_from(size_of_val(self.long_runs.as_slice())).unwrap_or(u64::MAX);
        runs.saturating_add(self.positions.bitmaps().map(bitmap).sum())
    }
}

/// The positions as runs in ascending order; one that crosses from container to container comes in parts.
fn runs(positions: &RoaringTreemap) -> impl Iterator<Item = Range<u64>> {
    positions.bitmaps().flat_map(|(high, bitmap)| {
        let base = u64::from(high) << 32;
        let mut within = bitmap.iter();
        std::iter::from_fn(move || within.next_range()).map(move |run| {
            let (start, end) = run.into_inner();
            base + u64::from(start)..base + u64::from(end) + 1
        })
    })
}

/// Runs that touch or overlap are one.
fn merged(runs: impl Iterator<Item = Range<u64>>) -> impl Iterator<Item = Range<u64>> {
    let mut runs = runs.peekable();
    std::iter::from_fn(move || {
        let mut run = runs.next()?;
        while let Some(next) = runs.next_if(|next| next.start <= run.end) {
            run.end = run.end.max(next.end);
        }
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: u64 = 1 << 32;

    fn rows(parts: &[Range<u64>]) -> DeletedRows {
        DeletedRows::new(parts.iter().cloned().flatten().collect())
    }

    #[test]
    fn runs_across_containers_and_bitmaps_are_whole() {
        let deleted = rows(&[
            10..20,
            64_000..68_000,
            EDGE - 700..EDGE + 700,
            3 * EDGE..3 * EDGE + 1023,
        ]);
        let (first, second) = (64_000..68_000, EDGE - 700..EDGE + 700);
        let check = |rows: Range<u64>, expect: &[&Range<u64>]| {
            assert!(deleted.long_runs(&rows).iter().eq(expect.iter().copied()), "{rows:?}");
        };
        check(0..u64::MAX, &[&first, &second]);
        check(0..64_000, &[]);
        check(0..64_001, &[&first]);
        check(67_999..EDGE, &[&first, &second]);
        check(68_000..EDGE - 700, &[]);
        check(EDGE + 700..u64::MAX, &[]);
    }

    #[test]
    fn a_union_has_the_rows_and_runs_of_both() {
        let union =
            |left: &[Range<u64>], right: &[Range<u64>]| DeletedRows::union(Arc::new(rows(left)), Arc::new(rows(right)));
        let both = union(
            &[5..6, 1_000..3_000, 9_000..11_000],
            &[7..8, 2_500..4_000, 4_000..6_000],
        );
        assert_eq!(both.positions.len(), 2 + 5_000 + 2_000);
        assert_eq!(both.long_runs, [1_000..6_000, 9_000..11_000]);
        assert_eq!(*union(&[], &[3..5, 7..9]), rows(&[3..5, 7..9]));
        assert_eq!(*union(&[3..5, 7..9], &[]), rows(&[3..5, 7..9]));
    }
}
