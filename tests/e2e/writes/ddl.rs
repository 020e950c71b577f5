//! Tables that Lakewing makes and changes, and other engines fill and read, in every kind of Iceberg catalog.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use arrow_flight::Action;
use harness::{Cell, Client, Lake, Minio, RestCatalog, python, rows};
use serde_json::{Value, json};
use tonic::Code;

/// One table as PyIceberg and DuckDB see it.
struct Other {
    catalog: Value,
    table: &'static str,
}

impl Other {
    async fn answers(&self, steps: Value) -> Result<Vec<Value>> {
        let request = json!({"catalog": self.catalog, "table": self.table, "do": steps});
        let answers = python("iceberg_table.py", request).await?;
        Ok(answers.as_array().cloned().unwrap_or_default())
    }
}

async fn run(client: &mut Client, statements: &[&str]) -> Result<()> {
    for sql in statements {
        client.query(sql).await?;
    }
    Ok(())
}

async fn texts(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>> {
    let text = |cell: &Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::Float(number) => number.to_string(),
    };
    let found = rows(&client.query(sql).await?)?;
    Ok(found.iter().map(|row| row.iter().map(text).collect()).collect())
}

/// How many temporary tables of a catalog have files.
fn temporary(data: &Path, catalog: &str) -> Result<usize> {
    let schema = data.join(catalog).join("lakewing_temporary");
    let (mut found, mut folders) = (BTreeSet::new(), vec![schema.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let table = path.strip_prefix(&schema)?.components().next();
            found.insert(table.map(|table| table.as_os_str().to_owned()));
        }
    }
    Ok(found.len())
}

/// Ends the client's session.
async fn close(client: &mut Client) -> Result<()> {
    let mut close = tonic::Request::new(Action::new("CloseSession", ""));
    let token = format!("Bearer {}", client.raw().token().context("no session")?);
    close.metadata_mut().insert("authorization", token.parse()?);
    let answer = client.raw().inner_mut().do_action(close).await?;
    answer.into_inner().message().await?;
    Ok(())
}

/// Temporary tables are their session's alone, and go with it.
#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_go_with_their_session() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let (mut one, mut other) = (lake.client().await?, lake.client().await?);
    let failure = one.failure("CREATE TEMP TABLE t (a INT)").await?;
    ensure!(failure.message().contains("log"), "{failure:?}");
    one.login("one", "").await?;
    other.login("other", "").await?;
    for catalog in ["lake", "delta"] {
        let schema = format!("CREATE SCHEMA {catalog}.s");
        let table = format!("CREATE TABLE {catalog}.s.first (a INT)");
        let uses = format!("USE {catalog}.s");
        let made = "CREATE TEMP TABLE t AS SELECT 1 AS a UNION ALL SELECT 2";
        run(&mut one, &[&schema, &table, &uses, made, "INSERT INTO t VALUES (3)"]).await?;
        run(&mut other, &[&uses]).await?;
        // The other session knows nothing of it, and may have its own.
        ensure!(other.failure("SELECT * FROM t").await?.code() == Code::NotFound);
        run(&mut other, &["CREATE TABLE t AS SELECT 'mine' AS b"]).await?;
        ensure!(texts(&mut one, "SELECT sum(a) FROM t").await? == [["6"]]);
        ensure!(texts(&mut other, "SELECT b FROM t").await? == [["mine"]]);
        ensure!(texts(&mut one, &format!("SELECT b FROM {catalog}.s.t")).await? == [["mine"]]);
        run(&mut one, &["DROP TABLE IF EXISTS u", "CREATE TEMP TABLE u (a INT)"]).await?;
        run(&mut one, &["INSERT INTO u SELECT a FROM t", "DROP TABLE t"]).await?;
        ensure!(texts(&mut one, "SELECT b FROM t").await? == [["mine"]]);
        ensure!(texts(&mut one, "SELECT count(*) FROM u").await? == [["3"]]);
        let left = temporary(data.path(), catalog)?;
        ensure!(left == 1, "{catalog}: the dropped table has left files");
        let schemas = texts(&mut other, "SHOW SCHEMAS").await?.concat();
        ensure!(!schemas.contains(&"lakewing_temporary".to_owned()), "{schemas:?}");
        if catalog == "lake" {
            // What a catalog keeps cannot be built on what goes.
            let failure = one.failure("CREATE VIEW v AS SELECT a FROM u").await?;
            ensure!(failure.code() == Code::NotFound, "{failure:?}");
        }
    }
    close(&mut one).await?;
    let left = temporary(data.path(), "lake")? + temporary(data.path(), "delta")?;
    ensure!(left == 0, "a closed session has left the files of {left} tables");
    let id = "0123456789abcdef0123456789abcdef";
    let view = format!("CREATE VIEW lake.lakewing_temporary.\"100000_{id}\" AS SELECT 1 AS a");
    let failure = other.failure(&view).await?;
    ensure!(failure.code() == Code::Unimplemented, "{failure:?}");
    Ok(())
}

/// The same story in a catalog named `name`; `duckdb` where DuckDB can reach the files.
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn story(client: &mut Client, name: &str, catalog: Value, duckdb: bool) -> Result<()> {
    let other = Other {
        catalog: catalog.clone(),
        table: "s.t",
    };
    let t = format!("{name}.s.t");
    run(
        client,
        &[
            &format!("CREATE SCHEMA {name}.s WITH (owner = 'us')"),
            &format!("CREATE SCHEMA IF NOT EXISTS {name}.s"),
            &format!(
                "CREATE TABLE {t} (id BIGINT NOT NULL COMMENT 'the key', name STRING, at TIMESTAMP, small INT, \
             p STRUCT<x INT, y STRING>) PARTITIONED BY (day(at)) SORTED BY (id DESC) COMMENT 'rows' \
             TBLPROPERTIES ('owner' = 'us')"
            ),
            &format!("CREATE TABLE IF NOT EXISTS {t} (a INT)"),
        ],
    )
    .await?;
    let failure = client.failure(&format!("CREATE TABLE {t} (a INT)")).await?;
    assert_eq!(failure.code(), Code::AlreadyExists, "{failure:?}");
    assert!(texts(client, &format!("SELECT * FROM {t}")).await?.is_empty());

    let row = |id: i64| json!({"id": id, "name": format!("n{id}"), "at": null, "small": id, "p": {"x": id, "y": "z"}});
    let answers = other
        .answers(json!([["columns"], ["spec"], ["order"], ["properties"], ["namespace"]]))
        .await?;
    assert_eq!(
        answers[0],
        json!([
            ["id", "long", true, "the key"],
            ["name", "string", false, null],
            ["at", "timestamp", false, null],
            ["small", "int", false, null],
            ["p", "struct<6: x: optional int, 7: y: optional string>", false, null],
        ])
    );
    assert_eq!(answers[1], json!([["at_day", "day"]]));
    assert_eq!(answers[2], json!([["identity", "desc", "nulls-last"]]));
    assert_eq!(answers[3]["owner"], "us");
    assert_eq!(answers[3]["comment"], "rows");
    assert_eq!(answers[4]["owner"], "us");
    // PyIceberg writes to identity partitions only.
    let identity = format!("ALTER TABLE {t} REPLACE PARTITION FIELD day(at) WITH small");
    run(client, &[&identity]).await?;
    other.answers(json!([["append", [row(1), row(2)]]])).await?;
    assert_eq!(
        texts(client, &format!("SELECT id, name, p['y'] FROM {t} ORDER BY id")).await?,
        [["1", "n1", "z"], ["2", "n2", "z"]]
    );

    // The rows stay as they are, whatever becomes of the columns.
    run(
        client,
        &[
            &format!("ALTER TABLE {t} ADD COLUMN note STRING COMMENT 'more' AFTER id"),
            &format!("ALTER TABLE {t} RENAME COLUMN name TO title"),
            &format!("ALTER TABLE {t} ALTER COLUMN small TYPE BIGINT"),
            &format!("ALTER TABLE {t} ADD COLUMN p.z DOUBLE"),
            &format!("ALTER TABLE {t} RENAME COLUMN p.y TO why"),
            &format!("ALTER TABLE {t} ALTER COLUMN small FIRST"),
            &format!("ALTER TABLE {t} ALTER COLUMN id DROP NOT NULL"),
            &format!("ALTER TABLE {t} ALTER COLUMN id SET NOT NULL"),
            &format!("ALTER TABLE {t} SET TBLPROPERTIES ('a' = 'b')"),
            &format!("ALTER TABLE {t} UNSET TBLPROPERTIES ('owner')"),
            &format!("ALTER TABLE {t} ADD PARTITION FIELD truncate(title, 1) AS initial"),
            &format!("ALTER TABLE {t} DROP COLUMN at"),
            &format!("COMMENT ON TABLE {t} IS 'other rows'"),
            &format!("COMMENT ON COLUMN {t}.id IS NULL"),
        ],
    )
    .await?;
    let failure = client
        .failure(&format!("ALTER TABLE {t} ALTER COLUMN note SET NOT NULL"))
        .await?;
    assert_eq!(failure.code(), Code::InvalidArgument, "{failure:?}");
    let failure = client.failure(&format!("ALTER TABLE {t} DROP COLUMN title")).await?;
    assert!(failure.message().contains("partition"), "{failure:?}");
    let failure = client
        .failure(&format!("ALTER TABLE {t} ALTER COLUMN small TYPE INT"))
        .await?;
    assert!(failure.message().contains("widens to no such type"), "{failure:?}");

    let old = |id: i64| json!({"small": id, "id": id, "note": null, "title": format!("n{id}"), "p": {"x": id, "why": "z", "z": null}});
    let answers = other
        .answers(json!([["columns"], ["rows"], ["properties"], ["spec"]]))
        .await?;
    let columns: Vec<&Value> = answers[0]
        .as_array()
        .into_iter()
        .flatten()
        .map(|column| &column[0])
        .collect();
    assert_eq!(columns, ["small", "id", "note", "title", "p"]);
    assert_eq!(answers[1], json!([old(1), old(2)]));
    assert_eq!(
        (&answers[2]["a"], &answers[2]["comment"]),
        (&json!("b"), &json!("other rows"))
    );
    assert_eq!(answers[2].get("owner"), None);
    assert_eq!(answers[3], json!([["small", "identity"], ["initial", "truncate[1]"]]));
    if duckdb {
        assert_eq!(other.answers(json!([["duckdb"]])).await?[0], json!([old(1), old(2)]));
    }
    assert_eq!(
        texts(
            client,
            &format!("SELECT small, id, note, title, p['why'], p['z'] FROM {t} ORDER BY id")
        )
        .await?,
        [
            ["1", "1", "NULL", "n1", "z", "NULL"],
            ["2", "2", "NULL", "n2", "z", "NULL"]
        ]
    );

    // A name that is free again belongs to a new column.
    run(
        client,
        &[
            &format!("ALTER TABLE {t} DROP PARTITION FIELD initial"),
            &format!("ALTER TABLE {t} ADD COLUMN name STRING"),
        ],
    )
    .await?;
    let new = json!({"small": 3, "id": 3, "note": "new", "title": "n3", "p": null, "name": "own"});
    other.answers(json!([["append", [new]]])).await?;
    assert_eq!(
        texts(client, &format!("SELECT id, name, title FROM {t} ORDER BY id")).await?,
        [["1", "NULL", "n1"], ["2", "NULL", "n2"], ["3", "own", "n3"]]
    );

    // Branches and tags.
    run(
        client,
        &[
            &format!("ALTER TABLE {t} CREATE TAG three"),
            &format!("ALTER TABLE {t} CREATE BRANCH audit"),
            &format!("ALTER TABLE {t} CREATE BRANCH IF NOT EXISTS audit"),
            &format!("ALTER TABLE {t} FAST FORWARD main TO audit"),
        ],
    )
    .await?;
    assert_eq!(
        texts(client, &format!("SELECT count(*) FROM {t} FOR VERSION AS OF 'three'")).await?,
        [["3"]]
    );
    run(
        client,
        &[
            &format!("ALTER TABLE {t} DROP BRANCH audit"),
            &format!("ALTER TABLE {t} DROP TAG three"),
        ],
    )
    .await?;

    // Another table in its place, with the same history.
    run(
        client,
        &[&format!(
            "CREATE OR REPLACE TABLE {t} (id STRING, v DOUBLE) TBLPROPERTIES ('k' = 'v')"
        )],
    )
    .await?;
    assert!(texts(client, &format!("SELECT id, v FROM {t}")).await?.is_empty());
    let answers = other
        .answers(json!([["columns"], ["snapshots"], ["append", [{"id": "x", "v": 1.5}]], ["rows"]]))
        .await?;
    assert_eq!(
        answers[0],
        json!([["id", "string", false, null], ["v", "double", false, null]])
    );
    assert_eq!(answers[1], 2);
    assert_eq!(answers[3], json!([{"id": "x", "v": 1.5}]));
    assert_eq!(texts(client, &format!("SELECT id, v FROM {t}")).await?, [["x", "1.5"]]);
    let counted = texts(client, &format!("ANALYZE {t}")).await?;
    assert_eq!(counted, [["id", "1"], ["v", "1"]]);

    run(client, &[&format!("ALTER TABLE {t} RENAME TO u")]).await?;
    assert_eq!(texts(client, &format!("SELECT id FROM {name}.s.u")).await?, [["x"]]);
    assert_eq!(other.answers(json!([["exists"]])).await?, [json!(false)]);
    let failure = client.failure(&format!("DROP SCHEMA {name}.s")).await?;
    assert_eq!(failure.code(), Code::InvalidArgument, "{failure:?}");
    run(
        client,
        &[
            &format!("DROP TABLE {name}.s.u PURGE"),
            &format!("DROP TABLE IF EXISTS {name}.s.u"),
            &format!("DROP SCHEMA {name}.s"),
            &format!("DROP SCHEMA IF EXISTS {name}.s"),
        ],
    )
    .await?;
    let failure = client.failure(&format!("DROP TABLE {name}.s.u")).await?;
    assert_eq!(failure.code(), Code::NotFound, "{failure:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_sqlite_catalog() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let uri = format!("sqlite:///{}", data.path().join("catalog.db").display());
    let catalog = json!({"type": "sql", "uri": uri, "name": "lake"});
    let mut client = lake.client().await?;
    story(&mut client, "lake", catalog, true).await?;
    // A purge leaves nothing behind.
    let mut folders = vec![data.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder)? {
            let path = file?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => ensure!(
                    !path.extension().is_some_and(|kind| kind == "parquet" || kind == "avro"),
                    "{} stays behind",
                    path.display()
                ),
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_rest_catalog() -> Result<()> {
    let minio = Minio::start().await?;
    let rest = RestCatalog::start(&minio).await?;
    let lake = Lake::embedded()
        .section(&rest.section())
        .section(&minio.storage())
        .start()
        .await?;
    let catalog = json!({
        "name": "rest", "type": "rest", "uri": rest.uri, "credential": RestCatalog::CREDENTIAL,
        "s3.endpoint": minio.endpoint, "s3.region": "us-east-1",
        "s3.access-key-id": Minio::ACCESS_KEY, "s3.secret-access-key": Minio::SECRET_KEY,
    });
    story(&mut lake.client().await?, "rest", catalog, false).await
}
