//! A Delta schema while its columns change, in the words of the log.

use arrow::datatypes::{DataType, Field};
use serde_json::{Value, json};

use crate::delta::columns::{COLUMN_ID, PHYSICAL_NAME};
use crate::delta::commit::schema::{self, Ids};
use crate::delta::read::DeltaSnapshot;
use crate::error::Error;
use crate::write::alter::Position;

/// Letters that a column's name has under column mapping alone: it is the name in the files otherwise.
const MAPPED_LETTERS: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// The columns of a table.
#[derive(Debug)]
pub(super) struct Columns {
    schema: Value,
    partition: Vec<String>,
    ids: Ids,
}

/// Why a column cannot be changed.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// There is no such column.
    Missing(String),
    /// There is one of that name.
    Exists(String),
    /// The table would need that.
    Needs(String),
}

impl Refusal {
    /// The error about that table.
    pub(super) fn of(self, base: &DeltaSnapshot) -> Error {
        match self {
            Refusal::Missing(name) => super::missing("column", &name),
            Refusal::Exists(name) => Error::AlreadyExists { what: "column", name },
            Refusal::Needs(feature) => base.log.unsupported(feature),
        }
    }
}

impl Columns {
    /// The columns of that schema; `last_id` is the greatest field id where the table has column mapping.
    pub(super) fn new(schema: Value, partition: Vec<String>, last_id: Option<i64>) -> Self {
        Self {
            schema,
            partition,
            ids: Ids(last_id),
        }
    }

    /// The schema's JSON.
    pub(super) fn schema(&self) -> &Value {
        &self.schema
    }

    /// The names of the partition columns.
    pub(super) fn partition(&self) -> &[String] {
        &self.partition
    }

    /// The greatest field id, under column mapping.
    pub(super) fn last_id(&self) -> Option<i64> {
        self.ids.0
    }

    /// Texts over columns: generated columns and invariants.
    pub(super) fn expressions(&self) -> impl Iterator<Item = &str> {
        let fields = self.schema["fields"].as_array().into_iter().flatten();
        fields.flat_map(|field| {
            let texts = ["delta.generationExpression", "delta.invariants"];
            texts.into_iter().filter_map(|key| field["metadata"][key].as_str())
        })
    }

    /// Adds a column, NULL in the rows that exist.
    pub(super) fn add(
        &mut self,
        parent: &[String],
        field: &Field,
        comment: Option<&str>,
        position: &Position,
        if_not_exists: bool,
    ) -> Result<(), Refusal> {
        if !field.is_nullable() {
            return Err(Refusal::Needs(format!(
                "a value of the new column {} in rows that exist",
                field.name()
            )));
        }
        self.check_name(field.name())?;
        let file_field = schema::file_field(field)
            .map_err(|found| Refusal::Needs(format!("the type {found} (column {})", field.name())))?;
        let mut ids = Ids(self.ids.0);
        let added = schema::field_json(&file_field, comment.or_else(|| schema::comment(field)), &mut ids);
        let fields = self.fields(parent)?;
        if find(fields, field.name()).is_some() {
            return match if_not_exists {
                true => Ok(()),
                false => Err(Refusal::Exists(field.name().clone())),
            };
        }
        let at = place(fields, position)?;
        fields.insert(at, added);
        self.ids = ids;
        Ok(())
    }

    /// Takes a column away; its values stay in the files.
    pub(super) fn remove(&mut self, column: &[String], if_exists: bool) -> Result<(), Refusal> {
        let name = match self.resolve(column) {
            Err(Refusal::Missing(_)) if if_exists => return Ok(()),
            resolved => resolved?,
        };
        self.check_mapping("DROP COLUMN")?;
        if column.len() == 1 && self.partition.contains(&name) {
            return Err(Refusal::Needs(format!("its partition column {name}")));
        }
        let partition = self.partition.len();
        let fields = self.fields(&column[..column.len() - 1])?;
        let least = if column.len() == 1 { partition + 1 } else { 1 };
        if fields.len() <= least {
            return Err(Refusal::Needs("a column".to_owned()));
        }
        fields.retain(|field| field["name"] != json!(name));
        Ok(())
    }

    /// Gives a column another name.
    pub(super) fn rename(&mut self, column: &[String], to: &str) -> Result<(), Refusal> {
        let name = self.resolve(column)?;
        self.check_mapping("RENAME COLUMN")?;
        let fields = self.fields(&column[..column.len() - 1])?;
        if !name.eq_ignore_ascii_case(to) && find(fields, to).is_some() {
            return Err(Refusal::Exists(to.to_owned()));
        }
        if let Some(at) = find(fields, &name) {
            fields[at]["name"] = json!(to);
        }
        if column.len() == 1 {
            for known in self.partition.iter_mut().filter(|known| **known == name) {
                to.clone_into(known);
            }
        }
        Ok(())
    }

    /// Puts a column elsewhere among its neighbours.
    pub(super) fn reorder(&mut self, column: &[String], position: &Position) -> Result<(), Refusal> {
        let name = self.resolve(column)?;
        if matches!(position, Position::After(other) if other.eq_ignore_ascii_case(&name)) {
            return Ok(());
        }
        let fields = self.fields(&column[..column.len() - 1])?;
        let at = find(fields, &name).ok_or_else(|| Refusal::Missing(name.clone()))?;
        let field = fields.remove(at);
        let to = match place(fields, position) {
            Ok(to) => to,
            Err(refusal) => {
                fields.insert(at, field);
                return Err(refusal);
            }
        };
        fields.insert(to, field);
        Ok(())
    }

    /// Gives a column a type that holds every value of its own. Files keep the old one, which the metadata tell.
    pub(super) fn widen(&mut self, column: &[String], to: &DataType) -> Result<(), Refusal> {
        let wanted = schema::file_field(&Field::new("to", to.clone(), true)).ok();
        let wanted = wanted.map(|field| schema::type_json(field.data_type(), &mut Ids(None)));
        let field = self.field(column)?;
        let from = field["type"].clone();
        let (Some(old), Some(new)) = (from.as_str(), wanted.as_ref().and_then(Value::as_str)) else {
            return Err(Refusal::Needs(format!("the type {to} in the place of {from}")));
        };
        if old == new {
            return Ok(());
        }
        if !widens(old, new) {
            return Err(Refusal::Needs(format!(
                "the type {new} in the place of {old}, which does not hold all of its values,"
            )));
        }
        let change = json!({ "fromType": old, "toType": new });
        field["type"] = json!(new);
        let changes = &mut field["metadata"]["delta.typeChanges"];
        match changes.as_array_mut() {
            Some(changes) => changes.push(change),
            None => *changes = json!([change]),
        }
        Ok(())
    }

    /// Changes the field of a column.
    pub(super) fn set(&mut self, column: &[String], change: impl FnOnce(&mut Value)) -> Result<(), Refusal> {
        self.field(column).map(change)
    }

    /// Sets a text in the metadata of a column, or takes it away.
    pub(super) fn set_metadata(&mut self, column: &[String], key: &str, text: Option<String>) -> Result<(), Refusal> {
        let metadata = &mut self.field(column)?["metadata"];
        if !metadata.is_object() {
            *metadata = json!({});
        }
        if let Some(metadata) = metadata.as_object_mut() {
            match text {
                Some(text) => metadata.insert(key.to_owned(), json!(text)),
                None => metadata.remove(key),
            };
        }
        Ok(())
    }

    /// Gives every column an id; the names that they have in the files are those that they have now.
    pub(super) fn map_by_name(&mut self) {
        let mut last = 0;
        number(&mut self.schema, &mut last);
        self.ids = Ids(Some(last));
    }

    fn check_mapping(&self, what: &str) -> Result<(), Refusal> {
        match self.ids.0 {
            Some(_) => Ok(()),
            None => Err(Refusal::Needs(format!(
                "column mapping for {what}: set its property delta.columnMapping.mode to name first; it"
            ))),
        }
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        match self.ids.0.is_none() && name.contains(MAPPED_LETTERS) {
            true => Err(Refusal::Needs(format!("column mapping for the name \"{name}\""))),
            false => Ok(()),
        }
    }

    /// The name of a column as the schema writes it.
    fn resolve(&mut self, column: &[String]) -> Result<String, Refusal> {
        let field = self.field(column)?;
        match field["name"].as_str() {
            Some(name) => Ok(name.to_owned()),
            None => Err(Refusal::Needs("a change of the parts of a list or map".to_owned())),
        }
    }

    fn field(&mut self, column: &[String]) -> Result<&mut Value, Refusal> {
        let (name, parent) = column.split_last().ok_or_else(|| Refusal::Missing(String::new()))?;
        let fields = self.fields(parent)?;
        let at = find(fields, name).ok_or_else(|| Refusal::Missing(column.join(".")))?;
        Ok(&mut fields[at])
    }

    /// The fields of a struct; of the table without a name.
    fn fields(&mut self, parent: &[String]) -> Result<&mut Vec<Value>, Refusal> {
        let missing = || Refusal::Missing(parent.join("."));
        let mut at = &mut self.schema;
        for name in parent {
            let part = match (at["type"].as_str(), name.as_str()) {
                (Some("array"), "element") => Some("elementType"),
                (Some("map"), "key") => Some("keyType"),
                (Some("map"), "value") => Some("valueType"),
                _ => None,
            };
            at = match part {
                Some(part) => &mut at[part],
                None => {
                    let fields = at.get_mut("fields").and_then(Value::as_array_mut).ok_or_else(missing)?;
                    let index = find(fields, name).ok_or_else(missing)?;
                    &mut fields[index]["type"]
                }
            };
        }
        at.get_mut("fields").and_then(Value::as_array_mut).ok_or_else(missing)
    }
}

fn find(fields: &[Value], name: &str) -> Option<usize> {
    let is = |exact: bool| {
        move |field: &Value| {
            field["name"].as_str().is_some_and(|known| {
                if exact {
                    known == name
                } else {
                    known.eq_ignore_ascii_case(name)
                }
            })
        }
    };
    fields
        .iter()
        .position(is(true))
        .or_else(|| fields.iter().position(is(false)))
}

fn place(fields: &[Value], position: &Position) -> Result<usize, Refusal> {
    match position {
        Position::Last => Ok(fields.len()),
        Position::First => Ok(0),
        Position::After(name) => find(fields, name)
            .map(|at| at + 1)
            .ok_or_else(|| Refusal::Missing(name.clone())),
    }
}

fn number(data_type: &mut Value, last: &mut i64) {
    if let Some(fields) = data_type.get_mut("fields").and_then(Value::as_array_mut) {
        for field in fields {
            *last += 1;
            let name = field["name"].clone();
            if !field["metadata"].is_object() {
                field["metadata"] = json!({});
            }
            field["metadata"][COLUMN_ID] = json!(*last);
            field["metadata"][PHYSICAL_NAME] = name;
            number(&mut field["type"], last);
        }
        return;
    }
    for part in ["elementType", "keyType", "valueType"] {
        if let Some(inner) = data_type.get_mut(part) {
            number(inner, last);
        }
    }
}

/// True where every value of `old` is one of `new`, as the protocol's "Type Widening" lists them.
fn widens(old: &str, new: &str) -> bool {
    const WHOLE: [&str; 4] = ["byte", "short", "integer", "long"];
    let rank = |name: &str| WHOLE.iter().position(|known| *known == name);
    if let (Some(old), Some(new)) = (rank(old), rank(new)) {
        return old < new;
    }
    let decimal = |name: &str| {
        let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
        Some((precision.trim().parse::<i32>().ok()?, scale.trim().parse::<i32>().ok()?))
    };
    match (decimal(old), decimal(new)) {
        (Some((precision, scale)), Some((wider, finer))) => finer >= scale && wider - precision >= finer - scale,
        _ => (old, new) == ("float", "double"),
    }
}
