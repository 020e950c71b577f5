//! One version of one table, as both formats look from above: columns, and files with what is known of them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use object_store::path::Path;
use proto::ColumnMatch;

use crate::delta::DeltaSnapshot;
use crate::error::Result;
use crate::iceberg::IcebergSnapshot;

/// An immutable version of a table. Whatever is planned from it reads the same rows, whoever commits meanwhile.
#[derive(Debug, Clone)]
pub struct TableSnapshot {
    table: Arc<str>,
    schema: SchemaRef,
    format: Format,
}

#[derive(Debug, Clone)]
enum Format {
    Iceberg(Arc<IcebergSnapshot>),
    Delta(Arc<DeltaSnapshot>),
}

/// The data files of a snapshot and how their columns become the table's.
#[derive(Debug, Clone)]
pub(crate) struct FileList {
    /// Every live data file.
    pub(crate) files: Vec<DataFile>,
    /// Columns of the table, by position, whose value is constant in each file and taken from [`DataFile::constants`].
    pub(crate) constant_columns: Vec<usize>,
    /// How the other columns are found in a file.
    pub(crate) column_match: ColumnMatch,
    /// Field ids of columns that a file may leave out because they are partition values; without a constant for them
    /// such a file cannot be read.
    pub(crate) partition_field_ids: Vec<i32>,
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
    /// Exact number of rows, where the metadata has it.
    pub rows: Option<u64>,
    /// Values of the list's constant columns, in their order.
    pub constants: Vec<ScalarValue>,
    /// What is known of each column of the table, in table order.
    pub columns: Vec<Column>,
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

    /// Every live data file, with bounds for the columns in `wanted` only.
    pub(crate) async fn files(&self, wanted: &[usize]) -> Result<FileList> {
        match &self.format {
            Format::Iceberg(snapshot) => snapshot.files(wanted).await,
            Format::Delta(snapshot) => Arc::clone(snapshot).files(wanted).await,
        }
    }
}
