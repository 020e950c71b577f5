//! The life of one query: plan, execute, stream, and one line in the log when it ends, however it ends.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use executor::Engines;
use futures::stream::CatchUnwind;
use futures::{Stream, StreamExt};
use tracing::{Span, debug, info};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::sql::plan::Plan;

/// A query that runs while its stream is read.
pub(crate) struct Running {
    /// The columns of the result as the statement defines them. Batches may hold the same columns in types that are
    /// cheaper to compute with, such as views.
    pub(crate) schema: SchemaRef,
    /// The rows. Dropping it cancels the query.
    pub(crate) stream: SendableRecordBatchStream,
}

pub(super) async fn run(engines: &Engines, plan: Plan) -> Result<Running> {
    let id = Uuid::now_v7();
    let schema = plan.schema()?;
    debug!(query_id = %id, plan = %plan.plan.display_indent(), "query begins");
    let started = Instant::now();
    let stream = engines.execute(&plan.state, plan.plan).await?;
    let stream = Box::pin(Watched::new(id, started, stream));
    Ok(Running { schema, stream })
}

/// A result stream that survives panics below it and logs how it ended.
struct Watched {
    /// Names the query in logs; sorts by time.
    id: Uuid,
    /// The call that began it: it has returned when the query ends.
    call: Span,
    schema: SchemaRef,
    started: Instant,
    rows: usize,
    outcome: &'static str,
    stream: CatchUnwind<AssertUnwindSafe<SendableRecordBatchStream>>,
}

impl Watched {
    fn new(id: Uuid, started: Instant, stream: SendableRecordBatchStream) -> Self {
        let schema = stream.schema();
        let stream = AssertUnwindSafe(stream).catch_unwind();
        Self {
            id,
            call: Span::current(),
            schema,
            started,
            rows: 0,
            outcome: "cancelled",
            stream,
        }
    }
}

impl Stream for Watched {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.poll_next_unpin(context).map(|item| match item {
            Some(Ok(Ok(batch))) => {
                self.rows += batch.num_rows();
                Some(Ok(batch))
            }
            Some(Ok(Err(error))) => {
                self.outcome = "failed";
                Some(Err(error))
            }
            Some(Err(_panic)) => {
                self.outcome = "failed";
                Some(Err(DataFusionError::External(Box::new(Error::Panic))))
            }
            None => {
                if self.outcome != "failed" {
                    self.outcome = "finished";
                }
                None
            }
        })
    }
}

impl RecordBatchStream for Watched {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let elapsed_ms = self.started.elapsed().as_millis();
        let _call = self.call.enter();
        info!(query_id = %self.id, outcome = self.outcome, rows = self.rows, elapsed_ms, "query ended");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_panic_below_ends_the_query_and_nothing_else() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let schema = batch.schema();
        let rows = stream::iter(0..2).map(move |round| {
            if round == 0 {
                Ok(batch.clone())
            } else {
                panic!("defect")
            }
        });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        let mut watched = Watched::new(Uuid::now_v7(), Instant::now(), rows);
        assert_eq!(watched.next().await.unwrap().unwrap().num_rows(), 2);
        let error = Error::from(watched.next().await.unwrap().unwrap_err());
        assert_eq!(error.kind(), proto::ErrorKind::Internal);
        assert_eq!(error.to_string(), Error::Panic.to_string());
        assert!(watched.next().await.is_none());
        assert_eq!((watched.rows, watched.outcome), (2, "failed"));
    }
}
