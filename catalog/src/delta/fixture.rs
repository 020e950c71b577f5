//! Small logs written by hand, on a store that counts what is asked of it.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::common::DFSchema;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::Url;

use super::cache::DeltaCache;
use super::read::DeltaSnapshot;
use crate::error::Result;
use crate::snapshot::{AsOf, FileList, FileRequest};
use crate::stores::Stores;

/// A table in a folder of its own.
pub(super) struct Table {
    pub(super) folder: TempDir,
    pub(super) cache: DeltaCache,
    pub(super) requests: Arc<Requests>,
}

/// What was asked of the store.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) reads: AtomicUsize,
    pub(super) lists: AtomicUsize,
    pub(super) names: Mutex<Vec<String>>,
}

impl Requests {
    /// Listings and reads since the last call.
    pub(super) fn take(&self) -> (usize, usize) {
        self.names.lock().unwrap().clear();
        (
            self.lists.swap(0, Ordering::SeqCst),
            self.reads.swap(0, Ordering::SeqCst),
        )
    }

    fn read(&self, path: &Path) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.names.lock().unwrap().push(path.to_string());
    }
}

impl Table {
    pub(super) fn new() -> Self {
        let requests = Arc::<Requests>::default();
        let stores = Stores::new(&[]).unwrap();
        let counting = Counting {
            inner: LocalFileSystem::new(),
            requests: Arc::clone(&requests),
        };
        stores.register_store(&Url::parse("file:///").unwrap(), Arc::new(counting));
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("_delta_log")).unwrap();
        Self {
            folder,
            cache: DeltaCache::new(stores),
            requests,
        }
    }

    pub(super) fn log_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("_delta_log").join(name)
    }

    pub(super) fn commit(&self, version: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        let file = self.log_file(&format!("{version:020}.json"));
        fs::write(&file, lines.join("\n")).unwrap();
        // Real commits are apart from one another.
        self.set_time(&file, 1_600_000_000_000 + version * 60_000);
    }

    pub(super) fn set_time(&self, file: &std::path::Path, millis: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    pub(super) fn location(&self) -> String {
        self.folder.path().display().to_string()
    }

    pub(super) async fn at(&self, as_of: AsOf) -> Result<Arc<DeltaSnapshot>> {
        let snapshot = DeltaSnapshot::at("lake.t".to_owned(), &self.location(), &as_of, &self.cache).await?;
        Ok(Arc::new(snapshot))
    }

    pub(super) async fn latest(&self) -> Result<Arc<DeltaSnapshot>> {
        self.at(AsOf::Latest).await
    }

    /// The names of the files that a scan with that filter reads.
    pub(super) async fn files(&self, filter: &str) -> Result<Vec<String>> {
        let list = list(&self.latest().await?, filter).await?;
        Ok(names(&list))
    }
}

/// The files' names, sorted.
pub(super) fn names(list: &FileList) -> Vec<String> {
    let files = list.sets.iter().flat_map(|set| &set.files);
    let mut names: Vec<String> = files.map(|file| file.path.filename().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The files of a scan with that filter, all where it is empty.
pub(super) async fn list(snapshot: &Arc<DeltaSnapshot>, filter: &str) -> Result<FileList> {
    let predicate = (!filter.is_empty()).then(|| predicate(snapshot, filter));
    let wanted: Vec<usize> = (0..snapshot.schema().fields().len()).collect();
    let request = FileRequest {
        only: None,
        with_origin: false,
        wanted: &wanted,
        predicate: predicate.as_ref(),
    };
    Arc::clone(snapshot).files(request).await
}

fn predicate(snapshot: &DeltaSnapshot, filter: &str) -> Arc<dyn PhysicalExpr> {
    let schema = DFSchema::try_from(Arc::clone(snapshot.schema())).unwrap();
    let context = SessionContext::new();
    let filter = context.parse_sql_expr(filter, &schema).unwrap();
    context.create_physical_expr(filter, &schema).unwrap()
}

/// A column of a schema.
pub(super) fn field(name: &str, kind: impl Into<Value>, metadata: Value) -> Value {
    json!({"name": name, "type": kind.into(), "nullable": true, "metadata": metadata})
}

/// The actions that make a table of these columns, with reader features where there are some.
pub(super) fn created(fields: &[Value], partition_by: &[&str], configuration: Value, features: &[&str]) -> Vec<Value> {
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    let protocol = match features.is_empty() {
        true => json!({"minReaderVersion": 1, "minWriterVersion": 2}),
        false => json!({"minReaderVersion": 3, "minWriterVersion": 7,
                        "readerFeatures": features, "writerFeatures": features}),
    };
    vec![
        json!({"protocol": protocol}),
        json!({"metaData": {"id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9", "format": {"provider": "parquet", "options": {}},
               "schemaString": schema, "partitionColumns": partition_by, "configuration": configuration,
               "createdTime": 1}}),
    ]
}

/// A file that is added, with statistics where they are no NULL.
pub(super) fn add(path: &str, partition: Value, stats: Value) -> Value {
    let mut add = json!({"path": path, "partitionValues": partition, "size": 1000, "modificationTime": 1,
                         "dataChange": true});
    if !stats.is_null() {
        add["stats"] = Value::String(stats.to_string());
    }
    json!({"add": add})
}

/// A file that is removed.
pub(super) fn remove(path: &str) -> Value {
    json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}})
}

/// Statistics of one column `x`.
pub(super) fn stats(rows: i64, min: Value, max: Value, nulls: i64) -> Value {
    json!({"numRecords": rows, "minValues": {"x": min}, "maxValues": {"x": max}, "nullCount": {"x": nulls}})
}

#[derive(Debug)]
struct Counting {
    inner: LocalFileSystem,
    requests: Arc<Requests>,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.requests.read(path);
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.requests.read(path);
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.requests.lists.fetch_add(1, Ordering::SeqCst);
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.requests.lists.fetch_add(1, Ordering::SeqCst);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.requests.lists.fetch_add(1, Ordering::SeqCst);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
