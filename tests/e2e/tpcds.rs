//! All 99 TPC-DS queries over Iceberg and over Delta, embedded and on four executor processes, answer what DataFusion alone
//! answers over plain Parquet files that another program made. The tables are copied from those files by Lakewing itself.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use harness::{Lake, python, rows};
use serde_json::json;

use super::tpch::{Answer, check};

/// The scale factor, unless `LAKEWING_TPCDS_SCALE` names another.
const SCALE: f64 = 0.1;

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
async fn every_query() -> Result<()> {
    let scale = match std::env::var("LAKEWING_TPCDS_SCALE") {
        Ok(scale) => scale.parse()?,
        Err(_) => SCALE,
    };
    let data = tempfile::tempdir()?;
    let folder = data.path().join("drop");
    std::fs::create_dir(&folder)?;
    let made = python("tpcds.py", json!({"folder": folder, "scale": scale})).await?;
    let texts = |what: &str| -> Result<Vec<String>> { Ok(serde_json::from_value(made[what].clone())?) };
    let (tables, queries) = (texts("tables")?, texts("queries")?);
    ensure!((tables.len(), queries.len()) == (24, 99), "{made}");
    let reference = reference(&folder, &tables, queries).await?;
    copy(data.path(), &folder, &tables).await?;
    for catalog in ["lake", "delta"] {
        let embedded = Lake::embedded().data(data.path());
        // Without their order, which leaves ties open.
        let place = (catalog, "tpcds");
        check(&format!("{catalog}, embedded"), embedded, place, &reference, false).await?;
        let spread = Lake::processes(4).data(data.path());
        check(
            &format!("{catalog}, four executor processes"),
            spread,
            place,
            &reference,
            false,
        )
        .await?;
    }
    Ok(())
}

async fn reference(folder: &Path, tables: &[String], queries: Vec<String>) -> Result<Vec<Answer>> {
    let context = SessionContext::new();
    for table in tables {
        let file = folder.join(format!("{table}.parquet"));
        let file = file.to_str().context("a path that is no text")?;
        context
            .register_parquet(table, file, ParquetReadOptions::default())
            .await?;
    }
    let mut answers = Vec::new();
    for sql in queries {
        let answer = rows(&context.sql(&sql).await?.collect().await?)?;
        answers.push((sql, answer));
    }
    let answered = answers.iter().filter(|(_, answer)| !answer.is_empty()).count();
    eprintln!("{answered} of 99 queries have rows");
    ensure!(answered > 60, "{answered} queries have rows to compare");
    Ok(answers)
}

/// Makes the tables in both catalogs.
async fn copy(data: &Path, folder: &Path, tables: &[String]) -> Result<()> {
    let storage = format!("[[storage]]\nprefix = \"file://{}\"", folder.display());
    let lake = Lake::embedded().data(data).section(&storage).start().await?;
    let mut client = lake.client().await?;
    for catalog in ["lake", "delta"] {
        client.query(&format!("CREATE SCHEMA {catalog}.tpcds")).await?;
        for table in tables {
            let file = folder.join(format!("{table}.parquet"));
            let sql = format!(
                "CREATE TABLE {catalog}.tpcds.{table} AS SELECT * FROM parquet.\"file://{}\"",
                file.display()
            );
            client.query(&sql).await?;
        }
    }
    Ok(())
}
