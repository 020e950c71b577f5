//! What a session gave names to: temporary views and tables, and prepared statements. Bounded, since they travel with
//! every ticket.

use std::collections::BTreeMap;

use catalog::TableName;

use super::Session;
use crate::error::{Error, Result};

/// Names of each kind.
const NAMES_MAX: usize = 100;
/// All queries of a session together.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// A query that can be named like a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemporaryView {
    /// The query.
    pub(crate) sql: String,
    /// The catalog of names in it that name none: the session's when the view was made.
    pub(crate) catalog: String,
    /// The same for namespaces.
    pub(crate) namespace: String,
}

/// What names of the session stand for in a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Temporary {
    /// Where the rows of each table lie.
    pub(crate) tables: BTreeMap<String, TableName>,
    /// The views.
    pub(crate) views: BTreeMap<String, TemporaryView>,
}

impl Temporary {
    /// Whether there is no name.
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.views.is_empty()
    }
}

/// A query with parameters that EXECUTE runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedStatement {
    /// The query.
    pub(crate) sql: String,
    /// Types of its first parameters, in SQL.
    pub(crate) types: Vec<String>,
}

impl Session {
    /// Its temporary tables and views.
    pub(crate) fn temporaries(&self) -> Temporary {
        Temporary {
            tables: self.tables.clone(),
            views: self.views.clone(),
        }
    }

    /// Refuses what has grown too large to travel with every ticket.
    pub(crate) fn check_size(&self) -> Result<()> {
        let views = self.views.iter().map(|(name, view)| name.len() + view.sql.len());
        let statements = self.statements.iter();
        let statements = statements.map(|(name, named)| name.len() + named.sql.len());
        let tables = self.tables.keys().map(String::len);
        let too_many = self.views.len().max(self.statements.len()).max(self.tables.len()) > NAMES_MAX;
        if too_many || views.chain(statements).chain(tables).sum::<usize>() > TEXT_BYTES_MAX {
            return Err(Error::Statement {
                detail: format!(
                    "a session keeps at most {NAMES_MAX} temporary views, as many temporary tables and as many prepared \
                     statements, with {TEXT_BYTES_MAX} bytes of text"
                ),
                hint: Some("free some with DROP VIEW, DROP TABLE and DEALLOCATE".to_owned()),
            });
        }
        Ok(())
    }
}

/// A temporary table as it travels.
pub(super) fn written(table: TableName) -> proto::TemporaryTable {
    let TableName {
        catalog,
        namespace,
        table,
    } = table;
    proto::TemporaryTable {
        catalog,
        namespace,
        table,
    }
}

/// A temporary table that has travelled.
pub(super) fn read(table: proto::TemporaryTable) -> TableName {
    TableName::new(table.catalog, table.namespace, table.table)
}

impl From<TemporaryView> for proto::TemporaryView {
    fn from(view: TemporaryView) -> Self {
        let TemporaryView {
            sql,
            catalog,
            namespace,
        } = view;
        Self {
            sql,
            catalog,
            namespace,
        }
    }
}

impl From<proto::TemporaryView> for TemporaryView {
    fn from(view: proto::TemporaryView) -> Self {
        let proto::TemporaryView {
            sql,
            catalog,
            namespace,
        } = view;
        Self {
            sql,
            catalog,
            namespace,
        }
    }
}

impl From<NamedStatement> for proto::NamedStatement {
    fn from(NamedStatement { sql, types }: NamedStatement) -> Self {
        Self { sql, types }
    }
}

impl From<proto::NamedStatement> for NamedStatement {
    fn from(proto::NamedStatement { sql, types }: proto::NamedStatement) -> Self {
        Self { sql, types }
    }
}
