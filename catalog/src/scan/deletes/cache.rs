//! Decoded delete files, each loaded once however many scans want it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::rows::DeletedRows;
use super::{DeleteSource, RowDeletes, VectorFrame, positions, vector};
use crate::error::Error;
use crate::stores::cache::{BoundedCache, CacheUse};

/// Bound of the cache, in bytes of decoded positions.
const CACHE_BYTES_MAX: u64 = 256 << 20;
/// Delete files of one data file that are read at once.
const READS_AT_ONCE: usize = 8;
/// About what an entry takes beside its positions.
const ENTRY_BYTES: u64 = 256;

/// Decoded delete files. Each is written once under a name of its own, so that no entry grows stale. Loads of one file
/// at the same time are one load.
#[derive(Debug)]
pub(crate) struct DeleteCache {
    decoded: BoundedCache<Key, Decoded>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    store_url: ObjectStoreUrl,
    path: Path,
    part: Part,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    /// All of a position delete file.
    Positions { size_bytes: u64 },
    /// One blob of a file.
    Vector {
        offset: u64,
        size_bytes: u64,
        frame: VectorFrame,
    },
}

#[derive(Debug, Clone)]
enum Decoded {
    /// By location of the data file.
    Positions(Arc<HashMap<String, Arc<DeletedRows>>>),
    Vector(Arc<DeletedRows>),
}

impl Default for DeleteCache {
    fn default() -> Self {
        let weight = |_: &Key, decoded: &Decoded| usize::try_from(decoded.bytes()).unwrap_or(usize::MAX);
        Self {
            decoded: BoundedCache::new("deleted rows", CACHE_BYTES_MAX, weight),
        }
    }
}

impl DeleteCache {
    pub(crate) fn usage(&self) -> CacheUse {
        self.decoded.usage()
    }
}

impl Decoded {
    /// About what it takes in memory.
    fn bytes(&self) -> u64 {
        match self {
            Self::Vector(rows) => ENTRY_BYTES + rows.memory_bytes(),
            Self::Positions(files) => {
                let file = |(path, rows): (&String, &Arc<DeletedRows>)| {
                    ENTRY_BYTES + u64::try_from(path.len()).unwrap_or(u64::MAX) + rows.memory_bytes()
                };
                ENTRY_BYTES + files.iter().map(file).sum::<u64>()
            }
        }
    }
}

/// What loading deletes takes: the cache in front, the stores behind it, and the table's name for messages. Delete
/// files may lie in other stores than the data.
#[derive(Debug, Clone)]
pub(crate) struct DeleteLoader {
    cache: Arc<DeleteCache>,
    stores: Arc<dyn ObjectStoreRegistry>,
    table: Arc<str>,
}

/// The deletes of one data file as its sources have them.
#[derive(Debug)]
pub(crate) struct Deleted {
    table: Arc<str>,
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    rows: Arc<DeletedRows>,
    /// The deletion vector's name; absent for a position delete file, which may name rows that do not exist.
    vector: Option<String>,
}

impl DeleteLoader {
    /// `table` is the table's name, for messages.
    pub(crate) fn new(cache: Arc<DeleteCache>, stores: Arc<dyn ObjectStoreRegistry>, table: Arc<str>) -> Self {
        Self { cache, stores, table }
    }

    /// Loads what is deleted from one data file.
    pub(crate) async fn load(&self, deletes: &RowDeletes) -> Result<Deleted> {
        let load = |source| self.source(source, &deletes.data_file).boxed();
        let loads: Vec<BoxFuture<'_, _>> = deletes.sources.iter().map(load).collect();
        let sources = stream::iter(loads).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(Deleted {
            table: Arc::clone(&self.table),
            sources,
        })
    }

    async fn source(&self, source: &DeleteSource, data_file: &str) -> Result<Source> {
        let (rows, cardinality) = match source {
            DeleteSource::Positions { .. } => {
                let Decoded::Positions(files) = self.decoded(source).await? else {
                    return Err(self.corrupt(source, "it holds a deletion vector").into());
                };
                let rows = files.get(data_file).map(Arc::clone).unwrap_or_default();
                return Ok(Source { rows, vector: None });
            }
            DeleteSource::Vector { cardinality, .. } => {
                let Decoded::Vector(rows) = self.decoded(source).await? else {
                    return Err(self.corrupt(source, "it holds positions").into());
                };
                (rows, *cardinality)
            }
            DeleteSource::Inline { bitmap, cardinality } => {
                let positions = vector::bitmap(bitmap).map_err(|detail| self.corrupt(source, detail))?;
                (Arc::new(DeletedRows::new(positions)), *cardinality)
            }
        };
        let found = rows.positions().len();
        if found != cardinality {
            let detail = format!("it deletes {found} rows where the metadata says {cardinality}");
            return Err(self.corrupt(source, detail).into());
        }
        Ok(Source {
            rows,
            vector: Some(source.name()),
        })
    }

    /// The decoded file or blob, from the cache if it is there.
    async fn decoded(&self, source: &DeleteSource) -> Result<Decoded> {
        let (store_url, path, part) = match source {
            DeleteSource::Positions {
                store_url,
                path,
                size_bytes,
            } => {
                let size_bytes = *size_bytes;
                (store_url, path, Part::Positions { size_bytes })
            }
            DeleteSource::Vector {
                store_url,
                path,
                offset,
                size_bytes,
                frame,
                ..
            } => {
                let (offset, size_bytes, frame) = (*offset, *size_bytes, *frame);
                let part = Part::Vector {
                    offset,
                    size_bytes,
                    frame,
                };
                (store_url, path, part)
            }
            DeleteSource::Inline { .. } => return Err(self.corrupt(source, "it is no file").into()),
        };
        let key = Key {
            store_url: store_url.clone(),
            path: path.clone(),
            part,
        };
        let load = self.read(source, key.clone());
        self.cache
            .decoded
            .get_or_load(&key, load)
            .await
            .map_err(DataFusionError::Shared)
    }

    async fn read(&self, source: &DeleteSource, key: Key) -> Result<Decoded> {
        let store = self.stores.get_store(key.store_url.as_ref())?;
        match key.part {
            Part::Positions { size_bytes } => {
                let file = positions::DeleteFile {
                    table: Arc::clone(&self.table),
                    store_url: key.store_url,
                    path: key.path,
                    size_bytes,
                };
                Ok(Decoded::Positions(Arc::new(file.read(store).await?)))
            }
            Part::Vector {
                offset,
                size_bytes,
                frame,
            } => {
                let blob = vector::Blob {
                    offset,
                    size_bytes,
                    frame,
                };
                let bytes = blob.read(store.as_ref(), &key.path).await;
                let bytes = bytes.map_err(|error| Error::storage(super::url(&key.store_url, &key.path), error))?;
                let positions = blob.decode(&bytes).map_err(|detail| self.corrupt(source, detail))?;
                Ok(Decoded::Vector(Arc::new(DeletedRows::new(positions))))
            }
        }
    }

    fn corrupt(&self, source: &DeleteSource, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            table: self.table.to_string(),
            file: source.name(),
            detail: detail.into(),
        }
    }
}

impl Deleted {
    /// The deleted rows of the data file that has so many rows. Position delete files may name rows that do not exist;
    /// a deletion vector that does belongs to another file.
    pub(crate) fn of_file(self, rows: u64) -> Result<Arc<DeletedRows>, Error> {
        for source in &self.sources {
            if let (Some(file), Some(last)) = (&source.vector, source.rows.positions().max())
                && last >= rows
            {
                let detail = format!("it deletes row {last} of a data file with {rows} rows");
                return Err(Error::Corrupt {
                    table: self.table.to_string(),
                    file: file.clone(),
                    detail,
                });
            }
        }
        let sources = self.sources.into_iter().map(|source| source.rows);
        Ok(sources.reduce(DeletedRows::union).unwrap_or_default())
    }
}
