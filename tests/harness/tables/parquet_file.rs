//! Data files, with pages and row groups as small as a test wants them, and what a writer knows of their columns.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{FIELD_ID, field_id};

/// How a file is cut and encoded.
#[derive(Debug, Clone)]
pub struct FileLayout {
    /// Rows of a row group.
    pub row_group_rows: usize,
    /// Rows of a page.
    pub page_rows: usize,
    /// Whether values are replaced by indices into a dictionary.
    pub dictionary: bool,
    /// Whether there is a bloom filter for every column.
    pub bloom_filters: bool,
    /// Whether bounds are kept per page, not only per row group.
    pub page_index: bool,
    /// Whether pages are compressed.
    pub compressed: bool,
}

impl Default for FileLayout {
    fn default() -> Self {
        Self {
            row_group_rows: 128 << 10,
            page_rows: 20_000,
            dictionary: true,
            bloom_filters: false,
            page_index: true,
            compressed: true,
        }
    }
}

/// A data file and what its footer says.
#[derive(Debug, Clone)]
pub struct WrittenFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Number of rows.
    pub rows: u64,
    /// Its top-level columns that are not nested.
    pub columns: Vec<ColumnStatistics>,
}

/// What a writer knows of one column of one file.
#[derive(Debug, Clone)]
pub struct ColumnStatistics {
    /// The column.
    pub field: Field,
    /// The least value but NULL and NaN.
    pub lower: Option<ScalarValue>,
    /// The greatest value but NULL and NaN.
    pub upper: Option<ScalarValue>,
    /// Number of NULLs.
    pub nulls: u64,
    /// Number of NaNs, of floating point columns.
    pub nans: Option<u64>,
}

/// Writes `batches`, which must have one schema, as the file `path`.
pub fn write_parquet(path: &Path, batches: &[RecordBatch], layout: &FileLayout) -> Result<WrittenFile> {
    let schema = batches.first().context("a file without a batch")?.schema();
    let statistics = if layout.page_index {
        EnabledStatistics::Page
    } else {
        EnabledStatistics::Chunk
    };
    let compression = if layout.compressed {
        Compression::ZSTD(ZstdLevel::default())
    } else {
        Compression::UNCOMPRESSED
    };
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(layout.row_group_rows))
        .set_data_page_row_count_limit(layout.page_rows)
        .set_write_batch_size(layout.page_rows.min(1024))
        .set_dictionary_enabled(layout.dictionary)
        .set_bloom_filter_enabled(layout.bloom_filters)
        .set_bloom_filter_max_ndv(1000)
        .set_statistics_enabled(statistics)
        .set_statistics_truncate_length(None)
        .set_compression(compression)
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut writer = ArrowWriter::try_new_with_options(File::create(path)?, Arc::clone(&schema), options)?;
    for batch in batches {
        writer.write(batch)?;
    }
    let metadata = writer.close()?;
    let columns = schema.fields().iter().enumerate();
    let columns = columns.filter(|(_, field)| !field.data_type().is_nested());
    let columns = columns.map(|(index, field)| column(&metadata, &schema, field, nans(batches, index)));
    Ok(WrittenFile {
        path: path.to_owned(),
        size_bytes: std::fs::metadata(path)?.len(),
        rows: batches.iter().map(|batch| batch.num_rows() as u64).sum(),
        columns: columns.collect::<Result<_>>()?,
    })
}

fn column(metadata: &ParquetMetaData, schema: &Schema, field: &Field, nans: Option<u64>) -> Result<ColumnStatistics> {
    let converter = StatisticsConverter::try_new(field.name(), schema, metadata.file_metadata().schema_descr())?;
    let groups = metadata.row_groups();
    let bound = |bounds: &dyn Array, greater: bool| -> Result<Option<ScalarValue>> {
        let mut best: Option<ScalarValue> = None;
        for index in 0..bounds.len() {
            let bound = ScalarValue::try_from_array(bounds, index)?;
            let better = best
                .as_ref()
                .is_none_or(|best| (bound > *best) == greater && bound != *best);
            if !bound.is_null() && better {
                best = Some(bound);
            }
        }
        Ok(best)
    };
    let nulls = converter.row_group_null_counts(groups)?;
    Ok(ColumnStatistics {
        field: field.clone(),
        lower: bound(&converter.row_group_mins(groups)?, false)?,
        upper: bound(&converter.row_group_maxes(groups)?, true)?,
        nulls: nulls.iter().flatten().sum(),
        nans,
    })
}

fn nans(batches: &[RecordBatch], index: usize) -> Option<u64> {
    let nans = batches.iter().map(|batch| {
        let column = batch.column(index);
        let count = match column.data_type() {
            DataType::Float32 => column
                .as_primitive::<Float32Type>()
                .iter()
                .filter(|v| v.is_some_and(f32::is_nan))
                .count(),
            DataType::Float64 => column
                .as_primitive::<Float64Type>()
                .iter()
                .filter(|v| v.is_some_and(f64::is_nan))
                .count(),
            _ => return None,
        };
        Some(count as u64)
    });
    nans.sum()
}

/// The columns of an Iceberg position delete file.
pub fn delete_positions_schema() -> SchemaRef {
    let field = |name: &str, id: i32, data_type| {
        let id = HashMap::from([(FIELD_ID.to_owned(), id.to_string())]);
        Field::new(name, data_type, false).with_metadata(id)
    };
    Arc::new(Schema::new(vec![
        field("file_path", 2_147_483_546, DataType::Utf8),
        field("pos", 2_147_483_545, DataType::Int64),
    ]))
}

impl ColumnStatistics {
    /// The column's field id.
    pub fn id(&self) -> Option<i32> {
        field_id(&self.field)
    }
}
