//! One version of one table, as both formats look from above: columns, and files with what is known of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::physical_expr::PhysicalExpr;
use object_store::path::Path;
use proto::ColumnMatch;

use crate::delta::DeltaSnapshot;
use crate::error::{Error, Result};
use crate::iceberg::IcebergSnapshot;
use crate::iceberg::deletes::Partition;
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::scan::deletes::RowDeletes;
use crate::system_table::MetadataTable;
use crate::write::change::{Change, Committed, Operation};
use crate::write::target::{RowChange, WriteDefault, WriteTarget};

/// An immutable version of a table. Whatever is planned from it reads the same rows, whoever commits meanwhile.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    table: Arc<str>,
    schema: SchemaRef,
    format: Format,
}

/// Descriptions of a table and its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comments {
    /// That of the table.
    pub table: Option<String>,
    /// Those of the columns, in table order.
    pub columns: Vec<Option<String>>,
}

/// Which version of a table is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AsOf {
    /// The newest.
    Latest,
    /// An Iceberg snapshot id or a Delta version.
    Version(i64),
    /// The one that was newest at that time, in microseconds since the epoch, UTC.
    Timestamp(i64),
    /// An Iceberg branch or tag.
    Ref(String),
    /// The head of that branch in Iceberg tables that have it, and the newest of everything else. What is written to an
    /// Iceberg table begins the branch there.
    Branch(String),
}

#[derive(Debug, Clone)]
enum Format {
    Iceberg(Arc<IcebergSnapshot>),
    Delta(Arc<DeltaSnapshot>),
}

/// What a scan asks of a snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileRequest<'a> {
    /// Columns of the table, by position, whose bounds are wanted.
    pub(crate) wanted: &'a [usize],
    /// Over the table's columns: files without a row for which it is true may be left out.
    pub(crate) predicate: Option<&'a Arc<dyn PhysicalExpr>>,
    /// Files at other locations, as the metadata write them, are left out.
    pub(crate) only: Option<&'a Arc<HashSet<String>>>,
    /// Whether [`DataFile::origin`] is wanted.
    pub(crate) with_origin: bool,
}

/// Where data files keep what rows took over from the files that they were in before: nullable columns, Int64, that no
/// table has. A file without the column has taken over nothing.
#[derive(Debug, Clone)]
pub(crate) struct StoredLineage {
    /// The row's id.
    pub(crate) row_id: FieldRef,
    /// The commit that last changed the row.
    pub(crate) last_updated: FieldRef,
}

impl StoredLineage {
    const ROW_ID: &'static str = "\u{0}row_id";
    const LAST_UPDATED: &'static str = "\u{0}last_updated";

    /// Columns of files that are known by the metadata of their fields: the row's id, the commit that last changed it.
    pub(crate) fn known_by([row_id, last_updated]: [HashMap<String, String>; 2]) -> Self {
        let field = |name, metadata| Arc::new(Field::new(name, DataType::Int64, true).with_metadata(metadata));
        Self {
            row_id: field(Self::ROW_ID, row_id),
            last_updated: field(Self::LAST_UPDATED, last_updated),
        }
    }
}

impl Default for StoredLineage {
    fn default() -> Self {
        Self::known_by(Default::default())
    }
}

/// What a data file's rows inherit from its entry in the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowOrigin {
    /// The file's location, as the metadata write it.
    pub(crate) location: String,
    /// The id of the file's first row; those of the others follow.
    pub(crate) first_row_id: Option<i64>,
    /// The Iceberg sequence number or Delta version that added the file, where its rows have ids.
    pub(crate) sequence: Option<i64>,
    /// The table partition that it lies in: equal for files of one, and different for those of two. `None` where the
    /// set's constant columns tell it.
    pub(crate) partition: Option<Partition>,
}

/// The data files that a scan has to read, and how they become rows of the table.
#[derive(Debug, Clone)]
pub(crate) struct FileList {
    /// Every live data file that may hold a wanted row, once.
    pub(crate) sets: Vec<FileSet>,
    /// Equality deletes that may apply to one of these files.
    pub(crate) equality_deletes: Vec<EqualityDeleteFile>,
    /// How columns are found in every file of the list, equality delete files included.
    pub(crate) columns: Arc<ColumnMapping>,
    /// Estimates of the number of distinct values in the whole table, by the column's position, where they are known.
    pub(crate) distinct: Arc<BTreeMap<usize, u64>>,
    /// What planning looked at and dropped.
    pub(crate) pruned: Pruned,
}

/// Data files that take the same columns from their metadata, such as those of one partition spec.
#[derive(Debug, Clone)]
pub(crate) struct FileSet {
    /// Columns of the table, by position, whose value is constant in each file and taken from [`DataFile::constants`].
    pub(crate) constant_columns: Vec<usize>,
    /// The files.
    pub(crate) files: Vec<DataFile>,
}

/// How many of a snapshot's manifests and data files planning dropped, for `EXPLAIN`. A Delta log counts as no manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Data manifests of the snapshot.
    pub(crate) manifests_total: u64,
    /// Those of them that were read.
    pub(crate) manifests_read: u64,
    /// Data files in the manifests that were read.
    pub(crate) files_total: u64,
    /// Those of them that the scan reads.
    pub(crate) files_read: u64,
}

/// How columns of data files become columns of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnMapping {
    /// By what a column is known.
    pub(crate) column_match: ColumnMatch,
    /// Iceberg's `schema.name-mapping.default` (JSON), for files without field ids.
    pub(crate) name_mapping: Option<String>,
    /// Values of columns and nested fields, by field id, in files that were written before them (Iceberg's
    /// `initial-default`).
    pub(crate) defaults: BTreeMap<i32, ScalarValue>,
}

impl ColumnMapping {
    /// The mapping without name mapping and defaults.
    pub(crate) fn by(column_match: ColumnMatch) -> Self {
        Self {
            column_match,
            name_mapping: None,
            defaults: BTreeMap::new(),
        }
    }
}

/// One data file.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// The bucket.
    pub store_url: ObjectStoreUrl,
    /// The key in the bucket.
    pub path: Path,
    /// Size of the object.
    pub size_bytes: u64,
    /// Number of rows in the file, deleted ones included, where the metadata has it.
    pub rows: Option<u64>,
    /// Values of the set's constant columns, in their order.
    pub constants: Vec<ScalarValue>,
    /// What is known of each column of the table, in table order.
    pub columns: Vec<Column>,
    /// Rows that are deleted by position.
    pub(crate) deletes: Option<Arc<RowDeletes>>,
    /// Iceberg's data sequence number, which decides the equality deletes that apply; 0 elsewhere.
    pub(crate) sequence: i64,
    /// Number of the table partition within this list, equal to that of the [`EqualityDeleteFile`]s of the same
    /// partition spec and values; absent where no equality delete is scoped to a partition.
    pub(crate) table_partition: Option<i32>,
    /// What its rows inherit, where that was asked for.
    pub(crate) origin: Option<Box<RowOrigin>>,
}

/// Iceberg equality deletes: rows of older files that equal one of its rows in the given columns, NULLs included.
#[derive(Debug, Clone)]
pub(crate) struct EqualityDeleteFile {
    /// The bucket.
    pub(crate) store_url: ObjectStoreUrl,
    /// The key in the bucket.
    pub(crate) path: Path,
    /// Size of the object.
    pub(crate) size_bytes: u64,
    /// Number of rows.
    pub(crate) rows: u64,
    /// The columns that are compared, in the order of their field ids. A column may have been dropped since.
    pub(crate) equality_columns: Vec<Field>,
    /// Applies to data files with a smaller sequence number.
    pub(crate) sequence: i64,
    /// Applies to data files of this [`DataFile::table_partition`] only; to all where absent.
    pub(crate) table_partition: Option<i32>,
}

/// What the metadata says of one column of one file. Bounds enclose every value but NULL; they may be wider than the
/// values and are never used as answers.
#[derive(Debug, Clone, Default)]
pub struct Column {
    /// No value is less.
    pub lower: Option<ScalarValue>,
    /// No value is greater.
    pub upper: Option<ScalarValue>,
    /// Number of NULLs.
    pub nulls: Option<u64>,
}

/// A column as plans see it: text and binary as views, which filters and joins pass on without a copy; inner fields
/// nullable, as writers leave them in files whatever the table demands of its rows.
pub(crate) fn plan_column(field: &Field) -> Field {
    let column_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        nested => nullable_inside(nested),
    };
    field.clone().with_data_type(column_type)
}

fn nullable_inside(nested: &DataType) -> DataType {
    let nullable = |field: &FieldRef| {
        let inner = nullable_inside(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(inner).with_nullable(true))
    };
    match nested {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(nullable).collect()),
        DataType::List(item) => DataType::List(nullable(item)),
        // The entries and keys of a map are never NULL.
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let fields = Fields::from(vec![Arc::clone(&fields[0]), nullable(&fields[1])]);
                let entries = entries.as_ref().clone().with_data_type(DataType::Struct(fields));
                DataType::Map(Arc::new(entries), *sorted)
            }
            _ => nested.clone(),
        },
        other => other.clone(),
    }
}

impl TableSnapshot {
    pub(crate) fn iceberg(table: String, snapshot: IcebergSnapshot) -> Self {
        let schema = Arc::clone(snapshot.schema());
        Self {
            table: table.into(),
            schema,
            format: Format::Iceberg(Arc::new(snapshot)),
        }
    }

    pub(crate) fn delta(table: String, snapshot: DeltaSnapshot) -> Self {
        let schema = Arc::clone(snapshot.schema());
        Self {
            table: table.into(),
            schema,
            format: Format::Delta(Arc::new(snapshot)),
        }
    }

    /// The table's name, for messages and plans.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The columns as users see them, in table order.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The Iceberg snapshot id or the Delta version; `None` for an Iceberg table without a snapshot, which is empty.
    pub fn version(&self) -> Option<i64> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.id(),
            Format::Delta(snapshot) => Some(snapshot.version()),
        }
    }

    /// The value of a table property.
    pub fn property(&self, key: &str) -> Option<String> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.property(key),
            Format::Delta(snapshot) => snapshot.property(key),
        }
    }

    /// The bytes of all data files, where the metadata tell. An estimate: other writers may count them in another way.
    pub(crate) async fn bytes(&self) -> Result<Option<u64>> {
        match &self.format {
            Format::Iceberg(snapshot) => Ok(snapshot.bytes()),
            Format::Delta(snapshot) => snapshot.bytes().await.map(Some),
        }
    }

    /// What people wrote about the table and its columns.
    pub fn comments(&self) -> Comments {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.comments(),
            Format::Delta(snapshot) => snapshot.comments(),
        }
    }

    /// How rows become data files of this table. Refuses by name what this writer cannot write right.
    pub fn write_target(&self) -> Result<WriteTarget> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.write_target(),
            Format::Delta(snapshot) => snapshot.write_target(),
        }
    }

    /// The same for rows that move into other files, or are changed: where they have ids, two columns of them stand behind
    /// those of the table (`_row_id` and `_last_updated_sequence_number`), and files keep them. NULL is what the new file
    /// gives.
    pub fn rewrite_target(&self) -> Result<WriteTarget> {
        let target = self.write_target()?;
        let stored = match &self.format {
            Format::Iceberg(_) if self.tracks_rows() => IcebergSnapshot::stored_columns(),
            Format::Delta(snapshot) if self.tracks_rows() => snapshot.stored_columns()?,
            _ => return Ok(target),
        };
        Ok(target.keeping(stored))
    }

    /// The branch that rows are written to; `None` for what has no branches, and for versions that nobody writes behind.
    pub fn branch(&self) -> Option<&str> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.branch.as_deref(),
            Format::Delta(_) => None,
        }
    }

    /// Whether rows have ids that they keep wherever they are moved (row lineage, row tracking).
    pub fn tracks_rows(&self) -> bool {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.tracks_rows(),
            Format::Delta(snapshot) => snapshot.tracks_rows(),
        }
    }

    /// How DELETE, UPDATE and MERGE change the rows of this table. `operation` names the property that decides.
    pub fn row_change(&self, operation: Operation) -> Result<RowChange> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.row_change(operation),
            Format::Delta(snapshot) => snapshot.row_change(operation),
        }
    }

    /// Conditions that must be true of every row: their names and SQL texts over
    /// the table's columns. NOT NULL is in the schema.
    pub fn constraints(&self) -> Vec<(String, String)> {
        match &self.format {
            Format::Iceberg(_) => Vec::new(),
            Format::Delta(snapshot) => snapshot.constraints(),
        }
    }

    /// The value of the column at `index` in new rows that give none; NULL where there is no default.
    pub fn write_default(&self, index: usize) -> Result<WriteDefault> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.write_default(index),
            Format::Delta(snapshot) => snapshot.write_default(index),
        }
    }

    /// Commits `change`, which was computed from this version.
    pub(crate) async fn commit(&self, lakehouse: &Lakehouse, name: &TableName, change: Change) -> Result<Committed> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.commit(lakehouse, name, change).await,
            Format::Delta(snapshot) => snapshot.commit(lakehouse, name, change).await,
        }
    }

    /// The columns whose distinct values ANALYZE counts: `wanted`, or all that can be counted.
    pub fn sketched_columns(&self, wanted: Option<&[String]>) -> Result<Vec<String>> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.sketched_columns(wanted),
            Format::Delta(_) => Err(Error::Unsupported {
                table: self.table.to_string(),
                feature: "ANALYZE: Delta tables keep no numbers of distinct values, and bounds and counts are written \
                          with every file"
                    .to_owned(),
            }),
        }
    }

    /// The rows of a metadata table of this version.
    pub(crate) async fn inspect(&self, metadata_table: MetadataTable) -> Result<RecordBatch> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.inspect(metadata_table).await,
            Format::Delta(snapshot) => Arc::clone(snapshot).inspect(metadata_table).await,
        }
    }

    /// The locations of all data files, as the table's metadata write them.
    pub async fn data_files(&self) -> Result<Vec<String>> {
        let request = FileRequest {
            wanted: &[],
            predicate: None,
            only: None,
            with_origin: true,
        };
        let list = self.files(request).await?;
        let files = list.sets.into_iter().flat_map(|set| set.files);
        let location = |file: DataFile| match file.origin {
            Some(origin) => Ok(origin.location),
            None => Err(Error::Corrupt {
                table: self.table().to_owned(),
                file: file.path.to_string(),
                detail: "its location is not known".to_owned(),
            }),
        };
        files.map(location).collect()
    }

    /// Where data files keep what their rows took over.
    pub(crate) fn stored_lineage(&self) -> StoredLineage {
        match &self.format {
            Format::Iceberg(_) => IcebergSnapshot::stored_lineage(),
            Format::Delta(snapshot) => snapshot.stored_lineage(),
        }
    }

    /// The data files that may hold a wanted row.
    pub(crate) async fn files(&self, request: FileRequest<'_>) -> Result<FileList> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.files(request).await,
            Format::Delta(snapshot) => Arc::clone(snapshot).files(request).await,
        }
    }
}
