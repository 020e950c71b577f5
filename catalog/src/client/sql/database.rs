//! The database behind a SQL catalog: connected when it is first asked, laid out as PyIceberg and Java lay it out.

use std::fmt;
use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;
use tokio::sync::OnceCell;
use url::Url;

use crate::config::Secret;
use crate::error::{Error, Result};

/// Commits are single statements: a few connections serve many sessions.
const CONNECTIONS_MAX: u32 = 8;

/// How long a free connection is waited for. The same time bounds how long a new connection is tried.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

const LAYOUT: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL,
        table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000),
        iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL,
        namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL,
        PRIMARY KEY (catalog_name, namespace, property_key))",
];

/// A SQLite or PostgreSQL database that holds Iceberg catalogs.
pub(in crate::client) struct Database {
    catalog: String,
    uri: Secret,
    connected: OnceCell<Connected>,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) pool: AnyPool,
    /// `iceberg_tables` says which of its rows are tables; layouts from before Iceberg views do not.
    pub(super) has_types: bool,
}

impl Database {
    /// The database at `uri`, for the catalog of that SQL name. Connects to nothing.
    pub(in crate::client) fn new(catalog: String, uri: Secret) -> Self {
        Self {
            catalog,
            uri,
            connected: OnceCell::new(),
        }
    }

    /// The open database; its tables are created where they are missing.
    pub(super) async fn connected(&self) -> Result<&Connected> {
        self.connected.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Connected> {
        sqlx::any::install_default_drivers();
        let uri = self.uri.expose();
        let sqlite = uri.starts_with("sqlite:");
        let uri = match sqlite && !uri.contains('?') {
            true => format!("{uri}?mode=rwc"),
            false => uri.to_owned(),
        };
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT);
        let pool = options
            .connect(&uri)
            .await
            .map_err(|error| self.failed("connect", &error))?;
        if probe(&pool, "SELECT catalog_name FROM iceberg_tables LIMIT 0")
            .await
            .is_err()
        {
            self.lay_out(&pool, sqlite).await?;
        }
        let has_types = probe(&pool, "SELECT iceberg_type FROM iceberg_tables LIMIT 0")
            .await
            .is_ok();
        Ok(Connected { pool, has_types })
    }

    async fn lay_out(&self, pool: &AnyPool, sqlite: bool) -> Result<()> {
        // In this mode of SQLite, readers and a writer do not wait for one another. The file remembers it.
        let journal = sqlite.then_some("PRAGMA journal_mode = WAL");
        for statement in journal.iter().chain(&LAYOUT) {
            let done = sqlx::query(statement).execute(pool).await;
            done.map_err(|error| self.failed("create the catalog's tables", &error))?;
        }
        Ok(())
    }

    /// A failed `action`, without the password that the URI may hold.
    pub(super) fn failed(&self, action: &str, error: &sqlx::Error) -> Error {
        let catalog = self.catalog.clone();
        let code = error.as_database_error().and_then(|error| error.code());
        let reason = match error {
            sqlx::Error::PoolTimedOut => format!("no connection within {} s", ACQUIRE_TIMEOUT.as_secs()),
            error => error.to_string(),
        };
        let detail = format!("cannot {action} in {}: {reason}", self.address());
        match code.as_deref() {
            // PostgreSQL: invalid authorization, invalid password, insufficient privilege.
            Some("28000" | "28P01" | "42501") => Error::CatalogDenied { catalog, detail },
            _ => Error::CatalogUnavailable {
                catalog,
                detail,
                source: None,
            },
        }
    }

    fn address(&self) -> String {
        let Ok(mut url) = Url::parse(self.uri.expose()) else {
            return "its database".to_owned();
        };
        // Neither fails for a URL that has a host; one without has no user either.
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return format!("{}:{}", url.scheme(), url.path());
        }
        url.set_query(None);
        url.to_string()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

async fn probe(pool: &AnyPool, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).fetch_optional(pool).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_do_not_show_the_password() {
        let check = |uri: &str, expect: &str| {
            let database = Database::new("lake".to_owned(), Secret::new(uri));
            assert_eq!(database.address(), expect);
            assert!(!format!("{database:?}").contains("secret"));
        };
        check(
            "postgresql://lake:secret@db:5432/c?password=secret",
            "postgresql://db:5432/c",
        );
        check("sqlite:///data/catalog.db", "sqlite:///data/catalog.db");
        check("sqlite::memory:", "sqlite::memory:");
        check("secret", "its database");
    }
}
