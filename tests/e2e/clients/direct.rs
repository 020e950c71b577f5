//! Results that clients fetch from executors: the same rows, past the server, which admits, counts and ends them all the
//! same; and through the server for whoever cannot reach the executors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::error::FlightError;
use arrow_flight::{Action, FlightClient, FlightEndpoint, FlightInfo, Ticket};
use futures::TryStreamExt;
use futures::future::try_join_all;
use harness::{Client, Lake, certificate, java, python};
use serde_json::json;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

const ROWS: i64 = 3_000_000;
const LOGIN: &str = "[auth]\nmode = \"basic\"\nusers = { alice = \"wonderland\" }\nsecret = \"0123456789abcdef\"\n";
const REUSE: &str = "arrow-flight-reuse-connection://?";

/// A lake whose two executors hand out results, at `host` as clients are told.
async fn lake(host: &str) -> Result<Lake> {
    lake_with(&format!("results = {{ listen = \"127.0.0.1:0\", host = \"{host}\" }}")).await
}

async fn lake_with(results: &str) -> Result<Lake> {
    let lake = Lake::processes(2).section(LOGIN).executor(results).start().await?;
    let mut client = client(&lake).await?;
    client.query("CREATE SCHEMA lake.s").await?;
    let sql = format!("CREATE TABLE lake.s.t AS SELECT value AS id, md5(value::TEXT) AS text FROM range(0, {ROWS})");
    client.query(&sql).await?;
    client.query("DELETE FROM lake.s.t WHERE id % 7 = 3").await?;
    Ok(lake)
}

async fn client(lake: &Lake) -> Result<Client> {
    let mut client = lake.client().await?;
    client.login("alice", "wonderland").await?;
    Ok(client)
}

async fn offered(client: &mut Client, sql: &str) -> Result<FlightInfo> {
    client.query("SET direct_results = 'on'").await?;
    let info = client.raw().execute(sql.to_owned(), None).await;
    info.with_context(|| sql.to_owned())
}

/// The executor of an endpoint, and its ticket.
fn place(endpoint: &FlightEndpoint) -> Result<(String, Ticket)> {
    let uris: Vec<_> = endpoint.location.iter().map(|location| location.uri.as_str()).collect();
    let [executor, REUSE] = uris[..] else {
        anyhow::bail!("the locations are {uris:?}");
    };
    let address = executor
        .strip_prefix("grpc+tcp://")
        .with_context(|| executor.to_owned())?;
    let ticket = endpoint.ticket.clone().context("no ticket")?;
    Ok((address.to_owned(), ticket))
}

async fn connect(address: &str) -> Result<FlightClient> {
    Ok(FlightClient::new(
        Endpoint::new(format!("http://{address}"))?.connect().await?,
    ))
}

/// How often each id comes from executors.
async fn ids(info: &FlightInfo) -> Result<BTreeMap<i64, usize>> {
    let parts = info.endpoint.iter().map(async |endpoint| {
        let (address, ticket) = place(endpoint)?;
        let mut batches = connect(&address).await?.do_get(ticket).await?;
        let mut ids = Vec::new();
        while let Some(batch) = batches.try_next().await? {
            ids.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        anyhow::Ok(ids)
    });
    let mut counts = BTreeMap::new();
    for id in try_join_all(parts).await?.into_iter().flatten() {
        *counts.entry(id).or_default() += 1;
    }
    Ok(counts)
}

fn status(error: FlightError) -> Result<Status> {
    match error {
        FlightError::Tonic(status) => Ok(*status),
        other => Err(other.into()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_give_every_row_once_as_often_as_they_are_asked() -> Result<()> {
    let lake = lake("127.0.0.1").await?;
    let mut client = client(&lake).await?;
    let sql = "SELECT id, upper(text) AS t FROM lake.s.t WHERE id % 2 = 0";
    let info = offered(&mut client, sql).await?;
    let mut executors = info
        .endpoint
        .iter()
        .map(|endpoint| Ok(place(endpoint)?.0))
        .collect::<Result<Vec<_>>>()?;
    executors.sort();
    executors.dedup();
    ensure!(executors.len() == 2, "executors {executors:?}");
    for _ in 0..2 {
        let counts = ids(&info).await?;
        let expected = (0..ROWS).filter(|id| id % 2 == 0 && id % 7 != 3);
        ensure!(counts.len() == expected.clone().count(), "{} rows", counts.len());
        let wrong = expected.into_iter().find(|id| counts.get(id) != Some(&1));
        ensure!(
            wrong.is_none(),
            "{wrong:?} came {:?} times",
            wrong.and_then(|id| counts.get(&id))
        );
    }
    // What the server gives for the same tickets is the same.
    let mut count = 0;
    for endpoint in &info.endpoint {
        let mut part = client.raw().do_get(place(endpoint)?.1).await?;
        while let Some(batch) = part.try_next().await? {
            count += batch.num_rows();
        }
    }
    ensure!(
        count == (0..ROWS).filter(|id| id % 2 == 0 && id % 7 != 3).count(),
        "{count} rows of the server"
    );
    for sql in [
        "SELECT * FROM lake.s.t ORDER BY id",
        "SELECT count(*) FROM lake.s.t",
        "SELECT 1",
    ] {
        let info = offered(&mut client, sql).await?;
        let locations: Vec<_> = info.endpoint.iter().flat_map(|endpoint| &endpoint.location).collect();
        ensure!(
            locations.iter().all(|location| location.uri == REUSE),
            "{sql}: {locations:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_are_reached_over_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [authority, certificate, key] = certificate()?;
    let (certificate_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate_file, certificate)?;
    std::fs::write(&key_file, key)?;
    let results =
        format!("results = {{ listen = \"127.0.0.1:0\", certificate = {certificate_file:?}, key = {key_file:?} }}");
    let lake = lake_with(&results).await?;
    let mut client = client(&lake).await?;
    let info = offered(&mut client, "SELECT id FROM lake.s.t").await?;
    let mut count = 0;
    for endpoint in &info.endpoint {
        let location = endpoint.location.first().context("no location")?;
        let address = location
            .uri
            .strip_prefix("grpc+tls://")
            .with_context(|| location.uri.clone())?;
        ensure!(
            connect(address).await?.handshake("").await.is_err(),
            "a plain connection"
        );
        let trusted = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authority));
        let channel = Endpoint::new(format!("https://{address}"))?
            .tls_config(trusted)?
            .connect()
            .await?;
        let ticket = endpoint.ticket.clone().context("no ticket")?;
        let mut batches = FlightClient::new(channel).do_get(ticket).await?;
        while let Some(batch) = batches.try_next().await? {
            count += batch.num_rows();
        }
    }
    ensure!(count == (0..ROWS).filter(|id| id % 7 != 3).count(), "{count} rows");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_knows_tickets_and_nothing_else() -> Result<()> {
    let lake = lake("127.0.0.1").await?;
    let mut client = client(&lake).await?;
    let info = offered(&mut client, "SELECT id FROM lake.s.t").await?;
    let (address, ticket) = place(info.endpoint.first().context("no endpoint")?)?;
    let mut executor = connect(&address).await?;
    let mut changed = ticket.ticket.to_vec();
    *changed.last_mut().context("an empty ticket")? ^= 1;
    for wrong in [changed, Vec::new(), b"SELECT 1".to_vec()] {
        let refused = executor
            .do_get(Ticket::new(wrong))
            .await
            .err()
            .context("rows for a wrong ticket")?;
        ensure!(status(refused)?.code() == Code::Unavailable);
    }
    let refused = executor.do_action(Action::new("CancelFlightInfo", "")).await;
    ensure!(status(refused.err().context("an executor acts")?)?.code() == Code::Unimplemented);
    // A session that was closed gets nothing, though its ticket was offered before.
    let mut closed = self::client(&lake).await?;
    let info = offered(&mut closed, "SELECT id + 1 FROM lake.s.t").await?;
    let (address, ticket) = place(info.endpoint.first().context("no endpoint")?)?;
    let close = Action::new("CloseSession", "");
    closed.raw().do_action(tonic::Request::new(close)).await?;
    let refused = connect(&address)
        .await?
        .do_get(ticket)
        .await
        .err()
        .context("rows of a closed session")?;
    ensure!(status(refused)?.code() == Code::NotFound);
    // Who does not want it is not sent anywhere.
    client.query("RESET direct_results").await?;
    let info = client.raw().execute("SELECT id FROM lake.s.t".to_owned(), None).await?;
    let locations: Vec<_> = info.endpoint.iter().flat_map(|endpoint| &endpoint.location).collect();
    ensure!(locations.iter().all(|location| location.uri == REUSE), "{locations:?}");
    Ok(())
}

/// The query that runs besides the one that asks.
async fn running(client: &mut Client) -> Result<Option<String>> {
    let shown = client.query("SHOW QUERIES").await?;
    let shown = shown.first().context("no answer")?;
    let text = |name: &str| {
        shown
            .column_by_name(name)
            .map(|column| column.as_string::<i32>().clone())
    };
    let (ids, statements) = text("query_id").zip(text("statement")).context("no such columns")?;
    let other = (0..shown.num_rows()).find(|row| statements.value(*row).contains("repeat("));
    Ok(other.map(|row| ids.value(row).to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_sees_and_ends_what_executors_give() -> Result<()> {
    let lake = lake("127.0.0.1").await?;
    let mut client = client(&lake).await?;
    let info = offered(&mut client, "SELECT id, text, repeat(text, 50) AS long FROM lake.s.t").await?;
    let (address, ticket) = place(info.endpoint.first().context("no endpoint")?)?;
    let mut executor = connect(&address).await?;
    let mut batches = executor.do_get(ticket.clone()).await?;
    let first = batches.try_next().await?.context("no rows")?;
    ensure!(first.num_rows() > 0, "an empty batch");
    let id = running(&mut client).await?.context("the query does not run")?;
    let asked = Instant::now();
    client.query(&format!("KILL QUERY '{id}'")).await?;
    let ended = loop {
        match batches.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the rows ended as if they were all"),
            Err(error) => break status(error)?,
        }
    };
    ensure!(
        asked.elapsed() < Duration::from_secs(2),
        "ended after {:?}",
        asked.elapsed()
    );
    ensure!(
        ended.code() == Code::Cancelled && ended.message().contains("KILL QUERY"),
        "{ended:?}"
    );
    ensure!(running(&mut client).await?.is_none(), "the query still runs");
    // Ended is ended, wherever its ticket is shown; a client that leaves ends its query too.
    let refused = executor
        .do_get(ticket)
        .await
        .err()
        .context("rows of a query that was killed")?;
    ensure!(status(refused)?.code() == Code::Cancelled);
    let info = offered(&mut client, "SELECT id, repeat(text, 60) AS long FROM lake.s.t").await?;
    let (address, ticket) = place(info.endpoint.first().context("no endpoint")?)?;
    let mut batches = connect(&address).await?.do_get(ticket).await?;
    batches.try_next().await?.context("no rows")?;
    running(&mut client).await?.context("the query does not run again")?;
    drop(batches);
    let left = Instant::now();
    while running(&mut client).await?.is_some() {
        ensure!(
            left.elapsed() < Duration::from_secs(2),
            "the query runs on without its client"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_what_the_server_would_say() -> Result<()> {
    let lake = lake("127.0.0.1").await?;
    let mut client = client(&lake).await?;
    let info = offered(&mut client, "SELECT 100 / (id - 1500000) FROM lake.s.t").await?;
    let mut failures = Vec::new();
    for endpoint in &info.endpoint {
        let (address, ticket) = place(endpoint)?;
        let read = async {
            let mut batches = connect(&address).await?.do_get(ticket).await?;
            while batches.try_next().await?.is_some() {}
            anyhow::Ok(())
        };
        if let Err(error) = read.await {
            failures.push(status(error.downcast::<FlightError>()?)?);
        }
    }
    let [direct] = &failures[..] else {
        anyhow::bail!("{failures:?}");
    };
    client.query("RESET direct_results").await?;
    let relayed = client.failure("SELECT 100 / (id - 1500000) FROM lake.s.t").await?;
    ensure!(direct.code() == relayed.code(), "{direct:?} and {relayed:?}");
    ensure!(direct.message() == relayed.message(), "{direct:?} and {relayed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_follow_the_locations_and_fall_back() -> Result<()> {
    let sql = "SELECT id, text FROM lake.s.t";
    let expected: i64 = (0..ROWS).filter(|id| id % 7 != 3).sum();
    let count = (0..ROWS).filter(|id| id % 7 != 3).count();
    // Nobody listens at the second host.
    for (host, reachable) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let lake = lake(host).await?;
        let login = json!({"user": "alice", "password": "wonderland"});
        let mut request = json!({"uri": format!("grpc://{}", lake.address()), "sql": sql});
        request
            .as_object_mut()
            .context("no object")?
            .extend(login.as_object().cloned().unwrap_or_default());
        let busy = || {
            lake.executors
                .iter()
                .map(|executor| executor.cpu_seconds())
                .sum::<Result<f64>>()
        };
        let before = busy()?;
        let answer = python("adbc_direct.py", request).await?;
        ensure!(
            answer["rows"] == json!(count) && answer["sum"] == json!(expected),
            "{answer}"
        );
        ensure!(
            answer["places"][0][0].as_str().is_some_and(|uri| uri.contains(host)),
            "{answer}"
        );
        let url = format!(
            "jdbc:arrow-flight-sql://{}/?useEncryption=false&user=alice&password=wonderland",
            lake.address()
        );
        let answer = java("JdbcDirect", "jdbc", &[&url, sql]).await?;
        ensure!(answer == json!({"rows": count, "sum": expected}), "{answer}");
        ensure!(busy()? > before || !reachable, "the executors had nothing to do");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_ends_brings_its_clients_to_the_end() -> Result<()> {
    let mut lake = lake("127.0.0.1").await?;
    let mut client = client(&lake).await?;
    let info = offered(&mut client, "SELECT id, repeat(text, 30) AS long FROM lake.s.t").await?;
    let mut open = Vec::new();
    for endpoint in &info.endpoint {
        let (address, ticket) = place(endpoint)?;
        let mut batches = connect(&address).await?.do_get(ticket).await?;
        let first = batches.try_next().await?.context("no rows")?.num_rows();
        open.push((first, batches));
    }
    let executors = std::mem::take(&mut lake.executors);
    let ending = executors.into_iter().map(|executor| executor.terminate());
    let read = async {
        // They are about to end while rows are still to be read.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut count = 0;
        for (first, mut batches) in open {
            count += first;
            while let Some(batch) = batches.try_next().await? {
                count += batch.num_rows();
            }
        }
        anyhow::Ok(count)
    };
    let (count, ended) = futures::future::try_join(read, try_join_all(ending)).await?;
    ensure!(count == (0..ROWS).filter(|id| id % 7 != 3).count(), "{count} rows");
    ensure!(ended.iter().all(std::process::ExitStatus::success), "{ended:?}");
    Ok(())
}
