//! Manifest lists and manifests by location, read in parallel and kept decoded, since they never change.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use super::manifest::{Entry, Manifest, ManifestFile, decode};
use crate::error::{Error, Result};
use crate::stores::Stores;
use crate::stores::cache::{BoundedCache, CacheUse};

/// A manifest list or manifest above this is refused.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Manifests read at once for one scan.
const READS_AT_ONCE: usize = 16;
/// Bound of the decoded manifests in memory, in bytes.
const MANIFESTS_BYTES_MAX: u64 = 256 << 20;
/// Bound of the decoded manifest lists in memory, in bytes.
const LISTS_BYTES_MAX: u64 = 64 << 20;

/// Decoded manifest lists and manifests. Each is written once under a name of its own, so that none grows stale; two
/// queries that want the same one at the same time share one read.
#[derive(Debug, Clone)]
pub(crate) struct ManifestCache {
    lists: BoundedCache<String, Arc<Vec<ManifestFile>>>,
    manifests: BoundedCache<String, Arc<Manifest>>,
    stores: Arc<Stores>,
}

/// One manifest of a snapshot and its live entries.
#[derive(Debug, Clone)]
pub(crate) struct LoadedManifest {
    /// The manifest list's word on it.
    pub(crate) file: ManifestFile,
    /// Its entries.
    pub(crate) entries: Arc<Manifest>,
}

impl LoadedManifest {
    /// The id of the first row of each entry's file. Files without one of their own inherit theirs in the order of the
    /// manifest; where the manifest has none, no file has (the specification's "First Row ID Inheritance").
    pub(crate) fn first_row_ids(&self) -> Vec<Option<i64>> {
        let mut next = self.file.first_row_id;
        let first = |entry: &Entry| {
            let inherited = next?;
            entry.first_row_id.or_else(|| {
                next = i64::try_from(entry.rows)
                    .ok()
                    .and_then(|rows| inherited.checked_add(rows));
                Some(inherited)
            })
        };
        self.entries.entries.iter().map(first).collect()
    }
}

impl ManifestCache {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        let list_bytes = |location: &String, list: &Arc<Vec<ManifestFile>>| {
            let files = list.iter().map(ManifestFile::memory_bytes);
            location.len() + files.sum::<usize>()
        };
        let manifest_bytes = |location: &String, manifest: &Arc<Manifest>| location.len() + manifest.memory_bytes();
        Self {
            lists: BoundedCache::new("Iceberg manifest lists", LISTS_BYTES_MAX, list_bytes),
            manifests: BoundedCache::new("Iceberg manifests", MANIFESTS_BYTES_MAX, manifest_bytes),
            stores,
        }
    }

    pub(crate) fn usage(&self) -> [CacheUse; 2] {
        [self.lists.usage(), self.manifests.usage()]
    }

    /// The stores that the tables lie on.
    pub(crate) fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// The manifests that a manifest list names.
    pub(crate) async fn list(&self, table: &str, location: &str) -> Result<Arc<Vec<ManifestFile>>> {
        let load = async {
            let bytes = self.stores.read(location, MANIFEST_BYTES_MAX).await?;
            let list = blocking(table, location, move || decode::list(&bytes)).await?;
            Ok(Arc::new(list))
        };
        self.lists.get_or_load(location, load).await.map_err(shared)
    }

    /// Manifests that no list describes, by what they say of themselves. Format version 1 allows it, which knows
    /// neither deletes nor sequence numbers.
    pub(crate) async fn inline(&self, table: &str, locations: &[String]) -> Result<Arc<Vec<ManifestFile>>> {
        let reads = locations.iter().cloned().map(|location| async move {
            let bytes = self.stores.read(&location, MANIFEST_BYTES_MAX).await?;
            let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            let spec_id = blocking(table, &location, move || decode::spec_id(&bytes)).await?;
            Ok::<_, Error>(ManifestFile {
                path: location,
                length,
                spec_id,
                ..ManifestFile::default()
            })
        });
        let files: Vec<ManifestFile> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(Arc::new(files))
    }

    /// The entries of every manifest, in the order given.
    pub(crate) async fn load(&self, table: &str, manifests: Vec<ManifestFile>) -> Result<Vec<LoadedManifest>> {
        let reads = manifests.into_iter().map(|file| async move {
            let entries = self.manifest(table, &file.path).await?;
            // A file that ends after any of its blocks is whole as far as Avro can tell.
            let live = file.files[0]
                .zip(file.files[1])
                .map(|(added, existing)| added.saturating_add(existing));
            if let Some(live) = live.filter(|live| usize::try_from(*live) != Ok(entries.len())) {
                let detail = format!("it has {} live entries, the manifest list counts {live}", entries.len());
                return Err(corrupt(table, &file.path, detail));
            }
            Ok(LoadedManifest { file, entries })
        });
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn manifest(&self, table: &str, location: &str) -> Result<Arc<Manifest>> {
        let load = async {
            let bytes = self.stores.read(location, MANIFEST_BYTES_MAX).await?;
            let manifest = blocking(table, location, move || decode::manifest(&bytes)).await?;
            Ok(Arc::new(manifest))
        };
        self.manifests.get_or_load(location, load).await.map_err(shared)
    }
}

fn corrupt(table: &str, file: &str, detail: String) -> Error {
    Error::Corrupt {
        table: table.to_owned(),
        file: file.to_owned(),
        detail,
    }
}

/// Runs a parser off the async threads; a parser that panics on damaged bytes reports damage.
async fn blocking<T: Send + 'static>(
    table: &str,
    file: &str,
    parse: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T> {
    let corrupt = |detail| corrupt(table, file, detail);
    match tokio::task::spawn_blocking(parse).await {
        Ok(parsed) => parsed.map_err(corrupt),
        Err(panic) => Err(corrupt(panic.to_string())),
    }
}

/// One caller's share of a failed read: the same message and the same kind.
fn shared(error: Arc<Error>) -> Error {
    use object_store::Error as Store;
    let error = match Arc::try_unwrap(error) {
        Ok(error) => return error,
        Err(shared) => shared,
    };
    match error.as_ref() {
        Error::Corrupt { table, file, detail } => Error::Corrupt {
            table: table.clone(),
            file: file.clone(),
            detail: detail.clone(),
        },
        Error::Storage { url, reason, source } => {
            let cause = || reason.clone().into();
            let source = match source {
                Store::NotFound { path, .. } => Store::NotFound {
                    path: path.clone(),
                    source: cause(),
                },
                Store::PermissionDenied { path, .. } => Store::PermissionDenied {
                    path: path.clone(),
                    source: cause(),
                },
                Store::Unauthenticated { path, .. } => Store::Unauthenticated {
                    path: path.clone(),
                    source: cause(),
                },
                Store::NotSupported { .. } => Store::NotSupported { source: cause() },
                _ => Store::Generic {
                    store: "object store",
                    source: cause(),
                },
            };
            Error::Storage {
                url: url.clone(),
                reason: reason.clone(),
                source,
            }
        }
        other => Error::InvalidName {
            detail: other.to_string(),
        },
    }
}
