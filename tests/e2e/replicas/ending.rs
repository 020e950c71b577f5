//! A query whose rows one server streams, ended through the other one: within two seconds, and no other query with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{ActionCancelQueryRequest, ProstMessageExt};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use futures::{StreamExt, TryStreamExt};
use harness::{Client, Lake};
use prost::Message;
use tonic::{Code, Request, Status};

use super::replica;

/// Rows for hours.
const ENDLESS: &str = "SELECT value, value * 2 AS twice FROM range(0, 1000000000000)";
/// What users are promised is two seconds; the rest is for a machine that does something else meanwhile.
const ENDED_WITHIN: Duration = Duration::from_secs(3);

/// How a query is ended.
#[derive(Debug, Clone, Copy)]
enum How {
    CancelFlightInfo,
    CancelWithoutTickets,
    CancelQuery,
    Kill,
    CloseSession,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_through_the_server_that_does_not_run_it() -> Result<()> {
    let data = tempfile::tempdir()?;
    let (here, there) = (replica(&data).start().await?, replica(&data).start().await?);
    let mut bystander = here.client().await?;
    bystander.login("alice", "wonderland").await?;
    let (_, mut others) = begin(&mut bystander).await?;
    let all = [
        (How::CancelFlightInfo, "cancelled"),
        (How::CancelWithoutTickets, "cancelled"),
        (How::CancelQuery, "cancelled"),
        (How::Kill, "KILL QUERY"),
        (How::CloseSession, "session"),
    ];
    for (how, told) in all {
        let ended = ended(&here, &there, how).await;
        let status = ended.with_context(|| format!("{how:?}"))?;
        ensure!(
            status.code() == Code::Cancelled && status.message().contains(told),
            "{how:?}: {status}"
        );
        let next = others.next().await.context("the other query is over")?;
        next.with_context(|| format!("another query ended by {how:?}"))?;
    }
    Ok(())
}

/// What is another user's is not there for bob, on whatever server.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_the_query_of_another_user_through_another_server() -> Result<()> {
    let data = tempfile::tempdir()?;
    let (here, there) = (replica(&data).start().await?, replica(&data).start().await?);
    let mut alice = here.client().await?;
    alice.login("alice", "wonderland").await?;
    let (info, mut rows) = begin(&mut alice).await?;
    let mut bob = there.client().await?;
    bob.login("bob", "builder").await?;
    let killed = bob.failure(&format!("KILL QUERY '{}'", id(&info)?)).await?;
    ensure!(killed.code() == Code::NotFound, "{killed}");
    for how in [How::CancelFlightInfo, How::CancelWithoutTickets, How::CancelQuery] {
        ensure!(end(&mut bob, &info, how).await.is_err(), "bob may {how:?}");
    }
    for _ in 0..10 {
        rows.next().await.context("the query is over")??;
    }
    Ok(())
}

/// Begins a query on `here`, ends it through `there`, and says how it failed.
async fn ended(here: &Lake, there: &Lake, how: How) -> Result<Status> {
    let mut reader = here.client().await?;
    reader.login("alice", "wonderland").await?;
    let mut other = there.client().await?;
    let token = reader.raw().token().context("no token")?.clone();
    other.raw().set_token(token);
    let (info, rows) = begin(&mut reader).await?;
    let began = Instant::now();
    end(&mut other, &info, how).await?;
    let answered = began.elapsed();
    let status = failure(rows).await?;
    let took = began.elapsed();
    eprintln!("{how:?}: answered after {answered:?}, the reader is told after {took:?}");
    // For the server it is over as well.
    let mut watcher = here.client().await?;
    watcher.login("alice", "wonderland").await?;
    loop {
        let running = format!("{:?}", watcher.query("SHOW QUERIES").await?);
        ensure!(began.elapsed() < ENDED_WITHIN, "told after {took:?}; {running}");
        if !running.contains(&id(&info)?) {
            return Ok(status);
        }
    }
}

/// A query and its rows, of which the first have come.
async fn begin(client: &mut Client) -> Result<(FlightInfo, FlightRecordBatchStream)> {
    let info = client.raw().execute(ENDLESS.to_owned(), None).await?;
    let ticket = info.endpoint.first().and_then(|endpoint| endpoint.ticket.clone());
    let mut rows = client.raw().do_get(ticket.context("no ticket")?).await?;
    rows.next().await.context("no rows")??;
    Ok((info, rows))
}

async fn end(client: &mut Client, info: &FlightInfo, how: How) -> Result<()> {
    let mut info = info.clone();
    match how {
        How::CancelFlightInfo | How::CancelWithoutTickets => {
            if matches!(how, How::CancelWithoutTickets) {
                info.endpoint.clear();
            }
            let body = CancelFlightInfoRequest::new(info).encode_to_vec();
            let answer = act(client, "CancelFlightInfo", body).await?;
            let status = CancelFlightInfoResult::decode(&*answer)?.status();
            ensure!(status == CancelStatus::Cancelled, "{status:?}");
        }
        How::CancelQuery => {
            let info = info.encode_to_vec().into();
            let request = ActionCancelQueryRequest { info }.as_any();
            act(client, "CancelQuery", request.encode_to_vec()).await?;
        }
        How::Kill => {
            client.query(&format!("KILL QUERY '{}'", id(&info)?)).await?;
        }
        How::CloseSession => {
            act(client, "CloseSession", Vec::new()).await?;
        }
    }
    Ok(())
}

/// The body of the only answer.
async fn act(client: &mut Client, name: &str, body: Vec<u8>) -> Result<Vec<u8>> {
    let action = Action {
        r#type: name.to_owned(),
        body: body.into(),
    };
    let answers = client.raw().do_action(Request::new(action)).await?;
    let answers: Vec<_> = answers.try_collect().await?;
    let [answer] = answers.as_slice() else {
        bail!("{name} gives {} answers", answers.len());
    };
    Ok(answer.body.to_vec())
}

async fn failure(mut rows: FlightRecordBatchStream) -> Result<Status> {
    while let Some(batch) = rows.next().await {
        match batch {
            Ok(_) => {}
            Err(FlightError::Tonic(status)) => return Ok(*status),
            Err(other) => return Err(other.into()),
        }
    }
    bail!("the query came to its end")
}

fn id(info: &FlightInfo) -> Result<String> {
    Ok(String::from_utf8(info.app_metadata.to_vec())?)
}
