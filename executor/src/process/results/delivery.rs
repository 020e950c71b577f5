//! One client's rows: made here by the coordinator's plan, at the pace of the client, while the coordinator hears how far
//! they are and may end them at any time.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow_flight::IpcMessage;
use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::CompressionType;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, stream};
use proto::deliver_order::Order;
use proto::{DeliverNews, DeliverOrder, DeliveryPlan, Refusal, ResultCompression};
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status, Streaming};

use super::Results;
use crate::cause::Cause;
use crate::error::Result;
use crate::results::{self, SQLSTATE_HEADER};

/// How often a coordinator hears how many rows there were.
const NEWS_INTERVAL: Duration = Duration::from_millis(200);
/// News that the coordinator has not read yet.
const NEWS_MAX: usize = 4;
/// Batches between the plan and the encoder.
const BATCHES_MAX: usize = 1;
/// How long a coordinator may take to say what a client shall be told about an error.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// What a coordinator hears of one client, until the answer to it is over.
pub(crate) struct News {
    heard: mpsc::Receiver<DeliverNews>,
    _refusing: Option<SpawnedTask<()>>,
}

impl Stream for News {
    type Item = Result<DeliverNews, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.heard.poll_recv(context).map(|news| news.map(Ok))
    }
}

/// Answers the client that the first of `orders` names.
pub(super) async fn deliver(results: &Results, mut orders: Streaming<DeliverOrder>) -> Result<News, Status> {
    let Some(DeliverOrder { fetch, order }) = orders.message().await? else {
        return Err(Status::invalid_argument("there is no first order"));
    };
    let client = results.offers.client(fetch);
    let client = client.ok_or_else(|| Status::not_found("the client has left"))?;
    let (news, heard) = mpsc::channel(NEWS_MAX);
    let mut told = News { heard, _refusing: None };
    let plan = match order {
        Some(Order::Plan(plan)) => plan,
        Some(Order::Refusal(refusal)) => {
            // Whoever left needs no reason.
            drop(client.send(Err(status(refusal))));
            return Ok(told);
        }
        None => return Err(Status::invalid_argument("the first order is empty")),
    };
    let mut coordinator = Coordinator {
        orders,
        news,
        unheard: 0,
        told: Instant::now(),
    };
    match begin(results, &plan) {
        Ok((rows, schema)) => {
            let rows = pumped(rows, coordinator, Arc::clone(&schema));
            drop(client.send(results::of_query(rows, schema, compression(&plan), refused).map_err(refused)));
        }
        Err(error) => {
            told._refusing = Some(SpawnedTask::spawn(async move {
                drop(client.send(Err(coordinator.fail(&error).await)));
            }));
        }
    }
    Ok(told)
}

/// Starts a plan; its rows may have cheaper types than the columns that the client was told of.
fn begin(results: &Results, plan: &DeliveryPlan) -> Result<(SendableRecordBatchStream, SchemaRef), DataFusionError> {
    let told = IpcMessage(Bytes::copy_from_slice(&plan.schema));
    let told = SchemaRef::new(Schema::try_from(told)?);
    Ok((results.runner.run(plan)?, told))
}

/// `rows` with the columns of `schema`, made in a task of their own: it lets go of them when the coordinator says so, though
/// the client does not read.
fn pumped(
    rows: SendableRecordBatchStream,
    mut coordinator: Coordinator,
    schema: SchemaRef,
) -> SendableRecordBatchStream {
    let (batches, pumped) = mpsc::channel(BATCHES_MAX);
    let ending = Arc::new(OnceLock::new());
    let (told, columns) = (Arc::clone(&ending), Arc::clone(&schema));
    let pumping = SpawnedTask::spawn(async move {
        let ended = coordinator.pump(rows, &columns, &batches).await;
        told.get_or_init(|| ended);
    });
    let rows = stream::unfold(Some((pumped, ending, pumping)), |state| async {
        let (mut pumped, ending, pumping) = state?;
        if let Some(batch) = pumped.recv().await {
            return Some((Ok(batch), Some((pumped, ending, pumping))));
        }
        // Without a word about the end it was a panic: the rows are not all of them.
        let status = match ending.get() {
            Some(Ok(())) => return None,
            Some(Err(status)) => status.clone(),
            None => Status::internal("the rows ended early"),
        };
        Some((Err(DataFusionError::External(Box::new(status))), None))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The status in an error that [`pumped`] gives.
fn refused(error: DataFusionError) -> Status {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Status>() {
            Ok(status) => *status,
            Err(other) => Status::internal(other.to_string()),
        },
        other => Status::internal(other.to_string()),
    }
}

/// Who gave the plan.
struct Coordinator {
    orders: Streaming<DeliverOrder>,
    news: mpsc::Sender<DeliverNews>,
    /// Rows that it was not told of.
    unheard: u64,
    told: Instant,
}

impl Coordinator {
    /// Hands `rows` to `batches` until the last of them or an order; the status is what the client shall be told.
    async fn pump(
        &mut self,
        mut rows: SendableRecordBatchStream,
        schema: &SchemaRef,
        batches: &mpsc::Sender<RecordBatch>,
    ) -> Result<(), Status> {
        loop {
            let place = tokio::select! {
                biased;
                status = ordered(&mut self.orders) => return Err(status),
                place = batches.reserve() => place,
            };
            let Ok(place) = place else { return Ok(()) };
            let batch = tokio::select! {
                biased;
                status = ordered(&mut self.orders) => return Err(status),
                batch = rows.next() => batch,
            };
            let Some(batch) = batch else {
                self.end().await;
                return Ok(());
            };
            match batch.and_then(|batch| Ok(results::convert(&batch, schema)?)) {
                Ok(batch) => {
                    self.count(batch.num_rows());
                    place.send(batch);
                }
                Err(error) => return Err(self.fail(&error).await),
            }
        }
    }

    /// Tells now and then how many rows there were.
    fn count(&mut self, rows: usize) {
        self.unheard += rows as u64;
        if self.told.elapsed() < NEWS_INTERVAL {
            return;
        }
        let news = DeliverNews {
            rows: self.unheard,
            ..DeliverNews::default()
        };
        if self.news.try_send(news).is_ok() {
            (self.unheard, self.told) = (0, Instant::now());
        }
    }

    async fn end(&mut self) {
        let news = DeliverNews {
            rows: self.unheard,
            ended: true,
            ..DeliverNews::default()
        };
        // Whoever does not listen any more counts nothing.
        drop(self.news.send(news).await);
    }

    /// Tells of an error; the answer is what the coordinator makes of it for the client.
    async fn fail(&mut self, error: &DataFusionError) -> Status {
        let cause = Cause::of(error, |_| None);
        let news = DeliverNews {
            rows: self.unheard,
            ended: false,
            error: cause.message,
            error_kind: cause.kind.into(),
            error_state: cause.state.to_owned(),
            error_hint: cause.hint.unwrap_or_default(),
        };
        drop(self.news.send(news).await);
        let answer = tokio::time::timeout(REFUSAL_WAIT, ordered(&mut self.orders)).await;
        answer.unwrap_or_else(|_| gone())
    }
}

/// Waits for the order that ends a delivery.
async fn ordered(orders: &mut Streaming<DeliverOrder>) -> Status {
    match orders.message().await {
        Ok(Some(DeliverOrder {
            order: Some(Order::Refusal(refusal)),
            ..
        })) => status(refusal),
        _ => gone(),
    }
}

fn gone() -> Status {
    Status::unavailable("the server that ran the query is gone; run it again")
}

fn status(refusal: Refusal) -> Status {
    let mut status = Status::new(Code::from(refusal.code), refusal.message);
    if let Ok(state) = refusal.sqlstate.parse::<MetadataValue<_>>() {
        status.metadata_mut().insert(SQLSTATE_HEADER, state);
    }
    status
}

fn compression(plan: &DeliveryPlan) -> Option<CompressionType> {
    match plan.compression() {
        ResultCompression::Unspecified => None,
        ResultCompression::Lz4 => Some(CompressionType::LZ4_FRAME),
        ResultCompression::Zstd => Some(CompressionType::ZSTD),
    }
}
