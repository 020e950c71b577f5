//! Views that a catalog keeps: what they show, whoever asks, and what becomes of them when their tables change.

use anyhow::{Result, ensure};
use harness::{Client, Lake, Minio, RestCatalog, python};
use serde_json::json;
use tonic::Code;

use super::{texts, update};

async fn run(client: &mut Client, statements: &[String]) -> Result<()> {
    for sql in statements {
        client.query(sql).await.map_err(|error| error.context(sql.clone()))?;
    }
    Ok(())
}

/// The failure of a statement, whose message must speak of `about`.
async fn refused(client: &mut Client, sql: &str, code: Code, about: &str) -> Result<()> {
    let failure = client.failure(sql).await?;
    ensure!(
        failure.code() == code && failure.message().contains(about),
        "{sql}: {failure:?}"
    );
    Ok(())
}

/// What people wrote about the view `s.named`.
async fn comments(client: &mut Client, c: &str) -> Result<()> {
    let listed = format!(
        "SELECT column_name, comment FROM information_schema.comments WHERE table_catalog = '{c}' \
         AND table_schema = 's' AND table_name = 'named' ORDER BY 1"
    );
    let before = texts(client, &listed).await?;
    ensure!(before == [["Key", "the id"], ["NULL", "two columns"]], "{before:?}");
    run(client, &[format!("COMMENT ON VIEW {c}.s.named IS 'it''s named'")]).await?;
    let after = texts(client, &listed).await?;
    ensure!(after == [["Key", "the id"], ["NULL", "it's named"]], "{after:?}");
    run(client, &[format!("COMMENT ON VIEW {c}.s.named IS NULL")]).await?;
    ensure!(texts(client, &listed).await? == [["Key", "the id"]]);
    refused(
        client,
        &format!("COMMENT ON VIEW {c}.s.t IS 'x'"),
        Code::InvalidArgument,
        "is a table",
    )
    .await?;
    refused(
        client,
        &format!("COMMENT ON VIEW {c}.s.nothing IS 'x'"),
        Code::NotFound,
        "nothing",
    )
    .await
}

/// The same story in a catalog named `c`.
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn story(client: &mut Client, c: &str) -> Result<()> {
    run(
        client,
        &[
            format!("CREATE SCHEMA {c}.s"),
            format!("CREATE SCHEMA {c}.other"),
            format!("CREATE TABLE {c}.s.t (id BIGINT, name STRING, amount DECIMAL(10, 2))"),
            format!("INSERT INTO {c}.s.t VALUES (1, 'one', 1.5), (2, NULL, 2), (3, 'three', NULL)"),
            format!("CREATE VIEW {c}.s.everything AS SELECT * FROM {c}.s.t -- all of it;"),
            format!(
                "CREATE OR REPLACE VIEW {c}.s.named (\"Key\" COMMENT 'the id', what) COMMENT 'two columns' \
                 AS SELECT id, coalesce(name, 'as (none)') FROM {c}.s.everything WHERE id > 1"
            ),
            format!("CREATE VIEW IF NOT EXISTS {c}.s.named AS SELECT 1 AS x"),
        ],
    )
    .await?;
    let all = format!("SELECT * FROM {c}.s.everything ORDER BY id");
    let three = [["1", "one", "1.50"], ["2", "NULL", "2.00"], ["3", "three", "NULL"]];
    ensure!(texts(client, &all).await? == three);
    let named = format!("SELECT \"Key\", what FROM {c}.s.named ORDER BY 1");
    ensure!(texts(client, &named).await? == [["2", "as (none)"], ["3", "three"]]);
    let joined = format!(
        "SELECT count(*) FROM {c}.s.named n JOIN {c}.s.everything e ON n.\"Key\" = e.id JOIN {c}.s.t t ON t.id = e.id"
    );
    ensure!(texts(client, &joined).await? == [["2"]]);

    // What there is.
    let listed = texts(
        client,
        &format!(
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_catalog = '{c}' \
                  AND table_schema = 's' ORDER BY 1"
        ),
    )
    .await?;
    ensure!(listed == [["everything", "VIEW"], ["named", "VIEW"], ["t", "BASE TABLE"]]);
    let definition = texts(client, &format!("SHOW CREATE VIEW {c}.s.everything")).await?;
    ensure!(
        definition == [[c, "s", "everything", &format!("SELECT * FROM {c}.s.t -- all of it")]],
        "{definition:?}"
    );
    let shown = texts(client, &format!("SHOW VIEWS IN {c}.s LIKE 'n%'")).await?;
    ensure!(shown.len() == 1 && shown[0][2] == "named", "{shown:?}");
    let columns = texts(client, &format!("DESCRIBE {c}.s.named")).await?;
    ensure!(
        columns.iter().map(|column| column[0].as_str()).eq(["Key", "what"]),
        "{columns:?}"
    );
    let columns = texts(
        client,
        &format!(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_catalog = '{c}' \
                  AND table_schema = 's' AND table_name = 'named' ORDER BY ordinal_position"
        ),
    )
    .await?;
    ensure!(columns == [["Key", "BIGINT"], ["what", "VARCHAR"]]);

    comments(client, c).await?;

    // A column more changes nothing; names mean what they meant.
    run(client, &[format!("ALTER TABLE {c}.s.t ADD COLUMN more BIGINT FIRST")]).await?;
    ensure!(texts(client, &all).await? == three);
    update(client, &format!("INSERT INTO {c}.s.t (id) VALUES (4)")).await?;
    ensure!(texts(client, &named).await?.len() == 3);
    update(client, &format!("DELETE FROM {c}.s.t WHERE id = 4")).await?;

    // Both kinds keep out of each other's way.
    let (t, v) = (format!("{c}.s.t"), format!("{c}.s.named"));
    refused(
        client,
        &format!("CREATE VIEW {v} AS SELECT 1 AS x"),
        Code::AlreadyExists,
        "view",
    )
    .await?;
    refused(
        client,
        &format!("CREATE OR REPLACE VIEW {t} AS SELECT 1 AS x"),
        Code::AlreadyExists,
        "table",
    )
    .await?;
    refused(
        client,
        &format!("CREATE TABLE {v} (x INT)"),
        Code::AlreadyExists,
        "view",
    )
    .await?;
    refused(
        client,
        &format!("CREATE TABLE {v} AS SELECT 1 AS x"),
        Code::AlreadyExists,
        "view",
    )
    .await?;
    refused(
        client,
        &format!("CREATE OR REPLACE TABLE {v} (x INT)"),
        Code::InvalidArgument,
        "is a view",
    )
    .await?;
    refused(client, &format!("DROP TABLE {v}"), Code::InvalidArgument, "is a view").await?;
    refused(client, &format!("DROP VIEW {t}"), Code::InvalidArgument, "is a table").await?;
    refused(
        client,
        &format!("ALTER TABLE {v} ADD COLUMN x INT"),
        Code::InvalidArgument,
        "is a view",
    )
    .await?;
    refused(
        client,
        &format!("SELECT * FROM {v} FOR VERSION AS OF 1"),
        Code::Unimplemented,
        "no versions",
    )
    .await?;
    refused(
        client,
        &format!("SELECT * FROM {v}$files"),
        Code::Unimplemented,
        "is a view",
    )
    .await?;
    for sql in [
        format!("INSERT INTO {v} VALUES (1, 'x')"),
        format!("DELETE FROM {v}"),
        format!("UPDATE {v} SET what = 'x'"),
    ] {
        let failure = client.failure(&sql).await?;
        ensure!(failure.code() == Code::Unimplemented, "{sql}: {failure:?}");
    }
    refused(
        client,
        &format!("CREATE VIEW {c}.nowhere.v AS SELECT 1 AS x"),
        Code::NotFound,
        "nowhere",
    )
    .await?;
    refused(
        client,
        &format!("CREATE VIEW {c}.s.p AS SELECT ? AS x"),
        Code::InvalidArgument,
        "parameters",
    )
    .await?;
    refused(
        client,
        &format!("CREATE VIEW {c}.s.p AS SELECT 1 AS x, 2 AS x"),
        Code::InvalidArgument,
        "x",
    )
    .await?;
    refused(
        client,
        &format!("CREATE VIEW {c}.s.p (a) AS SELECT 1, 2"),
        Code::InvalidArgument,
        "columns",
    )
    .await?;
    refused(
        client,
        &format!("CREATE VIEW {c}.s.p AS SELECT * FROM {c}.s.nothing"),
        Code::NotFound,
        "nothing",
    )
    .await?;

    // No view is built on itself, also not through others.
    let own = format!("CREATE OR REPLACE VIEW {c}.s.everything AS SELECT * FROM {c}.s.named");
    refused(client, &own, Code::InvalidArgument, "built on itself").await?;
    let mut deep = vec![format!("CREATE VIEW {c}.other.v0 AS SELECT id FROM {c}.s.t")];
    deep.extend((1..8).map(|n| {
        format!(
            "CREATE VIEW {c}.other.v{n} AS SELECT id + 1 AS id FROM {c}.other.v{}",
            n - 1
        )
    }));
    run(client, &deep).await?;
    ensure!(texts(client, &format!("SELECT sum(id) FROM {c}.other.v7")).await? == [["27"]]);
    let deeper = format!("CREATE VIEW {c}.other.v8 AS SELECT * FROM {c}.other.v7");
    refused(client, &deeper, Code::InvalidArgument, "more than 8 views").await?;

    // Types that no longer fit are an error, and never other rows.
    run(
        client,
        &[
            format!("CREATE OR REPLACE TABLE {c}.s.t (name STRING, id STRING, amount DECIMAL(10, 2))"),
            format!("INSERT INTO {c}.s.t VALUES ('one', 'x', 1.5)"),
        ],
    )
    .await?;
    refused(client, &all, Code::InvalidArgument, "in its column id").await?;
    run(
        client,
        &[
            format!("CREATE OR REPLACE TABLE {c}.s.t (name STRING, id INT, amount DECIMAL(8, 2))"),
            format!("INSERT INTO {c}.s.t VALUES ('one', 1, 1.5)"),
        ],
    )
    .await?;
    let sql = format!("SELECT id, name, amount FROM {c}.s.t");
    ensure!(texts(client, &sql).await? == [["1", "one", "1.50"]]);
    let types = format!("SELECT arrow_typeof(id), arrow_typeof(amount) FROM {c}.s.t");
    let types = texts(client, &types).await?;
    ensure!(types == [["Int32", "Decimal128(8, 2)"]], "{types:?}");
    ensure!(texts(client, &all).await? == [["1", "one", "1.50"]]);
    run(client, &[format!("ALTER TABLE {c}.s.t DROP COLUMN amount")]).await?;
    refused(client, &all, Code::InvalidArgument, "column amount").await?;
    run(
        client,
        &[
            format!("CREATE OR REPLACE VIEW {c}.s.everything AS SELECT row_number() OVER () AS n, NULL AS nothing"),
            format!("ALTER VIEW {c}.s.everything RENAME TO {c}.other.all"),
            format!("ALTER VIEW IF EXISTS {c}.s.everything RENAME TO {c}.other.all"),
        ],
    )
    .await?;
    ensure!(texts(client, &format!("SELECT * FROM {c}.other.\"all\"")).await? == [["1", "NULL"]]);
    refused(client, &named, Code::NotFound, "everything").await?;
    refused(
        client,
        &format!("DROP SCHEMA {c}.s"),
        Code::InvalidArgument,
        "not empty",
    )
    .await?;
    let mut drops = vec![
        format!("DROP VIEW {c}.s.named, {c}.other.\"all\""),
        format!("DROP VIEW IF EXISTS {c}.s.named"),
    ];
    drops.extend((0..8).map(|n| format!("DROP VIEW {c}.other.v{n}")));
    drops.extend([
        format!("DROP TABLE {c}.s.t"),
        format!("DROP SCHEMA {c}.s"),
        format!("DROP SCHEMA {c}.other"),
    ]);
    run(client, &drops).await?;
    refused(client, &format!("DROP VIEW {c}.s.named"), Code::NotFound, "named").await
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_a_sqlite_catalog() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    story(&mut client, "lake").await
}

#[tokio::test(flavor = "multi_thread")]
async fn views_of_a_rest_catalog() -> Result<()> {
    let minio = Minio::start().await?;
    let rest = RestCatalog::start(&minio).await?;
    let lake = Lake::embedded()
        .section(&rest.section())
        .section(&minio.storage())
        .start()
        .await?;
    let mut client = lake.client().await?;
    story(&mut client, "rest").await?;

    // Iceberg's own library keeps what Lakewing made, and Lakewing reads what another engine made.
    run(
        &mut client,
        &[
            "CREATE SCHEMA rest.s".to_owned(),
            "CREATE TABLE rest.s.t AS SELECT 1 AS id, 'x' AS name".to_owned(),
            "CREATE VIEW rest.s.v COMMENT 'one' AS SELECT id FROM rest.s.t".to_owned(),
            "CREATE OR REPLACE VIEW rest.s.v (k COMMENT 'key') AS SELECT id FROM rest.s.t".to_owned(),
        ],
    )
    .await?;
    let metadata = python("rest_view.py", request(&rest, "v", json!(null))).await?;
    ensure!(metadata["current-version-id"] == 2 && metadata["versions"].as_array().is_some_and(|all| all.len() == 2));
    let second = &metadata["versions"][1];
    ensure!(
        second["representations"] == json!([{"type": "sql", "sql": "SELECT id FROM rest.s.t", "dialect": "lakewing"}]),
        "{metadata}"
    );
    ensure!(
        second["default-catalog"] == "rest" && metadata["properties"].get("comment").is_none(),
        "{metadata}"
    );
    replaced_by_what_was(&mut client).await?;
    made_by_spark(&mut client, &rest).await
}

/// A view replaced by itself, by another query of the same columns, and by what it was before.
async fn replaced_by_what_was(client: &mut Client) -> Result<()> {
    for (query, rows) in [
        ("SELECT 1 AS x", "1"),
        ("SELECT 1 AS x", "1"),
        ("SELECT 2 AS x", "2"),
        ("SELECT 1 AS x", "1"),
        ("SELECT 'a' AS y", "a"),
        ("SELECT 2 AS x", "2"),
    ] {
        let sql = format!("CREATE OR REPLACE VIEW rest.s.again AS {query}");
        client.query(&sql).await.map_err(|error| error.context(sql))?;
        let found = texts(client, "SELECT * FROM rest.s.again").await?;
        ensure!(found == [[rows]], "{query}: {found:?}");
    }
    Ok(())
}

/// What PyIceberg's session is asked to do with a view of the schema `s`.
fn request(rest: &RestCatalog, view: &str, create: serde_json::Value) -> serde_json::Value {
    json!({
        "uri": rest.uri, "credential": RestCatalog::CREDENTIAL, "namespace": "s", "view": view, "create": create,
    })
}

/// Views in Spark's dialect over `rest.s.t`.
async fn made_by_spark(client: &mut Client, rest: &RestCatalog) -> Result<()> {
    let of_spark = |sql: &str, catalog: &str, data_type: &str| {
        json!({
            "name": "made", "properties": {},
            "schema": {"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "a b", "required": false, "type": data_type},
            ]},
            "view-version": {
                "version-id": 1, "schema-id": 0, "timestamp-ms": 1_700_000_000_000_i64, "summary": {},
                "representations": [{"type": "sql", "sql": sql, "dialect": "spark"}],
                "default-catalog": catalog, "default-namespace": ["s"],
            },
        })
    };
    let with_name = |name: &str, mut view: serde_json::Value| {
        view["name"] = json!(name);
        request(rest, name, view)
    };
    let sql = "SELECT name AS `a b` FROM t";
    python("rest_view.py", with_name("made", of_spark(sql, "rest", "string"))).await?;
    ensure!(texts(client, "SELECT \"a b\" FROM rest.s.made").await? == [["x"]]);
    python(
        "rest_view.py",
        with_name("elsewhere", of_spark(sql, "spark_catalog", "string")),
    )
    .await?;
    refused(
        client,
        "SELECT * FROM rest.s.elsewhere",
        Code::InvalidArgument,
        "spark_catalog",
    )
    .await?;
    // Spark divides whole numbers into fractions.
    python(
        "rest_view.py",
        with_name("divided", of_spark("SELECT id / 2 AS x FROM t", "rest", "double")),
    )
    .await?;
    refused(client, "SELECT * FROM rest.s.divided", Code::InvalidArgument, "a b").await?;
    let unknown = of_spark("FROM t SELECT TRANSFORM (id) USING 'cat'", "rest", "string");
    python("rest_view.py", with_name("unknown", unknown)).await?;
    refused(client, "SELECT * FROM rest.s.unknown", Code::InvalidArgument, "spark").await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_in_views_are_those_of_who_made_them() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    client.login("anyone", "").await?;
    run(
        &mut client,
        &[
            "CREATE SCHEMA a".to_owned(),
            "CREATE SCHEMA b".to_owned(),
            "CREATE TABLE a.t AS SELECT 'a' AS x".to_owned(),
            "CREATE TABLE b.t AS SELECT 'b' AS x".to_owned(),
            "USE a".to_owned(),
            "CREATE VIEW v AS SELECT x FROM t".to_owned(),
            "CREATE TEMPORARY VIEW mine AS SELECT 'mine' AS x".to_owned(),
        ],
    )
    .await?;
    refused(
        &mut client,
        "CREATE VIEW w AS SELECT * FROM mine",
        Code::NotFound,
        "mine",
    )
    .await?;
    refused(
        &mut client,
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        Code::InvalidArgument,
        "v",
    )
    .await?;
    run(&mut client, &["USE b".to_owned()]).await?;
    ensure!(texts(&mut client, "SELECT * FROM a.v").await? == [["a"]]);
    ensure!(texts(&mut client, "SELECT * FROM t").await? == [["b"]]);
    run(&mut client, &["DROP VIEW mine".to_owned(), "DROP VIEW a.v".to_owned()]).await
}
