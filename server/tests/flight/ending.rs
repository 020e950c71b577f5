//! Everything that ends a query before its last row.

use std::time::{Duration, Instant};

use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandStatementQuery, ProstMessageExt,
};
use arrow_flight::{CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use executor::Mode;
use futures::StreamExt;
use prost::Message;
use tonic::{Code, Status};

use crate::house::{Client, House, status, texts, two_users};

/// Rows for hours.
const ENDLESS: &str = "SELECT a.id + c.value AS n FROM lake.shop.orders a JOIN delta.shop.orders b ON a.id <= b.id \
                       CROSS JOIN generate_series(1, 1000000000) c";
/// Work for hours, and no row.
const SILENT: &str = "SELECT count(*) FROM generate_series(1, 10000000) a CROSS JOIN generate_series(1, 10000000) b";

fn command(query: &str) -> CommandStatementQuery {
    CommandStatementQuery {
        query: query.to_owned(),
        transaction_id: None,
    }
}

async fn cancel(client: &mut Client, info: FlightInfo) -> Result<CancelStatus, Status> {
    let body = CancelFlightInfoRequest::new(info).encode_to_vec();
    let answer = client.act("CancelFlightInfo", body).await?;
    Ok(CancelFlightInfoResult::decode(&*answer).unwrap().status())
}

/// Begins a query, ends it with `end`, and says how it failed.
async fn ended(house: &House, sql: &str, end: impl AsyncFnOnce(&mut Client, FlightInfo)) -> Status {
    let mut client = house.client_of("alice", "wonderland").await;
    let info = client.info(&command(sql)).await.unwrap();
    let reader = {
        let mut rows = client.open(&info).await.unwrap();
        if sql == ENDLESS {
            rows.next().await.unwrap().unwrap();
        }
        rows
    };
    let began = Instant::now();
    end(&mut client, info).await;
    let failure = failure(reader).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    failure
}

async fn failure(mut rows: arrow_flight::decode::FlightRecordBatchStream) -> Status {
    loop {
        if let Err(error) = rows.next().await.unwrap() {
            return status(error);
        }
    }
}

async fn running(house: &House) -> Vec<String> {
    let mut client = house.client_of("alice", "wonderland").await;
    texts(&client.query("SHOW QUERIES").await.unwrap().1, 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_a_query_ends_it() {
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let house = House::with(|config| {
            config.auth = two_users();
            config.executor.mode = mode;
            config.executor.scan_bytes_per_partition = 1;
        })
        .await;
        for sql in [ENDLESS, SILENT] {
            by_cancelling(&house, sql).await;
            by_sql(&house, sql).await;
            by_closing(&house, sql).await;
            let mut client = house.client_of("alice", "wonderland").await;
            let info = client.info(&command(sql)).await.unwrap();
            drop(client.open(&info).await.unwrap());
        }
        let began = Instant::now();
        loop {
            let left = running(&house).await;
            if left.is_empty() {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(2), "{left:?} still run");
        }
        house.close().await;
    }
}

async fn by_cancelling(house: &House, sql: &str) {
    // The whole info, the info without its tickets, as some clients keep it, and without its id, as others do.
    for keep in [(true, true), (false, true), (true, false)] {
        let failed = ended(house, sql, async |client: &mut Client, mut info: FlightInfo| {
            if !keep.0 {
                info.endpoint.clear();
            }
            if !keep.1 {
                info.app_metadata.clear();
            }
            assert_eq!(cancel(client, info).await.unwrap(), CancelStatus::Cancelled);
        });
        assert_eq!(failed.await.code(), Code::Cancelled, "{keep:?}");
    }
    let failed = ended(house, sql, async |client: &mut Client, info: FlightInfo| {
        let info = info.encode_to_vec().into();
        let body = ActionCancelQueryRequest { info }.as_any().encode_to_vec();
        let answer = Any::decode(&*client.act("CancelQuery", body).await.unwrap()).unwrap();
        let answer: ActionCancelQueryResult = answer.unpack().unwrap().unwrap();
        assert_eq!(answer.result, 1);
    });
    assert_eq!(failed.await.code(), Code::Cancelled);
}

async fn by_sql(house: &House, sql: &str) {
    let failed = ended(house, sql, async |client: &mut Client, info: FlightInfo| {
        let id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
        let shown = client.query("SHOW QUERIES").await.unwrap().1;
        let text = |at| texts(&shown, at);
        assert_eq!([text(0), text(1)].concat(), [id.as_str(), "alice"]);
        assert_eq!([text(2), text(7)].concat(), ["running", sql]);
        client.query(&format!("KILL QUERY '{id}'")).await.unwrap();
    });
    let failed = failed.await;
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::Cancelled, "the query was ended by KILL QUERY")
    );

    let mut client = house.client_of("alice", "wonderland").await;
    client.query("SET statement_timeout = '300ms'").await.unwrap();
    let info = client.info(&command(sql)).await.unwrap();
    let failed = match client.open(&info).await {
        Ok(rows) => failure(rows).await,
        Err(failed) => failed,
    };
    assert_eq!(failed.code(), Code::DeadlineExceeded, "{failed}");
    assert!(failed.message().contains("statement_timeout, 300ms"), "{failed}");
}

async fn by_closing(house: &House, sql: &str) {
    let failed = ended(house, sql, async |client: &mut Client, _: FlightInfo| {
        // CloseSessionResult with the status CLOSED.
        assert_eq!(client.act("CloseSession", Vec::new()).await.unwrap(), [8, 1]);
        let refused = client.query("SELECT 1").await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::NotFound, "this session is closed")
        );
    });
    let failed = failed.await;
    assert_eq!(
        (failed.code(), failed.message()),
        (Code::Cancelled, "the query ended with its session")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_their_users_own() {
    let house = House::with(|config| config.auth = two_users()).await;
    let mut alice = house.client_of("alice", "wonderland").await;
    let mut bob = house.client_of("bob", "builder").await;
    let info = alice.info(&command(ENDLESS)).await.unwrap();
    let id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    let mut rows = alice.open(&info).await.unwrap();
    rows.next().await.unwrap().unwrap();

    assert_eq!(
        cancel(&mut bob, info.clone()).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let mut without_tickets = info.clone();
    without_tickets.endpoint.clear();
    assert_eq!(
        cancel(&mut bob, without_tickets).await.unwrap_err().code(),
        Code::NotFound
    );
    let refused = bob.query(&format!("KILL QUERY '{id}'")).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(bob.query("SHOW QUERIES").await.unwrap().1.num_rows(), 0);
    for _ in 0..3 {
        rows.next().await.unwrap().unwrap();
    }
    assert_eq!(cancel(&mut alice, info.clone()).await.unwrap(), CancelStatus::Cancelled);
    assert_eq!(failure(rows).await.code(), Code::Cancelled);
    assert_eq!(
        cancel(&mut alice, FlightInfo::default()).await.unwrap_err().code(),
        Code::NotFound
    );
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_was_cancelled_before_it_ran_does_not_run() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let info = client.info(&command(ENDLESS)).await.unwrap();
    assert_eq!(
        cancel(&mut client, info.clone()).await.unwrap(),
        CancelStatus::Cancelled
    );
    assert_eq!(client.open(&info).await.err().unwrap().code(), Code::Cancelled);
    let malformed = client.act("CancelFlightInfo", vec![0xff]).await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    house.close().await;
}
