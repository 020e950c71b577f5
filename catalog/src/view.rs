//! Views: queries that a catalog keeps under names. What they say is text; only the server reads it.

use arrow::datatypes::{Schema, SchemaRef};
use uuid::Uuid;

use crate::error::Result;
use crate::iceberg::metadata::view::stored_columns;
use crate::name::TableName;

/// The dialect of the texts that Lakewing writes.
pub const DIALECT: &str = "lakewing";

/// A view as its catalog has it now.
#[derive(Debug, Clone, PartialEq)]
pub struct LakeView {
    /// Its id, which stays while its text changes.
    pub id: Uuid,
    /// The version of its text; greater than those before it.
    pub version: i64,
    /// Its query, once for each dialect that it was written in; in [`DIALECT`] first, where it is among them.
    pub texts: Vec<ViewText>,
    /// The catalog of names that name none; the view's own where it is not told.
    pub default_catalog: Option<String>,
    /// The namespace of names that name none.
    pub default_namespace: String,
    /// The columns that it was made with, as plans see them; descriptions are in the metadata under `comment`.
    pub schema: SchemaRef,
    /// What its query called these columns; not told by other engines.
    pub query_columns: Option<Vec<String>>,
    /// Its description.
    pub comment: Option<String>,
}

/// A query in the words of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewText {
    /// The engine's name, in lower case.
    pub dialect: String,
    /// The query.
    pub sql: String,
}

/// A view to create.
#[derive(Debug, Clone, PartialEq)]
pub struct NewView {
    /// The query, in [`DIALECT`].
    pub sql: String,
    /// The catalog of names in it that name none.
    pub default_catalog: String,
    /// The namespace of names in it that name none.
    pub default_namespace: String,
    /// Its columns; descriptions are in the metadata under `comment`.
    pub schema: SchemaRef,
    /// What the query calls these columns.
    pub query_columns: Vec<String>,
    /// Its description.
    pub comment: Option<String>,
    /// Properties, in the vocabulary of Iceberg views.
    pub properties: Vec<(String, String)>,
}

/// The columns, as plans see them, that the view `name` gets where its query has `columns`. Refuses types that no
/// catalog keeps.
pub fn columns(name: &TableName, columns: &Schema) -> Result<SchemaRef> {
    stored_columns(name, columns)
}
