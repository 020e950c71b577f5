//! Iceberg position delete files: Parquet files of data file locations and row positions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use roaring::RoaringTreemap;

use super::rows::DeletedRows;
use crate::error::Error;
use crate::scan::adapt::field_id;
use crate::scan::source::reader::LakeReaderFactory;

/// Name and reserved field id of the data file's location.
const FILE_PATH: (&str, i32) = ("file_path", 2_147_483_546);
/// Name and reserved field id of the row's position.
const POS: (&str, i32) = ("pos", 2_147_483_545);
/// Rows decoded at once.
const BATCH_ROWS: usize = 64 * 1024;
/// The footer is hoped to be within so many bytes of the end.
const FOOTER_BYTES: usize = 64 * 1024;

/// One position delete file.
pub(super) struct DeleteFile {
    pub(super) table: Arc<str>,
    pub(super) store_url: ObjectStoreUrl,
    pub(super) path: Path,
    pub(super) size_bytes: u64,
}

impl DeleteFile {
    /// The deleted positions of every data file that it names.
    pub(super) async fn read(self, store: Arc<dyn ObjectStore>) -> Result<HashMap<String, Arc<DeletedRows>>> {
        let mut file = PartitionedFile::new("", self.size_bytes);
        file.object_meta.location = self.path.clone();
        let readers = LakeReaderFactory::new(Arc::clone(&self.table), self.store_url.clone(), store, None)
            .with_metadata_size_hint(Some(FOOTER_BYTES));
        let mut reader: Box<dyn AsyncFileReader> =
            readers.create_reader(0, file, None, &ExecutionPlanMetricsSet::new())?;
        // The writer's Arrow schema may ask for any string type; without it all are one.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await?;
        let columns = [
            self.column(metadata.schema(), FILE_PATH)?,
            self.column(metadata.schema(), POS)?,
        ];
        let mask = ProjectionMask::roots(metadata.parquet_schema(), columns);
        let mut batches = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()?;
        // The projection keeps the order of the file.
        let (path, pos) = if columns[0] < columns[1] { (0, 1) } else { (1, 0) };
        let mut deleted: HashMap<String, RoaringTreemap> = HashMap::new();
        loop {
            let next = batches.try_next().await;
            let Some(batch) = next.map_err(|error| self.error(error))? else {
                break;
            };
            self.add(&batch, path, pos, &mut deleted)?;
        }
        let rows = |(file, positions)| (file, Arc::new(DeletedRows::new(positions)));
        Ok(deleted.into_iter().map(rows).collect())
    }

    fn column(&self, schema: &SchemaRef, (name, id): (&str, i32)) -> Result<usize> {
        let fields = schema.fields();
        let by_id = fields.iter().position(|field| field_id(field) == Some(id));
        by_id
            .or_else(|| fields.iter().position(|field| field.name() == name))
            .ok_or_else(|| self.corrupt(format!("it has no column {name}")).into())
    }

    fn add(
        &self,
        batch: &RecordBatch,
        path: usize,
        pos: usize,
        deleted: &mut HashMap<String, RoaringTreemap>,
    ) -> Result<()> {
        let files = cast(batch.column(path), &DataType::Utf8View)?;
        let positions = cast(batch.column(pos), &DataType::Int64)?;
        if files.null_count() + positions.null_count() > 0 {
            return Err(self.corrupt("it has a NULL").into());
        }
        let (Some(files), Some(positions)) = (files.as_string_view_opt(), positions.as_primitive_opt::<Int64Type>())
        else {
            return Err(self.corrupt("its columns are no text and number").into());
        };
        let positions = positions.values();
        let mut start = 0;
        while start < files.len() {
            let file = files.value(start);
            let end = (start..files.len())
                .find(|row| files.value(*row) != file)
                .unwrap_or(files.len());
            if !deleted.contains_key(file) {
                deleted.insert(file.to_owned(), RoaringTreemap::new());
            }
            if let Some(deleted) = deleted.get_mut(file) {
                for position in &positions[start..end] {
                    let position = u64::try_from(*position);
                    deleted.insert(position.map_err(|_| self.corrupt("it has a negative position"))?);
                }
            }
            start = end;
        }
        Ok(())
    }

    /// A page that cannot be decoded does not know its file.
    fn error(&self, error: parquet::errors::ParquetError) -> DataFusionError {
        match error {
            parquet::errors::ParquetError::External(known) => DataFusionError::External(known),
            other => self.corrupt(other.to_string()).into(),
        }
    }

    fn corrupt(&self, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            table: self.table.to_string(),
            file: super::url(&self.store_url, &self.path),
            detail: detail.into(),
        }
    }
}
