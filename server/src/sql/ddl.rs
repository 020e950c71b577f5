//! Statements about tables and schemas as such: CREATE, DROP, ALTER, COMMENT.
//!
//! They have a grammar of their own, since engines differ in theirs and none of it is the parser's: see `cursor`. Names
//! are in lower case unless quoted.

mod alter;
mod create;
mod cursor;

use catalog::write::alter::Alteration;
use catalog::{Lakehouse, TableName};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use proto::ErrorKind;

use self::alter::Change;
pub(crate) use self::create::{CreateTable, TableDefinition};
use self::cursor::{Cursor, Path};
use crate::error::{Error, Result};
use crate::session::Session;

/// A change of tables or schemas.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ddl {
    /// `CREATE [OR REPLACE] TABLE`. With a query it is a statement of rows.
    CreateTable(Box<CreateTable>),
    /// `DROP TABLE [IF EXISTS] name [PURGE]`.
    DropTable { name: Path, if_exists: bool, purge: bool },
    /// `ALTER TABLE [IF EXISTS] name ...`, and COMMENT ON.
    AlterTable {
        name: Path,
        if_exists: bool,
        change: Change,
    },
    /// `CREATE SCHEMA [IF NOT EXISTS] name [WITH (...)]`.
    CreateSchema {
        name: Path,
        if_not_exists: bool,
        properties: Vec<(String, String)>,
    },
    /// `DROP SCHEMA [IF EXISTS] name`. The schema has to be empty.
    DropSchema { name: Path, if_exists: bool },
}

impl Ddl {
    /// The statement, or nothing where it is none of these.
    pub(super) fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Self>> {
        let mut cursor = Cursor::new(tokens);
        let ddl = if cursor.words("CREATE OR REPLACE TABLE") {
            Self::CreateTable(Box::new(CreateTable::parse(&mut cursor, true)?))
        } else if cursor.words("CREATE TABLE") {
            Self::CreateTable(Box::new(CreateTable::parse(&mut cursor, false)?))
        } else if cursor.words("DROP TABLE") {
            let if_exists = cursor.words("IF EXISTS");
            Self::DropTable {
                name: cursor.path()?,
                if_exists,
                purge: cursor.words("PURGE"),
            }
        } else if cursor.words("ALTER TABLE") {
            let if_exists = cursor.words("IF EXISTS");
            let name = cursor.path()?;
            let change = alter::parse(&mut cursor)?;
            Self::AlterTable {
                name,
                if_exists,
                change,
            }
        } else if cursor.words("COMMENT ON") {
            Self::comment(&mut cursor)?
        } else if cursor.any(&["CREATE SCHEMA", "CREATE NAMESPACE", "CREATE DATABASE"]) {
            Self::create_schema(&mut cursor)?
        } else if cursor.any(&["DROP SCHEMA", "DROP NAMESPACE", "DROP DATABASE"]) {
            let if_exists = cursor.words("IF EXISTS");
            let name = cursor.path()?;
            cursor.words("RESTRICT");
            if cursor.words("CASCADE") {
                return Err(Error::unsupported("DROP SCHEMA ... CASCADE", ": drop its tables first"));
            }
            Self::DropSchema { name, if_exists }
        } else {
            return Ok(None);
        };
        cursor.end()?;
        Ok(Some(ddl))
    }

    fn comment(cursor: &mut Cursor) -> Result<Self> {
        let of_column = !cursor.words("TABLE");
        if of_column {
            cursor.expect("COLUMN")?;
        }
        let mut name = cursor.path()?;
        let column = match of_column {
            true => name.pop(),
            false => None,
        };
        cursor.expect("IS")?;
        let comment = cursor.text_or_null()?;
        let change = match column {
            Some(_) if name.is_empty() => return Err(Error::statement("COMMENT ON COLUMN takes table.column")),
            Some(column) => Alteration::CommentColumn {
                column: vec![column],
                comment,
            },
            None => Alteration::CommentTable { comment },
        };
        Ok(Self::AlterTable {
            name,
            if_exists: false,
            change: Change::Alter(vec![change]),
        })
    }

    fn create_schema(cursor: &mut Cursor) -> Result<Self> {
        let if_not_exists = cursor.words("IF NOT EXISTS");
        let name = cursor.path()?;
        let mut properties = Vec::new();
        loop {
            if cursor.words("COMMENT") {
                properties.push(("comment".to_owned(), cursor.text()?));
            } else if cursor.words("LOCATION") {
                properties.push(("location".to_owned(), cursor.text()?));
            } else if cursor.any(&["WITH DBPROPERTIES", "WITH PROPERTIES", "WITH"]) {
                properties.extend(cursor.list(create::property)?);
            } else {
                break;
            }
        }
        Ok(Self::CreateSchema {
            name,
            if_not_exists,
            properties,
        })
    }

    /// Does it.
    pub(crate) async fn run(self, session: &Session, lakehouse: &Lakehouse) -> Result<()> {
        match self {
            Self::CreateTable(table) => table.run(session, lakehouse).await,
            Self::DropTable { name, if_exists, purge } => {
                let name = table_name(&name, session);
                let dropped = lakehouse.client(&name.catalog)?.drop_table(&name, purge).await;
                unless(dropped, if_exists, ErrorKind::NotFound)
            }
            Self::AlterTable {
                name,
                if_exists,
                change,
            } => {
                let name = table_name(&name, session);
                unless(
                    change.run(&name, session, lakehouse).await,
                    if_exists,
                    ErrorKind::NotFound,
                )
            }
            Self::CreateSchema {
                name,
                if_not_exists,
                properties,
            } => {
                let (catalog, namespace) = namespace(&name, session, lakehouse)?;
                let created = lakehouse
                    .client(&catalog)?
                    .create_namespace(&namespace, &properties)
                    .await;
                unless(created, if_not_exists, ErrorKind::AlreadyExists)
            }
            Self::DropSchema { name, if_exists } => {
                let (catalog, namespace) = namespace(&name, session, lakehouse)?;
                let dropped = lakehouse.client(&catalog)?.drop_namespace(&namespace).await;
                unless(dropped, if_exists, ErrorKind::NotFound)
            }
        }
    }
}

impl CreateTable {
    /// Creates the table without a row. One with a query is not for this.
    async fn run(self, session: &Session, lakehouse: &Lakehouse) -> Result<()> {
        if self.query.is_some() {
            return Err(Error::unsupported("CREATE TABLE AS", ""));
        }
        if self.definition.columns.is_empty() {
            return Err(Error::statement("a table has columns: none are named"));
        }
        let name = table_name(&self.name, session);
        let new = self.definition.new_table(self.definition.schema()?)?;
        let made = async {
            let staged = lakehouse.stage(&name, &new, self.or_replace).await?;
            if let Some(format) = &self.format
                && format != staged.format_name()
            {
                return Err(catalog::Error::Unsupported {
                    table: name.to_string(),
                    feature: format!("USING {format}: its catalog has {} tables", staged.format_name()),
                });
            }
            lakehouse.create(&name, staged, &[]).await
        };
        unless(made.await, self.if_not_exists, ErrorKind::AlreadyExists)
    }
}

impl Change {
    async fn run(self, name: &TableName, session: &Session, lakehouse: &Lakehouse) -> Result<(), catalog::Error> {
        match self {
            Self::Alter(changes) => lakehouse.alter(name, &changes).await,
            Self::Default(column, value) => {
                let change = Alteration::SetDefault { column, value };
                lakehouse.alter(name, &[change]).await
            }
            Self::Rename(to) => {
                // A new name of one part stays in the table's schema.
                let to = match to.as_slice() {
                    [table] => TableName::new(&name.catalog, &name.namespace, table),
                    _ => table_name(&to, session),
                };
                if to.catalog != name.catalog {
                    return Err(catalog::Error::Unsupported {
                        table: name.to_string(),
                        feature: "renaming into another catalog".to_owned(),
                    });
                }
                lakehouse.client(&name.catalog)?.rename_table(name, &to).await
            }
        }
    }
}

/// Nothing happened, and that is what was asked for: IF EXISTS, IF NOT EXISTS.
fn unless(done: Result<(), catalog::Error>, allowed: bool, kind: ErrorKind) -> Result<()> {
    match done {
        Err(error) if allowed && error.kind() == kind && is_of_name(&error) => Ok(()),
        done => Ok(done?),
    }
}

/// True where the error is about the table or schema itself, and not about a column or a file.
fn is_of_name(error: &catalog::Error) -> bool {
    matches!(
        error,
        catalog::Error::NotFound {
            what: "table" | "namespace",
            ..
        } | catalog::Error::AlreadyExists {
            what: "table" | "namespace",
            ..
        }
    )
}

/// The table of that name; what it does not say is the session's.
pub(crate) fn table_name(parts: &[String], session: &Session) -> TableName {
    match parts {
        [catalog, namespace @ .., table] if !namespace.is_empty() => {
            TableName::new(catalog, namespace.join("."), table)
        }
        [namespace, table] => TableName::new(&session.catalog, namespace, table),
        _ => TableName::new(&session.catalog, &session.namespace, parts.join(".")),
    }
}

/// The catalog and the schema of that name.
fn namespace(parts: &[String], session: &Session, lakehouse: &Lakehouse) -> Result<(String, String)> {
    match parts {
        [catalog, namespace @ ..] if !namespace.is_empty() => {
            lakehouse.client(catalog)?;
            Ok((catalog.clone(), namespace.join(".")))
        }
        _ => Ok((session.catalog.clone(), parts.join("."))),
    }
}

#[cfg(test)]
mod tests;
