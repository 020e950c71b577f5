//! Names to tables: all configured catalogs behind one door.

mod ddl;
mod maintain;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::Session;
use iceberg::spec::TableMetadata;

use crate::client::{self, CatalogClient, TableLocation};
use crate::config::{CatalogConfig, Config};
use crate::delta::{DeltaCache, DeltaSnapshot};
use crate::error::{Error, Result};
use crate::files::{FileKind, FilesTable};
use crate::iceberg::cache::ManifestCache;
use crate::iceberg::metadata::Metadata;
use crate::iceberg::metadata::cache::MetadataCache;
use crate::iceberg::{IcebergSnapshot, locate};
use crate::name::{TableName, closest};
use crate::scan::deletes::cache::DeleteCache;
use crate::snapshot::{AsOf, TableSnapshot};
use crate::stores::Stores;
use crate::stores::cache::CacheUse;
use crate::table::LakeTable;
use crate::view::LakeView;

/// Every catalog of the configuration. Tables are resolved one by one, when they are asked for.
#[derive(Debug)]
pub struct Lakehouse {
    catalogs: BTreeMap<String, Arc<dyn CatalogClient>>,
    /// Folders of the configuration's own catalogs.
    roots: Vec<String>,
    stores: Arc<Stores>,
    metadata: MetadataCache,
    manifests: ManifestCache,
    delta: DeltaCache,
    deletes: Arc<DeleteCache>,
}

/// What a name in a catalog stands for.
#[derive(Debug)]
pub enum Relation {
    /// A table at one version.
    Table(Box<LakeTable>),
    /// A view as it is now.
    View(Box<LakeView>),
}

/// The format of a table that is named by its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathFormat {
    /// The location is the table's folder or one of its metadata files.
    Iceberg,
    /// The location is the folder that holds `_delta_log`.
    Delta,
}

impl Lakehouse {
    /// Prepares every catalog; reads and connects to nothing.
    pub fn new(config: &Config, stores: Arc<Stores>) -> Result<Self> {
        let mut catalogs: BTreeMap<String, Arc<dyn CatalogClient>> = BTreeMap::new();
        let mut roots = Vec::new();
        for (name, catalog) in &config.catalogs {
            match catalog {
                CatalogConfig::IcebergSql { warehouse, .. } => roots.push(warehouse.to_string()),
                CatalogConfig::Delta { root } => roots.push(root.to_string()),
                CatalogConfig::IcebergRest { .. } => {}
            }
            catalogs.insert(name.clone(), client::client(name, catalog, &stores)?);
        }
        let metadata = MetadataCache::new(Arc::clone(&stores));
        let manifests = ManifestCache::new(Arc::clone(&stores));
        let delta = DeltaCache::new(Arc::clone(&stores));
        Ok(Self {
            catalogs,
            roots,
            stores,
            metadata,
            manifests,
            delta,
            deletes: Arc::default(),
        })
    }

    /// The catalogs' names, sorted.
    pub fn catalog_names(&self) -> Vec<String> {
        self.catalogs.keys().cloned().collect()
    }

    /// The catalog of that name.
    pub fn client(&self, catalog: &str) -> Result<&dyn CatalogClient> {
        self.catalogs
            .get(catalog)
            .map(AsRef::as_ref)
            .ok_or_else(|| Error::NotFound {
                what: "catalog",
                name: catalog.to_owned(),
                hint: Some(format!("there are the catalogs {}", self.catalog_names().join(", "))),
            })
    }

    /// The object stores that the catalogs' tables lie on.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// What the caches of this process hold.
    pub fn caches(&self) -> Vec<CacheUse> {
        let mut caches = vec![self.metadata.usage()];
        caches.extend(self.manifests.usage());
        caches.extend(self.delta.usage());
        caches.push(self.deletes.usage());
        caches
    }

    /// The catalog's namespaces, sorted.
    pub async fn list_namespaces(&self, catalog: &str) -> Result<Vec<String>> {
        self.client(catalog)?.list_namespaces().await
    }

    /// The names of the namespace's views, sorted. Loads none of them.
    pub async fn list_views(&self, catalog: &str, namespace: &str) -> Result<Vec<String>> {
        self.client(catalog)?.list_views(namespace).await
    }

    /// The names of the namespace's tables, sorted. Loads none of them.
    pub async fn list_tables(&self, catalog: &str, namespace: &str) -> Result<Vec<String>> {
        self.client(catalog)?.list_tables(namespace).await
    }

    /// The table of that name at its newest version.
    pub async fn table(&self, name: &TableName) -> Result<LakeTable> {
        self.table_as_of(name, &AsOf::Latest).await
    }

    /// The table of that name as it was, or is.
    pub async fn table_as_of(&self, name: &TableName, as_of: &AsOf) -> Result<LakeTable> {
        match self.relation(name, as_of).await? {
            Relation::Table(table) => Ok(*table),
            Relation::View(_) => Err(is_view(name.to_string())),
        }
    }

    /// The table of that name as it was, or is, or the view of that name, which is only as it is.
    pub async fn relation(&self, name: &TableName, as_of: &AsOf) -> Result<Relation> {
        match self.client(&name.catalog)?.load(name).await? {
            Some(TableLocation::View(view)) => match as_of {
                AsOf::Latest | AsOf::Branch(_) => Ok(Relation::View(view)),
                _ => Err(Error::Unsupported {
                    table: name.to_string(),
                    feature: "a table, since views have no versions: name the version in the view's query".to_owned(),
                }),
            },
            Some(location) => {
                let table = self.open(name.to_string(), location, as_of).await?;
                Ok(Relation::Table(Box::new(table)))
            }
            None => Err(self.no_such_table(name).await),
        }
    }

    /// The table at that location, which must lie below a storage profile's prefix or a catalog's own folder: whoever
    /// may write SQL may not read every file of the machine.
    pub async fn table_at(&self, format: PathFormat, location: &str) -> Result<LakeTable> {
        self.table_at_as_of(format, location, &AsOf::Latest).await
    }

    /// As [`Lakehouse::table_at`], of the table as it was, or is.
    pub async fn table_at_as_of(&self, format: PathFormat, location: &str, as_of: &AsOf) -> Result<LakeTable> {
        let location = location.trim_end_matches('/');
        if !self.may_be_named(location) {
            return Err(not_below_a_prefix("tables", location));
        }
        let at = match format {
            PathFormat::Delta => TableLocation::Delta {
                root: location.to_owned(),
            },
            PathFormat::Iceberg => {
                let metadata_location = locate::newest_metadata(&self.stores, location).await?;
                TableLocation::Iceberg {
                    metadata_location,
                    metadata: None,
                }
            }
        };
        self.open(location.to_owned(), at, as_of).await
    }

    /// The files at that location as one table; the location must lie where [`Lakehouse::table_at`] demands.
    ///
    /// Reads the files' schemas, in a session that needs no catalogs.
    pub async fn files_at(&self, format: FileKind, location: &str, state: &dyn Session) -> Result<FilesTable> {
        let location = location.trim_end_matches('/');
        if !self.may_be_named(location) {
            return Err(not_below_a_prefix("files", location));
        }
        FilesTable::open(&self.stores, format, location, state).await
    }

    fn may_be_named(&self, location: &str) -> bool {
        let below = |root: &String| {
            let profile = crate::config::StorageProfile::new(root.trim_end_matches('/'));
            Stores::new(&[profile]).is_ok_and(|stores| stores.covers(location))
        };
        self.stores.covers(location) || self.roots.iter().any(below)
    }

    /// With another client in the place of a catalog's own.
    #[cfg(test)]
    pub(crate) fn replace_client(
        &mut self,
        catalog: &str,
        with: impl FnOnce(Arc<dyn CatalogClient>) -> Arc<dyn CatalogClient>,
    ) {
        let client = self.catalogs.remove(catalog).unwrap();
        self.catalogs.insert(catalog.to_owned(), with(client));
    }

    /// Decoded manifests.
    pub(crate) fn manifests(&self) -> &ManifestCache {
        &self.manifests
    }

    /// Decoded deletes.
    pub(crate) fn delete_cache(&self) -> &Arc<DeleteCache> {
        &self.deletes
    }

    /// The metadata of an Iceberg table at that location: what the catalog sent along, if nothing of it is lost.
    pub(crate) async fn iceberg_metadata(
        &self,
        table: &str,
        location: &str,
        sent: Option<Box<TableMetadata>>,
    ) -> Result<Arc<Metadata>> {
        match sent.and_then(|metadata| Metadata::of_catalog(*metadata)) {
            Some(metadata) => Ok(Arc::new(metadata)),
            None => self.metadata.load(table, location).await,
        }
    }

    async fn open(&self, table: String, location: TableLocation, as_of: &AsOf) -> Result<LakeTable> {
        let snapshot = match location {
            TableLocation::View(_) => return Err(is_view(table)),
            TableLocation::Delta { root } => {
                let snapshot = DeltaSnapshot::at(table.clone(), &root, as_of, &self.delta).await?;
                TableSnapshot::delta(table, snapshot)
            }
            TableLocation::Iceberg {
                metadata_location,
                metadata,
            } => {
                let metadata = self.iceberg_metadata(&table, &metadata_location, metadata).await?;
                let snapshot = IcebergSnapshot::at(table.clone(), metadata, as_of, self.manifests.clone())?;
                TableSnapshot::iceberg(table, snapshot)
            }
        };
        Ok(LakeTable::new(snapshot, Arc::clone(&self.deletes)))
    }

    /// The error for a name that names nothing, with the name that was probably meant.
    async fn no_such_table(&self, name: &TableName) -> Error {
        let tables = self
            .list_tables(&name.catalog, &name.namespace)
            .await
            .unwrap_or_default();
        let hint = match closest(&name.table, &tables) {
            Some(table) => Some(format!("did you mean {}.{}.{table}?", name.catalog, name.namespace)),
            None if tables.is_empty() => {
                let namespaces = self.list_namespaces(&name.catalog).await.unwrap_or_default();
                let missing = !namespaces.contains(&name.namespace);
                let meant = closest(&name.namespace, &namespaces).filter(|_| missing);
                meant.map(|namespace| format!("did you mean the namespace {}.{namespace}?", name.catalog))
            }
            None => None,
        };
        let hint = hint.or_else(|| Some("SHOW TABLES lists what there is".to_owned()));
        Error::NotFound {
            what: "table",
            name: name.to_string(),
            hint,
        }
    }
}

fn is_view(table: String) -> Error {
    Error::Unsupported {
        table,
        feature: "a table, and it is a view: its rows are those of its query".to_owned(),
    }
}

fn not_below_a_prefix(what: &str, location: &str) -> Error {
    let detail = format!("{what} at \"{location}\" may not be read by path: no storage profile has a prefix above it");
    Error::InvalidName { detail }
}
