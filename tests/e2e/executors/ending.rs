//! A query on executor processes that is ended from outside: no executor works on for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::{Action, FlightInfo};
use futures::TryStreamExt;
use harness::{Client, Lake, Process, demo};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Work for hours on every executor, and no row.
const SILENT: &str = "SELECT count(*) FROM lake.tpch.lineitem a JOIN lake.tpch.lineitem b \
                      ON a.l_orderkey * b.l_orderkey <> -1";
/// Time of a busy processor, in hundredths of a second, that an idle executor may use while it is watched.
const IDLE_TICKS_MAX: u64 = 2;

#[tokio::test(flavor = "multi_thread")]
async fn executors_stop_within_two_seconds() -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(
        0.01,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    let lake = Lake::processes(2).split_files().data(data.path()).start().await?;
    let check = async |what: &str, code: Code, end: Ending| -> Result<()> {
        let mut client = lake.client().await?;
        client.login("anyone", "").await?;
        if matches!(end, Ending::Timeout) {
            client.query("SET statement_timeout = '3s'").await?;
        }
        let info = client.raw().execute(SILENT.to_owned(), None).await?;
        let reader = read(&lake, client.raw().token().cloned(), info.clone()).await?;
        busy(&lake.executors).await.with_context(|| format!("before {what}"))?;
        let began = Instant::now();
        match end {
            Ending::Cancel => {
                let body = prost_info(&info);
                act(client.raw(), "CancelFlightInfo", body).await?;
            }
            Ending::Close => act(client.raw(), "CloseSession", Vec::new()).await?,
            Ending::Kill => {
                let id = String::from_utf8(info.app_metadata.to_vec())?;
                lake.client().await?.query(&format!("KILL QUERY '{id}'")).await?;
            }
            Ending::Drop => reader.abort(),
            Ending::Timeout => {}
        }
        if !matches!(end, Ending::Drop) {
            let status = reader.await?;
            ensure!(status.code() == code, "{what}: the client sees {status}");
        }
        let told = began.elapsed();
        ensure!(
            matches!(end, Ending::Timeout) || told < Duration::from_secs(2),
            "{what}: told after {told:?}"
        );
        idle(&lake.executors, Duration::from_secs(2))
            .await
            .with_context(|| what.to_owned())
    };
    check("CancelFlightInfo", Code::Cancelled, Ending::Cancel).await?;
    check("KILL QUERY", Code::Cancelled, Ending::Kill).await?;
    check("CloseSession", Code::Cancelled, Ending::Close).await?;
    check("a dropped stream", Code::Cancelled, Ending::Drop).await?;
    check("statement_timeout", Code::DeadlineExceeded, Ending::Timeout).await
}

enum Ending {
    Cancel,
    Kill,
    Close,
    Drop,
    Timeout,
}

/// Reads the result on a connection of its own; how it fails.
async fn read(lake: &Lake, token: Option<String>, info: FlightInfo) -> Result<tokio::task::JoinHandle<Status>> {
    let mut client = Client::connect(lake.address()).await?;
    if let Some(token) = token {
        client.raw().set_token(token);
    }
    let ticket = info.endpoint.into_iter().next().and_then(|endpoint| endpoint.ticket);
    let ticket = ticket.context("no ticket")?;
    #[allow(clippy::disallowed_methods, reason = "joined or aborted by the test")]
    Ok(tokio::spawn(async move {
        let rows = async { client.raw().do_get(ticket).await?.try_collect::<Vec<_>>().await };
        match rows.await {
            Ok(rows) => Status::ok(format!("{} batches", rows.len())),
            Err(arrow_flight::error::FlightError::Tonic(status)) => *status,
            Err(other) => Status::unknown(other.to_string()),
        }
    }))
}

async fn act(client: &mut FlightSqlServiceClient<Channel>, name: &str, body: Vec<u8>) -> Result<()> {
    let mut request = tonic::Request::new(Action {
        r#type: name.to_owned(),
        body: body.into(),
    });
    if let Some(token) = client.token() {
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse()?);
    }
    let answers: Vec<_> = client
        .inner_mut()
        .do_action(request)
        .await?
        .into_inner()
        .try_collect()
        .await?;
    ensure!(answers.len() == 1, "{name} gives {} answers", answers.len());
    Ok(())
}

/// `CancelFlightInfoRequest`, bare.
fn prost_info(info: &FlightInfo) -> Vec<u8> {
    use prost::Message;
    arrow_flight::CancelFlightInfoRequest::new(info.clone()).encode_to_vec()
}

/// Waits until every executor works.
async fn busy(executors: &[Process]) -> Result<()> {
    for executor in executors {
        let (before, began) = (ticks(executor)?, Instant::now());
        while ticks(executor)? < before + 20 {
            ensure!(began.elapsed() < Duration::from_secs(60), "an executor does nothing");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// Waits until no executor works any more.
async fn idle(executors: &[Process], at_most: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        let before = executors.iter().map(ticks).collect::<Result<Vec<_>>>()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = executors.iter().map(ticks).collect::<Result<Vec<_>>>()?;
        if before
            .iter()
            .zip(&now)
            .all(|(before, now)| now - before <= IDLE_TICKS_MAX)
        {
            return Ok(());
        }
        ensure!(
            began.elapsed() < at_most,
            "an executor still works: {before:?}, then {now:?}"
        );
    }
}

/// Processor time that a process has used, in hundredths of a second.
fn ticks(process: &Process) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    let fields = stat.rsplit_once(')').context("no name")?.1.split_whitespace();
    let times: Vec<u64> = fields.skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(times.iter().sum())
}
