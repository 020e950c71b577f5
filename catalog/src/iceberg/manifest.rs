//! Manifest lists and manifests, read in parallel; decoded manifests are kept, since they never change.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{FormatVersion, Manifest, ManifestEntryRef, ManifestFile, ManifestList, SnapshotRef};
use moka::future::Cache;

use crate::error::{Error, Result};
use crate::stores::{Location, Stores};

/// A manifest list or manifest above this is refused.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
/// Manifests read at once for one table.
const READS_AT_ONCE: usize = 16;
/// Bound of the cache, in bytes as estimated by [`ENTRY_BYTES`].
const CACHE_BYTES_MAX: u64 = 256 << 20;
/// About what one decoded entry takes, with bounds for twenty columns.
const ENTRY_BYTES: u32 = 4096;

/// Decoded manifests by location. A manifest is written once under a name of its own, so that no entry grows stale.
#[derive(Debug, Clone)]
pub(crate) struct ManifestCache {
    manifests: Cache<String, Arc<Manifest>>,
    stores: Arc<Stores>,
}

/// One manifest of a snapshot and its entries.
#[derive(Debug)]
pub(crate) struct LoadedManifest {
    /// The manifest list's word on it.
    pub(crate) file: ManifestFile,
    manifest: Arc<Manifest>,
}

impl LoadedManifest {
    /// The entries as written: values that a manifest list lends to them are not filled in.
    pub(crate) fn entries(&self) -> &[ManifestEntryRef] {
        self.manifest.entries()
    }
}

impl ManifestCache {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        let weight = |_: &String, manifest: &Arc<Manifest>| {
            let entries = u32::try_from(manifest.entries().len()).unwrap_or(u32::MAX);
            entries.saturating_add(1).saturating_mul(ENTRY_BYTES)
        };
        Self {
            manifests: Cache::builder().max_capacity(CACHE_BYTES_MAX).weigher(weight).build(),
            stores,
        }
    }

    /// The store and key of a data file.
    pub(crate) fn locate(&self, location: &str) -> Result<Location> {
        self.stores.locate(location)
    }

    /// The manifests of a snapshot. `version` is the table's; a list may be older than the table's last upgrade.
    pub(crate) async fn list(
        &self,
        table: &str,
        snapshot: &SnapshotRef,
        version: FormatVersion,
    ) -> Result<Vec<ManifestFile>> {
        let location = snapshot.manifest_list();
        if location.is_empty() {
            let feature = "manifests inside the table metadata (format version 1 without a manifest list)";
            return Err(Error::Unsupported {
                table: table.to_owned(),
                feature: feature.to_owned(),
            });
        }
        let bytes = self.stores.read(location, MANIFEST_BYTES_MAX).await?;
        let older = [FormatVersion::V3, FormatVersion::V2, FormatVersion::V1];
        let versions: Vec<FormatVersion> = older.into_iter().filter(|v| *v <= version).collect();
        let parse = move || {
            let mut first_error = None;
            for version in versions {
                match ManifestList::parse_with_version(&bytes, version) {
                    Ok(list) => return Ok(list.consume_entries().into_iter().collect()),
                    Err(error) => first_error = first_error.or(Some(error.to_string())),
                }
            }
            Err(first_error.unwrap_or_default())
        };
        blocking(table, location, parse).await
    }

    /// The entries of every manifest, in the order of the list.
    pub(crate) async fn load(&self, table: &str, manifests: Vec<ManifestFile>) -> Result<Vec<LoadedManifest>> {
        let reads = manifests.into_iter().map(|file| async move {
            let manifest = self.manifest(table, &file.manifest_path).await?;
            Ok(LoadedManifest { file, manifest })
        });
        stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn manifest(&self, table: &str, location: &str) -> Result<Arc<Manifest>> {
        if let Some(manifest) = self.manifests.get(location).await {
            return Ok(manifest);
        }
        let bytes = self.stores.read(location, MANIFEST_BYTES_MAX).await?;
        let parse = move || Manifest::parse_avro(&bytes).map_err(|error| error.to_string());
        let manifest = Arc::new(blocking(table, location, parse).await?);
        self.manifests.insert(location.to_owned(), Arc::clone(&manifest)).await;
        Ok(manifest)
    }
}

/// Runs a parser off the async threads; a parser that panics on damaged bytes reports damage.
async fn blocking<T: Send + 'static>(
    table: &str,
    file: &str,
    parse: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T> {
    let corrupt = |detail| Error::Corrupt {
        table: table.to_owned(),
        file: file.to_owned(),
        detail,
    };
    match tokio::task::spawn_blocking(parse).await {
        Ok(parsed) => parsed.map_err(corrupt),
        Err(panic) => Err(corrupt(panic.to_string())),
    }
}
