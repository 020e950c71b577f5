//! Who may do what with which table, view, schema or function. Off unless the configuration turns it on: then everybody
//! but the administrators needs a grant, or owns the object.
//!
//! Owners and grants are properties of the schema of an object, as its functions are: every server and every table format
//! sees the same, one request tells of all objects of a schema, and a statement asks anew. Grants on a whole catalog are
//! in the configuration. Knows neither SQL nor any protocol.

mod change;
mod config;
mod grants;
mod guard;

use std::fmt;
use std::sync::Arc;

use catalog::Lakehouse;
use serde::Deserialize;

use crate::auth::Directory;
use crate::error::{Error, Result};
pub use config::Config;
pub(crate) use grants::{Grant, Object};
pub(crate) use guard::{Guard, Viewer, missing};

/// The beginning of the keys of properties that only this server writes.
const RESERVED: &str = "lakewing.";

/// What somebody may do with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privilege {
    /// Read its rows.
    Select,
    /// Add rows.
    Insert,
    /// Change rows.
    Update,
    /// Take rows away.
    Delete,
    /// Make objects in a schema, or schemas in a catalog.
    Create,
    /// Everything, ALTER, DROP and GRANT included. Nobody is granted it: who makes an object owns it.
    Own,
}

impl Privilege {
    /// Those that a table or view has, without [`Privilege::Own`].
    pub(crate) const OF_TABLES: [Self; 4] = [Self::Select, Self::Insert, Self::Update, Self::Delete];
    /// Those that a schema has.
    pub(crate) const OF_SCHEMAS: [Self; 5] = [Self::Select, Self::Insert, Self::Update, Self::Delete, Self::Create];

    /// As SQL calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Create => "CREATE",
            Self::Own => "OWNERSHIP",
        }
    }

    /// The privilege that GRANT calls `name`, in any case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::OF_SCHEMAS
            .into_iter()
            .find(|privilege| privilege.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rules of this server.
pub(crate) struct Access {
    config: Config,
    users: Directory,
    lakehouse: Arc<Lakehouse>,
}

impl Access {
    /// `users` tells who there is, as far as that is known.
    pub(crate) fn new(config: Config, users: Directory, lakehouse: Arc<Lakehouse>) -> Self {
        Self {
            config,
            users,
            lakehouse,
        }
    }

    /// Whether `user` is asked for no privilege: an administrator, or everybody where access control is off.
    pub(crate) fn is_free(&self, user: &str) -> bool {
        !self.config.enabled || self.is_admin(user)
    }

    /// Whether `user` is one of the administrators.
    pub(crate) fn is_admin(&self, user: &str) -> bool {
        self.config.enabled && self.config.admins.iter().any(|admin| admin == user)
    }

    /// Refuses statements about grants where there are none.
    pub(crate) fn require_on(&self, statement: &str) -> Result<()> {
        match self.config.enabled {
            true => Ok(()),
            false => Err(Error::Unsupported {
                what: statement.to_owned(),
                reason: " while access control is off: set access.enabled = true in the server's configuration",
            }),
        }
    }

    /// The lake that the rules are about.
    pub(crate) fn lakehouse(&self) -> &Lakehouse {
        &self.lakehouse
    }

    /// What one statement finds.
    pub(crate) fn guard(self: &Arc<Self>) -> Arc<Guard> {
        Arc::new(Guard::new(Arc::clone(self)))
    }

    /// What the configuration grants to `user` on a whole catalog.
    fn on_catalog(&self, user: &str, catalog: &str, privilege: Privilege) -> bool {
        let granted = self.config.catalogs.get(catalog);
        let to = |privilege| {
            let users = granted.and_then(|granted| granted.get(&privilege));
            users.is_some_and(|users: &Vec<String>| users.iter().any(|granted| granted == user))
        };
        to(privilege) || to(Privilege::Own)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Refuses properties that only this server writes: with them, grants could be made up.
pub(crate) fn refuse_reserved<'a>(keys: impl IntoIterator<Item = &'a String>) -> Result<()> {
    match keys.into_iter().find(|key| key.to_lowercase().starts_with(RESERVED)) {
        None => Ok(()),
        Some(key) => Err(Error::Statement {
            detail: format!("the property \"{key}\" is the server's own and cannot be set"),
            hint: Some("GRANT and REVOKE change who may do what, CREATE FUNCTION makes functions".to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests;
