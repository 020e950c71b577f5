//! `information_schema` over the whole lake: `schemata`, `tables`, `columns`, `views` and `comments`; `table_constraints`,
//! `key_column_usage` and `referential_constraints`, of which a lake has none; `routines` of the engine and
//! the lake, and `parameters` of the engine; `table_privileges` and `schema_privileges`. Everybody sees what they may know
//! of, and a session its temporary tables and views. A filter on a name is answered before anything is listed or loaded, so that a lake of many tables can be asked
//! about one.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use catalog::TableName;
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{EmptyCatalogProviderList, SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::StreamExt;

use super::listing::{self, OwnNames, Pattern, Selection};
use super::show::privileges;
use super::show::routines::{self, Routines};
use super::types::SqlType;
use crate::access::{Object, Viewer};

/// The name of the table that has a row for each column.
pub(super) const COLUMNS: &str = "columns";

/// The schema `information_schema`, the same in every catalog.
#[derive(Debug)]
pub(super) struct InformationSchema {
    viewer: Viewer,
    own: OwnNames,
    engine: InformationSchemaProvider,
}

impl InformationSchema {
    /// Of what `viewer` may know, and of what is the session's own.
    pub(super) fn new(viewer: Viewer, own: OwnNames) -> Self {
        Self {
            viewer,
            own,
            engine: InformationSchemaProvider::new(Arc::new(EmptyCatalogProviderList)),
        }
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        let engine = [routines::TABLE, "parameters"];
        let names = KINDS.iter().map(|(name, _)| *name).chain(engine);
        names.map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name == "parameters" {
            return self.engine.table(name).await;
        }
        if name == routines::TABLE {
            let engine = self.engine.table(name).await?;
            let viewer = self.viewer.clone();
            return Ok(engine.map(|engine| Arc::new(Routines::new(viewer, engine)) as Arc<dyn TableProvider>));
        }
        let Some((_, kind)) = KINDS.into_iter().find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Listing {
            kind,
            schema: kind.schema(),
            viewer: self.viewer.clone(),
            own: self.own.clone(),
        })))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}

const KINDS: [(&str, Kind); 10] = [
    ("schemata", Kind::Schemata),
    ("tables", Kind::Tables),
    (COLUMNS, Kind::Columns),
    ("comments", Kind::Comments),
    ("views", Kind::Views),
    ("table_constraints", Kind::TableConstraints),
    ("key_column_usage", Kind::KeyColumnUsage),
    ("referential_constraints", Kind::ReferentialConstraints),
    ("table_privileges", Kind::TablePrivileges),
    ("schema_privileges", Kind::SchemaPrivileges),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Schemata,
    Tables,
    Columns,
    Comments,
    Views,
    TableConstraints,
    KeyColumnUsage,
    ReferentialConstraints,
    TablePrivileges,
    SchemaPrivileges,
}

impl Kind {
    fn schema(self) -> SchemaRef {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let optional_text = |name: &str| Field::new(name, DataType::Utf8, true);
        let optional_number = |name: &str| Field::new(name, DataType::Int32, true);
        let table = [text("table_catalog"), text("table_schema"), text("table_name")];
        let constraint = ["catalog", "schema", "name"].map(|part| text(&format!("constraint_{part}")));
        let fields = match self {
            Kind::Schemata => vec![text("catalog_name"), text("schema_name"), optional_text("schema_owner")],
            Kind::Tables => [&table[..], &[text("table_type")]].concat(),
            Kind::Comments => [&table[..], &[optional_text("column_name"), text("comment")]].concat(),
            Kind::Views => [&table[..], &[optional_text("definition")]].concat(),
            Kind::TablePrivileges => return privileges::schema(true),
            Kind::SchemaPrivileges => return privileges::schema(false),
            Kind::TableConstraints => {
                let more = ["constraint_type", "is_deferrable", "initially_deferred", "enforced"].map(text);
                [&constraint[..], &table[..], &more[..]].concat()
            }
            Kind::KeyColumnUsage => {
                let columns = [
                    text("column_name"),
                    Field::new("ordinal_position", DataType::Int32, false),
                    optional_number("position_in_unique_constraint"),
                ];
                [&constraint[..], &table[..], &columns[..]].concat()
            }
            Kind::ReferentialConstraints => {
                let unique =
                    ["catalog", "schema", "name"].map(|part| optional_text(&format!("unique_constraint_{part}")));
                let rules = ["match_option", "update_rule", "delete_rule"].map(text);
                [&constraint[..], &unique[..], &rules[..]].concat()
            }
            Kind::Columns => {
                let columns = [
                    text("column_name"),
                    Field::new("ordinal_position", DataType::Int32, false),
                    optional_text("column_default"),
                    text("is_nullable"),
                    text("data_type"),
                    optional_number("character_maximum_length"),
                    optional_number("numeric_precision"),
                    optional_number("numeric_precision_radix"),
                    optional_number("numeric_scale"),
                    optional_number("datetime_precision"),
                ];
                [&table[..], &columns].concat()
            }
        };
        Arc::new(Schema::new(fields))
    }
}

#[derive(Debug)]
struct Listing {
    kind: Kind,
    schema: SchemaRef,
    viewer: Viewer,
    own: OwnNames,
}

impl Listing {
    async fn rows(&self, selection: &Selection) -> Result<RecordBatch> {
        let (viewer, lake) = (&self.viewer, self.viewer.lakehouse());
        let columns: Vec<ArrayRef> = match self.kind {
            Kind::TableConstraints | Kind::KeyColumnUsage | Kind::ReferentialConstraints => {
                return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
            }
            Kind::TablePrivileges => {
                let mut rows = Vec::new();
                for (name, _) in self.kept(selection, &listing::Kind::ALL).await? {
                    let place = (name.catalog.as_str(), name.namespace.as_str());
                    let object = Object::Relation(name.table.clone());
                    rows.extend(privileges::of(viewer, place, &object).await.map_err(external)?);
                }
                return privileges::batch(&rows, true);
            }
            Kind::SchemaPrivileges => {
                let mut rows = Vec::new();
                for (catalog, namespace) in listing::namespaces(viewer, selection).await.map_err(external)? {
                    let found = privileges::of(viewer, (&catalog, &namespace), &Object::Schema).await;
                    rows.extend(found.map_err(external)?);
                }
                return privileges::batch(&rows, false);
            }
            Kind::Schemata => {
                let mut names = listing::namespaces(viewer, selection).await.map_err(external)?;
                names.extend(self.own.namespace(selection).map_err(external)?);
                let owners = new_null_array(&DataType::Utf8, names.len());
                vec![
                    texts(names.iter().map(|name| &name.0)),
                    texts(names.iter().map(|name| &name.1)),
                    owners,
                ]
            }
            Kind::Tables => {
                let mut names = self.kept(selection, &listing::Kind::ALL).await?;
                names.extend(self.temporary(selection, &listing::Kind::ALL)?);
                let mut columns = name_columns(names.iter().map(|(name, _)| name));
                columns.push(texts(names.iter().map(|(_, kind)| kind.table_type())));
                columns
            }
            Kind::Views => {
                let names = self.kept(selection, &[listing::Kind::View]).await?;
                let mut loaded: Vec<_> = listing::queries(viewer, names).collect().await;
                let own = self.temporary(selection, &[listing::Kind::View])?.into_iter();
                loaded.extend(own.map(|(name, _)| (name.clone(), self.own.query(&name))));
                let mut columns = name_columns(loaded.iter().map(|(name, _)| name));
                let queries = loaded.iter().map(|(_, query)| query.as_deref());
                columns.push(Arc::new(queries.collect::<StringArray>()));
                columns
            }
            Kind::Columns => {
                let names = self.kept(selection, &listing::Kind::ALL).await?;
                let mut loaded: Vec<_> = listing::schemas(Arc::clone(lake), names).collect().await;
                let own = self.temporary(selection, &listing::Kind::ALL)?;
                loaded.extend(self.own.schemas(Arc::clone(lake), own).await);
                columns_of(&loaded)
            }
            Kind::Comments => {
                let names = self.kept(selection, &listing::Kind::ALL).await?;
                let names = names.into_iter().map(|(name, _)| name).collect();
                let loaded: Vec<_> = listing::comments(Arc::clone(lake), names).collect().await;
                comments_of(&loaded)
            }
        };
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// What catalogs have.
    async fn kept(&self, selection: &Selection, wanted: &[listing::Kind]) -> Result<Vec<(TableName, listing::Kind)>> {
        let names = listing::tables(&self.viewer, selection, wanted).await;
        names.map_err(external)
    }

    /// What the session has for itself.
    fn temporary(&self, selection: &Selection, wanted: &[listing::Kind]) -> Result<Vec<(TableName, listing::Kind)>> {
        self.own.select(selection, wanted).map_err(external)
    }
}

#[async_trait]
impl TableProvider for Listing {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    /// Lists and loads while planning: the plan carries the rows, so that it can run anywhere.
    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows(&selection(filters)).await?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}

/// The names that filters ask for; what it does not understand is left to the engine, which filters again.
pub(in crate::sql) fn selection(filters: &[Expr]) -> Selection {
    let mut selection = Selection::default();
    for filter in filters {
        let Some((column, pattern)) = name_condition(filter) else {
            continue;
        };
        match column {
            "catalog_name" | "table_catalog" | "routine_catalog" => {
                if let Pattern::OneOf(names) = pattern
                    && let [name] = &names[..]
                {
                    selection.catalog = Some(name.clone());
                }
            }
            "schema_name" | "table_schema" | "routine_schema" => selection.namespaces.narrow(pattern),
            "table_name" | "routine_name" => selection.tables.narrow(pattern),
            _ => {}
        }
    }
    selection
}

fn name_condition(filter: &Expr) -> Option<(&str, Pattern)> {
    let literal = |expr: &Expr| match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    };
    match filter {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), value) | (value, Expr::Column(column)) => {
                Some((&column.name, Pattern::OneOf(vec![literal(value)?])))
            }
            _ => None,
        },
        // Few names are an OR of equalities.
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Or,
            right,
        }) => match (name_condition(left)?, name_condition(right)?) {
            ((column, Pattern::OneOf(names)), (other, Pattern::OneOf(others))) if column == other => {
                Some((column, Pattern::OneOf([names, others].concat())))
            }
            _ => None,
        },
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => match expr.as_ref() {
            Expr::Column(column) => {
                let names = list.iter().map(literal).collect::<Option<Vec<_>>>()?;
                Some((&column.name, Pattern::OneOf(names)))
            }
            _ => None,
        },
        Expr::Like(Like {
            negated: false,
            expr,
            pattern,
            escape_char: None,
            case_insensitive: false,
        }) => match expr.as_ref() {
            Expr::Column(column) => Some((&column.name, Pattern::Like(literal(pattern)?))),
            _ => None,
        },
        _ => None,
    }
}

fn columns_of(tables: &[(TableName, listing::Kind, Option<SchemaRef>)]) -> Vec<ArrayRef> {
    let fields: Vec<_> = tables
        .iter()
        .filter_map(|(name, _, schema)| Some((name, schema.as_ref()?)))
        .flat_map(|(name, schema)| {
            (1..)
                .zip(schema.fields())
                .map(move |(position, field)| (name, position, field))
        })
        .collect();
    let types: Vec<_> = fields
        .iter()
        .map(|(_, _, field)| SqlType::of(field.data_type()))
        .collect();
    let numbers = |number: fn(&SqlType) -> Option<i32>| -> ArrayRef {
        Arc::new(types.iter().map(number).collect::<Int32Array>())
    };
    let mut columns = name_columns(fields.iter().map(|(name, ..)| *name));
    columns.extend([
        texts(fields.iter().map(|(_, _, field)| field.name())),
        Arc::new(
            fields
                .iter()
                .map(|(_, position, _)| Some(*position))
                .collect::<Int32Array>(),
        ),
        new_null_array(&DataType::Utf8, fields.len()),
        texts(
            fields
                .iter()
                .map(|(_, _, field)| if field.is_nullable() { "YES" } else { "NO" }),
        ),
        texts(types.iter().map(|sql| sql.name)),
        new_null_array(&DataType::Int32, fields.len()),
        numbers(|sql| sql.precision.filter(|_| sql.is_numeric())),
        numbers(|sql| sql.is_numeric().then_some(10)),
        numbers(|sql| sql.scale),
        numbers(|sql| sql.precision.filter(|_| sql.name.starts_with("TIME"))),
    ]);
    columns
}

/// One row for each description: that of the table has no column's name.
fn comments_of(tables: &[(TableName, Vec<listing::Described>)]) -> Vec<ArrayRef> {
    // Arrow's arrays are made of iterators that know their length.
    let rows: Vec<_> = tables
        .iter()
        .flat_map(|(name, comments)| comments.iter().map(move |row| (name, row)))
        .collect();
    let names: Vec<&TableName> = rows.iter().map(|(name, _)| *name).collect();
    let mut columns = name_columns(names);
    columns.push(Arc::new(
        rows.iter()
            .map(|(_, (column, _))| column.as_ref())
            .collect::<StringArray>(),
    ));
    columns.push(texts(rows.iter().map(|(_, (_, comment))| comment)));
    columns
}

fn name_columns<'a>(names: impl IntoIterator<Item = &'a TableName> + Clone) -> Vec<ArrayRef> {
    let column = |part: fn(&TableName) -> &String| texts(names.clone().into_iter().map(part));
    vec![
        column(|name| &name.catalog),
        column(|name| &name.namespace),
        column(|name| &name.table),
    ]
}

fn texts(values: impl IntoIterator<Item = impl AsRef<str>>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn external(error: crate::error::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::Array;
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn each_description_is_a_row() {
        let name = |table: &str| TableName::new("lake", "shop", table);
        let of_table = (None, "all of a".to_owned());
        let of_column = (Some("x".to_owned()), "its x".to_owned());
        let tables = [(name("a"), vec![of_table, of_column]), (name("b"), Vec::new())];
        let rows = RecordBatch::try_new(Kind::Comments.schema(), comments_of(&tables)).unwrap();
        let text = |column: usize, row: usize| {
            let column = rows.column(column).as_any().downcast_ref::<StringArray>().unwrap();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        assert_eq!(rows.num_rows(), 2);
        assert_eq!(text(2, 0).unwrap(), "a");
        assert_eq!((text(3, 0), text(4, 0).unwrap()), (None, "all of a".to_owned()));
        assert_eq!(
            (text(3, 1).unwrap(), text(4, 1).unwrap()),
            ("x".to_owned(), "its x".to_owned())
        );
    }

    #[test]
    fn filters_on_names_are_understood() {
        let filters = [
            col("table_catalog").eq(lit("lake")),
            lit("tpch").eq(col("table_schema")),
            col("table_name").like(lit("o%")),
            col("table_type").eq(lit("VIEW")),
            col("table_name").not_eq(lit("x")),
        ];
        let found = selection(&filters);
        assert_eq!(found.catalog.as_deref(), Some("lake"));
        assert_eq!(found.namespaces, Pattern::OneOf(vec!["tpch".to_owned()]));
        assert_eq!(found.tables, Pattern::Like("o%".to_owned()));
    }

    #[test]
    fn the_narrowest_of_several_conditions_counts() {
        let names = |names: &[&str]| Pattern::OneOf(names.iter().map(|name| (*name).to_owned()).collect());
        let check = |filters: &[Expr], expect: Pattern| assert_eq!(selection(filters).tables, expect, "{filters:?}");
        let list = col("table_name").in_list(vec![lit("a"), lit("b")], false);
        let either = col("table_name").eq(lit("a")).or(col("table_name").eq(lit("b")));
        let like = col("table_name").like(lit("%"));
        check(&[list.clone(), like.clone()], names(&["a", "b"]));
        check(&[like.clone(), either.clone()], names(&["a", "b"]));
        check(&[list, col("table_name").eq(lit("b"))], names(&["b"]));
        // Neither a name of another column nor a negation limits the tables.
        check(
            &[col("table_name").eq(lit("a")).or(col("table_schema").eq(lit("b")))],
            Pattern::Any,
        );
        check(&[col("table_name").in_list(vec![lit("a")], true)], Pattern::Any);
        check(&[either.or(like)], Pattern::Any);
    }
}
