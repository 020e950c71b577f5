//! Manifest lists and manifests in memory: what planning needs of them, column by column.
//!
//! Both are decoded straight from Avro, since a table of a hundred thousand files is planned in a fraction of a second.
//! Partition values, their bounds and column bounds keep the specification's binary single-value form until a query
//! asks for their column; see [`super::values`].

pub(crate) mod decode;

use std::collections::HashMap;

use arrow::array::{Array, BinaryArray, Int64Array, StringArray};

/// One manifest as the manifest list describes it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ManifestFile {
    /// Its location.
    pub(crate) path: String,
    /// Its size; some writers write 0.
    pub(crate) length: i64,
    /// The partition spec of all its files.
    pub(crate) spec_id: i32,
    /// True for delete files, false for data files.
    pub(crate) deletes: bool,
    /// The sequence number that its new files inherit; 0 in format version 1.
    pub(crate) sequence: i64,
    /// The snapshot that added it.
    pub(crate) added_snapshot_id: Option<i64>,
    /// Numbers of files with the status added, existing and deleted.
    pub(crate) files: [Option<i64>; 3],
    /// Bounds of the partition values, in the order of the spec's fields.
    pub(crate) partitions: Option<Vec<FieldSummary>>,
    /// True where it is encrypted.
    pub(crate) encrypted: bool,
    /// The id of the first row of its first data file that has none of its own (format version 3).
    pub(crate) first_row_id: Option<i64>,
}

impl ManifestFile {
    /// False where the list says that no file in it is live.
    pub(crate) fn may_be_live(&self) -> bool {
        let [added, existing, _] = self.files;
        added != Some(0) || existing != Some(0)
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let bound = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::capacity);
        let summaries = self.partitions.iter().flatten();
        let summaries = summaries
            .map(|summary| size_of::<FieldSummary>() + bound(&summary.lower) + bound(&summary.upper))
            .sum::<usize>();
        size_of::<Self>() + self.path.capacity() + summaries
    }
}

/// Bounds of one partition field over a manifest, in binary form.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FieldSummary {
    /// True where a value may be NULL.
    pub(crate) contains_null: bool,
    /// True where a value may be NaN; absent where the writer did not look.
    pub(crate) contains_nan: Option<bool>,
    /// No value is less, NULL and NaN aside.
    pub(crate) lower: Option<Vec<u8>>,
    /// No value is greater, NULL and NaN aside.
    pub(crate) upper: Option<Vec<u8>>,
}

/// The live entries of one manifest. What a manifest list lends to them is not filled in.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// Locations, as written.
    pub(crate) paths: StringArray,
    /// The rest of fixed size.
    pub(crate) entries: Vec<Entry>,
    /// Partition values, field by field in the order of the file.
    pub(crate) partition: Vec<PartitionColumn>,
    /// What is known of columns, by field id.
    pub(crate) metrics: HashMap<i32, Metrics>,
    /// What only delete files have, one for each entry; empty in a manifest of data files.
    pub(crate) deletes: Vec<DeleteEntry>,
}

/// One file, without what has a length of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Entry {
    /// True where the entry's snapshot added the file, false where the file existed before.
    pub(crate) added: bool,
    /// The data sequence number; inherited where it is absent.
    pub(crate) sequence: Option<i64>,
    /// The snapshot that added the file; inherited where it is absent.
    pub(crate) snapshot_id: Option<i64>,
    /// What the file holds.
    pub(crate) content: Content,
    /// How it is written.
    pub(crate) format: Format,
    /// True where it is encrypted.
    pub(crate) encrypted: bool,
    /// Number of rows; the cardinality of a deletion vector.
    pub(crate) rows: u64,
    /// Size of the object.
    pub(crate) size_bytes: u64,
    /// The id of the first row (format version 3); inherited where it is absent.
    pub(crate) first_row_id: Option<i64>,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Rows.
    Data,
    /// Positions of deleted rows: a file of them, or a deletion vector.
    PositionDeletes,
    /// Values of deleted rows.
    EqualityDeletes,
}

/// A file format that the specification names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Parquet,
    Avro,
    Orc,
    Puffin,
    /// One that it does not name.
    Unknown,
}

impl Format {
    /// The name in the specification's spelling.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Parquet => "PARQUET",
            Format::Avro => "AVRO",
            Format::Orc => "ORC",
            Format::Puffin => "PUFFIN",
            Format::Unknown => "of an unknown kind",
        }
    }
}

/// The values of one partition field, in binary form.
#[derive(Debug)]
pub(crate) struct PartitionColumn {
    /// The partition field's id, where the writer wrote one.
    pub(crate) id: Option<i32>,
    /// The partition field's name.
    pub(crate) name: String,
    /// Which of two binary forms of one number are equal.
    pub(crate) number: Number,
    /// NULL where the partition value is NULL.
    pub(crate) values: BinaryArray,
}

/// How numbers of a partition field compare across the types that it had over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Integer,
    Float,
    Decimal,
    /// Not a number: equal where its bytes are.
    None,
}

/// What a manifest knows of one column: absent where no entry has it, NULL where one has not.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Lower bounds in binary form.
    pub(crate) lower: Option<BinaryArray>,
    /// Upper bounds in binary form.
    pub(crate) upper: Option<BinaryArray>,
    /// Numbers of NULLs.
    pub(crate) nulls: Option<Int64Array>,
}

/// What only delete files have.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct DeleteEntry {
    /// Field ids of the columns that an equality delete compares.
    pub(crate) equality_ids: Vec<i32>,
    /// The only data file that a position delete is about.
    pub(crate) referenced_data_file: Option<String>,
    /// Where the blob of a deletion vector begins.
    pub(crate) content_offset: Option<i64>,
    /// Size of the blob of a deletion vector.
    pub(crate) content_size: Option<i64>,
}

impl Manifest {
    /// Number of live entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes it takes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let metrics = self.metrics.values().map(|metrics| {
            let arrays: [Option<&dyn Array>; 3] = [
                metrics.lower.as_ref().map(|array| array as &dyn Array),
                metrics.upper.as_ref().map(|array| array as &dyn Array),
                metrics.nulls.as_ref().map(|array| array as &dyn Array),
            ];
            let arrays = arrays.into_iter().flatten().map(Array::get_array_memory_size);
            size_of::<(i32, Metrics)>() + arrays.sum::<usize>()
        });
        let partition = self.partition.iter().map(|column| {
            size_of::<PartitionColumn>() + column.name.capacity() + column.values.get_array_memory_size()
        });
        let deletes = self.deletes.iter().map(|entry| {
            let text = entry.referenced_data_file.as_ref().map_or(0, String::capacity);
            size_of::<DeleteEntry>() + text + entry.equality_ids.capacity() * size_of::<i32>()
        });
        size_of::<Self>()
            + self.paths.get_array_memory_size()
            + self.entries.capacity() * size_of::<Entry>()
            + metrics.sum::<usize>()
            + partition.sum::<usize>()
            + deletes.sum::<usize>()
    }

    /// The values of the partition field of that id, or of that name in files without ids.
    pub(crate) fn partition_values(&self, id: i32, name: &str) -> Option<&BinaryArray> {
        let by_id = self.partition.iter().find(|column| column.id == Some(id));
        let by_name = || {
            self.partition
                .iter()
                .find(|column| column.id.is_none() && column.name == name)
        };
        Some(&by_id.or_else(by_name)?.values)
    }
}
