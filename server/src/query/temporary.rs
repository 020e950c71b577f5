//! The life of temporary tables: made by a session, dropped with it, and swept away when it is forgotten.

use std::time::Duration;

use catalog::TableName;
use proto::ErrorKind;
use tracing::{info, warn};

use super::write::Bound;
use super::{Origin, Outcome, Queries, guarded};
use crate::error::{Error, Result};
use crate::session::{Session, TEMPORARY_LIFE, TEMPORARY_SCHEMA, no_session, temporary_age, temporary_name};
use crate::sql::ddl::{CreateTable, Ddl, forget};
use crate::sql::parse::Statement;

/// How often tables are looked for that have lived too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The temporary table that a statement creates, and whether with the rows of a query.
pub(super) fn created(statement: &Statement) -> Option<(&CreateTable, bool)> {
    let (table, has_rows) = match statement {
        Statement::Write {
            creation: Some(table), ..
        } => (table, true),
        Statement::Ddl(Ddl::CreateTable(table)) => (table, false),
        _ => return None,
    };
    table.temporary.then_some((table, has_rows))
}

impl Queries {
    /// CREATE TEMPORARY TABLE, as [`created`] tells it: the session that knows its name.
    pub(super) async fn create_temporary(
        &self,
        session: &Session,
        origin: Origin,
        (sql, bound): (&str, Bound),
        (asked, has_rows): (&CreateTable, bool),
    ) -> Result<Outcome> {
        if origin.session_id.is_none() {
            return Err(no_session());
        }
        let [name] = asked.name.as_slice() else {
            return Err(Error::Statement {
                detail: format!("\"{}\" is no name of the session", asked.name.join(".")),
                hint: Some("temporary tables belong to no schema: their names have one part".to_owned()),
            });
        };
        let mut changed = session.clone();
        match session.tables.contains_key(name) {
            true if asked.if_not_exists => return Ok(Outcome::Done),
            true if asked.or_replace => {}
            true => {
                return Err(Error::Statement {
                    detail: format!("table \"{name}\" already exists"),
                    hint: Some("write CREATE OR REPLACE TEMPORARY TABLE".to_owned()),
                });
            }
            false => {
                self.planner.refuse_hiding(session, name).await?;
                let table = temporary_name(&session.catalog);
                changed.tables.insert(name.clone(), table);
                changed.check_size()?;
                self.make_temporary_schema(&session.catalog).await?;
            }
        }
        let rows = match has_rows {
            true => self.write(&changed, origin, sql, bound).await?,
            false => {
                let create = Ddl::CreateTable(Box::new(asked.clone()));
                guarded(Box::pin(create.run(&changed, &self.planner))).await?;
                0
            }
        };
        Ok(Outcome::Changed(changed, rows))
    }

    async fn make_temporary_schema(&self, catalog: &str) -> Result<()> {
        match self
            .lakehouse
            .client(catalog)?
            .create_namespace(TEMPORARY_SCHEMA, &[])
            .await
        {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// DROP TABLE of a temporary table: the session that does not know it any more.
    pub(super) async fn drop_temporary(&self, session: &Session, name: &str) -> Result<Outcome> {
        let mut changed = session.clone();
        if let Some(table) = changed.tables.remove(name) {
            self.drop_table(&table).await?;
        }
        Ok(Outcome::Changed(changed, 0))
    }

    /// Drops the temporary tables of a session that has ended.
    pub(crate) async fn drop_all_temporary(&self, session: &Session) {
        self.drop_but(session, |_| false).await;
    }

    /// Drops the temporary tables that a session has forgotten as a whole.
    pub(super) async fn drop_forgotten(&self, before: &Session, now: &Session) {
        self.drop_but(before, |name| now.tables.contains_key(name)).await;
    }

    /// What cannot be dropped now is swept away later.
    async fn drop_but(&self, session: &Session, is_kept: impl Fn(&str) -> bool) {
        let tables = session.tables.iter().filter(|(name, _)| !is_kept(name));
        for (_, table) in tables {
            if let Err(error) = self.drop_table(table).await {
                warn!(%table, %error, "a temporary table stays behind for now");
            }
        }
    }

    async fn drop_table(&self, table: &TableName) -> Result<()> {
        let purge = true;
        match self.lakehouse.client(&table.catalog)?.drop_table(table, purge).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        forget(&self.access.guard(), table).await
    }

    /// Drops temporary tables that have lived too long, now and then, for ever.
    pub(crate) async fn sweep_temporary(self) {
        let mut turns = tokio::time::interval(SWEEP_INTERVAL);
        // The first turn comes at once, and a server that starts has better things to do.
        turns.tick().await;
        loop {
            turns.tick().await;
            for catalog in self.lakehouse.catalog_names() {
                if let Err(error) = self.sweep(&catalog).await {
                    warn!(catalog, %error, "old temporary tables stay behind for now");
                }
            }
        }
    }

    async fn sweep(&self, catalog: &str) -> Result<()> {
        let tables = match self.lakehouse.list_tables(catalog, TEMPORARY_SCHEMA).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            tables => tables?,
        };
        for table in tables {
            let table = TableName::new(catalog, TEMPORARY_SCHEMA, table);
            if temporary_age(&table).is_none_or(|age| age <= TEMPORARY_LIFE) {
                continue;
            }
            // One that cannot be dropped keeps no other one.
            match self.drop_table(&table).await {
                Ok(()) => info!(%table, "dropped a temporary table that has lived too long"),
                Err(error) => warn!(%table, %error, "an old temporary table stays behind for now"),
            }
        }
        Ok(())
    }
}
