//! Owners and administrators: what becomes of grants, views with the rights of their owners, and what no grant gives.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use arrow_flight::FlightDescriptor;
use arrow_flight::sql::{Any, CommandStatementSubstraitPlan, ProstMessageExt, SubstraitPlan};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use harness::{Client, Lake, workspace};
use prost::Message;
use tonic::Code;

use super::grants::{denied, house, is, login, refused, run};
use super::texts;

/// What becomes of grants when objects are replaced, renamed, dropped and made again; views; schemas.
pub(super) async fn life_of_grants(address: SocketAddr, s: &str, using: &str) -> Result<()> {
    let (mut alice, mut bob) = (login(address, "alice").await?, login(address, "bob").await?);
    let t = format!("{s}.secret");
    let count = |table: &str| format!("SELECT count(*) FROM {s}.{table}");
    run(&mut alice, &[&format!("GRANT SELECT ON {t} TO bob, carol")]).await?;
    let replaced =
        format!("CREATE OR REPLACE TABLE {t} {using} AS SELECT CAST(9 AS BIGINT) AS id, CAST(1 AS BIGINT) AS v");
    run(&mut alice, &[&replaced]).await?;
    is(&mut bob, &count("secret"), &[&["1"]]).await?;
    run(&mut alice, &[&format!("ALTER TABLE {t} RENAME TO public_now")]).await?;
    is(&mut bob, &count("public_now"), &[&["1"]]).await?;
    refused(&mut bob, &count("secret"), Code::NotFound, "secret").await?;
    is(
        &mut alice,
        &format!("SHOW GRANTS ON {s}.public_now"),
        &[
            &["alice", "OWNERSHIP", "NULL", "YES"],
            &["bob", "SELECT", "alice", "NO"],
            &["carol", "DELETE", "alice", "NO"],
            &["carol", "INSERT", "alice", "NO"],
            &["carol", "SELECT", "alice", "NO"],
        ],
    )
    .await?;
    is(
        &mut bob,
        &format!("SHOW GRANTS ON {s}.public_now"),
        &[&["bob", "SELECT", "alice", "NO"]],
    )
    .await?;
    // A new table of an old name has no grant of the old one.
    run(
        &mut alice,
        &[
            &format!("DROP TABLE {s}.public_now"),
            &replaced.replace("secret", "public_now"),
        ],
    )
    .await?;
    refused(&mut bob, &count("public_now"), Code::NotFound, "public_now").await?;

    views_of_owners(address, s, using).await?;
    rights_on_schemas(address, s, using).await
}

/// A view reads what its owner may read, as long as its owner may.
async fn views_of_owners(address: SocketAddr, s: &str, using: &str) -> Result<()> {
    let (mut root, mut alice) = (login(address, "root").await?, login(address, "alice").await?);
    let mut bob = login(address, "bob").await?;
    let count = |table: &str| format!("SELECT count(*) FROM {s}.{table}");
    run(
        &mut root,
        &[
            &format!("CREATE SCHEMA {s}_root"),
            &format!("CREATE TABLE {s}_root.base (id BIGINT, v BIGINT) {using}"),
            &format!("INSERT INTO {s}_root.base VALUES (1, 10), (2, 20), (3, 30)"),
            &format!("GRANT SELECT ON {s}_root.base TO alice"),
        ],
    )
    .await?;
    run(
        &mut alice,
        &[
            &format!("CREATE VIEW {s}.few AS SELECT id FROM {s}_root.base WHERE id < 3"),
            &format!("CREATE VIEW {s}.fewer AS SELECT id FROM {s}.few WHERE id < 2"),
            &format!("GRANT SELECT ON VIEW {s}.few TO bob"),
            &format!("GRANT SELECT ON {s}.fewer TO bob"),
        ],
    )
    .await?;
    is(&mut bob, &count("few"), &[&["2"]]).await?;
    is(&mut bob, &count("fewer"), &[&["1"]]).await?;
    refused(
        &mut bob,
        &format!("SELECT * FROM {s}_root.base"),
        Code::NotFound,
        "base",
    )
    .await?;
    let both = format!("SELECT count(*) FROM {s}.few JOIN {s}_root.base USING (id)");
    refused(&mut bob, &both, Code::NotFound, "base").await?;
    let shown = texts(&mut bob, &format!("SHOW CREATE VIEW {s}.few")).await?;
    ensure!(shown.len() == 1 && shown[0][3] == "NULL", "{shown:?}");
    let shown = texts(&mut alice, &format!("SHOW CREATE VIEW {s}.few")).await?;
    ensure!(shown[0][3].contains("base"), "{shown:?}");
    denied(&mut bob, &format!("DROP VIEW {s}.few"), "does not own").await?;
    run(&mut root, &[&format!("REVOKE ALL ON {s}_root.base FROM alice")]).await?;
    denied(&mut bob, &count("few"), "with the rights of its owner").await?;
    let failure = bob.failure(&count("fewer")).await?;
    ensure!(!failure.message().contains("base"), "{failure:?}");
    refused(&mut alice, &count("few"), Code::NotFound, "base").await?;
    Ok(())
}

/// Rights on a schema hold for what is in it, and for what will be.
async fn rights_on_schemas(address: SocketAddr, s: &str, using: &str) -> Result<()> {
    let (mut alice, mut bob) = (login(address, "alice").await?, login(address, "bob").await?);
    let mut carol = login(address, "carol").await?;
    let count = |table: &str| format!("SELECT count(*) FROM {s}.{table}");
    run(&mut alice, &[&format!("GRANT SELECT, CREATE ON SCHEMA {s} TO carol")]).await?;
    run(
        &mut alice,
        &[&format!("CREATE TABLE {s}.later (id BIGINT, v BIGINT) {using}")],
    )
    .await?;
    is(&mut carol, &count("later"), &[&["0"]]).await?;
    run(
        &mut carol,
        &[&format!("CREATE TABLE {s}.carols {using} AS SELECT * FROM {s}.later")],
    )
    .await?;
    run(&mut carol, &[&format!("GRANT SELECT ON {s}.carols TO bob")]).await?;
    is(&mut bob, &count("carols"), &[&["0"]]).await?;
    denied(&mut carol, &format!("DROP TABLE {s}.later"), "does not own").await?;
    denied(
        &mut carol,
        &format!("CREATE OR REPLACE TABLE {s}.later AS SELECT 1 AS id"),
        "does not own",
    )
    .await?;
    refused(&mut carol, &format!("DROP TABLE {s}.none"), Code::NotFound, "none").await?;
    run(
        &mut carol,
        &[
            &format!("DROP TABLE IF EXISTS {s}.none"),
            &format!("DROP TABLE {s}.carols"),
        ],
    )
    .await?;
    functions(&mut alice, (&mut bob, &mut carol), s).await
}

/// Functions belong to who made them; whoever may know of their schema may call them.
async fn functions(alice: &mut Client, (bob, carol): (&mut Client, &mut Client), s: &str) -> Result<()> {
    run(
        alice,
        &[&format!(
            "CREATE FUNCTION {s}.twice(a BIGINT) RETURNS BIGINT AS (a * 2)"
        )],
    )
    .await?;
    is(carol, &format!("SELECT {s}.twice(4)"), &[&["8"]]).await?;
    denied(carol, &format!("DROP FUNCTION {s}.twice"), "does not own").await?;
    let replaced = format!("CREATE OR REPLACE FUNCTION {s}.twice(a BIGINT) RETURNS BIGINT AS (a)");
    denied(carol, &replaced, "does not own").await?;
    run(
        alice,
        &[
            &format!("REVOKE ALL ON {s}.few FROM bob"),
            &format!("REVOKE ALL ON {s}.fewer FROM bob"),
        ],
    )
    .await?;
    refused(bob, &format!("SELECT {s}.twice(4)"), Code::NotFound, "twice").await?;
    is(
        bob,
        "SELECT count(*) FROM information_schema.routines WHERE routine_name = 'twice'",
        &[&["0"]],
    )
    .await?;
    run(alice, &[&format!("DROP FUNCTION {s}.twice")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_an_administrator() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = house().data(data.path()).start().await?;
    let (mut root, mut alice) = (
        login(lake.address(), "root").await?,
        login(lake.address(), "alice").await?,
    );
    let mut bob = login(lake.address(), "bob").await?;
    run(
        &mut alice,
        &["CREATE SCHEMA lake.s", "CREATE TABLE lake.s.t AS SELECT 1 AS id"],
    )
    .await?;
    let at = format!("file://{}/lake", data.path().display());
    for sql in [
        format!("SELECT * FROM parquet.\"{at}\""),
        format!("SELECT * FROM iceberg.\"{at}/s/t\""),
        format!("SELECT * FROM delta.\"{at}/s/t\""),
        format!("COPY INTO lake.s.t FROM '{at}' FILEFORMAT = PARQUET"),
        format!("CREATE TABLE lake.s.u (id BIGINT) LOCATION '{at}/s/t'"),
        format!("CREATE TABLE lake.s.u LOCATION '{at}/s/t' AS SELECT 1 AS id"),
        format!("CREATE TABLE lake.s.u (id BIGINT) WITH ('write.data.path' = '{at}/x')"),
        format!("ALTER TABLE lake.s.t SET TBLPROPERTIES ('write.data.path' = '{at}/x')"),
        format!("ALTER TABLE lake.s.t SET LOCATION '{at}/x'"),
        format!("CREATE SCHEMA lake.elsewhere LOCATION '{at}/x'"),
    ] {
        denied(&mut alice, &sql, "alice is no administrator").await?;
    }
    // Grants cannot be made up, and nobody else is granted anything.
    for key in ["lakewing.owner.", "lakewing.grant..bob.select", "Lakewing.function.f"] {
        let sql = format!("CREATE SCHEMA lake.made_up WITH ('{key}' = 'bob')");
        refused(&mut alice, &sql, Code::InvalidArgument, "the server's own").await?;
    }
    refused(
        &mut alice,
        "GRANT SELECT ON lake.s.t TO nobody",
        Code::InvalidArgument,
        "does not exist",
    )
    .await?;
    refused(
        &mut alice,
        "GRANT CREATE ON lake.s.t TO bob",
        Code::InvalidArgument,
        "on schemas",
    )
    .await?;
    // A catalog that keeps no owners is for administrators.
    refused(
        &mut alice,
        "CREATE TABLE delta.s.t (id BIGINT)",
        Code::NotFound,
        "delta.s",
    )
    .await?;
    run(
        &mut root,
        &["CREATE TABLE delta.s.t (id BIGINT)", "INSERT INTO delta.s.t VALUES (1)"],
    )
    .await?;
    refused(&mut bob, "SELECT * FROM delta.s.t", Code::NotFound, "delta.s.t").await?;
    refused(
        &mut root,
        "GRANT SELECT ON delta.s.t TO bob",
        Code::Unimplemented,
        "REST or SQL catalog",
    )
    .await?;
    is(&mut root, "SELECT count(*) FROM lake.s.t, delta.s.t", &[&["1"]]).await?;
    killed(&mut root, &mut alice, &mut bob).await?;
    substrait(&mut alice, lake.address()).await?;
    no_grants_without_access_control().await
}

/// A query ends by the hand of its user or of an administrator, and nobody else knows of it.
async fn killed(root: &mut Client, alice: &mut Client, bob: &mut Client) -> Result<()> {
    let long = "SELECT a.value FROM generate_series(1, 100000) AS a, generate_series(1, 100000) AS b";
    let info = alice.raw().execute(long.to_owned(), None).await?;
    let ticket = info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket);
    let mut rows = alice.raw().do_get(ticket.context("no ticket")?).await?;
    rows.next().await.context("no rows")??;
    let find = |running: &[Vec<String>]| running.iter().find(|row| row[1] == "alice").map(|row| row[0].clone());
    ensure!(find(&texts(bob, "SHOW QUERIES").await?).is_none());
    let id = find(&texts(root, "SHOW QUERIES").await?).context("the administrator does not see it")?;
    refused(bob, &format!("KILL QUERY '{id}'"), Code::NotFound, "of yours").await?;
    run(root, &[&format!("KILL QUERY '{id}'")]).await?;
    let ended = rows.try_for_each(|_| async { Ok(()) }).await;
    ensure!(ended.is_err_and(|error| error.to_string().contains("KILL QUERY")));
    Ok(())
}

/// A plan in the place of SQL names the tables customer and nation.
async fn substrait(alice: &mut Client, address: SocketAddr) -> Result<()> {
    run(
        alice,
        &[
            "CREATE SCHEMA lake.\"default\"",
            "CREATE TABLE lake.\"default\".nation (n_nationkey BIGINT, n_name VARCHAR, n_regionkey BIGINT, n_comment VARCHAR)",
            "CREATE TABLE lake.\"default\".customer (c_custkey BIGINT, c_name VARCHAR, c_address VARCHAR, \
             c_nationkey BIGINT, c_phone VARCHAR, c_acctbal DECIMAL(15, 2), c_mktsegment VARCHAR, c_comment VARCHAR)",
            "GRANT SELECT ON lake.\"default\".nation TO bob",
        ],
    )
    .await?;
    let plan = std::fs::read_to_string(workspace().join("tests/clients/plans/nations.ibis.base64"))?;
    let command = CommandStatementSubstraitPlan {
        plan: Some(SubstraitPlan {
            plan: STANDARD.decode(plan.split_whitespace().collect::<String>())?.into(),
            version: String::new(),
        }),
        transaction_id: None,
    };
    let command: Any = command.as_any();
    let mut outcomes = Vec::new();
    for grant in [false, true] {
        if grant {
            run(alice, &["GRANT SELECT ON lake.\"default\".customer TO bob"]).await?;
        }
        let mut bob = login(address, "bob").await?;
        let descriptor = FlightDescriptor::new_cmd(command.encode_to_vec());
        let token = bob.raw().token().context("no token")?.clone();
        let mut request = tonic::Request::new(descriptor);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse()?);
        let info = bob.raw().inner_mut().get_flight_info(request).await;
        outcomes.push(
            matches!(info, Err(status) if status.code() == Code::NotFound && status.message().contains("customer")),
        );
    }
    ensure!(outcomes == [true, false], "{outcomes:?}");
    Ok(())
}

async fn no_grants_without_access_control() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    run(&mut client, &["CREATE SCHEMA s", "CREATE TABLE s.t AS SELECT 1 AS id"]).await?;
    for sql in [
        "GRANT SELECT ON s.t TO bob",
        "REVOKE SELECT ON s.t FROM bob",
        "SHOW GRANTS ON s.t",
    ] {
        refused(&mut client, sql, Code::Unimplemented, "access.enabled = true").await?;
    }
    Ok(())
}
