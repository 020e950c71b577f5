//! The catalogs as one statement sees them: every table is resolved when it is first named and stays at that version,
//! however often the statement names it.

mod catalogs;
mod pin;
pub(super) mod view;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use catalog::view::LakeView;
use catalog::{AsOf, FileKind, LakeTable, Lakehouse, MetadataTable, PathFormat, Relation, TableName};
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;
use futures::FutureExt;
use futures::future::BoxFuture;
use proto::{ErrorKind, TablePin};
use tokio::sync::OnceCell;

pub(crate) use self::catalogs::PinnedCatalogs;
use self::pin::Pin;
use crate::access::Guard;
use crate::session::temporary_age;
use crate::sql::listing::ViewColumns;

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
    /// What the newest version of a table is to the session.
    newest: AsOf,
    /// Who may read what.
    guard: Arc<Guard>,
    /// Names that may be a table function's: for them a missing table is no error.
    functions: HashSet<String>,
    /// Names that the statement gives to versions of tables: the table's own name, and which version.
    versions: Mutex<HashMap<String, (String, AsOf)>>,
    /// What is needed to look into files.
    session: OnceLock<(SessionConfig, Arc<RuntimeEnv>)>,
    tables: Loaded<(Place, AsOf), Pinned>,
    /// Views of the lake as the rows of their queries, by the user who reads them: whose rights hold in a view without
    /// an owner is who reads it.
    views: Mutex<HashMap<(String, TableName), Arc<dyn TableProvider>>>,
    metadata: Loaded<(Place, AsOf, MetadataTable), catalog::SystemTable>,
    files: Loaded<(FileKind, String), catalog::FilesTable>,
    /// The properties of schemas, which have their functions.
    properties: Loaded<(String, String), HashMap<String, String>>,
    /// The columns of the session's temporary views, where the statement lists them.
    view_columns: Arc<ViewColumns>,
    /// What the newest versions shall be.
    pins: HashMap<Place, Pin>,
}

impl PinnedTables {
    /// For one statement, over everything in `lakehouse` that `guard` allows. `newest` is the version that tables without
    /// one have; those in `pins` have the version that stands there.
    pub(crate) fn new(
        (lakehouse, guard): (Arc<Lakehouse>, Arc<Guard>),
        functions: HashSet<String>,
        (newest, pins): (AsOf, &[TablePin]),
    ) -> Self {
        Self {
            lakehouse,
            newest,
            guard,
            functions,
            versions: Mutex::default(),
            session: OnceLock::new(),
            tables: Mutex::default(),
            views: Mutex::default(),
            metadata: Mutex::default(),
            files: Mutex::default(),
            properties: Mutex::default(),
            view_columns: Arc::default(),
            pins: pins.iter().map(pin::read).collect(),
        }
    }

    /// Who may do what, as this statement found it.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        &self.guard
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

    /// The columns of temporary views, for what lists them.
    pub(super) fn view_columns(&self) -> &Arc<ViewColumns> {
        &self.view_columns
    }

    /// Whether there is a catalog of that name.
    pub(super) fn knows_catalog(&self, catalog: &str) -> bool {
        self.lakehouse.client(catalog).is_ok()
    }

    /// Tells what the rows of a view are to `user`, before its name is looked up.
    pub(super) fn add_view(&self, user: &str, name: TableName, rows: Arc<dyn TableProvider>) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.insert((user.to_owned(), name), rows);
    }

    /// The rows of a view that the statement has named before on behalf of `user`.
    pub(super) fn view(&self, user: &str, name: &TableName) -> Option<Arc<dyn TableProvider>> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.get(&(user.to_owned(), name.clone())).cloned()
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

    /// The place that a name without a version stands for, or the kind of plain files.
    fn place(catalog: &str, namespace: &str, table: &str) -> Result<Place, FileKind> {
        let url = || table.to_owned();
        match (namespace, table.contains("://")) {
            ("iceberg", true) => Ok(Place::Location(PathFormat::Iceberg, url())),
            ("delta", true) => Ok(Place::Location(PathFormat::Delta, url())),
            ("parquet", true) => Err(FileKind::Parquet),
            ("csv", true) => Err(FileKind::Csv),
            ("json", true) => Err(FileKind::Json),
            _ => Ok(Place::Name(TableName::new(catalog, namespace, table))),
        }
    }

    async fn lookup(
        &self,
        user: &str,
        (catalog, namespace): (&str, &str),
        name: &str,
    ) -> catalog::Result<Arc<dyn TableProvider>> {
        let (table, as_of) = self.version(name);
        match Self::place(catalog, namespace, &table) {
            Ok(place) => self.table_or_metadata(user, place, &as_of).await,
            Err(kind) => self.files(kind, &table, &as_of).await,
        }
    }

    /// The temporary table, or metadata of one, that a name in the statement stands for; nothing where it is none of
    /// `temporary`. Whoever has the session may read it.
    fn temporary<'a>(
        &'a self,
        temporary: &BTreeMap<String, TableName>,
        name: &str,
    ) -> Option<BoxFuture<'a, catalog::Result<Arc<dyn TableProvider>>>> {
        let (own, as_of) = self.version(name);
        let base = own.split('$').next().unwrap_or_default();
        let found = temporary.get(base)?;
        let table = format!("{}{}", found.table, &own[base.len()..]);
        let place = Place::Name(TableName::new(&found.catalog, &found.namespace, table));
        Some(async move { self.table_or_metadata("", place, &as_of).await }.boxed())
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
            let newest = self.load(place, self.meant(place, as_of)).await;
            match self.pins.get(place) {
                Some(pin) if *as_of == AsOf::Latest => self.at_pin(place, pin, newest).await,
                _ => newest,
            }
        };
        once(&self.tables, (place.clone(), as_of.clone()), load.boxed()).boxed()
    }

    /// What a statement of this session means by a version: where it says nothing, what the session does. Temporary tables
    /// have no branches.
    fn meant<'a>(&'a self, place: &Place, as_of: &'a AsOf) -> &'a AsOf {
        match (place, as_of) {
            (Place::Name(name), AsOf::Latest) if temporary_age(name).is_some() => as_of,
            (_, AsOf::Latest) => &self.newest,
            (_, other) => other,
        }
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
    async fn table_or_metadata(
        &self,
        user: &str,
        place: Place,
        as_of: &AsOf,
    ) -> catalog::Result<Arc<dyn TableProvider>> {
        let name = match &place {
            Place::Name(name) => &name.table,
            Place::Location(_, url) => url,
        };
        let Some((base, suffix)) = name.rsplit_once('$').filter(|(base, _)| !base.is_empty()) else {
            if let (Place::Name(name), AsOf::Latest) = (&place, as_of)
                && let Some(rows) = self.view(user, name)
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
