//! What there is, asked by metadata calls and in SQL.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Schema};
use arrow_flight::IpcMessage;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, CommandGetXdbcTypeInfo};

use crate::house::{House, texts};

#[tokio::test(flavor = "multi_thread")]
async fn metadata_calls_list_and_filter() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let info = client.sql.get_catalogs().await.unwrap();
    assert_eq!(texts(&client.fetch(info).await.unwrap(), 0), ["delta", "lake"]);
    let info = client.sql.get_table_types().await.unwrap();
    assert_eq!(texts(&client.fetch(info).await.unwrap(), 0), ["BASE TABLE", "VIEW"]);

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
