//! What a run has met. A generator that never makes the interesting case proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Everything a whole run has to meet.
pub(crate) const FEATURES: [&str; 45] = [
    "iceberg v1",
    "iceberg v2",
    "iceberg v3",
    "iceberg upgrade",
    "delta",
    "delta mapped by name",
    "delta mapped by id",
    "delta checkpoint",
    "delta without statistics",
    "partitioned",
    "partition spec change",
    "identity partition not in the file",
    "name mapping",
    "append",
    "NaN",
    "merged manifests",
    "file removed",
    "position deletes",
    "position deletes of several files",
    "dangling position deletes",
    "deletion vector",
    "deletion vector replaced",
    "deletion vector over position deletes",
    "deletion vector in the log",
    "equality deletes",
    "equality deletes with NULL",
    "equality deletes on two columns",
    "equality deletes in a partition",
    "equality deletes everywhere",
    "equality deletes on a dropped column",
    "upsert",
    "add column",
    "add column with a default",
    "drop column",
    "rename column",
    "swap names",
    "move column",
    "promote column",
    "nested add",
    "nested drop",
    "nested rename",
    "plan over the wire",
    "filters in the scan",
    "files pruned",
    "files split",
];

/// How often each feature was met.
pub(crate) struct Coverage {
    counts: BTreeMap<&'static str, usize>,
    without: BTreeSet<String>,
}

impl Coverage {
    pub(crate) fn new<'a>(without: impl Iterator<Item = &'a str>) -> Self {
        Self {
            counts: FEATURES.iter().map(|feature| (*feature, 0)).collect(),
            without: without.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        }
    }

    /// Whether tables may have the feature.
    pub(crate) fn allows(&self, feature: &str) -> bool {
        debug_assert!(FEATURES.contains(&feature), "{feature}");
        !self.without.contains(feature)
    }

    /// Notes that a case had the feature.
    pub(crate) fn met(&mut self, feature: &'static str) {
        *self.counts.entry(feature).or_default() += 1;
    }

    /// Fails unless every feature was met.
    pub(crate) fn complete(&self) {
        let missing: Vec<_> = self.counts.iter().filter(|(_, count)| **count == 0).collect();
        assert!(missing.is_empty(), "no case had {missing:?}");
        assert_eq!(
            self.counts.len(),
            FEATURES.len(),
            "a feature is not in the list: {self}"
        );
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts
            .iter()
            .try_for_each(|(feature, count)| writeln!(f, "{count:6} {feature}"))
    }
}
