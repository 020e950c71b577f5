//! PollFlightInfo: queries that run by themselves, and results that stay for a while.

use std::time::{Duration, SystemTime};

use arrow::array::RecordBatch;
use arrow::datatypes::Int64Type;
use arrow_flight::sql::{CommandGetTableTypes, CommandStatementQuery};
use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightEndpoint, PollInfo, RenewFlightEndpointRequest,
};
use prost::Message;
use tonic::{Code, Status};

use crate::house::{Client, House, column, descriptor, two_users};

fn command(query: &str) -> CommandStatementQuery {
    CommandStatementQuery {
        query: query.to_owned(),
        transaction_id: None,
    }
}

/// Polls to the end; checks what must hold of every answer.
async fn poll_all(client: &mut Client, sql: &str) -> Result<Vec<PollInfo>, Status> {
    let mut next = Some(descriptor(&command(sql)));
    let mut answers: Vec<PollInfo> = Vec::new();
    while let Some(descriptor) = next.take() {
        let answer = client.poll(descriptor).await?;
        next.clone_from(&answer.flight_descriptor);
        if let Some(before) = answers.last() {
            let (before_info, info) = (before.info.as_ref().unwrap(), answer.info.as_ref().unwrap());
            let known = before_info.endpoint.len();
            let tickets = |endpoints: &[FlightEndpoint]| {
                endpoints
                    .iter()
                    .map(|endpoint| endpoint.ticket.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(tickets(&info.endpoint[..known]), tickets(&before_info.endpoint));
            assert!(answer.progress >= before.progress);
        }
        assert_eq!(answer.progress == Some(1.0), next.is_none(), "{:?}", answer.progress);
        answers.push(answer);
    }
    Ok(answers)
}

async fn fetch(client: &mut Client, endpoint: &FlightEndpoint) -> Result<RecordBatch, Status> {
    client.get(endpoint.ticket.clone().unwrap().ticket.to_vec()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_comes_in_parts_that_can_be_fetched_again() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let sql = "SELECT value, md5(CAST(value AS VARCHAR)) AS text FROM generate_series(1, 1000000) ORDER BY value";
    let answers = poll_all(&mut client, sql).await.unwrap();
    let first = &answers[0];
    assert!(first.flight_descriptor.is_some() && first.info.as_ref().unwrap().endpoint.is_empty());
    let last = answers.last().unwrap().info.clone().unwrap();
    assert!(
        (3..=16).contains(&last.endpoint.len()),
        "{} endpoints",
        last.endpoint.len()
    );
    assert!(last.ordered);
    assert_eq!(last.total_records, 1_000_000);
    assert_eq!(last.endpoint[0].location[0].uri, "arrow-flight-reuse-connection://?");
    let announced = last.clone().try_decode_schema().unwrap();
    let mut next = 1;
    for endpoint in &last.endpoint {
        assert!(SystemTime::try_from(endpoint.expiration_time.unwrap()).unwrap() > SystemTime::now());
        let rows = fetch(&mut client, endpoint).await.unwrap();
        assert_eq!(announced, *rows.schema());
        assert_eq!(rows, fetch(&mut client, endpoint).await.unwrap(), "again");
        for value in column::<Int64Type>(&rows, 0) {
            assert_eq!(value, next);
            next += 1;
        }
    }
    assert_eq!(next, 1_000_001);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_results_have_one_part_and_commands_none_to_wait_for() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    for (sql, rows) in [
        ("SELECT * FROM lake.shop.orders", 5),
        ("SELECT * FROM lake.shop.orders WHERE id > 99", 0),
    ] {
        let answers = poll_all(&mut client, sql).await.unwrap();
        let info = answers.last().unwrap().info.clone().unwrap();
        assert_eq!((info.endpoint.len(), info.ordered), (1, false), "{sql}");
        assert_eq!(fetch(&mut client, &info.endpoint[0]).await.unwrap().num_rows(), rows);
    }
    let done = client.poll(descriptor(&command("USE lake.shop"))).await.unwrap();
    assert_eq!((done.flight_descriptor, done.progress), (None, Some(1.0)));
    assert_eq!(client.query("SELECT * FROM orders").await.unwrap().1.num_rows(), 5);
    let types = client.poll(descriptor(&CommandGetTableTypes {})).await.unwrap();
    assert!(types.flight_descriptor.is_none());
    let rows = fetch(&mut client, &types.info.unwrap().endpoint[0]).await.unwrap();
    assert!(rows.num_rows() > 0);

    let failed = poll_all(&mut client, "SELECT 1 / (id - id) FROM lake.shop.orders")
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Code::InvalidArgument);
    assert!(failed.message().contains("Divide by zero"), "{failed}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_expire_unless_they_are_renewed() {
    let house = House::with(|config| config.spool.lifetime = Duration::from_secs(1)).await;
    let mut client = house.client().await;
    let answers = poll_all(&mut client, "SELECT * FROM lake.shop.orders").await.unwrap();
    let endpoint = answers.last().unwrap().info.clone().unwrap().endpoint.remove(0);
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let request = RenewFlightEndpointRequest::new(endpoint.clone()).encode_to_vec();
        let renewed = client.act("RenewFlightEndpoint", request).await.unwrap();
        let renewed = FlightEndpoint::decode(&*renewed).unwrap();
        assert_eq!(renewed.ticket, endpoint.ticket);
        assert!(renewed.expiration_time.unwrap().seconds >= endpoint.expiration_time.unwrap().seconds);
    }
    assert_eq!(fetch(&mut client, &endpoint).await.unwrap().num_rows(), 5);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(fetch(&mut client, &endpoint).await.unwrap_err().code(), Code::NotFound);
    let request = RenewFlightEndpointRequest::new(endpoint).encode_to_vec();
    let late = client.act("RenewFlightEndpoint", request).await.unwrap_err();
    assert_eq!(late.code(), Code::NotFound);

    let info = client.info(&command("SELECT 1")).await.unwrap();
    let request = RenewFlightEndpointRequest::new(info.endpoint[0].clone()).encode_to_vec();
    let refused = client.act("RenewFlightEndpoint", request).await.unwrap_err();
    assert!(refused.message().contains("does not expire"), "{refused}");
    house.close().await;
}

/// Work for hours, and no row.
const SILENT: &str = "SELECT count(*) FROM generate_series(1, 10000000) a CROSS JOIN generate_series(1, 10000000) b";

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_query_ends_when_it_is_cancelled_or_forgotten() {
    let house = House::with(|config| {
        config.auth = two_users();
        config.spool.lifetime = Duration::from_secs(1);
    })
    .await;
    let mut client = house.client_of("alice", "wonderland").await;
    let begun = client.poll(descriptor(&command(SILENT))).await.unwrap();
    let again = begun.flight_descriptor.clone().unwrap();
    let mut bob = house.client_of("bob", "builder").await;
    assert_eq!(
        bob.poll(again.clone()).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    let mut damaged = again.clone();
    let at = damaged.cmd.len() - 5;
    damaged.cmd = [&damaged.cmd[..at], b"?", &damaged.cmd[at + 1..]].concat().into();
    assert_eq!(client.poll(damaged).await.unwrap_err().code(), Code::InvalidArgument);

    let request = CancelFlightInfoRequest::new(begun.info.unwrap()).encode_to_vec();
    let answer = client.act("CancelFlightInfo", request).await.unwrap();
    let answer = CancelFlightInfoResult::decode(&*answer).unwrap();
    assert_eq!(answer.status(), CancelStatus::Cancelled);
    assert_eq!(client.poll(again).await.unwrap_err().code(), Code::Cancelled);

    let begun = client.poll(descriptor(&command(SILENT))).await.unwrap();
    assert!(client.query("SHOW QUERIES").await.unwrap().1.num_rows() > 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(client.query("SHOW QUERIES").await.unwrap().1.num_rows(), 0);
    let late = client.poll(begun.flight_descriptor.unwrap()).await.unwrap_err();
    assert_eq!(late.code(), Code::NotFound);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_has_a_bound() {
    let house = House::with(|config| config.spool.bytes_max = 1_000_000).await;
    let mut client = house.client().await;
    let sql = "SELECT md5(CAST(value AS VARCHAR)) AS text FROM generate_series(1, 1000000)";
    let full = poll_all(&mut client, sql).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(full.message().contains("spool.bytes_max"), "{full}");
    house.close().await;
}
