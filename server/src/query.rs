//! SQL in, rows out: the one door to running statements, for every protocol. Knows no protocol itself.

mod admission;
mod endings;
mod parts;
mod registry;
mod run;
pub mod spool;
mod stored;
mod tally;
mod temporary;
mod write;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use catalog::Lakehouse;
use datafusion::common::ScalarValue;
use executor::{Delivery, Engines, Part};
use futures::FutureExt;
use moka::future::Cache;
use proto::TablePin;
use uuid::Uuid;

use crate::access::Access;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::shutdown::Lifecycle;
use crate::sql::command::Command;
use crate::sql::ddl::Ddl;
use crate::sql::parse::Statement;
use crate::sql::plan::{Plan, Planner};

pub(crate) use admission::Admission;
pub use admission::{Config as QueriesConfig, Group};
pub(crate) use endings::Endings;
pub use registry::Ending;
pub(crate) use registry::{Origin, Registry, RunningQuery};
pub(crate) use run::Running;
pub(crate) use spool::Spool;
pub(crate) use stored::{Storing, read_part};
pub(crate) use write::{Bound, IfExists, Ingest};

/// Plans kept for a moment between the call that asks for columns and the one that asks for rows.
const PLANNED_MAX: u64 = 512;
const PLANNED_KEPT: Duration = Duration::from_secs(30);

/// Runs statements over the whole lake. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queries {
    lakehouse: Arc<Lakehouse>,
    engines: Arc<Engines>,
    planner: Planner,
    access: Arc<Access>,
    registry: Registry,
    endings: Endings,
    admission: Admission,
    // A courtesy: whoever finds no plan here makes the same one from the pins.
    planned: Cache<Uuid, Arc<Mutex<Option<Plan>>>>,
    /// Runs what must come to its end without its caller.
    tasks: Lifecycle,
}

/// What a client asks to run.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A statement.
    Sql(&'a str),
    /// An encoded Substrait plan, which gives rows.
    Substrait(&'a [u8]),
}

/// What a statement takes and gives.
pub(crate) struct Description {
    /// The columns of the result; none where the statement changes the session and gives no rows.
    pub(crate) schema: Option<SchemaRef>,
    /// One field per parameter.
    pub(crate) parameters: Schema,
}

/// A query that was planned and not run.
pub(crate) struct Planned {
    /// What it is known by from now on.
    pub(crate) id: Uuid,
    /// Its columns.
    pub(crate) schema: SchemaRef,
    /// Whether its rows come in an order that the statement asked for.
    pub(crate) ordered: bool,
    /// The versions of its tables.
    pub(crate) pins: Vec<TablePin>,
}

/// A query to run.
pub(crate) struct Request<'a> {
    /// What it is known by.
    pub(crate) origin: Origin,
    /// The statement.
    pub(crate) source: Source<'a>,
    /// One value per parameter.
    pub(crate) parameters: Vec<ScalarValue>,
    /// The versions that its tables shall have; the newest where they are not told.
    pub(crate) pins: &'a [TablePin],
    /// Which part of its rows is meant, where it is not all of them.
    pub(crate) part: Option<Part>,
}

/// What [`Queries::command`] did.
pub(crate) enum Outcome {
    /// Nothing: the statement gives rows.
    Query,
    /// Something that leaves no trace in the session.
    Done,
    /// The session is another one now, and so many rows were written for it.
    Changed(Session, i64),
    /// So many rows were written, changed or deleted; -1 where they were not counted.
    Written(i64),
    /// The query tells what was done, to so many files.
    Told(String, i64),
}

impl Queries {
    /// Over the tables of `lakehouse` that `access` gives to each user, run by `engines` when `admission` lets them, and
    /// ended through `endings` where they run elsewhere; `tasks` bring commits to their end.
    pub(crate) fn new(
        (lakehouse, access): (Arc<Lakehouse>, Arc<Access>),
        engines: Arc<Engines>,
        (admission, endings): (Admission, Endings),
        tasks: Lifecycle,
    ) -> Self {
        let registry = Registry::default();
        let planner = Planner::new(
            Arc::clone(&lakehouse),
            Arc::clone(&engines),
            registry.clone(),
            Arc::clone(&access),
        );
        let planned = Cache::builder()
            .max_capacity(PLANNED_MAX)
            .time_to_idle(PLANNED_KEPT)
            .build();
        Self {
            lakehouse,
            engines,
            planner,
            access,
            registry,
            endings,
            admission,
            planned,
            tasks,
        }
    }

    /// Plans a query with its parameters. The versions of its tables are those of now.
    pub(crate) async fn offer(
        &self,
        session: &Session,
        source: Source<'_>,
        parameters: Vec<ScalarValue>,
    ) -> Result<Planned> {
        let plan = self.plan(session, source, &[]).await?.bind(parameters)?;
        refuse_write(&plan)?;
        let planned = Planned {
            id: Uuid::now_v7(),
            schema: plan.schema()?,
            ordered: plan.is_ordered(),
            pins: plan.pins(),
        };
        let kept = Arc::new(Mutex::new(Some(plan)));
        self.planned.insert(planned.id, kept).await;
        Ok(planned)
    }

    /// Starts a query with its parameters. Rows come as fast as the stream is read; dropping it cancels the query. Where
    /// its client fetches them by a `delivery` the stream has only their numbers.
    pub(crate) async fn run(
        &self,
        session: &Session,
        request: Request<'_>,
        delivery: Option<&mut Delivery<'_>>,
    ) -> Result<Running> {
        let Request {
            origin,
            source,
            parameters,
            pins,
            part,
        } = request;
        let id = origin.id;
        let limits = [
            session.settings.statement_timeout(),
            self.admission.timeout_max(&session.user, &origin),
        ];
        let limit = limits.into_iter().flatten().min();
        let query = self.registry.begin(origin, &session.user, source.text(), limit)?;
        let shared = query.share();
        let work = async {
            let planned = match part {
                None => self.take_planned(id).await,
                // The next part has use for it.
                Some(_) => self.look_at_planned(id, Plan::clone).await,
            };
            let plan = match planned {
                Some(plan) => {
                    plan.recheck().await?;
                    plan
                }
                None => self.plan(session, source, pins).await?.bind(parameters)?,
            };
            refuse_write(&plan)?;
            run::run(&self.engines, &self.admission, query, (plan, part), delivery).await
        };
        tokio::select! {
            biased;
            () = shared.ended().cancelled() => {
                let ending = shared.ending().cloned().unwrap_or(Ending::Cancelled);
                Err(Error::Ended { ending })
            }
            running = Box::pin(guarded(work)) => running,
        }
    }

    /// By group of users, queries that run and queries that wait.
    pub(crate) fn groups(&self) -> Vec<(String, usize, usize)> {
        self.admission.groups()
    }

    /// The columns that [`Queries::run`] would give. Runs nothing.
    pub(crate) async fn schema(
        &self,
        session: &Session,
        source: Source<'_>,
        parameters: Vec<ScalarValue>,
    ) -> Result<SchemaRef> {
        let plan = self.plan(session, source, &[]).await?;
        match plan.is_write() {
            true => Ok(SchemaRef::new(Schema::empty())),
            false => plan.bind(parameters)?.schema(),
        }
    }

    /// What a statement takes and gives, before its parameters are known. Runs nothing.
    pub(crate) async fn describe(&self, session: &Session, source: Source<'_>) -> Result<Description> {
        if let Source::Sql(sql) = source {
            let statement = Statement::parse(sql)?;
            if statement.is_update() && !matches!(statement, Statement::Write { .. }) {
                return Ok(Description {
                    schema: None,
                    parameters: Schema::empty(),
                });
            }
        }
        let plan = self.plan(session, source, &[]).await?;
        if plan.is_write() {
            return Ok(Description {
                schema: None,
                parameters: plan.parameter_schema()?,
            });
        }
        let schema = Some(plan.schema_before_binding()?);
        Ok(Description {
            schema,
            parameters: plan.parameter_schema()?,
        })
    }

    /// Runs a statement that gives no rows, and leaves a query alone. `fresh` is the user's session before any change.
    pub(crate) async fn command(
        &self,
        session: &Session,
        fresh: &Session,
        origin: Origin,
        (sql, bound): (&str, Bound),
    ) -> Result<Outcome> {
        let statement = Statement::parse(sql)?;
        if let Some(table) = temporary::created(&statement) {
            return self.create_temporary(session, origin, (sql, bound), table).await;
        }
        match statement {
            Statement::Write { .. } => self.write(session, origin, sql, bound).await.map(Outcome::Written),
            Statement::Maintain(_) => {
                let (told, files) = Box::pin(self.maintain(session, origin, sql)).await?;
                Ok(Outcome::Told(told, files))
            }
            Statement::Command(command) => {
                let changed = guarded(Box::pin(command.apply(session.clone(), fresh, &self.planner))).await?;
                self.drop_forgotten(session, &changed).await;
                // What a catalog keeps, such as a view, is dropped without a trace in the session.
                match changed == *session {
                    true => Ok(Outcome::Done),
                    false => Ok(Outcome::Changed(changed, 0)),
                }
            }
            Statement::Ddl(Ddl::DropTable { name, .. }) if session.temporary(&name).is_some() => {
                self.drop_temporary(session, name.last().map_or("", String::as_str))
                    .await
            }
            Statement::Ddl(ddl) => {
                guarded(Box::pin(ddl.run(session, &self.planner))).await?;
                Ok(Outcome::Done)
            }
            Statement::Kill(id) => {
                self.kill(id, &session.user).await?;
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Query),
        }
    }

    /// `session` with another value of a setting, or with its default where there is none.
    pub(crate) async fn set(
        &self,
        session: Session,
        fresh: &Session,
        name: &str,
        value: Option<String>,
    ) -> Result<Session> {
        let name = name.to_owned();
        let command = match value {
            Some(value) => Command::Set { name, value },
            None => Command::Reset { name },
        };
        guarded(Box::pin(command.apply(session, fresh, &self.planner))).await
    }

    /// The queries that run now.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What users may do.
    pub(crate) fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// The plan of a query that was offered a moment ago, once.
    async fn take_planned(&self, id: Uuid) -> Option<Plan> {
        let kept = self.planned.remove(&id).await?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What `look` sees of the plan of a query that was offered a moment ago.
    async fn look_at_planned<T>(&self, id: Uuid, look: impl FnOnce(&Plan) -> T) -> Option<T> {
        let kept = self.planned.get(&id).await?;
        let plan = kept.lock().unwrap_or_else(PoisonError::into_inner);
        plan.as_ref().map(look)
    }

    async fn plan(&self, session: &Session, source: Source<'_>, pins: &[TablePin]) -> Result<Plan> {
        let planned = async {
            match source {
                Source::Sql(sql) => self.planner.plan_text(session, sql, pins).await,
                Source::Substrait(plan) => self.planner.plan_substrait(session, plan, pins).await,
            }
        };
        match (guarded(planned).await, source) {
            // The library panics about plans whose parts do not fit together, which the caller made.
            (Err(Error::Panic), Source::Substrait(_)) => Err(Error::statement("the Substrait plan is damaged")),
            (planned, _) => planned,
        }
    }
}

impl<'a> Source<'a> {
    /// What a handle carries: SQL, or a plan in its place.
    pub(crate) fn of(sql: &'a str, substrait_plan: &'a [u8]) -> Self {
        match substrait_plan {
            [] => Self::Sql(sql),
            plan => Self::Substrait(plan),
        }
    }

    /// As users see it among their queries.
    fn text(self) -> &'a str {
        match self {
            Self::Sql(sql) => sql,
            Self::Substrait(_) => "-- a Substrait plan",
        }
    }
}

/// What writes runs elsewhere, once.
fn refuse_write(plan: &Plan) -> Result<()> {
    match plan.is_write() {
        true => Err(Error::statement("this statement gives no rows")),
        false => Ok(()),
    }
}

/// Turns a panic into the failure of this one call.
async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(Error::Panic))
}
