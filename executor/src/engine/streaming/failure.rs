//! The first thing that went wrong with handing out a query's tasks, brought to the query's own stream.
//!
//! The library notices such failures where nobody looks before the query ends, while the query itself waits ten seconds
//! for a task that never starts, or for good.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::BoxFuture;
use futures::stream::{Stream, StreamExt, unfold};
use tokio::sync::mpsc;

use crate::error::{Error, Result};

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
    /// one of its executors is gone; dropped with the last item.
    pub(super) fn watch(
        self,
        stream: SendableRecordBatchStream,
        loss: BoxFuture<'static, Error>,
    ) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send {
        unfold(Some((stream, self.0, loss)), |running| async {
            let (mut stream, mut failures, mut loss) = running?;
            let next = tokio::select! {
                biased;
                Some(failure) = failures.recv() => Err(DataFusionError::Shared(failure)),
                error = &mut loss => Err(DataFusionError::from(error)),
                next = stream.next() => next?,
            };
            Some(match next {
                Ok(batch) => (Ok(batch), Some((stream, failures, loss))),
                Err(error) => (Err(recognised(error)), None),
            })
        })
    }
}

fn recognised(error: DataFusionError) -> DataFusionError {
    Error::recognise(&error).map_or(error, DataFusionError::from)
}
