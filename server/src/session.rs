//! What one login keeps between its statements: where unqualified names look and what was SET. Knows neither SQL text
//! nor any protocol.

mod definitions;
mod settings;
mod store;
mod temporary;

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{AsOf, TableName};
use datafusion::prelude::SessionConfig;
use executor::{AdaptiveTasks, ExecutorSet};

pub(crate) use definitions::{NamedStatement, Temporary, TemporaryView};
use settings::Settings;
pub(crate) use settings::{SETTINGS, Setting};
pub(crate) use store::{Sessions, no_session};
pub(crate) use temporary::{TEMPORARY_LIFE, TEMPORARY_SCHEMA, temporary_age, temporary_name};

/// The part of a login that changes what a statement means. A value: a statement keeps the one it began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    /// On whose behalf statements run.
    pub(crate) user: String,
    /// The catalog of names that name none.
    pub(crate) catalog: String,
    /// The namespace of names that name none.
    pub(crate) namespace: String,
    /// What was SET.
    pub(crate) settings: Settings,
    /// Temporary views by name.
    pub(crate) views: BTreeMap<String, TemporaryView>,
    /// What PREPARE named, by name.
    pub(crate) statements: BTreeMap<String, NamedStatement>,
    /// Temporary tables by name.
    pub(crate) tables: BTreeMap<String, TableName>,
}

/// What the engine is told that names without a catalog begin with. Only the statement's own catalogs know what it
/// stands for, so that a name of one part, which may be a temporary view, is told from the full name of a table.
pub(crate) const CURRENT_CATALOG: &str = "$session";
/// The same for names of one part.
pub(crate) const CURRENT_NAMESPACE: &str = "$names";

impl Session {
    /// A session in which nothing was SET.
    pub(crate) fn new(user: impl Into<String>, catalog: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            catalog: catalog.into(),
            namespace: namespace.into(),
            settings: Settings::default(),
            views: BTreeMap::new(),
            statements: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }

    /// The temporary table that a name stands for.
    pub(crate) fn temporary(&self, name: &[String]) -> Option<&TableName> {
        self.tables.get(self.own_name(name)?)
    }

    /// The last part of a name that may be a temporary view's or table's: one that has no schema, or the one that they
    /// are listed in.
    pub(crate) fn own_name<'a>(&self, name: &'a [String]) -> Option<&'a String> {
        match name {
            [own] => Some(own),
            [schema, own] if schema == TEMPORARY_SCHEMA => Some(own),
            [catalog, schema, own] if *catalog == self.catalog && schema == TEMPORARY_SCHEMA => Some(own),
            _ => None,
        }
    }

    /// Whether there is a setting of this name.
    pub(crate) fn knows(name: &str) -> bool {
        ["catalog", "schema"].contains(&&*name.to_lowercase()) || Setting::find(name).is_ok()
    }

    /// Every setting with its value.
    pub(crate) fn options(&self) -> Vec<(&'static str, &str)> {
        let names = [("catalog", &*self.catalog), ("schema", &*self.namespace)];
        let settings = SETTINGS
            .iter()
            .map(|setting| (setting.name, self.settings.get(setting)));
        names.into_iter().chain(settings).collect()
    }

    /// Which version names without one stand for.
    pub(crate) fn newest(&self) -> AsOf {
        match self.settings.branch() {
            Some(branch) => AsOf::Branch(branch.to_owned()),
            None => AsOf::Latest,
        }
    }

    /// Which version of that table its name stands for. Temporary tables have no branches.
    pub(crate) fn newest_of(&self, name: &TableName) -> AsOf {
        match temporary_age(name) {
            Some(_) => AsOf::Latest,
            None => self.newest(),
        }
    }

    /// How DataFusion is told. `information_schema` is our own, not DataFusion's.
    pub(crate) fn config(&self) -> crate::error::Result<SessionConfig> {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CURRENT_CATALOG, CURRENT_NAMESPACE)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        // Errors then say where.
        config.options_mut().sql_parser.collect_spans = true;
        self.settings.apply(&mut config)?;
        if let Some(set) = self.settings.executor_set() {
            config.set_extension(Arc::new(ExecutorSet(set.to_owned())));
        }
        if self.settings.adaptive_tasks() {
            config.set_extension(Arc::new(AdaptiveTasks));
        }
        Ok(config)
    }
}

impl From<Session> for proto::Session {
    fn from(session: Session) -> Self {
        let Session {
            user,
            catalog,
            namespace,
            settings,
            views,
            statements,
            tables,
        } = session;
        Self {
            user,
            catalog,
            namespace,
            settings: settings.into(),
            views: views.into_iter().map(|(name, view)| (name, view.into())).collect(),
            statements: statements
                .into_iter()
                .map(|(name, named)| (name, named.into()))
                .collect(),
            tables: tables
                .into_iter()
                .map(|(name, table)| (name, definitions::written(table)))
                .collect(),
        }
    }
}

impl From<proto::Session> for Session {
    fn from(session: proto::Session) -> Self {
        let proto::Session {
            user,
            catalog,
            namespace,
            settings,
            views,
            statements,
            tables,
        } = session;
        Self {
            user,
            catalog,
            namespace,
            settings: settings.into(),
            views: views.into_iter().map(|(name, view)| (name, view.into())).collect(),
            statements: statements
                .into_iter()
                .map(|(name, named)| (name, named.into()))
                .collect(),
            tables: tables
                .into_iter()
                .map(|(name, table)| (name, definitions::read(table)))
                .collect(),
        }
    }
}
