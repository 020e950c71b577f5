//! Prepared statements: a handle holds the statement itself, so it can be executed as often as the client likes, by
//! any server with the same key. What this server keeps is a courtesy: the last parameters of clients that ignore the
//! handle which binding returns, and which handles were closed.

use std::time::Duration;

use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    ActionCreatePreparedSubstraitPlanRequest, Any, DoPutPreparedStatementResult, ProstMessageExt,
};
use bytes::Bytes;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use prost::Message;
use proto::PreparedStatement;
use uuid::Uuid;

use super::{Flight, schema};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::query::Source;

/// More closed handles than this and the oldest are forgotten: they would work again.
const CLOSED_MAX: u64 = 100_000;
/// Parameters kept for clients that ignore returned handles.
const BINDINGS_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Parameters nobody used for so long are forgotten.
const BINDINGS_IDLE_MAX: Duration = Duration::from_secs(60 * 60);

/// What is remembered about handles that were given out.
pub(super) struct PreparedStatements {
    closed: Cache<String, ()>,
    bindings: Cache<String, Bytes>,
}

impl PreparedStatements {
    pub(super) fn new() -> Self {
        let weigh = |id: &String, packed: &Bytes| u32::try_from(id.len() + packed.len()).unwrap_or(u32::MAX);
        Self {
            closed: Cache::builder()
                .max_capacity(CLOSED_MAX)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            bindings: Cache::builder()
                .max_capacity(BINDINGS_BYTES_MAX)
                .eviction_policy(EvictionPolicy::lru())
                .weigher(weigh)
                .time_to_idle(BINDINGS_IDLE_MAX)
                .build(),
        }
    }
}

/// `ActionCreatePreparedStatementResult` with the field that tells drivers whether to fetch rows or to ask for a
/// count. The Flight SQL crate does not know it yet.
#[derive(Clone, PartialEq, prost::Message)]
struct CreatedStatement {
    #[prost(bytes = "bytes", tag = "1")]
    prepared_statement_handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    is_update: Option<bool>,
}

impl Flight {
    /// Parses and plans a statement; runs nothing. The answer is a packed message.
    pub(super) async fn create_prepared(
        &self,
        caller: &Caller,
        request: ActionCreatePreparedStatementRequest,
    ) -> Result<Bytes> {
        super::refuse_transaction(request.transaction_id.as_ref())?;
        self.prepare(caller, request.query, Vec::new()).await
    }

    /// As [`Flight::create_prepared`], of a Substrait plan. The answer is the same message.
    pub(super) async fn create_prepared_substrait(
        &self,
        caller: &Caller,
        request: ActionCreatePreparedSubstraitPlanRequest,
    ) -> Result<Bytes> {
        super::refuse_transaction(request.transaction_id.as_ref())?;
        let plan = super::substrait_plan(request.plan)?;
        self.prepare(caller, String::new(), plan.into()).await
    }

    async fn prepare(&self, caller: &Caller, sql: String, substrait_plan: Vec<u8>) -> Result<Bytes> {
        let session = self.sessions.of(caller).await;
        let source = Source::of(&sql, &substrait_plan);
        let description = self.queries.describe(&session, source).await?;
        let is_update = description.schema.is_none();
        let statement = PreparedStatement {
            sql,
            substrait_plan,
            is_update,
            parameters: Vec::new(),
            user: caller.user.clone(),
            id: Uuid::now_v7().to_string(),
            session: Some(session.into()),
        };
        let created = CreatedStatement {
            prepared_statement_handle: self.handles.seal_prepared(&statement, &self.spool).await?,
            dataset_schema: match description.schema {
                Some(columns) => schema::encode(&schema::of_result(&columns))?,
                None => Bytes::new(),
            },
            parameter_schema: schema::encode(&schema::of_parameters(&description.parameters))?,
            is_update: Some(is_update),
        };
        let type_url = ActionCreatePreparedStatementResult::type_url().to_owned();
        Ok(Any {
            type_url,
            value: created.encode_to_vec().into(),
        }
        .encode_to_vec()
        .into())
    }

    /// Ends a handle; later use of it is refused.
    pub(super) async fn close_prepared(
        &self,
        caller: &Caller,
        request: ActionClosePreparedStatementRequest,
    ) -> Result<()> {
        let handle = &request.prepared_statement_handle;
        let statement = self.handles.open_prepared(handle, caller, &self.spool).await?;
        self.prepared.bindings.invalidate(&statement.id).await;
        self.prepared.closed.insert(statement.id, ()).await;
        Ok(())
    }

    /// The statement of a handle with the parameters last bound to it.
    pub(super) async fn open_prepared(&self, caller: &Caller, handle: &[u8]) -> Result<PreparedStatement> {
        let mut statement = self.handles.open_prepared(handle, caller, &self.spool).await?;
        if self.prepared.closed.contains_key(&statement.id) {
            return Err(Error::Closed {
                what: "prepared statement",
            });
        }
        if statement.parameters.is_empty()
            && let Some(packed) = self.prepared.bindings.get(&statement.id).await
        {
            statement.parameters = packed.to_vec();
        }
        Ok(statement)
    }

    /// Binds packed parameters; the answer is a message with the handle that holds them.
    pub(super) async fn bind(&self, caller: &Caller, handle: &[u8], packed: Vec<u8>) -> Result<Bytes> {
        let mut statement = self.open_prepared(caller, handle).await?;
        self.prepared
            .bindings
            .insert(statement.id.clone(), packed.clone().into())
            .await;
        statement.parameters = packed;
        let handle = self.handles.seal_prepared(&statement, &self.spool).await?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(handle),
        }
        .encode_to_vec()
        .into())
    }
}
