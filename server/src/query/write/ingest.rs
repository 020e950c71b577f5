//! Bulk ingest: the rows that come with one call become a table's in one commit, or a new table. They are written as
//! they arrive and never held as a whole.

use std::sync::Arc;

use catalog::TableName;
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use futures::FutureExt;
use proto::ErrorKind;

use super::{Work, unless_ended};
use crate::access::{Privilege, missing};
use crate::error::Result;
use crate::query::{Origin, Queries, RunningQuery};
use crate::session::Session;
use crate::sql::write::{Creation, Write, Written, upload};

/// Rows for one table.
pub(crate) struct Ingest {
    /// The table.
    pub(crate) name: TableName,
    /// Whether a table that does not exist is created.
    pub(crate) creates: bool,
    /// What happens to a table that exists.
    pub(crate) if_exists: IfExists,
    /// The rows, which can be read once. Columns go by their names.
    pub(crate) rows: SendableRecordBatchStream,
}

/// What happens to a table that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfExists {
    /// The call is refused.
    Fail,
    /// The rows join it.
    Append,
    /// It becomes another table with these columns and rows, in one step.
    Replace,
}

impl Queries {
    /// Writes rows and commits them; their number.
    pub(crate) async fn ingest(&self, session: &Session, origin: Origin, ingest: Ingest) -> Result<i64> {
        let text = format!("INGEST INTO {}", ingest.name);
        let work: Work = Box::new(move |queries, session, query| {
            async move { Box::pin(queries.ingest_rows(&session, &query, ingest)).await }.boxed()
        });
        self.bring_to_end(session, origin, &text, work).await
    }

    async fn ingest_rows(&self, session: &Session, query: &RunningQuery, ingest: Ingest) -> Result<i64> {
        let state = self.planner.state(session)?;
        let write = unless_ended(query, self.destination(session, &state, ingest)).await?;
        Box::pin(self.carry_out(query, state, write, true)).await
    }

    /// What is to be done with the rows.
    async fn destination(&self, session: &Session, state: &SessionState, ingest: Ingest) -> Result<Written> {
        let Ingest {
            name,
            creates,
            if_exists,
            rows,
        } = ingest;
        // Who may not know of a table is told of one that exists only where it is in the way.
        let (guard, user) = (self.access.guard(), session.user.as_str());
        let found = match guard.sees(user, &name).await? {
            true => self.lakehouse.table_as_of(&name, &session.newest()).await,
            false => Err(missing("table", &name)),
        };
        let table = match found {
            Ok(table) => Some(table),
            Err(error) if creates && error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let schema = rows.schema();
        match (table, if_exists) {
            (Some(_), IfExists::Fail) => Err(catalog::Error::AlreadyExists {
                what: "table",
                name: name.to_string(),
            }
            .into()),
            (Some(table), IfExists::Append) => {
                guard.require(user, "table", &name, &[Privilege::Insert]).await?;
                let rows = upload::append(upload::plan(rows)?, &table, state)?;
                Ok(Written::Rows(Write::append(name, table, rows, session)?))
            }
            (existing, _) => Ok(Written::New(Creation {
                table: Box::new(upload::definition(&name, existing.is_some())),
                name,
                branch: session.settings.branch().map(str::to_owned),
                schema: Arc::clone(&schema),
                rows: upload::plan(rows)?,
            })),
        }
    }
}
