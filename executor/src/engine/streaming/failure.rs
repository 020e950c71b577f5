//! The first thing that went wrong with handing out a query's tasks, brought to the query's own stream.
//!
//! The library notices such failures where nobody looks before the query ends, while the query itself waits ten seconds
//! for a task that never starts, or for good.

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt, unfold};
use tokio::sync::mpsc;

use super::last_stage::Batches;
use crate::error::{Error, Result};

/// How long executors may take to say that they have ended, after the last row.
const ENDING: Duration = Duration::from_millis(200);

/// The two ends of one query's failures.
pub(super) fn failures() -> (Reporter, Failures) {
    let (sender, receiver) = mpsc::channel(1);
    (Reporter(sender), Failures(receiver))
}

/// Where failures are reported; travels in the query's context.
#[derive(Debug)]
pub(super) struct Reporter(mpsc::Sender<Arc<DataFusionError>>);

impl Reporter {
    /// Ends the query with `error`, unless another failure was first.
    pub(super) fn report(&self, error: Arc<DataFusionError>) {
        if let Err(mpsc::error::TrySendError::Full(error)) = self.0.try_send(error) {
            tracing::debug!(%error, "a query failed in one more way");
        }
    }
}

/// What was reported.
pub(super) struct Failures(mpsc::Receiver<Arc<DataFusionError>>);

impl Failures {
    /// The rows of `stream` up to its end, its error, the first failure reported, or the end of `loss`, which says that
    /// one of its executors is gone; dropped with the last item. Once `batches` says that all rows have come nothing is
    /// an error any more, and `stream` gets [`ENDING`] to end in order.
    pub(super) fn watch(
        self,
        stream: SendableRecordBatchStream,
        loss: BoxFuture<'static, Error>,
        batches: Batches,
    ) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send {
        let running = Running {
            stream,
            failures: self.0,
            loss,
            batches,
            received: 0,
        };
        unfold(Some(running), |running| async {
            let mut running = running?;
            Some(match running.next().await? {
                Ok(batch) => (Ok(batch), Some(running)),
                Err(error) => (Err(recognised(error)), None),
            })
        })
    }
}

/// A query's stream and what may end it early.
struct Running {
    stream: SendableRecordBatchStream,
    failures: mpsc::Receiver<Arc<DataFusionError>>,
    loss: BoxFuture<'static, Error>,
    batches: Batches,
    received: usize,
}

impl Running {
    async fn next(&mut self) -> Option<Result<RecordBatch, DataFusionError>> {
        let received = self.received;
        let mut batches = self.batches.clone();
        let ended = async {
            let counted = batches.wait_for(|total| *total == Some(received)).await.is_ok();
            match counted {
                true => tokio::time::sleep(ENDING).await,
                false => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            Some(failure) = self.failures.recv() => Err(DataFusionError::Shared(failure)),
            error = &mut self.loss => Err(DataFusionError::from(error)),
            next = self.stream.next() => next?,
            () = ended => return None,
        };
        match next {
            Ok(_) => self.received += 1,
            Err(error) if *self.batches.borrow() == Some(received) => {
                tracing::debug!(%error, "an executor was lost after the last row");
                return None;
            }
            Err(_) => {}
        }
        Some(next)
    }
}

fn recognised(error: DataFusionError) -> DataFusionError {
    Error::recognise(&error).map_or(error, DataFusionError::from)
}
