//! A table's metadata file, and what the `iceberg` crate drops of it or refuses in it.
//!
//! The JSON is mended before the crate reads it where its meaning is clear: snapshot ids that a writer took for
//! unsigned, a version 3 table without `next-row-id`, and snapshots of version 1 that name their manifests themselves.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;

use flate2::read::GzDecoder;
use iceberg::spec::{
    MAIN_BRANCH, NestedFieldRef, PrimitiveType, SnapshotReference, SnapshotRetention, TableMetadata, Type,
};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::stores::Stores;

pub(crate) mod cache;
pub(crate) mod locate;
pub(crate) mod view;

/// Metadata files above this are refused: a table of a hundred thousand snapshots stays below it.
const METADATA_BYTES_MAX: u64 = 256 << 20;

/// Where the JSON of a type or field has the types inside it.
const NESTED: [&str; 5] = ["fields", "type", "element", "key", "value"];

/// Types of version 3 that are not read.
const UNREAD_TYPES: [&str; 4] = ["variant", "geometry", "geography", "unknown"];

/// One version of a table's metadata.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    /// What the crate makes of it.
    pub(crate) table: Arc<TableMetadata>,
    /// Branches and tags by name, where the file was read.
    refs: Option<BTreeMap<String, SnapshotReference>>,
    /// Manifests by snapshot id, of snapshots that have no manifest list.
    pub(crate) inline_manifests: HashMap<i64, Vec<String>>,
    /// `initial-default` in JSON, by field id and type; the crate forgets those that it cannot read.
    pub(crate) initial_defaults: HashMap<(i32, String), Value>,
}

impl Metadata {
    /// Reads a metadata file, gzipped or not.
    pub(crate) async fn load(stores: &Stores, table: &str, location: &str) -> Result<Self> {
        Ok(Self::read(stores, table, location).await?.0)
    }

    /// Reads a metadata file, gzipped or not; tells its length in bytes, too.
    async fn read(stores: &Stores, table: &str, location: &str) -> Result<(Self, usize)> {
        let bytes = stores.read(location, METADATA_BYTES_MAX).await?;
        let length = bytes.len();
        let name = table.to_owned();
        let parsed = tokio::task::spawn_blocking(move || Self::parse(&bytes)).await;
        let defect = match parsed {
            Ok(Ok(metadata)) => return Ok((metadata, length)),
            Ok(Err(defect)) => defect,
            Err(panic) => Defect::Damage(panic.to_string()),
        };
        let table = name;
        Err(match defect {
            Defect::Unsupported(feature) => Error::Unsupported { table, feature },
            Defect::Damage(detail) => Error::Corrupt {
                table,
                file: location.to_owned(),
                detail,
            },
        })
    }

    /// Metadata that a catalog service sent along; `None` where the crate may have lost a part of it, and the file has
    /// to be read.
    pub(crate) fn of_catalog(table: TableMetadata) -> Option<Self> {
        let schemas = table.schemas_iter().cloned().collect::<Vec<_>>();
        let mut fields = schemas.iter().flat_map(|schema| schema.field_id_to_fields().values());
        // The crate forgets defaults of these types.
        if fields.any(is_nanoseconds) {
            return None;
        }
        Some(Self {
            refs: None,
            initial_defaults: HashMap::new(),
            inline_manifests: HashMap::new(),
            table: Arc::new(table),
        })
    }

    /// Branches and tags by name. The crate keeps them to itself, but it writes them.
    pub(crate) fn refs(&self) -> BTreeMap<String, SnapshotReference> {
        let written = || refs(&serde_json::to_value(self.table.as_ref()).ok()?);
        let mut refs = self.refs.clone().or_else(written).unwrap_or_default();
        if let Some(id) = self.table.current_snapshot_id() {
            refs.entry(MAIN_BRANCH.to_owned())
                .or_insert_with(|| SnapshotReference::new(id, SnapshotRetention::branch(None, None, None)));
        }
        refs
    }

    /// True where the field may have a default that the crate has forgotten.
    pub(crate) fn forgets_default(&self, field: &NestedFieldRef) -> bool {
        let key = (field.id, field.field_type.to_string());
        is_nanoseconds(field) && self.initial_defaults.contains_key(&key)
    }

    /// What metadata that the crate writes anew would lack.
    pub(crate) fn loses(&self) -> Option<&'static str> {
        let schemas = self.table.schemas_iter();
        let mut fields = schemas.flat_map(|schema| schema.field_id_to_fields().values());
        if fields.any(|field| self.forgets_default(field)) {
            return Some("a default in nanoseconds");
        }
        (!self.inline_manifests.is_empty()).then_some("a snapshot without a manifest list")
    }

    /// Parses the content of a metadata file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let mut json: Value = if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut unpacked = Vec::new();
            let unzipped = GzDecoder::new(bytes)
                .take(METADATA_BYTES_MAX + 1)
                .read_to_end(&mut unpacked);
            unzipped.map_err(damage)?;
            if u64::try_from(unpacked.len()).is_ok_and(|length| length > METADATA_BYTES_MAX) {
                let detail = format!("it has more than {METADATA_BYTES_MAX} bytes when it is unpacked");
                return Err(Defect::Damage(detail));
            }
            serde_json::from_slice(&unpacked)
        } else {
            serde_json::from_slice(bytes)
        }
        .map_err(damage)?;
        let Value::Object(object) = &mut json else {
            return Err(Defect::Damage("it is no JSON object".to_owned()));
        };
        let inline_manifests = mend(object);
        let initial_defaults = initial_defaults(&json);
        let refs = refs(&json).ok_or_else(|| damage("its refs are damaged"))?;
        if let Some(feature) = unread_type(&json) {
            return Err(Defect::Unsupported(feature));
        }
        let table: TableMetadata = serde_json::from_value(json).map_err(damage)?;
        Ok(Self {
            refs: Some(refs),
            initial_defaults,
            inline_manifests,
            table: Arc::new(table),
        })
    }
}

/// Why a metadata file gives no metadata.
#[derive(Debug)]
pub(crate) enum Defect {
    /// What is wrong with it.
    Damage(String),
    /// A feature of the specification that is not read.
    Unsupported(String),
}

fn damage(detail: impl ToString) -> Defect {
    Defect::Damage(detail.to_string())
}

/// The first column whose type no Parquet column of Arrow's stands for, however deep in its schema.
fn unread_type(json: &Value) -> Option<String> {
    let schemas = json.get("schemas").and_then(Value::as_array).into_iter().flatten();
    schemas.chain(json.get("schema")).find_map(unread_column)
}

fn unread_column(json: &Value) -> Option<String> {
    match json {
        Value::Object(object) => {
            let unread = |(key, value): (&String, &Value)| {
                let of = value.as_str().filter(|_| NESTED.contains(&key.as_str()))?;
                let name = of.split('(').next().unwrap_or(of).trim();
                let column = object.get("name").and_then(Value::as_str).unwrap_or(key);
                UNREAD_TYPES
                    .contains(&name)
                    .then(|| format!("the column {column} of the type {of}"))
            };
            let nested = NESTED.iter().filter_map(|key| object.get(*key));
            object
                .iter()
                .find_map(unread)
                .or_else(|| nested.into_iter().find_map(unread_column))
        }
        Value::Array(items) => items.iter().find_map(unread_column),
        _ => None,
    }
}

fn is_nanoseconds(field: &NestedFieldRef) -> bool {
    matches!(
        field.field_type.as_ref(),
        Type::Primitive(PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs)
    )
}

fn refs(json: &Value) -> Option<BTreeMap<String, SnapshotReference>> {
    match json.get("refs") {
        None | Some(Value::Null) => Some(BTreeMap::new()),
        Some(refs) => serde_json::from_value(refs.clone()).ok(),
    }
}

/// Makes the JSON what the crate expects; answers with the manifests of snapshots without a manifest list.
fn mend(metadata: &mut Map<String, Value>) -> HashMap<i64, Vec<String>> {
    let mut inline = HashMap::new();
    signed(metadata.get_mut("current-snapshot-id"));
    let arrays = ["snapshots", "snapshot-log", "statistics", "partition-statistics"];
    for key in arrays {
        let items = metadata.get_mut(key).and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            signed(item.get_mut("snapshot-id"));
            signed(item.get_mut("parent-snapshot-id"));
        }
    }
    let refs = metadata.get_mut("refs").and_then(Value::as_object_mut);
    for (_, reference) in refs.into_iter().flatten() {
        signed(reference.get_mut("snapshot-id"));
    }
    // A snapshot of format version 1 has no sequence number, which counts as 0 once the table is upgraded.
    let is_numbered = metadata.get("format-version").and_then(Value::as_i64) > Some(1);
    let snapshots = metadata.get_mut("snapshots").and_then(Value::as_array_mut);
    for snapshot in snapshots.into_iter().flatten().filter_map(Value::as_object_mut) {
        if is_numbered && !snapshot.contains_key("sequence-number") {
            snapshot.insert("sequence-number".to_owned(), 0.into());
        }
        let Some(Value::Array(manifests)) = snapshot.get("manifests") else {
            continue;
        };
        let manifests = manifests.iter().map(|path| path.as_str().map(str::to_owned));
        let manifests: Option<Vec<String>> = manifests.collect();
        let id = snapshot.get("snapshot-id").and_then(Value::as_i64);
        let has_list = matches!(snapshot.get("manifest-list"), Some(Value::String(list)) if !list.is_empty());
        if let (Some(manifests), Some(id)) = (manifests, id) {
            snapshot.remove("manifests");
            if !has_list {
                snapshot.insert("manifest-list".to_owned(), Value::String(String::new()));
                inline.insert(id, manifests);
            }
        }
    }
    if metadata.get("format-version").and_then(Value::as_i64) == Some(3) && !metadata.contains_key("next-row-id") {
        let next = next_row_id(metadata);
        metadata.insert("next-row-id".to_owned(), next.into());
    }
    inline
}

/// A snapshot id beyond 63 bits, as the signed number of the same bits.
fn signed(id: Option<&mut Value>) {
    if let Some(value) = id
        && let Some(unsigned) = value.as_u64()
    {
        *value = unsigned.cast_signed().into();
    }
}

/// The first row id that no snapshot has taken.
fn next_row_id(metadata: &Map<String, Value>) -> u64 {
    let snapshots = metadata.get("snapshots").and_then(Value::as_array);
    let number = |snapshot: &Value, key: &str| snapshot.get(key).and_then(Value::as_u64).unwrap_or(0);
    let ends = snapshots.into_iter().flatten().map(|snapshot| {
        let first = number(snapshot, "first-row-id");
        first.saturating_add(number(snapshot, "added-rows"))
    });
    ends.max().unwrap_or(0)
}

/// Every default in the schemas by field id and type, however deep.
fn initial_defaults(json: &Value) -> HashMap<(i32, String), Value> {
    let mut defaults = HashMap::new();
    let schemas = json.get("schemas").and_then(Value::as_array).into_iter().flatten();
    for schema in schemas.chain(json.get("schema")) {
        collect_defaults(schema, &mut defaults);
    }
    defaults
}

fn collect_defaults(json: &Value, defaults: &mut HashMap<(i32, String), Value>) {
    match json {
        Value::Object(object) => {
            let id = object
                .get("id")
                .and_then(Value::as_i64)
                .and_then(|id| i32::try_from(id).ok());
            let default = object.get("initial-default").filter(|default| !default.is_null());
            if let (Some(id), Some(default), Some(of)) = (id, default, object.get("type")) {
                let of = of.as_str().unwrap_or("nested").to_owned();
                defaults.insert((id, of), default.clone());
            }
            for value in NESTED.iter().filter_map(|key| object.get(*key)) {
                collect_defaults(value, defaults);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_defaults(item, defaults)),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
