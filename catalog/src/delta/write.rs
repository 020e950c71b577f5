//! What a writer asks of a version of a Delta table: how its files look, and the commit of a change.

use super::DeltaSnapshot;
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::change::{Change, Committed, Operation};
use crate::write::target::{RowChange, WriteDefault, WriteTarget};

impl DeltaSnapshot {
    /// How rows become data files of this table.
    pub(crate) fn write_target(&self) -> Result<WriteTarget> {
        Err(self.not_written())
    }

    /// How rows leave this table.
    pub(crate) fn row_change(&self, _operation: Operation) -> Result<RowChange> {
        Err(self.not_written())
    }

    /// Names and texts of the table's CHECK constraints.
    pub(crate) fn constraints(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// The value of a column in new rows that give none.
    pub(crate) fn write_default(&self, _index: usize) -> Result<WriteDefault> {
        Err(self.not_written())
    }

    /// Commits `change` as the next version.
    pub(crate) async fn commit(&self, _lakehouse: &Lakehouse, _name: &TableName, _change: Change) -> Result<Committed> {
        Err(self.not_written())
    }

    fn not_written(&self) -> Error {
        Error::Unsupported {
            table: self.log.table.clone(),
            feature: "a writer of Delta tables".to_owned(),
        }
    }
}
