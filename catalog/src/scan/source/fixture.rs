//! A small table in memory for tests: two data files, and deletes in another store that counts its requests.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use flate2::Crc;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proto::ColumnMatch;
use roaring::RoaringTreemap;

use super::{Access, LakeParquetSource, with_deletes};
use crate::scan::codec::LakeCodec;
use crate::scan::deletes::cache::DeleteCache;
use crate::scan::deletes::{DeleteSource, RowDeletes, VectorFrame};
use crate::snapshot::ColumnMapping;

/// Rows of one data file: five row groups of pages of fifty rows.
pub(crate) const ROWS: i64 = 1000;
/// Where the table's metadata says the first data file is.
pub(crate) const DATA_FILE: &str = "s3://data/table/a.parquet";

/// The stores `memory://data` and `memory://deletes`.
pub(crate) struct Lake {
    pub(crate) data: Arc<Counting>,
    pub(crate) deletes: Arc<Counting>,
    pub(crate) cache: Arc<DeleteCache>,
    pub(crate) files: Vec<PartitionedFile>,
}

/// How a query runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) partitions: usize,
    pub(crate) pushdown_filters: bool,
    /// The plan is encoded and decoded first.
    pub(crate) wire: bool,
}

/// Every way in which a query runs.
pub(crate) fn runs() -> impl Iterator<Item = Run> {
    (0..8).map(|bits| Run {
        partitions: if bits & 1 == 0 { 1 } else { 13 },
        pushdown_filters: bits & 2 != 0,
        wire: bits & 4 != 0,
    })
}

/// The value of column `v` in the row `id`.
pub(crate) fn value(id: i64) -> i64 {
    id * 7919 % 1009
}

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("v", DataType::Int64, true),
        Field::new("s", DataType::Utf8View, true),
    ]))
}

/// A Parquet file of the rows `ids`.
pub(crate) fn data_file(ids: Range<i64>) -> Bytes {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(ids.clone())),
        Arc::new(Int64Array::from_iter_values(ids.clone().map(value))),
        Arc::new(StringArray::from_iter_values(ids.map(|id| format!("row {id}")))),
    ];
    parquet(&["id", "v", "s"], columns)
}

/// A Parquet file with row groups of two hundred rows.
pub(crate) fn parquet(names: &[&str], columns: Vec<ArrayRef>) -> Bytes {
    let fields = names.iter().zip(&columns);
    let fields: Vec<Field> = fields
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(200))
        .set_data_page_row_count_limit(50)
        .set_write_batch_size(50)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes.into()
}

pub(crate) fn bitmap(rows: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let positions: RoaringTreemap = rows.iter().copied().collect();
    positions.serialize_into(&mut bytes).unwrap();
    bytes
}

/// Length, magic, bitmap, checksum.
pub(crate) fn framed(rows: &[u64]) -> Vec<u8> {
    let mut checked = vec![0xD1, 0xD3, 0x39, 0x64];
    checked.extend(bitmap(rows));
    let mut crc = Crc::new();
    crc.update(&checked);
    let length = u32::try_from(checked.len()).unwrap();
    [&length.to_be_bytes(), checked.as_slice(), &crc.sum().to_be_bytes()].concat()
}

impl Lake {
    /// Files with the rows 0 to 1000 and 1000 to 2000; `deletes` are of the first.
    pub(crate) async fn new() -> Self {
        let data = Arc::new(Counting::default());
        let mut files = Vec::new();
        for (name, ids) in [("table/a.parquet", 0..ROWS), ("table/b.parquet", ROWS..2 * ROWS)] {
            let bytes = data_file(ids);
            files.push(PartitionedFile::new(name, bytes.len() as u64));
            data.put(&Path::from(name), bytes.into()).await.unwrap();
        }
        Self {
            data,
            deletes: Arc::default(),
            cache: Arc::default(),
            files,
        }
    }

    /// The same, with rows deleted from the first file.
    pub(crate) async fn with_deletes(sources: Vec<DeleteSource>) -> Self {
        let mut lake = Self::new().await;
        lake.set_deletes(sources);
        lake
    }

    pub(crate) fn set_deletes(&mut self, sources: Vec<DeleteSource>) {
        let deletes = RowDeletes {
            data_file: DATA_FILE.to_owned(),
            sources,
        };
        self.files[0] = with_deletes(self.files[0].clone(), Arc::new(deletes));
    }

    pub(crate) fn context(&self, run: Run) -> SessionContext {
        let mut config = SessionConfig::new().with_target_partitions(run.partitions);
        config.options_mut().optimizer.repartition_file_min_size = 0;
        config.options_mut().execution.parquet.pushdown_filters = run.pushdown_filters;
        let context = SessionContext::new_with_config(config);
        for (url, store) in [("memory://data", &self.data), ("memory://deletes", &self.deletes)] {
            context.register_object_store(&url.parse().unwrap(), Arc::clone(store) as _);
        }
        let table = Table {
            files: self.files.clone(),
            cache: Arc::clone(&self.cache),
        };
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    /// The first column of the answer.
    pub(crate) async fn query(&self, sql: &str, run: Run) -> Result<Vec<i64>> {
        let context = self.context(run);
        let mut plan = context.sql(sql).await?.create_physical_plan().await?;
        if run.wire {
            let codec = LakeCodec::default();
            let bytes = physical_plan_to_bytes_with_extension_codec(plan, &codec)?;
            plan = physical_plan_from_bytes_with_extension_codec(&bytes, &context.task_ctx(), &codec)?;
        }
        let batches = collect(plan, context.task_ctx()).await?;
        let column = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        Ok(batches.iter().flat_map(column).collect())
    }

    /// The error of reading everything.
    pub(crate) async fn error(&self) -> String {
        let run = Run {
            partitions: 1,
            pushdown_filters: false,
            wire: false,
        };
        self.query("SELECT id FROM t", run).await.unwrap_err().to_string()
    }

    /// Writes a delete file of rows of `file_path` and `pos`.
    pub(crate) async fn positions(&self, name: &str, rows: &[(&str, i64)]) -> DeleteSource {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(file, _)| file))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, pos)| *pos))),
        ];
        let bytes = parquet(&["file_path", "pos"], columns);
        let size_bytes = bytes.len() as u64;
        self.deletes.put(&Path::from(name), bytes.into()).await.unwrap();
        DeleteSource::Positions {
            store_url: ObjectStoreUrl::parse("memory://deletes").unwrap(),
            path: Path::from(name),
            size_bytes,
        }
    }

    /// Writes a file whose vector begins at its sixth byte.
    pub(crate) async fn vector(&self, frame: VectorFrame, rows: &[u64], blob: Vec<u8>) -> DeleteSource {
        let size_bytes = blob.len() as u64;
        let bytes = [&[1, 0, 0, 0, 0], blob.as_slice(), b"the rest of the file"].concat();
        let path = Path::from("vector.bin");
        self.deletes.put(&path, bytes.into()).await.unwrap();
        DeleteSource::Vector {
            store_url: ObjectStoreUrl::parse("memory://deletes").unwrap(),
            path,
            offset: 5,
            size_bytes: match frame {
                VectorFrame::Puffin => size_bytes,
                VectorFrame::Delta => size_bytes - 8,
            },
            cardinality: rows.len() as u64,
            frame,
        }
    }
}

/// The table as SQL sees it.
#[derive(Debug)]
struct Table {
    files: Vec<PartitionedFile>,
    cache: Arc<DeleteCache>,
}

#[async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let store_url = ObjectStoreUrl::parse("memory://data")?;
        let access = Access {
            runtime: state.runtime_env(),
            store_url: &store_url,
            deletes: &self.cache,
        };
        let parquet = ParquetSource::new(schema()).with_table_parquet_options(options);
        let columns = Arc::new(ColumnMapping::by(ColumnMatch::Name));
        let source = LakeParquetSource::try_new(parquet, "lake.s.t", columns, access)?;
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(vec![FileGroup::new(self.files.clone())])
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// A store in memory that counts what is asked of it.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    store: InMemory,
    requests: AtomicUsize,
}

impl Counting {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, path: &Path, bytes: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.store.put_opts(path, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.store.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> object_store::Result<Vec<Bytes>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.store.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
