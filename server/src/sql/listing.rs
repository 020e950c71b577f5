//! Which namespaces and tables there are, for metadata calls and `information_schema`. Names are filtered before
//! anything is loaded, and one catalog or table that does not answer never hides the others.

mod temporary;

use std::sync::Arc;

use arrow::array::{BooleanArray, StringArray};
use arrow::compute::kernels::comparison::like;
use arrow::datatypes::SchemaRef;
use catalog::{AsOf, Comments, Lakehouse, Relation, TableName};
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use proto::ErrorKind;
use tracing::warn;

pub(crate) use self::temporary::{OwnNames, ViewColumns};
use super::ddl::function::Function;
use crate::access::{Object, Privilege, Viewer};
use crate::error::{Error, Result};
use crate::session::TEMPORARY_SCHEMA;

/// Calls to catalogs and tables that run at once; more answer sooner and may overload a small catalog.
const CONCURRENCY: usize = 16;

/// The metadata key of a view's column that holds its description.
const COMMENT: &str = "comment";

/// The names a listing is about; everything by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// Exactly this catalog; it must answer. Without one, catalogs that do not answer are left out.
    pub(crate) catalog: Option<String>,
    /// These namespaces.
    pub(crate) namespaces: Pattern,
    /// These tables.
    pub(crate) tables: Pattern,
}

/// A condition on a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Every name.
    #[default]
    Any,
    /// These names only.
    OneOf(Vec<String>),
    /// Names that match with `%` and `_`; `\` takes the meaning from either.
    Like(String),
}

impl Pattern {
    /// One of two conditions that both hold: the one that leaves fewer names, as far as can be told.
    pub(crate) fn narrow(&mut self, other: Self) {
        match (&*self, &other) {
            (_, Pattern::Any) | (Pattern::OneOf(_), Pattern::Like(_)) => {}
            (Pattern::OneOf(names), Pattern::OneOf(others)) if names.len() <= others.len() => {}
            _ => *self = other,
        }
    }

    fn select(&self, mut names: Vec<String>) -> Result<Vec<String>> {
        match self {
            Pattern::Any => {}
            Pattern::OneOf(wanted) => names.retain(|name| wanted.contains(name)),
            Pattern::Like(pattern) => {
                let texts = StringArray::from_iter_values(&names);
                let matches: BooleanArray =
                    like(&texts, &StringArray::new_scalar(pattern)).map_err(DataFusionError::from)?;
                let mut matches = matches.iter();
                names.retain(|_| matches.next() == Some(Some(true)));
            }
        }
        Ok(names)
    }
}

/// The selected catalogs. Their names are the configuration's, and no secret.
pub(crate) fn catalogs(lakehouse: &Lakehouse, selection: &Selection) -> Vec<String> {
    let mut names = lakehouse.catalog_names();
    names.retain(|name| selection.catalog.as_ref().is_none_or(|wanted| wanted == name));
    names
}

/// The selected namespaces that the viewer may know of, as catalog and namespace, in the order of the catalogs.
pub(crate) async fn namespaces(viewer: &Viewer, selection: &Selection) -> Result<Vec<(String, String)>> {
    let lakehouse = viewer.lakehouse();
    let listed = stream::iter(catalogs(lakehouse, selection)).map(|catalog| async move {
        let names = lakehouse.list_namespaces(&catalog).await;
        let mut names = selection.namespaces.select(tolerate(names, selection, &catalog)?)?;
        // Each session knows its own, and nobody knows those of others.
        names.retain(|namespace| namespace != TEMPORARY_SCHEMA);
        Ok::<_, Error>(
            names
                .into_iter()
                .map(|namespace| (catalog.clone(), namespace))
                .collect::<Vec<_>>(),
        )
    });
    let listed: Vec<_> = listed.buffered(CONCURRENCY).try_concat().await?;
    let seen = stream::iter(listed).map(|(catalog, namespace)| async move {
        let seen = viewer.guard.sees_schema(&viewer.user, &catalog, &namespace).await;
        Ok(is_seen(seen, selection, &catalog)?.then_some((catalog, namespace)))
    });
    let seen = seen.buffered(CONCURRENCY);
    seen.try_filter_map(|name| async { Ok(name) }).try_collect().await
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Of a catalog.
    Table,
    /// A temporary table of the session that asks.
    Temporary,
    /// Of a catalog or of the session.
    View,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Kind::Table, Kind::Temporary, Kind::View];

    /// As clients and `information_schema` call it.
    pub(crate) fn table_type(self) -> &'static str {
        match self {
            Kind::Table => "BASE TABLE",
            Kind::Temporary => "LOCAL TEMPORARY",
            Kind::View => "VIEW",
        }
    }
}

/// The selected tables and views of catalogs that the viewer may know of, those of the wanted kinds, in the order of the
/// catalogs. Loads none of them.
pub(crate) async fn tables(viewer: &Viewer, selection: &Selection, wanted: &[Kind]) -> Result<Vec<(TableName, Kind)>> {
    let lakehouse = viewer.lakehouse();
    let namespaces = namespaces(viewer, selection).await?;
    let listed = stream::iter(namespaces).map(|(catalog, namespace)| async move {
        let mut found = Vec::new();
        for kind in wanted {
            let names = match kind {
                Kind::Table => lakehouse.list_tables(&catalog, &namespace).await,
                Kind::View => lakehouse.list_views(&catalog, &namespace).await,
                // What a session made for itself is in `OwnNames`.
                Kind::Temporary => continue,
            };
            let names = selection.tables.select(tolerate(names, selection, &catalog)?)?;
            for name in names {
                let name = TableName::new(&catalog, &namespace, name);
                if is_seen(viewer.guard.sees(&viewer.user, &name).await, selection, &catalog)? {
                    found.push((name, *kind));
                }
            }
        }
        found.sort();
        Ok(found)
    });
    listed.buffered(CONCURRENCY).try_concat().await
}

/// Loads each table or view for its schema, in order; none where it cannot be loaded.
pub(crate) fn schemas(
    lakehouse: Arc<Lakehouse>,
    names: Vec<(TableName, Kind)>,
) -> impl Stream<Item = (TableName, Kind, Option<SchemaRef>)> {
    let loads = stream::iter(names).map(move |(name, kind)| {
        let lakehouse = Arc::clone(&lakehouse);
        async move {
            match lakehouse.relation(&name, &AsOf::Latest).await {
                Ok(Relation::Table(table)) => (name, kind, Some(table.schema())),
                Ok(Relation::View(view)) => (name, kind, Some(view.schema)),
                Err(error) => {
                    warn!(table = %name, %error, "listed without columns: the table cannot be loaded");
                    (name, kind, None)
                }
            }
        }
    });
    loads.buffered(CONCURRENCY)
}

/// The name of a column, none for the table itself, and what people wrote about it.
pub(crate) type Described = (Option<String>, String);

/// Loads each table or view for what people wrote about it, in order: about itself, and about columns by name. Nothing
/// where it cannot be loaded.
pub(crate) fn comments(
    lakehouse: Arc<Lakehouse>,
    names: Vec<TableName>,
) -> impl Stream<Item = (TableName, Vec<Described>)> {
    let loads = stream::iter(names).map(move |name| {
        let lakehouse = Arc::clone(&lakehouse);
        async move {
            let (schema, Comments { table: own, columns }) = match lakehouse.relation(&name, &AsOf::Latest).await {
                Ok(Relation::Table(table)) => (table.schema(), table.snapshot().comments()),
                Ok(Relation::View(view)) => {
                    let columns = view.schema.fields().iter();
                    let columns = columns.map(|field| field.metadata().get(COMMENT).cloned());
                    let table = view.comment.filter(|comment| !comment.is_empty());
                    let columns = columns.collect();
                    (view.schema, Comments { table, columns })
                }
                Err(_) => return (name, Vec::new()),
            };
            let fields = schema.fields().iter().zip(columns);
            let columns = fields.filter_map(|(field, comment)| Some((Some(field.name().clone()), comment?)));
            let comments = own.map(|comment| (None, comment)).into_iter().chain(columns).collect();
            (name, comments)
        }
    });
    loads.buffered(CONCURRENCY)
}

/// The functions of the selected schemas that the viewer may know of, where the selection's tables are their names.
pub(crate) async fn functions(viewer: &Viewer, selection: &Selection) -> Result<Vec<(TableName, Function)>> {
    let lakehouse = viewer.lakehouse();
    let namespaces = namespaces(viewer, selection).await?;
    let listed = stream::iter(namespaces).map(|(catalog, namespace)| async move {
        let properties = match lakehouse.client(&catalog) {
            Ok(client) => client.namespace_properties(&namespace).await,
            Err(error) => Err(error),
        };
        let properties = match properties {
            Ok(properties) => properties,
            Err(error) => {
                tolerate(Err(error), selection, &catalog)?;
                return Ok(Vec::new());
            }
        };
        let mut found = Vec::new();
        for name in selection.tables.select(Function::names(&properties))? {
            let name = TableName::new(&catalog, &namespace, name);
            match Function::read(&name, &properties) {
                Ok(function) => found.extend(function.map(|function| (name, function))),
                Err(error) => warn!(function = %name, %error, "left out of a listing: the function cannot be read"),
            }
        }
        Ok(found)
    });
    listed.buffered(CONCURRENCY).try_concat().await
}

/// Loads each view for its query, in order; none where it cannot be loaded, or is not the viewer's: it names what only
/// its owner may read.
pub(crate) fn queries(
    viewer: &Viewer,
    names: Vec<(TableName, Kind)>,
) -> impl Stream<Item = (TableName, Option<String>)> {
    let loads = stream::iter(names).map(move |(name, _)| async move {
        let place = (name.catalog.as_str(), name.namespace.as_str());
        let object = Object::Relation(name.table.clone());
        let owns = viewer.guard.may(&viewer.user, place, &object, Privilege::Own).await;
        if !owns.unwrap_or(false) {
            return (name, None);
        }
        let query = match viewer.lakehouse().relation(&name, &AsOf::Latest).await {
            Ok(Relation::View(view)) => view.texts.into_iter().next().map(|text| text.sql),
            Ok(Relation::Table(_)) => None,
            Err(error) => {
                warn!(view = %name, %error, "listed without its query: the view cannot be loaded");
                None
            }
        };
        (name, query)
    });
    loads.buffered(CONCURRENCY)
}

/// Whether something is listed. Of what cannot be told is not, unless its catalog was asked for by name.
fn is_seen(seen: Result<bool>, selection: &Selection, catalog: &str) -> Result<bool> {
    match seen {
        Err(error) if selection.catalog.is_none() => {
            warn!(catalog, %error, "left out of a listing: who may know of it cannot be told");
            Ok(false)
        }
        seen => seen,
    }
}

/// Turns the failure of a catalog that nobody asked for by name into an empty list.
fn tolerate(names: catalog::Result<Vec<String>>, selection: &Selection, catalog: &str) -> Result<Vec<String>> {
    match names {
        Ok(names) => Ok(names),
        // A namespace may have been dropped since it was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) if selection.catalog.is_some() => Err(error.into()),
        Err(error) => {
            warn!(catalog, %error, "left out of a listing: the catalog does not answer");
            Ok(Vec::new())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_sql_does() {
        let check = |pattern: Pattern, expect: &[&str]| {
            let names = ["orders", "order_items", "orderXitems", "Orders", "100%"]
                .map(str::to_owned)
                .to_vec();
            assert_eq!(pattern.select(names).unwrap(), expect, "{pattern:?}");
        };
        let like = |pattern: &str| Pattern::Like(pattern.to_owned());
        check(
            Pattern::Any,
            &["orders", "order_items", "orderXitems", "Orders", "100%"],
        );
        let one_of = |names: &[&str]| Pattern::OneOf(names.iter().map(|name| (*name).to_owned()).collect());
        check(one_of(&["orders"]), &["orders"]);
        check(one_of(&["order%"]), &[]);
        check(one_of(&["Orders", "orders", "x"]), &["orders", "Orders"]);
        check(like("order%"), &["orders", "order_items", "orderXitems"]);
        check(like("order_items"), &["order_items", "orderXitems"]);
        check(like("order\\_items"), &["order_items"]);
        check(like("%\\%"), &["100%"]);
        check(like("%"), &["orders", "order_items", "orderXitems", "Orders", "100%"]);
        check(like(""), &[]);
    }
}
