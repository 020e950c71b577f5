//! How one column of a file is read as the table's: planned once per file, all the way down.

use std::sync::Arc;

use arrow::array::StructArray;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;

use super::leaf::LeafCast;
use super::matching::{Matching, field_id};
use crate::error::{Error, Result};
use crate::snapshot::ColumnMapping;

/// What has to be done to a file's values to make them the table's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// Nothing: the types are equal.
    Same,
    /// Casts of primitive values.
    Cast(LeafCast),
    /// One value in every row that is not NULL, whatever else the file has there.
    Constant(ScalarValue),
    /// The table's fields of a struct, in its order.
    Struct(Fields, Vec<Child>),
    /// The table's element of a list.
    List(FieldRef, Box<Reading>),
    /// The table's entries of a map, whether they are sorted, its keys and its values.
    Map(FieldRef, bool, Box<[Reading; 2]>),
}

/// One of the table's fields inside a struct.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Child {
    /// The file's name for it; absent where the file does not have it and `reading` is of the struct itself.
    pub(super) file: Option<String>,
    pub(super) reading: Reading,
}

impl Reading {
    /// The paths inside a file's column that have to be read for it, as names from `file` downwards. Never empty:
    /// even if no value is wanted, something has to tell which rows are NULL.
    pub(super) fn paths(&self, file: &DataType) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.add_paths(file, &mut Vec::new(), &mut paths);
        paths
    }

    fn add_paths(&self, file: &DataType, at: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        let before = paths.len();
        if let (Reading::Struct(_, children), DataType::Struct(fields)) = (self, file) {
            for child in children {
                let field = child.file.as_ref().and_then(|name| fields.find(name));
                if let Some((_, field)) = field {
                    at.push(field.name().clone());
                    child.reading.add_paths(field.data_type(), at, paths);
                    at.pop();
                }
            }
        }
        if paths.len() > before {
            return;
        }
        let mut path = at.clone();
        if let (Reading::Struct(..) | Reading::Constant(_), DataType::Struct(fields)) = (self, file) {
            path.extend(fields.first().map(|field| field.name().clone()));
        }
        paths.push(path);
    }
}

/// Plans the columns of one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planner<'a> {
    /// The table's name, for messages.
    pub(super) table: &'a str,
    pub(super) columns: &'a ColumnMapping,
}

impl Planner<'_> {
    /// How `file` is read as `field`. `path` names the field from the table downwards, for messages.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where a value could be lost, or a required field is missing without a default.
    pub(super) fn read(self, field: &Field, file: &Field, matching: Matching<'_>, path: &str) -> Result<Reading> {
        match (field.data_type(), file.data_type()) {
            (table, _) if table.is_nested() && matches!(matching, Matching::Position) => Err(Error::Unsupported {
                table: self.table.to_owned(),
                feature: format!("a name mapping (the nested column {path} is in data files without field ids)"),
            }),
            (table, DataType::Null) if field.is_nullable() => Ok(Reading::Constant(self.null(table, path)?)),
            (DataType::Struct(fields), DataType::Struct(files)) => self.read_struct(fields, files, matching, path),
            (
                DataType::List(item),
                DataType::List(file_item) | DataType::LargeList(file_item) | DataType::FixedSizeList(file_item, _),
            ) => {
                let reading = self.read_inner([item, file_item], matching, path, "element")?;
                if reading == Reading::Same && field.data_type() == file.data_type() {
                    return Ok(Reading::Same);
                }
                Ok(Reading::List(Arc::clone(item), Box::new(reading)))
            }
            (DataType::Map(entries, sorted), DataType::Map(file_entries, _)) => {
                let (Some([key, value]), Some([file_key, file_value])) = (pair(entries), pair(file_entries)) else {
                    return Err(self.corrupt(path, "a map without keys and values"));
                };
                let key = self.read_inner([key, file_key], matching, path, "key")?;
                let value = self.read_inner([value, file_value], matching, path, "value")?;
                if key == Reading::Same && value == Reading::Same && field.data_type() == file.data_type() {
                    return Ok(Reading::Same);
                }
                Ok(Reading::Map(Arc::clone(entries), *sorted, Box::new([key, value])))
            }
            (table, file) if table == file => Ok(Reading::Same),
            (table, file) => match LeafCast::new(file, table) {
                Some(cast) if !table.is_nested() => Ok(Reading::Cast(cast)),
                _ => Err(self.corrupt(path, format!("it has the type {file}, which is not read as {table}"))),
            },
        }
    }

    fn read_struct(self, fields: &Fields, files: &Fields, matching: Matching<'_>, path: &str) -> Result<Reading> {
        let mut children = Vec::with_capacity(fields.len());
        for field in fields {
            let path = format!("{path}.{}", field.name());
            let found = matching
                .find(field, files)
                .map_err(|detail| self.corrupt(&path, detail))?;
            children.push(match found {
                Some((at, inside)) => Child {
                    file: Some(files[at].name().clone()),
                    reading: self.read(field, &files[at], inside, &path)?,
                },
                None => Child {
                    file: None,
                    reading: Reading::Constant(self.missing(field, &path)?),
                },
            });
        }
        let same = |(child, field): (&Child, &FieldRef)| {
            child.reading == Reading::Same && child.file.as_ref() == Some(field.name())
        };
        if fields == files && children.iter().zip(fields).all(same) {
            return Ok(Reading::Same);
        }
        Ok(Reading::Struct(fields.clone(), children))
    }

    /// Reads the only field in its place: a list's element, a map's key or value.
    fn read_inner(
        self,
        [field, file]: [&FieldRef; 2],
        matching: Matching<'_>,
        path: &str,
        place: &str,
    ) -> Result<Reading> {
        let inside = matching
            .inner(field, file, place)
            .map_err(|detail| self.corrupt(path, detail))?;
        self.read(field, file, inside, &format!("{path}.{place}"))
    }

    /// The value of a field that the file does not have: its default, else NULL.
    pub(super) fn missing(self, field: &Field, path: &str) -> Result<ScalarValue> {
        let default = field_id(field).and_then(|id| self.columns.defaults.get(&id));
        match default {
            Some(value) => self.default(field, value, path),
            None if field.is_nullable() => self.null(field.data_type(), path),
            None => Err(self.corrupt(path, "it is required, missing, and has no default")),
        }
    }

    fn default(self, field: &Field, value: &ScalarValue, path: &str) -> Result<ScalarValue> {
        if value.is_null() {
            return self.null(field.data_type(), path);
        }
        if value.data_type() == *field.data_type() {
            return Ok(value.clone());
        }
        let wrong = |error: &dyn ToString| self.corrupt(path, format!("its default is wrong: {}", error.to_string()));
        // The specification allows a struct no other default than an empty one: its fields have theirs.
        if let DataType::Struct(fields) = field.data_type() {
            let value = |field: &FieldRef| {
                let value = self.missing(field, &format!("{path}.{}", field.name()))?;
                value.to_array().map_err(|error| wrong(&error))
            };
            let values = fields.iter().map(value).collect::<Result<Vec<_>>>()?;
            let row =
                StructArray::try_new_with_length(fields.clone(), values, None, 1).map_err(|error| wrong(&error))?;
            return Ok(ScalarValue::Struct(Arc::new(row)));
        }
        value.cast_to(field.data_type()).map_err(|error| wrong(&error))
    }

    fn null(self, data_type: &DataType, path: &str) -> Result<ScalarValue> {
        ScalarValue::try_new_null(data_type).map_err(|error| self.corrupt(path, error.to_string()))
    }

    /// The error about one column of a file.
    pub(super) fn corrupt(self, path: &str, detail: impl Into<String>) -> Error {
        corrupt(self.table, path, detail)
    }
}

/// The error about the column `path` of a data file of `table`.
pub(super) fn corrupt(table: &str, path: &str, detail: impl Into<String>) -> Error {
    Error::Corrupt {
        table: table.to_owned(),
        file: format!("column {path} of a data file"),
        detail: detail.into(),
    }
}

/// Key and value of a map's entries.
fn pair(entries: &Field) -> Option<[&FieldRef; 2]> {
    match entries.data_type() {
        DataType::Struct(fields) => match fields.as_ref() {
            [key, value] => Some([key, value]),
            _ => None,
        },
        _ => None,
    }
}
