//! New tables from rows: data files first, then one commit that shows all of them.
//!
//! Which files and columns a table format wants is the catalog client's word; this module writes them.

pub mod alter;
pub mod change;
pub mod compaction;
pub(crate) mod exec;
pub mod maintenance;
pub(crate) mod message;
mod parquet;
mod partition;
pub mod plan;
pub(crate) mod puffin;
pub mod replaced;
pub mod target;
pub(crate) mod vector;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use futures::future::join_all;
use object_store::ObjectStoreExt;
use serde::Deserialize;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::stores::Stores;

use target::{SortField, Transform};

/// Objects deleted at once after a failure.
const DELETES_AT_ONCE: usize = 16;

/// A table format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TableFormat {
    /// Apache Iceberg.
    #[default]
    Iceberg,
    /// Delta Lake.
    Delta,
}

impl fmt::Display for TableFormat {
    /// As USING names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableFormat::Iceberg => "iceberg",
            TableFormat::Delta => "delta",
        })
    }
}

/// A table to create.
#[derive(Debug, Clone)]
pub struct NewTable {
    /// Its format; the catalog chooses where it is not told.
    pub format: Option<TableFormat>,
    /// The columns. Types that the table format lacks are widened, or refused where that would lose values.
    pub schema: SchemaRef,
    /// Table properties, in the table format's own vocabulary.
    pub properties: Vec<(String, String)>,
    /// A data file ends after so many rows, or earlier when it has grown large. Must not be 0.
    pub file_rows_max: usize,
    /// The partition spec: columns by position, their transforms, and the fields' names where they are given.
    pub partition: Vec<(usize, Transform, Option<String>)>,
    /// The order of rows within a file.
    pub sort_order: Vec<SortField>,
    /// Where the table lies; the catalog chooses where it is not told.
    pub location: Option<String>,
    /// Values of new rows that give none, by the column's position.
    pub defaults: BTreeMap<usize, ScalarValue>,
}

impl NewTable {
    /// An unpartitioned, unsorted table of these columns, where the catalog wants it.
    pub fn new(schema: SchemaRef) -> Self {
        Self {
            format: None,
            schema,
            properties: Vec::new(),
            file_rows_max: usize::MAX,
            partition: Vec::new(),
            sort_order: Vec::new(),
            location: None,
            defaults: BTreeMap::new(),
        }
    }
}

/// A data file that is complete but that no table refers to yet.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenFile {
    pub(crate) location: String,
    pub(crate) size_bytes: u64,
    pub(crate) rows: u64,
    /// Where each row group begins in the file.
    pub(crate) row_group_offsets: Vec<i64>,
    /// In the order of [`target::WriteTarget::file_schema`]. Of a nested column only its size and its rows are known.
    pub(crate) columns: Vec<WrittenColumn>,
    /// Transformed values, in the order of [`target::WriteTarget::partition`].
    pub(crate) partition: Vec<ScalarValue>,
    /// The partition spec's id.
    pub(crate) spec_id: i32,
}

impl WrittenFile {
    /// Where it lies.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Its number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// What is known of one column of a written file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WrittenColumn {
    /// Compressed size.
    pub(crate) size_bytes: u64,
    /// Number of values, NULL and NaN included.
    pub(crate) values: u64,
    pub(crate) nulls: Option<u64>,
    /// Number of NaN; `None` for types without it.
    pub(crate) nans: Option<u64>,
    /// No value is less. Unknown for a column with NaN, which formats and engines order differently.
    pub(crate) min: Option<ScalarValue>,
    /// No value is greater. Unknown as `min` is.
    pub(crate) max: Option<ScalarValue>,
}

/// Creates the table `name` with all of `rows` and returns their number. Nobody sees the table before it is complete.
/// After a failure its files are deleted as far as the store allows; a future that is dropped leaves them behind,
/// where nothing refers to them.
pub async fn create_table(
    lakehouse: &Lakehouse,
    name: &TableName,
    new: &NewTable,
    rows: SendableRecordBatchStream,
) -> Result<u64> {
    let client = lakehouse.client(&name.catalog)?;
    let stores = lakehouse.stores();
    let staged = client.stage(name, new).await?;
    let store = stores.locate(&staged.target.data_folder)?.store;
    let target = Arc::new(staged.target.clone());
    let mut writer = parquet::Writer::new(store, target, &new_write_id())?;
    if let Err(error) = write_rows(&mut writer, name, rows).await {
        writer.discard().await;
        return Err(error);
    }
    let files = writer.into_files();
    let outcome = client.create(name, staged, &files).await;
    settle(stores, &locations(&files), outcome).await?;
    Ok(files.iter().map(|file| file.rows).sum())
}

/// A new id for the files of one write; later ids sort behind earlier ones.
pub fn new_write_id() -> String {
    Uuid::now_v7().simple().to_string()
}

fn locations(files: &[WrittenFile]) -> Vec<String> {
    files.iter().map(|file| file.location.clone()).collect()
}

async fn write_rows(writer: &mut parquet::Writer, name: &TableName, mut rows: SendableRecordBatchStream) -> Result<()> {
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| Error::Write {
            table: name.to_string(),
            detail: "its rows cannot be computed".to_owned(),
            source: Some(Box::new(error)),
        })?;
        writer.write(&batch).await?;
    }
    writer.finish().await
}

/// Deletes the data files of a write that failed, as far as the store allows: those in `folder` whose names begin with
/// its id. No table may refer to them.
pub async fn discard(stores: &Stores, folder: &str, write_id: &str) {
    if let Err(error) = try_discard(stores, folder, write_id).await {
        tracing::warn!(%folder, %write_id, %error, "files of a failed write stay behind");
    }
}

async fn try_discard(stores: &Stores, folder: &str, write_id: &str) -> Result<()> {
    let at = stores.locate(folder)?;
    // Listed from the first name that can begin so.
    let mut listed = at
        .store
        .list_with_offset(Some(&at.path), &at.path.clone().join(write_id));
    while let Some(found) = listed.next().await {
        let found = match found {
            Err(object_store::Error::NotFound { .. }) => return Ok(()),
            found => found.map_err(|error| Error::storage(folder, error))?,
        };
        if !found.location.filename().is_some_and(|name| name.starts_with(write_id)) {
            // A store lists names in order, a local folder does not.
            match at.store_url.as_str() {
                "file:///" => continue,
                _ => return Ok(()),
            }
        }
        match at.store.delete(&found.location).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(Error::storage(found.location.to_string(), error)),
        }
    }
    Ok(())
}

/// Writes one small object.
pub(crate) async fn put(stores: &Stores, location: &str, bytes: Bytes) -> Result<()> {
    let at = stores.locate(location)?;
    at.store
        .put(&at.path, bytes.into())
        .await
        .map(|_| ())
        .map_err(|error| Error::storage(location, error))
}

/// Ends a write: after a failure, the objects `written` for it are deleted. While it is not known whether a commit took
/// place, the table may need them: they stay.
pub(crate) async fn settle(stores: &Stores, written: &[String], outcome: Result<()>) -> Result<()> {
    if outcome
        .as_ref()
        .is_err_and(|error| !matches!(error, Error::CommitUnknown { .. }))
    {
        delete_all(stores, written).await;
    }
    outcome
}

/// Deletes objects that nothing refers to, as far as the store allows.
pub(crate) async fn delete_all(stores: &Stores, locations: &[String]) {
    for some in locations.chunks(DELETES_AT_ONCE) {
        join_all(some.iter().map(|location| delete(stores, location))).await;
    }
}

async fn delete(stores: &Stores, location: &str) {
    let deleted = match stores.locate(location) {
        Ok(at) => at
            .store
            .delete(&at.path)
            .await
            .map_err(|error| Error::storage(location, error)),
        Err(error) => Err(error),
    };
    match deleted {
        Ok(())
        | Err(Error::Storage {
            source: object_store::Error::NotFound { .. },
            ..
        }) => {}
        Err(error) => tracing::warn!(%location, %error, "a file of a failed write stays behind"),
    }
}
