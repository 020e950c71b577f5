//! The checks: every question of one statement about who may do what is asked here.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Lakehouse, TableName};
use proto::ErrorKind;
use tokio::sync::OnceCell;

use super::grants::Grants;
use super::{Access, Object, Privilege};
use crate::error::{Error, Result};

/// The grants of the schemas that were asked for, by catalog and schema.
type Known = HashMap<(String, String), Arc<OnceCell<Arc<Grants>>>>;

/// What one statement finds. The grants of a schema are read when they are first asked for, and stay for the statement.
pub(crate) struct Guard {
    access: Arc<Access>,
    known: Mutex<Known>,
    /// What was asked for and allowed.
    allowed: Mutex<Vec<(String, TableName, Privilege)>>,
}

impl Guard {
    pub(super) fn new(access: Arc<Access>) -> Self {
        Self {
            access,
            known: Mutex::default(),
            allowed: Mutex::default(),
        }
    }

    /// The rules.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Whether `user` is asked for no privilege.
    pub(crate) fn is_free(&self, user: &str) -> bool {
        self.access.is_free(user)
    }

    /// The owners and grants in a schema. A schema that does not exist has none.
    pub(crate) async fn grants(&self, catalog: &str, namespace: &str) -> Result<Arc<Grants>> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry((catalog.to_owned(), namespace.to_owned())).or_default())
        };
        let load = || async {
            let client = self.access.lakehouse.client(catalog)?;
            match client.namespace_properties(namespace).await {
                Ok(properties) => Ok(Arc::new(Grants::read(&properties))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Arc::default()),
                Err(error) => Err(Error::from(error)),
            }
        };
        cell.get_or_try_init(load).await.cloned()
    }

    /// Whether `user` may do that with the object in that schema.
    pub(crate) async fn may(&self, user: &str, place: (&str, &str), object: &Object, what: Privilege) -> Result<bool> {
        let (catalog, namespace) = place;
        if self.is_free(user) || self.access.on_catalog(user, catalog, what) {
            return Ok(true);
        }
        Ok(self.grants(catalog, namespace).await?.allows(user, object, what))
    }

    /// Whether `user` may know that there is a table or view of that name: who has any privilege on it.
    pub(crate) async fn sees(&self, user: &str, name: &TableName) -> Result<bool> {
        if self.sees_catalog(user, &name.catalog) {
            return Ok(true);
        }
        let grants = self.grants(&name.catalog, &name.namespace).await?;
        Ok(grants.shows(user, &Object::Relation(name.table.clone())))
    }

    /// Whether `user` may know everything that is in the catalog.
    pub(crate) fn sees_catalog(&self, user: &str, catalog: &str) -> bool {
        let mut all = Privilege::OF_TABLES.into_iter();
        self.is_free(user) || all.any(|privilege| self.access.on_catalog(user, catalog, privilege))
    }

    /// Whether `user` may know that there is a schema of that name: who has any privilege in it.
    pub(crate) async fn sees_schema(&self, user: &str, catalog: &str, namespace: &str) -> Result<bool> {
        if self.sees_catalog(user, catalog) || self.access.on_catalog(user, catalog, Privilege::Create) {
            return Ok(true);
        }
        Ok(self.grants(catalog, namespace).await?.shows_schema(user))
    }

    /// Who owns a table or view; nobody where access control is off.
    pub(crate) async fn owner_of(&self, name: &TableName) -> Result<Option<String>> {
        if !self.access.config.enabled {
            return Ok(None);
        }
        let grants = self.grants(&name.catalog, &name.namespace).await?;
        Ok(grants.owner(&Object::Relation(name.table.clone())).map(str::to_owned))
    }

    /// Refuses where `user` lacks one of the privileges on a table or view, a `what`. Who has none on it is told what is
    /// told of one that does not exist.
    pub(crate) async fn require(
        &self,
        user: &str,
        what: &'static str,
        name: &TableName,
        all: &[Privilege],
    ) -> Result<()> {
        if self.is_free(user) {
            return Ok(());
        }
        if !self.sees(user, name).await? {
            return Err(missing(what, name).into());
        }
        let place = (name.catalog.as_str(), name.namespace.as_str());
        let object = Object::Relation(name.table.clone());
        for privilege in all {
            if !self.may(user, place, &object, *privilege).await? {
                // Rights on all tables of a schema say nothing about one that there is not.
                let found = self.access.lakehouse.client(&name.catalog)?.load(name).await?;
                return match found {
                    Some(_) => Err(lacks(user, *privilege, &name.to_string())),
                    None => Err(missing(what, name).into()),
                };
            }
            self.note(user, name, *privilege);
        }
        Ok(())
    }

    /// Refuses where `user` lacks a privilege on a schema as such. Who has none in it is told what is told of one that
    /// does not exist.
    pub(crate) async fn require_on_schema(
        &self,
        user: &str,
        catalog: &str,
        namespace: &str,
        what: Privilege,
    ) -> Result<()> {
        if self.may(user, (catalog, namespace), &Object::Schema, what).await? {
            return Ok(());
        }
        let name = format!("{catalog}.{namespace}");
        match self.sees_schema(user, catalog, namespace).await? {
            true => match self
                .access
                .lakehouse
                .client(catalog)?
                .namespace_properties(namespace)
                .await
            {
                Err(error) if error.kind() == ErrorKind::NotFound => Err(error.into()),
                _ => Err(lacks(user, what, &format!("the schema {name}"))),
            },
            false => Err(catalog::Error::NotFound {
                what: "namespace",
                name,
                hint: Some(format!("SHOW SCHEMAS IN {catalog} lists what there is")),
            }
            .into()),
        }
    }

    /// Refuses where `user` lacks a privilege on a whole catalog, which only the configuration grants.
    pub(crate) fn require_on_catalog(&self, user: &str, catalog: &str, what: Privilege) -> Result<()> {
        match self.is_free(user) || self.access.on_catalog(user, catalog, what) {
            true => Ok(()),
            false => Err(lacks(user, what, &format!("the catalog {catalog}"))),
        }
    }

    /// Refuses who does not own a function.
    pub(crate) async fn require_function(&self, user: &str, name: &TableName) -> Result<()> {
        let place = (name.catalog.as_str(), name.namespace.as_str());
        let object = Object::Function(name.table.clone());
        if self.may(user, place, &object, Privilege::Own).await? {
            return Ok(());
        }
        match self.sees_schema(user, &name.catalog, &name.namespace).await? {
            true => Err(lacks(user, Privilege::Own, &format!("the function {name}"))),
            false => Err(missing("function", name).into()),
        }
    }

    /// Refuses everybody but administrators `what`.
    pub(crate) fn require_admin(&self, user: &str, what: &str) -> Result<()> {
        match self.is_free(user) {
            true => Ok(()),
            false => Err(Error::Denied {
                detail: format!("{user} is no administrator (access.admins), and {what} takes one"),
            }),
        }
    }

    /// Asks everything again that was allowed before, of the grants as they are now.
    pub(crate) async fn recheck(&self) -> Result<()> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let allowed = std::mem::take(&mut *self.allowed.lock().unwrap_or_else(PoisonError::into_inner));
        for (user, name, privilege) in allowed {
            self.require(&user, "table", &name, &[privilege]).await?;
        }
        Ok(())
    }

    fn note(&self, user: &str, name: &TableName, privilege: Privilege) {
        let asked = (user.to_owned(), name.clone(), privilege);
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if !allowed.contains(&asked) {
            allowed.push(asked);
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

/// The lake as one user may know it.
#[derive(Debug, Clone)]
pub(crate) struct Viewer {
    pub(crate) guard: Arc<Guard>,
    pub(crate) user: String,
}

impl Viewer {
    /// For one statement or call of `user`.
    pub(crate) fn new(guard: Arc<Guard>, user: impl Into<String>) -> Self {
        let user = user.into();
        Self { guard, user }
    }

    /// The lake.
    pub(crate) fn lakehouse(&self) -> &Arc<Lakehouse> {
        &self.guard.access().lakehouse
    }
}

fn lacks(user: &str, privilege: Privilege, object: &str) -> Error {
    let detail = match privilege {
        Privilege::Own => format!("{user} does not own {object}, nor the schema it is in"),
        other => format!("{user} lacks the privilege {other} on {object}"),
    };
    Error::Denied { detail }
}

/// The error for a name that names nothing, or nothing that its user may know of.
pub(crate) fn missing(what: &'static str, name: &TableName) -> catalog::Error {
    catalog::Error::NotFound {
        what,
        name: name.to_string(),
        hint: Some("SHOW TABLES lists what there is".to_owned()),
    }
}
