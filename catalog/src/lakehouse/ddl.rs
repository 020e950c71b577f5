//! Tables made, replaced and changed without a look at their rows.

use std::sync::Arc;

use super::Lakehouse;
use crate::client::{StagedFormat, StagedTable, TableLocation, other_kind};
use crate::delta::{self, DeltaSnapshot};
use crate::error::{Error, Result};
use crate::iceberg::{alter, alter_together, commit};
use crate::name::TableName;
use crate::snapshot::AsOf;
use crate::write::alter::Alteration;
use crate::write::{NewTable, WrittenFile};

/// Properties that say where files of a table go.
const FOLDERS: [&str; 4] = [
    "write.data.path",
    "write.metadata.path",
    "write.object-storage.path",
    "write.folder-storage.path",
];

impl Lakehouse {
    /// Chooses where the files of a new table go. With `replace` the table may exist: it keeps its history, and
    /// [`Lakehouse::create`] puts the new columns and rows in the place of the old ones.
    pub async fn stage(&self, name: &TableName, new: &NewTable, replace: bool) -> Result<StagedTable> {
        let client = self.client(&name.catalog)?;
        if let Some(location) = &new.location {
            self.check_location(location)?;
        }
        self.check_folders(&new.properties)?;
        let found = match replace {
            true => client.load(name).await?,
            false => None,
        };
        let staged = match found {
            None => client.stage(name, new).await?,
            Some(TableLocation::View(_)) => return Err(other_kind(name, "view")),
            Some(TableLocation::Iceberg { .. }) => commit::stage_replacement(self, name, new).await?,
            Some(TableLocation::Delta { root }) => {
                let base = self.delta_table(name, &root).await?;
                let (target, log) = delta::commit::create::stage(name, new, root)?;
                StagedTable::new(target, StagedFormat::DeltaReplacement(base, Box::new(log)))
            }
        };
        match new.format {
            Some(format) if format != staged.format() => Err(Error::Unsupported {
                table: name.to_string(),
                feature: format!(
                    "USING {format} in the place of a {} table: drop it first",
                    staged.format()
                ),
            }),
            _ => Ok(staged),
        }
    }

    /// Makes a staged table visible with all of `files` in one step. After
    /// [`Error::CommitUnknown`](crate::Error::CommitUnknown) the files must stay; after every other error nothing refers
    /// to them. [`Error::Conflict`](crate::Error::Conflict): the table that was to be replaced has changed since.
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
        for alteration in alterations {
            match alteration {
                Alteration::SetLocation { location } => self.check_location(location)?,
                Alteration::SetProperties { properties } => self.check_folders(properties)?,
                _ => {}
            }
        }
        match self.client(&name.catalog)?.load(name).await? {
            None => Err(self.no_such_table(name).await),
            Some(TableLocation::View(_)) => Err(other_kind(name, "view")),
            Some(TableLocation::Iceberg { .. }) => Box::pin(alter(self, name, alterations)).await,
            Some(TableLocation::Delta { root }) => {
                let base = self.delta_table(name, &root).await?;
                delta::alter::alter(&base, alterations).await
            }
        }
    }

    /// Moves forward, or drops, a branch of every Iceberg table of the namespace that has it; the names of these tables.
    /// Where the catalog can do that, all of them change in one step; every table is found fit before the first changes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other change, and those of [`Lakehouse::alter`].
    pub async fn alter_branch(&self, place: (&str, &str), alteration: &Alteration) -> Result<Vec<TableName>> {
        let branch = match alteration {
            Alteration::FastForward { to, .. } => to,
            Alteration::DropRef { name, branch: true, .. } => name,
            other => {
                return Err(Error::Unsupported {
                    table: place.1.to_owned(),
                    feature: format!("{} of a whole namespace", other.feature()),
                });
            }
        };
        Box::pin(alter_together(self, place, branch, alteration)).await
    }

    pub(super) async fn delta_table(&self, name: &TableName, root: &str) -> Result<Arc<DeltaSnapshot>> {
        let base = DeltaSnapshot::at(name.to_string(), root, &AsOf::Latest, &self.delta).await?;
        Ok(Arc::new(base))
    }

    /// Refuses properties that send files elsewhere than [`Lakehouse::check_location`] allows.
    fn check_folders(&self, properties: &[(String, String)]) -> Result<()> {
        let folders = properties.iter().filter(|(key, _)| FOLDERS.contains(&key.as_str()));
        folders
            .into_iter()
            .try_for_each(|(_, location)| self.check_location(location))
    }

    /// Refuses a location below no storage profile's prefix and no catalog's own folder: whoever may write SQL may not
    /// write everywhere on the machine.
    fn check_location(&self, location: &str) -> Result<()> {
        match self.may_be_named(location) {
            true => Ok(()),
            false => Err(Error::InvalidName {
                detail: format!("a table cannot lie at \"{location}\": no storage profile has a prefix above it"),
            }),
        }
    }
}
