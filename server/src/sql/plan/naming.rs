//! What the names in a query stand for: tables, and views in the place of which their queries stand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use catalog::TableName;
use catalog::view::{LakeView, ViewText};
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::catalog::{CatalogProviderList, TableProvider};
use datafusion::common::TableReference;
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as Parsed;
use executor::Engines;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use proto::ErrorKind;
use tracing::warn;

use super::functions;
use crate::error::{Error, Result};
use crate::session::{Session, Temporary, TemporaryView};
use crate::sql::parse::{Statement, VersionedTable};
use crate::sql::pinned::view::{fitted, texts};
use crate::sql::pinned::{Pinned, PinnedCatalogs, SYSTEM_EXECUTORS};
use crate::sql::show::executors;
use crate::sql::{information_schema, time_travel, write};

/// Tables that are resolved at once while a statement is planned.
const RESOLVE_CONCURRENCY: usize = 8;
/// Views that may be built on one another.
const VIEW_DEPTH_MAX: usize = 8;

/// What the names in one query mean.
pub(super) struct Naming<'a> {
    session: &'a Session,
    engines: &'a Engines,
    catalogs: Arc<PinnedCatalogs>,
    /// The names of the views around it, the outermost first.
    around: Vec<String>,
    /// Whether the temporary views of the session have a meaning in it: not in views that a catalog keeps.
    is_of_session: bool,
}

impl<'a> Naming<'a> {
    /// Of a statement in this session, or of the query of a view of the lake.
    pub(super) fn new(
        (session, engines): (&'a Session, &'a Engines),
        catalogs: Arc<PinnedCatalogs>,
        view: Option<&TableName>,
    ) -> Self {
        Self {
            session,
            engines,
            catalogs,
            around: view.iter().map(ToString::to_string).collect(),
            is_of_session: view.is_none(),
        }
    }

    /// Plans a query over the tables and views that it names.
    pub(super) async fn plan(
        &self,
        state: &SessionState,
        mut query: Parsed,
        versions: Vec<VersionedTable>,
    ) -> Result<LogicalPlan> {
        let by = (self.catalogs.user(), self.catalogs.place());
        functions::expand(&mut query, state, self.catalogs.tables(), by).await?;
        let versions = versions.into_iter().map(|versioned| {
            let as_of = time_travel::as_of(state, &versioned.version)?;
            Ok((versioned.name, (versioned.table, as_of)))
        });
        self.catalogs
            .tables()
            .name_versions(versions.collect::<Result<HashMap<_, _>>>()?);
        if self.around.is_empty()
            && let Some(target) = write::unread_target(&query)?
        {
            self.catalogs.set_target(self.written(&target));
        }
        let references = state.resolve_table_references(&query)?;
        let mut temporary = HashMap::new();
        let mut others = BTreeSet::new();
        for reference in &references {
            if let Some((name, view)) = self.temporary_named(reference) {
                temporary.insert(name.clone(), self.temporary_view(state, name, view).await?);
            } else if let TableReference::Partial { schema, table } = reference
                && (&**schema, &**table) == (executors::SCHEMA, executors::TABLE)
            {
                temporary.insert(SYSTEM_EXECUTORS.to_owned(), self.executors(state).await?);
            } else {
                others.extend(self.catalogs.view_name(reference));
            }
        }
        self.catalogs.add_views(temporary);
        self.describe_temporary(state, &references).await;
        let user = self.catalogs.user();
        for (name, view) in self.kept_views(others).await? {
            if self.catalogs.tables().view(user, &name).is_none() {
                let rows = self.kept_view(state, &name, &view).await?;
                self.catalogs.tables().add_view(user, name, rows);
            }
        }
        resolve_tables(state, references).await?;
        Ok(state.statement_to_plan(query).await?)
    }

    /// The table or view that one name stands for, where the names are not known beforehand.
    pub(super) async fn relation(
        &self,
        state: &SessionState,
        reference: &TableReference,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some((name, view)) = self.temporary_named(reference) {
            return self.temporary_view(state, name, view).await.map(Some);
        }
        self.describe_temporary(state, std::slice::from_ref(reference)).await;
        let name = self.catalogs.view_name(reference).into_iter().collect();
        if let Some((name, view)) = self.kept_views(name).await?.first() {
            return self.kept_view(state, name, view).await.map(Some);
        }
        let schema = state.schema_for_ref(reference.clone())?;
        Ok(schema.table(reference.table()).await?)
    }

    /// The temporary view that a reference is to.
    fn temporary_named(&self, reference: &TableReference) -> Option<(&String, &TemporaryView)> {
        match self.is_of_session && self.catalogs.may_be_temporary(reference) {
            true => self.session.views.get_key_value(reference.table()),
            false => None,
        }
    }

    /// Tells `information_schema.columns`, where it is named, the columns of temporary views. One that cannot be planned
    /// is listed without columns, as a table that cannot be loaded.
    async fn describe_temporary(&self, state: &SessionState, references: &[TableReference]) {
        let names_columns = references.iter().any(|reference| {
            reference.schema() == Some(INFORMATION_SCHEMA) && reference.table() == information_schema::COLUMNS
        });
        let known = self.catalogs.tables().view_columns();
        if !self.is_of_session || !names_columns || !known.begin() {
            return;
        }
        for (name, view) in &self.session.views {
            match self.temporary_view(state, name, view).await {
                Ok(rows) => known.tell(name, rows.schema()),
                Err(error) => warn!(view = %name, %error, "listed without columns: the view cannot be planned"),
            }
        }
    }

    /// The executors as they are now.
    async fn executors(&self, state: &SessionState) -> Result<Arc<dyn TableProvider>> {
        let rows = executors::rows(&self.engines.executors());
        let Statement::Query { query, .. } = Statement::parse(&rows)? else {
            return Err(Error::statement("the rows of executors are no query"));
        };
        let plan = state.statement_to_plan(*query).await?;
        Ok(Arc::new(ViewTable::new(plan, None)))
    }

    /// Those of the names that are views of the lake.
    async fn kept_views(&self, names: BTreeSet<TableName>) -> Result<Vec<(TableName, Arc<LakeView>)>> {
        let tables = self.catalogs.tables();
        let lookups = stream::iter(names).map(|name| async move {
            self.catalogs.check(&name).await?;
            let found = tables.relation(&name).await;
            let found = found.map_err(|error| DataFusionError::from(self.catalogs.told(error)))?;
            Ok::<_, Error>(match &*found {
                Pinned::View(view) => Some((name, Arc::clone(view))),
                Pinned::Table(_) => None,
            })
        });
        let found = lookups.buffered(RESOLVE_CONCURRENCY);
        found.try_filter_map(|found| async { Ok(found) }).try_collect().await
    }

    /// The table that a statement writes to, as it names it.
    fn written(&self, parts: &[String]) -> TableName {
        let (catalog, namespace) = self.catalogs.place();
        match parts {
            [catalog, namespace, table] => TableName::new(catalog, namespace, table),
            [namespace, table] => TableName::new(catalog, namespace, table),
            _ => TableName::new(catalog, namespace, parts.join(".")),
        }
    }

    /// What a query means inside of the view `name`, whose own names look in that place.
    /// `user` is whose rights hold there; names of the session's views and tables mean these where it is `of_session`.
    fn inside(
        &self,
        name: String,
        state: &SessionState,
        (user, of_session): (&str, bool),
        place: (&str, &str),
    ) -> Result<(Self, SessionState)> {
        let mut around = self.around.clone();
        let is_cycle = around.contains(&name);
        around.push(name);
        if is_cycle {
            let way = around.join(" -> ");
            return Err(Error::statement(format!("a view is built on itself: {way}")));
        }
        if around.len() > VIEW_DEPTH_MAX {
            let outermost = around.first().cloned().unwrap_or_default();
            return Err(Error::statement(format!(
                "the view \"{outermost}\" is built on itself or on more than {VIEW_DEPTH_MAX} views"
            )));
        }
        let temporary = match of_session {
            true => self.session.temporaries(),
            false => Temporary::default(),
        };
        let catalogs = PinnedCatalogs::new(Arc::clone(self.catalogs.tables()), user, (place, temporary));
        let list = Arc::clone(&catalogs) as Arc<dyn CatalogProviderList>;
        let builder = SessionStateBuilder::new_from_existing(state.clone());
        let naming = Self {
            session: self.session,
            engines: self.engines,
            catalogs,
            around,
            is_of_session: of_session,
        };
        Ok((naming, builder.with_catalog_list(list).build()))
    }

    /// A temporary view as the table that it looks like. Its tables are those of the statement, at the same versions.
    fn temporary_view<'s>(
        &'s self,
        state: &'s SessionState,
        name: &'s str,
        view: &'s TemporaryView,
    ) -> BoxFuture<'s, Result<Arc<dyn TableProvider>>> {
        let planned = async move {
            let place = (view.catalog.as_str(), view.namespace.as_str());
            let (naming, state) = self.inside(
                name.to_owned(),
                state,
                (self.catalogs.user(), self.is_of_session),
                place,
            )?;
            let Statement::Query { query, versions, .. } = Statement::parse(&view.sql)? else {
                return Err(Error::statement(format!("the view \"{name}\" is no query")));
            };
            let plan = naming.plan(&state, *query, versions).await;
            let plan = plan.map_err(|error| error.located(&view.sql))?;
            Ok(Arc::new(ViewTable::new(plan, Some(view.sql.clone()))) as Arc<dyn TableProvider>)
        };
        planned.boxed()
    }

    /// A view of the lake as [`Naming::temporary_view`], with the columns that it was made with. It reads what its owner
    /// may read; one without an owner what its reader may.
    fn kept_view<'s>(
        &'s self,
        state: &'s SessionState,
        name: &'s TableName,
        view: &'s LakeView,
    ) -> BoxFuture<'s, Result<Arc<dyn TableProvider>>> {
        let planned = async move {
            let reader = self.catalogs.user();
            let guard = self.catalogs.tables().guard();
            let owner = guard.owner_of(name).await?;
            let owner = owner.as_deref().unwrap_or(reader);
            let planned = self.of_owner(state, (name, owner), view).await;
            planned.map_err(|error| match owner == reader || guard.is_free(reader) {
                true => error,
                false => not_of_owner(name, error),
            })
        };
        planned.boxed()
    }

    async fn of_owner(
        &self,
        state: &SessionState,
        (name, owner): (&TableName, &str),
        view: &LakeView,
    ) -> Result<Arc<dyn TableProvider>> {
        let catalog = view.default_catalog.as_ref().unwrap_or(&name.catalog);
        let namespace = match view.default_namespace.as_str() {
            "" => name.namespace.as_str(),
            told => told,
        };
        let (naming, state) = self.inside(name.to_string(), state, (owner, false), (catalog, namespace))?;
        let (text, query, versions) = readable(name, view)?;
        if !naming.catalogs.tables().knows_catalog(catalog) {
            return Err(Error::Statement {
                detail: format!("the names in the view {name} are those of a catalog \"{catalog}\", unknown here"),
                hint: Some("configure the catalog under the name that the view's engine calls it by".to_owned()),
            });
        }
        let plan = naming.plan(&state, *query, versions).await;
        let plan = plan.map_err(|error| error.located(&text.sql))?;
        let plan = fitted(plan, name, view, text)?;
        Ok(Arc::new(ViewTable::new(plan, Some(text.sql.clone()))))
    }
}

/// Why a view cannot be read, without the names in its query, which are its owner's.
fn not_of_owner(name: &TableName, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported => {
            Error::Denied {
                detail: format!("the view {name} cannot be read with the rights of its owner, who is told why"),
            }
        }
        _ => error,
    }
}

/// The first text of a view that is a query here.
fn readable<'a>(name: &TableName, view: &'a LakeView) -> Result<(&'a ViewText, Box<Parsed>, Vec<VersionedTable>)> {
    let mut reasons = Vec::new();
    for text in texts(name, view)? {
        match Statement::parse(&text.sql) {
            Ok(Statement::Query {
                query,
                versions,
                parameters: 0,
            }) => return Ok((text, query, versions)),
            Ok(_) => reasons.push(format!("in the dialect {}, it is no query", text.dialect)),
            Err(error) => reasons.push(format!("in the dialect {}, {error}", text.dialect)),
        }
    }
    Err(Error::Statement {
        detail: format!("the view {name} cannot be read here: {}", reasons.join("; ")),
        hint: Some("make the view again with CREATE OR REPLACE VIEW".to_owned()),
    })
}

/// Resolves all tables side by side; DataFusion would ask for one after the other.
async fn resolve_tables(state: &SessionState, references: Vec<TableReference>) -> Result<()> {
    let lookups = stream::iter(references).map(|reference| async move {
        let schema = state.schema_for_ref(reference.clone())?;
        schema.table(reference.table()).await.map(|_| ())
    });
    lookups
        .buffer_unordered(RESOLVE_CONCURRENCY)
        .try_collect::<()>()
        .await
        .map_err(|e: DataFusionError| e.into())
}
