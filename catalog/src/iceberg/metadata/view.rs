//! The metadata of a view: versions of its text, and the columns of each.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use chrono::Utc;
use iceberg::spec::{
    Schema as IcebergSchema, SqlViewRepresentation, ViewFormatVersion, ViewMetadata, ViewMetadataBuilder,
    ViewRepresentation, ViewVersion,
};
use iceberg::{NamespaceIdent, ViewUpdate};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::commit::create::{COMMENT, Ids};
use super::super::schema::arrow_schema;
use super::METADATA_BYTES_MAX;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;
use crate::view::{DIALECT, LakeView, NewView, ViewText};

/// The property that has a [`QueryColumns`], in JSON. A property, since services keep no summary of a version but their own.
const QUERY_COLUMNS: &str = "lakewing.query-columns";

/// How the query of a view calls its columns.
#[derive(Serialize, Deserialize)]
struct QueryColumns {
    /// The query: where another engine has put another in its place, the names are not those of that one.
    sql: String,
    columns: Vec<String>,
}

/// What a new view is made of, or what takes the place of another.
pub(crate) struct NewVersion {
    /// The columns.
    pub(crate) schema: IcebergSchema,
    /// The text.
    pub(crate) version: ViewVersion,
    /// Properties, the description among them.
    pub(crate) properties: HashMap<String, String>,
}

impl NewVersion {
    /// The first version of `view`. Refuses columns that no Iceberg type holds.
    pub(crate) fn of(name: &TableName, view: &NewView) -> Result<Self> {
        let schema = iceberg_schema(name, &view.schema)?;
        let namespace = NamespaceIdent::from_strs(view.default_namespace.split('.'));
        let columns = QueryColumns {
            sql: view.sql.clone(),
            columns: view.query_columns.clone(),
        };
        let columns = serde_json::to_string(&columns).map_err(|error| failed(name, error))?;
        let summary = [("engine-name", DIALECT), ("engine-version", env!("CARGO_PKG_VERSION"))];
        let representation = ViewRepresentation::Sql(SqlViewRepresentation {
            sql: view.sql.clone(),
            dialect: DIALECT.to_owned(),
        });
        // The crate makes the list of representations from JSON only.
        let representations = serde_json::from_value(json!([representation])).map_err(|error| failed(name, error))?;
        let version = ViewVersion::builder()
            .with_schema_id(schema.schema_id())
            .with_timestamp_ms(Utc::now().timestamp_millis())
            .with_summary(summary.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
            .with_representations(representations)
            .with_default_catalog(Some(view.default_catalog.clone()))
            .with_default_namespace(namespace.map_err(|error| failed(name, error))?)
            .build();
        let comment = view.comment.iter().map(|comment| (COMMENT.to_owned(), comment.clone()));
        Ok(Self {
            schema,
            version,
            properties: (view.properties.iter().cloned())
                .chain(comment)
                .chain([(QUERY_COLUMNS.to_owned(), columns)])
                .collect(),
        })
    }

    /// The metadata of a new view at `location`.
    pub(crate) fn create(self, name: &TableName, location: String) -> Result<ViewMetadata> {
        let format = ViewFormatVersion::V1;
        let builder = ViewMetadataBuilder::new(location, self.schema, self.version, format, self.properties);
        let built = builder.and_then(ViewMetadataBuilder::build);
        Ok(built.map_err(|error| failed(name, error))?.metadata)
    }

    /// The metadata of a view that takes the place of `base` and keeps its id and its history, and the changes that
    /// lead there.
    pub(crate) fn replace(self, name: &TableName, base: &ViewMetadata) -> Result<(ViewMetadata, Vec<ViewUpdate>)> {
        let gone = base.properties().keys();
        let gone: Vec<String> = gone
            .filter(|key| !self.properties.contains_key(*key) && key.as_str() == COMMENT)
            .cloned()
            .collect();
        let builder = base.clone().into_builder().remove_properties(&gone);
        let built = builder
            .set_properties(self.properties)
            .and_then(|builder| builder.set_current_version(self.version, self.schema))
            .and_then(ViewMetadataBuilder::build);
        let built = built.map_err(|error| Error::Unsupported {
            table: name.to_string(),
            feature: format!("another way than CREATE OR REPLACE VIEW: {}", error.message()),
        })?;
        Ok((built.metadata, named_by_id(base, built.changes)))
    }
}

/// "The one that was added last", in the place of an id.
const LAST_ADDED: i32 = -1;

/// The `changes` of `base`, which name by its id what `base` has already. The crate adds such a schema or version again and
/// then speaks of the one that was added last; a catalog that knows it by then adds nothing, and refuses.
fn named_by_id(base: &ViewMetadata, changes: Vec<ViewUpdate>) -> Vec<ViewUpdate> {
    let (mut known_schema, mut known_version) = (None, None);
    let mut named = Vec::with_capacity(changes.len());
    for change in changes {
        named.push(match change {
            ViewUpdate::AddSchema { schema, .. } if base.schema_by_id(schema.schema_id()).is_some() => {
                known_schema = Some(schema.schema_id());
                continue;
            }
            ViewUpdate::AddViewVersion { view_version } if base.version_by_id(view_version.version_id()).is_some() => {
                known_version = Some(view_version.version_id());
                continue;
            }
            ViewUpdate::AddViewVersion { view_version } if view_version.schema_id() == LAST_ADDED => {
                let schema = known_schema.unwrap_or(LAST_ADDED);
                ViewUpdate::AddViewVersion {
                    view_version: view_version.with_schema_id(schema),
                }
            }
            ViewUpdate::SetCurrentViewVersion {
                view_version_id: LAST_ADDED,
            } => ViewUpdate::SetCurrentViewVersion {
                view_version_id: known_version.unwrap_or(LAST_ADDED),
            },
            other => other,
        });
    }
    named
}

/// The metadata of the view `base` with another description, and the changes that lead there.
pub(crate) fn commented(
    name: &TableName,
    base: &ViewMetadata,
    comment: Option<&str>,
) -> Result<(ViewMetadata, Vec<ViewUpdate>)> {
    let builder = base.clone().into_builder();
    let builder = match comment {
        Some(comment) => builder.set_properties(HashMap::from([(COMMENT.to_owned(), comment.to_owned())])),
        None => Ok(builder.remove_properties(&[COMMENT.to_owned()])),
    };
    let built = builder.and_then(ViewMetadataBuilder::build);
    let built = built.map_err(|error| failed(name, error))?;
    Ok((built.metadata, built.changes))
}

/// Where the next metadata file of a view goes.
pub(crate) fn next_location(metadata: &ViewMetadata) -> String {
    let number = metadata.history().len();
    let folder = metadata.location().trim_end_matches('/');
    format!("{folder}/metadata/{number:05}-{}.metadata.json", Uuid::new_v4())
}

/// Reads a view's metadata file.
pub(crate) async fn load(stores: &Stores, name: &TableName, location: &str) -> Result<ViewMetadata> {
    let bytes = stores.read(location, METADATA_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Corrupt {
        table: name.to_string(),
        file: location.to_owned(),
        detail: error.to_string(),
    })
}

/// The view that the metadata describe.
pub(crate) fn view(metadata: &ViewMetadata) -> LakeView {
    let version = metadata.current_version();
    let mut texts: Vec<ViewText> = version
        .representations()
        .iter()
        .map(|ViewRepresentation::Sql(text)| ViewText {
            dialect: text.dialect.to_lowercase(),
            sql: text.sql.clone(),
        })
        .collect();
    texts.sort_by_key(|text| text.dialect != DIALECT);
    let query_columns = metadata.properties().get(QUERY_COLUMNS);
    let query_columns = query_columns.and_then(|columns| serde_json::from_str::<QueryColumns>(columns).ok());
    let is_current = |columns: &QueryColumns| {
        let own = texts.first().filter(|text| text.dialect == DIALECT);
        own.is_some_and(|text| text.sql == columns.sql)
    };
    let query_columns = query_columns.filter(is_current).map(|columns| columns.columns);
    LakeView {
        id: metadata.uuid(),
        version: i64::from(version.version_id()),
        texts,
        default_catalog: version.default_catalog().cloned(),
        default_namespace: version.default_namespace().to_vec().join("."),
        schema: described(metadata.current_schema()),
        query_columns,
        comment: metadata.properties().get(COMMENT).cloned(),
    }
}

/// The columns with their descriptions.
fn described(schema: &IcebergSchema) -> SchemaRef {
    let columns = arrow_schema(schema);
    let fields = columns.fields().iter().zip(schema.as_struct().fields());
    let fields = fields.map(|(column, field)| {
        let mut metadata = column.metadata().clone();
        metadata.extend(field.doc.iter().map(|doc| (COMMENT.to_owned(), doc.clone())));
        column.as_ref().clone().with_metadata(metadata).with_nullable(true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of a view in Iceberg's types. Field ids count from 1; every column may be NULL.
fn iceberg_schema(name: &TableName, columns: &Schema) -> Result<IcebergSchema> {
    let mut ids = Ids {
        name,
        last: 0,
        nanoseconds: true,
    };
    let fields = columns.fields().iter().map(|field| {
        let data_type = storable(field.data_type());
        let field = field.as_ref().clone().with_data_type(data_type).with_nullable(true);
        ids.field(&field).map(Arc::new)
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    let built = IcebergSchema::builder().with_fields(fields).build();
    built.map_err(|error| failed(name, error))
}

/// The type that values of a type which Iceberg lacks are cast to; other types as they are. A value that is too great
/// fails the query that reads it.
fn storable(data_type: &DataType) -> DataType {
    let inside = |field: &Arc<Field>| Arc::new(field.as_ref().clone().with_data_type(storable(field.data_type())));
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Dictionary(_, value) => storable(value),
        DataType::List(item) => DataType::List(inside(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inside).collect::<Fields>()),
        other => other.clone(),
    }
}

/// The columns that a view of a query with these columns gets, as plans see them.
pub(crate) fn stored_columns(name: &TableName, columns: &Schema) -> Result<SchemaRef> {
    Ok(described(&iceberg_schema(name, columns)?))
}

fn failed(name: &TableName, error: impl std::fmt::Display) -> Error {
    Error::Write {
        table: name.to_string(),
        detail: error.to_string(),
        source: None,
    }
}
