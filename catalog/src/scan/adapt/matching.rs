//! Which field of a file is a field of the table: by field id, by Iceberg's name mapping, by position, or by name.

use arrow::datatypes::{DataType, Field, Fields};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde::Deserialize;

/// Where Delta keeps a column's name in files, for tables with column mapping.
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";

/// Fields that the Parquet reader makes up, such as row numbers, have extension types of this prefix.
const VIRTUAL: &str = "parquet.virtual.";

/// One entry of Iceberg's `schema.name-mapping.default` ("Name Mapping Serialization" in the specification).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct MappedField {
    /// The id of fields with one of the names; such a field is not read where the id is absent.
    #[serde(rename = "field-id")]
    id: Option<i32>,
    names: Vec<String>,
    #[serde(default)]
    fields: Vec<MappedField>,
}

/// How the fields inside one field of a file are found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Matching<'a> {
    /// By their own ids.
    Id,
    /// By the ids that a name mapping gives them.
    Mapped(&'a [MappedField]),
    /// By the name that the table's field has in files.
    Name,
    /// The file has no ids and the table no mapping: the n-th column is the field with id n. Nothing is known of
    /// nested fields.
    Position,
}

impl<'a> Matching<'a> {
    /// The field of `file` that is the table's `field`, and how the fields inside it are found; `None` where the file
    /// has none. The error says why the file's fields cannot be told apart.
    pub(super) fn find(self, field: &Field, file: &Fields) -> Result<Option<(usize, Self)>, String> {
        let id = || field_id(field).ok_or_else(|| format!("the table's field {} has no field id", field.name()));
        match self {
            Matching::Id => {
                let id = id()?;
                let found = only(file, |file| field_id(file) == Some(id)).map_err(|name| twice(id, &name))?;
                Ok(found.map(|at| (at, self)))
            }
            Matching::Mapped(mapping) => {
                let id = id()?;
                let Some(mapped) = mapping.iter().find(|mapped| mapped.id == Some(id)) else {
                    return Ok(None);
                };
                let found = only(file, |file| mapped.names.contains(file.name())).map_err(|name| twice(id, &name))?;
                Ok(found.map(|at| (at, Matching::Mapped(&mapped.fields))))
            }
            Matching::Name => {
                let name = physical_name(field);
                Ok(file.iter().position(|file| file.name() == name).map(|at| (at, self)))
            }
            Matching::Position => {
                let at = usize::try_from(id()?).ok().and_then(|id| id.checked_sub(1));
                let at = at.filter(|at| file.get(*at).is_some_and(|file| !is_virtual(file)));
                Ok(at.map(|at| (at, self)))
            }
        }
    }

    /// How the fields inside `file` are found, which is the only field in its place: a list's `element`, a map's
    /// `key` or `value`. The error says why it is not the table's `field`.
    pub(super) fn inner(self, field: &Field, file: &Field, place: &str) -> Result<Self, String> {
        match self {
            Matching::Id => match (field_id(field), field_id(file)) {
                (Some(wanted), Some(found)) if wanted != found => {
                    Err(format!("its {place} has field id {found} where the table has {wanted}"))
                }
                _ => Ok(self),
            },
            Matching::Mapped(mapping) => {
                let mapped = mapping
                    .iter()
                    .find(|mapped| mapped.names.iter().any(|name| name == place));
                match mapped {
                    Some(mapped) if mapped.id == field_id(field) => Ok(Matching::Mapped(&mapped.fields)),
                    _ => Err(format!("the table's name mapping does not name its {place}")),
                }
            }
            Matching::Name | Matching::Position => Ok(self),
        }
    }
}

/// The position of the only field that is `wanted`; the name of a second one as the error.
fn only(file: &Fields, wanted: impl Fn(&Field) -> bool) -> Result<Option<usize>, String> {
    let mut found = file.iter().enumerate().filter(|(_, field)| wanted(field));
    let first = found.next().map(|(at, _)| at);
    match found.next() {
        Some((_, second)) => Err(second.name().clone()),
        None => Ok(first),
    }
}

fn twice(id: i32, name: &str) -> String {
    format!("two of its fields have the field id {id}, one of them {name}")
}

/// Reads a name mapping; the error tells what is wrong with it.
pub(super) fn parse_name_mapping(json: &str) -> Result<Vec<MappedField>, String> {
    serde_json::from_str(json).map_err(|error| format!("it is no list of mapped fields: {error}"))
}

/// The field id that Iceberg and Parquet give a column.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// True where any field has an id, nested ones included.
pub(super) fn has_ids(fields: &Fields) -> bool {
    let inside = |field: &Field| match field.data_type() {
        DataType::Struct(fields) => has_ids(fields),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => has_ids(&Fields::from(vec![item.as_ref().clone()])),
        _ => false,
    };
    fields.iter().any(|field| field_id(field).is_some() || inside(field))
}

/// True for a column that no file has and every file's reader makes up.
pub(super) fn is_virtual(field: &Field) -> bool {
    field
        .extension_type_name()
        .is_some_and(|name| name.starts_with(VIRTUAL))
}

/// True for a column that is known by its name in files, whatever the others of its table are known by.
pub(super) fn has_only_a_name(field: &Field) -> bool {
    field_id(field).is_none() && field.metadata().contains_key(PHYSICAL_NAME)
}

fn physical_name(field: &Field) -> &str {
    field.metadata().get(PHYSICAL_NAME).unwrap_or(field.name())
}
