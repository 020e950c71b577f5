//! SIGTERM ends every role in good order.

use anyhow::{Result, ensure};
use harness::Lake;

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm() -> Result<()> {
    let lake = Lake::processes(1).start().await?;
    lake.client().await?.query("SELECT 1").await?;
    let (server, executors) = (lake.server, lake.executors);
    for process in std::iter::once(server).chain(executors) {
        let status = process.terminate().await?;
        ensure!(status.success(), "a role ended with {status} after SIGTERM");
    }
    Ok(())
}
