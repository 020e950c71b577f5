//! The commands that people type: `lakewing demo` and `lakewing sql`.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use anyhow::{Context, Result};
use harness::{Lake, Process, demo, lakewing};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `lakewing sql` in a folder of its own; blocking is fine, as the test does nothing else.
fn sql(arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(lakewing()?);
    command
        .arg("sql")
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .context("cannot run lakewing sql")
}

#[tokio::test(flavor = "multi_thread")]
async fn demo_makes_its_tables_once_then_serves_until_it_is_stopped() -> Result<()> {
    let data = tempfile::tempdir()?;
    let folder = data.path().to_str().context("a path that is no text")?;
    let first = demo(0.01, &["--data-dir", folder]).await?;
    // Query 5 at this scale, as DuckDB answers it.
    for line in ["| VIETNAM   | 1000926.6999 |", "| CHINA     | 740210.7570  |"] {
        assert_eq!(
            first.matches(line).count(),
            2,
            "{line} stands not once per format in {first}"
        );
    }

    let files = || -> Result<BTreeSet<String>> {
        let found = Command::new("find")
            .args([folder, "-not", "-name", "catalog.db*"])
            .output()?;
        Ok(text(&found.stdout).lines().map(str::to_owned).collect())
    };
    let written = files()?;
    let mut command = Command::new(lakewing()?);
    command.args([
        "demo",
        "--scale",
        "0.01",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        folder,
    ]);
    let log = tempfile::tempdir()?;
    let mut demo = Process::start("demo", command, log.path())?;
    demo.prints("Serving on 127.0.0.1:").await?;
    assert_eq!(files()?, written, "a second start writes no table again");
    for part in [
        "jdbc:arrow-flight-sql://127.0.0.1:",
        "dbapi.connect(\"grpc://127.0.0.1:",
    ] {
        assert!(demo.output().contains(part), "{part} is missing in {}", demo.output());
    }
    assert!(demo.terminate().await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_prints_each_format() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let url = format!("grpc://{}", lake.address());
    let query = "SELECT 1 AS id, 'a, \"b\"' AS name UNION ALL SELECT 2, NULL ORDER BY id";
    let expected = [
        ("csv", "id,name\n1,\"a, \"\"b\"\"\"\n2,\n"),
        (
            "json",
            "[{\"id\":1,\"name\":\"a, \\\"b\\\"\"},{\"id\":2,\"name\":null}]\n",
        ),
    ];
    for (format, printed) in expected {
        let output = sql(&["--url", &url, "--format", format, query])?;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(text(&output.stdout), printed);
    }
    let output = sql(&["--url", &url, query])?;
    assert!(text(&output.stdout).contains("| id | name "), "{output:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_runs_without_a_server_and_fails_with_a_message() -> Result<()> {
    let output = sql(&["--local", "--format", "csv", "SELECT 6 * 7 AS answer"])?;
    assert_eq!(text(&output.stdout), "answer\n42\n", "{output:?}");
    let output = sql(&["--local", "SELECT nonsense"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("nonsense"), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_named_by_its_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("wrong.toml");
    for (text, key) in [
        ("[auth]\nmodus = \"basic\"", "auth.modus"),
        ("default_catalog = \"gone\"", "default_catalog"),
    ] {
        std::fs::write(&config, text)?;
        let output = Command::new(lakewing()?)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .output()?;
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let complaint = self::text(&output.stderr);
        assert!(complaint.contains(key) && complaint.lines().count() == 1, "{complaint}");
    }
    Ok(())
}
