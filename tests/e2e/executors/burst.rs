//! Two hundred clients at once against a server that runs four queries at a time: all are answered, in their order, and
//! whoever looks sees the queue.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use futures::future::try_join_all;
use harness::{Client, Lake, demo};

const CLIENTS: usize = 200;
const QUERY: &str = "SELECT l_returnflag, sum(l_quantity), count(*) FROM lineitem GROUP BY l_returnflag ORDER BY 1";

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_and_four_places() -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(0.01, &["--data-dir", &data.path().display().to_string()]).await?;
    let lake = Lake::processes(2)
        .data(data.path())
        .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"")
        .section("[queries]\nconcurrency_max = 4")
        .start()
        .await?;
    let mut observer = lake.client().await?;
    let expected = observer.query(QUERY).await?;
    let idle = lake.server.resident_mb()?;
    let began = Instant::now();
    let clients = try_join_all((0..CLIENTS).map(|_| Client::connect(lake.address()))).await?;
    let asking = try_join_all(clients.into_iter().map(async |mut client| {
        let answer = client.query(QUERY).await?;
        ensure!(answer == expected, "another answer in the crowd: {answer:?}");
        Ok(began.elapsed())
    }));
    let watching = async {
        let (mut most, mut longest) = (0, 0);
        while began.elapsed() < Duration::from_secs(2) || most == 0 {
            let shown = observer.query("SHOW QUERIES").await?;
            for batch in &shown {
                let states = batch
                    .column_by_name("state")
                    .map(|states| states.as_string::<i32>().clone());
                let positions = batch
                    .column_by_name("queue_position")
                    .map(|column| column.as_primitive::<Int64Type>());
                let (Some(states), Some(positions)) = (states, positions) else {
                    continue;
                };
                let queued = states.iter().filter(|state| *state == Some("queued")).count();
                let running = states.iter().filter(|state| *state == Some("running")).count();
                ensure!(running <= 4 + 1, "{running} queries run at once");
                most = most.max(queued);
                longest = longest.max(positions.iter().flatten().max().unwrap_or(0));
            }
            ensure!(began.elapsed() < Duration::from_secs(60), "no queue is seen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok((most, longest))
    };
    let (took, (most, longest)) = tokio::try_join!(asking, watching)?;
    let last = took.into_iter().max().unwrap_or_default();
    let grown = lake.server.resident_mb()? - idle;
    eprintln!("{CLIENTS} queries in {last:?}, at most {most} waited, the server grew by {grown:.0} MB");
    ensure!(longest >= 20, "the longest queue seen was {longest}");
    ensure!(grown < 600.0, "the server grew by {grown:.0} MB");
    Ok(())
}
