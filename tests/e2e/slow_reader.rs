//! A client that reads a large result slowly: the server waits for it, and does not collect the rows meanwhile.

use std::time::Duration;

use anyhow::Result;
use harness::{Lake, read_slowly};

/// More than can ever be read.
const SQL: &str = "SELECT value, value * 2 AS twice, 'a text of some length, number ' || value AS text \
                   FROM range(0, 1000000000)";

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_grows_no_memory() -> Result<()> {
    for lake in [Lake::embedded(), Lake::executors(2)] {
        let lake = lake.start().await?;
        let samples = read_slowly(&lake, SQL, 120.0, 20.0, Duration::from_millis(500)).await?;
        assert!(samples.len() >= 8, "{samples:?}");
        // What is in flight has filled up by now.
        let (first, later) = (samples[1].resident_mb, &samples[2..]);
        let most = later.iter().map(|sample| sample.resident_mb).fold(0.0, f64::max);
        assert!(most < first + 32.0, "{samples:#?}");
        assert!(most < 400.0, "{samples:#?}");
    }
    Ok(())
}
