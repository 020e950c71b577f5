//! The catalogs as one statement sees them: every table is resolved when it is first named and stays at that version,
//! however often the statement names it.

mod pin;
pub(super) mod view;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use catalog::view::LakeView;
use catalog::{AsOf, FileKind, LakeTable, Lakehouse, MetadataTable, PathFormat, Relation, TableName};
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use futures::FutureExt;
use futures::future::BoxFuture;
use proto::{ErrorKind, TablePin};
use tokio::sync::OnceCell;

use self::pin::Pin;
use super::information_schema::InformationSchema;
use super::show::executors;
use crate::session::{CURRENT_CATALOG, CURRENT_NAMESPACE};

/// The key of `system.executors` among the views of a query.
pub(crate) const SYSTEM_EXECUTORS: &str = "$system.executors";
/// Behind `$`, what is no metadata but the rows of a table and of each where it lies.
const ROWS: &str = "rows";

/// What a statement calls a table of the lake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Name(TableName),
    Location(PathFormat, String),
}

impl Place {
    fn with_table(&self, table: &str) -> Self {
        match self {
            Place::Name(name) => Place::Name(TableName::new(&name.catalog, &name.namespace, table)),
            Place::Location(format, _) => Place::Location(*format, table.to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Name(name) => fmt::Display::fmt(name, f),
            Place::Location(_, url) => f.write_str(url),
        }
    }
}

/// What a name of the lake stands for, at one version.
#[derive(Debug)]
pub(super) enum Pinned {
    Table(Arc<LakeTable>),
    View(Arc<LakeView>),
}

/// Tables of one kind, each loaded once however many ask for it at the same time.
type Loaded<K, T> = Mutex<HashMap<K, Arc<OnceCell<Arc<T>>>>>;

/// The tables that one statement has named so far.
pub(crate) struct PinnedTables {
    lakehouse: Arc<Lakehouse>,
    /// Names that may be a table function's: for them a missing table is no error.
    functions: HashSet<String>,
    /// Names that the statement gives to versions of tables: the table's own name, and which version.
    versions: Mutex<HashMap<String, (String, AsOf)>>,
    /// What is needed to look into files.
    session: OnceLock<(SessionConfig, Arc<RuntimeEnv>)>,
    tables: Loaded<(Place, AsOf), Pinned>,
    /// Views of the lake as the rows of their queries.
    views: Mutex<HashMap<TableName, Arc<dyn TableProvider>>>,
    metadata: Loaded<(Place, AsOf, MetadataTable), catalog::SystemTable>,
    files: Loaded<(FileKind, String), catalog::FilesTable>,
    /// The properties of schemas, which have their functions.
    properties: Loaded<(String, String), HashMap<String, String>>,
    /// What the newest versions shall be.
    pins: HashMap<Place, Pin>,
}

impl PinnedTables {
    /// For one statement, over everything in `lakehouse`. Tables in `pins` have the version that stands there.
    pub(crate) fn new(lakehouse: Arc<Lakehouse>, functions: HashSet<String>, pins: &[TablePin]) -> Self {
        Self {
            lakehouse,
            functions,
            versions: Mutex::default(),
            session: OnceLock::new(),
            tables: Mutex::default(),
            views: Mutex::default(),
            metadata: Mutex::default(),
            files: Mutex::default(),
            properties: Mutex::default(),
            pins: pins.iter().map(pin::read).collect(),
        }
    }

    /// The versions of the tables that the statement named without one. Tables without a version are empty.
    pub(crate) fn pins(&self) -> Vec<TablePin> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = tables.iter().filter(|((_, as_of), _)| *as_of == AsOf::Latest);
        newest
            .filter_map(|((place, _), cell)| pin::write(place, cell.get()?))
            .collect()
    }

    /// Tells, before the first table is asked for, how files are looked into.
    pub(crate) fn begin(&self, session: (SessionConfig, Arc<RuntimeEnv>)) {
        self.session.get_or_init(|| session);
    }

    /// Adds names for versions of tables. The same name always means the same version.
    pub(crate) fn name_versions(&self, versions: HashMap<String, (String, AsOf)>) {
        self.versions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(versions);
    }

    /// What the table or view of that name is, at the newest version or the one that is pinned.
    pub(super) async fn relation(&self, name: &TableName) -> catalog::Result<Arc<Pinned>> {
        self.pinned(&Place::Name(name.clone()), &AsOf::Latest).await
    }

    /// The properties of a schema as they were when the statement first asked for them.
    pub(super) async fn namespace_properties(
        &self,
        catalog: &str,
        namespace: &str,
    ) -> catalog::Result<Arc<HashMap<String, String>>> {
        let load = async { self.lakehouse.client(catalog)?.namespace_properties(namespace).await };
        once(
            &self.properties,
            (catalog.to_owned(), namespace.to_owned()),
            load.boxed(),
        )
        .await
    }

    /// Whether there is a catalog of that name.
    pub(super) fn knows_catalog(&self, catalog: &str) -> bool {
        self.lakehouse.client(catalog).is_ok()
    }

    /// Tells what the rows of a view are, before its name is looked up.
    pub(super) fn add_view(&self, name: TableName, rows: Arc<dyn TableProvider>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.insert(name, rows);
    }

    /// The rows of a view that the statement has named before.
    pub(super) fn view(&self, name: &TableName) -> Option<Arc<dyn TableProvider>> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.get(name).cloned()
    }

    /// The last part of the table's own name where `name` stands for a version of it.
    pub(super) fn own_name(&self, name: &str) -> String {
        self.version(name).0
    }

    /// The table and the version that a name in the statement stands for.
    fn version(&self, name: &str) -> (String, AsOf) {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions
            .get(name)
            .cloned()
            .unwrap_or_else(|| (name.to_owned(), AsOf::Latest))
    }

    async fn lookup(&self, catalog: &str, namespace: &str, name: &str) -> catalog::Result<Arc<dyn TableProvider>> {
        let (table, as_of) = self.version(name);
        let (table, as_of) = (table.as_str(), &as_of);
        let url = || table.to_owned();
        let place = match (namespace, table.contains("://")) {
            ("iceberg", true) => Place::Location(PathFormat::Iceberg, url()),
            ("delta", true) => Place::Location(PathFormat::Delta, url()),
            ("parquet", true) => return self.files(FileKind::Parquet, table, as_of).await,
            ("csv", true) => return self.files(FileKind::Csv, table, as_of).await,
            ("json", true) => return self.files(FileKind::Json, table, as_of).await,
            _ => Place::Name(TableName::new(catalog, namespace, table)),
        };
        self.table_or_metadata(place, as_of).await
    }

    async fn table(&self, place: &Place, as_of: &AsOf) -> catalog::Result<Arc<LakeTable>> {
        match &*self.pinned(place, as_of).await? {
            Pinned::Table(table) => Ok(Arc::clone(table)),
            Pinned::View(_) => Err(catalog::Error::Unsupported {
                table: place.to_string(),
                feature: "a table, and it is a view: its rows are those of its query".to_owned(),
            }),
        }
    }

    fn pinned<'a>(&'a self, place: &'a Place, as_of: &'a AsOf) -> BoxFuture<'a, catalog::Result<Arc<Pinned>>> {
        let load = async move {
            let newest = self.load(place, as_of).await;
            match self.pins.get(place) {
                Some(pin) if *as_of == AsOf::Latest => self.at_pin(place, pin, newest).await,
                _ => newest,
            }
        };
        once(&self.tables, (place.clone(), as_of.clone()), load.boxed()).boxed()
    }

    async fn load(&self, place: &Place, as_of: &AsOf) -> catalog::Result<Pinned> {
        match place {
            Place::Name(name) => Ok(match self.lakehouse.relation(name, as_of).await? {
                Relation::Table(table) => Pinned::Table(Arc::from(table)),
                Relation::View(view) => Pinned::View(Arc::from(view)),
            }),
            Place::Location(format, url) => {
                let table = self.lakehouse.table_at_as_of(*format, url, as_of).await?;
                Ok(Pinned::Table(Arc::new(table)))
            }
        }
    }

    /// The version that `pin` tells, where `newest` is no longer it. A view has only its newest.
    async fn at_pin(&self, place: &Place, pin: &Pin, newest: catalog::Result<Pinned>) -> catalog::Result<Pinned> {
        let conflict = || catalog::Error::Conflict {
            table: place.to_string(),
        };
        match newest {
            Ok(newest) if pin.holds(&newest) => return Ok(newest),
            Ok(Pinned::View(_)) => return Err(conflict()),
            _ => {}
        }
        let table = self.load(place, &AsOf::Version(pin.version)).await?;
        match pin.holds(&table) {
            true => Ok(table),
            false => Err(conflict()),
        }
    }

    /// The table, or, where the name ends with `$files` or the like, the metadata of the table before it.
    async fn table_or_metadata(&self, place: Place, as_of: &AsOf) -> catalog::Result<Arc<dyn TableProvider>> {
        let name = match &place {
            Place::Name(name) => &name.table,
            Place::Location(_, url) => url,
        };
        let Some((base, suffix)) = name.rsplit_once('$').filter(|(base, _)| !base.is_empty()) else {
            if let (Place::Name(name), AsOf::Latest) = (&place, as_of)
                && let Some(rows) = self.view(name)
            {
                return Ok(rows);
            }
            return Ok(self.table(&place, as_of).await?);
        };
        let base = place.with_table(base);
        if suffix == ROWS {
            return Ok(Arc::new(self.table(&base, as_of).await?.with_row_metadata()?));
        }
        let Some(metadata_table) = MetadataTable::parse(suffix) else {
            return match self.table(&place, as_of).await {
                Err(error) if error.kind() == ErrorKind::NotFound && self.table(&base, as_of).await.is_ok() => {
                    Err(no_such_metadata(name))
                }
                table => Ok(table?),
            };
        };
        let load = async { self.table(&base, as_of).await?.metadata(metadata_table).await };
        let key = (base.clone(), as_of.clone(), metadata_table);
        Ok(once(&self.metadata, key, load.boxed()).await?)
    }

    async fn files(&self, kind: FileKind, location: &str, as_of: &AsOf) -> catalog::Result<Arc<dyn TableProvider>> {
        if *as_of != AsOf::Latest {
            let table = location.to_owned();
            let feature = "a table format, since plain files have no versions".to_owned();
            return Err(catalog::Error::Unsupported { table, feature });
        }
        let load = async {
            let (config, runtime) = self.session.get().cloned().unwrap_or_default();
            let state = SessionStateBuilder::new()
                .with_config(config)
                .with_runtime_env(runtime)
                .build();
            self.lakehouse.files_at(kind, location, &state).await
        };
        Ok(once(&self.files, (kind, location.to_owned()), load.boxed()).await?)
    }
}

/// What `load` gave for `key` the first time that it gave anything.
async fn once<K: Eq + Hash, T>(
    loaded: &Loaded<K, T>,
    key: K,
    load: BoxFuture<'_, catalog::Result<T>>,
) -> catalog::Result<Arc<T>> {
    let cell = {
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loaded.entry(key).or_default())
    };
    let load = || async { load.await.map(Arc::new) };
    cell.get_or_try_init(load).await.cloned()
}

fn no_such_metadata(name: &str) -> catalog::Error {
    let known: Vec<_> = MetadataTable::ALL
        .into_iter()
        .map(MetadataTable::name)
        .chain([ROWS])
        .map(|known| format!("${known}"))
        .collect();
    catalog::Error::NotFound {
        what: "metadata table",
        name: name.to_owned(),
        hint: Some(format!("behind the name of a table stand {}", known.join(", "))),
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
pub(crate) struct PinnedCatalogs {
    tables: Arc<PinnedTables>,
    /// What [`CURRENT_CATALOG`] and [`CURRENT_NAMESPACE`] stand for.
    catalog: String,
    namespace: String,
    /// The temporary views that the query names.
    views: OnceLock<HashMap<String, Arc<dyn TableProvider>>>,
}

impl PinnedCatalogs {
    /// `catalog` and `namespace` are where names look that name none.
    pub(crate) fn new(tables: Arc<PinnedTables>, catalog: &str, namespace: &str) -> Arc<Self> {
        Arc::new(Self {
            tables,
            catalog: catalog.to_owned(),
            namespace: namespace.to_owned(),
            views: OnceLock::new(),
        })
    }

    /// Where names look that name no catalog or schema.
    pub(super) fn place(&self) -> (&str, &str) {
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

    /// The name that a reference may be of a view of the lake; none where it can be none.
    pub(super) fn view_name(&self, reference: &TableReference) -> Option<TableName> {
        let (table, as_of) = self.tables.version(reference.table());
        let is_other = table.contains("://")
            || table.contains('$')
            || as_of != AsOf::Latest
            || reference.schema() == Some(INFORMATION_SCHEMA)
            || (reference.schema().is_none() && self.tables.functions.contains(&table));
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
            namespace: self.namespace.clone(),
            views: self.views.get().cloned().unwrap_or_default(),
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
    namespace: String,
    views: HashMap<String, Arc<dyn TableProvider>>,
}

impl CatalogProvider for PinnedCatalog {
    fn schema_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == INFORMATION_SCHEMA {
            return Some(Arc::new(InformationSchema::new(Arc::clone(&self.tables.lakehouse))));
        }
        let (namespace, views) = match name {
            CURRENT_NAMESPACE => (&*self.namespace, self.views.clone()),
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
            views,
        }))
    }
}

#[derive(Debug)]
struct PinnedSchema {
    tables: Arc<PinnedTables>,
    catalog: String,
    namespace: String,
    views: HashMap<String, Arc<dyn TableProvider>>,
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
        match self.tables.lookup(&self.catalog, &self.namespace, name).await {
            Ok(table) => Ok(Some(table)),
            Err(error) if error.kind() == ErrorKind::NotFound && self.tables.functions.contains(name) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn table_exist(&self, _: &str) -> bool {
        true
    }
}
