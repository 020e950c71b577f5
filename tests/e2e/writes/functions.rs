//! Functions that a catalog keeps: what calls of them give, here and on executors, and what is refused.

use anyhow::{Result, ensure};
use harness::{Client, Lake, Minio, RestCatalog};
use tonic::Code;

use super::{texts, update};

async fn run(client: &mut Client, statements: &[String]) -> Result<()> {
    for sql in statements {
        client.query(sql).await.map_err(|error| error.context(sql.clone()))?;
    }
    Ok(())
}

async fn refused(client: &mut Client, sql: &str, code: Code, about: &str) -> Result<()> {
    let failure = client.failure(sql).await?;
    ensure!(
        failure.code() == code && failure.message().contains(about),
        "{sql}: {failure:?}"
    );
    Ok(())
}

/// The rows of a query must be these.
async fn check(client: &mut Client, sql: &str, expect: &[&[&str]]) -> Result<()> {
    let found = texts(client, sql).await?;
    ensure!(found == expect, "{sql}: {found:?}");
    Ok(())
}

/// The same story in a catalog named `c`.
async fn story(client: &mut Client, c: &str) -> Result<()> {
    run(
        client,
        &[
            format!("CREATE SCHEMA {c}.f"),
            format!("CREATE TABLE {c}.f.t (id BIGINT, name STRING, amount DECIMAL(10, 2))"),
            format!("INSERT INTO {c}.f.t VALUES (1, 'one', 1.50), (2, NULL, 2.25), (3, 'three', NULL)"),
            format!(
                "CREATE FUNCTION {c}.f.twice (amount DECIMAL(10, 2)) RETURNS DECIMAL(12, 2) RETURN amount + amount"
            ),
            format!(
                "CREATE OR REPLACE FUNCTION {c}.f.label (what STRING, prefix STRING DEFAULT 'no ') RETURNS STRING \
                 IMMUTABLE COMMENT 'a label' AS $$ SELECT prefix || coalesce(what, 'name') $$ LANGUAGE SQL"
            ),
            format!("CREATE AGGREGATE FUNCTION {c}.f.sum_squared (x DOUBLE) RETURNS DOUBLE AS 'power(sum(x), 2)'"),
            format!(
                "CREATE FUNCTION {c}.f.four_times (x DECIMAL(10, 2)) RETURNS DECIMAL(14, 2) \
                 RETURN {c}.f.twice({c}.f.twice(x))"
            ),
        ],
    )
    .await?;
    let all = format!("SELECT {c}.f.twice(amount), {c}.f.label(name) FROM {c}.f.t ORDER BY id");
    check(
        client,
        &all,
        &[&["3.00", "no one"], &["4.50", "no name"], &["NULL", "no three"]],
    )
    .await?;
    let nested = format!("SELECT {c}.f.four_times(amount) FROM {c}.f.t WHERE {c}.f.twice(amount) = 3");
    check(client, &nested, &[&["6.00"]]).await?;
    let named = format!("SELECT {c}.f.label(prefix => 'my ', what => name) FROM {c}.f.t WHERE id = 3");
    check(client, &named, &[&["my three"]]).await?;
    let grouped = format!(
        "SELECT {c}.f.label(name, ''), {c}.f.sum_squared(id) AS s FROM {c}.f.t \
         GROUP BY {c}.f.label(name, '') HAVING {c}.f.sum_squared(id) > 1 ORDER BY s"
    );
    check(client, &grouped, &[&["name", "4"], &["three", "9"]]).await?;
    // A column of the caller with the name of an argument is no argument.
    let captured = format!("SELECT {c}.f.label(prefix, what) FROM (SELECT 'b' AS prefix, 'a' AS what) AS t");
    check(client, &captured, &[&["ab"]]).await?;

    // In views, and in statements that write.
    run(
        client,
        &[
            format!("CREATE VIEW {c}.f.v AS SELECT id, {c}.f.twice(amount) AS twice FROM {c}.f.t"),
            format!("CREATE TABLE {c}.f.made AS SELECT {c}.f.twice(amount), id FROM {c}.f.t"),
        ],
    )
    .await?;
    check(client, &format!("SELECT twice FROM {c}.f.v WHERE id = 2"), &[&["4.50"]]).await?;
    check(
        client,
        &format!("SELECT \"twice(amount)\" FROM {c}.f.made WHERE id = 2"),
        &[&["4.50"]],
    )
    .await?;
    update(
        client,
        &format!("UPDATE {c}.f.t SET amount = {c}.f.twice(amount) WHERE {c}.f.label(name, '') = 'one'"),
    )
    .await?;
    check(
        client,
        &format!("SELECT amount FROM {c}.f.t WHERE id = 1"),
        &[&["3.00"]],
    )
    .await?;

    listed(client, c).await?;
    refusals(client, c).await
}

async fn listed(client: &mut Client, c: &str) -> Result<()> {
    let of_schema = format!(
        "SELECT routine_name, data_type, function_type, is_deterministic, description, syntax_example \
         FROM information_schema.routines WHERE routine_catalog = '{c}' AND routine_schema = 'f' ORDER BY 1"
    );
    let listed = texts(client, &of_schema).await?;
    let names: Vec<_> = listed.iter().map(|row| row[0].as_str()).collect();
    ensure!(names == ["four_times", "label", "sum_squared", "twice"], "{listed:?}");
    let label = [
        "label",
        "STRING",
        "SCALAR",
        "true",
        "a label",
        "label(what STRING, prefix STRING DEFAULT 'no ')",
    ];
    ensure!(listed[1] == label, "{listed:?}");
    ensure!(listed[2][2] == "AGGREGATE", "{listed:?}");
    let built_in = "SELECT count(*) > 0 FROM information_schema.routines WHERE routine_name = 'abs'";
    ensure!(texts(client, built_in).await? == [["true"]]);
    let shown = texts(client, "SHOW FUNCTIONS LIKE 'sum_squared'").await?;
    ensure!(shown.len() == 1, "{shown:?}");
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one list of statements")]
async fn refusals(client: &mut Client, c: &str) -> Result<()> {
    let invalid = Code::InvalidArgument;
    for (sql, code, about) in [
        (
            "CREATE FUNCTION C.f.twice (x INT) RETURNS INT RETURN x",
            Code::AlreadyExists,
            "already exists",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT RETURN y",
            invalid,
            "none of its arguments",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT RETURN sum(x)",
            invalid,
            "AGGREGATE",
        ),
        (
            "CREATE AGGREGATE FUNCTION C.f.g (x INT) RETURNS INT RETURN x + 1",
            invalid,
            "no aggregate",
        ),
        (
            "CREATE AGGREGATE FUNCTION C.f.g (x INT) RETURNS INT RETURN sum(x) + x",
            invalid,
            "x",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT RETURN (SELECT max(id) FROM C.f.t)",
            Code::Unimplemented,
            "query",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT RETURN row_number() OVER ()",
            Code::Unimplemented,
            "windows",
        ),
        (
            "CREATE FUNCTION C.f.g (x ARRAY<INT>) RETURNS INT RETURN unnest(x)",
            Code::Unimplemented,
            "rows",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT LANGUAGE PYTHON AS 'x'",
            Code::Unimplemented,
            "PYTHON",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT RETURN C.f.g(x)",
            invalid,
            "built on itself",
        ),
        (
            "CREATE FUNCTION C.f.g (x INT) RETURNS INT RETURN nothing_such(x)",
            invalid,
            "nothing_such",
        ),
        (
            "CREATE FUNCTION C.f.abs (x INT) RETURNS INT RETURN x",
            invalid,
            "of the server",
        ),
        (
            "CREATE FUNCTION C.nowhere.g (x INT) RETURNS INT RETURN x",
            Code::NotFound,
            "nowhere",
        ),
        ("SELECT C.f.twice()", invalid, "takes (amount DECIMAL(10,2))"),
        ("SELECT C.f.twice(random())", invalid, "more than once"),
        ("SELECT C.f.nothing(1)", Code::NotFound, "function"),
        (
            "SELECT C.f.twice(DISTINCT amount) FROM C.f.t",
            Code::Unimplemented,
            "DISTINCT",
        ),
        ("DROP FUNCTION C.f.nothing", Code::NotFound, "function"),
    ] {
        refused(client, &sql.replace("C.", &format!("{c}.")), code, about).await?;
    }
    run(
        client,
        &[
            format!("CREATE FUNCTION IF NOT EXISTS {c}.f.twice (x INT) RETURNS INT RETURN 0"),
            format!("CREATE OR REPLACE FUNCTION {c}.f.label (what STRING) RETURNS BIGINT RETURN length(what)"),
        ],
    )
    .await?;
    let replaced = format!("SELECT {c}.f.label('three'), {c}.f.twice(1.25)");
    let found = texts(client, &replaced).await?;
    ensure!(found == [["5", "2.50"]], "{found:?}");
    for table in ["t", "made"] {
        run(client, &[format!("DROP TABLE {c}.f.{table}")]).await?;
    }
    run(client, &[format!("DROP VIEW {c}.f.v")]).await?;
    refused(client, &format!("DROP SCHEMA {c}.f"), invalid, "four_times").await?;
    for function in ["twice", "four_times", "sum_squared(DOUBLE)", "label"] {
        run(client, &[format!("DROP FUNCTION {c}.f.{function}")]).await?;
    }
    run(
        client,
        &[
            format!("DROP FUNCTION IF EXISTS {c}.f.twice"),
            format!("DROP SCHEMA {c}.f"),
        ],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_a_sqlite_catalog() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    story(&mut client, "lake").await?;
    // A catalog of folders keeps nothing.
    let kept_nowhere = "CREATE FUNCTION delta.s.f (x INT) RETURNS INT RETURN x";
    refused(&mut client, kept_nowhere, Code::Unimplemented, "properties of schemas").await
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_on_executors() -> Result<()> {
    let lake = Lake::processes(2).start().await?;
    story(&mut lake.client().await?, "lake").await
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_a_rest_catalog() -> Result<()> {
    let minio = Minio::start().await?;
    let rest = RestCatalog::start(&minio).await?;
    let lake = Lake::embedded()
        .section(&rest.section())
        .section(&minio.storage())
        .start()
        .await?;
    story(&mut lake.client().await?, "rest").await
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_outlive_their_server() -> Result<()> {
    let data = tempfile::tempdir()?;
    for made in [false, true] {
        let lake = Lake::embedded().data(data.path()).start().await?;
        let mut client = lake.client().await?;
        if !made {
            run(
                &mut client,
                &[
                    "CREATE SCHEMA lake.f".to_owned(),
                    "CREATE FUNCTION lake.f.next (x BIGINT) RETURNS BIGINT RETURN x + 1".to_owned(),
                ],
            )
            .await?;
        }
        ensure!(texts(&mut client, "SELECT lake.f.next(41)").await? == [["42"]]);
        drop(client);
        drop(lake);
    }
    Ok(())
}
