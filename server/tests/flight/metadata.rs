//! What there is, asked by metadata calls and in SQL.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Schema};
use arrow_flight::IpcMessage;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, CommandGetXdbcTypeInfo};

use crate::house::{House, texts, two_users};

#[tokio::test(flavor = "multi_thread")]
async fn metadata_calls_list_and_filter() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let info = client.sql.get_catalogs().await.unwrap();
    assert_eq!(texts(&client.fetch(info).await.unwrap(), 0), ["delta", "lake"]);
    let info = client.sql.get_table_types().await.unwrap();
    assert_eq!(
        texts(&client.fetch(info).await.unwrap(), 0),
        ["BASE TABLE", "LOCAL TEMPORARY", "VIEW"]
    );

    let get = CommandGetDbSchemas {
        catalog: Some("lake".to_owned()),
        db_schema_filter_pattern: Some("s%".to_owned()),
    };
    let info = client.sql.get_db_schemas(get).await.unwrap();
    assert_eq!(texts(&client.fetch(info).await.unwrap(), 1), ["shop"]);

    let tables = |pattern: &str, include_schema: bool| CommandGetTables {
        table_name_filter_pattern: Some(pattern.to_owned()),
        include_schema,
        ..CommandGetTables::default()
    };
    let info = client.sql.get_tables(tables("o%", true)).await.unwrap();
    let rows = client.fetch(info).await.unwrap();
    assert_eq!(texts(&rows, 0), ["delta", "lake"]);
    assert_eq!(texts(&rows, 2), ["orders", "orders"]);
    for row in 0..2 {
        let schema =
            Schema::try_from(IpcMessage(rows.column(4).as_binary::<i32>().value(row).to_vec().into())).unwrap();
        assert_eq!(
            schema.field(1).metadata().get("ARROW:FLIGHT:SQL:TABLE_NAME").unwrap(),
            "orders"
        );
        assert_eq!(*schema.field(1).data_type(), DataType::Utf8);
    }
    for (nothing, why) in [
        (tables("x%", false), "no table matches"),
        (
            CommandGetTables {
                catalog: Some(String::new()),
                ..tables("o%", false)
            },
            "no table is without a catalog",
        ),
        (
            CommandGetTables {
                table_types: vec!["VIEW".to_owned()],
                ..tables("o%", false)
            },
            "there are no views",
        ),
    ] {
        let info = client.sql.get_tables(nothing).await.unwrap();
        assert_eq!(client.fetch(info).await.unwrap().num_rows(), 0, "{why}");
    }

    let info = client.sql.get_sql_info(vec![]).await.unwrap();
    assert_eq!(client.fetch(info).await.unwrap().num_rows(), 91);
    let info = client
        .sql
        .get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None })
        .await
        .unwrap();
    assert_eq!(client.fetch(info).await.unwrap().num_rows(), 15);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lake_can_be_asked_in_sql() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    for (sql, at, expect) in [
        ("SHOW CATALOGS", 0, vec!["delta", "lake"]),
        ("SHOW SCHEMAS IN delta", 1, vec!["shop"]),
        ("SHOW TABLES IN lake.shop", 2, vec!["orders"]),
        ("SHOW TABLES IN lake.shop LIKE 'x%'", 2, vec![]),
        (
            "SELECT table_catalog FROM information_schema.tables ORDER BY 1",
            0,
            vec!["delta", "lake"],
        ),
        (
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'orders' AND table_catalog = 'lake'",
            0,
            vec!["id", "name", "price"],
        ),
        (
            "SELECT data_type FROM lake.information_schema.columns WHERE table_catalog = 'lake' AND column_name = 'price'",
            0,
            vec!["DECIMAL"],
        ),
        (
            "SELECT c.column_name FROM information_schema.columns c JOIN lake.shop.orders o ON o.name = 'apple' \
             WHERE c.table_catalog = 'lake' AND c.column_name LIKE 'i%'",
            0,
            vec!["id"],
        ),
    ] {
        let (_, rows) = client
            .query(sql)
            .await
            .unwrap_or_else(|status| panic!("{sql}: {status}"));
        assert_eq!(texts(&rows, at), expect, "{sql}");
    }
    let functions = client.query("SHOW FUNCTIONS LIKE 'date_tr%'").await.unwrap().1;
    assert!(texts(&functions, 0).iter().all(|name| name == "date_trunc") && functions.num_rows() > 0);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_tables_and_views_are_listed_to_their_session() {
    let house = House::with(|config| config.auth = two_users()).await;
    let mut alice = house.client_of("alice", "wonderland").await;
    for sql in [
        "CREATE TEMPORARY TABLE few AS SELECT 1 AS number",
        "CREATE TEMPORARY VIEW fewer AS SELECT number, 'a' AS letter FROM few",
    ] {
        alice.query(sql).await.unwrap();
    }
    let tables = |types: &[&str]| CommandGetTables {
        table_name_filter_pattern: Some("few%".to_owned()),
        table_types: types.iter().map(|kind| (*kind).to_owned()).collect(),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = alice.sql.get_tables(tables(&[])).await.unwrap();
    let rows = alice.fetch(info).await.unwrap();
    assert_eq!(texts(&rows, 0), ["lake", "lake"]);
    assert_eq!(texts(&rows, 1), ["lakewing_temporary", "lakewing_temporary"]);
    assert_eq!(texts(&rows, 2), ["few", "fewer"]);
    assert_eq!(texts(&rows, 3), ["LOCAL TEMPORARY", "VIEW"]);
    let columns = |row: usize| {
        let encoded = rows.column(4).as_binary::<i32>().value(row).to_vec();
        let schema = Schema::try_from(IpcMessage(encoded.into())).unwrap();
        let names = schema.fields().iter().map(|field| field.name().clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        (columns(0), columns(1)),
        (
            vec!["number".to_owned()],
            vec!["number".to_owned(), "letter".to_owned()]
        )
    );
    let info = alice.sql.get_tables(tables(&["LOCAL TEMPORARY"])).await.unwrap();
    assert_eq!(texts(&alice.fetch(info).await.unwrap(), 2), ["few"]);
    let named = "SELECT number FROM lake.lakewing_temporary.few";
    assert_eq!(alice.query(named).await.unwrap().1.num_rows(), 1);
    for (user, password) in [("alice", "wonderland"), ("bob", "builder")] {
        let mut other = house.client_of(user, password).await;
        let info = other.sql.get_tables(tables(&[])).await.unwrap();
        assert_eq!(
            other.fetch(info).await.unwrap().num_rows(),
            0,
            "{user} in another session"
        );
        assert!(other.query(named).await.is_err());
    }
    house.close().await;
}
