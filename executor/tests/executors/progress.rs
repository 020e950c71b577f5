//! How far a query is, told while it runs.

use std::time::{Duration, Instant};

use datafusion::prelude::SessionConfig;
use executor::{Execution, Mode};
use futures::StreamExt;

use crate::support::{config, engines, session, tables};

/// Reads `b` whole, and then `a` for hours.
const LONG: &str = "SELECT count(*) FROM fact a JOIN fact b ON a.id * b.id <> -1";

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_read_are_progress() {
    let folder = tables().await;
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let there = engines(&config(mode.clone())).await;
        let session = session(&there, SessionConfig::new(), &folder).await;
        let state = session.state();
        let plan = state.create_logical_plan(LONG).await.unwrap();
        let Execution { mut stream, progress } = there.execute(&state, plan).await.unwrap();
        let began = Instant::now();
        assert!(progress.fraction() < 1.0, "{mode:?}");
        while progress.fraction() == 0.0 {
            let waited = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
            assert!(waited.is_err(), "{mode:?} ended before it told how far it is");
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{mode:?} does not tell how far it is"
            );
        }
        assert!(progress.fraction() < 1.0, "{mode:?}: {}", progress.fraction());
    }
}
