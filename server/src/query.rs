//! SQL in, rows out: the one door to running statements, for every protocol. Knows no protocol itself.

mod run;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use catalog::Lakehouse;
use datafusion::common::ScalarValue;
use executor::Engines;
use futures::FutureExt;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::sql::parse::Statement;
use crate::sql::plan::{Plan, Planner};

pub(crate) use run::Running;

/// Runs statements over the whole lake. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queries {
    lakehouse: Arc<Lakehouse>,
    engines: Arc<Engines>,
    planner: Planner,
}

/// What a statement takes and gives.
pub(crate) struct Description {
    /// The columns of the result; none where the statement changes the session and gives no rows.
    pub(crate) schema: Option<SchemaRef>,
    /// One field per parameter.
    pub(crate) parameters: Schema,
}

impl Queries {
    /// Over the tables of `lakehouse`, run by `engines`.
    pub(crate) fn new(lakehouse: Arc<Lakehouse>, engines: Arc<Engines>) -> Self {
        let planner = Planner::new(Arc::clone(&lakehouse), Arc::clone(&engines));
        Self {
            lakehouse,
            engines,
            planner,
        }
    }

    /// Starts a query with its parameters. Rows come as fast as the stream is read; dropping it cancels the query.
    pub(crate) async fn run(&self, session: &Session, sql: &str, parameters: Vec<ScalarValue>) -> Result<Running> {
        let plan = self.plan(session, sql).await?.bind(parameters)?;
        guarded(run::run(&self.engines, plan)).await
    }

    /// The columns that [`Queries::run`] would give. Runs nothing.
    pub(crate) async fn schema(&self, session: &Session, sql: &str, parameters: Vec<ScalarValue>) -> Result<SchemaRef> {
        self.plan(session, sql).await?.bind(parameters)?.schema()
    }

    /// What a statement takes and gives, before its parameters are known. Runs nothing.
    pub(crate) async fn describe(&self, session: &Session, sql: &str) -> Result<Description> {
        if Statement::parse(sql)?.is_update() {
            return Ok(Description {
                schema: None,
                parameters: Schema::empty(),
            });
        }
        let plan = self.plan(session, sql).await?;
        let schema = Some(plan.schema_before_binding()?);
        Ok(Description {
            schema,
            parameters: plan.parameter_schema()?,
        })
    }

    /// The session after a statement that changes it, or nothing when the statement is a query.
    /// `fresh` is the user's session before any change.
    pub(crate) async fn command(&self, session: &Session, fresh: &Session, sql: &str) -> Result<Option<Session>> {
        match Statement::parse(sql)? {
            Statement::Command(command) => guarded(Box::pin(command.apply(session.clone(), fresh, &self.planner)))
                .await
                .map(Some),
            _ => Ok(None),
        }
    }

    /// The lake the queries are about.
    pub(crate) fn lakehouse(&self) -> &Arc<Lakehouse> {
        &self.lakehouse
    }

    async fn plan(&self, session: &Session, sql: &str) -> Result<Plan> {
        guarded(async { self.planner.plan_text(session, sql).await }).await
    }
}

/// Turns a panic into the failure of this one call.
async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or(Err(Error::Panic))
}
