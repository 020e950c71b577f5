//! Changes of an Iceberg schema. A column keeps its id whatever becomes of its name and place, and a new one has an id
//! that no column ever had.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use iceberg::spec::{
    FormatVersion, ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, TableMetadata,
    Type,
};

use super::super::commit::create::{COMMENT, Ids, default, primitive_type};
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::write::alter::Position;

/// A schema that is being changed.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    name: &'a TableName,
    version: FormatVersion,
    last_id: i32,
    fields: Vec<NestedFieldRef>,
    identifiers: Vec<i32>,
}

/// A new column.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewColumn<'a> {
    pub(super) field: &'a FieldRef,
    pub(super) comment: Option<&'a str>,
    pub(super) default: Option<&'a ScalarValue>,
    pub(super) position: &'a Position,
}

impl<'a> Columns<'a> {
    pub(super) fn of(name: &'a TableName, metadata: &TableMetadata) -> Self {
        let schema = metadata.current_schema();
        Self {
            name,
            version: metadata.format_version(),
            last_id: metadata.last_column_id(),
            fields: schema.as_struct().fields().to_vec(),
            identifiers: schema.identifier_field_ids().collect(),
        }
    }

    /// The schema after the changes.
    pub(super) fn build(self) -> Result<Schema> {
        let schema = Schema::builder()
            .with_fields(self.fields)
            .with_identifier_field_ids(self.identifiers)
            .build();
        schema.map_err(|error| invalid(error.to_string()))
    }

    /// The field at `path`, if there is one.
    pub(super) fn find(&self, path: &[String]) -> Option<NestedFieldRef> {
        let (first, rest) = path.split_first()?;
        let mut found = self.fields.iter().find(|field| field.name == *first).cloned()?;
        for name in rest {
            found = parts(&found.field_type).into_iter().find(|field| field.name == *name)?;
        }
        Some(found)
    }

    pub(super) fn get(&self, path: &[String]) -> Result<NestedFieldRef> {
        self.find(path).ok_or_else(|| self.missing(path))
    }

    pub(super) fn add(&mut self, parent: &[String], new: NewColumn<'_>) -> Result<()> {
        let mut ids = Ids {
            name: self.name,
            last: self.last_id,
            nanoseconds: self.version == FormatVersion::V3,
        };
        let mut metadata = new.field.metadata().clone();
        metadata.extend(new.comment.map(|comment| (COMMENT.to_owned(), comment.to_owned())));
        let field: Field = new.field.as_ref().clone().with_metadata(metadata);
        let mut field = ids.field(&field)?;
        let last = ids.last;
        if let Some(value) = new.default {
            let value = self.default_of(&field, value)?;
            field = field.with_initial_default(value.clone()).with_write_default(value);
        } else if field.required {
            let detail = format!("the column {} is NOT NULL: rows that exist need a DEFAULT", field.name);
            return Err(invalid(detail));
        }
        self.last_id = last;
        let (name, position) = (field.name.clone(), new.position.clone());
        self.siblings(parent, move |fields| {
            fields.push(Arc::new(field));
            place(fields, &name, &position)
        })
    }

    fn default_of(&self, field: &NestedField, value: &ScalarValue) -> Result<iceberg::spec::Literal> {
        if self.version != FormatVersion::V3 {
            return Err(self.unsupported("DEFAULT, which takes a table of format version 3"));
        }
        default(&field.field_type, value)
            .ok_or_else(|| self.unsupported(&format!("the default {value} of the column {}", field.name)))
    }

    pub(super) fn drop(&mut self, path: &[String]) -> Result<()> {
        let field = self.get(path)?;
        let mut inside = Vec::new();
        ids_of(&field, &mut inside);
        if self.identifiers.iter().any(|id| inside.contains(id)) {
            return Err(invalid(format!(
                "the column {} identifies rows: it cannot be dropped",
                field.name
            )));
        }
        let (name, parent) = split(path)?;
        let shown = path.join(".");
        self.siblings(parent, |fields| {
            fields.retain(|field| field.name != name);
            match fields.is_empty() {
                true => Err(invalid(format!(
                    "{shown} is the last of its columns: it cannot be dropped"
                ))),
                false => Ok(()),
            }
        })
    }

    pub(super) fn rename(&mut self, path: &[String], to: &str) -> Result<()> {
        self.get(path)?;
        let (name, parent) = split(path)?;
        self.siblings(parent, |fields| {
            for field in fields.iter_mut().filter(|field| field.name == name) {
                to.clone_into(&mut Arc::make_mut(field).name);
            }
            Ok(())
        })
    }

    pub(super) fn move_to(&mut self, path: &[String], position: &Position) -> Result<()> {
        self.get(path)?;
        let (name, parent) = split(path)?;
        self.siblings(parent, |fields| place(fields, name, position))
    }

    pub(super) fn widen(&mut self, path: &[String], to: &DataType) -> Result<()> {
        let field = self.get(path)?;
        let nanoseconds = self.version == FormatVersion::V3;
        let wanted = primitive_type(to, nanoseconds).ok_or_else(|| self.unsupported(&format!("the type {to}")))?;
        let widens = match (field.field_type.as_primitive_type(), &wanted) {
            (Some(old), new) if old == new => true,
            (Some(PrimitiveType::Int), PrimitiveType::Long) | (Some(PrimitiveType::Float), PrimitiveType::Double) => {
                true
            }
            (
                Some(PrimitiveType::Decimal { precision, scale }),
                PrimitiveType::Decimal {
                    precision: wider,
                    scale: same,
                },
            ) => wider >= precision && same == scale,
            _ => false,
        };
        if !widens {
            let detail = format!(
                "the column {} cannot become {wanted}: {} widens to no such type",
                path.join("."),
                field.field_type
            );
            return Err(invalid(detail));
        }
        self.edit(path, |field| {
            *field.field_type = Type::Primitive(wanted);
            Ok(())
        })
    }

    pub(super) fn set_nullable(&mut self, path: &[String], nullable: bool) -> Result<()> {
        let field = self.get(path)?;
        if nullable && self.identifiers.contains(&field.id) {
            return Err(invalid(format!(
                "the column {} identifies rows: it stays NOT NULL",
                field.name
            )));
        }
        self.edit(path, |field| {
            field.required = !nullable;
            Ok(())
        })
    }

    pub(super) fn set_default(&mut self, path: &[String], value: Option<&ScalarValue>) -> Result<()> {
        let field = self.get(path)?;
        let value = value.map(|value| self.default_of(&field, value)).transpose()?;
        self.edit(path, |field| {
            field.write_default = value;
            Ok(())
        })
    }

    pub(super) fn comment(&mut self, path: &[String], comment: Option<&str>) -> Result<()> {
        self.get(path)?;
        self.edit(path, |field| {
            field.doc = comment.map(str::to_owned);
            Ok(())
        })
    }

    /// Changes the fields of the struct at `parent`, and sees that their names differ.
    fn siblings(
        &mut self,
        parent: &[String],
        change: impl FnOnce(&mut Vec<NestedFieldRef>) -> Result<()>,
    ) -> Result<()> {
        let distinct = |fields: &[NestedFieldRef]| {
            let twice = fields.iter().enumerate().find(|(index, field)| {
                let others = fields.iter().take(*index);
                others
                    .into_iter()
                    .any(|other| other.name.eq_ignore_ascii_case(&field.name))
            });
            match twice {
                Some((_, field)) => Err(Error::AlreadyExists {
                    what: "column",
                    name: field.name.clone(),
                }),
                None => Ok(()),
            }
        };
        if parent.is_empty() {
            let mut fields = self.fields.clone();
            change(&mut fields)?;
            distinct(&fields)?;
            self.fields = fields;
            return Ok(());
        }
        self.get(parent)?;
        let shown = parent.join(".");
        self.edit(parent, |field| {
            let Type::Struct(old) = field.field_type.as_ref() else {
                return Err(invalid(format!(
                    "{shown} is of type {}, which has no columns",
                    field.field_type
                )));
            };
            let mut fields = old.fields().to_vec();
            change(&mut fields)?;
            distinct(&fields)?;
            *field.field_type = Type::Struct(StructType::new(fields));
            Ok(())
        })
    }

    /// Changes the field at `path`, which exists.
    fn edit(&mut self, path: &[String], change: impl FnOnce(&mut NestedField) -> Result<()>) -> Result<()> {
        let Some((first, rest)) = path.split_first() else {
            return Err(self.missing(path));
        };
        let Some(field) = self.fields.iter_mut().find(|field| field.name == *first) else {
            return Err(self.missing(path));
        };
        edit(Arc::make_mut(field), rest, change)
    }

    fn missing(&self, path: &[String]) -> Error {
        let names: Vec<&str> = self.fields.iter().map(|field| field.name.as_str()).collect();
        Error::NotFound {
            what: "column",
            name: path.join("."),
            hint: Some(format!("the table has the columns {}", names.join(", "))),
        }
    }

    fn unsupported(&self, feature: &str) -> Error {
        Error::Unsupported {
            table: self.name.to_string(),
            feature: feature.to_owned(),
        }
    }
}

fn edit(field: &mut NestedField, path: &[String], change: impl FnOnce(&mut NestedField) -> Result<()>) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        return change(field);
    };
    let mut inner = parts(&field.field_type);
    let Some(part) = inner.iter_mut().find(|part| part.name == *first) else {
        return Err(invalid(format!("{} has no part {first}", field.name)));
    };
    edit_boxed(Arc::make_mut(part), rest, Box::new(change))?;
    let mut inner = inner.into_iter();
    *field.field_type = match field.field_type.as_ref() {
        Type::Primitive(_) => return Err(invalid(format!("{} has no parts", field.name))),
        Type::Struct(_) => Type::Struct(StructType::new(inner.collect())),
        Type::List(list) => Type::List(ListType::new(
            inner.next().unwrap_or_else(|| Arc::clone(&list.element_field)),
        )),
        Type::Map(map) => {
            let key = inner.next().unwrap_or_else(|| Arc::clone(&map.key_field));
            Type::Map(MapType::new(
                key,
                inner.next().unwrap_or_else(|| Arc::clone(&map.value_field)),
            ))
        }
    };
    Ok(())
}

/// What is done to one field.
type Change<'a> = Box<dyn FnOnce(&mut NestedField) -> Result<()> + 'a>;

/// As [`edit`]; a closure of one type at every depth.
fn edit_boxed(field: &mut NestedField, path: &[String], change: Change<'_>) -> Result<()> {
    edit(field, path, change)
}

/// The fields of a struct, the element of a list, or key and value of a map.
fn parts(of: &Type) -> Vec<NestedFieldRef> {
    match of {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(fields) => fields.fields().to_vec(),
        Type::List(list) => vec![Arc::clone(&list.element_field)],
        Type::Map(map) => vec![Arc::clone(&map.key_field), Arc::clone(&map.value_field)],
    }
}

/// The ids of a field and of everything inside of it.
pub(super) fn ids_of(field: &NestedField, ids: &mut Vec<i32>) {
    ids.push(field.id);
    for part in parts(&field.field_type) {
        ids_of(&part, ids);
    }
}

/// Moves the field of that name to its place.
fn place(fields: &mut Vec<NestedFieldRef>, name: &str, position: &Position) -> Result<()> {
    let Some(index) = fields.iter().rposition(|field| field.name == name) else {
        return Ok(());
    };
    let field = fields.remove(index);
    let to = match position {
        Position::Last => fields.len(),
        Position::First => 0,
        Position::After(other) => match fields.iter().position(|field| field.name == *other) {
            Some(before) => before + 1,
            None => {
                return Err(Error::NotFound {
                    what: "column",
                    name: other.clone(),
                    hint: None,
                });
            }
        },
    };
    fields.insert(to, field);
    Ok(())
}

/// The last name of a path, and where it is.
fn split(path: &[String]) -> Result<(&str, &[String])> {
    let (name, parent) = path
        .split_last()
        .ok_or_else(|| invalid("a column has no name".to_owned()))?;
    Ok((name, parent))
}

pub(super) fn invalid(detail: String) -> Error {
    Error::InvalidName { detail }
}
