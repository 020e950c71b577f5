//! The life of one query: admit, execute, stream, and one line in the log when it ends, however it ends.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use executor::{Delivery, Engines, Execution, Limits, Part};
use futures::{Stream, StreamExt};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tracing::{Span, debug, info};

use super::admission::{Admission, Permit};
use super::registry::{Ending, Registered, RunningQuery};
use crate::error::{Error, Result};
use crate::sql::plan::Plan;

/// A query that runs while its stream is read.
pub(crate) struct Running {
    /// The columns of the result as the statement defines them. Batches may hold the same columns in types that are
    /// cheaper to compute with, such as views.
    pub(crate) schema: SchemaRef,
    /// The rows. Dropping it cancels the query.
    pub(crate) stream: SendableRecordBatchStream,
    /// What it is and how far it is.
    pub(crate) query: Arc<RunningQuery>,
}

pub(super) async fn run(
    engines: &Engines,
    admission: &Admission,
    query: Registered,
    (plan, part): (Plan, Option<Part>),
    delivery: Option<&mut Delivery<'_>>,
) -> Result<Running> {
    let schema = plan.schema()?;
    let permit = match (plan.reads_tables()?, part) {
        (true, None) => Arc::new(admission.admit(&query.share()).await?),
        // A client that reads one part after the other leaves the rest of them waiting: they need no place of their own.
        (true, Some(_)) => admission.admit_part(&query.share()).await?,
        (false, _) => Arc::new(admission.bypass()),
    };
    debug!(query_id = %query.origin.id, plan = %plan.plan.display_indent(), "query begins");
    let limits = Limits {
        part,
        ..admission.limits(&query.user, &query.origin)
    };
    let Execution { stream, progress } = match delivery {
        None => engines.execute_within(&plan.state, plan.plan, limits).await?,
        Some(delivery) => delivery.deliver(&plan.state, &plan.plan, limits).await?,
    };
    let rows = stream.schema();
    let rows_max = admission.rows_max(&query.user, &query.origin);
    query.stream(admitted(stream, permit, rows_max), progress);
    Ok(Running {
        schema,
        query: query.share(),
        stream: Box::pin(Watched::new(query, rows)),
    })
}

/// `rows` until there are more than `rows_max`; whoever waits may run when it is dropped.
fn admitted(rows: SendableRecordBatchStream, permit: Arc<Permit>, rows_max: Option<u64>) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let mut given: u64 = 0;
    let rows = rows.map(move |batch| {
        let _held = &permit;
        let batch = batch?;
        given += batch.num_rows() as u64;
        match rows_max {
            Some(rows_max) if given > rows_max => Err(DataFusionError::External(Box::new(Error::Limit {
                detail: format!("the query gives more than the {rows_max} rows it may"),
                hint: "add a LIMIT or a filter",
            }))),
            _ => Ok(batch),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// A result stream that survives panics below it, ends where its query is ended, and logs how it ended.
struct Watched {
    query: Registered,
    /// The call that began it: it has returned when the query ends.
    call: Span,
    schema: SchemaRef,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    outcome: Option<&'static str>,
}

impl Watched {
    fn new(query: Registered, schema: SchemaRef) -> Self {
        let ended = Box::pin(query.ended().clone().cancelled_owned());
        Self {
            query,
            call: Span::current(),
            schema,
            ended,
            outcome: None,
        }
    }

    fn stopped(&mut self) -> DataFusionError {
        self.outcome = Some("ended early");
        let ending = self.query.ending().cloned().unwrap_or(Ending::Cancelled);
        DataFusionError::External(Box::new(Error::Ended { ending }))
    }
}

impl Stream for Watched {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.outcome.is_some() {
            return Poll::Ready(None);
        }
        if self.ended.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(self.stopped())));
        }
        let guarded = |body: &mut SendableRecordBatchStream| {
            std::panic::catch_unwind(AssertUnwindSafe(|| body.poll_next_unpin(context)))
        };
        let polled = match self.query.with_body(guarded) {
            None => return Poll::Ready(Some(Err(self.stopped()))),
            Some(Ok(Poll::Pending)) => return Poll::Pending,
            Some(Ok(Poll::Ready(item))) => item,
            Some(Err(_panic)) => Some(Err(DataFusionError::External(Box::new(Error::Panic)))),
        };
        match &polled {
            Some(Ok(batch)) => self.query.count(batch.num_rows()),
            Some(Err(_)) => self.outcome = Some("failed"),
            None => self.outcome = Some("finished"),
        }
        Poll::Ready(polled)
    }
}

impl RecordBatchStream for Watched {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let query = &self.query;
        let outcome = match (self.outcome, query.ending()) {
            (Some("finished" | "failed"), _) | (_, None) => self.outcome.unwrap_or("cancelled"),
            (_, Some(Ending::TimedOut(_))) => "timed out",
            (_, Some(_)) => "cancelled",
        };
        let (rows, elapsed_ms) = (query.rows(), query.elapsed().as_millis());
        let _call = self.call.enter();
        info!(query_id = %query.origin.id, outcome, rows, elapsed_ms, "query ended");
        self.query.came_out(outcome);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use executor::Progress;
    use futures::stream;
    use proto::ErrorKind;
    use uuid::Uuid;

    use super::*;
    use crate::query::{Origin, Registry};

    fn watched(registry: &Registry, body: SendableRecordBatchStream) -> Watched {
        let origin = Origin {
            id: Uuid::now_v7(),
            session_id: None,
            tags: Vec::new(),
        };
        let query = registry.begin(origin, "alice", "SELECT 1", None).unwrap();
        let schema = body.schema();
        query.stream(body, Progress::default());
        Watched::new(query, schema)
    }

    fn batch() -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[tokio::test]
    async fn a_panic_below_ends_the_query_and_nothing_else() {
        let schema = batch().schema();
        let rows = stream::iter(0..2).map(|round| if round == 0 { Ok(batch()) } else { panic!("defect") });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        let mut watched = watched(&Registry::default(), rows);
        assert_eq!(watched.next().await.unwrap().unwrap().num_rows(), 2);
        let error = Error::from(watched.next().await.unwrap().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(error.to_string(), Error::Panic.to_string());
        assert!(watched.next().await.is_none());
        assert_eq!((watched.query.rows(), watched.outcome), (2, Some("failed")));
    }

    #[tokio::test]
    async fn a_query_that_is_ended_lets_go_of_its_work_though_nobody_reads() {
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        let rows = stream::repeat_with(move || {
            let _holder = &holder;
            Ok(batch())
        });
        let registry = Registry::default();
        let mut watched = watched(
            &registry,
            Box::pin(RecordBatchStreamAdapter::new(batch().schema(), rows)),
        );
        watched.next().await.unwrap().unwrap();
        assert_eq!(Arc::strong_count(&held), 2);
        let id = registry.of_user("alice").first().unwrap().origin.id;
        assert!(registry.end(id, "alice", &Ending::Killed));
        assert_eq!(Arc::strong_count(&held), 1);
        let error = Error::from(watched.next().await.unwrap().unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(error.to_string().contains("KILL QUERY"), "{error}");
        assert!(watched.next().await.is_none());
    }
}
