//! Bulk ingest by ADBC: every mode, every type, and uploads that break off.

use anyhow::{Context, Result, ensure};
use harness::{Lake, LakeBuilder, python};
use serde_json::{Value, json};

use super::{CATALOGS, texts};

#[tokio::test(flavor = "multi_thread")]
async fn bulk_ingest_in_one_process() -> Result<()> {
    ingest(Lake::embedded()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_ingest_beside_two_executors() -> Result<()> {
    ingest(Lake::processes(2)).await
}

async fn ingest(lake: LakeBuilder) -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = lake.data(data.path()).start().await?;
    let uri = format!("grpc://{}", lake.address());
    let mut client = lake.client().await?;
    for (catalog, readers) in CATALOGS {
        let answer = python("adbc_ingest.py", json!({"uri": uri, "catalog": catalog})).await?;
        let is = |name: &str, expect: Value| {
            ensure!(
                answer[name] == expect,
                "{catalog}, {name}: {} instead of {expect}",
                answer[name]
            );
            Ok(())
        };
        let says = |name: &str, index: usize, words: &[&str]| {
            let text = answer[name][index].as_str().context("no message")?;
            for word in words {
                ensure!(text.contains(word), "{catalog}, {name}: {word} is not in {text}");
            }
            Ok(())
        };
        let whole = json!([50_000, 1_249_975_000]);
        is("different", json!([]))?;
        ensure!(
            answer["create"][0] == 50_000 && answer["create"][2] == whole,
            "{catalog}: {answer}"
        );
        says("create", 1, &["ALREADY_EXISTS", "loads.Everything"])?;
        let rows = json!([["-3", "0.50", "None"], ["-2", "0.50", "None"], ["-1", "0.50", "None"]]);
        is("append", json!([3, [50_003, 1_249_974_994], rows]))?;
        says("refused", 0, &["INVALID_ARGUMENT", "no column \"colur\"", "colour"])?;
        says("refused", 1, &["INVALID_ARGUMENT", "no number"])?;
        says("refused", 2, &["NOT_FOUND", "missing"])?;
        says("refused", 3, &["the source is gone"])?;
        says("refused", 4, &["the source is gone"])?;
        says("refused", 5, &["broken", "does not exist"])?;
        ensure!(
            answer["refused"][6] == json!([50_003, 1_249_974_994]),
            "{catalog}: {answer}"
        );
        is("replace", json!([3, [3, -6], 3]))?;
        is("create_append", json!([3, 3, [6, -12]]))?;
        is("empty", json!([0, 0, [0, null]]))?;
        is("parts", json!([50_000, whole]))?;
        ensure!(answer["killed"][0] == 1, "{catalog}: {}", answer["killed"]);
        says("killed", 1, &["killed", "does not exist"])?;

        let rows = texts(&mut client, &format!("SELECT id, colour FROM {catalog}.loads.parts")).await?;
        let request = json!({
            "data": data.path(), "table": "loads.parts", "columns": ["id", "colour"], "readers": readers,
        });
        let others = python("written.py", request).await?;
        let mut rows = rows;
        rows.sort();
        for reader in readers {
            ensure!(
                others[reader] == json!(rows),
                "{reader} reads other rows of {catalog}.loads.parts"
            );
        }
    }
    Ok(())
}
