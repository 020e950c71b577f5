//! Values by their paths, and places in what is rendered.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use harness::{chart, least_values};
use serde_json::{Value, json};

use super::{merged, read_yaml};

/// A value of the chart, another that it may have, and what that changes.
pub(super) struct Case {
    /// Such as `executor.sets[0].max`.
    pub(super) path: String,
    value: Value,
    /// What else is set, before and after.
    with: Vec<(String, Value)>,
    /// What else is changed.
    along: Vec<(String, Value)>,
    /// Places and what is there afterwards, and not before; see [`found`].
    pub(super) shows: Vec<(String, Value)>,
}

pub(super) fn case(path: impl Into<String>, value: Value) -> Case {
    Case {
        path: path.into(),
        value,
        with: Vec::new(),
        along: Vec::new(),
        shows: Vec::new(),
    }
}

impl Case {
    pub(super) fn with(mut self, path: &str, value: Value) -> Self {
        self.with.push((path.to_owned(), value));
        self
    }

    pub(super) fn along(mut self, path: impl Into<String>, value: Value) -> Self {
        self.along.push((path.into(), value));
        self
    }

    pub(super) fn shows(mut self, place: impl Into<String>, value: Value) -> Self {
        self.shows.push((place.into(), value));
        self
    }

    /// The values without the change.
    pub(super) fn before(&self) -> Result<Value> {
        let mut values = merged(&defaults()?, &least_values());
        for (path, value) in &self.with {
            set(&mut values, path, value.clone())?;
        }
        Ok(values)
    }

    /// The values with the change.
    pub(super) fn after(&self) -> Result<Value> {
        let mut values = self.before()?;
        for (path, value) in &self.along {
            set(&mut values, path, value.clone())?;
        }
        set(&mut values, &self.path, self.value.clone())?;
        Ok(values)
    }
}

/// The contents of values.yaml.
pub(super) fn defaults() -> Result<Value> {
    read_yaml(&chart().join("values.yaml"))
}

/// The paths of all values in `value`, which is at `path`. Of lists only that of sets is looked into.
pub(super) fn leaves(path: &str, value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let below = |key: &String| [path, key].join(if path.is_empty() { "" } else { "." });
            fields
                .iter()
                .flat_map(|(key, value)| leaves(&below(key), value))
                .collect()
        }
        Value::Array(sets) if path == "executor.sets" => {
            let below = |index| format!("{path}[{index}]");
            let sets = sets.iter().enumerate();
            sets.flat_map(|(index, set)| leaves(&below(index), set)).collect()
        }
        _ => BTreeSet::from([path.to_owned()]),
    }
}

/// Puts `value` at the path `path` of the values.
pub(super) fn set(values: &mut Value, path: &str, value: Value) -> Result<()> {
    let mut place = values;
    for segment in path.split('.') {
        let (key, index) = match segment.split_once('[') {
            Some((key, index)) => (key, Some(index.trim_end_matches(']').parse::<usize>()?)),
            None => (segment, None),
        };
        place = place
            .as_object_mut()
            .context(path.to_owned())?
            .entry(key)
            .or_insert(json!({}));
        if let Some(index) = index {
            place = place.get_mut(index).context(path.to_owned())?;
        }
    }
    *place = value;
    Ok(())
}

/// What is at `path` in `value`, null where nothing is: segments between `/` are keys (`~1` for a `/` in them), numbers in
/// lists, or `@` and the name of an element.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .fold(value, |value, segment| {
            let key = segment.replace("~1", "/");
            match (value, segment.strip_prefix('@')) {
                (Value::Array(all), Some(name)) => {
                    let named = all.iter().find(|element| element["name"] == name);
                    named.unwrap_or(&Value::Null)
                }
                (Value::Array(all), None) => key
                    .parse()
                    .ok()
                    .and_then(|index: usize| all.get(index))
                    .unwrap_or(&Value::Null),
                _ => &value[&key],
            }
        })
}

/// What is at `place`: `KIND/path` or `KIND:NAME/path` in an object, `template:SET/path` in the template of executor pods,
/// `config:LINE` whether the configuration file has that line.
pub(super) fn found(objects: &[Value], place: &str) -> Result<Value> {
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap");
    let files = &config.context("no ConfigMap")?["data"];
    if let Some(line) = place.strip_prefix("config:") {
        let text = files["lakewing.toml"].as_str().context("no configuration file")?;
        return Ok(json!(text.lines().any(|has| has.trim() == line)));
    }
    let (object, path) = place.split_once('/').unwrap_or((place, ""));
    if let Some(set) = object.strip_prefix("template:") {
        return match files[format!("executor-{set}.yaml")].as_str() {
            Some(text) => Ok(at(&serde_saphyr::from_str(text)?, path).clone()),
            None => Ok(Value::Null),
        };
    }
    let (kind, name) = object.split_once(':').unwrap_or((object, ""));
    let is_it = |object: &&Value| object["kind"] == kind && (name.is_empty() || object["metadata"]["name"] == name);
    Ok(objects
        .iter()
        .find(is_it)
        .map_or(Value::Null, |object| at(object, path).clone()))
}
