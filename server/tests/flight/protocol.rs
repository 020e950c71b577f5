//! Handles that were changed or stolen, and calls that break the protocol.

use arrow_flight::sql::{Any, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{Action, FlightDescriptor};
use prost::Message;
use tonic::Code;

use crate::house::{House, two_users};

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_foreign_tickets_are_refused() {
    let house = House::with(|config| config.auth = two_users()).await;
    let mut alice = house.client_of("alice", "wonderland").await;
    let mut bob = house.client_of("bob", "builder").await;
    let query = CommandStatementQuery {
        query: "SELECT 1".to_owned(),
        transaction_id: None,
    };
    let info = alice.info(&query).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket.to_vec();

    assert_eq!(alice.get(ticket.clone()).await.unwrap().num_rows(), 1);
    assert_eq!(
        bob.get(ticket.clone()).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    for at in 0..ticket.len() {
        let mut damaged = ticket.clone();
        damaged[at] ^= 0x10;
        let code = alice.get(damaged).await.unwrap_err().code();
        assert!(
            matches!(code, Code::InvalidArgument | Code::Unimplemented),
            "byte {at}: {code:?}"
        );
    }
    let url_bytes = ticket.len() - 40;
    let mut damaged = ticket.clone();
    damaged[url_bytes] ^= 1;
    assert_eq!(alice.get(damaged).await.unwrap_err().code(), Code::InvalidArgument);
    for nonsense in [
        b"".to_vec(),
        b"nonsense".to_vec(),
        vec![0xff; 64],
        ticket[..ticket.len() - 1].to_vec(),
    ] {
        assert_eq!(alice.get(nonsense).await.unwrap_err().code(), Code::InvalidArgument);
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_calls_are_the_callers_fault() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let descriptors = [
        FlightDescriptor::new_cmd(vec![0xff, 0xff]),
        FlightDescriptor::new_cmd(Vec::new()),
        FlightDescriptor::new_path(vec!["lake".to_owned()]),
        FlightDescriptor::new_cmd(
            Any {
                type_url: CommandStatementQuery::type_url().to_owned(),
                value: vec![0xff].into(),
            }
            .encode_to_vec(),
        ),
    ];
    for descriptor in descriptors {
        let status = client
            .sql
            .inner_mut()
            .get_flight_info(descriptor.clone())
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{descriptor:?}: {status}");
    }
    let action = |name: &str| Action {
        r#type: name.to_owned(),
        body: vec![0xff].into(),
    };
    let status = client
        .sql
        .inner_mut()
        .do_action(action("CreatePreparedStatement"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = client
        .sql
        .inner_mut()
        .do_action(action("BeginTransaction"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unimplemented, "the action BeginTransaction is not supported")
    );
    house.close().await;
}
