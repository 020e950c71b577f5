//! Where the files that a change removes or deletes rows from are in the table as it is now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::execution::object_store::ObjectStoreRegistry;
use iceberg::spec::{DataFile, FormatVersion, ManifestContentType, PartitionSpec, SchemaRef};

use super::super::IcebergSnapshot;
use super::super::cache::LoadedManifest;
use super::super::deletes::{self, DeleteIndex};
use super::deletes::Positions;
use super::manifests::Manifests;
use crate::error::{Error, Result};
use crate::scan::deletes::RowDeletes;
use crate::scan::deletes::cache::{DeleteCache, DeleteLoader};
use crate::write::change::Change;

/// What a change touches of the manifests of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Data files that leave the table.
    removed: HashSet<String>,
    /// Data files whose own delete files leave the table: with them, or because a deletion vector takes their place.
    undeleted: HashSet<String>,
    /// Manifests with a file that leaves.
    leaving: HashSet<String>,
    /// The rows that are to be deleted by position, those of earlier commits included where one file has to hold all.
    pub(super) positions: Vec<Positions>,
    /// By location of the data file: what its delete files are written with.
    pub(super) origins: HashMap<String, Origin>,
}

/// What the manifest of a data file was written with.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) schema: SchemaRef,
    pub(super) spec: PartitionSpec,
}

/// A live data file in the decoded manifests.
struct Place<'a> {
    manifest: &'a LoadedManifest,
    row: usize,
}

impl Touched {
    /// Finds what `change` touches in `now`. A file that is no longer there is [`Error::Conflict`].
    pub(super) async fn find(
        now: &IcebergSnapshot,
        change: &Change,
        manifests: Manifests<'_>,
        cache: &Arc<DeleteCache>,
    ) -> Result<Self> {
        let mut touched = Self {
            removed: change.removed.iter().cloned().collect(),
            ..Self::default()
        };
        let deleted = change.deleted.iter().filter(|deleted| !deleted.positions.is_empty());
        let deleted: HashMap<&str, _> = deleted.map(|rows| (rows.file.as_str(), &rows.positions)).collect();
        if touched.removed.is_empty() && deleted.is_empty() {
            return Ok(touched);
        }
        let (data, delete_manifests) = now.loaded_manifests().await?;
        let mut places: HashMap<String, Place<'_>> = HashMap::new();
        for manifest in &data {
            for row in 0..manifest.entries.len() {
                let path = manifest.entries.paths.value(row);
                let leaves = touched.removed.contains(path);
                if leaves {
                    touched.leaving.insert(manifest.file.path.clone());
                }
                if (leaves || deleted.contains_key(path))
                    && places.insert(path.to_owned(), Place { manifest, row }).is_some()
                {
                    return Err(manifests.corrupt(&manifest.file.path, format!("{path} is in the table twice")));
                }
            }
        }
        let wanted = touched
            .removed
            .iter()
            .map(String::as_str)
            .chain(deleted.keys().copied());
        if wanted.into_iter().any(|path| !places.contains_key(path)) {
            return Err(Error::Conflict {
                table: manifests.table.to_owned(),
            });
        }
        touched.undeleted = touched.removed.clone();
        let version = now.metadata.table.format_version();
        if version == FormatVersion::V3 {
            touched.undeleted.extend(deleted.keys().map(|path| (*path).to_owned()));
        }
        for manifest in &delete_manifests {
            let mut entries = manifest.entries.deletes.iter();
            if entries.any(|entry| touched.is_undeleted(entry.referenced_data_file.as_deref())) {
                touched.leaving.insert(manifest.file.path.clone());
            }
        }
        touched.origins(now, &places, &deleted, manifests).await?;
        if version == FormatVersion::V3 {
            let index = now.delete_index(&delete_manifests)?;
            touched
                .add_earlier(now, &places, &index, (manifests.table, cache))
                .await?;
        }
        Ok(touched)
    }

    /// Adds the rows that were deleted before from the data files that rows are deleted from: a deletion vector holds all.
    async fn add_earlier(
        &mut self,
        now: &IcebergSnapshot,
        places: &HashMap<String, Place<'_>>,
        index: &DeleteIndex,
        (table, cache): (&str, &Arc<DeleteCache>),
    ) -> Result<()> {
        let stores: Arc<dyn ObjectStoreRegistry> = Arc::clone(now.manifests.stores()) as _;
        let loader = DeleteLoader::new(Arc::clone(cache), stores, table.into());
        for positions in &mut self.positions {
            let Some(place) = places.get(&positions.file) else {
                continue;
            };
            if let Some(earlier) = earlier(now, index, place, &positions.file)? {
                let rows = place.manifest.entries.entries[place.row].rows;
                let loaded = loader.load(&earlier).await.map_err(|error| Error::Write {
                    table: table.to_owned(),
                    detail: format!(
                        "the rows that were deleted from {} before cannot be read",
                        positions.file
                    ),
                    source: Some(Box::new(error)),
                })?;
                positions.positions |= loaded.of_file(rows)?.positions();
            }
        }
        Ok(())
    }

    /// Reads the manifests of the data files that rows are deleted from, for their partitions.
    async fn origins(
        &mut self,
        now: &IcebergSnapshot,
        places: &HashMap<String, Place<'_>>,
        deleted: &HashMap<&str, &roaring::RoaringTreemap>,
        manifests: Manifests<'_>,
    ) -> Result<()> {
        if deleted.is_empty() {
            return Ok(());
        }
        let of = deleted.keys().filter_map(|path| places.get(*path));
        let wanted: HashSet<&str> = of.map(|place| place.manifest.file.path.as_str()).collect();
        let Some(snapshot) = &now.snapshot else { return Ok(()) };
        let listed = manifests.list(&now.metadata.table, snapshot).await?;
        for file in listed
            .iter()
            .filter(|file| wanted.contains(file.manifest_path.as_str()))
        {
            let loaded = manifests.load(file).await?;
            let origin = Origin {
                schema: loaded.schema,
                spec: loaded.spec,
            };
            for entry in &loaded.entries {
                let path = entry.file.file_path();
                let Some(positions) = deleted.get(path) else { continue };
                if positions.max().is_some_and(|last| last >= entry.file.record_count()) {
                    let rows = entry.file.record_count();
                    return Err(manifests.corrupt(path, format!("a row behind its {rows} rows is to be deleted")));
                }
                self.positions.push(Positions {
                    file: path.to_owned(),
                    positions: (*positions).clone(),
                    partition: entry.file.partition().clone(),
                    spec_id: file.partition_spec_id,
                });
                self.origins.insert(path.to_owned(), origin.clone());
            }
        }
        self.positions.sort_by(|a, b| a.file.cmp(&b.file));
        Ok(())
    }

    /// True where a file of the manifest leaves the table.
    pub(super) fn leaves(&self, manifest: &str) -> bool {
        self.leaving.contains(manifest)
    }

    /// True where the file, of a manifest of such content, leaves the table.
    pub(super) fn removes(&self, content: ManifestContentType, file: &DataFile) -> bool {
        match content {
            ManifestContentType::Data => self.removed.contains(file.file_path()),
            ManifestContentType::Deletes => self.is_undeleted(file.referenced_data_file().as_deref()),
        }
    }

    fn is_undeleted(&self, referenced: Option<&str>) -> bool {
        referenced.is_some_and(|path| self.undeleted.contains(path))
    }
}

/// What is deleted by position from a data file so far.
fn earlier(
    now: &IcebergSnapshot,
    index: &DeleteIndex,
    place: &Place<'_>,
    path: &str,
) -> Result<Option<Arc<RowDeletes>>> {
    let sequence = deletes::sequence(place.manifest, place.row).ok_or_else(|| Error::Corrupt {
        table: now.table.clone(),
        file: place.manifest.file.path.clone(),
        detail: format!("{path} has no sequence number"),
    })?;
    let partition = deletes::partition(place.manifest, place.row);
    index.row_deletes(now.delete_table(), path, sequence, &partition)
}
