//! Iceberg tables, Delta tables and views in one schema of a SQL database.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use harness::{Client, Lake, Postgres, python};
use serde_json::{Value, json};
use tonic::Code;

use super::{texts, update};

async fn run(client: &mut Client, statements: &[String]) -> Result<()> {
    for sql in statements {
        client.query(sql).await.map_err(|error| error.context(sql.clone()))?;
    }
    Ok(())
}

/// The table's rows, as deltalake reads its folder.
async fn by_deltalake(folder: &str) -> Result<Value> {
    let request = json!({"folders": {"t": folder}, "columns": ["id", "name"]});
    Ok(python("written.py", request).await?["t"].clone())
}

/// The folders of Delta tables below a folder.
fn logs_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.file_name().is_some_and(|name| name == "_delta_log") {
            // A purge leaves empty folders on a local disk.
            true => found.extend(std::fs::read_dir(&path)?.next().map(|_| folder.to_owned())),
            false if path.is_dir() => found.extend(logs_below(&path)?),
            false => {}
        }
    }
    Ok(found)
}

/// The same story in a catalog named `c` whose new tables are Iceberg tables, below `warehouse`, as PyIceberg reaches it.
async fn story(client: &mut Client, c: &str, (warehouse, pyiceberg): (&Path, Value)) -> Result<()> {
    let d = format!("{c}.s.d");
    run(
        client,
        &[
            format!("CREATE SCHEMA {c}.s"),
            format!("CREATE TABLE {c}.s.i AS SELECT 1 AS id"),
            format!("CREATE TABLE {d} (id BIGINT NOT NULL, name STRING) USING delta PARTITIONED BY (name)"),
            format!("CREATE TABLE IF NOT EXISTS {d} (x INT) USING delta"),
            format!("CREATE VIEW {c}.s.v AS SELECT d.id, d.name FROM {d} AS d JOIN {c}.s.i AS i USING (id)"),
        ],
    )
    .await?;
    for taken in [
        format!("CREATE TABLE {d} (x INT)"),
        format!("CREATE TABLE {d} USING delta AS SELECT 1 AS x"),
    ] {
        let failure = client.failure(&taken).await?;
        ensure!(failure.code() == Code::AlreadyExists, "{taken}: {failure:?}");
    }
    ensure!(update(client, &format!("INSERT INTO {d} VALUES (1, 'a'), (2, 'b'), (3, NULL)")).await? == 3);
    ensure!(update(client, &format!("UPDATE {d} SET name = 'c' WHERE id = 2")).await? == 1);
    ensure!(update(client, &format!("DELETE FROM {d} WHERE id = 3")).await? == 1);
    let merge = format!(
        "MERGE INTO {d} AS t USING (VALUES (1, 'm'), (4, 'n')) AS s (id, name) ON t.id = s.id \
         WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
    );
    ensure!(update(client, &merge).await? == 2);
    let rows = [["1", "m"], ["2", "c"], ["4", "n"]];
    ensure!(texts(client, &format!("SELECT * FROM {d} ORDER BY id")).await? == rows);
    ensure!(texts(client, &format!("SELECT * FROM {c}.s.v")).await? == [["1", "m"]]);
    let roots = logs_below(warehouse)?;
    ensure!(roots.len() == 1, "{roots:?}");
    let root = roots.first().map(|root| root.display().to_string()).unwrap_or_default();
    ensure!(by_deltalake(&root).await? == json!(rows));
    let versions = texts(client, &format!("SELECT count(*) FROM {d} FOR VERSION AS OF 1")).await?;
    ensure!(versions == [["3"]], "{versions:?}");

    // Other engines see the Iceberg table alone.
    let tables = python(
        "iceberg_table.py",
        json!({"catalog": pyiceberg, "table": "s.i", "do": [["tables"]]}),
    )
    .await?;
    ensure!(tables == json!([["i"]]), "{tables}");
    let listed = texts(
        client,
        &format!(
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_catalog = '{c}' \
                  AND table_schema = 's' ORDER BY 1"
        ),
    )
    .await?;
    ensure!(listed == [["d", "BASE TABLE"], ["i", "BASE TABLE"], ["v", "VIEW"]]);
    replaced(client, (c, &d), warehouse, &root).await?;
    dropped(client, (c, &d), warehouse, &root).await
}

/// A table keeps its format until it is dropped.
async fn replaced(client: &mut Client, (c, d): (&str, &str), warehouse: &Path, root: &str) -> Result<()> {
    for (table, format) in [("i", "delta"), ("d", "iceberg")] {
        let sql = format!("CREATE OR REPLACE TABLE {c}.s.{table} USING {format} AS SELECT 1 AS id");
        let failure = client.failure(&sql).await?;
        ensure!(
            failure.code() == Code::Unimplemented && failure.message().contains("drop it first"),
            "{failure:?}"
        );
    }
    let sql = format!("CREATE OR REPLACE TABLE {d} USING delta AS SELECT 7 AS id, 'new' AS name");
    ensure!(update(client, &sql).await? == 1);
    ensure!(texts(client, &format!("SELECT * FROM {d}")).await? == [["7", "new"]]);
    ensure!(by_deltalake(root).await? == json!([["7", "new"]]));
    ensure!(texts(client, &format!("SELECT count(*) FROM {d} FOR VERSION AS OF 1")).await? == [["3"]]);
    run(
        client,
        &[
            format!("ALTER TABLE {d} ADD COLUMN more INT"),
            format!("ALTER TABLE {d} RENAME TO e"),
            format!("CREATE SCHEMA {c}.z"),
            format!("ALTER TABLE {c}.s.e RENAME TO {c}.z.e"),
        ],
    )
    .await?;
    ensure!(texts(client, &format!("SELECT * FROM {c}.z.e")).await? == [["7", "new", "NULL"]]);
    ensure!(client.failure(&format!("SELECT * FROM {d}")).await?.code() == Code::NotFound);
    ensure!(logs_below(warehouse)?.len() == 1);
    Ok(())
}

/// What is dropped stays where it was, unless it is purged; the name is free for another.
async fn dropped(client: &mut Client, (c, d): (&str, &str), warehouse: &Path, root: &str) -> Result<()> {
    run(client, &[format!("DROP TABLE {c}.z.e")]).await?;
    ensure!(logs_below(warehouse)?.len() == 1);
    ensure!(by_deltalake(root).await? == json!([["7", "new"]]));
    update(
        client,
        &format!("CREATE TABLE {d} USING delta AS SELECT 8 AS id, 'x' AS name"),
    )
    .await?;
    ensure!(texts(client, &format!("SELECT * FROM {d}")).await? == [["8", "x"]]);
    ensure!(logs_below(warehouse)?.len() == 2);
    let failure = client.failure(&format!("DROP SCHEMA {c}.s")).await?;
    ensure!(failure.code() == Code::InvalidArgument, "{failure:?}");
    run(
        client,
        &[
            format!("DROP TABLE {d} PURGE"),
            format!("DROP TABLE IF EXISTS {d}"),
            format!("DROP SCHEMA {c}.s CASCADE"),
            format!("DROP SCHEMA {c}.z"),
            format!("CREATE SCHEMA {c}.s"),
        ],
    )
    .await?;
    let left = format!("SELECT table_name FROM {c}.information_schema.tables WHERE table_schema = 's'");
    ensure!(texts(client, &left).await?.is_empty(), "CASCADE has left something");
    run(client, &[format!("DROP SCHEMA {c}.s")]).await?;
    ensure!(logs_below(warehouse)?.len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_in_sqlite() -> Result<()> {
    let data = tempfile::tempdir()?;
    let database = data.path().join("catalog.db");
    let section = format!(
        "[catalogs.both]\ntype = \"iceberg-sql\"\nuri = \"sqlite://{0}\"\nwarehouse = \"file://{1}\"\n\
         [catalogs.first]\ntype = \"iceberg-sql\"\nuri = \"sqlite://{0}\"\nwarehouse = \"file://{1}\"\n\
         default_format = \"delta\"\n[catalogs.delta]\ntype = \"delta\"\nroot = \"file://{1}/folder\"\n",
        database.display(),
        data.path().display()
    );
    let lake = Lake::embedded().section(&section).start().await?;
    let mut client = lake.client().await?;
    let pyiceberg = json!({"type": "sql", "uri": format!("sqlite:///{}", database.display()), "name": "both"});
    story(&mut client, "both", (data.path(), pyiceberg)).await?;

    run(
        &mut client,
        &[
            "CREATE SCHEMA first.s".to_owned(),
            "CREATE TABLE first.s.t (id BIGINT)".to_owned(),
        ],
    )
    .await?;
    update(&mut client, "CREATE TABLE first.s.i USING iceberg AS SELECT 1 AS id").await?;
    ensure!(logs_below(data.path())?.len() == 2, "one more Delta table");
    let failure = client
        .failure("CREATE TABLE first.s.x USING parquet AS SELECT 1 AS id")
        .await?;
    ensure!(
        failure.code() == Code::Unimplemented && failure.message().contains("USING"),
        "{failure:?}"
    );
    let failure = client
        .failure("CREATE TABLE delta.s.x USING iceberg AS SELECT 1 AS id")
        .await?;
    ensure!(
        failure.code() == Code::Unimplemented && failure.message().contains("Delta tables"),
        "{failure:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_in_postgresql() -> Result<()> {
    let postgres = Postgres::start().await?;
    let data = tempfile::tempdir()?;
    let section = format!(
        "[catalogs.both]\ntype = \"iceberg-sql\"\nuri = \"postgresql://{}\"\nwarehouse = \"file://{}\"\n",
        postgres.authority,
        data.path().display()
    );
    let lake = Lake::embedded().section(&section).start().await?;
    let uri = format!("postgresql+psycopg2://{}", postgres.authority);
    let pyiceberg = json!({"type": "sql", "uri": uri, "name": "both"});
    let mut client = lake.client().await?;
    story(&mut client, "both", (data.path(), pyiceberg)).await
}
