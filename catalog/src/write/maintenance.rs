//! What keeps a table small: requests in the terms of both formats, and what was done.

use std::time::Duration;

/// One day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Snapshots younger than this are kept, and files that a Delta table refers to no longer.
pub const HISTORY_FLOOR: Duration = Duration::from_secs(7 * DAY.as_secs());
/// Files that nothing refers to may belong to a write that is under way: younger ones stay.
pub const ORPHANS_FLOOR: Duration = Duration::from_secs(3 * DAY.as_secs());

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maintenance {
    /// Snapshots that no branch, no tag and nobody's time travel needs go, and the files that only they had.
    ExpireSnapshots {
        /// How long snapshots are kept.
        retention: Retention,
        /// How many snapshots of each branch are kept however old they are.
        retain_last: Option<usize>,
    },
    /// Files in the table's folders that its metadata do not name are deleted.
    RemoveOrphanFiles {
        /// How long they are kept.
        retention: Retention,
        /// They are only named.
        dry_run: bool,
    },
    /// Small manifests become few.
    OptimizeManifests,
    /// Files of a Delta table that no retained version has are deleted.
    Vacuum {
        /// How long versions are retained.
        retention: Retention,
        /// They are only named.
        dry_run: bool,
    },
    /// A checkpoint of a Delta table's newest version.
    Checkpoint,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long; as long as the table or the format says where it is not told.
    pub age: Option<Duration>,
    /// Less than what is safe is allowed.
    pub unchecked: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Maintained {
    /// Counts, in the order in which they are told.
    Counts(Vec<(&'static str, u64)>),
    /// The files that a dry run would have deleted.
    WouldDelete(Vec<String>),
    /// Estimates of the number of distinct values, by column.
    DistinctValues(Vec<(String, u64)>),
}

impl Default for Maintained {
    /// Nothing.
    fn default() -> Self {
        Self::Counts(Vec::new())
    }
}

impl Retention {
    /// The age in milliseconds, `default` where none is told; `Err` is the complaint about less than `floor`.
    pub(crate) fn millis(self, default: Duration, floor: Duration) -> Result<i64, String> {
        let age = self.age.unwrap_or(default);
        if age < floor && !self.unchecked {
            let days = floor.as_secs() / DAY.as_secs();
            return Err(format!(
                "less than {days} days of retention (SET retention_check = 'off' allows it): what is younger may be in use"
            ));
        }
        i64::try_from(age.as_millis()).map_err(|_| "a retention beyond all time".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_the_floor_has_to_be_allowed() {
        let check = |age: Option<u64>, unchecked, expect: Option<i64>| {
            let retention = Retention {
                age: age.map(Duration::from_secs),
                unchecked,
            };
            assert_eq!(
                retention.millis(HISTORY_FLOOR, HISTORY_FLOOR).ok(),
                expect,
                "{retention:?}"
            );
        };
        check(None, false, Some(604_800_000));
        check(Some(604_800), false, Some(604_800_000));
        check(Some(604_799), false, None);
        check(Some(0), true, Some(0));
        check(Some(u64::MAX), false, None);
    }
}
