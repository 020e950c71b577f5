//! The chart, as Helm renders and checks it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{part, workspace};

/// The release that tests install, and so the name of its objects.
pub(crate) const RELEASE: &str = "lakewing";

/// The folder of the chart.
pub fn chart() -> PathBuf {
    workspace().join("deploy/chart")
}

/// Values without which nothing is rendered.
pub fn least_values() -> Value {
    let config =
        "default_catalog = \"lake\"\n[catalogs.lake]\ntype = \"iceberg-rest\"\nuri = \"https://catalog.example.org\"\n";
    json!({ "config": config, "auth": { "existingSecret": "users" } })
}

/// What `helm` prints.
///
/// # Errors
/// What it complains about.
pub fn helm(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(part("helm")?.join("helm"));
    let output = command.args(arguments).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{complaint}{}",
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The objects of the chart with `values`, in `namespace`.
///
/// # Errors
/// Why Helm does not render it.
pub fn render(namespace: &str, values: &Value) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("values.yaml");
    std::fs::write(&file, values.to_string())?;
    let chart = chart();
    let text = helm(&[
        "template",
        RELEASE,
        utf8(&chart)?,
        "--namespace",
        namespace,
        "--values",
        utf8(&file)?,
    ])?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The path as an argument.
pub fn utf8(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}

/// What a server may do, as the chart says.
pub(crate) fn rules() -> Result<Value> {
    let role = render(RELEASE, &least_values())?;
    match role.into_iter().find(|object| object["kind"] == "Role") {
        Some(mut role) => Ok(role["rules"].take()),
        None => bail!("the chart has no Role"),
    }
}
