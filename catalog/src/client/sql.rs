//! An Iceberg catalog in a SQL database: one row per table that points to its current metadata file.
//!
//! PyIceberg and Java use the same tables, so each opens what the others made. A commit is one statement: the primary
//! key decides who created a table.

mod database;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row;
use sqlx::any::AnyRow;
use sqlx::error::DatabaseError;

pub(super) use self::database::Database;
use super::{
    CatalogClient, StagedFormat, StagedTable, TableLocation, already_exists, check_new, no_such_table, not_empty,
};
use crate::error::{Error, Result};
use crate::iceberg::commit::{self, FirstVersion, TableCommit};
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::{self, NewTable, WrittenFile};

/// One catalog of a database.
#[derive(Debug)]
pub(super) struct SqlClient {
    database: Database,
    /// The value of `catalog_name` in the rows of this catalog.
    rows_of: String,
    warehouse: String,
    stores: Arc<Stores>,
}

impl SqlClient {
    pub(super) fn new(database: Database, rows_of: String, warehouse: String, stores: Arc<Stores>) -> Self {
        Self {
            database,
            rows_of,
            warehouse,
            stores,
        }
    }

    /// The first column of every row that `statement` finds for this catalog and `arguments`.
    async fn texts(&self, statement: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(statement).bind(&self.rows_of);
        for argument in arguments {
            query = query.bind(*argument);
        }
        let rows: Result<Vec<AnyRow>, sqlx::Error> = query.fetch_all(pool).await;
        let texts = rows.and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect());
        texts.map_err(|error| self.database.failed("read the catalog in", &error))
    }

    /// The condition that leaves views out.
    async fn only_tables(&self) -> Result<&'static str> {
        Ok(match self.database.connected().await?.has_types {
            true => "(iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
            false => "1 = 1",
        })
    }

    async fn metadata_location(&self, name: &TableName) -> Result<Option<String>> {
        let statement = format!(
            "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 \
             AND table_name = $3 AND metadata_location IS NOT NULL AND {}",
            self.only_tables().await?
        );
        let found = self.texts(&statement, &[&name.namespace, &name.table]).await?;
        Ok(found.into_iter().next())
    }

    async fn has_namespace(&self, namespace: &str) -> Result<bool> {
        let statement = "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2 \
             UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2";
        Ok(!self.texts(statement, &[namespace]).await?.is_empty())
    }

    fn namespace_missing(&self, namespace: &str) -> Error {
        Error::NotFound {
            what: "namespace",
            name: self.database.full_name(namespace),
            hint: None,
        }
    }

    /// Adds the row that makes a new table visible.
    async fn insert(&self, name: &TableName, metadata_location: &str) -> Result<()> {
        let connected = self.database.connected().await?;
        let (column, value) = if connected.has_types {
            (", iceberg_type", ", 'TABLE'")
        } else {
            ("", "")
        };
        let statement = format!(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location{column}) \
             VALUES ($1, $2, $3, $4{value})"
        );
        let insert = sqlx::query(&statement)
            .bind(&self.rows_of)
            .bind(&name.namespace)
            .bind(&name.table);
        let Err(error) = insert.bind(metadata_location).execute(&connected.pool).await else {
            return Ok(());
        };
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => Err(already_exists("table", name)),
            Some(refusal) if !is_shutdown(refusal) => Err(self.database.failed("create a table in", &error)),
            _ => self.settle(name, metadata_location, &error).await,
        }
    }

    /// Points the table's row to another metadata file, if it still points to the one that was read.
    async fn swap(&self, name: &TableName, from: &str, to: &str) -> Result<()> {
        let conflict = || Error::Conflict {
            table: name.to_string(),
        };
        let statement = format!(
            "UPDATE iceberg_tables SET metadata_location = $5, previous_metadata_location = $4 WHERE catalog_name = $1 \
             AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4 AND {}",
            self.only_tables().await?
        );
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(&statement).bind(&self.rows_of);
        for argument in [name.namespace.as_str(), &name.table, from, to] {
            query = query.bind(argument);
        }
        let error = match query.execute(pool).await {
            Ok(done) if done.rows_affected() == 1 => return Ok(()),
            Ok(_) => return Err(conflict()),
            Err(error) => error,
        };
        match error.as_database_error() {
            Some(refusal) if is_busy(refusal) => Err(conflict()),
            Some(refusal) if !is_shutdown(refusal) => Err(self.database.failed("commit to", &error)),
            _ => match self.metadata_location(name).await {
                Ok(Some(found)) if found == to => Ok(()),
                _ => Err(Error::CommitUnknown {
                    table: name.to_string(),
                    detail: error.to_string(),
                }),
            },
        }
    }

    /// Runs a statement about this catalog and `arguments`; the number of rows that it changed.
    async fn execute(&self, action: &str, statement: &str, arguments: &[&str]) -> Result<u64> {
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(statement).bind(&self.rows_of);
        for argument in arguments {
            query = query.bind(*argument);
        }
        let done = query.execute(pool).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| self.database.failed(action, &error))
    }

    /// Adds the rows that say that a namespace exists, and what its properties are.
    async fn insert_properties<'a>(
        &self,
        namespace: &str,
        properties: impl Iterator<Item = &'a (String, String)>,
    ) -> Result<()> {
        let statement = "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, \
             property_value) VALUES ($1, $2, $3, $4)";
        let pool = &self.database.connected().await?.pool;
        for (key, value) in properties {
            let insert = sqlx::query(statement).bind(&self.rows_of).bind(namespace);
            let inserted = insert.bind(key).bind(value).execute(pool).await;
            inserted.map_err(|error| match error.as_database_error() {
                Some(refusal) if refusal.is_unique_violation() => {
                    already_exists("namespace", self.database.full_name(namespace))
                }
                _ => self.database.failed("create a namespace in", &error),
            })?;
        }
        Ok(())
    }

    /// Finds out whether an insert whose answer was lost took place.
    async fn settle(&self, name: &TableName, metadata_location: &str, lost: &sqlx::Error) -> Result<()> {
        match self.metadata_location(name).await {
            Ok(Some(found)) if found == metadata_location => Ok(()),
            Ok(Some(_)) => Err(already_exists("table", name)),
            Ok(None) | Err(_) => Err(Error::CommitUnknown {
                table: name.to_string(),
                detail: lost.to_string(),
            }),
        }
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
        let statement = format!(
            "SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND {}",
            self.only_tables().await?
        );
        let mut tables = self.texts(&statement, &[namespace]).await?;
        if tables.is_empty() && !self.has_namespace(namespace).await? {
            return Err(self.namespace_missing(namespace));
        }
        tables.sort();
        Ok(tables)
    }

    async fn load(&self, name: &TableName) -> Result<Option<TableLocation>> {
        let found = self.metadata_location(name).await?;
        Ok(found.map(|metadata_location| TableLocation::Iceberg {
            metadata_location,
            metadata: None,
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
        check_new(&name.namespace)?;
        check_new(&name.table)?;
        if !self.has_namespace(&name.namespace).await? {
            return Err(self.namespace_missing(&name.namespace));
        }
        if self.metadata_location(name).await?.is_some() {
            return Err(already_exists("table", name));
        }
        let location = match &new.location {
            Some(location) => location.trim_end_matches('/').to_owned(),
            None => format!("{}/{}/{}", self.warehouse, name.namespace, name.table),
        };
        commit::stage(name, new, commit::metadata(name, new, location)?)
    }

    async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()> {
        let StagedFormat::Iceberg(metadata) = &staged.format else {
            return Err(staged.foreign(name));
        };
        let mut version = FirstVersion::write(&self.stores, name, metadata.as_ref().clone(), files).await?;
        let published = match version.write_metadata(&self.stores, name).await {
            Ok(metadata_location) => self.insert(name, &metadata_location).await,
            Err(error) => Err(error),
        };
        version.settle(&self.stores, published).await
    }

    async fn commit(&self, name: &TableName, commit: &TableCommit) -> Result<()> {
        let (location, json) = commit.metadata_file(name)?;
        let written = match write::put(&self.stores, &location, json).await {
            Ok(()) => self.swap(name, &commit.base_location, &location).await,
            Err(error) => Err(error),
        };
        write::settle(&self.stores, &[location], written).await
    }

    async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()> {
        let location = self.metadata_location(name).await?;
        let location = location.ok_or_else(|| no_such_table(name))?;
        let files = match purge {
            true => commit::purge::files(&self.stores, name, &location).await?,
            false => Vec::new(),
        };
        let statement = "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 \
             AND table_name = $3 AND metadata_location = $4";
        let arguments = [name.namespace.as_str(), &name.table, &location];
        match self.execute("drop a table in", statement, &arguments).await? {
            0 => Err(Error::Conflict {
                table: name.to_string(),
            }),
            _ => {
                write::delete_all(&self.stores, &files).await;
                Ok(())
            }
        }
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        check_new(&to.table)?;
        if !self.has_namespace(&to.namespace).await? {
            return Err(self.namespace_missing(&to.namespace));
        }
        let statement = format!(
            "UPDATE iceberg_tables SET table_namespace = $4, table_name = $5 WHERE catalog_name = $1 \
             AND table_namespace = $2 AND table_name = $3 AND {}",
            self.only_tables().await?
        );
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(&statement).bind(&self.rows_of);
        for argument in [&from.namespace, &from.table, &to.namespace, &to.table] {
            query = query.bind(argument);
        }
        match query.execute(pool).await {
            Ok(done) if done.rows_affected() == 0 => Err(no_such_table(from)),
            Ok(_) => Ok(()),
            Err(error) => Err(match error.as_database_error() {
                Some(refusal) if refusal.is_unique_violation() => already_exists("table", to),
                _ => self.database.failed("rename a table in", &error),
            }),
        }
    }
}

/// True where the database broke the connection: it may have committed before.
fn is_shutdown(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P"))
}

/// True where SQLite was locked by another writer for too long.
fn is_busy(error: &dyn DatabaseError) -> bool {
    // The low byte is the code, the others say more of it.
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5) && error.message().contains("locked")
}
