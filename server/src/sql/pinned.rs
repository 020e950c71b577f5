//! The catalogs as one statement sees them: every table is resolved when it is first named and stays at that version,
//! however often the statement names it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use catalog::{LakeTable, Lakehouse, PathFormat, TableName};
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use proto::ErrorKind;
use tokio::sync::OnceCell;

use super::information_schema::InformationSchema;

/// What a statement calls a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reference {
    Name(TableName),
    Location(&'static str, String),
}

/// The tables that one statement has named so far.
pub(crate) struct PinnedTables {
    lakehouse: Arc<Lakehouse>,
    /// Names that may be a table function's: for them a missing table is no error.
    functions: HashSet<String>,
    tables: Mutex<HashMap<Reference, Arc<OnceCell<Arc<LakeTable>>>>>,
}

impl PinnedTables {
    /// For one statement, over everything in `lakehouse`.
    pub(crate) fn new(lakehouse: Arc<Lakehouse>, functions: HashSet<String>) -> Self {
        Self {
            lakehouse,
            functions,
            tables: Mutex::default(),
        }
    }

    async fn table(&self, reference: Reference) -> catalog::Result<Arc<LakeTable>> {
        let cell = {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tables.entry(reference.clone()).or_default())
        };
        let load = || async {
            let table = match &reference {
                Reference::Name(name) => self.lakehouse.table(name).await?,
                Reference::Location("delta", url) => self.lakehouse.table_at(PathFormat::Delta, url).await?,
                Reference::Location(_, url) => self.lakehouse.table_at(PathFormat::Iceberg, url).await?,
            };
            Ok(Arc::new(table))
        };
        cell.get_or_try_init(load).await.cloned()
    }
}

impl fmt::Debug for PinnedTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedTables").finish_non_exhaustive()
    }
}

/// [`PinnedTables`] as DataFusion asks for them. Every catalog and schema seems to exist: only the table's own lookup
/// knows what is missing, and says so in the lake's words.
#[derive(Debug)]
pub(crate) struct PinnedCatalogs(pub(crate) Arc<PinnedTables>);

impl CatalogProviderList for PinnedCatalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        self.0.lakehouse.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        Some(Arc::new(PinnedCatalog {
            tables: Arc::clone(&self.0),
            catalog: name.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct PinnedCatalog {
    tables: Arc<PinnedTables>,
    catalog: String,
}

impl CatalogProvider for PinnedCatalog {
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchema::new(Arc::clone(&self.tables.lakehouse))));
        }
        let tables = Arc::clone(&self.tables);
        Some(Arc::new(PinnedSchema {
            tables,
            catalog: self.catalog.clone(),
            namespace: name.to_owned(),
        }))
    }
}

#[derive(Debug)]
struct PinnedSchema {
    tables: Arc<PinnedTables>,
    catalog: String,
    namespace: String,
}

impl PinnedSchema {
    fn reference(&self, table: &str) -> Reference {
        match (self.namespace.as_str(), table.contains("://")) {
            ("iceberg", true) => Reference::Location("iceberg", table.to_owned()),
            ("delta", true) => Reference::Location("delta", table.to_owned()),
            _ => Reference::Name(TableName::new(&self.catalog, &self.namespace, table)),
        }
    }
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.tables.table(self.reference(name)).await {
            Ok(table) => Ok(Some(table)),
            Err(error) if error.kind() == ErrorKind::NotFound && self.tables.functions.contains(name) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }
}
