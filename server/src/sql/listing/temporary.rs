//! The temporary tables and views of a session as they are listed: to this session alone, in a schema that it alone sees.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use catalog::{Lakehouse, TableName};
use futures::StreamExt;

use super::{Kind, Selection, schemas};
use crate::error::Result;
use crate::session::{TEMPORARY_SCHEMA, Temporary};

/// What a session named for itself, below the catalog that is the session's.
#[derive(Debug, Clone)]
pub(crate) struct OwnNames {
    catalog: String,
    names: Arc<Temporary>,
    columns: Arc<ViewColumns>,
}

impl OwnNames {
    /// Of a session in `catalog`; `columns` has those of the views by the time that they are asked for.
    pub(crate) fn new(catalog: &str, names: Arc<Temporary>, columns: Arc<ViewColumns>) -> Self {
        Self {
            catalog: catalog.to_owned(),
            names,
            columns,
        }
    }

    /// The schema that they are listed in, as catalog and namespace; none where there are none or it is not selected.
    pub(crate) fn namespace(&self, selection: &Selection) -> Result<Option<(String, String)>> {
        let is_other = selection.catalog.as_ref().is_some_and(|name| *name != self.catalog);
        if is_other || self.names.is_empty() {
            return Ok(None);
        }
        let selected = selection.namespaces.select(vec![TEMPORARY_SCHEMA.to_owned()])?;
        let name = selected.into_iter().next();
        Ok(name.map(|name| (self.catalog.clone(), name)))
    }

    /// The selected ones of the wanted kinds, in order. Loads none of them.
    pub(crate) fn select(&self, selection: &Selection, wanted: &[Kind]) -> Result<Vec<(TableName, Kind)>> {
        let Some((catalog, namespace)) = self.namespace(selection)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for kind in wanted {
            let names: Vec<String> = match kind {
                Kind::Table => continue,
                Kind::Temporary => self.names.tables.keys().cloned().collect(),
                Kind::View => self.names.views.keys().cloned().collect(),
            };
            let names = selection.tables.select(names)?.into_iter();
            found.extend(names.map(|name| (TableName::new(&catalog, &namespace, name), *kind)));
        }
        found.sort();
        Ok(found)
    }

    /// The query of a view.
    pub(crate) fn query(&self, name: &TableName) -> Option<String> {
        let view = self.names.views.get(&name.table)?;
        Some(view.sql.clone())
    }

    /// The columns of each, in the order of `names`; none where a table cannot be loaded or a view cannot be planned.
    pub(crate) async fn schemas(
        &self,
        lakehouse: Arc<Lakehouse>,
        names: Vec<(TableName, Kind)>,
    ) -> Vec<(TableName, Kind, Option<SchemaRef>)> {
        let tables = names.iter().filter_map(|(name, kind)| Some((self.table(name)?, *kind)));
        let loaded: HashMap<TableName, Option<SchemaRef>> = schemas(lakehouse, tables.collect())
            .map(|(table, _, columns)| (table, columns))
            .collect()
            .await;
        let columns = |name: &TableName| match self.table(name) {
            Some(table) => loaded.get(&table).cloned().flatten(),
            None => self.columns.of(&name.table),
        };
        names
            .into_iter()
            .map(|(name, kind)| {
                let columns = columns(&name);
                (name, kind, columns)
            })
            .collect()
    }

    /// Where the rows of a table lie; nothing for a view.
    fn table(&self, name: &TableName) -> Option<TableName> {
        self.names.tables.get(&name.table).cloned()
    }
}

/// The columns of temporary views by name, found once for a statement, where it asks for them.
#[derive(Debug, Default)]
pub(crate) struct ViewColumns(Mutex<Option<HashMap<String, SchemaRef>>>);

impl ViewColumns {
    /// Whether the caller is the first, who tells the columns: views that ask themselves would not come to an end.
    pub(crate) fn begin(&self) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = known.is_none();
        known.get_or_insert_default();
        is_first
    }

    /// Tells the columns of a view.
    pub(crate) fn tell(&self, view: &str, columns: SchemaRef) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_default().insert(view.to_owned(), columns);
    }

    fn of(&self, view: &str) -> Option<SchemaRef> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref()?.get(view).map(Arc::clone)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::session::TemporaryView;
    use crate::sql::listing::Pattern;

    fn names() -> OwnNames {
        let view = TemporaryView {
            sql: "SELECT 1 AS a".to_owned(),
            catalog: "lake".to_owned(),
            namespace: "shop".to_owned(),
        };
        let table = |name: &str| (name.to_owned(), TableName::new("lake", TEMPORARY_SCHEMA, "1_x"));
        let temporary = Temporary {
            tables: [table("big"), table("small")].into(),
            views: [("of_big".to_owned(), view)].into(),
        };
        OwnNames::new("lake", Arc::new(temporary), Arc::default())
    }

    fn selected(selection: &Selection, wanted: &[Kind]) -> Vec<String> {
        let found = names().select(selection, wanted).unwrap();
        found
            .iter()
            .map(|(name, kind)| format!("{name} {}", kind.table_type()))
            .collect()
    }

    #[test]
    fn they_are_listed_in_a_schema_of_their_own() {
        let all = selected(&Selection::default(), &Kind::ALL);
        let expect = [
            "lake.lakewing_temporary.big LOCAL TEMPORARY",
            "lake.lakewing_temporary.of_big VIEW",
            "lake.lakewing_temporary.small LOCAL TEMPORARY",
        ];
        assert_eq!(all, expect);
        assert_eq!(selected(&Selection::default(), &[Kind::View]), expect[1..2]);
        assert!(selected(&Selection::default(), &[Kind::Table]).is_empty());
    }

    #[test]
    fn conditions_on_names_hold_for_them() {
        let of = |catalog: Option<&str>, namespace: &str, table: &str| {
            let like = |pattern: &str| Pattern::Like(pattern.to_owned());
            let selection = Selection {
                catalog: catalog.map(str::to_owned),
                namespaces: like(namespace),
                tables: like(table),
            };
            selected(&selection, &Kind::ALL).len()
        };
        assert_eq!(of(Some("lake"), "%", "%big"), 2);
        assert_eq!(of(None, "lakewing%", "s%"), 1);
        assert_eq!(of(Some("delta"), "%", "%"), 0);
        assert_eq!(of(None, "shop", "%"), 0);
        let none = OwnNames::new("lake", Arc::default(), Arc::default());
        assert!(none.namespace(&Selection::default()).unwrap().is_none());
    }

    #[test]
    fn the_first_who_asks_tells_the_columns_of_views() {
        let columns = ViewColumns::default();
        assert!(columns.begin());
        assert!(!columns.begin());
        assert!(columns.of("v").is_none());
        columns.tell("v", SchemaRef::new(arrow::datatypes::Schema::empty()));
        assert!(columns.of("v").is_some());
    }
}
