//! The rows of a SQL catalog: each points to what a name stands for, and one statement changes it.

use std::fmt;

use sqlx::Row as _;
use sqlx::any::{Any, AnyArguments, AnyRow};
use sqlx::error::DatabaseError;

use super::{SqlClient, already_exists};
use crate::client::no_such_table;
use crate::error::{Error, Result};
use crate::name::TableName;

/// What a row of `iceberg_tables` stands for: its `iceberg_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An Iceberg table: the location is that of its metadata file.
    Table,
    /// An Iceberg view: as well.
    View,
    /// A Delta table: the location is that of its folder. Clients that know no such type do not see it.
    Delta,
}

impl Kind {
    /// As messages call it.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Kind::Table | Kind::Delta => "table",
            Kind::View => "view",
        }
    }
}

impl fmt::Display for Kind {
    /// As the column has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Table => "TABLE",
            Kind::View => "VIEW",
            Kind::Delta => "DELTA",
        })
    }
}

/// Where a name points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) location: String,
    pub(super) kind: Kind,
}

/// A row that is to point to another metadata file.
#[derive(Debug)]
pub(super) struct Swap<'a> {
    pub(super) name: &'a TableName,
    /// The file that was read.
    pub(super) from: &'a str,
    pub(super) to: String,
}

impl SqlClient {
    /// The first columns of every row that `statement` finds for this catalog and `arguments`.
    pub(super) async fn rows<const N: usize>(&self, statement: &str, arguments: &[&str]) -> Result<Vec<[String; N]>> {
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(statement).bind(&self.rows_of);
        for argument in arguments {
            query = query.bind(*argument);
        }
        let rows: Result<Vec<AnyRow>, sqlx::Error> = query.fetch_all(pool).await;
        let read = |row: &AnyRow| {
            let mut texts = [const { String::new() }; N];
            for (index, text) in texts.iter_mut().enumerate() {
                *text = row.try_get(index)?;
            }
            Ok(texts)
        };
        let texts = rows.and_then(|rows| rows.iter().map(read).collect());
        texts.map_err(|error| self.database.failed("read the catalog in", &error))
    }

    /// The first column of every row that `statement` finds for this catalog and `arguments`.
    pub(super) async fn texts(&self, statement: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let rows = self.rows::<1>(statement, arguments).await?;
        Ok(rows.into_iter().map(|[text]| text).collect())
    }

    /// The type of a row; layouts from before Iceberg had views do not tell it.
    async fn type_column(&self) -> Result<&'static str> {
        Ok(match self.database.has_types().await? {
            true => "COALESCE(iceberg_type, 'TABLE')",
            false => "'TABLE'",
        })
    }

    /// What the name stands for. A type that is not known is refused by name.
    pub(super) async fn pointer(&self, name: &TableName) -> Result<Option<Pointer>> {
        let statement = format!(
            "SELECT metadata_location, {} FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 \
             AND table_name = $3 AND metadata_location IS NOT NULL",
            self.type_column().await?
        );
        let found = self.rows::<2>(&statement, &[&name.namespace, &name.table]).await?;
        let Some([location, kind]) = found.into_iter().next() else {
            return Ok(None);
        };
        let kind = match kind.as_str() {
            "TABLE" => Kind::Table,
            "VIEW" => Kind::View,
            "DELTA" => Kind::Delta,
            other => {
                return Err(Error::Unsupported {
                    table: name.to_string(),
                    feature: format!("the type {other} that its catalog tells"),
                });
            }
        };
        Ok(Some(Pointer { location, kind }))
    }

    /// The names of a namespace that stand for something of these kinds, sorted.
    pub(super) async fn names(&self, namespace: &str, kinds: &[Kind]) -> Result<Vec<String>> {
        let kinds: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
        let statement = format!(
            "SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 \
             AND {} IN ({})",
            self.type_column().await?,
            kinds.join(", ")
        );
        let mut names = self.texts(&statement, &[namespace]).await?;
        if names.is_empty() && !self.has_namespace(namespace).await? {
            return Err(self.namespace_missing(namespace));
        }
        names.sort();
        Ok(names)
    }

    /// Adds the row that makes something new visible.
    pub(super) async fn insert(&self, name: &TableName, to: &Pointer) -> Result<()> {
        // Without the column, a row can only be an Iceberg table.
        let has_types = match to.kind {
            Kind::Table => self.database.has_types().await?,
            Kind::View | Kind::Delta => self.database.add_types().await.map(|()| true)?,
        };
        let (column, value) = match has_types {
            true => (", iceberg_type", format!(", '{}'", to.kind)),
            false => ("", String::new()),
        };
        let statement = format!(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location{column}) \
             VALUES ($1, $2, $3, $4{value})"
        );
        let insert = sqlx::query(&statement)
            .bind(&self.rows_of)
            .bind(&name.namespace)
            .bind(&name.table);
        let pool = &self.database.connected().await?.pool;
        let Err(error) = insert.bind(&to.location).execute(pool).await else {
            return Ok(());
        };
        match error.as_database_error() {
            Some(refusal) if refusal.is_unique_violation() => Err(self.exists(name).await),
            Some(refusal) if !is_shutdown(refusal) => Err(self.database.failed("create a table in", &error)),
            // The answer was lost: did it take place?
            _ => match self.pointer(name).await {
                Ok(Some(found)) if found == *to => Ok(()),
                Ok(Some(found)) => Err(already_exists(found.kind.noun(), name)),
                Ok(None) | Err(_) => Err(unknown(name, &error)),
            },
        }
    }

    /// The error for a name that is taken.
    pub(super) async fn exists(&self, name: &TableName) -> Error {
        match self.pointer(name).await {
            Ok(Some(found)) => already_exists(found.kind.noun(), name),
            _ => already_exists("table", name),
        }
    }

    /// Points the row to another metadata file, if it still points to the one that was read.
    pub(super) async fn swap(&self, name: &TableName, from: &Pointer, to: &str) -> Result<()> {
        let statement = self.swap_statement(from.kind).await?;
        let swap = Swap {
            name,
            from: &from.location,
            to: to.to_owned(),
        };
        let pool = &self.database.connected().await?.pool;
        match self.bound(&statement, &swap).execute(pool).await {
            Ok(done) if done.rows_affected() == 1 => Ok(()),
            Ok(_) => Err(conflict(name)),
            Err(error) => self.settle_swap(&swap, &error).await,
        }
    }

    /// As [`SqlClient::swap`], of several tables: all of them or none.
    pub(super) async fn swap_all(&self, swaps: &[Swap<'_>]) -> Result<()> {
        let statement = self.swap_statement(Kind::Table).await?;
        let pool = &self.database.connected().await?.pool;
        let done = async {
            let mut transaction = pool.begin().await?;
            for swap in swaps {
                let done = self.bound(&statement, swap).execute(&mut *transaction).await?;
                if done.rows_affected() != 1 {
                    transaction.rollback().await?;
                    return Ok(Some(swap));
                }
            }
            transaction.commit().await.map(|()| None)
        };
        match (done.await, swaps.first()) {
            (Ok(None), _) => Ok(()),
            (Ok(Some(late)), _) => Err(conflict(late.name)),
            // One tells of all of them.
            (Err(error), Some(first)) => self.settle_swap(first, &error).await,
            (Err(error), None) => Err(self.database.failed("commit to", &error)),
        }
    }

    async fn swap_statement(&self, kind: Kind) -> Result<String> {
        let type_column = self.type_column().await?;
        Ok(format!(
            "UPDATE iceberg_tables SET metadata_location = $5, previous_metadata_location = $4 WHERE catalog_name = $1 \
             AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4 AND {type_column} = '{kind}'"
        ))
    }

    /// `statement` about one row.
    fn bound<'q>(&'q self, statement: &'q str, swap: &'q Swap<'_>) -> sqlx::query::Query<'q, Any, AnyArguments<'q>> {
        let query = sqlx::query(statement).bind(&self.rows_of);
        let query = query.bind(&swap.name.namespace).bind(&swap.name.table);
        query.bind(swap.from).bind(&swap.to)
    }

    /// What became of a swap that ended with `error`.
    async fn settle_swap(&self, swap: &Swap<'_>, error: &sqlx::Error) -> Result<()> {
        match error.as_database_error() {
            Some(refusal) if is_busy(refusal) => Err(conflict(swap.name)),
            Some(refusal) if !is_shutdown(refusal) => Err(self.database.failed("commit to", error)),
            _ => match self.pointer(swap.name).await {
                Ok(Some(found)) if found.location == swap.to => Ok(()),
                _ => Err(unknown(swap.name, error)),
            },
        }
    }

    /// Takes a name away, if it still points where it did.
    pub(super) async fn remove(&self, name: &TableName, from: &Pointer) -> Result<()> {
        let statement = "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 \
             AND table_name = $3 AND metadata_location = $4";
        let arguments = [name.namespace.as_str(), &name.table, &from.location];
        match self.execute("drop a table in", statement, &arguments).await? {
            0 => Err(Error::Conflict {
                table: name.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Gives another name to what a name stands for.
    pub(super) async fn rename(&self, from: &TableName, to: &TableName, kind: Kind) -> Result<()> {
        let statement = format!(
            "UPDATE iceberg_tables SET table_namespace = $4, table_name = $5 WHERE catalog_name = $1 \
             AND table_namespace = $2 AND table_name = $3 AND {} = '{kind}'",
            self.type_column().await?
        );
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(&statement).bind(&self.rows_of);
        for argument in [&from.namespace, &from.table, &to.namespace, &to.table] {
            query = query.bind(argument);
        }
        match query.execute(pool).await {
            Ok(done) if done.rows_affected() == 0 => Err(no_such_table(from)),
            Ok(_) => Ok(()),
            Err(error) => Err(match error.as_database_error() {
                Some(refusal) if refusal.is_unique_violation() => self.exists(to).await,
                _ => self.database.failed("rename a table in", &error),
            }),
        }
    }

    /// Runs a statement about this catalog and `arguments`; the number of rows that it changed.
    pub(super) async fn execute(&self, action: &str, statement: &str, arguments: &[&str]) -> Result<u64> {
        let pool = &self.database.connected().await?.pool;
        let mut query = sqlx::query(statement).bind(&self.rows_of);
        for argument in arguments {
            query = query.bind(*argument);
        }
        let done = query.execute(pool).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| self.database.failed(action, &error))
    }
}

fn conflict(name: &TableName) -> Error {
    Error::Conflict {
        table: name.to_string(),
    }
}

fn unknown(name: &TableName, lost: &sqlx::Error) -> Error {
    Error::CommitUnknown {
        table: name.to_string(),
        detail: lost.to_string(),
    }
}

/// True where the database broke the connection: it may have committed before.
fn is_shutdown(error: &dyn DatabaseError) -> bool {
    error.code().is_some_and(|code| code.starts_with("57P"))
}

/// True where SQLite was locked by another writer for too long.
fn is_busy(error: &dyn DatabaseError) -> bool {
    // The low byte is the code, the others say more of it.
    let code = error.code().and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 5) && error.message().contains("locked")
}
