//! Bytes and footers of Parquet files in one store.
//!
//! Footers are kept in the runtime's cache, which has a bound of its own. A manifest may have a file's size wrong: where
//! no footer is found at the end it names, the store is asked for the end.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetMetaData, DefaultParquetFileReaderFactory, ParquetFileReaderFactory,
};
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataFetch};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::error::{Error, Result};

/// Opens Parquet files of one store.
pub(crate) struct LakeReaderFactory {
    table: Arc<str>,
    store_url: ObjectStoreUrl,
    store: Arc<dyn ObjectStore>,
    bytes: DefaultParquetFileReaderFactory,
    footers: Option<Arc<FileMetadataCache>>,
    metadata_size_hint: Option<usize>,
}

impl LakeReaderFactory {
    /// `table` is the table's name, for messages; without `footers` every footer is read anew.
    pub(crate) fn new(
        table: Arc<str>,
        store_url: ObjectStoreUrl,
        store: Arc<dyn ObjectStore>,
        footers: Option<Arc<FileMetadataCache>>,
    ) -> Self {
        Self {
            table,
            store_url,
            bytes: DefaultParquetFileReaderFactory::new(Arc::clone(&store)),
            store,
            footers,
            metadata_size_hint: None,
        }
    }

    /// So many bytes at a file's end are read at first, where the scan has no word on it: one request instead of two
    /// for a footer that fits.
    pub(crate) fn with_metadata_size_hint(self, metadata_size_hint: Option<usize>) -> Self {
        Self {
            metadata_size_hint,
            ..self
        }
    }

    /// The cache knows a file by key, size and time of change. Lake files never change, but the same key may lie in
    /// two stores: the store takes the place of the time.
    fn identity(&self, file: &PartitionedFile) -> ObjectMeta {
        let mut hasher = DefaultHasher::new();
        self.store_url.hash(&mut hasher);
        ObjectMeta {
            last_modified: DateTime::from_timestamp_nanos(hasher.finish().cast_signed()),
            ..file.object_meta.clone()
        }
    }
}

impl fmt::Debug for LakeReaderFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store_url = self.store_url.as_str();
        f.debug_struct("LakeReaderFactory")
            .field("store_url", &store_url)
            .finish_non_exhaustive()
    }
}

impl ParquetFileReaderFactory for LakeReaderFactory {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> datafusion::error::Result<Box<dyn AsyncFileReader + Send>> {
        let object = LakeFile {
            table: Arc::clone(&self.table),
            url: format!("{}{}", self.store_url.as_str(), file.object_meta.location),
            store: Arc::clone(&self.store),
            identity: self.identity(&file),
            footers: self.footers.clone(),
            metadata_size_hint: metadata_size_hint.or(self.metadata_size_hint),
        };
        let bytes = self.bytes.create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(LakeFileReader { bytes, object }))
    }
}

struct LakeFileReader {
    /// Reads and counts the bytes of pages.
    bytes: Box<dyn AsyncFileReader + Send>,
    object: LakeFile,
}

impl AsyncFileReader for LakeFileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            let read = self.bytes.get_bytes(range.clone()).await;
            read.map_err(|error| self.object.error(error))
                .and_then(|bytes| self.object.whole(bytes, &range))
                .map_err(external)
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            let read = self.bytes.get_byte_ranges(ranges.clone()).await;
            let parts = read.map_err(|error| external(self.object.error(error)))?;
            let whole = |(bytes, range)| self.object.whole(bytes, range).map_err(external);
            parts.into_iter().zip(&ranges).map(whole).collect()
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        let index = options.map_or(PageIndexPolicy::Skip, ArrowReaderOptions::column_index_policy);
        async move { self.object.footer(index).await.map_err(external) }.boxed()
    }
}

/// One file and how its footer is found.
struct LakeFile {
    table: Arc<str>,
    url: String,
    store: Arc<dyn ObjectStore>,
    identity: ObjectMeta,
    footers: Option<Arc<FileMetadataCache>>,
    metadata_size_hint: Option<usize>,
}

impl LakeFile {
    /// The footer, and the page index if `index` asks for it and the file has one.
    async fn footer(&self, index: PageIndexPolicy) -> Result<Arc<ParquetMetaData>> {
        let footer = match self.cached() {
            Some(footer) if index == PageIndexPolicy::Skip || has_page_index(&footer) => return Ok(footer),
            Some(footer) => {
                let footer = Arc::unwrap_or_clone(footer);
                let mut reader = ParquetMetaDataReader::new_with_metadata(footer).with_page_index_policy(index);
                let loaded = reader.load_page_index(Fetch(self)).await;
                loaded
                    .and_then(|()| reader.finish())
                    .map_err(|error| self.error(error))?
            }
            None => match self.read(self.identity.size, index).await {
                Ok(footer) => footer,
                Err(error) => match self.true_size(&error).await {
                    Some(size_bytes) => self.read(size_bytes, index).await?,
                    None => return Err(error),
                },
            },
        };
        let footer = Arc::new(footer);
        if let Some(footers) = &self.footers {
            let entry = Arc::new(CachedParquetMetaData::new(Arc::clone(&footer)));
            let entry = CachedFileMetadataEntry::new(self.identity.clone(), entry);
            footers.put(&self.identity.location, entry);
        }
        Ok(footer)
    }

    fn cached(&self) -> Option<Arc<ParquetMetaData>> {
        let entry = self.footers.as_ref()?.get(&self.identity.location)?;
        let valid = entry.is_valid_for(&self.identity);
        let footer = entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>();
        footer
            .filter(|_| valid)
            .map(|footer| Arc::clone(footer.parquet_metadata()))
    }

    async fn read(&self, size_bytes: u64, index: PageIndexPolicy) -> Result<ParquetMetaData> {
        let mut reader = ParquetMetaDataReader::new()
            .with_prefetch_hint(self.metadata_size_hint)
            .with_page_index_policy(index);
        let loaded = reader.try_load(Fetch(self), size_bytes).await;
        let footer = loaded.and_then(|()| reader.finish());
        footer.and_then(in_order).map_err(|error| self.error(error))
    }

    /// The object's size where it differs from the one in the table's metadata, which led to `error`.
    async fn true_size(&self, error: &Error) -> Option<u64> {
        if let Error::Storage { source, .. } = error
            && matches!(source, object_store::Error::NotFound { .. })
        {
            return None;
        }
        let size_bytes = self.store.head(&self.identity.location).await.ok()?.size;
        (size_bytes != self.identity.size).then_some(size_bytes)
    }

    /// Stores cut a range at the object's end without an error.
    fn whole(&self, bytes: Bytes, range: &Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        if u64::try_from(bytes.len()) == Ok(wanted) {
            return Ok(bytes);
        }
        let (start, end, read) = (range.start, range.end, bytes.len());
        Err(self.corrupt(format!("bytes {start} to {end} are wanted, {read} of them exist")))
    }

    fn error(&self, error: ParquetError) -> Error {
        match error {
            ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
                Ok(error) => Error::storage(&self.url, *error),
                Err(other) => self.corrupt(other.to_string()),
            },
            other => self.corrupt(other.to_string()),
        }
    }

    fn corrupt(&self, detail: String) -> Error {
        Error::Corrupt {
            table: self.table.to_string(),
            file: self.url.clone(),
            detail,
        }
    }
}

struct Fetch<'a>(&'a LakeFile);

impl MetadataFetch for Fetch<'_> {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let LakeFile { store, identity, .. } = self.0;
        store.get_range(&identity.location, range).map_err(external).boxed()
    }
}

/// Row positions follow from the ordinals of row groups, which some writers have wrong.
fn in_order(footer: ParquetMetaData) -> parquet::errors::Result<ParquetMetaData> {
    let mut ordinals = footer.row_groups().iter().map(RowGroupMetaData::ordinal).enumerate();
    if ordinals.all(|(at, ordinal)| ordinal.map(usize::try_from) == Some(Ok(at))) {
        return Ok(footer);
    }
    let mut footer = footer.into_builder();
    let number = |(at, group): (usize, RowGroupMetaData)| {
        let ordinal = i16::try_from(at).map_err(external)?;
        group.into_builder().set_ordinal(ordinal).build()
    };
    let groups = footer.take_row_groups().into_iter().enumerate();
    let groups = groups.map(number).collect::<parquet::errors::Result<_>>()?;
    Ok(footer.set_row_groups(groups).build())
}

fn has_page_index(footer: &ParquetMetaData) -> bool {
    footer.column_index().is_some() && footer.offset_index().is_some()
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(Box::new(error))
}
