//! Where things lie that tests start: the binary under test, installed parts, client programs.

pub(crate) mod chart;
pub(crate) mod cluster;
pub(crate) mod node;
mod volumes;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Root of the checkout.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// The binary under test, beside the running test: `cargo build --release` makes it.
pub fn lakewing() -> Result<PathBuf> {
    let binary = profile_folder()?.join("lakewing");
    ensure!(
        binary.exists(),
        "{} is missing: run cargo build --release",
        binary.display()
    );
    Ok(binary)
}

/// Makes the binary under test from the present source, with the features that it has in the whole workspace.
pub fn build_lakewing() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--release",
        "--quiet",
        "--workspace",
        "--bin",
        "lakewing",
        "--target-dir",
    ]);
    let built = cargo
        .arg(profile_folder()?.with_file_name(""))
        .current_dir(workspace())
        .status()?;
    ensure!(built.success(), "lakewing does not build");
    Ok(())
}

/// Folder of an installed part.
pub fn part(name: &str) -> Result<PathBuf> {
    let parts = match parts_variable() {
        Some(folder) => PathBuf::from(folder),
        None => profile_folder()?.with_file_name("parts"),
    };
    let folder = parts.join(name);
    ensure!(
        folder.exists(),
        "{} is missing: run tests/parts/install {name}",
        folder.display()
    );
    Ok(folder)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one setting of the tests, made by tests/run"
)]
fn parts_variable() -> Option<String> {
    std::env::var("LAKEWING_PARTS").ok()
}

fn profile_folder() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program lies in a folder")?;
    Ok(if folder.ends_with("deps") {
        folder.with_file_name("")
    } else {
        folder.to_owned()
    })
}

/// Runs `tests/clients/SCRIPT` with one JSON argument; its last line of output is its JSON answer.
pub async fn python(script: &str, argument: Value) -> Result<Value> {
    python_of("python", script, argument).await
}

/// As [`python`], for scripts that start Apache Spark.
pub async fn spark(script: &str, argument: Value) -> Result<Value> {
    python_of("spark", script, argument).await
}

/// As [`python`], in the environment of another part.
pub async fn python_of(part_name: &str, script: &str, argument: Value) -> Result<Value> {
    let mut command = Command::new(part(part_name)?.join("venv/bin/python"));
    command
        .arg(workspace().join("tests/clients").join(script))
        .arg(argument.to_string());
    answer(command).await
}

/// Runs the program `tests/clients/PROGRAM.java` like [`python`], with the jars of `part` on its class path.
pub async fn java(program: &str, part_name: &str, arguments: &[&str]) -> Result<Value> {
    let sources = workspace().join("tests/clients");
    let jars = part(part_name)?.join("*");
    let classes = tempfile::tempdir()?;
    let mut compiler = tokio::process::Command::new("javac");
    compiler
        .arg("-sourcepath")
        .arg(&sources)
        .arg("-cp")
        .arg(&jars)
        .arg("-d")
        .arg(classes.path());
    let compiled = compiler
        .arg(sources.join(program).with_extension("java"))
        .status()
        .await?;
    ensure!(compiled.success(), "{program}.java does not compile");
    let mut command = Command::new("java");
    command.arg("--add-opens=java.base/java.nio=ALL-UNNAMED");
    command
        .arg("-cp")
        .arg(format!("{}:{}", classes.path().display(), jars.display()));
    command.arg(program).args(arguments);
    answer(command).await
}

async fn answer(command: Command) -> Result<Value> {
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "a client failed ({}): {printed}\n{complaints}",
        output.status
    );
    let last = printed.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("a client printed no JSON: {printed}\n{complaints}"))
}
