//! Large results come in several parts that a client can fetch side by side: together they are all rows, each once.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow_flight::FlightInfo;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use futures::future::try_join_all;
use harness::{Client, Lake, rows};
use tonic::transport::Endpoint;

const ROWS: i64 = 3_000_000;

/// How often each id came.
async fn ids(lake: &Lake, info: &FlightInfo) -> Result<BTreeMap<i64, usize>> {
    let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.clone());
    let parts = tickets.map(async |ticket| {
        let mut client = lake.client().await?;
        let mut batches = client.raw().do_get(ticket).await?;
        let mut ids = Vec::new();
        while let Some(batch) = batches.try_next().await? {
            ids.extend_from_slice(batch.column(0).as_primitive::<Int64Type>().values());
        }
        anyhow::Ok(ids)
    });
    let mut counts = BTreeMap::new();
    for id in try_join_all(parts).await?.into_iter().flatten() {
        *counts.entry(id).or_default() += 1;
    }
    Ok(counts)
}

async fn offered(client: &mut Client, sql: &str) -> Result<FlightInfo> {
    client
        .raw()
        .execute(sql.to_owned(), None)
        .await
        .with_context(|| sql.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_all_rows_once_however_the_table_was_changed() -> Result<()> {
    for lake in [Lake::embedded(), Lake::processes(2)] {
        let lake = lake.start().await?;
        let mut client = lake.client().await?;
        for (table, properties) in [
            (
                "lake.s.positions",
                "'format-version' = '2', 'write.delete.mode' = 'merge-on-read'",
            ),
            (
                "lake.s.vectors",
                "'format-version' = '3', 'write.delete.mode' = 'merge-on-read'",
            ),
            ("delta.s.vectors", "'delta.enableDeletionVectors' = 'true'"),
        ] {
            for sql in [
                format!(
                    "CREATE SCHEMA IF NOT EXISTS {}",
                    table.rsplit_once('.').context("no schema")?.0
                ),
                format!(
                    "CREATE TABLE {table} WITH ({properties}) AS \
                     SELECT value AS id, md5(value::TEXT) AS text FROM range(0, {ROWS})"
                ),
                format!("DELETE FROM {table} WHERE id % 7 = 3"),
                format!("INSERT INTO {table} VALUES (-1, 'one'), (-2, 'two')"),
            ] {
                client.query(&sql).await.with_context(|| sql.clone())?;
            }
            let info = offered(
                &mut client,
                &format!("SELECT id, upper(text) AS t FROM {table} WHERE id % 2 = 0"),
            )
            .await?;
            ensure!(
                (2..=16).contains(&info.endpoint.len()),
                "{} parts of {table}",
                info.endpoint.len()
            );
            ensure!(!info.ordered, "parts have no order");
            // A part that is lost or fetched again is what it was.
            for _ in 0..2 {
                let counts = ids(&lake, &info).await?;
                let expected = (0..ROWS).filter(|id| id % 2 == 0 && id % 7 != 3).chain([-2]);
                ensure!(
                    counts.len() == expected.clone().count(),
                    "{} rows of {table}",
                    counts.len()
                );
                let wrong = expected.into_iter().find(|id| counts.get(id) != Some(&1));
                ensure!(
                    wrong.is_none(),
                    "{wrong:?} of {table} came {:?} times",
                    wrong.and_then(|id| counts.get(&id))
                );
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_more_than_its_rows_comes_in_one_part() -> Result<()> {
    let places = "[queries]\nconcurrency_max = 1\n";
    let lake = Lake::embedded().section(places).start().await?;
    let mut client = lake.client().await?;
    client.query("CREATE SCHEMA lake.s").await?;
    let sql = format!("CREATE TABLE lake.s.t AS SELECT value AS id, md5(value::TEXT) AS text FROM range(0, {ROWS})");
    client.query(&sql).await?;
    for sql in [
        "SELECT * FROM lake.s.t ORDER BY id",
        "SELECT * FROM lake.s.t LIMIT 2999999",
        "SELECT DISTINCT id FROM lake.s.t",
        "SELECT id, row_number() OVER () FROM lake.s.t",
        "SELECT id, random() FROM lake.s.t",
        "SELECT id FROM lake.s.t WHERE now() > TIMESTAMP '2020-01-01'",
        "SELECT id FROM lake.s.t WHERE id IN (SELECT max(id) FROM lake.s.t)",
        "SELECT id FROM lake.s.t UNION ALL SELECT id FROM lake.s.t",
    ] {
        let info = offered(&mut client, sql).await?;
        ensure!(info.endpoint.len() == 1, "{sql}: {} parts", info.endpoint.len());
    }
    // One place for all parts: whoever opens the last before it reads the first does not wait for itself.
    let info = offered(&mut client, "SELECT id FROM lake.s.t").await?;
    ensure!(info.endpoint.len() > 1, "one part only");
    let mut open = Vec::new();
    for ticket in info
        .endpoint
        .iter()
        .rev()
        .filter_map(|endpoint| endpoint.ticket.clone())
    {
        open.push(client.raw().do_get(ticket).await?);
    }
    let mut count = 0;
    while let Some(mut part) = open.pop() {
        while let Some(batch) = part.try_next().await? {
            count += batch.num_rows();
        }
    }
    ensure!(i64::try_from(count)? == ROWS, "{count} rows");
    ensure!(
        rows(&client.query("SELECT count(*) FROM lake.s.t").await?)?.len() == 1,
        "the place was not given back"
    );

    let java = Endpoint::new(format!("http://{}", lake.address()))?.user_agent("grpc-java-netty/1.71.0")?;
    let mut java = FlightSqlServiceClient::new_from_inner(FlightServiceClient::new(java.connect().await?));
    let info = java.execute("SELECT id FROM lake.s.t".to_owned(), None).await?;
    ensure!(info.endpoint.len() == 1, "{} parts for Java", info.endpoint.len());
    Ok(())
}
