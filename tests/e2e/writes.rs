//! Rows that Lakewing writes, read back by itself and by engines that are not Lakewing.

mod branches;
mod concurrency;
mod ddl;
mod delta_commits;
mod faults;
mod formats;
mod forms;
mod functions;
mod grants;
mod ingest;
mod maintenance;
mod merge;
mod mixed;
mod owners;
mod views;

use anyhow::{Context, Result, ensure};
use harness::{Cell, Client, Lake, LakeBuilder, python, rows};
use serde_json::json;

/// A catalog of the embedded lake, its table format, and who else reads it.
const CATALOGS: [(&str, &[&str]); 2] = [("lake", &["pyiceberg"]), ("delta", &["deltalake", "duckdb"])];

#[tokio::test(flavor = "multi_thread")]
async fn statements_in_one_process() -> Result<()> {
    statements(Lake::embedded()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_on_three_executors() -> Result<()> {
    statements(Lake::processes(3)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_rows_by_adbc() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    for (catalog, _) in CATALOGS {
        let table = new_table(&mut client, catalog, "batches").await?;
        let uri = format!("grpc://{}", lake.address());
        let answer = python("adbc_batches.py", json!({"uri": uri, "table": table})).await?;
        ensure!(answer["rowcount"] == 10_000, "{answer}");
        ensure!(answer["rows"] == json!([10_001, 6_667, 49_994_999]), "{answer}");
        ensure!(answer["changed"] == "changed", "{answer}");
        let versions = texts(&mut client, &format!("SELECT count(*) FROM {table}$history")).await?;
        ensure!(
            versions == [["4"]] || (catalog == "lake" && versions == [["3"]]),
            "one commit for all rows of a batch: {versions:?}"
        );
    }
    Ok(())
}

/// A new table `catalog.shop.name` with the columns id, name, amount and day, without a row.
pub(super) async fn new_table(client: &mut Client, catalog: &str, name: &str) -> Result<String> {
    let table = format!("{catalog}.shop.{name}");
    update(client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.shop")).await?;
    let columns = "CAST(0 AS bigint) AS id, CAST('' AS varchar) AS name, CAST(0 AS decimal(10, 2)) AS amount, \
                   CAST('2026-01-01' AS date) AS day";
    let made = update(client, &format!("CREATE TABLE {table} AS SELECT {columns} WHERE false")).await?;
    ensure!(made == 0, "no row makes {made} rows");
    Ok(table)
}

/// Runs a statement that writes; the number of rows that it says.
pub(super) async fn update(client: &mut Client, sql: &str) -> Result<i64> {
    let count = client.raw().execute_update(sql.to_owned(), None).await;
    count.with_context(|| sql.to_owned())
}

/// The rows of a query, each value as text.
pub(super) async fn texts(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>> {
    let answer = client.query(sql).await.with_context(|| sql.to_owned())?;
    let text = |cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Float(number) => number.to_string(),
        Cell::Text(text) => text,
    };
    let rows = rows(&answer)?.into_iter();
    Ok(rows.map(|row| row.into_iter().map(text).collect()).collect())
}

/// The table's rows are these, whoever reads it.
async fn holds(
    client: &mut Client,
    data: &std::path::Path,
    (table, readers): (&str, &[&str]),
    expect: &[[&str; 4]],
) -> Result<()> {
    let mut expect: Vec<Vec<String>> = expect.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
    expect.sort();
    let mut own = texts(client, &format!("SELECT id, name, amount, day FROM {table}")).await?;
    own.sort();
    ensure!(own == expect, "{table}: {own:?} instead of {expect:?}");
    let (_, name) = table.split_once('.').context("a name without its catalog")?;
    let request = json!({
        "data": data, "table": name, "columns": ["id", "name", "amount", "day"], "readers": readers,
    });
    let others = python("written.py", request).await?;
    for reader in readers {
        ensure!(
            others[reader] == json!(expect),
            "{reader} of {table}: {} instead of {expect:?}",
            others[reader]
        );
    }
    Ok(())
}

async fn statements(lake: LakeBuilder) -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = lake.data(data.path()).start().await?;
    let mut client = lake.client().await?;
    for (catalog, readers) in CATALOGS {
        let table = new_table(&mut client, catalog, "orders").await?;
        let of = (table.as_str(), readers);
        let sql = format!(
            "INSERT INTO {table} VALUES (1, 'one', 1.5, '2026-01-01'), (2, NULL, -2, '2026-01-02'), (3, 'three', 3, NULL)"
        );
        ensure!(update(&mut client, &sql).await? == 3, "{sql}");
        let one = ["1", "one", "1.50", "2026-01-01"];
        let three = ["3", "three", "3.00", "NULL"];
        let first = [one, ["2", "NULL", "-2.00", "2026-01-02"], three];
        holds(&mut client, data.path(), of, &first).await?;

        let sql = format!("INSERT INTO {table} (name, id) SELECT name, id + 10 FROM {table} WHERE id <> 2");
        ensure!(update(&mut client, &sql).await? == 2, "{sql}");
        let sql = format!("WITH r AS (SELECT 20 AS n) INSERT INTO {table} (id) SELECT n FROM r");
        ensure!(update(&mut client, &sql).await? == 1, "{sql}");
        let sql = format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE amount < 0) OR id = 13");
        ensure!(update(&mut client, &sql).await? == 2, "{sql}");
        let eleven = ["11", "one", "NULL", "NULL"];
        let twenty = ["20", "NULL", "NULL", "NULL"];
        holds(&mut client, data.path(), of, &[one, three, eleven, twenty]).await?;
        for nothing in [
            "WHERE false",
            "WHERE name = 'nobody'",
            "WHERE EXISTS (SELECT 1 WHERE false)",
        ] {
            let sql = format!("DELETE FROM {table} {nothing}");
            ensure!(update(&mut client, &sql).await? == 0, "{sql}");
        }

        let sql = format!("UPDATE {table} SET amount = amount * 2, name = upper(name) WHERE amount > 1");
        ensure!(update(&mut client, &sql).await? == 2, "{sql}");
        let one = ["1", "ONE", "3.00", "2026-01-01"];
        let three = ["3", "THREE", "6.00", "NULL"];
        holds(&mut client, data.path(), of, &[one, three, eleven, twenty]).await?;
        let sql = format!(
            "UPDATE {table} AS t SET name = s.name FROM (VALUES (20, 'twenty'), (21, 'nobody')) AS s (id, name) \
             WHERE t.id = s.id"
        );
        ensure!(update(&mut client, &sql).await? == 1, "{sql}");
        let sql = format!("UPDATE {table} SET name = NULL WHERE name = 'twenty'");
        ensure!(update(&mut client, &sql).await? == 1, "{sql}");

        let failure = client
            .failure(&format!("INSERT INTO {table} (amount) VALUES (1000000000)"))
            .await?;
        ensure!(failure.code() == tonic::Code::InvalidArgument, "{failure:?}");
        holds(&mut client, data.path(), of, &[one, three, eleven, twenty]).await?;

        let sql = format!("INSERT OVERWRITE {table} SELECT * FROM {table} WHERE id < 10");
        ensure!(update(&mut client, &sql).await? == 2, "{sql}");
        holds(&mut client, data.path(), of, &[one, three]).await?;
        let copy = format!("{catalog}.shop.copy");
        let sql = format!("CREATE TABLE {copy} AS SELECT * FROM {table} UNION ALL SELECT * FROM {table}");
        ensure!(update(&mut client, &sql).await? == 4, "{sql}");
        holds(&mut client, data.path(), (&copy, readers), &[one, three, one, three]).await?;
        let sql = format!("CREATE TABLE IF NOT EXISTS {copy} AS SELECT 1 AS x");
        ensure!(update(&mut client, &sql).await? == 0, "{sql}");
        update(&mut client, &format!("TRUNCATE TABLE {table}")).await?;
        holds(&mut client, data.path(), of, &[]).await?;
    }
    Ok(())
}
