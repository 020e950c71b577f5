//! One rolling Parquet writer: batches in, files and what is known of their columns out.
//!
//! It holds one row group and one part of an upload in memory, however many rows come. Rows of one table partition
//! after another: a file has rows of one.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use datafusion::common::ScalarValue;
use futures::future::join_all;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::target::WriteTarget;
use super::{WrittenColumn, WrittenFile};
use crate::error::{Error, Result};
use crate::stores;

/// Rows of one row group: the unit that readers skip, and share between threads.
const ROW_GROUP_ROWS: usize = 256 << 10;
/// Parts of an upload under way at once.
const UPLOADS_AT_ONCE: usize = 4;
/// Objects deleted at once after a failure.
const DELETES_AT_ONCE: usize = 16;

/// Writes data files of one table.
pub(super) struct Writer {
    target: Arc<WriteTarget>,
    store: Arc<dyn ObjectStore>,
    /// The key of [`WriteTarget::data_folder`].
    folder: Path,
    /// How the names of all files begin.
    prefix: String,
    /// The partition values of the rows that come.
    partition: Vec<ScalarValue>,
    open: Option<OpenFile>,
    files: Vec<WrittenFile>,
    /// Keys of all files, the open one and failed ones too.
    begun: Vec<Path>,
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

impl Writer {
    /// Files of `target` in `store`, which is that of its folder. Their names begin with `write_id`, and no other
    /// writer's do so in the same way.
    pub(super) fn new(store: Arc<dyn ObjectStore>, target: Arc<WriteTarget>, write_id: &str) -> Result<Self> {
        let (_, folder) = stores::address(&target.data_folder)?;
        let own = Uuid::new_v4().simple().to_string();
        Ok(Self {
            target,
            store,
            folder,
            prefix: format!("{write_id}-{}", &own[..12]),
            partition: Vec::new(),
            open: None,
            files: Vec::new(),
            begun: Vec::new(),
        })
    }

    /// Rows that come from now on have these partition values.
    pub(super) async fn begin_partition(&mut self, values: Vec<ScalarValue>) -> Result<()> {
        if self.partition != values {
            self.finish().await?;
            self.partition = values;
        }
        Ok(())
    }

    /// Appends rows of the table. Their columns are taken by position.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = self.conform(batch)?;
        let rows_max = self.target.file_rows_max;
        let mut offset = 0;
        while offset < batch.num_rows() {
            if self.open.is_none() {
                self.open = Some(self.begin()?);
            }
            let Some(file) = &mut self.open else { break };
            let rows = rows_max.saturating_sub(file.rows).clamp(1, batch.num_rows() - offset);
            let encoded = file.encode(&batch.slice(offset, rows));
            encoded.map_err(|error| failed(&self.target.table, error))?;
            file.send().await?;
            offset += rows;
            if file.is_full(&self.target) {
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
        let column = |(index, nans)| column(&metadata, &self.target.file_schema, index, nans);
        let columns: Result<_, ParquetError> = file.nans.iter().copied().enumerate().map(column).collect();
        self.files.push(WrittenFile {
            location: file.location,
            size_bytes: file.encoder.bytes_written() as u64,
            rows: file.rows as u64,
            row_group_offsets: row_group_offsets(&metadata),
            columns: columns.map_err(|error| self.failed(error))?,
            partition: self.partition.clone(),
            spec_id: self.target.spec_id,
        });
        Ok(())
    }

    /// What the encoder of the open file holds in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |file| file.encoder.memory_size())
    }

    /// Ends the row group that is being encoded, so that its memory is free.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let Some(file) = &mut self.open else { return Ok(()) };
        file.encoder
            .flush()
            .map_err(|error| failed(&self.target.table, error))?;
        file.send().await
    }

    /// The complete files. The one that is being written is lost: it has to be finished before.
    pub(super) fn into_files(self) -> Vec<WrittenFile> {
        self.files
    }

    /// Gives up what is being written, and deletes all files as far as the store allows.
    pub(super) async fn discard(self) {
        let Self { store, open, begun, .. } = self;
        if let Some(OpenFile {
            location, mut upload, ..
        }) = open
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%location, %error, "an upload that failed cannot be aborted");
        }
        for some in begun.chunks(DELETES_AT_ONCE) {
            join_all(some.iter().map(|path| delete(store.as_ref(), path))).await;
        }
    }

    fn begin(&mut self) -> Result<OpenFile> {
        let name = format!("{}-{:05}.parquet", self.prefix, self.begun.len());
        let location = format!("{}/{name}", self.target.data_folder);
        let path = self.folder.clone().join(name);
        // Readers go by the Parquet types, which every engine understands; an embedded Arrow schema could only differ.
        let options = ArrowWriterOptions::new()
            .with_properties(self.properties().build())
            .with_skip_arrow_metadata(true);
        let schema = &self.target.file_schema;
        let encoder = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(schema), options);
        let nans = schema.fields().iter();
        let nans = nans.map(|field| field.data_type().is_floating().then_some(0));
        let file = OpenFile {
            encoder: encoder.map_err(|error| self.failed(error))?,
            upload: BufWriter::new(Arc::clone(&self.store), path.clone()).with_max_concurrency(UPLOADS_AT_ONCE),
            rows: 0,
            nans: nans.collect(),
            location,
        };
        self.begun.push(path);
        Ok(file)
    }

    fn properties(&self) -> WriterPropertiesBuilder {
        let row_group_bytes = usize::try_from(self.target.row_group_bytes).unwrap_or(usize::MAX);
        let mut properties = WriterProperties::builder()
            .set_compression(self.target.compression)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(row_group_bytes.max(1)));
        for column in &self.target.bloom_columns {
            let name = self.target.file_schema.field(*column).name();
            properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(name.as_str()), true);
        }
        properties
    }

    /// The rows in the columns and types of files. A value that does not fit is an error, and so is a NULL that the
    /// table does not allow.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let target = &self.target;
        if batch.num_columns() != target.table_schema.fields().len() {
            let wanted = target.table_schema.fields().len();
            return Err(self.failed(format!(
                "{} columns are given where {wanted} are wanted",
                batch.num_columns()
            )));
        }
        for (field, column) in target.table_schema.fields().iter().zip(batch.columns()) {
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(Error::Violation {
                    table: target.table.clone(),
                    detail: format!("the column \"{}\" is NOT NULL, and a row has NULL there", field.name()),
                });
            }
        }
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = target.file_columns.iter().zip(target.file_schema.fields());
        let columns = columns.map(|(index, field)| {
            let cast = cast_with_options(batch.column(*index), field.data_type(), &strict);
            cast.map_err(|error| Error::Violation {
                table: target.table.clone(),
                detail: format!("a value does not fit into the column \"{}\": {error}", field.name()),
            })
        });
        RecordBatch::try_new(Arc::clone(&target.file_schema), columns.collect::<Result<_>>()?)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: impl std::fmt::Display) -> Error {
        failed(&self.target.table, error)
    }
}

async fn delete(store: &dyn ObjectStore, path: &Path) {
    match store.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => tracing::warn!(%path, %error, "a file of a failed write stays behind"),
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

    fn is_full(&self, target: &WriteTarget) -> bool {
        let bytes = self.encoder.bytes_written() + self.encoder.in_progress_size();
        self.rows >= target.file_rows_max || bytes as u64 >= target.file_bytes_target
    }
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

/// What the footer says of a column; of a nested one its size and its rows alone.
fn column(
    metadata: &ParquetMetaData,
    schema: &Schema,
    index: usize,
    nans: Option<u64>,
) -> Result<WrittenColumn, ParquetError> {
    let groups = metadata.row_groups();
    let parquet_schema = metadata.file_metadata().schema_descr();
    let leaves = (0..parquet_schema.num_columns()).filter(|leaf| parquet_schema.get_column_root_idx(*leaf) == index);
    let leaves: Vec<usize> = leaves.collect();
    let sizes = groups
        .iter()
        .flat_map(|group| leaves.iter().map(|leaf| group.column(*leaf)));
    let size_bytes = sizes.map(|chunk| chunk.compressed_size().unsigned_abs()).sum();
    let &[leaf] = leaves.as_slice() else {
        return Ok(of_nested(groups, size_bytes));
    };
    if schema.field(index).data_type().is_nested() {
        return Ok(of_nested(groups, size_bytes));
    }
    let converter = StatisticsConverter::from_column_index(leaf, schema.field(index), parquet_schema)?;
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
        size_bytes,
        values: groups
            .iter()
            .map(|group| group.column(leaf).num_values().unsigned_abs())
            .sum(),
        nulls: (nulls.null_count() == 0).then(|| nulls.values().iter().sum()),
        nans,
        min: bound(converter.row_group_mins(groups)?, Ordering::Less),
        max: bound(converter.row_group_maxes(groups)?, Ordering::Greater),
    })
}

fn of_nested(groups: &[RowGroupMetaData], size_bytes: u64) -> WrittenColumn {
    WrittenColumn {
        size_bytes,
        values: groups.iter().map(|group| group.num_rows().unsigned_abs()).sum(),
        nulls: None,
        nans: None,
        min: None,
        max: None,
    }
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

fn failed(table: &str, error: impl std::fmt::Display) -> Error {
    Error::Write {
        table: table.to_owned(),
        detail: error.to_string(),
        source: None,
    }
}

#[cfg(test)]
mod tests;
