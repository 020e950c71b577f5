//! Owners and grants as objects come, move and go. Wherever a change is interrupted, somebody has fewer rights than meant,
//! never more: an object is there before its owner is written down, and what a name meant before is forgotten first.

use catalog::TableName;
use proto::ErrorKind;

use super::grants::{Grants, owner_key};
use super::{Grant, Guard, Object, Privilege};
use crate::error::{Error, Result};
use crate::session::temporary_age;

/// What is known of a name at which an object is to be made.
#[derive(Debug)]
pub(crate) struct Making {
    name: TableName,
    user: String,
    /// Who made the object becomes its owner.
    takes: bool,
}

impl Guard {
    /// Refuses where `user` may not make a table or view of that name, or put another in its place with `or_replace`.
    /// Whether there is one.
    pub(crate) async fn may_create(&self, user: &str, name: &TableName, or_replace: bool) -> Result<bool> {
        let (catalog, namespace) = (name.catalog.as_str(), name.namespace.as_str());
        let object = Object::Relation(name.table.clone());
        let owns = self.may(user, (catalog, namespace), &object, Privilege::Own).await?;
        let found = self.access().lakehouse.client(catalog)?.load(name).await?.is_some();
        // A name that outlived its object gives no right to make another. Temporary tables are everybody's to make.
        if !(owns && found) && temporary_age(name).is_none() {
            self.require_on_schema(user, catalog, namespace, Privilege::Create)
                .await?;
        }
        match found && or_replace && !owns {
            true => Err(Error::Denied {
                detail: format!("{user} does not own {name}, and cannot put another in its place"),
            }),
            false => Ok(found),
        }
    }

    /// As [`Guard::may_create`], at once before it is made: what a former object of the name has left behind is gone
    /// afterwards.
    pub(crate) async fn before_creating(&self, user: &str, name: &TableName, or_replace: bool) -> Result<Making> {
        let mut making = Making {
            name: name.clone(),
            user: user.to_owned(),
            takes: false,
        };
        if !self.access().config.enabled {
            return Ok(making);
        }
        let found = self.may_create(user, name, or_replace).await?;
        let (catalog, namespace) = (name.catalog.as_str(), name.namespace.as_str());
        let object = Object::Relation(name.table.clone());
        let grants = self.fresh(catalog, namespace).await?;
        if found {
            making.takes = or_replace && grants.owner(&object).is_none();
            return Ok(making);
        }
        for key in grants.keys(&object) {
            self.set(catalog, namespace, &key, None).await?;
        }
        // Where no owner can be kept, that has to show before the object is there.
        if !self.keeps_no_owner(user, catalog) {
            self.set(catalog, namespace, &owner_key(&object), None).await?;
        }
        making.takes = true;
        Ok(making)
    }

    /// Writes down who owns an object that is there now.
    pub(crate) async fn after_creating(&self, making: Making) -> Result<()> {
        let Making { name, user, takes } = making;
        if !takes {
            return Ok(());
        }
        let object = Object::Relation(name.table.clone());
        self.take(&user, (&name.catalog, &name.namespace), &object).await
    }

    /// Makes `user` the owner.
    pub(crate) async fn take(&self, user: &str, (catalog, namespace): (&str, &str), object: &Object) -> Result<()> {
        if !self.access().config.enabled {
            return Ok(());
        }
        match self.set(catalog, namespace, &owner_key(object), Some(user)).await {
            Err(error) if error.kind() == ErrorKind::Unsupported && self.keeps_no_owner(user, catalog) => Ok(()),
            done => done,
        }
    }

    /// Forgets everything about an object that is gone.
    pub(crate) async fn forget(&self, (catalog, namespace): (&str, &str), object: &Object) -> Result<()> {
        if !self.access().config.enabled {
            return Ok(());
        }
        let grants = self.fresh(catalog, namespace).await?;
        for key in grants.keys(object) {
            self.set(catalog, namespace, &key, None).await?;
        }
        Ok(())
    }

    /// Asks whether `user` may give an object another name.
    pub(crate) async fn before_moving(
        &self,
        user: &str,
        what: &'static str,
        (from, to): (&TableName, &TableName),
    ) -> Result<()> {
        self.require(user, what, from, &[Privilege::Own]).await?;
        if (&from.catalog, &from.namespace) != (&to.catalog, &to.namespace) {
            self.require_on_schema(user, &to.catalog, &to.namespace, Privilege::Create)
                .await?;
        }
        // What a former object of the name has left behind.
        if self.access().config.enabled && self.access().lakehouse.client(&to.catalog)?.load(to).await?.is_none() {
            self.forget((&to.catalog, &to.namespace), &Object::Relation(to.table.clone()))
                .await?;
        }
        Ok(())
    }

    /// Owner and grants follow an object that has another name now.
    pub(crate) async fn after_moving(&self, from: &TableName, to: &TableName) -> Result<()> {
        if !self.access().config.enabled {
            return Ok(());
        }
        let (old, new) = (Object::Relation(from.table.clone()), Object::Relation(to.table.clone()));
        let grants = self.fresh(&from.catalog, &from.namespace).await?;
        let place = (to.catalog.as_str(), to.namespace.as_str());
        if let Some(owner) = grants.owner(&old) {
            self.set(place.0, place.1, &owner_key(&new), Some(owner)).await?;
        }
        for (grant, grantor) in grants.on(&old) {
            let object = new.clone();
            let key = Grant {
                object,
                ..grant.clone()
            }
            .key();
            self.set(place.0, place.1, &key, Some(grantor)).await?;
        }
        self.forget((&from.catalog, &from.namespace), &old).await
    }

    /// Grants or revokes, once the object is known to exist and `user` to own it.
    pub(crate) async fn change(
        &self,
        user: &str,
        (catalog, namespace): (&str, &str),
        grants: &[Grant],
        give: bool,
    ) -> Result<()> {
        for grant in grants {
            if give && self.access().users.lacks(&grant.grantee) {
                return Err(Error::Statement {
                    detail: format!("the user \"{}\" does not exist", grant.grantee),
                    hint: Some("users are those of auth.users and auth.users_file".to_owned()),
                });
            }
        }
        for grant in grants {
            let grantor = give.then_some(user);
            self.set(catalog, namespace, &grant.key(), grantor).await?;
        }
        Ok(())
    }

    /// The properties that a new schema of `user` begins with.
    pub(crate) fn of_new_schema(&self, user: &str) -> Vec<(String, String)> {
        match self.access().config.enabled {
            true => vec![(owner_key(&Object::Schema), user.to_owned())],
            false => Vec::new(),
        }
    }

    /// Whether `user` has every right in the catalog without being written down as an owner.
    pub(crate) fn keeps_no_owner(&self, user: &str, catalog: &str) -> bool {
        self.is_free(user) || self.access().on_catalog(user, catalog, Privilege::Own)
    }

    /// The grants of a schema as they are now.
    async fn fresh(&self, catalog: &str, namespace: &str) -> Result<Grants> {
        let client = self.access().lakehouse.client(catalog)?;
        match client.namespace_properties(namespace).await {
            Ok(properties) => Ok(Grants::read(&properties)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Grants::default()),
            Err(error) => Err(error.into()),
        }
    }

    async fn set(&self, catalog: &str, namespace: &str, key: &str, value: Option<&str>) -> Result<()> {
        let client = self.access().lakehouse.client(catalog)?;
        Ok(client.set_namespace_property(namespace, key, value).await?)
    }
}
