//! [`PinnedTables`] as DataFusion asks for them, on behalf of one user. Every name that a statement or a view reads passes
//! [`PinnedCatalogs::check`] before anything is loaded.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use catalog::{AsOf, MetadataTable, TableName};
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::{DataFusionError, Result};
use proto::ErrorKind;

use super::{PinnedTables, Place, ROWS, SYSTEM_EXECUTORS, no_such_metadata};
use crate::access::{Privilege, Viewer, missing};
use crate::error::Error;
use crate::session::{CURRENT_CATALOG, CURRENT_NAMESPACE, TEMPORARY_SCHEMA, Temporary};
use crate::sql::information_schema::InformationSchema;
use crate::sql::listing::OwnNames;
use crate::sql::show::executors;

/// [`PinnedTables`] as DataFusion asks for them. Every catalog and schema seems to exist: only the table's own lookup
/// knows what is missing, and says so in the lake's words.
#[derive(Debug)]
pub(crate) struct PinnedCatalogs {
    tables: Arc<PinnedTables>,
    /// What [`CURRENT_CATALOG`] and [`CURRENT_NAMESPACE`] stand for.
    catalog: String,
    namespace: String,
    /// The temporary tables and views of the session.
    temporary: Arc<Temporary>,
    /// The temporary views that the query names.
    views: OnceLock<HashMap<String, Arc<dyn TableProvider>>>,
    reader: Arc<Reader>,
}

/// On whose behalf names are looked up.
#[derive(Debug)]
struct Reader {
    user: String,
    /// The table that the statement writes to and does not read, as it is named there.
    target: OnceLock<TableName>,
}

impl PinnedCatalogs {
    /// What `user` may read. `catalog` and `namespace` are where names look that name none, and are not in `temporary`.
    pub(crate) fn new(
        tables: Arc<PinnedTables>,
        user: &str,
        ((catalog, namespace), temporary): ((&str, &str), Temporary),
    ) -> Arc<Self> {
        Arc::new(Self {
            tables,
            catalog: catalog.to_owned(),
            namespace: namespace.to_owned(),
            temporary: Arc::new(temporary),
            views: OnceLock::new(),
            reader: Arc::new(Reader {
                user: user.to_owned(),
                target: OnceLock::new(),
            }),
        })
    }

    /// On whose behalf names are looked up.
    pub(in crate::sql) fn user(&self) -> &str {
        &self.reader.user
    }

    /// Tells, before the first table is asked for, which one is only written to. It is named nowhere else.
    pub(in crate::sql) fn set_target(&self, target: TableName) {
        self.reader.target.get_or_init(|| target);
    }

    /// Refuses a name that the user may not read.
    pub(in crate::sql) async fn check(&self, name: &TableName) -> Result<(), Error> {
        self.reader.check(&self.tables, name).await
    }

    /// What the user is told of a name that names nothing.
    pub(in crate::sql) fn told(&self, error: catalog::Error) -> catalog::Error {
        self.reader.told(&self.tables, error)
    }

    /// Where names look that name no catalog or schema.
    pub(in crate::sql) fn place(&self) -> (&str, &str) {
        (&self.catalog, &self.namespace)
    }

    /// The tables behind the names.
    pub(crate) fn tables(&self) -> &Arc<PinnedTables> {
        &self.tables
    }

    /// Tells, before the first table is asked for, what the names of temporary views stand for.
    pub(crate) fn add_views(&self, views: HashMap<String, Arc<dyn TableProvider>>) {
        self.views.get_or_init(|| views);
    }

    /// Whether a reference may be to a temporary table or view: it names no schema, or the one that they are listed in.
    pub(in crate::sql) fn may_be_temporary(&self, reference: &TableReference) -> bool {
        match reference.schema() {
            None => true,
            Some(TEMPORARY_SCHEMA) => reference.catalog().is_none_or(|catalog| catalog == self.catalog),
            Some(_) => false,
        }
    }

    /// The name that a reference may be of a view of the lake; none where it can be none.
    pub(in crate::sql) fn view_name(&self, reference: &TableReference) -> Option<TableName> {
        let (table, as_of) = self.tables.version(reference.table());
        let is_other = table.contains("://")
            || table.contains('$')
            || as_of != AsOf::Latest
            || reference.schema() == Some(INFORMATION_SCHEMA)
            || (reference.schema().is_none() && self.tables.functions.contains(&table))
            || (self.may_be_temporary(reference) && self.temporary.tables.contains_key(&table));
        let catalog = reference.catalog().unwrap_or(&self.catalog);
        let namespace = reference.schema().unwrap_or(&self.namespace);
        (!is_other).then(|| TableName::new(catalog, namespace, table))
    }

    /// The providers of names below `catalog`, as the planner writes it.
    fn below(&self, catalog: &str) -> PinnedCatalog {
        let is_current = catalog == CURRENT_CATALOG;
        let catalog = match catalog {
            CURRENT_CATALOG => &self.catalog,
            other => other,
        };
        PinnedCatalog {
            tables: Arc::clone(&self.tables),
            is_current,
            catalog: catalog.to_owned(),
            home: self.catalog.clone(),
            namespace: self.namespace.clone(),
            temporary: Arc::clone(&self.temporary),
            views: self.views.get().cloned().unwrap_or_default(),
            reader: Arc::clone(&self.reader),
        }
    }
}

impl Reader {
    /// Refuses a name, as the statement writes it, that the user may not read: a table or view without SELECT, the metadata
    /// of such a table, and files by their location but to administrators.
    async fn check(&self, tables: &PinnedTables, written: &TableName) -> Result<(), Error> {
        let guard = tables.guard();
        if guard.is_free(&self.user) {
            return Ok(());
        }
        let (table, _) = tables.version(&written.table);
        let name = match PinnedTables::place(&written.catalog, &written.namespace, &table) {
            Ok(Place::Name(name)) => name,
            Ok(Place::Location(..)) | Err(_) => {
                return guard.require_admin(&self.user, "reading files by their location");
            }
        };
        if self.target.get() == Some(written) {
            return match guard.sees(&self.user, &name).await? {
                true => Ok(()),
                false => Err(missing("table", &name).into()),
            };
        }
        let select = [Privilege::Select];
        let Some((base, suffix)) = name.table.rsplit_once('$').filter(|(base, _)| !base.is_empty()) else {
            return guard.require(&self.user, "table", &name, &select).await;
        };
        let base = TableName::new(&name.catalog, &name.namespace, base);
        if suffix == ROWS || MetadataTable::parse(suffix).is_some() {
            let allowed = guard.require(&self.user, "table", &base, &select).await;
            return allowed.map_err(|error| match error {
                Error::Catalog(error) if error.kind() == ErrorKind::NotFound => missing("table", &base).into(),
                other => other,
            });
        }
        match guard.require(&self.user, "table", &name, &select).await {
            Err(error) if error.kind() == ErrorKind::NotFound && guard.sees(&self.user, &base).await? => {
                Err(no_such_metadata(&name.table).into())
            }
            checked => checked,
        }
    }

    /// What the user is told of a name that names nothing: names that are like it may be none of theirs.
    fn told(&self, tables: &PinnedTables, error: catalog::Error) -> catalog::Error {
        match error {
            catalog::Error::NotFound {
                what: what @ ("table" | "namespace"),
                name,
                ..
            } if !tables.guard().is_free(&self.user) => catalog::Error::NotFound {
                what,
                name,
                hint: Some("SHOW TABLES lists what there is".to_owned()),
            },
            other => other,
        }
    }
}

impl CatalogProviderList for PinnedCatalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        self.tables.lakehouse.catalog_names()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        Some(Arc::new(self.below(name)))
    }
}

#[derive(Debug)]
struct PinnedCatalog {
    tables: Arc<PinnedTables>,
    /// The name that it is asked for by has no catalog.
    is_current: bool,
    catalog: String,
    /// The catalog of names that have none.
    home: String,
    namespace: String,
    temporary: Arc<Temporary>,
    views: HashMap<String, Arc<dyn TableProvider>>,
    reader: Arc<Reader>,
}

impl CatalogProvider for PinnedCatalog {
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            let viewer = Viewer::new(Arc::clone(self.tables.guard()), &self.reader.user);
            let columns = Arc::clone(self.tables.view_columns());
            let own = OwnNames::new(&self.home, Arc::clone(&self.temporary), columns);
            return Some(Arc::new(InformationSchema::new(viewer, own)));
        }
        let is_own = name == CURRENT_NAMESPACE || name == TEMPORARY_SCHEMA && self.catalog == self.home;
        let temporary = match is_own {
            true => Arc::clone(&self.temporary),
            false => Arc::default(),
        };
        let (namespace, views) = match name {
            CURRENT_NAMESPACE => (&*self.namespace, self.views.clone()),
            TEMPORARY_SCHEMA if is_own => (name, self.views.clone()),
            executors::SCHEMA if self.is_current => {
                let view = self.views.get(SYSTEM_EXECUTORS).map(Arc::clone);
                (
                    name,
                    view.map(|view| (executors::TABLE.to_owned(), view))
                        .into_iter()
                        .collect(),
                )
            }
            other => (other, HashMap::new()),
        };
        Some(Arc::new(PinnedSchema {
            tables: Arc::clone(&self.tables),
            catalog: self.catalog.clone(),
            namespace: namespace.to_owned(),
            temporary,
            views,
            reader: Arc::clone(&self.reader),
        }))
    }
}

#[derive(Debug)]
struct PinnedSchema {
    tables: Arc<PinnedTables>,
    catalog: String,
    namespace: String,
    temporary: Arc<Temporary>,
    views: HashMap<String, Arc<dyn TableProvider>>,
    reader: Arc<Reader>,
}

#[async_trait]
impl SchemaProvider for PinnedSchema {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(view) = self.views.get(name) {
            return Ok(Some(Arc::clone(view)));
        }
        if let Some(temporary) = self.tables.temporary(&self.temporary.tables, name) {
            return Ok(Some(temporary.await?));
        }
        let found = async {
            let written = TableName::new(&self.catalog, &self.namespace, name);
            self.reader.check(&self.tables, &written).await?;
            let place = (self.catalog.as_str(), self.namespace.as_str());
            let found = self.tables.lookup(&self.reader.user, place, name).await;
            Ok(found.map_err(|error| self.reader.told(&self.tables, error))?)
        };
        match found.await {
            Ok(table) => Ok(Some(table)),
            Err(error) if error.kind() == ErrorKind::NotFound && self.tables.functions.contains(name) => Ok(None),
            Err(Error::Catalog(error)) => Err(error.into()),
            Err(error) => Err(DataFusionError::External(Box::new(error))),
        }
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }
}
