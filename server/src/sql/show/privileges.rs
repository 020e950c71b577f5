//! `information_schema.table_privileges` and `schema_privileges`, which SHOW GRANTS shows: who may do what. Owners see
//! every grant on what is theirs, others their own.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::TableName;

use super::quoted;
use crate::access::{Object, Privilege, Viewer};
use crate::error::Result;
use crate::session::Session;
use crate::sql::ddl::grant::Target;

/// One user's privilege.
pub(in crate::sql) struct Row {
    grantor: Option<String>,
    grantee: String,
    /// The table is empty where the privilege is on the schema.
    on: TableName,
    privilege: Privilege,
}

/// The columns, those of the standard.
pub(in crate::sql) fn schema(of_tables: bool) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let who = [Field::new("grantor", DataType::Utf8, true), text("grantee")];
    let on = match of_tables {
        true => vec![text("table_catalog"), text("table_schema"), text("table_name")],
        false => vec![text("catalog_name"), text("schema_name")],
    };
    let what = [text("privilege_type"), text("is_grantable")];
    Arc::new(Schema::new([&who[..], &on, &what].concat()))
}

/// What the viewer may know of the privileges on an object.
pub(in crate::sql) async fn of(viewer: &Viewer, place: (&str, &str), object: &Object) -> Result<Vec<Row>> {
    let (guard, user) = (&viewer.guard, viewer.user.as_str());
    let grants = guard.grants(place.0, place.1).await?;
    let owns = guard.may(user, place, object, Privilege::Own).await?;
    let table = match object {
        Object::Relation(table) => table.as_str(),
        _ => "",
    };
    let on = || TableName::new(place.0, place.1, table);
    let mut rows = Vec::new();
    if let Some(owner) = grants.owner(object)
        && (owns || owner == user)
    {
        rows.push(Row {
            grantor: None,
            grantee: owner.to_owned(),
            on: on(),
            privilege: Privilege::Own,
        });
    }
    let granted = grants.on(object).filter(|(grant, _)| owns || grant.grantee == user);
    rows.extend(granted.map(|(grant, grantor)| Row {
        grantor: Some(grantor.to_owned()),
        grantee: grant.grantee.clone(),
        on: on(),
        privilege: grant.privilege,
    }));
    Ok(rows)
}

/// The rows as a table tells them.
pub(in crate::sql) fn batch(rows: &[Row], of_tables: bool) -> Result<RecordBatch, datafusion::error::DataFusionError> {
    let texts = |text: fn(&Row) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(text))) };
    let grantors: StringArray = rows.iter().map(|row| row.grantor.as_deref()).collect();
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(grantors),
        texts(|row| &row.grantee),
        texts(|row| &row.on.catalog),
        texts(|row| &row.on.namespace),
    ];
    if of_tables {
        columns.push(texts(|row| &row.on.table));
    }
    columns.push(texts(|row| row.privilege.name()));
    columns.push(texts(|row| match row.privilege {
        Privilege::Own => "YES",
        _ => "NO",
    }));
    Ok(RecordBatch::try_new(schema(of_tables), columns)?)
}

/// The query that answers SHOW GRANTS.
pub(super) fn query(target: &Target, session: &Session) -> String {
    let (catalog, namespace, object) = target.resolve(session);
    let (catalog, namespace) = (quoted(&catalog), quoted(&namespace));
    let columns = "grantee, privilege_type, grantor, is_grantable";
    let order = "ORDER BY grantee, privilege_type";
    match object {
        Object::Relation(table) | Object::Function(table) => format!(
            "SELECT {columns} FROM information_schema.table_privileges WHERE table_catalog = {catalog} \
             AND table_schema = {namespace} AND table_name = {} {order}",
            quoted(&table)
        ),
        Object::Schema => format!(
            "SELECT {columns} FROM information_schema.schema_privileges WHERE catalog_name = {catalog} \
             AND schema_name = {namespace} {order}"
        ),
    }
}
