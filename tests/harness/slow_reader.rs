//! A client that takes a large result at a pace of its own, and watches the server meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::Lake;

/// What the client saw at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Since the first message.
    pub after: Duration,
    /// Megabytes that the client has taken.
    pub received_mb: f64,
    /// Megabytes that the server then occupied.
    pub resident_mb: f64,
}

/// Reads `megabytes` of the first endpoint of `sql` at `megabytes_per_second`, one sample every `interval`, and then drops
/// the stream.
pub async fn read_slowly(
    lake: &Lake,
    sql: &str,
    megabytes: f64,
    megabytes_per_second: f64,
    interval: Duration,
) -> Result<Vec<Sample>> {
    let mut client = lake.client().await?;
    let info = client.raw().execute(sql.to_owned(), None).await?;
    let ticket = info.endpoint.into_iter().find_map(|endpoint| endpoint.ticket);
    let ticket = ticket.context("no ticket")?;
    let mut messages = client.raw().inner_mut().do_get(ticket).await?.into_inner();
    messages.message().await?.context("no schema")?;
    let (began, mut received_mb, mut samples) = (Instant::now(), 0.0, Vec::new());
    while received_mb < megabytes {
        let message = messages.message().await?.context("the result is too small")?;
        let bytes = u32::try_from(message.data_body.len() + message.data_header.len())?;
        received_mb += f64::from(bytes) / 1e6;
        let due = Duration::from_secs_f64(received_mb / megabytes_per_second);
        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
        let after = began.elapsed();
        if after >= interval * u32::try_from(samples.len() + 1)? {
            let resident_mb = lake.server.resident_mb()?;
            samples.push(Sample {
                after,
                received_mb,
                resident_mb,
            });
        }
    }
    Ok(samples)
}
