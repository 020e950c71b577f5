//! `SET branch = 'name'`: what such a session refuses, because those who read main would see it. Rows are written to the
//! branch; views, functions and Delta tables have none, and columns are those of the whole table.

use catalog::view::LakeView;
use catalog::write::alter::Alteration;
use catalog::{AsOf, LakeTable, Lakehouse, Relation, TableName};

use super::alter::Change;
use super::{Ddl, lake_name, table_name};
use crate::access::{Guard, Privilege};
use crate::error::{Error, Result};
use crate::session::{Session, temporary_age};
use crate::sql::plan::Planner;

/// Refuses to write rows to a table without branches.
pub(in crate::sql) fn check_target(name: &TableName, table: &LakeTable, session: &Session) -> Result<()> {
    match (session.settings.branch(), table.snapshot().branch()) {
        (Some(_), None) if temporary_age(name).is_none() => {
            Err(refused(&format!("writing to {name}, which has no branches,"), session))
        }
        _ => Ok(()),
    }
}

/// What a session that has set a branch does not do.
pub(in crate::sql) fn refused(what: &str, session: &Session) -> Error {
    let branch = session.settings.branch().unwrap_or_default();
    Error::Statement {
        detail: format!("{what} would change what others read, and this session has set the branch \"{branch}\""),
        hint: Some("RESET branch ends that".to_owned()),
    }
}

/// Changes a branch of all tables of a schema that have it.
pub(super) async fn alter_all(
    (catalog, namespace): &(String, String),
    change: &Alteration,
    lakehouse: &Lakehouse,
    (user, guard): (&str, &Guard),
) -> Result<()> {
    guard
        .require_on_schema(user, catalog, namespace, Privilege::Own)
        .await?;
    let changed = lakehouse.alter_branch((catalog, namespace), change).await?;
    match change {
        Alteration::FastForward { to: name, .. }
        | Alteration::DropRef {
            name, if_exists: false, ..
        } if changed.is_empty() => Err(catalog::Error::NotFound {
            what: "branch",
            name: name.clone(),
            hint: Some(format!("no table of the schema {namespace} has it")),
        }
        .into()),
        _ => Ok(()),
    }
}

impl Ddl {
    /// Refuses what readers of main would see, where the session has set a branch.
    pub(super) async fn check_branch(&self, session: &Session, planner: &Planner) -> Result<()> {
        if session.settings.branch().is_none() {
            return Ok(());
        }
        let refuse = |what: &str| Err(refused(what, session));
        match self {
            Self::CreateTable(table) if table.or_replace => {
                check_table(&table_name(&table.name, session), "replacing", session, planner).await
            }
            Self::DropTable { name, .. } => check_table(&table_name(name, session), "dropping", session, planner).await,
            Self::AlterTable { name, change, .. } if !is_for_all(change) => {
                check_table(&table_name(name, session), "altering", session, planner).await
            }
            Self::CreateView(view) if view.or_replace => {
                let name = lake_name(&view.name, session);
                match found(&name, session, planner).await? {
                    Some(Relation::View(found)) if !is_same(&found, &view.sql, session) => {
                        refuse(&format!("changing the view {name}"))
                    }
                    _ => Ok(()),
                }
            }
            Self::DropSchema { cascade: true, .. } => refuse("dropping a schema with all that is in it"),
            Self::RenameView { .. } => refuse("renaming a view"),
            Self::DropFunction { .. } => refuse("dropping a function"),
            Self::CreateFunction(function) if function.or_replace => refuse("CREATE OR REPLACE FUNCTION"),
            _ => Ok(()),
        }
    }
}

/// Refuses what happens to a table as a whole, unless all of its rows are on branches.
async fn check_table(name: &TableName, what: &str, session: &Session, planner: &Planner) -> Result<()> {
    // Nobody else reads a temporary table.
    if temporary_age(name).is_some() {
        return Ok(());
    }
    match found(name, session, planner).await? {
        Some(Relation::Table(table)) if table.snapshot().version().is_some() => {
            Err(refused(&format!("{what} {name}"), session))
        }
        _ => Ok(()),
    }
}

/// What readers of main find under that name; nothing where the user may not know of it, or it cannot be found out: both
/// is told by whoever changes it.
async fn found(name: &TableName, session: &Session, planner: &Planner) -> Result<Option<Relation>> {
    match planner.guard().sees(&session.user, name).await? {
        true => Ok(planner.lakehouse().relation(name, &AsOf::Latest).await.ok()),
        false => Ok(None),
    }
}

/// Whether a change leaves what is read of a table as it is, or is meant to be seen.
fn is_for_all(change: &Change) -> bool {
    let Change::Alter(changes) = change else {
        return false;
    };
    changes.iter().all(|change| {
        matches!(
            change,
            Alteration::CreateRef { .. }
                | Alteration::DropRef { .. }
                | Alteration::FastForward { .. }
                | Alteration::CommentTable { .. }
                | Alteration::CommentColumn { .. }
        )
    })
}

/// Whether the view has that query already.
fn is_same(view: &LakeView, sql: &str, session: &Session) -> bool {
    let catalog = view.default_catalog.as_ref();
    catalog.is_none_or(|catalog| *catalog == session.catalog)
        && view.default_namespace == session.namespace
        && view.texts.first().is_some_and(|text| text.sql == sql)
}
