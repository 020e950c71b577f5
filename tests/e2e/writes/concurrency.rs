//! Many writers of one table, and writers that are killed: nothing is lost, nothing is half there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use harness::{Client, Lake, Minio, Postgres, Random, RestCatalog};

use super::{texts, update};

/// Writers that append at the same time.
const WRITERS: usize = 50;
/// Statements of one life of the server that is killed.
const STATEMENTS: usize = 40;

/// Fifty appends of one row each, all at once: fifty versions, and every row.
async fn appends(lake: &Lake, catalog: &str, using: &str) -> Result<()> {
    let mut client = lake.client().await?;
    update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.many")).await?;
    let table = format!("{catalog}.many.{}", if using.is_empty() { "t" } else { using });
    let clause = if using.is_empty() {
        String::new()
    } else {
        format!(" USING {using}")
    };
    client
        .query(&format!("CREATE TABLE {table} (id BIGINT, writer STRING){clause}"))
        .await?;
    let before = versions(&mut client, &table).await?;
    let mut clients = Vec::new();
    for _ in 0..WRITERS {
        clients.push(lake.client().await?);
    }
    let writes = clients.into_iter().enumerate().map(|(id, mut client)| {
        let table = &table;
        async move {
            let rows = update(&mut client, &format!("INSERT INTO {table} VALUES ({id}, 'w{id}')")).await?;
            ensure!(rows == 1, "{rows} rows");
            Ok(())
        }
    });
    try_join_all(writes).await?;
    let after = versions(&mut client, &table).await?;
    ensure!(after - before == WRITERS, "{table}: {before} versions became {after}");
    let found = texts(
        &mut client,
        &format!("SELECT count(*), count(DISTINCT id), sum(id) FROM {table}"),
    )
    .await?;
    ensure!(found == [["50", "50", "1225"]], "{table}: {found:?}");
    Ok(())
}

async fn versions(client: &mut Client, table: &str) -> Result<usize> {
    let rows = texts(client, &format!("SELECT count(*) FROM {table}$history")).await?;
    Ok(rows.first().and_then(|row| row.first()).context("no count")?.parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_appends_at_once() -> Result<()> {
    let (minio, postgres) = (Minio::start().await?, Postgres::start().await?);
    let rest = RestCatalog::start(&minio).await?;
    let data = tempfile::tempdir()?;
    let section = format!(
        "[catalogs.pg]\ntype = \"iceberg-sql\"\nuri = \"postgresql://{}\"\nwarehouse = \"file://{}\"\n",
        postgres.authority,
        data.path().display()
    );
    let lake = Lake::embedded()
        .section(&section)
        .section(&rest.section())
        .section(&minio.storage())
        .start()
        .await?;
    let folders = Lake::embedded().start().await?;
    for (lake, catalog, using) in [
        (&lake, "rest", ""),
        (&lake, "pg", ""),
        (&lake, "pg", "delta"),
        (&folders, "lake", ""),
        (&folders, "lake", "delta"),
        (&folders, "delta", ""),
    ] {
        appends(lake, catalog, using)
            .await
            .with_context(|| format!("{catalog} {using}"))?;
    }
    Ok(())
}

/// A statement of the history, and what it makes of the rows: their number and the sum of `v`.
fn statement(table: &str, number: usize) -> String {
    match number % 4 {
        0 | 1 => format!("INSERT INTO {table} SELECT {number} * 10 + i, 1 FROM generate_series(0, 4) AS g(i)"),
        2 => format!("UPDATE {table} SET v = v + 1"),
        _ => format!("DELETE FROM {table} WHERE id % 10 = 4 AND id / 10 < {number}"),
    }
}

/// The rows after the first `done` statements: id and `v`.
fn state(done: usize) -> Vec<(usize, usize)> {
    let mut rows: Vec<(usize, usize)> = Vec::new();
    for number in 0..done {
        match number % 4 {
            0 | 1 => rows.extend((0..5).map(|i| (number * 10 + i, 1))),
            2 => rows.iter_mut().for_each(|row| row.1 += 1),
            _ => rows.retain(|(id, _)| id % 10 != 4 || id / 10 >= number),
        }
    }
    rows.sort_unstable();
    rows
}

async fn rows(client: &mut Client, table: &str) -> Result<Vec<(usize, usize)>> {
    let found = texts(client, &format!("SELECT id, v FROM {table} ORDER BY id, v")).await?;
    let number = |text: Option<&String>| anyhow::Ok(text.context("no value")?.parse::<usize>()?);
    found
        .iter()
        .map(|row| Ok((number(row.first())?, number(row.get(1))?)))
        .collect()
}

/// A server that writes to `table`, killed at some moment of one of its statements. How many were done before, and
/// after.
async fn life(data: &Path, table: &str, done: usize, random: &mut Random) -> Result<usize> {
    let lake = Lake::embedded().data(data).start().await?;
    let mut client = lake.client().await?;
    let writes = async {
        let mut acknowledged = done;
        for number in done..done + STATEMENTS {
            match update(&mut client, &statement(table, number)).await {
                Ok(_) => acknowledged += 1,
                Err(_) => break,
            }
        }
        acknowledged
    };
    let patience = Duration::from_millis(100 + random.number() % 900);
    let Lake { server, .. } = lake;
    let killed = async {
        tokio::time::sleep(patience).await;
        server.kill()
    };
    let (acknowledged, killed) = tokio::join!(writes, killed);
    killed?;
    // Another server finds the table as one of two statements left it.
    let lake = Lake::embedded().data(data).start().await?;
    let found = rows(&mut lake.client().await?, table).await?;
    let known = (acknowledged..=acknowledged + 1).find(|known| state(*known) == found);
    known.with_context(|| format!("{table}: after {acknowledged} statements and {patience:?}, there are {found:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_writers_leave_whole_statements() -> Result<()> {
    for (catalog, properties) in [
        (
            "lake",
            "TBLPROPERTIES ('write.delete.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read')",
        ),
        ("delta", "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"),
    ] {
        let data = tempfile::tempdir()?;
        let table = format!("{catalog}.killed.t");
        let lake = Lake::embedded().data(data.path()).start().await?;
        let mut client = lake.client().await?;
        update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.killed")).await?;
        client
            .query(&format!("CREATE TABLE {table} (id BIGINT, v BIGINT) {properties}"))
            .await?;
        drop(lake);
        let mut random = Random::new(0x0001_e4e7);
        let mut done = 0;
        for _ in 0..6 {
            done = life(data.path(), &table, done, &mut random).await?;
        }
        eprintln!("{table}: {done} statements in six lives");
        ensure!(done > 0, "no statement was done in any life");
    }
    Ok(())
}
