//! What there is: catalogs, schemas, tables, types, and what this server can do. The schemas of the answers are
//! literal: drivers compare them field by field.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    GetCatalogsBuilder, GetDbSchemasBuilder, GetTablesBuilder, SqlInfoData, XdbcTypeInfoData,
};
use arrow_flight::sql::{Command, CommandGetDbSchemas, CommandGetTables};
use datafusion::error::DataFusionError;
use futures::{StreamExt, stream};
use tracing::warn;

use super::{schema, sql_info, xdbc_types};
use crate::access::{Access, Viewer};
use crate::error::{Error, Result};
use crate::query::{Queries, Source};
use crate::session::Session;
use crate::sql::listing::{self, Kind, OwnNames, Pattern, Selection, ViewColumns};

/// Answers metadata commands.
pub(super) struct Metadata {
    access: Arc<Access>,
    sql_info: SqlInfoData,
    xdbc_types: XdbcTypeInfoData,
}

impl Metadata {
    /// Tells everybody of what `access` lets them know of.
    pub(super) fn new(access: Arc<Access>) -> Result<Self> {
        let sql_info = sql_info::sql_info().build().map_err(flight)?;
        let xdbc_types = xdbc_types::xdbc_types().build().map_err(flight)?;
        Ok(Self {
            access,
            sql_info,
            xdbc_types,
        })
    }

    /// The columns of the answer, or nothing when `command` is no metadata command.
    pub(super) fn schema(&self, command: &Command) -> Option<SchemaRef> {
        Some(match command {
            Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
            Command::CommandGetDbSchemas(_) => GetDbSchemasBuilder::new(None::<&str>, None::<&str>).schema(),
            Command::CommandGetTables(get) => get.clone().into_builder().schema(),
            Command::CommandGetTableTypes(get) => get.into_builder().schema(),
            Command::CommandGetSqlInfo(_) => self.sql_info.schema(),
            Command::CommandGetXdbcTypeInfo(_) => self.xdbc_types.schema(),
            Command::CommandGetPrimaryKeys(_) => primary_keys(),
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => foreign_keys(),
            _ => return None,
        })
    }

    /// The rows of the answer in `session`, or nothing when `command` is no metadata command. `queries` knows the columns
    /// of the session's views.
    pub(super) async fn rows(
        &self,
        session: &Session,
        queries: &Queries,
        command: Command,
    ) -> Result<Option<RecordBatch>> {
        let viewer = || Viewer::new(self.access.guard(), &session.user);
        let Some(schema) = self.schema(&command) else {
            return Ok(None);
        };
        let rows = match command {
            Command::CommandGetCatalogs(_) => self.catalogs()?,
            Command::CommandGetDbSchemas(get) => schemas(&viewer(), session, get).await?,
            Command::CommandGetTables(get) => tables(&viewer(), (session, queries), get).await?,
            Command::CommandGetTableTypes(get) => {
                let mut builder = get.into_builder();
                Kind::ALL.iter().for_each(|kind| builder.append(kind.table_type()));
                builder.build().map_err(flight)?
            }
            Command::CommandGetSqlInfo(get) => self.sql_info.record_batch(get.info).map_err(flight)?,
            Command::CommandGetXdbcTypeInfo(get) => self.xdbc_types.record_batch(get.data_type).map_err(flight)?,
            // Tables of the lake declare no keys.
            _ => RecordBatch::new_empty(schema),
        };
        Ok(Some(rows))
    }

    fn catalogs(&self) -> Result<RecordBatch> {
        let mut builder = GetCatalogsBuilder::new();
        for catalog in self.access.lakehouse().catalog_names() {
            builder.append(catalog);
        }
        builder.build().map_err(flight)
    }
}

async fn schemas(viewer: &Viewer, session: &Session, get: CommandGetDbSchemas) -> Result<RecordBatch> {
    let selection = Selection {
        catalog: get.catalog.clone(),
        namespaces: pattern(get.db_schema_filter_pattern.clone()),
        tables: Pattern::Any,
    };
    let mut builder = get.into_builder();
    let own = own_names(session, Arc::default()).namespace(&selection)?;
    let kept = listing::namespaces(viewer, &selection).await?;
    for (catalog, namespace) in kept.into_iter().chain(own) {
        builder.append(catalog, namespace);
    }
    builder.build().map_err(flight)
}

async fn tables(
    viewer: &Viewer,
    (session, queries): (&Session, &Queries),
    get: CommandGetTables,
) -> Result<RecordBatch> {
    let selection = Selection {
        catalog: get.catalog.clone(),
        namespaces: pattern(get.db_schema_filter_pattern.clone()),
        tables: pattern(get.table_name_filter_pattern.clone()),
    };
    let is_wanted = |kind: &Kind| {
        let types = &get.table_types;
        types.is_empty() || types.iter().any(|wanted| wanted == kind.table_type())
    };
    let wanted: Vec<Kind> = Kind::ALL.into_iter().filter(is_wanted).collect();
    let names = match wanted.as_slice() {
        [] => Vec::new(),
        wanted => listing::tables(viewer, &selection, wanted).await?,
    };
    let columns = Arc::new(ViewColumns::default());
    let own = own_names(session, Arc::clone(&columns));
    let temporary = own.select(&selection, &wanted)?;
    let include_schema = get.include_schema;
    let mut builder = get.into_builder();
    if include_schema {
        let views = temporary.iter().filter(|(_, kind)| *kind == Kind::View);
        for (name, _) in views {
            describe(&name.table, (session, queries), &columns).await;
        }
        let lake = viewer.lakehouse();
        let temporary = own.schemas(Arc::clone(lake), temporary).await;
        let loaded = listing::schemas(Arc::clone(lake), names);
        let mut loaded = Box::pin(loaded.chain(stream::iter(temporary)));
        while let Some((name, kind, columns)) = loaded.next().await {
            let columns = columns.map_or_else(Schema::empty, |columns| schema::of_table(&name, &columns));
            append(&mut builder, (&name, kind), &columns)?;
        }
    } else {
        for (name, kind) in names.into_iter().chain(temporary) {
            append(&mut builder, (&name, kind), &Schema::empty())?;
        }
    }
    builder.build().map_err(flight)
}

fn own_names(session: &Session, columns: Arc<ViewColumns>) -> OwnNames {
    OwnNames::new(&session.catalog, Arc::new(session.temporaries()), columns)
}

/// Tells the columns of a view of the session. One that cannot be planned is listed without columns.
async fn describe(view: &str, (session, queries): (&Session, &Queries), columns: &ViewColumns) {
    let sql = format!("SELECT * FROM \"{}\"", view.replace('"', "\"\""));
    match Box::pin(queries.schema(session, Source::Sql(&sql), Vec::new())).await {
        Ok(schema) => columns.tell(view, schema),
        Err(error) => warn!(view, %error, "listed without columns: the view cannot be planned"),
    }
}

fn append(builder: &mut GetTablesBuilder, (name, kind): (&catalog::TableName, Kind), columns: &Schema) -> Result<()> {
    builder
        .append(&name.catalog, &name.namespace, &name.table, kind.table_type(), columns)
        .map_err(flight)
}

fn pattern(pattern: Option<String>) -> Pattern {
    pattern.map_or(Pattern::Any, Pattern::Like)
}

fn primary_keys() -> SchemaRef {
    let optional = |name: &str| Field::new(name, DataType::Utf8, true);
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        optional("catalog_name"),
        optional("db_schema_name"),
        text("table_name"),
        text("column_name"),
        optional("key_name"),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_keys() -> SchemaRef {
    let optional = |name: &str| Field::new(name, DataType::Utf8, true);
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        optional("pk_catalog_name"),
        optional("pk_db_schema_name"),
        text("pk_table_name"),
        text("pk_column_name"),
        optional("fk_catalog_name"),
        optional("fk_db_schema_name"),
        text("fk_table_name"),
        text("fk_column_name"),
        Field::new("key_sequence", DataType::Int32, false),
        optional("fk_key_name"),
        optional("pk_key_name"),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
}

fn flight(error: FlightError) -> Error {
    Error::from(match error {
        FlightError::Arrow(error) => DataFusionError::from(error),
        other => DataFusionError::External(Box::new(other)),
    })
}
