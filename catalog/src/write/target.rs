//! How rows of a table become data files: what every writer of one statement is told, wherever it runs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use parquet::basic::{Compression, ZstdLevel};

/// A file ends when it has this size. Larger files make fewer requests, smaller ones share work between executors.
const FILE_BYTES_TARGET: u64 = 256 << 20;
/// A row group ends when it has this size before it is compressed.
const ROW_GROUP_BYTES: u64 = 64 << 20;

/// How rows of a table become its data files.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteTarget {
    /// The table's name, for messages.
    pub table: String,
    /// The folder of the data files, without a slash at its end.
    pub data_folder: String,
    /// The columns of the table, in table order: the columns of the rows that are written.
    pub table_schema: SchemaRef,
    /// The columns of the data files, under the names that they have there; field ids are in the metadata
    /// (`PARQUET:field_id`).
    pub file_schema: SchemaRef,
    /// For each column of `file_schema`, its position in `table_schema`.
    pub file_columns: Vec<usize>,
    /// The partition spec that new files have.
    pub partition: Vec<PartitionField>,
    /// The id of that spec; 0 in Delta.
    pub spec_id: i32,
    /// The order of rows within a file.
    pub sort_order: Vec<SortField>,
    /// The id of that order; 0 where there is none.
    pub sort_order_id: i32,
    /// A file ends when it has this size.
    pub file_bytes_target: u64,
    /// A file ends after so many rows. Not 0.
    pub file_rows_max: usize,
    /// A row group ends when it has this size before it is compressed.
    pub row_group_bytes: u64,
    /// How pages are compressed.
    pub compression: Compression,
    /// Columns with a bloom filter, by position in `file_schema`.
    pub bloom_columns: Vec<usize>,
}

/// One field of a partition spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The source column, by position in the table.
    pub column: usize,
    /// What becomes of its values.
    pub transform: Transform,
    /// The field's own name.
    pub name: String,
}

/// A partition transform of the Iceberg specification. Delta has the identity alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The value itself, in the column's type.
    Identity,
    /// The hash of the value, modulo the number of buckets: `Int32`.
    Bucket(u32),
    /// The value cut to a width, in the column's type.
    Truncate(u32),
    /// Years since 1970: `Int32`.
    Year,
    /// Months since 1970-01: `Int32`.
    Month,
    /// Days since 1970-01-01: `Int32`.
    Day,
    /// Hours since 1970-01-01 00:00: `Int32`.
    Hour,
    /// Always NULL, in the column's type.
    Void,
}

impl Transform {
    /// The type of the partition values of a column of type `column`.
    pub fn result_type(self, column: &DataType) -> DataType {
        match self {
            Transform::Identity | Transform::Truncate(_) | Transform::Void => column.clone(),
            Transform::Bucket(_) | Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
                DataType::Int32
            }
        }
    }
}

/// One key of a table's sort order, most significant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortField {
    /// The column, by position in the table.
    pub column: usize,
    /// From the greatest to the least.
    pub descending: bool,
    /// Where NULLs stand.
    pub nulls_first: bool,
}

/// How changed and deleted rows leave a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowChange {
    /// By their positions, in delete files or deletion vectors: [`Change::deleted`](super::change::Change::deleted).
    MergeOnRead,
    /// Files that hold one are written anew without it: [`Change::removed`](super::change::Change::removed).
    CopyOnWrite,
}

/// The value of a column in rows that give none.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteDefault {
    /// A constant; NULL where the table has no default.
    Value(ScalarValue),
    /// A SQL expression without columns, as Delta has them.
    Sql(String),
}

impl WriteTarget {
    /// Unpartitioned, unsorted files of all of the columns, with the sizes and the compression of this writer.
    pub fn new(table: impl Into<String>, data_folder: impl Into<String>, schema: SchemaRef) -> Self {
        Self {
            table: table.into(),
            data_folder: data_folder.into(),
            file_columns: (0..schema.fields().len()).collect(),
            table_schema: SchemaRef::clone(&schema),
            file_schema: schema,
            partition: Vec::new(),
            spec_id: 0,
            sort_order: Vec::new(),
            sort_order_id: 0,
            file_bytes_target: FILE_BYTES_TARGET,
            file_rows_max: usize::MAX,
            row_group_bytes: ROW_GROUP_BYTES,
            compression: Compression::ZSTD(ZstdLevel::default()),
            bloom_columns: Vec::new(),
        }
    }

    /// The same with two more columns, Int64, behind those of the table and those of its files: what rows took over
    /// from the files that they were in before.
    pub(crate) fn keeping(mut self, stored: [Field; 2]) -> Self {
        let columns = self.table_schema.fields().len();
        let with = |schema: &SchemaRef| {
            let fields = schema.fields().iter().map(|field| field.as_ref().clone());
            Arc::new(Schema::new(fields.chain(stored.clone()).collect::<Vec<_>>()))
        };
        (self.table_schema, self.file_schema) = (with(&self.table_schema), with(&self.file_schema));
        self.file_columns.extend([columns, columns + 1]);
        self
    }

    /// The same with files of so many rows at most.
    pub(crate) fn with_rows_max(mut self, file_rows_max: usize) -> Self {
        self.file_rows_max = file_rows_max;
        self
    }
}
