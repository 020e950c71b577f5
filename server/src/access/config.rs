//! What the configuration says about who may do what. Plain data.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Privilege;
use crate::error::{Error, Result};

/// Access control.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether users need grants; default false: whoever is logged in may do everything.
    pub enabled: bool,
    /// Users who may do everything, such as the first GRANT.
    pub admins: Vec<String>,
    /// By catalog and privilege (`select`, `insert`, `update`, `delete`, `create`, `own`) the users who have it on
    /// everything in the catalog. `own` is everything there.
    pub catalogs: BTreeMap<String, BTreeMap<Privilege, Vec<String>>>,
}

impl Config {
    /// Checks what the types cannot; `known` are the catalogs, `anonymous` tells that users are not told apart.
    pub fn validate(&self, known: &[&String], anonymous: bool) -> Result<()> {
        if !self.enabled {
            return match self.admins.is_empty() && self.catalogs.is_empty() {
                true => Ok(()),
                false => {
                    let detail =
                        "is false although [access] names users: set it to true, or nobody is kept from anything";
                    Err(Error::config("access.enabled", detail))
                }
            };
        }
        if anonymous {
            let detail = "needs users: set auth.mode to \"basic\" or \"required\"";
            return Err(Error::config("access.enabled", detail));
        }
        if self.admins.is_empty() {
            let detail = "names nobody, so that nobody could make the first grant";
            return Err(Error::config("access.admins", detail));
        }
        match self.catalogs.keys().find(|name| !known.contains(name)) {
            Some(name) => Err(Error::config(
                format!("access.catalogs.{name}"),
                format!("there is no catalog \"{name}\""),
            )),
            None => Ok(()),
        }
    }
}
