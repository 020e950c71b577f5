//! ANALYZE: a query over the columns, whose one row the table keeps.

use arrow::array::AsArray;
use catalog::AsOf;
use catalog::write::maintenance::Maintained;
use executor::Limits;
use futures::StreamExt;

use super::unless_ended;
use crate::error::{Error, Result};
use crate::query::{Queries, RunningQuery, Source};
use crate::session::Session;
use crate::sql::ddl::{sketches, table_name};

impl Queries {
    /// Counts the distinct values of `wanted` columns, or of all, in the newest version of the table.
    pub(super) async fn analyze(
        &self,
        session: &Session,
        query: &RunningQuery,
        name: &[String],
        wanted: Option<&[String]>,
    ) -> Result<Maintained> {
        let name = table_name(name, session);
        self.require_owner(session, &name).await?;
        let versioned = async {
            let newest = self.lakehouse.table_as_of(&name, &session.newest_of(&name)).await?;
            let Some(version) = newest.snapshot().version() else {
                newest.snapshot().sketched_columns(wanted)?;
                return Ok(None);
            };
            // The columns that the version had.
            let table = self.lakehouse.table_as_of(&name, &AsOf::Version(version)).await?;
            Ok(Some((version, table.snapshot().sketched_columns(wanted)?)))
        };
        let versioned = unless_ended(query, versioned).await?;
        let Some((version, columns)) = versioned.filter(|(_, columns)| !columns.is_empty()) else {
            return Ok(Maintained::DistinctValues(Vec::new()));
        };
        let sketched = async {
            let sql = sketches(&name, version, &columns);
            let plan = self.plan(session, Source::Sql(&sql), &[]).await?;
            let limits = Limits {
                hold_rows: true,
                ..self.admission.limits(&query.user, &query.origin)
            };
            let mut execution = self.engines.execute_within(&plan.state, plan.plan, limits).await?;
            let mut rows = Vec::new();
            while let Some(batch) = execution.stream.next().await {
                let batch = batch?;
                for row in 0..batch.num_rows() {
                    let sketches = batch
                        .columns()
                        .iter()
                        .map(|column| column.as_binary::<i32>().value(row).to_vec());
                    rows.push(sketches.collect::<Vec<_>>());
                }
            }
            Ok(rows)
        };
        let mut rows = unless_ended(query, sketched).await?;
        let (Some(row), true) = (rows.pop(), rows.is_empty()) else {
            return Err(Error::statement("counting distinct values gave no row, or several"));
        };
        let sketches: Vec<_> = columns.into_iter().zip(row).collect();
        unless_ended(query, async {
            Ok(self.lakehouse.keep_sketches(&name, version, &sketches).await?)
        })
        .await
    }
}
