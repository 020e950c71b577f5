//! The life of a write: plan, write files, commit, once however often its connection breaks; planned again where another
//! commit came first. Nothing is visible before the commit, and what a failure leaves behind is deleted.

mod analyze;
mod create;
mod ingest;
mod maintain;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use catalog::write::change::{Change, Operation, Reads};
use catalog::write::plan::{Collected, LakeWrite, Written};
use catalog::write::replaced::Partitions;
use catalog::write::target::{RowChange, WriteDefault, WriteTarget};
use catalog::write::{discard, new_write_id};
use datafusion::common::ScalarValue;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use executor::Limits;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use proto::ErrorKind;
use tokio::sync::oneshot;
use tracing::info;

pub(crate) use ingest::{IfExists, Ingest};

use super::{Origin, Queries, RunningQuery, Source, guarded};
use crate::error::{Error, Result};
use crate::query::Ending;
use crate::session::Session;
use crate::sql::write::{self as sql, Replaced, RowPlan, Write};

/// A statement that other commits overtake is planned so often.
const ATTEMPTS_MAX: u32 = 6;
/// The wait before it is planned again; doubled each time.
const BACKOFF: Duration = Duration::from_millis(50);

/// Values for the parameters of a write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bound {
    /// One value per parameter and row. A statement without parameters has no batch.
    pub(crate) rows: Vec<RecordBatch>,
}

impl Bound {
    /// The values of each row.
    fn each(&self) -> Result<Vec<Vec<ScalarValue>>> {
        let mut all = Vec::new();
        for batch in &self.rows {
            for row in 0..batch.num_rows() {
                let values = batch
                    .columns()
                    .iter()
                    .map(|column| ScalarValue::try_from_array(column, row));
                all.push(values.collect::<Result<_, _>>()?);
            }
        }
        Ok(all)
    }

    fn count(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }
}

/// What a write does once it may begin; the number of rows.
type Work = Box<dyn FnOnce(Queries, Session, Arc<RunningQuery>) -> BoxFuture<'static, Result<i64>> + Send>;

/// Ends a write whose caller has gone, unless its commit has begun.
struct Waiting(Arc<RunningQuery>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.end(Ending::Cancelled);
    }
}

/// What `once` gives, tried again while others commit first.
async fn until_landed<'a, T>(query: &RunningQuery, once: impl Fn() -> BoxFuture<'a, Result<T>>) -> Result<T> {
    let mut attempt = 0;
    loop {
        let outcome = once().await;
        attempt += 1;
        match outcome {
            Err(error) if error.kind() == ErrorKind::Conflict && attempt < ATTEMPTS_MAX => {
                let wait = tokio::time::sleep(BACKOFF * 2_u32.pow(attempt));
                unless_ended(query, wait.map(Ok)).await?;
            }
            outcome => return outcome,
        }
    }
}

impl Queries {
    /// Runs a statement that writes rows, and says how many it wrote, changed or deleted.
    pub(crate) async fn write(&self, session: &Session, origin: Origin, sql: &str, bound: Bound) -> Result<i64> {
        let text = sql.to_owned();
        let work: Work = Box::new(move |queries, session, query| {
            async move { queries.write_rows(&session, &query, &text, &bound).await }.boxed()
        });
        self.bring_to_end(session, origin, sql, work).await
    }

    /// Does `work` as a query that is known as `text`, when its turn has come. A caller that goes away ends it; a commit
    /// that has begun is brought to its end.
    async fn bring_to_end(&self, session: &Session, origin: Origin, text: &str, work: Work) -> Result<i64> {
        let limit = session.settings.statement_timeout();
        let mut query = self.registry.begin(origin, &session.user, text, limit)?;
        let shared = query.share();
        let (done, outcome) = oneshot::channel();
        let (queries, session) = (self.clone(), session.clone());
        let running = Arc::clone(&shared);
        self.tasks.spawn(async move {
            let work = async {
                let _permit = unless_ended(&running, queries.admission.admit(&running)).await?;
                work(queries.clone(), session, Arc::clone(&running)).await
            };
            let outcome = Box::pin(guarded(work)).await;
            let ended = if outcome.is_ok() { "finished" } else { "failed" };
            let rows = outcome.as_ref().copied().unwrap_or_default();
            let elapsed_ms = query.elapsed().as_millis();
            info!(query_id = %query.origin.id, outcome = ended, rows, elapsed_ms, "write ended");
            query.came_out(ended);
            drop(query);
            if done.send(outcome).is_err() {
                tracing::debug!("nobody waits for the outcome of a write");
            }
        });
        let _waiting = Waiting(shared);
        outcome.await.unwrap_or(Err(Error::Lost))
    }

    async fn write_rows(&self, session: &Session, query: &RunningQuery, sql: &str, bound: &Bound) -> Result<i64> {
        if bound.count() <= 1 {
            let values = bound.each()?.pop().unwrap_or_default();
            return Box::pin(self.write_until(session, query, sql, Values::One(values))).await;
        }
        let plan = unless_ended(query, self.plan(session, Source::Sql(sql), &[])).await?;
        if plan.bind_rows(&bound.rows)?.is_some() {
            return Box::pin(self.write_until(session, query, sql, Values::Many(&bound.rows))).await;
        }
        let mut rows = 0;
        for values in bound.each()? {
            rows += Box::pin(self.write_until(session, query, sql, Values::One(values))).await?;
        }
        Ok(rows)
    }

    /// Writes and commits, again while others commit first.
    async fn write_until(&self, session: &Session, query: &RunningQuery, sql: &str, values: Values<'_>) -> Result<i64> {
        until_landed(query, || self.write_once(session, query, sql, values.clone()).boxed()).await
    }

    async fn write_once(&self, session: &Session, query: &RunningQuery, sql: &str, values: Values<'_>) -> Result<i64> {
        let planning = async {
            let plan = self.plan(session, Source::Sql(sql), &[]).await?;
            let plan = match values {
                Values::One(values) => plan.bind(values)?,
                Values::Many(rows) => plan
                    .bind_rows(rows)?
                    .ok_or_else(|| Error::statement("these parameters cannot be bound together"))?,
            };
            plan.into_write(session, &self.lakehouse).await
        };
        let (state, write) = unless_ended(query, planning).await?;
        Box::pin(self.carry_out(query, state, write, false)).await
    }

    /// Writes and commits, once. The rows are read in this process where only it has them.
    async fn carry_out(
        &self,
        query: &RunningQuery,
        state: SessionState,
        write: sql::Written,
        here: bool,
    ) -> Result<i64> {
        let write = match write {
            sql::Written::Rows(write) => write,
            sql::Written::New(creation) => return self.create(query, state, creation, here).await,
        };
        let writing = Writing {
            queries: self,
            query,
            state,
            target: write.table.snapshot().write_target()?,
            write_id: new_write_id(),
            here,
        };
        let change = writing.change(&write).await;
        let outcome = match change {
            Ok((change, rows)) if change.is_empty() => Ok(rows),
            Ok((change, rows)) => {
                // The last moment at which the statement can be ended.
                match query.ending() {
                    Some(ending) => Err(Error::Ended { ending: ending.clone() }),
                    None => {
                        let base = write.table.snapshot();
                        let committed = self.lakehouse.commit(&write.name, base, change).await;
                        committed.map(|_| rows).map_err(Error::from)
                    }
                }
            }
            Err(error) => Err(error),
        };
        let keep = match &outcome {
            Ok(_) | Err(Error::Catalog(catalog::Error::CommitUnknown { .. })) => true,
            Err(_) => false,
        };
        if !keep {
            discard(self.lakehouse.stores(), &writing.target.data_folder, &writing.write_id).await;
        }
        outcome
    }
}

/// Values of parameters for one run of a statement.
#[derive(Clone)]
enum Values<'a> {
    One(Vec<ScalarValue>),
    Many(&'a [RecordBatch]),
}

/// One attempt at a write.
struct Writing<'a> {
    queries: &'a Queries,
    query: &'a RunningQuery,
    state: SessionState,
    target: WriteTarget,
    write_id: String,
    /// Whether only this process has the rows.
    here: bool,
}

impl Writing<'_> {
    /// Writes the files of a statement. What it does to the table, and how many rows that are.
    async fn change(&self, write: &Write) -> Result<(Change, i64)> {
        let snapshot = write.table.snapshot();
        match &write.change {
            RowPlan::Append(rows) => {
                refuse_defaults(write)?;
                let written = self.run(rows.clone(), self.target.clone(), false).await?;
                let rows = count(written.rows_written())?;
                Ok((self.added(Operation::Append, written, Reads::Nothing), rows))
            }
            RowPlan::Overwrite { rows, replaced } => {
                refuse_defaults(write)?;
                let written = self.run(rows.clone(), self.target.clone(), false).await?;
                let rows = count(written.rows_written())?;
                let partitions = match replaced {
                    Replaced::All => None,
                    Replaced::Given(partitions) => Some(partitions.clone()),
                    Replaced::ThoseOfRows => Some(Partitions::of(&self.target, &written.files)?),
                };
                let filter = partitions.as_ref().and_then(|partitions| partitions.filter(snapshot));
                let mut change = self.added(Operation::Overwrite, written, Reads::Rows(filter));
                let removed = async {
                    Ok(match &partitions {
                        None => snapshot.data_files().await?,
                        Some(partitions) => partitions.files(snapshot).await?,
                    })
                };
                change.removed = unless_ended(self.query, removed).await?;
                Ok((change, rows))
            }
            RowPlan::Truncate => {
                let mut change = self.added(Operation::Delete, Written::default(), Reads::Rows(None));
                change.removed = unless_ended(self.query, async { Ok(snapshot.data_files().await?) }).await?;
                Ok((change, -1))
            }
            RowPlan::Change { rows, operation, reads } => {
                let way = snapshot.row_change(*operation)?;
                if *operation != Operation::Delete {
                    refuse_constraints(write)?;
                }
                // Rows that only leave need no place in the table's layout.
                let target = match operation {
                    Operation::Delete => WriteTarget {
                        partition: Vec::new(),
                        sort_order: Vec::new(),
                        ..self.target.clone()
                    },
                    _ => snapshot.rewrite_target()?,
                };
                let written = self.run(rows.clone(), target, true).await?;
                let (joined, left) = (written.rows_written(), written.rows_deleted());
                let rows = count(joined + left.saturating_sub(written.updated))?;
                let mut change = self.added(*operation, written, reads.clone());
                if way == RowChange::CopyOnWrite && !change.deleted.is_empty() {
                    self.rewrite(write, &mut change).await?;
                }
                Ok((change, rows))
            }
        }
    }

    fn added(&self, operation: Operation, written: Written, reads: Reads) -> Change {
        Change {
            operation,
            added: written.files,
            removed: Vec::new(),
            deleted: written.deleted,
            reads,
        }
    }

    /// Writes the files anew that lose rows, without these rows.
    async fn rewrite(&self, write: &Write, change: &mut Change) -> Result<()> {
        let target = write.table.snapshot().rewrite_target()?;
        let rows = write.table.remaining(&change.deleted).kept_rows(&target)?;
        let written = self.run(rows, target, false).await?;
        change.added.extend(written.files);
        change.removed = change.deleted.drain(..).map(|deleted| deleted.file).collect();
        Ok(())
    }

    /// Runs the writers over `rows`.
    async fn run(&self, rows: LogicalPlan, target: WriteTarget, with_actions: bool) -> Result<Written> {
        let table = target.table.clone();
        let plan = LakeWrite::plan(rows, target, &self.write_id, with_actions)?;
        self.collect(plan, table).await
    }

    /// Runs a plan of writers, and puts together what they did. `table` is for messages.
    async fn collect(&self, plan: LogicalPlan, table: String) -> Result<Written> {
        unless_ended(self.query, async {
            // What comes out is one row for each file: a lost executor costs no write.
            let limits = Limits {
                hold_rows: true,
                here: self.here,
                ..self.queries.admission.limits(&self.query.user, &self.query.origin)
            };
            let mut execution = self.queries.engines.execute_within(&self.state, plan, limits).await?;
            let mut collected = Collected::default();
            while let Some(batch) = execution.stream.next().await {
                collected.add(&table, &batch?)?;
            }
            Ok(collected.finish())
        })
        .await
    }
}

/// A default that is an expression cannot be computed here, and a NULL in its place would be wrong.
fn refuse_defaults(write: &Write) -> Result<()> {
    let snapshot = write.table.snapshot();
    for (index, field) in snapshot.schema().fields().iter().enumerate() {
        if let WriteDefault::Sql(_) = snapshot.write_default(index)? {
            let what = format!("a default that is an expression (column {})", field.name());
            return Err(unsupported(write, what));
        }
    }
    refuse_constraints(write)
}

fn refuse_constraints(write: &Write) -> Result<()> {
    match write.table.snapshot().constraints().first() {
        Some((name, _)) => Err(unsupported(write, format!("a CHECK constraint ({name})"))),
        None => Ok(()),
    }
}

fn unsupported(write: &Write, feature: String) -> Error {
    catalog::Error::Unsupported {
        table: write.name.to_string(),
        feature,
    }
    .into()
}

fn count(rows: u64) -> Result<i64> {
    i64::try_from(rows).map_err(|_| Error::statement("more rows than can be counted"))
}

/// What `work` gives, unless the query is ended before.
async fn unless_ended<T>(query: &RunningQuery, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        () = query.ended().cancelled() => {
            let ending = query.ending().cloned().unwrap_or(Ending::Cancelled);
            Err(Error::Ended { ending })
        }
        outcome = Box::pin(work) => outcome,
    }
}
