//! Credentials that a catalog lends for the files of its tables, and that last for a few seconds only: they reach the
//! executors and are renewed in the middle of a scan, and nothing shows them.
//!
//! Those that a cloud gives for a token of the environment are beside them.
//!
//! `LAKEWING_LOAN_SECONDS` makes them last longer, and the scan with them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::FlightClient;
use futures::TryStreamExt;
use harness::{Client, Lake, LakeBuilder, LendingCatalog, Minio, WebIdentity, rows};
use tonic::transport::Endpoint;

/// How long the credentials last.
const LIFE_SECONDS: u64 = 8;
/// The scan takes so many lives.
const LIVES: u32 = 3;
const ROWS: i64 = 4_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn scans_outlive_what_catalogs_lend() -> Result<()> {
    let life = Duration::from_secs(life());
    let minio = Minio::start().await?;
    for (index, lake) in [Lake::embedded(), Lake::processes(2)].into_iter().enumerate() {
        let catalog = LendingCatalog::start(&minio, life).await?;
        let lake = start(lake, &catalog).await?;
        let table = format!("lent.s{index}.t");
        let mut client = lake.client().await?;
        client.query(&format!("CREATE SCHEMA lent.s{index}")).await?;
        let sql = format!(
            "CREATE TABLE {table} WITH ('write.target-file-size-bytes' = '4194304') AS \
             SELECT value AS id, md5(value::TEXT) || md5((-value)::TEXT) AS text FROM range(0, {ROWS})"
        );
        client.query(&sql).await.with_context(|| sql.clone())?;
        // What was lent for the writing would go on, and its life is another one's than the reading's.
        tokio::time::sleep(life / 2).await;
        read(&mut client, &table, life, &catalog).await?;
        if !lake.executors.is_empty() {
            read_directly(&lake, &table, life, &catalog).await?;
        }
        changes(&mut client, &table).await?;
        quiet(&lake, &mut client, &table, &catalog).await?;
    }
    Ok(())
}

/// Without any key in the configuration, processes get temporary ones for the token that their environment names.
#[tokio::test(flavor = "multi_thread")]
async fn keys_for_a_token_of_the_environment() -> Result<()> {
    let minio = WebIdentity::start().await?;
    let catalog = format!(
        "[catalogs.cloud]\ntype = \"delta\"\nroot = \"s3://lake/delta\"\n{}",
        minio.storage()
    );
    for lake in [Lake::embedded(), Lake::processes(2)] {
        let lake = lake
            .section(&catalog)
            .variables(&minio.variables)
            .log("debug")
            .start()
            .await?;
        let mut client = lake.client().await?;
        client.query("CREATE SCHEMA IF NOT EXISTS cloud.s").await?;
        for sql in [
            "DROP TABLE IF EXISTS cloud.s.t PURGE",
            "CREATE TABLE cloud.s.t AS SELECT value AS id, md5(value::TEXT) AS text FROM range(0, 200000)",
            "DELETE FROM cloud.s.t WHERE id >= 100000",
        ] {
            client.query(sql).await.context(sql)?;
        }
        let read = "SELECT count(*), sum(id), count(DISTINCT text) FROM cloud.s.t";
        let read = format!("{:?}", rows(&client.query(read).await?)?);
        ensure!(read.contains("100000") && read.contains("4999950000"), "{read}");
        let token = std::fs::read_to_string(&minio.token)?;
        for process in lake.executors.iter().chain([&lake.server]) {
            ensure!(!process.output().contains(&token), "a log shows the token");
        }
        drop(lake);
    }
    let mut unknown = minio.variables.clone();
    let nobody = tempfile::NamedTempFile::new()?;
    std::fs::write(nobody.path(), "nobody's token")?;
    unknown.push((
        "AWS_WEB_IDENTITY_TOKEN_FILE".to_owned(),
        nobody.path().display().to_string(),
    ));
    let lake = Lake::embedded().section(&catalog).variables(&unknown).start().await?;
    let failure = lake.client().await?.failure("SELECT * FROM cloud.s.t").await?;
    ensure!(failure.message().contains("s3://lake"), "{failure}");
    ensure!(!failure.message().contains("nobody's token"), "{failure}");
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
fn life() -> u64 {
    let given = std::env::var("LAKEWING_LOAN_SECONDS").ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(LIFE_SECONDS)
}

async fn start(lake: LakeBuilder, catalog: &LendingCatalog) -> Result<Lake> {
    let results = "results = { listen = \"127.0.0.1:0\" }";
    lake.section(&catalog.section())
        .executor(results)
        .log("debug")
        .start()
        .await
}

/// Reads the table from executors, for longer than one life.
async fn read_directly(lake: &Lake, table: &str, life: Duration, catalog: &LendingCatalog) -> Result<()> {
    let mut client = lake.client().await?;
    client.login("anyone", "").await?;
    client.query("SET direct_results = 'on'").await?;
    let info = client
        .raw()
        .execute(format!("SELECT id, text FROM {table}"), None)
        .await?;
    let (began, mut count, mut sum) = (Instant::now(), 0, 0);
    for endpoint in info.endpoint {
        let location = endpoint.location.first().context("no location")?;
        let address = location.uri.strip_prefix("grpc+tcp://").context("no executor")?;
        let channel = Endpoint::new(format!("http://{address}"))?.connect().await?;
        let ticket = endpoint.ticket.context("no ticket")?;
        let mut batches = FlightClient::new(channel).do_get(ticket).await?;
        while let Some(batch) = batches.try_next().await.context("in the middle of a part")? {
            count += i64::try_from(batch.num_rows())?;
            sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            let part = count as f64 / ROWS as f64;
            let whole = life.mul_f64(1.5);
            tokio::time::sleep(whole.mul_f64(part).saturating_sub(began.elapsed())).await;
        }
    }
    ensure!(
        (count, sum) == (ROWS, ROWS * (ROWS - 1) / 2),
        "{count} rows of sum {sum} from executors"
    );
    ensure!(catalog.refused().is_empty(), "{:?}", catalog.refused());
    Ok(())
}

/// Reads the table at such a pace that it takes many lives.
async fn read(client: &mut Client, table: &str, life: Duration, catalog: &LendingCatalog) -> Result<()> {
    let folder = table.trim_start_matches("lent.").replace('.', "/");
    let whole = life * LIVES;
    let lent = catalog.lent(&folder);
    let info = client
        .raw()
        .execute(format!("SELECT id, text FROM {table}"), None)
        .await?;
    let (began, passed) = (Instant::now(), catalog.passed());
    let (mut count, mut sum, mut halfway) = (0, 0, None);
    for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
        let mut batches = client.raw().do_get(ticket).await?;
        while let Some(batch) = batches.try_next().await.context("in the middle of a scan")? {
            count += i64::try_from(batch.num_rows())?;
            sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            let part = count as f64 / ROWS as f64;
            tokio::time::sleep(whole.mul_f64(part).saturating_sub(began.elapsed())).await;
            if part > 0.5 {
                halfway.get_or_insert_with(|| catalog.passed());
            }
        }
    }
    let took = began.elapsed();
    ensure!(
        (count, sum) == (ROWS, ROWS * (ROWS - 1) / 2),
        "{count} rows of sum {sum}"
    );
    let (renewed, passed, halfway) = (
        catalog.lent(&folder) - lent,
        catalog.passed() - passed,
        halfway.unwrap_or(0) - passed,
    );
    eprintln!(
        "{table}: {took:?} with credentials for {life:?}: lent {renewed} times, {passed} requests to the store, {halfway} \
         of them in the first half"
    );
    ensure!(catalog.refused().is_empty(), "{:?}", catalog.refused());
    ensure!(
        passed > halfway + 4,
        "the second half was read from memory: {halfway} of {passed} requests"
    );
    // One when the table is loaded, and then one for each life, of which the last sixth is not used.
    let most = took.as_secs_f64() / (life.as_secs_f64() * 5.0 / 6.0) + 1.0;
    ensure!(
        (f64::from(LIVES)..=most).contains(&(renewed as f64)),
        "lent {renewed} times in {took:?}, expected at most {most}"
    );
    Ok(())
}

/// Every kind of change works with what is lent.
async fn changes(client: &mut Client, table: &str) -> Result<()> {
    for sql in [
        format!("INSERT INTO {table} VALUES (-1, 'one')"),
        format!("UPDATE {table} SET text = 'two' WHERE id = -1"),
        format!("DELETE FROM {table} WHERE id >= 10"),
        format!("OPTIMIZE {table}"),
    ] {
        client.query(&sql).await.with_context(|| sql.clone())?;
    }
    let left = rows(
        &client
            .query(&format!("SELECT count(*), min(text) FROM {table} WHERE id < 0"))
            .await?,
    )?;
    ensure!(format!("{left:?}").contains("two"), "{left:?}");
    let left = rows(&client.query(&format!("SELECT id FROM {table} ORDER BY id")).await?)?;
    ensure!(left.len() == 11, "{left:?}");
    Ok(())
}

/// Neither a plan nor a log shows a secret.
async fn quiet(lake: &Lake, client: &mut Client, table: &str, catalog: &LendingCatalog) -> Result<()> {
    let plan = format!(
        "{:?}",
        rows(&client.query(&format!("EXPLAIN VERBOSE SELECT * FROM {table}")).await?)?
    );
    client.query(&format!("DROP TABLE {table} PURGE")).await?;
    ensure!(catalog.refused().is_empty(), "{:?}", catalog.refused());
    let secrets = catalog.secrets();
    ensure!(secrets.len() > 4, "nothing to look for");
    let executors = lake.executors.iter();
    let logs: Vec<String> = executors
        .chain([&lake.server])
        .map(|process| process.output())
        .collect();
    ensure!(logs.iter().any(|log| log.len() > 1000), "the logs are empty");
    for text in logs.iter().chain([&plan]) {
        let shown = secrets.iter().find(|secret| text.contains(secret.as_str()));
        ensure!(shown.is_none(), "a secret is shown");
    }
    Ok(())
}
