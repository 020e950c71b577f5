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

/// What SHOW ALL tells in the end.
const SETTINGS: [(&str, &str); 11] = [
    ("adaptive_tasks", "off"),
    ("batch_size", "8192"),
    ("branch", "main"),
    ("catalog", "delta"),
    ("direct_results", "off"),
    ("executor_set", ""),
    ("result_compression", "none"),
    ("retention_check", "on"),
    ("schema", "shop"),
    ("statement_timeout", "0"),
    ("time_zone", "Asia/Tokyo"),
];

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
    let settings: Vec<_> = texts(&shown, 0).into_iter().zip(texts(&shown, 1)).collect();
    assert_eq!(
        settings,
        SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
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

#[tokio::test(flavor = "multi_thread")]
async fn queries_can_be_named() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    let rows = async |client: &mut crate::house::Client, sql: &str| client.query(sql).await.unwrap().1.num_rows();
    client.query("USE lake.shop").await.unwrap();
    client
        .query("/* a */ PREPARE cheap (DECIMAL(10, 2)) AS SELECT id FROM orders WHERE price < ?")
        .await
        .unwrap();
    assert_eq!(rows(&mut client, "EXECUTE cheap('1.50')").await, 3);
    assert_eq!(rows(&mut client, "EXECUTE cheap USING 1").await, 2);
    assert!(rows(&mut client, "EXPLAIN EXECUTE cheap(1)").await > 0);
    let mut prepared = client.sql.prepare("EXECUTE cheap(100)".to_owned(), None).await.unwrap();
    assert_eq!(
        client
            .fetch(prepared.execute().await.unwrap())
            .await
            .unwrap()
            .num_rows(),
        5,
        "also by a driver"
    );

    let view = "CREATE TEMPORARY VIEW few (number, loud) AS SELECT id, upper(name) FROM orders WHERE id < 3";
    assert_eq!(client.sql.execute_update(view.to_owned(), None).await.unwrap(), 0);
    client
        .query("CREATE TEMP VIEW fewer AS SELECT few.loud FROM few JOIN orders o ON few.number = o.id LIMIT 1")
        .await
        .unwrap();
    client.query("USE delta.shop").await.unwrap();
    assert_eq!(
        texts(
            &client
                .query("SELECT loud FROM few ORDER BY few.number")
                .await
                .unwrap()
                .1,
            0
        ),
        ["APPLE", "BREAD"]
    );
    assert_eq!(rows(&mut client, "SELECT * FROM fewer").await, 1);
    assert_eq!(
        rows(
            &mut client,
            "WITH few AS (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3) SELECT * FROM few"
        )
        .await,
        3
    );
    assert_eq!(
        texts(&client.query("DESCRIBE few").await.unwrap().1, 0),
        ["number", "loud"]
    );
    assert!(
        client.query("SELECT * FROM lake.shop.few").await.is_err(),
        "it is in no schema"
    );

    let announced = client.sql.execute("SELECT * FROM few".to_owned(), None).await.unwrap();
    client.query("DROP VIEW few").await.unwrap();
    assert_eq!(
        client.fetch(announced).await.unwrap().num_rows(),
        2,
        "a ticket keeps the session it was made in"
    );
    assert!(client.query("SELECT * FROM few").await.is_err());
    client.query("DEALLOCATE cheap").await.unwrap();
    assert!(client.query("EXECUTE cheap(1)").await.is_err());
    let stranger = house.client_of("another", "").await.query("SELECT * FROM fewer").await;
    assert_eq!(stranger.unwrap_err().code(), Code::NotFound);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_cannot_work_are_refused() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    client.query("USE lake.shop").await.unwrap();
    client
        .query("CREATE TEMP VIEW a AS SELECT id FROM orders")
        .await
        .unwrap();
    client.query("CREATE TEMP VIEW b AS SELECT id FROM a").await.unwrap();
    client
        .query("PREPARE p AS SELECT id FROM orders WHERE id = $1")
        .await
        .unwrap();
    let wide = "SELECT id FROM a".to_owned() + &" UNION ALL SELECT id FROM a".repeat(400);
    for (sql, expect) in [
        ("CREATE TEMP VIEW a AS SELECT 1", "already exists"),
        ("CREATE TEMP VIEW orders AS SELECT 1", "would hide it"),
        ("CREATE OR REPLACE TEMP VIEW a AS SELECT id FROM b", "built on itself"),
        ("CREATE TEMP VIEW c AS SELECT nothing FROM orders", "nothing"),
        (
            "CREATE TEMP VIEW c AS SELECT id FROM orders WHERE id = ?",
            "no parameters",
        ),
        (&format!("CREATE TEMP VIEW c AS {wide}"), "more than 500 steps"),
        (
            &format!("CREATE TEMP VIEW c AS SELECT '{}'", "x".repeat(70_000)),
            "bytes of text",
        ),
        ("CREATE TEMP VIEW lake.shop.c AS SELECT 1", "belong to no schema"),
        ("DROP VIEW bb", "does not exist"),
        ("PREPARE p AS SELECT 1", "already exists"),
        ("PREPARE q AS SET time_zone = 'UTC'", "takes a query"),
        ("PREPARE q AS EXECUTE p(1)", "not EXECUTE"),
        ("PREPARE q AS INSERT INTO orders VALUES (1)", "takes a query"),
        (
            "PREPARE q (INT, INT) AS SELECT id FROM orders WHERE id = ?",
            "takes 1 parameters",
        ),
        ("PREPARE q AS SELECT * FROM nothing", "does not exist"),
        ("EXECUTE p", "takes 1 parameters, and 0 are given"),
        ("EXECUTE p(id)", "takes constants"),
        ("DEALLOCATE pp", "there is no prepared statement"),
        ("USE lake.shpo", "did you mean lake.shop?"),
        ("SET tmie_zone = 'UTC'", "did you mean time_zone?"),
    ] {
        let status = client.query(sql).await.err().unwrap_or_else(|| panic!("{sql} works"));
        assert!(status.message().contains(expect), "{sql}: {status}");
    }
    client
        .query("CREATE TEMP VIEW IF NOT EXISTS a AS SELECT 1, 2")
        .await
        .unwrap();
    client.query("DROP VIEW IF EXISTS bb, b").await.unwrap();
    client
        .query("CREATE OR REPLACE TEMP VIEW a AS SELECT 7 AS id")
        .await
        .unwrap();
    assert_eq!(client.query("SELECT id FROM a").await.unwrap().1.num_rows(), 1);
    for number in 0..99 {
        client.query(&format!("PREPARE p{number} AS SELECT 1")).await.unwrap();
    }
    assert!(client.query("PREPARE one_more AS SELECT 1").await.is_err());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn use_finds_schemas_and_catalogs() {
    let house = House::embedded().await;
    let mut client = house.client_of("anyone", "").await;
    let here = async |client: &mut crate::house::Client| {
        let catalog = texts(&client.query("SHOW catalog").await.unwrap().1, 1).remove(0);
        let schema = texts(&client.query("SHOW schema").await.unwrap().1, 1).remove(0);
        format!("{catalog}.{schema}")
    };
    for (sql, expect) in [
        ("USE shop", "lake.shop"),
        ("USE delta", "delta.shop"),
        ("USE lake", "lake.shop"),
        ("USE delta.shop", "delta.shop"),
        ("RESET schema", "delta.default"),
        ("USE lake", "lake.default"),
    ] {
        client.query(sql).await.unwrap();
        assert_eq!(here(&mut client).await, expect, "{sql}");
    }
    house.close().await;
}
