//! The database behind a SQL catalog: connected when it is first asked, laid out as PyIceberg and Java lay it out.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use url::Url;

use crate::config::Secret;
use crate::error::{Error, Result, innermost};

/// Commits are single statements: a few connections serve many sessions.
const CONNECTIONS_MAX: u32 = 8;

/// How long a connection is tried, or waited for while all are in use.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const CONNECT: &str = "connect to";

/// Fails where a table of the layout is missing.
const HAS_LAYOUT: &str = "SELECT table_namespace FROM iceberg_tables \
     UNION SELECT namespace FROM iceberg_namespace_properties LIMIT 0";

/// Fails where the layout is from before Iceberg had views.
const HAS_TYPES: &str = "SELECT iceberg_type FROM iceberg_tables LIMIT 0";

/// The layout of then becomes that of now.
const ADD_TYPES: &str = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)";

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
    /// `iceberg_tables` says which of its rows are tables; layouts from before Iceberg views do not. Once it does, it
    /// stays so.
    has_types: AtomicBool,
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
        // A pool waits for a server that refuses connections; the first connection says so at once.
        let first = timeout(CONNECT_TIMEOUT, AnyConnection::connect(&uri)).await;
        let mut first = first
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|error| self.failed(CONNECT, &error))?;
        if probe(&mut first, HAS_LAYOUT).await.is_err() {
            self.lay_out(&mut first, sqlite).await?;
        }
        let has_types = probe(&mut first, HAS_TYPES).await.is_ok();
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_TIMEOUT);
        let pool = options
            .connect_lazy(&uri)
            .map_err(|error| self.failed(CONNECT, &error))?;
        Ok(Connected {
            pool,
            has_types: AtomicBool::new(has_types),
        })
    }

    /// Whether the rows of `iceberg_tables` say what they are. An old layout is asked again: others may change it.
    pub(super) async fn has_types(&self) -> Result<bool> {
        let connected = self.connected().await?;
        if connected.has_types.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let found = match sqlx::query(HAS_TYPES).fetch_optional(&connected.pool).await {
            Ok(_) => true,
            Err(error) if error.as_database_error().is_some() => false,
            Err(error) => return Err(self.failed("read the catalog in", &error)),
        };
        connected.has_types.fetch_or(found, Ordering::Relaxed);
        Ok(found)
    }

    /// Makes the rows of an old layout say what they are, as PyIceberg and Java do it: those that do not are tables.
    pub(super) async fn add_types(&self) -> Result<()> {
        if self.has_types().await? {
            return Ok(());
        }
        let pool = &self.connected().await?.pool;
        let added = sqlx::query(ADD_TYPES).execute(pool).await;
        match (added, self.has_types().await?) {
            (_, true) => Ok(()),
            (Err(error), false) => Err(self.failed("add a column to the tables of the catalog in", &error)),
            (Ok(_), false) => Err(Error::CatalogProtocol {
                catalog: self.catalog.clone(),
                detail: "its tables do not show a column that was added to them".to_owned(),
            }),
        }
    }

    async fn lay_out(&self, connection: &mut AnyConnection, sqlite: bool) -> Result<()> {
        // In this mode of SQLite, readers and a writer do not wait for one another. The file remembers it.
        let journal = sqlite.then_some("PRAGMA journal_mode = WAL");
        for statement in journal.iter().chain(&LAYOUT) {
            let done = sqlx::query(statement).execute(&mut *connection).await;
            done.map_err(|error| self.failed("create the tables of the catalog in", &error))?;
        }
        Ok(())
    }

    /// The failure to do `action` with this database, without the password that its URI may hold.
    pub(super) fn failed(&self, action: &str, error: &sqlx::Error) -> Error {
        let catalog = self.catalog.clone();
        let refusal = error.as_database_error();
        let reason = match (error, refusal) {
            (sqlx::Error::PoolTimedOut, _) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
            (_, Some(refusal)) => refusal.message().to_owned(),
            (error, None) => innermost(error),
        };
        let detail = format!("cannot {action} {}: {reason}", self.address());
        match refusal.and_then(|refusal| refusal.code()).as_deref() {
            // PostgreSQL: invalid authorization, invalid password, insufficient privilege.
            Some("28000" | "28P01" | "42501") => Error::CatalogDenied { catalog, detail },
            _ => Error::CatalogUnavailable {
                catalog,
                detail,
                source: None,
            },
        }
    }

    /// A namespace's name in messages.
    pub(super) fn full_name(&self, namespace: &str) -> String {
        format!("{}.{namespace}", self.catalog)
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

async fn probe(connection: &mut AnyConnection, statement: &str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).fetch_optional(connection).await.map(|_| ())
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
        check("sqlite:///data/catalog.db", "sqlite:/data/catalog.db");
        check("sqlite::memory:", "sqlite::memory:");
        check("secret", "its database");
    }
}
