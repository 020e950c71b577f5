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
use tracing::{debug, info};
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
    let watched = Watched {
        id,
        schema: stream.schema(),
        started,
        rows: 0,
        outcome: "cancelled",
        stream: AssertUnwindSafe(stream).catch_unwind(),
    };
    Ok(Running {
        schema,
        stream: Box::pin(watched),
    })
}

/// A result stream that survives panics below it and logs how it ended.
struct Watched {
    /// Names the query in logs; sorts by time.
    id: Uuid,
    schema: SchemaRef,
    started: Instant,
    rows: usize,
    outcome: &'static str,
    stream: CatchUnwind<AssertUnwindSafe<SendableRecordBatchStream>>,
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
        info!(query_id = %self.id, outcome = self.outcome, rows = self.rows, elapsed_ms, "query ended");
    }
}
