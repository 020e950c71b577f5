//! What a snapshot says of itself: what it added and removed, and the table's totals after it.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, DataFileFormat, Snapshot, Struct};

/// Counts of files and rows of one direction, added or removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    data_files: u64,
    delete_files: u64,
    position_delete_files: u64,
    equality_delete_files: u64,
    vectors: u64,
    records: u64,
    position_deletes: u64,
    equality_deletes: u64,
    bytes: u64,
}

impl Counts {
    fn count(&mut self, file: &DataFile) {
        let rows = file.record_count();
        let is_vector = file.file_format() == DataFileFormat::Puffin;
        match file.content_type() {
            DataContentType::Data => {
                self.data_files += 1;
                self.records += rows;
            }
            DataContentType::PositionDeletes => {
                self.delete_files += 1;
                self.position_deletes += rows;
                match is_vector {
                    true => self.vectors += 1,
                    false => self.position_delete_files += 1,
                }
            }
            DataContentType::EqualityDeletes => {
                self.delete_files += 1;
                self.equality_delete_files += 1;
                self.equality_deletes += rows;
            }
        }
        // Of a deletion vector counts what it takes in its file.
        let vector = file.content_size_in_bytes().and_then(|size| u64::try_from(size).ok());
        self.bytes += vector.filter(|_| is_vector).unwrap_or(file.file_size_in_bytes());
    }
}

/// Collects what a snapshot adds and removes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    added: Counts,
    removed: Counts,
    partitions: HashSet<(i32, Struct)>,
}

impl Changes {
    /// A file that joins the table, of that partition spec.
    pub(super) fn add(&mut self, spec_id: i32, file: &DataFile) {
        self.added.count(file);
        self.partitions.insert((spec_id, file.partition().clone()));
    }

    /// A file that leaves the table.
    pub(super) fn remove(&mut self, spec_id: i32, file: &DataFile) {
        self.removed.count(file);
        self.partitions.insert((spec_id, file.partition().clone()));
    }

    /// The summary of a snapshot behind `parent`. A total that the parent does not know stays unknown.
    pub(super) fn summary(&self, parent: Option<&Snapshot>) -> HashMap<String, String> {
        let mut summary = HashMap::new();
        let (added, removed) = (&self.added, &self.removed);
        let counts = [
            ("added-data-files", added.data_files),
            ("deleted-data-files", removed.data_files),
            ("added-delete-files", added.delete_files),
            ("removed-delete-files", removed.delete_files),
            ("added-position-delete-files", added.position_delete_files),
            ("removed-position-delete-files", removed.position_delete_files),
            ("added-equality-delete-files", added.equality_delete_files),
            ("removed-equality-delete-files", removed.equality_delete_files),
            ("added-dvs", added.vectors),
            ("removed-dvs", removed.vectors),
            ("added-records", added.records),
            ("deleted-records", removed.records),
            ("added-position-deletes", added.position_deletes),
            ("removed-position-deletes", removed.position_deletes),
            ("added-equality-deletes", added.equality_deletes),
            ("removed-equality-deletes", removed.equality_deletes),
            ("added-files-size", added.bytes),
            ("removed-files-size", removed.bytes),
        ];
        for (key, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            summary.insert(key.to_owned(), count.to_string());
        }
        summary.insert("changed-partition-count".to_owned(), self.partitions.len().to_string());
        let totals = [
            ("total-data-files", added.data_files, removed.data_files),
            ("total-delete-files", added.delete_files, removed.delete_files),
            ("total-records", added.records, removed.records),
            ("total-files-size", added.bytes, removed.bytes),
            (
                "total-position-deletes",
                added.position_deletes,
                removed.position_deletes,
            ),
            (
                "total-equality-deletes",
                added.equality_deletes,
                removed.equality_deletes,
            ),
        ];
        for (key, added, removed) in totals {
            let before = match parent {
                None => Some(0_u64),
                Some(parent) => {
                    let known = parent.summary().additional_properties.get(key);
                    known.and_then(|total| total.parse().ok())
                }
            };
            let total = before.and_then(|before| before.checked_add(added)?.checked_sub(removed));
            if let Some(total) = total {
                summary.insert(key.to_owned(), total.to_string());
            }
        }
        summary.insert("engine-name".to_owned(), "lakewing".to_owned());
        summary.insert("engine-version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        summary
    }
}
