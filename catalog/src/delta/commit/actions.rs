//! The lines of a commit: actions as JSON, in the protocol's own words.
//!
//! What depends on the version that a commit becomes (row ids, its time) is filled in when it is tried, so that a
//! commit that lost a race is tried again without being computed anew.

use std::collections::BTreeMap;

use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use serde_json::{Map, Value, json};

use super::live::{LiveFile, Texts};
use crate::error::Result;

/// Who wrote a commit.
const ENGINE_INFO: &str = concat!("Lakewing/", env!("CARGO_PKG_VERSION"));
/// The domain of the number of row ids that are given out.
pub(crate) const ROW_TRACKING: &str = "delta.rowTracking";

/// A commit before its version is known.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The members of `commitInfo` that say what was done.
    pub(crate) info: Map<String, Value>,
    /// Whole lines: protocol, metadata, removes.
    pub(crate) lines: Vec<Value>,
    /// The members of each `add`, and the number of rows of its file.
    pub(crate) adds: Vec<(Map<String, Value>, Option<u64>)>,
}

/// What a commit takes from the versions before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ground {
    /// The version that the commit becomes.
    pub(crate) version: u64,
    /// The in-commit timestamp of the version before, where the table has them; less than every other where it is the
    /// first.
    pub(crate) timestamp: Option<i64>,
    /// The greatest row id that is given out, where the table tracks rows; -1 for none.
    pub(crate) row_id: Option<i64>,
}

impl Draft {
    /// The bytes of the commit as `ground.version`, at `now_ms`, under a unique id. Fails where a file's rows cannot be
    /// numbered: the message says why.
    pub(crate) fn bytes(&self, ground: Ground, now_ms: i64, id: &str) -> Result<Vec<u8>, String> {
        let mut info = self.info.clone();
        info.insert("timestamp".to_owned(), json!(now_ms));
        info.insert("engineInfo".to_owned(), json!(ENGINE_INFO));
        info.insert("txnId".to_owned(), json!(id));
        if let Some(before) = ground.timestamp {
            info.insert(
                "inCommitTimestamp".to_owned(),
                json!(now_ms.max(before.saturating_add(1))),
            );
        }
        let mut text = line(&json!({ "commitInfo": info }));
        for whole in &self.lines {
            text.push_str(&line(whole));
        }
        let mut last = ground.row_id;
        for (add, rows) in &self.adds {
            let mut add = add.clone();
            if let Some(last) = &mut last
                && !add.contains_key("baseRowId")
            {
                let path = add.get("path").cloned().unwrap_or_default();
                let rows = rows.ok_or_else(|| format!("row tracking needs the number of rows of {path}"))?;
                let end = i64::try_from(rows).ok().and_then(|rows| last.checked_add(rows));
                add.insert("baseRowId".to_owned(), json!(*last + 1));
                add.insert("defaultRowCommitVersion".to_owned(), json!(ground.version));
                *last = end.ok_or_else(|| "there are no row ids left".to_owned())?;
            }
            text.push_str(&line(&json!({ "add": add })));
        }
        if last != ground.row_id {
            let configuration = json!({ "rowIdHighWaterMark": last }).to_string();
            let domain = json!({ "domain": ROW_TRACKING, "configuration": configuration, "removed": false });
            text.push_str(&line(&json!({ "domainMetadata": domain })));
        }
        Ok(text.into_bytes())
    }
}

fn line(action: &Value) -> String {
    format!("{action}\n")
}

/// The `remove` action of a live file.
pub(crate) fn remove(file: &LiveFile, now_ms: i64, data_change: bool) -> Value {
    let mut remove = Map::new();
    remove.insert("path".to_owned(), json!(file.path));
    remove.insert("deletionTimestamp".to_owned(), json!(now_ms));
    remove.insert("dataChange".to_owned(), json!(data_change));
    remove.insert("extendedFileMetadata".to_owned(), json!(true));
    remove.insert("partitionValues".to_owned(), json!(file.partition_values));
    remove.insert("size".to_owned(), json!(file.size.unwrap_or(0)));
    common(&mut remove, file);
    if let Some(vector) = &file.vector {
        remove.insert("deletionVector".to_owned(), descriptor(vector));
    }
    json!({ "remove": remove })
}

/// The members of an `add` that gives a live file another deletion vector; its bounds may be wider than its rows.
pub(crate) fn replace_vector(file: &LiveFile, vector: Value) -> Map<String, Value> {
    let mut add = Map::new();
    add.insert("path".to_owned(), json!(file.path));
    add.insert("partitionValues".to_owned(), json!(file.partition_values));
    add.insert("size".to_owned(), json!(file.size.unwrap_or(0)));
    add.insert("modificationTime".to_owned(), json!(file.modified_ms.unwrap_or(0)));
    add.insert("dataChange".to_owned(), json!(true));
    if let Some(stats) = &file.stats {
        add.insert("stats".to_owned(), json!(wide_bounds(stats)));
    }
    if let Some(provider) = &file.clustering_provider {
        add.insert("clusteringProvider".to_owned(), json!(provider));
    }
    common(&mut add, file);
    add.insert("deletionVector".to_owned(), vector);
    add
}

/// What both an `add` and a `remove` repeat of a file.
fn common(action: &mut Map<String, Value>, file: &LiveFile) {
    if let Some(tags) = &file.tags {
        action.insert("tags".to_owned(), json!(tags));
    }
    if let (Some(base), Some(version)) = (file.base_row_id, file.row_commit_version) {
        action.insert("baseRowId".to_owned(), json!(base));
        action.insert("defaultRowCommitVersion".to_owned(), json!(version));
    }
}

/// The members of the `add` of a new file.
pub(crate) fn add(path: &str, partition_values: &Texts, size: u64, now_ms: i64, stats: &str) -> Map<String, Value> {
    let add: BTreeMap<&str, Value> = BTreeMap::from([
        ("path", json!(path)),
        ("partitionValues", json!(partition_values)),
        ("size", json!(size)),
        ("modificationTime", json!(now_ms)),
        ("dataChange", json!(true)),
        ("stats", json!(stats)),
    ]);
    add.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn descriptor(vector: &DeletionVectorDescriptor) -> Value {
    let mut text = json!({
        "storageType": vector.storage_type.to_string(),
        "pathOrInlineDv": vector.path_or_inline_dv,
        "sizeInBytes": vector.size_in_bytes,
        "cardinality": vector.cardinality,
    });
    if let (Some(offset), Some(members)) = (vector.offset, text.as_object_mut()) {
        members.insert("offset".to_owned(), json!(offset));
    }
    text
}

/// The statistics with `tightBounds` false and every other member letter by letter: a parser would round numbers.
pub(crate) fn wide_bounds(stats: &str) -> String {
    let Some(members) = members(stats) else {
        return stats.to_owned();
    };
    let kept = members.iter().filter(|(key, _)| *key != "\"tightBounds\"");
    let mut kept: Vec<String> = kept.map(|(key, value)| format!("{key}:{value}")).collect();
    kept.push("\"tightBounds\":false".to_owned());
    format!("{{{}}}", kept.join(","))
}

/// The members of a JSON object as they are written; `None` for what is none.
fn members(object: &str) -> Option<Vec<(&str, &str)>> {
    let inner = object.trim().strip_prefix('{')?.strip_suffix('}')?;
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let (mut start, mut colon) = (0, None);
    let mut members = Vec::new();
    let mut end = |start: usize, colon: Option<usize>, end: usize| {
        let colon = colon?;
        members.push((inner[start..colon].trim(), inner[colon + 1..end].trim()));
        Some(())
    };
    for (at, letter) in inner.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ if in_text => {}
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.checked_sub(1)?,
            ':' if depth == 0 && colon.is_none() => colon = Some(at),
            ',' if depth == 0 => {
                end(start, colon, at)?;
                (start, colon) = (at + 1, None);
            }
            _ => {}
        }
    }
    if !inner.trim().is_empty() {
        end(start, colon, inner.len())?;
    }
    Some(members)
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod tests;
