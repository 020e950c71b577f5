//! What a writer asks of a version of an Iceberg table: how its files look, and the commit of a change.

use datafusion::common::ScalarValue;
use iceberg::spec::{FormatVersion, Literal};

use super::{IcebergSnapshot, commit, schema};
use crate::error::Result;
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::change::{Change, Committed, Operation};
use crate::write::target::{RowChange, WriteDefault, WriteTarget};

impl IcebergSnapshot {
    /// How rows become data files of this table.
    pub(crate) fn write_target(&self) -> Result<WriteTarget> {
        if self.branch.is_none() {
            return Err(self.unsupported("writing to a version that is not the head of a branch"));
        }
        commit::target::of(&self.table, &self.metadata.table, self.schema())
    }

    /// Whether rows have ids that they keep wherever they are moved.
    pub(crate) fn tracks_rows(&self) -> bool {
        self.metadata.table.format_version() >= FormatVersion::V3
    }

    /// How rows leave this table: as its properties say, by copying where they say nothing.
    pub(crate) fn row_change(&self, operation: Operation) -> Result<RowChange> {
        let metadata = &self.metadata.table;
        let key = match operation {
            Operation::Update => "write.update.mode",
            Operation::Merge => "write.merge.mode",
            Operation::Append | Operation::Overwrite | Operation::Delete | Operation::Rewrite => "write.delete.mode",
        };
        match metadata.properties().get(key).map(String::as_str) {
            _ if metadata.format_version() == FormatVersion::V1 => Ok(RowChange::CopyOnWrite),
            // Rewritten rows would lose their ids.
            None if self.tracks_rows() => Ok(RowChange::MergeOnRead),
            None | Some("copy-on-write") => Ok(RowChange::CopyOnWrite),
            Some("merge-on-read") => Ok(RowChange::MergeOnRead),
            Some(other) => Err(self.unsupported(&format!("the property {key} = {other}"))),
        }
    }

    /// The value of a column in new rows that give none.
    pub(crate) fn write_default(&self, index: usize) -> Result<WriteDefault> {
        let schema = self.metadata.table.current_schema();
        let (Some(field), Some(column)) = (
            schema.as_struct().fields().get(index),
            self.schema().fields().get(index),
        ) else {
            return Err(self.unsupported(&format!("the column {index}")));
        };
        let refused = || self.unsupported(&format!("the default of the column {}", field.name));
        let value = match &field.write_default {
            Some(Literal::Primitive(literal)) => {
                schema::literal_scalar(literal, column.data_type()).ok_or_else(refused)?
            }
            Some(_) => return Err(refused()),
            // The crate forgets defaults that it cannot read.
            None if self.metadata.forgets_default(field) => return Err(refused()),
            None => ScalarValue::try_from(column.data_type()).map_err(|_| refused())?,
        };
        Ok(WriteDefault::Value(value))
    }

    /// Commits `change` as the next version of its branch.
    pub(crate) async fn commit(&self, lakehouse: &Lakehouse, name: &TableName, change: Change) -> Result<Committed> {
        Box::pin(commit::land(self, lakehouse, name, &change)).await
    }
}
