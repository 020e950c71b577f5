//! Who may do what: every kind of statement with and without the privilege, on both formats, in an SQL and a REST
//! catalog, and what a second server makes of it at once.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    CommandGetTables, CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use futures::{TryStreamExt, stream};
use harness::{Client, Lake, LakeBuilder, Minio, RestCatalog};
use tonic::{Code, Status};

use super::owners::life_of_grants;
use super::texts;

const USERS: &str = r#"[auth]
mode = "basic"
users = { root = "root", alice = "alice", bob = "bob", carol = "carol" }
secret = "0123456789abcdef"
[access]
enabled = true
admins = ["root"]
"#;

pub(super) fn house() -> LakeBuilder {
    Lake::embedded()
        .section(USERS)
        .section("[access.catalogs.lake]\ncreate = [\"alice\"]")
}

pub(super) async fn login(address: SocketAddr, user: &str) -> Result<Client> {
    let mut client = Client::connect(address).await?;
    client.login(user, user).await?;
    Ok(client)
}

pub(super) async fn run(client: &mut Client, statements: &[&str]) -> Result<()> {
    for sql in statements {
        client
            .query(sql)
            .await
            .map_err(|error| error.context(sql.to_string()))?;
    }
    Ok(())
}

/// The statement fails with this code, and its message has these words.
pub(super) async fn refused(client: &mut Client, sql: &str, code: Code, about: &str) -> Result<()> {
    let failure = client.failure(sql).await?;
    ensure!(
        failure.code() == code && failure.message().contains(about),
        "{sql}: {failure:?}"
    );
    Ok(())
}

/// It is refused since the user lacks something, in words and with the state that programs look for.
pub(super) async fn denied(client: &mut Client, sql: &str, about: &str) -> Result<()> {
    let failure = client.failure(sql).await?;
    let state = failure.metadata().get("x-lakewing-sqlstate");
    ensure!(
        failure.code() == Code::PermissionDenied
            && failure.message().contains(about)
            && state.is_some_and(|state| state == "42501"),
        "{sql}: {failure:?}"
    );
    Ok(())
}

pub(super) async fn is(client: &mut Client, sql: &str, expect: &[&[&str]]) -> Result<()> {
    let found = texts(client, sql).await?;
    ensure!(found == expect, "{sql}: {found:?}");
    Ok(())
}

/// Every kind of statement about the table `@`, which may also be one that there is not.
const ABOUT: &[&str] = &[
    "SELECT * FROM @",
    "SELECT count(*) FROM @",
    "SELECT 1 WHERE EXISTS (SELECT 1 FROM @)",
    "WITH a AS (SELECT * FROM @) SELECT * FROM a",
    "SELECT * FROM @ FOR VERSION AS OF 1",
    "SELECT * FROM @ FOR TIMESTAMP AS OF now()",
    "SELECT * FROM @$snapshots",
    "SELECT * FROM @$files",
    "SELECT * FROM @$rows",
    "EXPLAIN SELECT * FROM @",
    "EXPLAIN ANALYZE SELECT * FROM @",
    "EXPLAIN INSERT INTO @ VALUES (1, 2)",
    "DESCRIBE @",
    "SHOW COLUMNS IN @",
    "SHOW GRANTS ON @",
    "INSERT INTO @ VALUES (1, 2)",
    "INSERT INTO @ FOR VERSION AS OF 'b' VALUES (1, 2)",
    "INSERT INTO @ SELECT * FROM @",
    "INSERT OVERWRITE @ VALUES (1, 2)",
    "UPDATE @ SET v = 0",
    "DELETE FROM @ WHERE id = 1",
    "DELETE FROM @",
    "MERGE INTO @ AS x USING (SELECT 1 AS id) AS s ON x.id = s.id WHEN MATCHED THEN DELETE",
    "TRUNCATE TABLE @",
    "COPY INTO @ FROM 'file:///nowhere' FILEFORMAT = CSV",
    "CREATE TEMPORARY VIEW over_it AS SELECT * FROM @",
    "PREPARE p AS SELECT * FROM @",
    "DROP TABLE @",
    "DROP VIEW @",
    "ALTER TABLE @ ADD COLUMN more BIGINT",
    "ALTER TABLE @ RENAME TO taken",
    "ALTER TABLE @ SET TBLPROPERTIES ('a' = 'b')",
    "ALTER TABLE @ CREATE BRANCH b",
    "ALTER VIEW @ RENAME TO taken",
    "COMMENT ON TABLE @ IS 'mine'",
    "COMMENT ON COLUMN @.id IS 'mine'",
    "COMMENT ON VIEW @ IS 'mine'",
    "OPTIMIZE @",
    "OPTIMIZE @ WHERE id = 1",
    "VACUUM @",
    "ALTER TABLE @ EXECUTE optimize_manifests",
    "GRANT SELECT ON @ TO bob",
    "REVOKE SELECT ON @ FROM alice",
];

/// Whoever has no privilege on a table is told what is told of one that does not exist.
async fn tells_nothing(client: &mut Client, secret: &str, nothing: &str) -> Result<()> {
    for sql in ABOUT {
        let (of_secret, of_nothing) = (sql.replace('@', secret), sql.replace('@', nothing));
        let one = client.failure(&of_secret).await?;
        let other = client.failure(&of_nothing).await?;
        let plain = |status: &Status, name: &str| status.message().replace(name, "@");
        ensure!(
            one.code() == other.code() && plain(&one, secret) == plain(&other, nothing),
            "{of_secret}: {one:?}\n{of_nothing}: {other:?}"
        );
        ensure!(
            [Code::NotFound, Code::PermissionDenied].contains(&one.code()),
            "{of_secret}: {one:?}"
        );
        // Only COPY INTO is refused for another reason: it reads files by their location.
        ensure!(
            one.code() == Code::NotFound || sql.starts_with("COPY"),
            "{of_secret}: {one:?}"
        );
    }
    Ok(())
}

/// The tables that GetTables tells of in a schema, with the number of their columns.
async fn listed(client: &mut Client, catalog: &str, schema: &str) -> Result<Vec<(String, bool)>> {
    let command = CommandGetTables {
        catalog: Some(catalog.to_owned()),
        db_schema_filter_pattern: Some(schema.to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.raw().get_tables(command).await?;
    let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.clone());
    let mut answer = client.raw().do_get(ticket.context("no ticket")?).await?;
    let mut found = Vec::new();
    while let Some(batch) = answer.try_next().await? {
        let names = batch.column(2).as_string::<i32>();
        let columns = batch.column(4).as_binary::<i32>();
        for row in 0..batch.num_rows() {
            found.push((names.value(row).to_owned(), columns.value(row).len() > 200));
        }
    }
    found.sort();
    Ok(found)
}

/// What a user may know of a schema, by every way there is.
async fn knows(client: &mut Client, c: &str, schema: &str, tables: &[&str]) -> Result<()> {
    let found: Vec<String> = listed(client, c, schema)
        .await?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    ensure!(found == tables, "GetTables in {c}.{schema}: {found:?}");
    for (sql, column) in [
        ("information_schema.tables", "table_name"),
        ("information_schema.columns", "table_name"),
        ("information_schema.comments", "table_name"),
    ] {
        let sql = format!(
            "SELECT DISTINCT {column} FROM {c}.{sql} WHERE table_catalog = '{c}' AND table_schema = '{schema}' ORDER BY 1"
        );
        let found: Vec<String> = texts(client, &sql).await?.into_iter().flatten().collect();
        ensure!(
            found == tables || (sql.contains("comments") && found.len() <= tables.len()),
            "{sql}: {found:?}"
        );
    }
    let shown = texts(client, &format!("SHOW TABLES IN {c}.{schema}")).await?;
    ensure!(shown.len() == tables.len(), "{shown:?}");
    let schemas = texts(client, &format!("SHOW SCHEMAS IN {c} LIKE '{schema}'")).await?;
    ensure!(schemas.is_empty() == tables.is_empty(), "{schemas:?}");
    Ok(())
}

/// What everybody may and may not, from a table without grants to one that is dropped.
async fn story((one, two): (SocketAddr, SocketAddr), c: &str, (schema, using): (&str, &str)) -> Result<()> {
    let (mut alice, mut bob) = (login(one, "alice").await?, login(one, "bob").await?);
    let s = format!("{c}.{schema}");
    let t = format!("{s}.secret");
    run(
        &mut alice,
        &[
            &format!("CREATE SCHEMA {s}"),
            &format!("CREATE TABLE {t} (id BIGINT, v BIGINT) {using}"),
            &format!("INSERT INTO {t} VALUES (1, 10), (2, 20)"),
            &format!("CREATE TABLE {s}.other (id BIGINT, v BIGINT) {using}"),
        ],
    )
    .await?;
    without_privilege((&mut alice, &mut bob), c, schema, &t).await?;
    // The other server knows of a grant at once, and of its end.
    let mut there = login(two, "bob").await?;
    run(&mut alice, &[&format!("GRANT SELECT ON {t} TO bob")]).await?;
    let sum = format!("SELECT sum(v) FROM {t}");
    is(&mut there, &sum, &[&["30"]]).await?;
    is(&mut bob, &sum, &[&["30"]]).await?;
    knows(&mut there, c, schema, &["secret"]).await?;
    ensure!(listed(&mut bob, c, schema).await? == [("secret".to_owned(), true)]);
    run(
        &mut bob,
        &[
            &format!("USE {s}"),
            "DESCRIBE secret",
            "SELECT * FROM secret$files",
            "EXPLAIN SELECT * FROM secret",
            "CREATE TEMPORARY VIEW mine AS SELECT * FROM secret",
            "SELECT * FROM mine",
            "SHOW GRANTS ON secret",
        ],
    )
    .await?;
    only_reads(&mut bob, &s).await?;
    tells_nothing(&mut bob, &format!("{s}.other"), &format!("{s}.ither"))
        .await
        .context("beside a privilege")?;
    planned_before_the_end(&mut alice, &mut bob, &t).await?;
    refused(&mut there, &sum, Code::NotFound, "secret").await?;
    knows(&mut there, c, schema, &[]).await?;
    writers(one, &s).await?;
    life_of_grants(one, &s, using).await
}

/// Who has no privilege in a schema.
async fn without_privilege((alice, bob): (&mut Client, &mut Client), c: &str, schema: &str, t: &str) -> Result<()> {
    let s = format!("{c}.{schema}");
    tells_nothing(bob, t, &format!("{s}.nobody"))
        .await
        .context("without a privilege")?;
    knows(bob, c, schema, &[]).await?;
    refused(bob, &format!("USE {s}"), Code::NotFound, schema).await?;
    denied(
        bob,
        &format!("CREATE SCHEMA {c}.bobs"),
        "bob lacks the privilege CREATE on the catalog",
    )
    .await?;
    refused(
        bob,
        &format!("CREATE TABLE {s}.mine (a BIGINT)"),
        Code::NotFound,
        schema,
    )
    .await?;
    refused(bob, &format!("DROP SCHEMA {s}"), Code::NotFound, schema).await?;
    let hidden = format!("DROP TABLE IF EXISTS {t}");
    run(bob, &[&hidden]).await?;
    is(alice, &format!("SELECT count(*) FROM {t}"), &[&["2"]]).await?;
    Ok(())
}

/// Who may only read a table, and is in its schema, may do nothing else with it.
async fn only_reads(bob: &mut Client, s: &str) -> Result<()> {
    let lacks = [
        ("INSERT INTO secret VALUES (3, 3)", "INSERT"),
        ("EXPLAIN INSERT INTO secret VALUES (3, 3)", "INSERT"),
        ("UPDATE secret SET v = 0", "UPDATE"),
        ("DELETE FROM secret", "DELETE"),
        ("TRUNCATE TABLE secret", "DELETE"),
        ("INSERT OVERWRITE secret VALUES (3, 3)", "INSERT"),
        (
            "MERGE INTO secret USING (SELECT 1 AS id) AS n ON secret.id = n.id WHEN MATCHED THEN UPDATE SET v = 0",
            "UPDATE",
        ),
        ("DROP TABLE secret", "does not own"),
        ("DROP TABLE IF EXISTS secret", "does not own"),
        ("ALTER TABLE secret RENAME TO taken", "does not own"),
        ("ALTER TABLE secret ADD COLUMN more BIGINT", "does not own"),
        ("COMMENT ON TABLE secret IS 'x'", "does not own"),
        ("OPTIMIZE secret", "DELETE"),
        ("VACUUM secret", "does not own"),
        ("GRANT SELECT ON secret TO carol", "does not own"),
        ("REVOKE SELECT ON secret FROM bob", "does not own"),
        ("CREATE TABLE mine2 AS SELECT * FROM secret", "CREATE on the schema"),
        (
            "CREATE OR REPLACE TABLE secret AS SELECT 1 AS id",
            "CREATE on the schema",
        ),
        ("CREATE VIEW v2 AS SELECT * FROM secret", "CREATE on the schema"),
        (
            "CREATE FUNCTION f(a BIGINT) RETURNS BIGINT RETURN a",
            "CREATE on the schema",
        ),
        ("DROP SCHEMA SCHEMA_", "the schema"),
        ("DROP SCHEMA SCHEMA_ CASCADE", "the schema"),
        ("GRANT SELECT ON SCHEMA SCHEMA_ TO bob", "the schema"),
    ];
    for (sql, about) in lacks {
        denied(bob, &sql.replace("SCHEMA_", s), about).await?;
    }
    // What is the session's alone takes no privilege.
    let own = [
        "CREATE TEMP TABLE own AS SELECT * FROM secret",
        "INSERT INTO own SELECT * FROM own",
        "CREATE OR REPLACE TEMP TABLE own AS SELECT count(*) > 0 AS some FROM own",
    ];
    run(bob, &own).await?;
    is(bob, "SELECT some FROM own", &[&["true"]]).await?;
    run(bob, &["DROP TABLE own"]).await
}

/// A query that was planned before its privilege ended gives no rows.
async fn planned_before_the_end(alice: &mut Client, bob: &mut Client, t: &str) -> Result<()> {
    let info = bob.raw().execute(format!("SELECT * FROM {t}"), None).await?;
    let kept = bob.raw().execute(format!("SELECT * FROM {t}"), None).await?;
    let ticket = |info: arrow_flight::FlightInfo| {
        let endpoint = info.endpoint.into_iter().next();
        endpoint.and_then(|endpoint| endpoint.ticket).context("no ticket")
    };
    let rows: Vec<RecordBatch> = bob.raw().do_get(ticket(kept)?).await?.try_collect().await?;
    ensure!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() == 2);
    run(alice, &[&format!("REVOKE SELECT ON {t} FROM bob")]).await?;
    match bob.raw().do_get(ticket(info)?).await {
        Err(FlightError::Tonic(status)) => ensure!(status.code() == Code::NotFound, "{status:?}"),
        Err(other) => return Err(other.into()),
        Ok(_) => anyhow::bail!("rows after the end of the privilege"),
    }
    Ok(())
}

/// Privileges to write, each by itself.
async fn writers(address: SocketAddr, s: &str) -> Result<()> {
    let (mut alice, mut carol) = (login(address, "alice").await?, login(address, "carol").await?);
    let t = format!("{s}.secret");
    run(&mut alice, &[&format!("GRANT INSERT ON TABLE {t} TO USER carol")]).await?;
    run(&mut carol, &[&format!("INSERT INTO {t} VALUES (3, 30)")]).await?;
    ensure!(ingest(&mut carol, &t, TableExistsOption::Append).await? == 1);
    for (sql, about) in [
        (format!("SELECT * FROM {t}"), "SELECT"),
        (format!("INSERT INTO {t} SELECT * FROM {t}"), "SELECT"),
        (
            format!("INSERT INTO {t} SELECT id, v FROM {t} FOR TIMESTAMP AS OF now()"),
            "SELECT",
        ),
        (format!("INSERT INTO {t} SELECT (SELECT max(id) FROM {t}), 1"), "SELECT"),
        (format!("INSERT OVERWRITE {t} VALUES (1, 1)"), "DELETE"),
        (format!("UPDATE {t} SET v = 0"), "SELECT"),
        (format!("DELETE FROM {t} WHERE id = 1"), "SELECT"),
        (format!("TRUNCATE TABLE {t}"), "DELETE"),
        (format!("SELECT * FROM {t}$snapshots"), "SELECT"),
    ] {
        denied(&mut carol, &sql, about).await?;
    }
    let failure = ingest(&mut carol, &t, TableExistsOption::Replace).await;
    ensure!(
        failure.is_err_and(|error| error.to_string().contains("does not own") || error.to_string().contains("CREATE"))
    );
    run(&mut alice, &[&format!("GRANT SELECT, UPDATE ON {t} TO carol")]).await?;
    run(&mut carol, &[&format!("UPDATE {t} SET v = v + 1 WHERE id = 3")]).await?;
    denied(&mut carol, &format!("DELETE FROM {t} WHERE id = 3"), "DELETE").await?;
    let merge = |action: &str| {
        format!("MERGE INTO {t} AS x USING (SELECT 3 AS id) AS n ON x.id = n.id WHEN MATCHED THEN {action}")
    };
    run(&mut carol, &[&merge("UPDATE SET v = 32")]).await?;
    denied(&mut carol, &merge("DELETE"), "DELETE").await?;
    run(
        &mut alice,
        &[
            &format!("GRANT DELETE ON {t} TO carol"),
            &format!("REVOKE UPDATE ON {t} FROM carol"),
        ],
    )
    .await?;
    run(
        &mut carol,
        &[&merge("DELETE"), &format!("DELETE FROM {t} WHERE id = 7")],
    )
    .await?;
    denied(&mut carol, &format!("UPDATE {t} SET v = 0"), "UPDATE").await?;
    is(
        &mut alice,
        &format!("SELECT id, v FROM {t} ORDER BY 1"),
        &[&["1", "10"], &["2", "20"]],
    )
    .await?;
    run(&mut carol, &[&format!("TRUNCATE TABLE {t}")]).await?;
    is(&mut carol, &format!("SELECT count(*) FROM {t}"), &[&["0"]]).await?;
    run(&mut alice, &[&format!("INSERT INTO {t} VALUES (1, 10), (2, 20)")]).await
}

/// One row (7, 70) by bulk ingest.
async fn ingest(client: &mut Client, table: &str, if_exist: TableExistsOption) -> Result<i64> {
    let parts: Vec<&str> = table.split('.').collect();
    let [catalog, schema, table] = parts.as_slice() else {
        anyhow::bail!("{table}");
    };
    let command = CommandStatementIngest {
        catalog: Some((*catalog).to_owned()),
        schema: Some((*schema).to_owned()),
        table: (*table).to_owned(),
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: TableNotExistOption::Create.into(),
            if_exists: if_exist.into(),
        }),
        ..CommandStatementIngest::default()
    };
    let column = |value: i64| std::sync::Arc::new(Int64Array::from(vec![value])) as arrow::array::ArrayRef;
    let rows = RecordBatch::try_from_iter([("id", column(7)), ("v", column(70))])?;
    Ok(client.raw().execute_ingest(command, stream::iter([Ok(rows)])).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_in_an_sql_catalog() -> Result<()> {
    let data = tempfile::tempdir()?;
    let (one, two) = (
        house().data(data.path()).start().await?,
        house().data(data.path()).start().await?,
    );
    let servers = (one.address(), two.address());
    story(servers, "lake", ("ice", "")).await.context("Iceberg")?;
    story(servers, "lake", ("del", "USING delta")).await.context("Delta")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_in_a_rest_catalog() -> Result<()> {
    let minio = Minio::start().await?;
    let rest = RestCatalog::start(&minio).await?;
    let start = || {
        Lake::embedded()
            .section(USERS)
            .section("[access.catalogs.rest]\ncreate = [\"alice\"]")
            .section(&rest.section())
            .section(&minio.storage())
            .start()
    };
    let (one, two) = (start().await?, start().await?);
    story((one.address(), two.address()), "rest", ("ice", "")).await
}
