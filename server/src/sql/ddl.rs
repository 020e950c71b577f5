//! Statements about tables and schemas as such: CREATE, DROP, ALTER, COMMENT.
//!
//! They have a grammar of their own, since engines differ in theirs and none of it is the parser's: see `cursor`. Names
//! are in lower case unless quoted.

mod alter;
pub(in crate::sql) mod branch;
pub(super) mod copy;
mod create;
mod cursor;
pub(in crate::sql) mod function;
pub(in crate::sql) mod grant;
mod maintain;
mod schema;
mod view;

use catalog::write::alter::Alteration;
use catalog::{Lakehouse, TableName};
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;
use proto::ErrorKind;

use self::alter::Change;
pub(crate) use self::create::{CreateTable, TableDefinition};
use self::cursor::{Cursor, Path};
use self::function::CreateFunction;
use self::grant::ChangeGrants;
pub(super) use self::maintain::optimized;
pub(crate) use self::maintain::{Maintain, sketches, told};
use self::view::CreateView;
use crate::access::{Guard, Object, Privilege};
use crate::error::{Error, Result};
use crate::session::{Session, temporary_age};
use crate::sql::plan::Planner;

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
    /// `CREATE [OR REPLACE] VIEW`.
    CreateView(Box<CreateView>),
    /// `ALTER VIEW [IF EXISTS] name RENAME TO name`.
    RenameView { name: Path, if_exists: bool, to: Path },
    /// `COMMENT ON VIEW name IS`.
    CommentView { name: Path, comment: Option<String> },
    /// `CREATE [OR REPLACE] [AGGREGATE] FUNCTION`.
    CreateFunction(Box<CreateFunction>),
    /// `DROP FUNCTION [IF EXISTS] name`.
    DropFunction { name: Path, if_exists: bool },
    /// `CREATE SCHEMA [IF NOT EXISTS] name [WITH (...)]`.
    CreateSchema {
        name: Path,
        if_not_exists: bool,
        properties: Vec<(String, String)>,
    },
    /// `DROP SCHEMA [IF EXISTS] name [CASCADE]`. Without CASCADE, the schema has to be empty.
    DropSchema { name: Path, if_exists: bool, cascade: bool },
    /// `ALTER SCHEMA name FAST FORWARD main TO branch`, or `DROP BRANCH branch`, in all tables that have it.
    AlterBranch { schema: Path, change: Alteration },
    /// GRANT and REVOKE.
    ChangeGrants(Box<ChangeGrants>),
}

impl Ddl {
    /// The statement, or nothing where it is none of these. `text` is what its tokens were read from.
    pub(super) fn parse(tokens: &[TokenWithSpan], text: &str) -> Result<Option<Self>> {
        let mut cursor = Cursor::new(tokens);
        let ddl = if let Some(ddl) = function::parse(&mut cursor)? {
            ddl
        } else if let Some(change) = ChangeGrants::parse(&mut cursor)? {
            Self::ChangeGrants(Box::new(change))
        } else if let Some(table) = CreateTable::parse(&mut cursor)? {
            Self::CreateTable(Box::new(table))
        } else if cursor.words("CREATE OR REPLACE VIEW") {
            Self::CreateView(Box::new(CreateView::parse(&mut cursor, true, text)?))
        } else if cursor.words("CREATE VIEW") {
            Self::CreateView(Box::new(CreateView::parse(&mut cursor, false, text)?))
        } else if cursor.words("ALTER VIEW") {
            let if_exists = cursor.words("IF EXISTS");
            let name = cursor.path()?;
            cursor.expect("RENAME TO")?;
            let to = cursor.path()?;
            Self::RenameView { name, if_exists, to }
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
        } else if cursor.any(&["ALTER SCHEMA", "ALTER NAMESPACE", "ALTER DATABASE"]) {
            let schema = cursor.path()?;
            let change = alter::of_branch(&mut cursor)?;
            Self::AlterBranch { schema, change }
        } else if cursor.words("COMMENT ON") {
            Self::comment(&mut cursor)?
        } else if cursor.any(&["CREATE SCHEMA", "CREATE NAMESPACE", "CREATE DATABASE"]) {
            Self::create_schema(&mut cursor)?
        } else if cursor.any(&["DROP SCHEMA", "DROP NAMESPACE", "DROP DATABASE"]) {
            let if_exists = cursor.words("IF EXISTS");
            let name = cursor.path()?;
            let cascade = cursor.words("CASCADE");
            if !cascade {
                cursor.words("RESTRICT");
            }
            Self::DropSchema {
                name,
                if_exists,
                cascade,
            }
        } else {
            return Ok(None);
        };
        cursor.end()?;
        Ok(Some(ddl))
    }

    fn comment(cursor: &mut Cursor) -> Result<Self> {
        if cursor.words("VIEW") {
            let name = cursor.path()?;
            cursor.expect("IS")?;
            let comment = cursor.text_or_null()?;
            return Ok(Self::CommentView { name, comment });
        }
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

    /// Does it, where the user may.
    pub(crate) async fn run(self, session: &Session, planner: &Planner) -> Result<()> {
        let lakehouse = planner.lakehouse();
        let guard = planner.guard();
        let by = (session.user.as_str(), guard.as_ref());
        self.check_branch(session, planner).await?;
        match self {
            Self::CreateTable(table) => table.run(session, planner).await,
            Self::CreateView(view) => Box::pin(view.run(session, planner)).await,
            Self::CommentView { name, comment } => {
                let name = lake_name(&name, session);
                guard.require(by.0, "view", &name, &[Privilege::Own]).await?;
                let client = lakehouse.client(&name.catalog)?;
                Ok(client.comment_view(&name, comment.as_deref()).await?)
            }
            Self::CreateFunction(function) => Box::pin(function.run(session, planner)).await,
            Self::DropFunction { name, if_exists } => {
                function::drop(&lake_name(&name, session), if_exists, lakehouse, by).await
            }
            Self::RenameView { name, if_exists, to } => {
                let name = lake_name(&name, session);
                let to = new_name(&name, &to, session)?;
                let renamed = rename("view", (&name, &to), lakehouse, by).await;
                unless(renamed, if_exists, ErrorKind::NotFound, &["view"])
            }
            Self::DropTable { name, if_exists, purge } => {
                let name = table_name(&name, session);
                let dropped = async {
                    guard.require(by.0, "table", &name, &[Privilege::Own]).await?;
                    lakehouse.client(&name.catalog)?.drop_table(&name, purge).await?;
                    forget(&guard, &name).await
                };
                unless(dropped.await, if_exists, ErrorKind::NotFound, NAMES)
            }
            Self::AlterTable {
                name,
                if_exists,
                change,
            } => {
                let name = table_name(&name, session);
                let changed = change.run(&name, session, lakehouse, &guard).await;
                unless(changed, if_exists, ErrorKind::NotFound, NAMES)
            }
            Self::CreateSchema {
                name,
                if_not_exists,
                properties,
            } => {
                let place = namespace(&name, session, lakehouse)?;
                let created = schema::create(&place, properties, lakehouse, by).await;
                unless(created, if_not_exists, ErrorKind::AlreadyExists, NAMES)
            }
            Self::DropSchema {
                name,
                if_exists,
                cascade,
            } => {
                let place = namespace(&name, session, lakehouse)?;
                let dropped = schema::drop(&place, cascade, lakehouse, by).await;
                unless(dropped, if_exists, ErrorKind::NotFound, NAMES)
            }
            Self::AlterBranch { schema, change } => {
                branch::alter_all(&namespace(&schema, session, lakehouse)?, &change, lakehouse, by).await
            }
            Self::ChangeGrants(change) => change.run(session, lakehouse, &guard).await,
        }
    }
}

/// Gives a table or view, a `what`, another name.
async fn rename(
    what: &'static str,
    (from, to): (&TableName, &TableName),
    lakehouse: &Lakehouse,
    (user, guard): (&str, &Guard),
) -> Result<()> {
    guard.before_moving(user, what, (from, to)).await?;
    let client = lakehouse.client(&from.catalog)?;
    match what {
        "view" => client.rename_view(from, to).await?,
        _ => client.rename_table(from, to).await?,
    }
    guard.after_moving(from, to).await
}

/// Forgets who might do what with a table or view that is gone.
pub(crate) async fn forget(guard: &Guard, name: &TableName) -> Result<()> {
    let object = Object::Relation(name.table.clone());
    guard.forget((&name.catalog, &name.namespace), &object).await
}

/// Properties that say where files of a table go.
const FOLDERS: [&str; 5] = [
    "location",
    "write.data.path",
    "write.metadata.path",
    "write.object-storage.path",
    "write.folder-storage.path",
];

/// Refuses everybody but administrators to say where files go: another's table may lie there.
fn check_folders(properties: &[(String, String)], user: &str, guard: &Guard) -> Result<()> {
    match properties.iter().any(|(key, _)| FOLDERS.contains(&key.as_str())) {
        true => guard.require_admin(user, "choosing where files of a table go"),
        false => Ok(()),
    }
}

impl CreateTable {
    /// Refuses what takes an administrator.
    pub(crate) fn check(&self, user: &str, guard: &Guard) -> Result<()> {
        check_folders(&self.definition.properties, user, guard)?;
        match self.definition.location {
            Some(_) => guard.require_admin(user, "choosing the location of a table"),
            None => Ok(()),
        }
    }

    /// Creates the table without a row. One with a query is not for this.
    async fn run(self, session: &Session, planner: &Planner) -> Result<()> {
        if self.query.is_some() {
            return Err(Error::unsupported("CREATE TABLE AS", ""));
        }
        if self.definition.columns.is_empty() {
            return Err(Error::statement("a table has columns: none are named"));
        }
        let (lakehouse, guard) = (planner.lakehouse(), planner.guard());
        let name = table_name(&self.name, session);
        self.check(&session.user, &guard)?;
        let new = self.definition.new_table(self.definition.schema()?)?;
        let made = async {
            let making = guard.before_creating(&session.user, &name, self.or_replace).await?;
            let staged = lakehouse.stage(&name, &new, self.or_replace).await?;
            lakehouse.create(&name, staged, &[]).await?;
            guard.after_creating(making).await
        };
        unless(made.await, self.if_not_exists, ErrorKind::AlreadyExists, NAMES)
    }
}

impl Change {
    async fn run(self, name: &TableName, session: &Session, lakehouse: &Lakehouse, guard: &Guard) -> Result<()> {
        let user = session.user.as_str();
        guard.require(user, "table", name, &[Privilege::Own]).await?;
        match self {
            Self::Alter(changes) => {
                for change in &changes {
                    match change {
                        Alteration::SetLocation { .. } => {
                            guard.require_admin(user, "choosing the location of a table")?;
                        }
                        Alteration::SetProperties { properties } => check_folders(properties, user, guard)?,
                        _ => {}
                    }
                }
                Ok(lakehouse.alter(name, &changes).await?)
            }
            Self::Default(column, value) => {
                let change = Alteration::SetDefault { column, value };
                Ok(lakehouse.alter(name, &[change]).await?)
            }
            Self::Rename(_) if temporary_age(name).is_some() => {
                Err(Error::unsupported("renaming a temporary table", ""))
            }
            Self::Rename(to) => {
                let to = new_name(name, &to, session)?;
                rename("table", (name, &to), lakehouse, (user, guard)).await
            }
        }
    }
}

/// The new name of what is called `name`: of one part, it stays in its schema.
fn new_name(name: &TableName, to: &[String], session: &Session) -> Result<TableName, catalog::Error> {
    let to = match to {
        [table] => TableName::new(&name.catalog, &name.namespace, table),
        _ => table_name(to, session),
    };
    match to.catalog == name.catalog {
        true => Ok(to),
        false => Err(catalog::Error::Unsupported {
            table: name.to_string(),
            feature: "renaming into another catalog".to_owned(),
        }),
    }
}

/// What the names of tables and schemas stand for, in errors about them.
const NAMES: &[&str] = &["table", "namespace"];

/// Nothing happened, and that is what was asked for: IF EXISTS, IF NOT EXISTS. The error must be about the thing
/// itself, one of `kinds`, and not about a column or a file.
fn unless(done: Result<()>, allowed: bool, kind: ErrorKind, kinds: &[&str]) -> Result<()> {
    match done {
        Err(Error::Catalog(catalog::Error::NotFound { what, .. }))
            if allowed && kind == ErrorKind::NotFound && kinds.contains(&what) =>
        {
            Ok(())
        }
        Err(Error::Catalog(catalog::Error::AlreadyExists { what, .. }))
            if allowed && kind == ErrorKind::AlreadyExists && kinds.contains(&what) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// The table of that name, temporary ones first; what it does not say is the session's.
pub(crate) fn table_name(parts: &[String], session: &Session) -> TableName {
    match session.temporary(parts) {
        Some(table) => table.clone(),
        None => lake_name(parts, session),
    }
}

/// What a catalog has, or shall have, by that name.
pub(crate) fn lake_name(parts: &[String], session: &Session) -> TableName {
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
