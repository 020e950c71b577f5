//! An Avro schema as the cursor needs it: kinds, and fields with Iceberg's ids.

use std::collections::HashMap;

use serde_json::Value;

use super::Result;

/// A schema that is larger than this once its names are resolved is refused.
const KINDS_MAX: usize = 100_000;

/// The kind of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    /// `decimal` where the bytes are an unscaled number, big endian.
    Bytes {
        decimal: bool,
    },
    String,
    /// As [`Kind::Bytes`], of a length that the schema tells.
    Fixed {
        length: usize,
        decimal: bool,
    },
    Enum,
    Array(Box<Kind>),
    Map(Box<Kind>),
    Union(Vec<Kind>),
    Record(Vec<Field>),
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    /// Iceberg's id, where the writer wrote one.
    pub(crate) id: Option<i32>,
    /// Its name.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) kind: Kind,
}

impl Kind {
    /// The kind that is not null, where this is a union of null and one other.
    pub(crate) fn present(&self) -> &Kind {
        match self {
            Kind::Union(branches) => branches.iter().find(|kind| **kind != Kind::Null).unwrap_or(self),
            kind => kind,
        }
    }
}

/// Parses a schema; serde_json bounds its depth.
pub(super) fn parse(json: &[u8]) -> Result<Kind> {
    let json: Value = serde_json::from_slice(json).map_err(|error| format!("its schema is no JSON: {error}"))?;
    kind(&json, &mut Names::default())
}

/// The types that have names, and how many kinds were copied for uses of them.
#[derive(Default)]
struct Names {
    kinds: HashMap<String, Kind>,
    copied: usize,
}

impl Names {
    fn get(&mut self, name: &str) -> Result<Kind> {
        let unknown = || format!("its schema has the unknown type {name}");
        let kind = self.kinds.get(name).cloned().ok_or_else(unknown)?;
        self.copied = self.copied.saturating_add(size(&kind));
        match self.copied > KINDS_MAX {
            true => Err("its schema is too large".to_owned()),
            false => Ok(kind),
        }
    }
}

fn size(kind: &Kind) -> usize {
    let inner: usize = match kind {
        Kind::Array(inner) | Kind::Map(inner) => size(inner),
        Kind::Union(branches) => branches.iter().map(size).sum(),
        Kind::Record(fields) => fields.iter().map(|field| size(&field.kind)).sum(),
        _ => 0,
    };
    inner + 1
}

fn kind(json: &Value, named: &mut Names) -> Result<Kind> {
    match json {
        Value::String(name) => match primitive(name) {
            Some(kind) => Ok(kind),
            None => named.get(name),
        },
        Value::Array(branches) => {
            let branches = branches.iter().map(|branch| kind(branch, named));
            Ok(Kind::Union(branches.collect::<Result<_>>()?))
        }
        Value::Object(object) => {
            let decimal = object.get("logicalType").and_then(Value::as_str) == Some("decimal");
            let inner = |key: &str| {
                object
                    .get(key)
                    .ok_or_else(|| format!("its schema has a type without {key}"))
            };
            let parsed = match inner("type")? {
                Value::String(name) => match name.as_str() {
                    "record" => {
                        let fields = inner("fields")?
                            .as_array()
                            .ok_or("its schema has a record without fields")?;
                        let fields = fields.iter().map(|one| field(one, named));
                        Kind::Record(fields.collect::<Result<_>>()?)
                    }
                    "array" => Kind::Array(Box::new(kind(inner("items")?, named)?)),
                    "map" => Kind::Map(Box::new(kind(inner("values")?, named)?)),
                    "enum" => Kind::Enum,
                    "fixed" => {
                        let length = inner("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                        let length = length.ok_or("its schema has a fixed type without a size")?;
                        Kind::Fixed { length, decimal }
                    }
                    "bytes" => Kind::Bytes { decimal },
                    _ => kind(inner("type")?, named)?,
                },
                nested => kind(nested, named)?,
            };
            if let Some(name) = object.get("name").and_then(Value::as_str) {
                named.kinds.insert(name.to_owned(), parsed.clone());
            }
            Ok(parsed)
        }
        other => Err(format!("its schema has the type {other}")),
    }
}

fn field(json: &Value, named: &mut Names) -> Result<Field> {
    let name = json
        .get("name")
        .and_then(Value::as_str)
        .ok_or("its schema has a field without a name")?;
    let id = json.get("field-id").and_then(Value::as_i64);
    let of = json.get("type").ok_or("its schema has a field without a type")?;
    Ok(Field {
        id: id.and_then(|id| i32::try_from(id).ok()),
        name: name.to_owned(),
        kind: kind(of, named)?,
    })
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes { decimal: false },
        "string" => Kind::String,
        _ => return None,
    })
}
