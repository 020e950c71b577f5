//! What one commit does to a table, in the terms of neither format, and the commit itself.

use datafusion::logical_expr::Expr;
use roaring::RoaringTreemap;

use super::WrittenFile;
use crate::error::Result;
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::snapshot::TableSnapshot;

/// What one commit does to a table's rows.
#[derive(Debug, Clone)]
pub struct Change {
    /// What the statement was.
    pub operation: Operation,
    /// Data files that join the table.
    pub added: Vec<WrittenFile>,
    /// Data files that leave it with all of their rows, by their location as the table's metadata write it (`_file`).
    pub removed: Vec<String>,
    /// Rows of data files that stay.
    pub deleted: Vec<DeletedRows>,
    /// What the statement read to decide on the change.
    pub reads: Reads,
}

impl Change {
    /// True where nothing joins the table and nothing leaves it.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.deleted.is_empty()
    }
}

/// What a statement does, as the history of the table tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Rows join the table; nothing leaves it.
    Append,
    /// Rows take the place of others: INSERT OVERWRITE, CREATE OR REPLACE.
    Overwrite,
    /// Rows leave the table.
    Delete,
    /// Rows change.
    Update,
    /// Rows join, change and leave.
    Merge,
    /// The same rows in other files.
    Rewrite,
}

/// Rows of one data file, by their position in it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeletedRows {
    /// The file's location as the table's metadata write it (`_file`).
    pub file: String,
    /// The rows that this change deletes. Those deleted before are added at the commit.
    pub positions: RoaringTreemap,
}

/// What a statement read to decide on its change: a concurrent commit that changes it makes the change wrong.
#[derive(Debug, Clone)]
pub enum Reads {
    /// Nothing: rows are appended whatever the table holds.
    Nothing,
    /// The rows that match the filter, whose columns are those of the table, unqualified; every row without one.
    Rows(Option<Expr>),
}

/// A commit that took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The Iceberg snapshot id or Delta version that it made.
    pub version: i64,
}

impl Lakehouse {
    /// Commits `change`, which was computed from `base`, as one version of the table `name`. Commits of others since
    /// `base` that do not conflict with it stay.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::Error::Conflict) where a concurrent commit conflicts: the statement has to be planned
    /// again on the newest version. After [`Error::CommitUnknown`](crate::Error::CommitUnknown) the files of the change
    /// must stay; after every other error nothing refers to them.
    pub async fn commit(&self, name: &TableName, base: &TableSnapshot, change: Change) -> Result<Committed> {
        base.commit(self, name, change).await
    }
}
