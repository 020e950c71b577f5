//! Tables made, replaced and changed without a look at their rows.

use std::sync::Arc;

use super::Lakehouse;
use crate::client::{StagedFormat, StagedTable, TableLocation};
use crate::delta::{self, DeltaSnapshot};
use crate::error::Result;
use crate::iceberg::commit;
use crate::name::TableName;
use crate::snapshot::AsOf;
use crate::write::alter::Alteration;
use crate::write::{NewTable, WrittenFile};

impl Lakehouse {
    /// Chooses where the files of a new table go. With `replace` the table may exist: it keeps its history, and
    /// [`Lakehouse::create`] puts the new columns and rows in the place of the old ones.
    pub async fn stage(&self, name: &TableName, new: &NewTable, replace: bool) -> Result<StagedTable> {
        let client = self.client(&name.catalog)?;
        let found = match replace {
            true => client.load(name).await?,
            false => None,
        };
        match found {
            None => client.stage(name, new).await,
            Some(TableLocation::Iceberg { .. }) => commit::stage_replacement(self, name, new).await,
            Some(TableLocation::Delta { root }) => {
                let base = self.delta_table(name, &root).await?;
                let (target, log) = delta::commit::create::stage(name, new, root)?;
                Ok(StagedTable {
                    target,
                    format: StagedFormat::DeltaReplacement(base, Box::new(log)),
                })
            }
        }
    }

    /// Makes a staged table visible with all of `files` in one step. After [`Error::CommitUnknown`](crate::Error::CommitUnknown) the files must stay;
    /// after every other error nothing refers to them. [`Error::Conflict`](crate::Error::Conflict): the table that was to be replaced has
    /// changed since.
    pub async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()> {
        match staged.format {
            StagedFormat::Replacement(replacement) => commit::replace(self, name, *replacement, files).await,
            StagedFormat::DeltaReplacement(base, log) => {
                delta::commit::create::replace(&base, &log, files).await.map(|_| ())
            }
            _ => self.client(&name.catalog)?.create(name, staged, files).await,
        }
    }

    /// Makes all of the changes of a table in one commit.
    pub async fn alter(&self, name: &TableName, alterations: &[Alteration]) -> Result<()> {
        match self.client(&name.catalog)?.load(name).await? {
            None => Err(self.no_such_table(name).await),
            Some(TableLocation::Iceberg { .. }) => Box::pin(commit::alter(self, name, alterations)).await,
            Some(TableLocation::Delta { root }) => {
                let base = self.delta_table(name, &root).await?;
                delta::alter::alter(&base, alterations).await
            }
        }
    }

    async fn delta_table(&self, name: &TableName, root: &str) -> Result<Arc<DeltaSnapshot>> {
        let base = DeltaSnapshot::at(name.to_string(), root, &AsOf::Latest, &self.delta).await?;
        Ok(Arc::new(base))
    }
}
