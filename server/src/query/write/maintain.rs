//! What keeps tables small, as statements: OPTIMIZE moves rows with the writers of every other statement, the rest is
//! the catalog's. None of it changes a row.

use std::sync::{Arc, Mutex, PoisonError};

use catalog::TableName;
use catalog::write::change::{Change, Operation, Reads};
use catalog::write::compaction::Compaction;
use catalog::write::maintenance::{Maintained, Maintenance};
use catalog::write::{discard, new_write_id};
use datafusion::execution::SessionState;
use futures::FutureExt;

use super::{Work, Writing, count, unless_ended, until_landed};
use crate::access::Privilege;
use crate::error::{Error, Result};
use crate::query::{Origin, Queries, RunningQuery};
use crate::session::Session;
use crate::sql::ddl::{Maintain, table_name, told};
use crate::sql::parse::Statement;
use crate::sql::write::{RowPlan, Write, Written};

impl Queries {
    /// Runs a statement that keeps a table small: a query that tells what was done, and how many files, or columns, it
    /// was about.
    pub(crate) async fn maintain(&self, session: &Session, origin: Origin, sql: &str) -> Result<(String, i64)> {
        let text = sql.to_owned();
        let outcome = Arc::new(Mutex::new(Maintained::default()));
        let kept = Arc::clone(&outcome);
        let work: Work = Box::new(move |queries, session, query| {
            async move {
                let maintained = Box::pin(queries.maintain_table(&session, &query, &text)).await?;
                let about = match &maintained {
                    Maintained::Counts(counts) => counts.first().map_or(0, |(_, count)| *count),
                    Maintained::WouldDelete(files) => files.len() as u64,
                    Maintained::DistinctValues(columns) => columns.len() as u64,
                };
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = maintained;
                count(about)
            }
            .boxed()
        });
        let files = self.bring_to_end(session, origin, sql, work).await?;
        let maintained = outcome.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((told(&maintained), files))
    }

    async fn maintain_table(&self, session: &Session, query: &RunningQuery, sql: &str) -> Result<Maintained> {
        let (name, mut what) = match Statement::parse(sql)? {
            Statement::Maintain(Maintain::Table { name, what }) => (name, what),
            Statement::Maintain(Maintain::Analyze { name, columns }) => {
                return self.analyze(session, query, &name, columns.as_deref()).await;
            }
            _ => return self.optimize(session, query, sql).await,
        };
        let checks = session.settings.checks_retention();
        match &mut what {
            Maintenance::ExpireSnapshots { retention, .. }
            | Maintenance::RemoveOrphanFiles { retention, .. }
            | Maintenance::Vacuum { retention, .. } => retention.unchecked = !checks,
            Maintenance::OptimizeManifests | Maintenance::Checkpoint => {}
        }
        let name = table_name(&name, session);
        self.require_owner(session, &name).await?;
        // Wherever it is ended, what is left behind is a whole table and files that the next run finds.
        unless_ended(query, async { Ok(self.lakehouse.maintain(&name, &what).await?) }).await
    }

    /// What keeps a table small takes away its past, and is for who owns it.
    pub(super) async fn require_owner(&self, session: &Session, name: &TableName) -> Result<()> {
        let guard = self.access.guard();
        guard.require(&session.user, "table", name, &[Privilege::Own]).await
    }

    /// Moves rows, again where another commit touched their files.
    async fn optimize(&self, session: &Session, query: &RunningQuery, sql: &str) -> Result<Maintained> {
        until_landed(query, || self.optimize_once(session, query, sql).boxed()).await
    }

    /// What is to be written again.
    async fn plan_optimize(&self, session: &Session, sql: &str) -> Result<(SessionState, Write, Compaction)> {
        let Statement::Maintain(Maintain::Optimize { of, is_filtered }) = Statement::parse(sql)? else {
            return Err(Error::statement("this statement keeps no table small"));
        };
        let plan = self.planner.plan(session, *of, &[]).await?;
        let (state, written) = plan.into_write(session, &self.lakehouse).await?;
        let Written::Rows(write) = written else {
            return Err(Error::statement("OPTIMIZE takes a table"));
        };
        let filter = match &write.change {
            RowPlan::Change {
                reads: Reads::Rows(filter),
                ..
            } => filter.clone(),
            _ => None,
        };
        if is_filtered && filter.is_none() {
            return Err(Error::unsupported(
                "OPTIMIZE ... WHERE with a condition that is not over the table's columns alone",
                "",
            ));
        }
        self.require_owner(session, &write.name).await?;
        let chosen = write.table.compaction(filter.as_ref()).await?;
        Ok((state, write, chosen))
    }

    async fn optimize_once(&self, session: &Session, query: &RunningQuery, sql: &str) -> Result<Maintained> {
        let planning = self.plan_optimize(session, sql);
        let (state, write, chosen) = unless_ended(query, planning).await?;
        let base = write.table.snapshot();
        let writing = Writing {
            queries: self,
            query,
            state,
            target: base.write_target()?,
            write_id: new_write_id(),
            here: false,
        };
        let mut counts = vec![
            ("rewritten_data_files_count", chosen.files.len() as u64),
            ("rewritten_files_with_deletes_count", chosen.with_deletes as u64),
            ("rewritten_bytes_count", chosen.bytes),
        ];
        let (mut added_files, mut added_bytes) = (0, 0);
        if !chosen.files.is_empty() {
            let moved = async {
                let plan = write.table.moved(&chosen, &writing.write_id)?;
                let written = writing.collect(plan, write.table.snapshot().table().to_owned()).await?;
                if chosen.rows.is_some_and(|rows| rows != written.rows_written()) {
                    let detail =
                        "OPTIMIZE read another number of rows than the table's metadata count: nothing is changed";
                    return Err(Error::statement(detail));
                }
                added_files = written.files.len() as u64;
                added_bytes = written.files.iter().map(|file| file.size_bytes()).sum();
                if let Some(ending) = query.ending() {
                    return Err(Error::Ended { ending: ending.clone() });
                }
                let change = Change {
                    operation: Operation::Rewrite,
                    added: written.files,
                    removed: chosen.files.clone(),
                    deleted: Vec::new(),
                    reads: Reads::Nothing,
                };
                Ok(self.lakehouse.commit(&write.name, base, change).await?)
            };
            match Box::pin(moved).await {
                Ok(_) => {}
                Err(error @ Error::Catalog(catalog::Error::CommitUnknown { .. })) => return Err(error),
                Err(error) => {
                    discard(self.lakehouse.stores(), &writing.target.data_folder, &writing.write_id).await;
                    return Err(error);
                }
            }
        }
        counts.push(("added_data_files_count", added_files));
        counts.push(("added_bytes_count", added_bytes));
        Ok(Maintained::Counts(counts))
    }
}
