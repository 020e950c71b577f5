//! A catalog in a SQL database: one row per name that points to an Iceberg table or view, or to a Delta table.
//!
//! PyIceberg and Java use the same tables, so each opens what the others made; rows of Delta tables have a type that
//! they leave out. A commit is one statement, or a transaction of several: the primary key decides who created a table.

mod database;
mod properties;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::ViewMetadata;
use uuid::Uuid;

pub(super) use self::database::Database;
use self::rows::{Kind, Pointer, Swap};
use super::{
    CatalogClient, StagedFormat, StagedTable, TableLocation, already_exists, check_new, folder, no_such_table,
    no_such_view, not_empty, other_kind,
};
use crate::delta;
use crate::error::{Error, Result};
use crate::iceberg::commit::{self, FirstVersion, TableCommit};
use crate::iceberg::metadata::view;
use crate::name::TableName;
use crate::stores::Stores;
use crate::view::NewView;
use crate::write::{self, NewTable, TableFormat, WrittenFile};

/// One catalog of a database.
#[derive(Debug)]
pub(super) struct SqlClient {
    database: Database,
    /// The value of `catalog_name` in the rows of this catalog.
    rows_of: String,
    new_tables: NewTables,
    stores: Arc<Stores>,
}

/// What new tables are like that do not say it.
#[derive(Debug)]
pub(super) struct NewTables {
    /// The folder above theirs.
    pub(super) warehouse: String,
    pub(super) format: TableFormat,
}

impl SqlClient {
    pub(super) fn new(database: Database, rows_of: String, new_tables: NewTables, stores: Arc<Stores>) -> Self {
        Self {
            database,
            rows_of,
            new_tables,
            stores,
        }
    }

    async fn has_namespace(&self, namespace: &str) -> Result<bool> {
        let statement = "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2 \
             UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2";
        Ok(!self.texts(statement, &[namespace]).await?.is_empty())
    }

    /// Refuses a name that cannot be given, or that is in a namespace that does not exist.
    async fn check_place(&self, name: &TableName) -> Result<()> {
        check_new(&name.namespace)?;
        check_new(&name.table)?;
        match self.has_namespace(&name.namespace).await? {
            true => Ok(()),
            false => Err(self.namespace_missing(&name.namespace)),
        }
    }

    fn namespace_missing(&self, namespace: &str) -> Error {
        Error::NotFound {
            what: "namespace",
            name: self.database.full_name(namespace),
            hint: None,
        }
    }

    fn default_location(&self, name: &TableName) -> String {
        format!("{}/{}/{}", self.new_tables.warehouse, name.namespace, name.table)
    }

    /// Writes a file that a name shall point to, and points it there.
    async fn publish(
        &self,
        name: &TableName,
        from: Option<&Pointer>,
        (to, bytes): (Pointer, bytes::Bytes),
    ) -> Result<()> {
        let written = match (write::put(&self.stores, &to.location, bytes).await, from) {
            (Ok(()), Some(from)) => self.swap(name, from, &to.location).await,
            (Ok(()), None) => self.insert(name, &to).await,
            (Err(error), _) => Err(error),
        };
        write::settle(&self.stores, &[to.location], written).await
    }
}

#[async_trait]
impl CatalogClient for SqlClient {
    async fn list_namespaces(&self) -> Result<Vec<String>> {
        let statement = "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1 \
             UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1";
        let mut namespaces = self.texts(statement, &[]).await?;
        namespaces.sort();
        Ok(namespaces)
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<String>> {
        self.names(namespace, &[Kind::Table, Kind::Delta]).await
    }

    async fn list_views(&self, namespace: &str) -> Result<Vec<String>> {
        self.names(namespace, &[Kind::View]).await
    }

    async fn load(&self, name: &TableName) -> Result<Option<TableLocation>> {
        let Some(Pointer { location, kind }) = self.pointer(name).await? else {
            return Ok(None);
        };
        Ok(Some(match kind {
            Kind::Table => TableLocation::Iceberg {
                metadata_location: location,
                metadata: None,
            },
            Kind::Delta => TableLocation::Delta { root: location },
            Kind::View => {
                let metadata = view::load(&self.stores, name, &location).await?;
                TableLocation::View(Box::new(view::view(&metadata)))
            }
        }))
    }

    async fn create_namespace(&self, namespace: &str, properties: &[(String, String)]) -> Result<()> {
        check_new(namespace)?;
        if self.has_namespace(namespace).await? {
            return Err(already_exists("namespace", self.database.full_name(namespace)));
        }
        // A namespace without properties has one that says that it exists.
        let exists = ("exists".to_owned(), "true".to_owned());
        self.insert_properties(namespace, std::iter::once(&exists).chain(properties))
            .await
    }

    async fn namespace_properties(&self, namespace: &str) -> Result<HashMap<String, String>> {
        self.properties(namespace).await
    }

    async fn set_namespace_property(&self, namespace: &str, key: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => self.put_property(namespace, key, value).await,
            None => self.remove_property(namespace, key).await,
        }
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<()> {
        if !self.has_namespace(namespace).await? {
            return Err(self.namespace_missing(namespace));
        }
        let inside = "SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2";
        let below = self.list_namespaces().await?;
        let prefix = format!("{namespace}.");
        if !self.texts(inside, &[namespace]).await?.is_empty() || below.iter().any(|name| name.starts_with(&prefix)) {
            return Err(not_empty(self.database.full_name(namespace)));
        }
        let statement = "DELETE FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2";
        self.execute("drop a namespace in", statement, &[namespace]).await?;
        Ok(())
    }

    async fn stage(&self, name: &TableName, new: &NewTable) -> Result<StagedTable> {
        self.check_place(name).await?;
        if let Some(found) = self.pointer(name).await? {
            return Err(already_exists(found.kind.noun(), name));
        }
        let named = new.location.as_ref();
        let named = named.map(|location| location.trim_end_matches('/').to_owned());
        match new.format.unwrap_or(self.new_tables.format) {
            TableFormat::Iceberg => {
                let location = named.unwrap_or_else(|| self.default_location(name));
                commit::stage(name, new, commit::metadata(name, new, location)?)
            }
            TableFormat::Delta => {
                // The log of a table of that name that was dropped may still lie in the folder of the name.
                let own = || format!("{}-{}", self.default_location(name), Uuid::new_v4().simple());
                let (target, log) = delta::commit::create::stage(name, new, named.unwrap_or_else(own))?;
                Ok(StagedTable::new(target, StagedFormat::Delta(Box::new(log))))
            }
        }
    }

    async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()> {
        match &staged.format {
            StagedFormat::Iceberg(metadata) => {
                let first = (metadata.as_ref().clone(), staged.branch.as_str());
                let mut version = FirstVersion::write(&self.stores, name, first, files).await?;
                let published = match version.write_metadata(&self.stores, name).await {
                    Ok(location) => {
                        let kind = Kind::Table;
                        self.insert(name, &Pointer { location, kind }).await
                    }
                    Err(error) => Err(error),
                };
                version.settle(&self.stores, published).await
            }
            StagedFormat::Delta(log) => {
                delta::commit::create::create(&self.stores, name, log, files).await?;
                let pointer = Pointer {
                    location: log.root().to_owned(),
                    kind: Kind::Delta,
                };
                let inserted = self.insert(name, &pointer).await;
                // This commit made the log: without a name it is nothing.
                write::settle(&self.stores, &[log.first_commit()], inserted).await
            }
            StagedFormat::Replacement(_) | StagedFormat::DeltaReplacement(..) => Err(staged.foreign(name)),
        }
    }

    async fn commit(&self, name: &TableName, commit: &TableCommit) -> Result<()> {
        let (location, json) = commit.metadata_file(name)?;
        let pointer = |location: &str| Pointer {
            location: location.to_owned(),
            kind: Kind::Table,
        };
        let from = pointer(&commit.base_location);
        self.publish(name, Some(&from), (pointer(&location), json)).await
    }

    async fn commits_together(&self) -> Result<bool> {
        Ok(true)
    }

    async fn commit_all(&self, commits: &[(&TableName, &TableCommit)]) -> Result<()> {
        let (mut swaps, mut files) = (Vec::new(), Vec::new());
        for (name, commit) in commits {
            let (location, json) = commit.metadata_file(name)?;
            files.push((location.clone(), json));
            swaps.push(Swap {
                name,
                from: &commit.base_location,
                to: location,
            });
        }
        let written = async {
            for (location, json) in files {
                write::put(&self.stores, &location, json).await?;
            }
            self.swap_all(&swaps).await
        };
        let landed = written.await;
        let locations: Vec<String> = swaps.iter().map(|swap| swap.to.clone()).collect();
        write::settle(&self.stores, &locations, landed).await
    }

    async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()> {
        let found = self.pointer(name).await?.ok_or_else(|| no_such_table(name))?;
        match found.kind {
            Kind::View => Err(other_kind(name, "view")),
            Kind::Table => {
                let files = match purge {
                    true => commit::purge::files(&self.stores, name, &found.location).await?,
                    false => Vec::new(),
                };
                self.remove(name, &found).await?;
                write::delete_all(&self.stores, &files).await;
                Ok(())
            }
            Kind::Delta => {
                self.remove(name, &found).await?;
                match purge {
                    true => folder::purge_folder(&self.stores, &found.location).await,
                    false => Ok(()),
                }
            }
        }
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        self.check_place(to).await?;
        let found = self.pointer(from).await?.ok_or_else(|| no_such_table(from))?;
        match found.kind {
            Kind::View => Err(other_kind(from, "view")),
            kind => self.rename(from, to, kind).await,
        }
    }

    async fn create_view(&self, name: &TableName, view: &NewView, replace: bool) -> Result<()> {
        self.check_place(name).await?;
        let version = view::NewVersion::of(name, view)?;
        let found = self.pointer(name).await?;
        let metadata = match &found {
            None => version.create(name, self.default_location(name))?,
            Some(base) if replace && base.kind == Kind::View => {
                let base = view::load(&self.stores, name, &base.location).await?;
                version.replace(name, &base)?.0
            }
            Some(found) => return Err(already_exists(found.kind.noun(), name)),
        };
        self.publish(name, found.as_ref(), view_file(name, &metadata)?).await
    }

    async fn comment_view(&self, name: &TableName, comment: Option<&str>) -> Result<()> {
        let found = self.pointer(name).await?.ok_or_else(|| no_such_view(name))?;
        if found.kind != Kind::View {
            return Err(other_kind(name, "table"));
        }
        let base = view::load(&self.stores, name, &found.location).await?;
        let (metadata, changes) = view::commented(name, &base, comment)?;
        match changes.is_empty() {
            true => Ok(()),
            false => self.publish(name, Some(&found), view_file(name, &metadata)?).await,
        }
    }

    async fn drop_view(&self, name: &TableName) -> Result<()> {
        let found = self.pointer(name).await?.ok_or_else(|| no_such_view(name))?;
        match found.kind {
            Kind::View => self.remove(name, &found).await,
            Kind::Table | Kind::Delta => Err(other_kind(name, "table")),
        }
    }

    async fn rename_view(&self, from: &TableName, to: &TableName) -> Result<()> {
        self.check_place(to).await?;
        let found = self.pointer(from).await?.ok_or_else(|| no_such_view(from))?;
        match found.kind {
            Kind::View => self.rename(from, to, Kind::View).await,
            Kind::Table | Kind::Delta => Err(other_kind(from, "table")),
        }
    }
}

/// Where the next metadata of a view go, and what is in them.
fn view_file(name: &TableName, metadata: &ViewMetadata) -> Result<(Pointer, bytes::Bytes)> {
    let json = serde_json::to_vec(metadata).map_err(|error| Error::Write {
        table: name.to_string(),
        detail: error.to_string(),
        source: None,
    })?;
    let to = Pointer {
        location: view::next_location(metadata),
        kind: Kind::View,
    };
    Ok((to, json.into()))
}
