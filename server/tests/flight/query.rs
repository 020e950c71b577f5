//! Queries: what is announced, what comes, and what is said about mistakes.

use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow_flight::IpcMessage;
use arrow_flight::sql::CommandStatementQuery;
use executor::Mode;
use tonic::Code;

use crate::house::{House, column, descriptor, texts};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_gives_what_it_announced_in_both_formats_on_every_engine() {
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let house = House::with(|config| config.executor.mode = mode.clone()).await;
        let mut client = house.client().await;
        for catalog in ["lake", "delta"] {
            let sql = format!("SELECT id, name, upper(name) AS loud, price FROM {catalog}.shop.orders ORDER BY id");
            let (announced, rows) = client.query(&sql).await.unwrap();
            assert_eq!(*announced, *rows.schema(), "{sql}");
            assert_eq!(*announced.field(2).data_type(), DataType::Utf8, "{sql}");
            assert_eq!(
                announced.field(3).metadata().get("ARROW:FLIGHT:SQL:TYPE_NAME").unwrap(),
                "DECIMAL"
            );
            assert_eq!(column::<Int64Type>(&rows, 0), [1, 2, 3, 4, 5]);
            assert_eq!(texts(&rows, 2), ["APPLE", "BREAD", "CAKE", "DATES", "EGGS"]);
        }
        let sql = "SELECT count(*) FROM lake.shop.orders a JOIN delta.shop.orders b ON a.id = b.id WHERE a.id < 4";
        assert_eq!(column::<Int64Type>(&client.query(sql).await.unwrap().1, 0), [3]);
        house.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_result_has_its_columns() {
    let house = House::embedded().await;
    let (announced, rows) = house
        .client()
        .await
        .query("SELECT * FROM lake.shop.orders WHERE id > 99")
        .await
        .unwrap();
    assert_eq!((rows.num_rows(), rows.num_columns()), (0, 3));
    assert_eq!(*announced, *rows.schema());
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_coercion_decides_are_announced() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    for sql in [
        "SELECT 1 AS a UNION ALL SELECT 1.5",
        "SELECT NULL AS a UNION ALL SELECT 'x'",
        "SELECT CASE WHEN id > 2 THEN id ELSE 0.5 END AS a FROM lake.shop.orders",
        "SELECT arrow_cast('x', 'Utf8View') AS a, arrow_cast('x', 'Dictionary(Int32, Utf8)') AS b",
        "SELECT [arrow_cast('x', 'Utf8View')] AS a, named_struct('f', arrow_cast('x', 'Utf8View')) AS b",
        "SELECT now() AS a, current_date AS b, interval '1' day AS c",
        "EXPLAIN SELECT id FROM lake.shop.orders",
        "EXPLAIN ANALYZE SELECT id FROM lake.shop.orders",
        "DESCRIBE lake.shop.orders",
        "SHOW COLUMNS IN lake.shop.orders",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT count(*) FROM lake.shop.orders l LEFT JOIN delta.shop.orders r ON l.id = r.id + 1",
    ] {
        let (announced, rows) = client
            .query(sql)
            .await
            .unwrap_or_else(|status| panic!("{sql}: {status}"));
        assert_eq!(*announced, *rows.schema(), "{sql}");
        assert!(rows.num_rows() > 0, "{sql}");
        assert!(!format!("{announced:?}").contains("View"), "{sql}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_reads_what_was_there_when_it_was_given() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let query = CommandStatementQuery {
        query: "SELECT id FROM delta.shop.orders ORDER BY id".to_owned(),
        transaction_id: None,
    };
    let info = client.info(&query).await.unwrap();
    assert!(info.ordered);
    let log = house.folder().join("delta/shop/orders/_delta_log");
    let first = std::fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let added = first.split("\"add\":{").nth(1).unwrap();
    let path = added.split("\"path\":\"").nth(1).unwrap().split('"').next().unwrap();
    let commit = format!("{{\"remove\":{{\"path\":\"{path}\",\"deletionTimestamp\":1,\"dataChange\":true}}}}\n");
    std::fs::write(log.join("00000000000000000001.json"), commit).unwrap();

    // The second time, the plan is made anew.
    for _ in 0..3 {
        let rows = client.fetch(info.clone()).await.unwrap();
        assert_eq!(column::<Int64Type>(&rows, 0), [1, 2, 3, 4, 5]);
    }
    assert!(client.query(&query.query).await.unwrap().1.num_rows() < 5);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_told_without_running() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let query = CommandStatementQuery {
        query: "SELECT name FROM lake.shop.orders".to_owned(),
        transaction_id: None,
    };
    let result = client
        .sql
        .inner_mut()
        .get_schema(descriptor(&query))
        .await
        .unwrap()
        .into_inner();
    let told = Schema::try_from(IpcMessage(result.schema)).unwrap();
    assert_eq!(told, *client.query(&query.query).await.unwrap().0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_statements_are_explained_and_the_server_goes_on() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    for (sql, code, expect) in [
        (
            "SELECT * FROM lake.shop.order",
            Code::NotFound,
            "did you mean lake.shop.orders?",
        ),
        ("SELECT * FROM lake.shopp.orders", Code::NotFound, "does not exist"),
        ("SELECT * FROM nowhere.shop.orders", Code::NotFound, "delta, lake"),
        (
            "SELECT nam FROM lake.shop.orders",
            Code::InvalidArgument,
            "Did you mean 'lake.shop.orders.name'?",
        ),
        (
            "SELECT id FROM\nlake.shop.orders WERE id",
            Code::InvalidArgument,
            "Line: 2",
        ),
        (
            "SELECT nosuch(id) FROM lake.shop.orders",
            Code::InvalidArgument,
            "nosuch",
        ),
        ("SELECT 1; SELECT 2", Code::InvalidArgument, "one statement"),
        ("SELECT ?", Code::InvalidArgument, "parameters"),
        (
            "SELECT * FROM iceberg.\"file:///etc\"",
            Code::InvalidArgument,
            "may not be read by path",
        ),
        (
            "DROP INDEX orders_by_id",
            Code::Unimplemented,
            "DROP INDEX is not supported",
        ),
        (
            "COPY lake.shop.orders TO '/tmp/stolen.csv'",
            Code::Unimplemented,
            "COPY is not supported",
        ),
        (
            "SELECT 1 / (id - id) FROM lake.shop.orders",
            Code::InvalidArgument,
            "Divide by zero",
        ),
        (
            "SELECT CAST(name AS INT) FROM lake.shop.orders",
            Code::InvalidArgument,
            "Cannot cast string",
        ),
    ] {
        let status = client.query(sql).await.err().unwrap_or_else(|| panic!("{sql} works"));
        assert_eq!(status.code(), code, "{sql}: {status}");
        assert!(status.message().contains(expect), "{sql}: {status}");
        assert_eq!(client.query("SELECT 1").await.unwrap().1.num_rows(), 1, "after {sql}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_have_a_place_and_a_state() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    for (sql, state, excerpt) in [
        (
            "SELECT id,\n  nam FROM lake.shop.orders",
            "42703",
            "line 2, column 3:\n    nam FROM lake.shop.orders\n    ^",
        ),
        ("SELECT 1 FROM\nWHERE 1", "42601", "line 2, column 7:"),
        ("SELECT 'abc", "42601", "line 1, column 8:\n  SELECT 'abc\n         ^"),
        ("SELECT 1 +", "42601", "line 1, column 11:\n  SELECT 1 +\n            ^"),
        (
            "SELECT uper(name) FROM lake.shop.orders",
            "42883",
            "Did you mean 'upper'?",
        ),
        (
            "SELECT id FROM lake.shop.orders a, delta.shop.orders b",
            "42702",
            "line 1, column 8:",
        ),
        (
            "SELECT * FROM lake.shop.order",
            "42P01",
            "did you mean lake.shop.orders?",
        ),
        ("SELECT 1 / (id - id) FROM lake.shop.orders", "22012", "Divide by zero"),
        ("SELECT CAST(name AS INT) FROM lake.shop.orders", "22P02", "Cannot cast"),
        ("DROP INDEX orders_by_id", "0A000", "not supported"),
    ] {
        let status = client.query(sql).await.err().unwrap_or_else(|| panic!("{sql} works"));
        assert!(status.message().contains(excerpt), "{sql}: {status}");
        let found = status
            .metadata()
            .get("x-lakewing-sqlstate")
            .map(|state| state.to_str().unwrap());
        assert_eq!(found, Some(state), "{sql}: {status}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_very_long_expression_does_not_end_the_server() {
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let house = House::with(|config| config.executor.mode = mode).await;
        let mut client = house.client().await;
        for (start, piece, longest) in [
            ("SELECT 1", " + 1", 1000),
            ("SELECT 1", "::int", 1000),
            ("SELECT 1", " UNION ALL SELECT 1", 1000),
            ("SELECT TOP 1 1", " UNION ALL SELECT TOP 1 1", 300),
            ("SELECT 'a' LIKE 'a'", " || ''", 900),
            ("SELECT id FROM lake.shop.orders WHERE id = 1", " OR id + 1 = 2", 333),
            (
                "SELECT id FROM delta.shop.orders WHERE name = 'a'",
                " OR upper(name) LIKE 'A%'",
                333,
            ),
        ] {
            let chain = |length: usize| format!("{start}{}", piece.repeat(length));
            assert!(client.query(&chain(longest)).await.unwrap().1.num_rows() > 0, "{piece}");
            let status = client.query(&chain(200_000)).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains("more than 1000 operators"), "{status}");
        }
        assert_eq!(client.query("SELECT 1").await.unwrap().1.num_rows(), 1);
        house.close().await;
    }
}
