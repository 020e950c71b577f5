//! Session options as actions: the bytes are written here by hand, as the protocol has them.

use std::collections::HashMap;

use arrow_flight::Empty;
use futures::TryStreamExt;
use prost::Message;
use tonic::Code;

use crate::house::{House, texts};

#[derive(Clone, PartialEq, prost::Message)]
struct Value {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(bool, optional, tag = "2")]
    flag: Option<bool>,
    #[prost(sfixed64, optional, tag = "3")]
    integer: Option<i64>,
    #[prost(double, optional, tag = "4")]
    number: Option<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Options {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Refusal {
    #[prost(int32, tag = "1")]
    reason: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Refusals {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, Refusal>,
}

fn text(value: &str) -> Value {
    Value {
        text: Some(value.to_owned()),
        ..Value::default()
    }
}

fn integer(value: i64) -> Value {
    Value {
        integer: Some(value),
        ..Value::default()
    }
}

fn options<const N: usize>(options: [(&str, Value); N]) -> Vec<u8> {
    let options = options.map(|(name, value)| (name.to_owned(), value)).into();
    Options { options }.encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn options_and_settings_are_one() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    let body = options([
        ("schema", text("shop")),
        ("catalog", text("delta")),
        ("batch_size", integer(1000)),
        ("TimeZone", text("Asia/Tokyo")),
    ]);
    assert!(client.act("SetSessionOptions", body).await.unwrap().is_empty());
    assert_eq!(client.query("SELECT * FROM orders").await.unwrap().1.num_rows(), 5);
    let shown = client.query("SHOW time_zone").await.unwrap().1;
    assert_eq!(texts(&shown, 1), ["Asia/Tokyo"]);

    client.query("SET statement_timeout = '1min'").await.unwrap();
    let told = client.act("GetSessionOptions", Vec::new()).await.unwrap();
    let told = Options::decode(&*told).unwrap().options;
    for (name, value) in [
        ("catalog", text("delta")),
        ("schema", text("shop")),
        ("batch_size", integer(1000)),
        ("statement_timeout", text("1min")),
        ("result_compression", text("none")),
    ] {
        assert_eq!(told[name], value, "{name}");
    }

    // A value that says nothing is the default.
    client
        .act("SetSessionOptions", options([("batch_size", Value::default())]))
        .await
        .unwrap();
    assert_eq!(texts(&client.query("SHOW batch_size").await.unwrap().1, 1), ["8192"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_be_set_are_named_and_the_others_set() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    let flag = Value {
        flag: Some(true),
        ..Value::default()
    };
    let body = options([
        ("no_such_option", text("x")),
        ("batch_size", flag),
        ("catalog", text("nowhere")),
        ("time_zone", text("Mars/Olympus")),
        ("statement_timeout", integer(60_000)),
    ]);
    let answer = client.act("SetSessionOptions", body).await.unwrap();
    let errors = Refusals::decode(&*answer).unwrap().errors;
    let mut reasons: Vec<_> = errors
        .iter()
        .map(|(name, refusal)| (name.as_str(), refusal.reason))
        .collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            ("batch_size", 2),
            ("catalog", 2),
            ("no_such_option", 1),
            ("time_zone", 2)
        ]
    );
    assert_eq!(
        texts(&client.query("SHOW statement_timeout").await.unwrap().1, 1),
        ["60000"]
    );

    for action in [
        "SetSessionOptions",
        "GetSessionOptions",
        "CloseSession",
        "RenewFlightEndpoint",
    ] {
        let malformed = client.act(action, vec![0xff]).await.unwrap_err();
        assert_eq!(malformed.code(), Code::InvalidArgument, "{action}");
    }
    let stranger = house
        .client()
        .await
        .act("SetSessionOptions", Vec::new())
        .await
        .unwrap_err();
    assert_eq!(stranger.code(), Code::InvalidArgument);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_action_is_listed() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let actions = client
        .sql
        .inner_mut()
        .list_actions(Empty {})
        .await
        .unwrap()
        .into_inner();
    let actions: Vec<_> = actions.try_collect().await.unwrap();
    let names: Vec<_> = actions.iter().map(|action| action.r#type.as_str()).collect();
    assert_eq!(
        names,
        [
            "CreatePreparedStatement",
            "CreatePreparedSubstraitPlan",
            "ClosePreparedStatement",
            "CancelFlightInfo",
            "CancelQuery",
            "RenewFlightEndpoint",
            "SetSessionOptions",
            "GetSessionOptions",
            "CloseSession"
        ]
    );
    house.close().await;
}
