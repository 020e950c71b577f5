//! Logins and what they remember.

use futures::TryStreamExt;
use tonic::{Code, Status};

use crate::house::{House, texts, two_users};

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_checked() {
    let house = House::with(|config| config.auth = two_users()).await;
    let denied = house.client().await.query("SELECT 1").await.unwrap_err();
    assert_eq!(denied.code(), Code::Unauthenticated);
    let mut client = house.client().await;
    let denied = client.sql.handshake("alice", "builder").await.unwrap_err().to_string();
    assert!(denied.contains("wrong user or password"), "{denied}");
    client.sql.set_token("forged".to_owned());
    assert_eq!(
        client.query("SELECT 1").await.unwrap_err().code(),
        Code::Unauthenticated
    );

    let mut client = house.client().await;
    client.sql.set_header("authorization", "Basic YWxpY2U6d29uZGVybGFuZA==");
    let info = client.sql.execute("SELECT 1".to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows: Vec<_> = client.sql.do_get(ticket).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows.len(), 1, "Basic on every call");
    let mut bob = house.client_of("bob", "builder").await;
    assert_eq!(bob.query("SELECT 1").await.unwrap().1.num_rows(), 1);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_has_a_session() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    assert!(client.query("SELECT * FROM orders").await.is_err());
    client.query("USE lake.shop").await.unwrap();
    assert_eq!(client.query("SELECT * FROM orders").await.unwrap().1.num_rows(), 5);
    assert_eq!(
        client
            .sql
            .execute_update("SET catalog = delta".to_owned(), None)
            .await
            .unwrap(),
        0
    );
    assert_eq!(client.query("SELECT * FROM orders").await.unwrap().1.num_rows(), 5);
    let mut prepared = client
        .sql
        .prepare("SET time_zone = 'Asia/Tokyo'".to_owned(), None)
        .await
        .unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 0);
    let shown = client.query("SHOW ALL").await.unwrap().1;
    assert_eq!(
        texts(&shown, 0),
        [
            "batch_size",
            "catalog",
            "result_compression",
            "schema",
            "statement_timeout",
            "time_zone"
        ]
    );
    assert_eq!(texts(&shown, 1), ["8192", "delta", "none", "shop", "0", "Asia/Tokyo"]);
    let (schema, _) = client.query("SELECT now()").await.unwrap();
    assert!(
        schema.field(0).data_type().to_string().contains("Asia/Tokyo"),
        "{schema}"
    );
    client.query("RESET ALL").await.unwrap();
    assert!(client.query("SELECT * FROM orders").await.is_err());

    let check = |status: Status, code: Code, expect: &str| {
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(expect), "{status}");
    };
    check(
        client.query("USE lake.nowhere").await.unwrap_err(),
        Code::NotFound,
        "lake.nowhere",
    );
    let memory = "SET datafusion.runtime.memory_limit = '1T'";
    check(
        client.query(memory).await.unwrap_err(),
        Code::InvalidArgument,
        "there is no setting",
    );
    let stranger = house.client().await.query("USE lake.shop").await.unwrap_err();
    check(stranger, Code::InvalidArgument, "connect with a user name");
    house.close().await;
}
