//! CREATE TABLE AS: the files of a table that nobody sees yet, and the commit that shows it.

use catalog::write::{discard, new_write_id};
use datafusion::execution::SessionState;
use proto::ErrorKind;

use super::{Writing, count};
use crate::error::{Error, Result};
use crate::query::{Queries, RunningQuery};
use crate::sql::write::Creation;

impl Queries {
    /// Writes the rows of a new table and creates it with them; the number of the rows.
    pub(super) async fn create(
        &self,
        query: &RunningQuery,
        state: SessionState,
        creation: Creation,
        here: bool,
    ) -> Result<i64> {
        let (name, asked) = (&creation.name, &creation.table);
        let new = creation.new_table()?;
        let exists = |error: &catalog::Error| asked.if_not_exists && error.kind() == ErrorKind::AlreadyExists;
        let guard = self.access.guard();
        asked.check(&query.user, &guard)?;
        let making = guard.before_creating(&query.user, name, asked.or_replace).await?;
        let staged = match self.lakehouse.stage(name, &new, asked.or_replace).await {
            Err(error) if exists(&error) => return Ok(0),
            staged => staged?,
        };
        let staged = match &creation.branch {
            Some(branch) => staged.on_branch(name, branch)?,
            None => staged,
        };
        let writing = Writing {
            queries: self,
            query,
            state,
            target: staged.target().clone(),
            write_id: new_write_id(),
            here,
        };
        let written = writing.run(creation.rows.clone(), writing.target.clone(), false).await;
        let outcome = match (written, query.ending()) {
            (Err(error), _) => Err(error),
            (Ok(_), Some(ending)) => Err(Error::Ended { ending: ending.clone() }),
            (Ok(written), None) => {
                let rows = count(written.rows_written())?;
                let created = self.lakehouse.create(name, staged, &written.files).await;
                created.map(|()| rows).map_err(Error::from)
            }
        };
        match outcome {
            Ok(rows) => guard.after_creating(making).await.map(|()| rows),
            Err(error @ Error::Catalog(catalog::Error::CommitUnknown { .. })) => Err(error),
            Err(error) => {
                discard(self.lakehouse.stores(), &writing.target.data_folder, &writing.write_id).await;
                match &error {
                    Error::Catalog(inner) if exists(inner) => Ok(0),
                    _ => Err(error),
                }
            }
        }
    }
}
