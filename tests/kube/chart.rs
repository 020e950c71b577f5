//! The Helm chart: what it refuses, what each of its values does, what the API server says to it, and a query through it.

mod accepted;
mod cases;
mod pods;
mod refused;
mod served;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use harness::{chart, helm, least_values, render, utf8, workspace};
use serde_json::{Map, Value, json};

use cases::cases;
use values::{at, defaults, found, leaves};

/// Where the release of these tests would be.
const NAMESPACE: &str = "lake";

#[test]
fn lint_has_nothing_to_say() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("values.yaml");
    let check = |values: &Value| -> Result<()> {
        std::fs::write(&file, values.to_string())?;
        let said = helm(&["lint", "--strict", utf8(&chart())?, "--values", utf8(&file)?])?;
        ensure!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
        Ok(())
    };
    check(&json!({}))?;
    check(&least_values())?;
    check(&refused::everything())
}

#[test]
fn each_value_changes_what_it_is_for() -> Result<()> {
    let mut wrong = Vec::new();
    for case in cases() {
        let path = &case.path;
        let before = rendered(&case.before()?).with_context(|| format!("before {path}"))?;
        let after = rendered(&case.after()?).with_context(|| path.clone())?;
        for (place, expected) in &case.shows {
            let (was, is) = (found(&before, place)?, found(&after, place)?);
            if was == *expected || is != *expected {
                wrong.push(format!("{path}: {place} was {was}, is {is}, should become {expected}"));
            }
        }
        if case.shows.is_empty() {
            wrong.push(format!("{path} shows nothing"));
        }
    }
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn each_value_has_a_case() -> Result<()> {
    let covered: BTreeSet<String> = cases().into_iter().map(|case| case.path).collect();
    let mut all = leaves("", &defaults()?);
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json"))?)?;
    // What values.yaml shows of the first set is not all that a set may have.
    let set = at(&schema, "properties/executor/properties/sets/items/properties");
    let keys = set.as_object().context("a set has no properties")?.keys();
    all.extend(keys.map(|key| format!("executor.sets[0].{key}")));
    let without: Vec<_> = all.difference(&covered).collect();
    ensure!(without.is_empty(), "no case changes {without:?}");
    let strange: Vec<_> = covered.difference(&all).collect();
    ensure!(strange.is_empty(), "values.yaml does not have {strange:?}");
    Ok(())
}

#[test]
fn what_the_schema_knows_is_shown() -> Result<()> {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(chart().join("values.schema.json"))?)?;
    let defaults = defaults()?;
    let mut hidden = Vec::new();
    for (block, part) in schema["properties"].as_object().context("no properties")? {
        if block != "global" && defaults.get(block).is_none() {
            hidden.push(block.clone());
        }
        let keys = part["properties"].as_object().into_iter().flat_map(Map::keys);
        let missing = keys.filter(|key| defaults[block].get(key.as_str()).is_none());
        hidden.extend(missing.map(|key| format!("{block}.{key}")));
    }
    ensure!(hidden.is_empty(), "values.yaml does not show {hidden:?}");
    Ok(())
}

#[test]
fn the_plain_manifests_are_those_of_the_chart() -> Result<()> {
    let folder = workspace().join("deploy/manifests");
    let (values, file) = (folder.join("values.yaml"), folder.join("lakewing.yaml"));
    let rendered = helm(&[
        "template",
        "lakewing",
        utf8(&chart())?,
        "--namespace",
        NAMESPACE,
        "--values",
        utf8(&values)?,
    ])?;
    let kept = std::fs::read_to_string(&file)?;
    let command =
        "helm template lakewing deploy/chart -n lake -f deploy/manifests/values.yaml >deploy/manifests/lakewing.yaml";
    ensure!(kept == rendered, "not what the chart gives: {command}");
    Ok(())
}

#[test]
fn the_values_of_the_readme_are_taken() -> Result<()> {
    let text = std::fs::read_to_string(workspace().join("deploy/README.md"))?;
    let blocks = text.split("```yaml\n").skip(1);
    let mut values = json!({});
    let mut count = 0;
    for block in blocks {
        let block = block.split("```").next().unwrap_or_default();
        let indent = block.len() - block.trim_start_matches(' ').len();
        let lines = block.lines().map(|line| line.get(indent..).unwrap_or_default());
        let lines: Vec<_> = lines.collect();
        values = merged(&values, &serde_saphyr::from_str(&lines.join("\n"))?);
        let objects = render(NAMESPACE, &values)?;
        ensure!(
            found(&objects, "config:default_catalog = \"lake\"")? == json!(true),
            "{values}"
        );
        count += 1;
    }
    ensure!(count >= 2, "the README shows no values");
    Ok(())
}

#[test]
fn there_is_no_default_password() -> Result<()> {
    for case in cases() {
        let objects = rendered(&case.after()?)?;
        let secret = objects.iter().find(|object| object["kind"] == "Secret");
        ensure!(secret.is_none(), "{}: {secret:?}", case.path);
    }
    let text = std::fs::read_to_string(chart().join("values.yaml"))?;
    let secrets = text.lines().filter(|line| {
        let (key, value) = line.split_once(": ").unwrap_or_default();
        key.trim() == "existingSecret" && value != "\"\""
    });
    ensure!(secrets.count() == 0, "a Secret is taken for granted");
    Ok(())
}

/// The objects with `values`, rendered once for all tests.
fn rendered(values: &Value) -> Result<Vec<Value>> {
    static KNOWN: Mutex<BTreeMap<String, Vec<Value>>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = values.to_string();
    if let Some(objects) = known().get(&key) {
        return Ok(objects.clone());
    }
    let objects = render(NAMESPACE, values)?;
    known().insert(key, objects.clone());
    Ok(objects)
}

/// `values` over `base`, map by map.
fn merged(base: &Value, values: &Value) -> Value {
    match (base, values) {
        (Value::Object(base), Value::Object(values)) => {
            let mut all: Map<String, Value> = base.clone();
            for (key, value) in values {
                let both = merged(base.get(key).unwrap_or(&Value::Null), value);
                all.insert(key.clone(), both);
            }
            Value::Object(all)
        }
        (_, values) => values.clone(),
    }
}

fn read_yaml(file: &Path) -> Result<Value> {
    Ok(serde_saphyr::from_str(&std::fs::read_to_string(file)?)?)
}
