//! Tables with a history, written by other engines: Lakewing reads each of their versions, by number, name and time.

use std::path::Path;

use anyhow::{Context, Result};
use harness::{Cell, Client, Lake, LakeBuilder, python, rows};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_in_one_process() -> Result<()> {
    check(Lake::embedded()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_on_executors() -> Result<()> {
    check(Lake::executors(2)).await
}

async fn check(lake: LakeBuilder) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let written = python("versions.py", json!({"folder": folder.path()})).await?;
    let lake = lake.section(&sections(folder.path())).start().await?;
    let mut client = lake.client().await?;
    for (format, name) in [("iceberg", "old.ns.t"), ("delta", "files.ns.t")] {
        let versions = written[format].as_array().context("no versions")?;
        let [first, .., newest] = &versions[..] else {
            anyhow::bail!("one version of {name}")
        };
        for version in versions {
            let number = &version["version"];
            let at = version["at"].as_str().context("no time")?;
            for clause in [
                format!("FOR VERSION AS OF {number}"),
                format!("VERSION AS OF {number} AS x"),
                format!("FOR TIMESTAMP AS OF '{at}'"),
                format!("TIMESTAMP AS OF TIMESTAMP '{at}' x"),
                format!("FOR SYSTEM_TIME AS OF CAST('{at}' AS timestamp)"),
            ] {
                same(&mut client, &format!("{name} {clause}"), version).await?;
            }
        }
        same(&mut client, name, newest).await?;

        let (one, three) = (&first["version"], &newest["version"]);
        let sql = format!(
            "WITH one AS (SELECT * FROM {name} FOR VERSION AS OF {one}) \
             SELECT (SELECT count(*) FROM one) AS old, count(*) AS new FROM {name} FOR VERSION AS OF {three} AS three \
             WHERE three.id NOT IN (SELECT t.id FROM {name} VERSION AS OF {one})"
        );
        assert_eq!(texts(&mut client, &sql).await?, [["100", "3"]], "{sql}");
        let explain = format!("EXPLAIN SELECT t.id FROM {name} FOR VERSION AS OF {one}");
        let plan = texts(&mut client, &explain).await?.concat().join(" ");
        assert!(plan.contains(&format!("t FOR VERSION AS OF {one}")), "{plan}");

        let sql = format!("SELECT count(*) FROM {name}$snapshots");
        let count: usize = texts(&mut client, &sql).await?.concat().concat().parse()?;
        assert!(count >= 3, "{sql}: {count}");
        let files = |version: &Value| format!("SELECT count(*) FROM {name}$files FOR VERSION AS OF {version}");
        assert_eq!(texts(&mut client, &files(one)).await?, [["1"]]);
        assert_eq!(texts(&mut client, &files(three)).await?, [["2"]]);

        for missing in ["FOR VERSION AS OF 5", "FOR TIMESTAMP AS OF '2020-01-01'"] {
            let failure = client.failure(&format!("SELECT * FROM {name} {missing}")).await?;
            assert!(failure.message().contains("ns.t"), "{failure:?}");
        }
    }
    let first = &written["iceberg"][0];
    same(&mut client, "old.ns.t FOR VERSION AS OF 'first'", first).await?;
    same(&mut client, "old.ns.t FOR VERSION AS OF '7'", first).await?;
    let path = format!("delta.\"file://{}/delta/ns/t\"", folder.path().display());
    same(
        &mut client,
        &format!("{path} FOR VERSION AS OF 0"),
        &written["delta"][0],
    )
    .await
}

fn sections(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "[catalogs.old]\ntype = \"iceberg-sql\"\nuri = \"sqlite://{folder}/catalog.db\"\n\
         warehouse = \"file://{folder}/lake\"\n\
         [catalogs.files]\ntype = \"delta\"\nroot = \"file://{folder}/delta\"\n"
    )
}

/// `table` has the rows of `version`.
async fn same(client: &mut Client, table: &str, version: &Value) -> Result<()> {
    let sql = format!("SELECT count(*), sum(id) FROM {table}");
    let expect = [[version["rows"].to_string(), version["sum"].to_string()]];
    assert_eq!(texts(client, &sql).await?, expect, "{sql}");
    Ok(())
}

async fn texts(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>> {
    let answer = client.query(sql).await.with_context(|| sql.to_owned())?;
    let text = |cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Float(number) => number.to_string(),
        Cell::Text(text) => text,
    };
    let rows = rows(&answer)?.into_iter();
    Ok(rows.map(|row| row.into_iter().map(text).collect()).collect())
}
