//! Results that clients fetch from executors, for plans whose rows are each made of one row of one scan: the server
//! offers a ticket to an executor, and when a client shows it there, hands the executor the plan. The rows go past the
//! server; what it admits, counts, limits and ends is the same as if they came through it.

mod runner;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use catalog::write::plan::LakePlanner;
use catalog::{LakeCodec, LoansInUse};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::ipc::CompressionType;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_proto::bytes::physical_plan_to_bytes_with_extension_codec;
use futures::StreamExt;
use http::uri::PathAndQuery;
use proto::deliver_order::Order;
use proto::{Asked, DeliverNews, DeliverOrder, DeliveryPlan, OfferRequest, Refusal, ResultCompression, ResultsAddress};
use ring::digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use url::Url;
use uuid::Uuid;

use super::parts::OnePart;
use super::progress::{Progress, Source};
use super::streaming::{Elsewhere, PLAN_BYTES_MAX};
use super::{Engines, Execution, Limits, scan};
use crate::cause::{Cause, sqlstate};
use crate::cluster::Cluster;
use crate::cluster::channel::{ExecutorChannel, innermost, of_status, unreachable};
use crate::cluster::members::Peer;
use crate::error::{Error, Result};
use crate::process::results::{DELIVER_PATH, OFFER_PATH};
use crate::process::session::TaskSettings;
use crate::results::SQLSTATE_HEADER;

pub(crate) use runner::Runner;

/// The biggest order: a plan with all its files, and what belongs to it.
pub(crate) const MESSAGE_BYTES_MAX: usize = PLAN_BYTES_MAX + (1 << 20);
/// An executor that does not take an offer within this time gets none: the client waits.
const OFFER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long an executor may take to pass on what its client is told at the end.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// News and orders on their way.
const MESSAGES_MAX: usize = 4;

/// An executor that hands out results.
#[derive(Debug, Clone)]
pub struct Door {
    cluster: Arc<Cluster>,
    peer: Peer,
    uri: String,
}

/// A ticket that an executor gives rows for, as long as this lives.
#[derive(Debug)]
pub struct Offer {
    door: Door,
    asked: Streaming<Asked>,
}

/// A client that shows the ticket of an offer. It waits until [`Delivery::deliver`] or [`Fetch::end`].
#[derive(Debug)]
pub struct Fetch {
    door: Door,
    number: u64,
    left: CancellationToken,
    begun: Option<Begun>,
}

/// An answer on its way.
#[derive(Debug)]
struct Begun {
    orders: mpsc::Sender<DeliverOrder>,
    relay: SpawnedTask<()>,
}

/// A client's call, and how it gets its rows.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// The call.
    pub fetch: &'a mut Fetch,
    /// The columns that the client was told of, as an encapsulated IPC message.
    pub schema: Bytes,
    /// How the rows are compressed.
    pub compression: Option<CompressionType>,
}

impl Engines {
    /// The executors of `set`, or of the first set where none is named, that hand out results now; over encrypted
    /// connections only where that is asked for.
    ///
    /// # Errors
    /// [`Error::Settings`] where there is no such set.
    pub fn doors(&self, set: Option<&str>, encrypted: bool) -> Result<Vec<Door>> {
        let Some(cluster) = &self.cluster else {
            return Ok(Vec::new());
        };
        let set = match cluster.scaler() {
            Some(scaler) => Some(scaler.set(set)?.name.as_str()),
            None => None,
        };
        let doors = cluster.members().doors(set).into_iter().filter_map(|(peer, results)| {
            let uri = uri(&peer.address, &results, encrypted)?;
            let cluster = Arc::clone(cluster);
            Some(Door { cluster, peer, uri })
        });
        Ok(doors.collect())
    }
}

/// Where clients reach the executor at `address`; nowhere where they are promised encryption and it has none.
fn uri(address: &Url, results: &ResultsAddress, encrypted: bool) -> Option<String> {
    let scheme = match (results.tls, encrypted) {
        (true, _) => "grpc+tls",
        (false, false) => "grpc+tcp",
        (false, true) => return None,
    };
    let host = match &*results.host {
        "" => address.host_str()?,
        host => host,
    };
    Some(format!("{scheme}://{host}:{}", results.port))
}

impl Door {
    /// Where clients connect to.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Makes the executor give rows for `ticket`, as long as the answer lives.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and what else is wrong with the executor.
    pub async fn offer(&self, ticket: &[u8]) -> Result<Offer> {
        let ticket_digest = digest::digest(&digest::SHA256, ticket).as_ref().to_vec();
        let asked = tokio::time::timeout(OFFER_TIMEOUT, self.send_offer(OfferRequest { ticket_digest })).await;
        let late = |_| unreachable(&self.peer.address, format!("it took no offer within {OFFER_TIMEOUT:?}"));
        Ok(Offer {
            door: self.clone(),
            asked: asked.map_err(late)??,
        })
    }

    async fn send_offer(&self, request: OfferRequest) -> Result<Streaming<Asked>> {
        let mut client = self.client().await?;
        let codec = ProstCodec::<OfferRequest, Asked>::default();
        let answer = client
            .server_streaming(Request::new(request), PathAndQuery::from_static(OFFER_PATH), codec)
            .await;
        let mut asked = answer.map_err(|status| self.failed(&status))?.into_inner();
        match asked.message().await.map_err(|status| self.failed(&status))? {
            Some(_) => Ok(asked),
            None => Err(unreachable(&self.peer.address, "it took no offer")),
        }
    }

    async fn client(&self) -> Result<tonic::client::Grpc<ExecutorChannel>> {
        let address = &self.peer.address;
        let mut client = tonic::client::Grpc::new(self.cluster.channels().channel(address).await?);
        client
            .ready()
            .await
            .map_err(|error| unreachable(address, innermost(&error)))?;
        Ok(client)
    }

    fn failed(&self, status: &Status) -> Error {
        let address = &self.peer.address;
        of_status(address, status).unwrap_or_else(|| unreachable(address, status.message().to_owned()))
    }
}

impl Offer {
    /// The next client that shows the ticket; none where the executor takes the offer back.
    pub async fn asked(&mut self) -> Option<Fetch> {
        let asked = self.asked.message().await.ok()??;
        Some(Fetch {
            door: self.door.clone(),
            number: asked.fetch,
            left: CancellationToken::new(),
            begun: None,
        })
    }
}

impl Fetch {
    /// Cancelled when the client does not read any more, after [`Delivery::deliver`].
    pub fn left(&self) -> CancellationToken {
        self.left.clone()
    }

    /// Ends the call: with `status` where that is an error, otherwise as it has ended.
    pub async fn end(mut self, status: Option<&Status>) {
        let ended = async {
            match (self.begun.take(), status) {
                (Some(begun), Some(status)) => {
                    // An executor that has ended by itself needs no order.
                    drop(begun.orders.send(self.refusal(status)).await);
                    drop(begun.relay.join().await);
                }
                (None, Some(status)) => {
                    if let Ok((_, mut news)) = self.open(self.refusal(status)).await {
                        while let Ok(Some(_)) = news.message().await {}
                    }
                }
                (_, None) => {}
            }
        };
        // Beyond that the executor tells its client that this server is gone.
        drop(tokio::time::timeout(END_TIMEOUT, ended).await);
    }

    fn refusal(&self, status: &Status) -> DeliverOrder {
        let sqlstate = status.metadata().get(SQLSTATE_HEADER);
        let refusal = Refusal {
            code: status.code().into(),
            message: status.message().to_owned(),
            sqlstate: sqlstate
                .and_then(|state| state.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
        };
        DeliverOrder {
            fetch: self.number,
            order: Some(Order::Refusal(refusal)),
        }
    }

    async fn open(&self, first: DeliverOrder) -> Result<(mpsc::Sender<DeliverOrder>, Streaming<DeliverNews>)> {
        let (orders, sent) = mpsc::channel(MESSAGES_MAX);
        drop(orders.send(first).await);
        let mut client = self.door.client().await?;
        let codec = ProstCodec::<DeliverOrder, DeliverNews>::default();
        let path = PathAndQuery::from_static(DELIVER_PATH);
        let answer = client
            .streaming(Request::new(ReceiverStream::new(sent)), path, codec)
            .await;
        let news = answer
            .map(Response::into_inner)
            .map_err(|status| self.door.failed(&status))?;
        Ok((orders, news))
    }

    /// Gives the executor what the catalogs lent for the plan's files.
    async fn lend(&self, plan: &Arc<dyn ExecutionPlan>) -> Result<Option<LoansInUse>> {
        let Some(lending) = self.door.cluster.lending() else {
            return Ok(None);
        };
        let mut nodes = Vec::new();
        plan.apply(|node| {
            nodes.push(Arc::clone(node));
            Ok(TreeNodeRecursion::Continue)
        })?;
        let used = lending.stores().loans_of(&nodes);
        if used.is_empty() {
            return Ok(None);
        }
        lending.lend(std::slice::from_ref(&self.door.peer)).await?;
        Ok(Some(used))
    }
}

impl Delivery<'_> {
    /// Runs `plan` on the executor that the client asked, for that client. The batches of the stream have no columns: they
    /// tell how many rows the client was given. Dropping it changes nothing: the call goes on until [`Fetch::end`].
    ///
    /// # Errors
    /// As of [`Engines::execute_within`].
    pub async fn deliver(&mut self, state: &SessionState, plan: &LogicalPlan, limits: Limits) -> Result<Execution> {
        let mut builder =
            SessionStateBuilder::new_from_existing(state.clone()).with_query_planner(Arc::new(LakePlanner));
        if let Some(part) = limits.part {
            builder = builder.with_physical_optimizer_rule(Arc::new(OnePart(part)));
        }
        let state = builder.build();
        let plan = state.create_physical_plan(plan).await?;
        scan::check(&plan, limits.scan_bytes_max)?;
        let loans = self.fetch.lend(&plan).await?;
        let encoded = physical_plan_to_bytes_with_extension_codec(plan, &LakeCodec::default())?;
        if encoded.len() > PLAN_BYTES_MAX {
            return Err(Error::PlanTooLarge {
                bytes_max: PLAN_BYTES_MAX,
            });
        }
        let query = Uuid::now_v7().to_string();
        let order = DeliveryPlan {
            plan: encoded.to_vec(),
            settings: TaskSettings::of(state.config_options())?.text,
            query: query.clone(),
            memory_bytes_max: limits.memory_bytes_max.unwrap_or(0),
            schema: self.schema.to_vec(),
            compression: match self.compression {
                None => ResultCompression::Unspecified,
                Some(CompressionType::LZ4_FRAME) => ResultCompression::Lz4,
                Some(_) => ResultCompression::Zstd,
            }
            .into(),
        };
        let first = DeliverOrder {
            fetch: self.fetch.number,
            order: Some(Order::Plan(order)),
        };
        let (orders, news) = self.fetch.open(first).await?;
        let (told, counts) = mpsc::channel(MESSAGES_MAX);
        let relay = relay(news, told, self.fetch.left(), self.fetch.door.clone());
        self.fetch.begun = Some(Begun {
            orders,
            relay: SpawnedTask::spawn(relay),
        });
        let progress = Progress::default();
        let (cluster, peer) = (&self.fetch.door.cluster, self.fetch.door.peer.clone());
        progress.follow(Source::Elsewhere(Arc::new(Elsewhere::watch(
            cluster,
            vec![peer],
            query,
        ))));
        Ok(Execution {
            stream: counted(counts, loans),
            progress,
        })
    }
}

/// The numbers of rows as batches, which keep `loans` in use.
fn counted(
    counts: mpsc::Receiver<Result<u64>>,
    loans: Option<LoansInUse>,
) -> datafusion::execution::SendableRecordBatchStream {
    let schema = SchemaRef::new(Schema::empty());
    let columns = Arc::clone(&schema);
    let batches = ReceiverStream::new(counts).map(move |count| {
        let _renewed = &loans;
        let rows = usize::try_from(count?).unwrap_or(usize::MAX);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok::<_, DataFusionError>(RecordBatch::try_new_with_options(
            Arc::clone(&columns),
            vec![],
            &options,
        )?)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Passes on what an executor tells, until it has no more to tell. Reading on after an error keeps the call open for what
/// the client shall be told.
async fn relay(mut news: Streaming<DeliverNews>, told: mpsc::Sender<Result<u64>>, left: CancellationToken, door: Door) {
    let mut told = Some(told);
    loop {
        let message = match news.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(status) => {
                tell(told.as_ref(), Err(door.failed(&status))).await;
                return;
            }
        };
        if message.rows > 0 {
            tell(told.as_ref(), Ok(message.rows)).await;
        }
        if !message.error.is_empty() {
            let cause = Box::new(cause(message));
            tell(told.take().as_ref(), Err(Error::Delivery { cause })).await;
        } else if message.ended {
            told = None;
        }
    }
    if let Some(told) = told {
        left.cancel();
        // The stream has no end: the rows have none.
        told.closed().await;
    }
}

/// What an executor says went wrong.
fn cause(news: DeliverNews) -> Cause {
    let kind = news.error_kind();
    Cause {
        kind,
        state: sqlstate::known(&news.error_state).unwrap_or_else(|| sqlstate::of(kind)),
        message: news.error,
        hint: Some(news.error_hint).filter(|hint| !hint.is_empty()),
    }
}

async fn tell(told: Option<&mpsc::Sender<Result<u64>>>, count: Result<u64>) {
    if let Some(told) = told {
        // A query that was ended does not count any more.
        drop(told.send(count).await);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_where_they_can_go() {
        let check = |host: &str, tls: bool, encrypted: bool, expect: Option<&str>| {
            let results = ResultsAddress {
                host: host.to_owned(),
                port: 31418,
                tls,
            };
            let address = Url::parse("http://10.0.0.7:31417").unwrap();
            assert_eq!(uri(&address, &results, encrypted).as_deref(), expect);
        };
        check("", false, false, Some("grpc+tcp://10.0.0.7:31418"));
        check(
            "lake.example.org",
            true,
            false,
            Some("grpc+tls://lake.example.org:31418"),
        );
        check("", true, true, Some("grpc+tls://10.0.0.7:31418"));
        check("", false, true, None);
    }
}
