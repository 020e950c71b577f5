//! Prepared statements and their parameters.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use arrow_flight::sql::{ActionCreatePreparedStatementRequest, Any, CommandPreparedStatementQuery, ProstMessageExt};
use arrow_flight::{Action, IpcMessage};
use prost::Message;
use tonic::{Code, Status};

use crate::house::{Client, House, texts};

/// `ActionCreatePreparedStatementResult` as a driver newer than the crate decodes it.
#[derive(Clone, PartialEq, prost::Message)]
struct Created {
    #[prost(bytes = "vec", tag = "1")]
    handle: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    dataset_schema: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    parameter_schema: Vec<u8>,
    #[prost(bool, optional, tag = "4")]
    is_update: Option<bool>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_is_executed_many_times_with_parameters() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let sql = "SELECT name FROM lake.shop.orders WHERE id >= ? AND name <> ? ORDER BY id LIMIT 1";
    let mut statement = client.sql.prepare(sql.to_owned(), None).await.unwrap();
    let parameters = statement.parameter_schema().unwrap();
    let types: Vec<_> = parameters
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), field.data_type()))
        .collect();
    assert_eq!(types, [("$1", &DataType::Int64), ("$2", &DataType::Utf8)]);
    let announced = Arc::new(statement.dataset_schema().unwrap().clone());

    for (from, without, expect) in [
        (1, "apple", "bread"),
        (3, "", "cake"),
        (4, "dates", "eggs"),
        (1, "", "apple"),
    ] {
        statement.set_parameters(parameter_row(from, without)).unwrap();
        let info = statement.execute().await.unwrap();
        let rows = client.fetch(info).await.unwrap();
        assert_eq!(rows.schema(), announced);
        assert_eq!(texts(&rows, 0), [expect]);
    }
    statement.close().await.unwrap();
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_ignore_the_returned_handle_are_bound_too() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let created = create(&mut client, "SELECT name FROM lake.shop.orders WHERE id = $1")
        .await
        .unwrap();
    let execute = CommandPreparedStatementQuery {
        prepared_statement_handle: created.handle.clone().into(),
    };

    let unbound = client.info(&execute).await.unwrap_err();
    assert_eq!(unbound.code(), Code::InvalidArgument);
    assert!(
        unbound.message().contains("takes 1 parameters, and 0 are bound"),
        "{unbound}"
    );
    for (id, expect) in [(2, "bread"), (5, "eggs")] {
        client
            .bind(&execute, parameter_row(id, "").project(&[0]).unwrap())
            .await
            .unwrap();
        let info = client.info(&execute).await.unwrap();
        assert_eq!(texts(&client.fetch(info).await.unwrap(), 0), [expect]);
    }

    client.close_prepared(&created.handle).await.unwrap();
    assert_eq!(client.info(&execute).await.unwrap_err().code(), Code::NotFound);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_stand_wherever_values_may() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    for (sql, expect) in [
        (
            "SELECT name FROM lake.shop.orders ORDER BY id LIMIT ?",
            vec!["apple", "bread"],
        ),
        (
            "SELECT name FROM delta.shop.orders WHERE id IN (?, 5) ORDER BY 1",
            vec!["bread", "eggs"],
        ),
        (
            "SELECT name FROM lake.shop.orders WHERE id BETWEEN 1 AND ? ORDER BY id",
            vec!["apple", "bread"],
        ),
        (
            "SELECT name FROM lake.shop.orders WHERE price > ? - 0.5 ORDER BY id",
            vec!["bread", "cake"],
        ),
        (
            "SELECT name FROM lake.shop.orders WHERE id = (SELECT max(id) - ? FROM delta.shop.orders)",
            vec!["cake"],
        ),
        (
            "WITH a AS (SELECT ? AS n) SELECT name FROM lake.shop.orders JOIN a ON id = n",
            vec!["bread"],
        ),
        ("SELECT CASE WHEN ? > 1 THEN 'many' ELSE 'one' END", vec!["many"]),
        ("SELECT CAST(? AS VARCHAR)", vec!["2"]),
        ("SELECT repeat('x', ?)", vec!["xx"]),
    ] {
        let created = create(&mut client, sql)
            .await
            .unwrap_or_else(|status| panic!("{sql}: {status}"));
        assert_eq!(schema_of(created.parameter_schema).fields().len(), 1, "{sql}");
        let execute = CommandPreparedStatementQuery {
            prepared_statement_handle: created.handle.into(),
        };
        client
            .bind(&execute, parameter_row(2, "").project(&[0]).unwrap())
            .await
            .unwrap();
        let info = client
            .info(&execute)
            .await
            .unwrap_or_else(|status| panic!("{sql}: {status}"));
        let announced = info.clone().try_decode_schema().unwrap();
        let rows = client
            .fetch(info)
            .await
            .unwrap_or_else(|status| panic!("{sql}: {status}"));
        assert_eq!(announced, *rows.schema(), "{sql}");
        assert_eq!(texts(&rows, 0), expect, "{sql}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_say_whether_they_are_updates() {
    let house = House::embedded().await;
    let mut client = house.client().await;
    let query = create(&mut client, "/* { } */ WITH a AS (SELECT 1 AS x) SELECT x FROM a")
        .await
        .unwrap();
    assert_eq!(query.is_update, Some(false));
    assert_eq!(schema_of(query.dataset_schema).field(0).name(), "x");
    let update = create(&mut client, "SET time_zone = 'UTC'").await.unwrap();
    assert_eq!((update.is_update, update.dataset_schema.len()), (Some(true), 0));
    let write = create(
        &mut client,
        "/* */ WITH a AS (SELECT 1 AS n) INSERT INTO lake.shop.orders (id) SELECT n FROM a",
    )
    .await
    .unwrap();
    assert_eq!((write.is_update, write.dataset_schema.len()), (Some(true), 0));
    let missing = create(&mut client, "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a")
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    house.close().await;
}

fn parameter_row(number: i64, text: &str) -> RecordBatch {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![number]));
    let text: ArrayRef = Arc::new(StringArray::from(vec![text]));
    RecordBatch::try_from_iter([("$1", number), ("$2", text)]).unwrap()
}

async fn create(client: &mut Client, sql: &str) -> Result<Created, Status> {
    let request = ActionCreatePreparedStatementRequest {
        query: sql.to_owned(),
        transaction_id: None,
    };
    let body = request.as_any().encode_to_vec().into();
    let action = Action {
        r#type: "CreatePreparedStatement".to_owned(),
        body,
    };
    let mut results = client.sql.inner_mut().do_action(action).await?.into_inner();
    let any = Any::decode(results.message().await?.unwrap().body).unwrap();
    assert!(
        any.type_url.ends_with("ActionCreatePreparedStatementResult"),
        "{}",
        any.type_url
    );
    Ok(Created::decode(any.value).unwrap())
}

fn schema_of(encapsulated: Vec<u8>) -> Schema {
    Schema::try_from(IpcMessage(encapsulated.into())).unwrap()
}
