//! A query as its reader sees it: one stream of rows, whatever happens to executors meanwhile. As long as no row was
//! handed out, a query whose executor is lost is run again, as a whole and without it, and a query whose hash join does
//! not fit into memory is run again with merge joins. Rows are kept back for a moment for that.
//!
//! ```text
//!   run ──► hold the first rows ──► hand out ──► end
//!    ▲            │ executor lost        │ executor lost
//!    └── again ◄──┘                      └──► Unavailable
//! ```

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use catalog::LoansInUse;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use futures::stream::unfold;
use tokio::time::Instant;
use tracing::{info, warn};

use super::progress::Source;
use super::{Engine, Execution, Limits, Progress};
use crate::cluster::members::Peer;
use crate::error::{Error, Result};
use crate::scale::demand::Wanted;

/// A query is not started more often, whatever the reason.
const ATTEMPTS_MAX: usize = 6;
/// A query that has lost so many executors may be what ends them.
const LOST_MAX: usize = 3;
/// Between two attempts, once for each attempt before.
const BACKOFF: Duration = Duration::from_millis(50);
/// Rows are kept back until they have so many bytes, or the first of them is so old.
const HELD_BYTES_MAX: usize = 1 << 20;
const HELD_FOR: Duration = Duration::from_millis(200);

/// What an engine is asked to run once.
pub(super) struct Attempt {
    pub(super) state: SessionState,
    pub(super) plan: LogicalPlan,
    pub(super) limits: Limits,
    /// The query's memory on this machine.
    pub(super) runtime: Arc<RuntimeEnv>,
    /// Executors that failed the query before.
    pub(super) excluded: HashSet<Peer>,
}

/// A plan that runs.
pub(super) struct Started {
    pub(super) stream: SendableRecordBatchStream,
    pub(super) progress: Source,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// The executors that have a part of it.
    pub(super) peers: Vec<Peer>,
    /// Its part of what executors are started for.
    pub(super) _wanted: Option<Wanted>,
    /// The credentials that executors were given for it: they are renewed as long as it runs.
    pub(super) _loans: Option<LoansInUse>,
}

/// What an error says about an executor of the query.
pub(super) struct Loss {
    /// Which one, where that is known.
    pub(super) peer: Option<Peer>,
    /// True where it was lost while it worked; false where it only took no tasks.
    pub(super) died: bool,
}

/// Runs `attempt` until it succeeds or must not be run again.
pub(super) async fn run(engine: Arc<dyn Engine>, attempt: Attempt) -> Result<Execution> {
    let running = engine.start(&attempt).await?;
    let schema = running.stream.schema();
    let progress = Progress::default();
    progress.follow(running.progress.clone());
    let query = Query {
        hold_all: attempt.limits.hold_rows,
        tries: Tries {
            engine,
            attempt,
            attempts: 1,
            lost: Vec::new(),
            merge_joins: false,
        },
        progress: progress.clone(),
        running: Some(running),
        held: VecDeque::new(),
        held_bytes: 0,
        held_until: None,
        open: false,
    };
    let rows = unfold(query, |mut query| async move { Some((query.next().await?, query)) });
    Ok(Execution {
        stream: Box::pin(RecordBatchStreamAdapter::new(schema, rows)),
        progress,
    })
}

/// A query and the rows it keeps back.
struct Query {
    tries: Tries,
    progress: Progress,
    /// None once it has ended.
    running: Option<Started>,
    held: VecDeque<RecordBatch>,
    held_bytes: usize,
    held_until: Option<Instant>,
    /// Keeps all rows back until the last has come.
    hold_all: bool,
    /// Rows may be handed out: from now on an error is final.
    open: bool,
}

impl Query {
    async fn next(&mut self) -> Option<Result<RecordBatch, DataFusionError>> {
        while !self.open {
            if let Err(error) = self.hold().await {
                return Some(Err(error));
            }
        }
        if let Some(batch) = self.held.pop_front() {
            return Some(Ok(batch));
        }
        let next = self.running.as_mut()?.stream.next().await;
        if !matches!(next, Some(Ok(_))) {
            self.running = None;
        }
        next
    }

    /// Takes one more batch, starts again, or opens.
    async fn hold(&mut self) -> Result<(), DataFusionError> {
        let Some(running) = &mut self.running else {
            self.open = true;
            return Ok(());
        };
        let next = match self.held_until {
            Some(until) if !self.hold_all => match tokio::time::timeout_at(until, running.stream.next()).await {
                Ok(next) => next,
                Err(_) => {
                    self.open = true;
                    return Ok(());
                }
            },
            _ => running.stream.next().await,
        };
        match next {
            Some(Ok(batch)) => {
                self.held_bytes += batch.get_array_memory_size();
                self.held.push_back(batch);
                self.held_until.get_or_insert_with(|| Instant::now() + HELD_FOR);
                self.open = self.held_bytes >= HELD_BYTES_MAX && !self.hold_all;
            }
            Some(Err(error)) => {
                self.held.clear();
                (self.held_bytes, self.held_until) = (0, None);
                match self.running.take() {
                    Some(failed) => match self.tries.again(error, failed).await {
                        Ok(running) => {
                            self.progress.follow(running.progress.clone());
                            self.running = Some(running);
                        }
                        Err(error) => {
                            self.open = true;
                            return Err(error);
                        }
                    },
                    None => return Err(error),
                }
            }
            None => {
                self.running = None;
                self.open = true;
            }
        }
        Ok(())
    }
}

/// The attempts of one query.
struct Tries {
    engine: Arc<dyn Engine>,
    attempt: Attempt,
    attempts: usize,
    lost: Vec<String>,
    merge_joins: bool,
}

impl Tries {
    /// Starts the query again after `error` ended `failed`; the final error where that is of no use.
    async fn again(&mut self, error: DataFusionError, failed: Started) -> Result<Started, DataFusionError> {
        if self.attempts >= ATTEMPTS_MAX {
            return Err(error);
        }
        let exhausted = matches!(error.find_root(), DataFusionError::ResourcesExhausted(_));
        if exhausted && !self.merge_joins && has_hash_join(&failed.plan)? {
            info!(%error, "a query is run again with merge joins");
            self.merge_joins = true;
            let options = self.attempt.state.config_mut().options_mut();
            options.optimizer.prefer_hash_join = false;
        } else {
            let Some(loss) = self.engine.find_loss(&failed.peers, &error).await else {
                return Err(error);
            };
            self.count(loss)?;
            warn!(%error, attempts = self.attempts, "a query is run again");
        }
        // What is left of it ends before the next begins.
        drop(failed);
        tokio::time::sleep(BACKOFF * u32::try_from(self.attempts).unwrap_or(u32::MAX)).await;
        self.attempts += 1;
        Ok(self.engine.start(&self.attempt).await?)
    }

    fn count(&mut self, loss: Loss) -> Result<(), Error> {
        let Some(peer) = loss.peer else { return Ok(()) };
        if loss.died {
            self.lost.push(peer.address.as_str().trim_end_matches('/').to_owned());
        }
        self.attempt.excluded.insert(peer);
        match self.lost.len() {
            LOST_MAX.. => Err(Error::GivenUp {
                lost: std::mem::take(&mut self.lost),
            }),
            _ => Ok(()),
        }
    }
}

fn has_hash_join(plan: &Arc<dyn ExecutionPlan>) -> Result<bool, DataFusionError> {
    plan.exists(|node| Ok(node.is::<HashJoinExec>()))
}
