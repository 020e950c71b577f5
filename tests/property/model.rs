//! The naive reader: rows in memory, by field id, and Arrow arrays of them under any schema.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Result, bail};
use arrow::array::{ArrayRef, ListArray, MapArray, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::ScalarValue;
use harness::tables::{FIELD_ID, INITIAL_DEFAULT};

/// A column, or a field inside one.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) name: String,
    /// The name in data files.
    pub(crate) physical: String,
    pub(crate) kind: Kind,
    /// The value in files that were written before the field.
    pub(crate) default: Option<ScalarValue>,
}

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Leaf(DataType),
    Struct(Vec<Node>),
    List(Box<Node>),
    /// The key is a leaf.
    Map(Box<Node>, Box<Node>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.name == other.name && self.kind == other.kind
    }
}

/// A value. What a struct has no entry for was not there when the row was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Leaf(ScalarValue),
    Struct(Row),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

/// Values by field id.
pub(crate) type Row = BTreeMap<i32, Value>;

/// How fields look in Arrow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Style {
    /// As users see them: no ids.
    Logical,
    /// As a metadata writer wants them: names of the table, ids, defaults, Delta's mapping.
    Described,
    /// As data files have them: physical names, with or without ids.
    File { ids: bool },
}

pub(crate) fn timestamp(zone: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, zone.then(|| "UTC".into()))
}

impl Node {
    pub(crate) fn leaf_type(&self) -> Option<&DataType> {
        match &self.kind {
            Kind::Leaf(data_type) => Some(data_type),
            _ => None,
        }
    }

    pub(crate) fn field(&self, style: Style) -> FieldRef {
        let mut metadata = HashMap::new();
        let name = match style {
            Style::Logical => &self.name,
            Style::Described => {
                metadata.insert("delta.columnMapping.id".to_owned(), self.id.to_string());
                metadata.insert("delta.columnMapping.physicalName".to_owned(), self.physical.clone());
                if let Some(default) = &self.default {
                    metadata.insert(INITIAL_DEFAULT.to_owned(), default_json(default));
                }
                &self.name
            }
            Style::File { .. } => &self.physical,
        };
        if matches!(style, Style::Described | Style::File { ids: true }) {
            metadata.insert(FIELD_ID.to_owned(), self.id.to_string());
        }
        Arc::new(Field::new(name, self.data_type(style), true).with_metadata(metadata))
    }

    fn data_type(&self, style: Style) -> DataType {
        match &self.kind {
            Kind::Leaf(data_type) => data_type.clone(),
            Kind::Struct(nodes) => DataType::Struct(fields(nodes, style)),
            Kind::List(item) => DataType::List(item.field(style)),
            Kind::Map(key, value) => DataType::Map(entries_field(key, value, style), false),
        }
    }

    /// The values of this field: what a row does not have is the default.
    fn of<'a>(&self, rows: impl Iterator<Item = Option<&'a Row>>) -> Vec<Value> {
        rows.map(|row| match row {
            None => Value::Null,
            Some(row) => self.get(row),
        })
        .collect()
    }

    /// The value of this field in a row, as its current type.
    pub(crate) fn get(&self, row: &Row) -> Value {
        match row.get(&self.id) {
            Some(value) => value.clone(),
            None => self.default.clone().map_or(Value::Null, Value::Leaf),
        }
    }

    /// The value of this leaf in a row, as its current type; NULL is typed.
    pub(crate) fn scalar(&self, row: &Row) -> Result<ScalarValue> {
        let Kind::Leaf(data_type) = &self.kind else {
            bail!("{} is nested", self.name)
        };
        Ok(match self.get(row) {
            Value::Leaf(value) => value.cast_to(data_type)?,
            _ => ScalarValue::try_from(data_type)?,
        })
    }
}

fn entries_field(key: &Node, value: &Node, style: Style) -> FieldRef {
    let key = Arc::new(key.field(style).as_ref().clone().with_nullable(false));
    let entries = DataType::Struct(Fields::from(vec![key, value.field(style)]));
    Arc::new(Field::new("key_value", entries, false))
}

pub(crate) fn fields(nodes: &[Node], style: Style) -> Fields {
    nodes.iter().map(|node| node.field(style)).collect()
}

/// The columns of the rows.
pub(crate) fn columns<'a>(
    nodes: &[Node],
    rows: impl Iterator<Item = &'a Row> + Clone,
    style: Style,
) -> Result<Vec<ArrayRef>> {
    let column = |node: &Node| array(node, &node.of(rows.clone().map(Some)), style);
    nodes.iter().map(column).collect()
}

fn array(node: &Node, values: &[Value], style: Style) -> Result<ArrayRef> {
    if values.is_empty() {
        return Ok(new_null_array(&node.data_type(style), 0));
    }
    let nulls = NullBuffer::from_iter(values.iter().map(|value| *value != Value::Null));
    Ok(match &node.kind {
        Kind::Leaf(data_type) => {
            let scalars = values.iter().map(|value| match value {
                Value::Leaf(scalar) => Ok(scalar.cast_to(data_type)?),
                Value::Null => Ok(ScalarValue::try_from(data_type)?),
                other => bail!("{} is {other:?}", node.name),
            });
            ScalarValue::iter_to_array(scalars.collect::<Result<Vec<_>>>()?)?
        }
        Kind::Struct(nodes) => {
            let rows: Vec<Option<&Row>> = values
                .iter()
                .map(|value| match value {
                    Value::Struct(row) => Some(row),
                    _ => None,
                })
                .collect();
            let columns = nodes
                .iter()
                .map(|node| array(node, &node.of(rows.iter().copied()), style));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Arc::new(StructArray::try_new(fields(nodes, style), columns, Some(nulls))?)
        }
        Kind::List(item) => {
            let lists = values.iter().map(|value| match value {
                Value::List(items) => items.as_slice(),
                _ => &[],
            });
            let lists: Vec<&[Value]> = lists.collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|items| items.len()));
            let items = array(item, &lists.concat(), style)?;
            Arc::new(ListArray::try_new(item.field(style), offsets, items, Some(nulls))?)
        }
        Kind::Map(key, value) => {
            let maps = values.iter().map(|value| match value {
                Value::Map(entries) => entries.as_slice(),
                _ => &[],
            });
            let maps: Vec<&[(Value, Value)]> = maps.collect();
            let offsets = OffsetBuffer::from_lengths(maps.iter().map(|entries| entries.len()));
            let (keys, items): (Vec<Value>, Vec<Value>) = maps.concat().into_iter().unzip();
            let entries = entries_field(key, value, style);
            let DataType::Struct(inner) = entries.data_type() else {
                bail!("a map has entries")
            };
            let columns = vec![array(key, &keys, style)?, array(value, &items, style)?];
            let inner = StructArray::try_new(inner.clone(), columns, None)?;
            Arc::new(MapArray::try_new(entries, offsets, inner, Some(nulls), false)?)
        }
    })
}

/// Iceberg's JSON form of a default.
fn default_json(value: &ScalarValue) -> String {
    let text = match value.cast_to(&DataType::Utf8) {
        Ok(ScalarValue::Utf8(Some(text))) => text,
        _ => value.to_string(),
    };
    match value {
        ScalarValue::Utf8(_) | ScalarValue::Decimal128(..) | ScalarValue::Date32(_) => {
            serde_json::json!(text).to_string()
        }
        _ => text,
    }
}
