//! One rolling Parquet writer: batches in, files and what is known of their columns out.
//!
//! It holds one row group and one part of an upload in memory, however many rows come.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use object_store::buffered::BufWriter;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::WriterProperties;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::{WrittenColumn, WrittenFile};
use crate::client::StagedTable;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;

/// A file ends when it has this size. Larger files make fewer requests, smaller ones share work between executors.
const FILE_BYTES_TARGET: usize = 256 << 20;
/// Rows of one row group: the unit that readers skip, and share between threads.
const ROW_GROUP_ROWS: usize = 256 << 10;
/// Wide rows make a row group end earlier.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Parts of an upload under way at once.
const UPLOADS_AT_ONCE: usize = 4;

/// Writes the data files of one table.
pub(super) struct Writer<'a> {
    stores: &'a Stores,
    table: &'a TableName,
    folder: &'a str,
    schema: SchemaRef,
    file_rows_max: usize,
    open: Option<OpenFile>,
    files: Vec<WrittenFile>,
    /// Locations of all files, the open one and failed ones too.
    begun: Vec<String>,
}

/// A file that takes rows.
struct OpenFile {
    location: String,
    encoder: ArrowWriter<Vec<u8>>,
    upload: BufWriter,
    rows: usize,
    /// NaN seen so far, per column.
    nans: Vec<Option<u64>>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(stores: &'a Stores, table: &'a TableName, staged: &'a StagedTable, file_rows_max: usize) -> Self {
        let (folder, schema) = (
            staged.target.data_folder.as_str(),
            Arc::clone(&staged.target.file_schema),
        );
        Self {
            stores,
            table,
            folder,
            schema,
            file_rows_max,
            open: None,
            files: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// Appends the batch. Its columns are taken by position.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = conform(batch, &self.schema).map_err(|error| self.failed(error))?;
        let mut offset = 0;
        while offset < batch.num_rows() {
            if self.open.is_none() {
                self.open = Some(self.begin()?);
            }
            let Some(file) = &mut self.open else { break };
            let rows = self
                .file_rows_max
                .saturating_sub(file.rows)
                .clamp(1, batch.num_rows() - offset);
            let encoded = file.encode(&batch.slice(offset, rows));
            encoded.map_err(|error| failed(self.table, error))?;
            file.send().await?;
            offset += rows;
            if file.is_full(self.file_rows_max) {
                self.finish().await?;
            }
        }
        Ok(())
    }

    /// Completes the file that is being written.
    pub(super) async fn finish(&mut self) -> Result<()> {
        let Some(mut file) = self.open.take() else {
            return Ok(());
        };
        let metadata = file.encoder.finish().map_err(|error| self.failed(error))?;
        file.send().await?;
        // The upload is an `AsyncWrite`: the store's own error travels inside an I/O error.
        file.upload
            .shutdown()
            .await
            .map_err(|error| match error.downcast::<object_store::Error>() {
                Ok(error) => Error::storage(&file.location, error),
                Err(error) => self.failed(error),
            })?;
        let column = |(index, nans)| column(&metadata, &self.schema, index, nans);
        let columns: Result<_, ParquetError> = file.nans.iter().copied().enumerate().map(column).collect();
        self.files.push(WrittenFile {
            location: file.location,
            size_bytes: file.encoder.bytes_written() as u64,
            rows: file.rows as u64,
            row_group_offsets: row_group_offsets(&metadata),
            columns: columns.map_err(|error| self.failed(error))?,
            partition: Vec::new(),
            spec_id: 0,
        });
        Ok(())
    }

    /// Gives up the file that is being written. Returns the complete files, and the locations of all that were begun.
    pub(super) async fn close(mut self) -> (Vec<WrittenFile>, Vec<String>) {
        if let Some(mut file) = self.open.take()
            && let Err(error) = file.upload.abort().await
        {
            tracing::warn!(location = %file.location, %error, "an upload that failed cannot be aborted");
        }
        (self.files, self.begun)
    }

    fn begin(&mut self) -> Result<OpenFile> {
        let location = format!("{}/{}.parquet", self.folder, Uuid::now_v7());
        let at = self.stores.locate(&location)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .build();
        // Readers go by the Parquet types, which every engine understands; an embedded Arrow schema could only differ.
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let encoder = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&self.schema), options);
        let nans = self
            .schema
            .fields()
            .iter()
            .map(|field| field.data_type().is_floating().then_some(0));
        let file = OpenFile {
            encoder: encoder.map_err(|error| self.failed(error))?,
            upload: BufWriter::new(at.store, at.path).with_max_concurrency(UPLOADS_AT_ONCE),
            rows: 0,
            nans: nans.collect(),
            location: location.clone(),
        };
        self.begun.push(location);
        Ok(file)
    }

    fn failed(&self, error: impl std::fmt::Display) -> Error {
        failed(self.table, error)
    }
}

impl OpenFile {
    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        self.encoder.write(batch)?;
        self.rows += batch.num_rows();
        for (nans, column) in self.nans.iter_mut().zip(batch.columns()) {
            if let Some(nans) = nans {
                *nans += count_nans(column);
            }
        }
        Ok(())
    }

    /// Uploads what is encoded: nothing before a row group is complete.
    async fn send(&mut self) -> Result<()> {
        let bytes = std::mem::take(self.encoder.inner_mut());
        if bytes.is_empty() {
            return Ok(());
        }
        self.upload
            .put(bytes.into())
            .await
            .map_err(|error| Error::storage(&self.location, error))
    }

    fn is_full(&self, rows_max: usize) -> bool {
        let bytes = self.encoder.bytes_written() + self.encoder.in_progress_size();
        self.rows >= rows_max || bytes >= FILE_BYTES_TARGET
    }
}

/// The batch in the file's types. A value that does not fit is an error.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.num_columns() != schema.fields().len() {
        let detail = format!(
            "{} columns are given where {} are wanted",
            batch.num_columns(),
            schema.fields().len()
        );
        return Err(ArrowError::SchemaError(detail));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let fields = schema.fields().iter().zip(batch.columns());
    let columns = fields.map(|(field, column)| cast_with_options(column, field.data_type(), &strict));
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}

fn count_nans(column: &ArrayRef) -> u64 {
    let count = match column.data_type() {
        DataType::Float32 => column
            .as_primitive::<Float32Type>()
            .iter()
            .flatten()
            .filter(|v| v.is_nan())
            .count(),
        DataType::Float64 => column
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .filter(|v| v.is_nan())
            .count(),
        _ => 0,
    };
    count as u64
}

fn row_group_offsets(metadata: &ParquetMetaData) -> Vec<i64> {
    let first = |group: &RowGroupMetaData| {
        let column = group.columns().first()?;
        Some(column.dictionary_page_offset().unwrap_or(column.data_page_offset()))
    };
    metadata.row_groups().iter().filter_map(first).collect()
}

/// What the footer says of a column. No column is nested, so that the Parquet leaves are the schema's fields.
fn column(
    metadata: &ParquetMetaData,
    schema: &Schema,
    index: usize,
    nans: Option<u64>,
) -> Result<WrittenColumn, ParquetError> {
    let groups = metadata.row_groups();
    let parquet_schema = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::from_column_index(index, schema.field(index), parquet_schema)?;
    let nulls = converter.row_group_null_counts(groups)?;
    // A row group of NULLs alone has no bounds and needs none.
    let only_nulls: Vec<bool> = (0..groups.len())
        .map(|i| nulls.is_valid(i) && i64::try_from(nulls.value(i)).is_ok_and(|n| n == groups[i].num_rows()))
        .collect();
    let ordered = nans.is_none_or(|nans| nans == 0);
    let bound = |values: ArrayRef, keep| {
        if ordered {
            extreme(&values, &only_nulls, keep)
        } else {
            None
        }
    };
    Ok(WrittenColumn {
        size_bytes: groups
            .iter()
            .map(|group| group.column(index).compressed_size().unsigned_abs())
            .sum(),
        values: groups
            .iter()
            .map(|group| group.column(index).num_values().unsigned_abs())
            .sum(),
        nulls: (nulls.null_count() == 0).then(|| nulls.values().iter().sum()),
        nans,
        min: bound(converter.row_group_mins(groups)?, Ordering::Less),
        max: bound(converter.row_group_maxes(groups)?, Ordering::Greater),
    })
}

/// The least or greatest of the row groups' bounds; `None` where one is unknown.
fn extreme(bounds: &ArrayRef, only_nulls: &[bool], keep: Ordering) -> Option<ScalarValue> {
    let mut extreme: Option<ScalarValue> = None;
    for (row, _) in only_nulls.iter().enumerate().filter(|(_, only_nulls)| !**only_nulls) {
        let bound = ScalarValue::try_from_array(bounds, row)
            .ok()
            .filter(|bound| !bound.is_null())?;
        extreme = match extreme {
            Some(known) if bound.partial_cmp(&known)? != keep => Some(known),
            _ => Some(bound),
        };
    }
    extreme
}

fn failed(table: &TableName, error: impl std::fmt::Display) -> Error {
    Error::Write {
        table: table.to_string(),
        detail: error.to_string(),
        source: None,
    }
}

#[cfg(test)]
mod tests;
