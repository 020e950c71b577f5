//! Delta tables in folders, without any service: `<root>/<namespace>/<table>/_delta_log`.
//!
//! A folder of the root is a namespace, a folder of that is a table. Whether it really is one shows when it is loaded:
//! looking into every folder would make listing as slow as loading.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::{CatalogClient, StagedFormat, StagedTable, TableLocation, check_new, fits_in_path, no_format};
use crate::delta;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::{NewTable, TableFormat, WrittenFile};

/// The folder of a table's log.
const LOG: &str = "_delta_log";

/// The folders below one root.
#[derive(Debug)]
pub(super) struct FolderClient {
    root: String,
    stores: Arc<Stores>,
}

impl FolderClient {
    pub(super) fn new(root: String, stores: Arc<Stores>) -> Self {
        Self { root, stores }
    }

    fn table_root(&self, name: &TableName) -> String {
        format!("{}/{}/{}", self.root, name.namespace, name.table)
    }

    /// The names of the folders in `location`, sorted; none where it does not exist.
    async fn folders(&self, location: &str) -> Result<Vec<String>> {
        let at = self.stores.locate(location)?;
        let listed = match at.store.list_with_delimiter(Some(&at.path)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            listed => listed.map_err(|error| Error::storage(location, error))?,
        };
        let name = |path: &Path| {
            path.filename()
                .filter(|name| !name.starts_with(['.', '_']))
                .map(str::to_owned)
        };
        let mut names: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    fn unsupported(&self, name: &str, feature: &str) -> Error {
        Error::Unsupported {
            table: name.to_owned(),
            feature: feature.to_owned(),
        }
    }

    async fn has_log(&self, root: &str) -> Result<bool> {
        let location = format!("{root}/_delta_log");
        let at = self.stores.locate(&location)?;
        match at.store.list(Some(&at.path)).try_next().await {
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            listed => Ok(listed.map_err(|error| Error::storage(&location, error))?.is_some()),
        }
    }
}

#[async_trait]
impl CatalogClient for FolderClient {
    async fn list_namespaces(&self) -> Result<Vec<String>> {
        self.folders(&self.root).await
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<String>> {
        match fits_in_path(namespace) {
            true => self.folders(&format!("{}/{namespace}", self.root)).await,
            false => Ok(Vec::new()),
        }
    }

    async fn load(&self, name: &TableName) -> Result<Option<TableLocation>> {
        if !fits_in_path(&name.namespace) || !fits_in_path(&name.table) {
            return Ok(None);
        }
        let root = self.table_root(name);
        Ok(self.has_log(&root).await?.then_some(TableLocation::Delta { root }))
    }

    /// A namespace exists as soon as it has a table: object stores have no empty folders.
    async fn create_namespace(&self, namespace: &str, properties: &[(String, String)]) -> Result<()> {
        check_new(namespace)?;
        match properties.is_empty() {
            true => Ok(()),
            false => Err(self.unsupported(namespace, "properties of a namespace")),
        }
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<()> {
        Err(self.unsupported(namespace, "DROP SCHEMA in a catalog of folders"))
    }

    async fn stage(&self, name: &TableName, new: &NewTable) -> Result<StagedTable> {
        check_new(&name.namespace)?;
        check_new(&name.table)?;
        if let Some(format @ TableFormat::Iceberg) = new.format {
            return Err(no_format(name, format, "a catalog of folders has Delta tables"));
        }
        let root = self.table_root(name);
        if self.has_log(&root).await? {
            return Err(Error::AlreadyExists {
                what: "table",
                name: name.to_string(),
            });
        }
        let (target, log) = delta::commit::create::stage(name, new, root)?;
        Ok(StagedTable::new(target, StagedFormat::Delta(Box::new(log))))
    }

    async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()> {
        let StagedFormat::Delta(log) = &staged.format else {
            return Err(staged.foreign(name));
        };
        delta::commit::create::create(&self.stores, name, log, files).await
    }

    /// The folder is the table: it can only be deleted, and that has to be asked for.
    async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()> {
        if !purge {
            let feature = "DROP TABLE ... PURGE, since its folder is all that there is of it: DROP TABLE without PURGE";
            return Err(self.unsupported(&name.to_string(), feature));
        }
        match self.load(name).await? {
            Some(_) => purge_folder(&self.stores, &self.table_root(name)).await,
            None => Err(Error::NotFound {
                what: "table",
                name: name.to_string(),
                hint: None,
            }),
        }
    }

    async fn rename_table(&self, from: &TableName, _to: &TableName) -> Result<()> {
        Err(self.unsupported(&from.to_string(), "renaming in a catalog of folders"))
    }
}

/// Deletes everything in a table's folder: the log from its first commit on, so that what is left of it after a
/// failure is either whole or no table, then the files.
pub(super) async fn purge_folder(stores: &Stores, root: &str) -> Result<()> {
    let at = stores.locate(root)?;
    let failed = |error| Error::storage(root, error);
    let mut log: Vec<Path> = at
        .store
        .list(Some(&at.path.clone().join(LOG)))
        .map_ok(|object| object.location)
        .try_collect()
        .await
        .map_err(failed)?;
    log.sort();
    for path in log {
        at.store.delete(&path).await.map_err(failed)?;
    }
    let files = at.store.list(Some(&at.path)).map_ok(|object| object.location).boxed();
    at.store
        .delete_stream(files)
        .try_for_each(|_| ready(Ok(())))
        .await
        .map_err(failed)
}
