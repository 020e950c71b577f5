//! Schemas, made and dropped.

use catalog::{Lakehouse, TableName};
use proto::ErrorKind;

use super::{forget, function};
use crate::access::{Guard, Privilege, refuse_reserved};
use crate::error::Result;

/// Creates a schema that belongs to its user.
pub(super) async fn create(
    (catalog, namespace): &(String, String),
    properties: Vec<(String, String)>,
    lakehouse: &Lakehouse,
    (user, guard): (&str, &Guard),
) -> Result<()> {
    refuse_reserved(properties.iter().map(|(key, _)| key))?;
    guard.require_on_catalog(user, catalog, Privilege::Create)?;
    if properties.iter().any(|(key, _)| key == "location") {
        guard.require_admin(user, "choosing the location of a schema")?;
    }
    let client = lakehouse.client(catalog)?;
    let with_owner = [properties.clone(), guard.of_new_schema(user)].concat();
    match client.create_namespace(namespace, &with_owner).await {
        Err(error) if error.kind() == ErrorKind::Unsupported && guard.keeps_no_owner(user, catalog) => {
            Ok(client.create_namespace(namespace, &properties).await?)
        }
        created => Ok(created?),
    }
}

/// Drops a schema of the user; with `cascade`, all that is in it first, which has to be the user's as well.
pub(super) async fn drop(
    (catalog, namespace): &(String, String),
    cascade: bool,
    lakehouse: &Lakehouse,
    (user, guard): (&str, &Guard),
) -> Result<()> {
    guard
        .require_on_schema(user, catalog, namespace, Privilege::Own)
        .await?;
    let client = lakehouse.client(catalog)?;
    match cascade {
        true => {
            let names = |listed: Vec<String>| listed.into_iter().map(|name| TableName::new(catalog, namespace, name));
            let tables: Vec<_> = names(lakehouse.list_tables(catalog, namespace).await?).collect();
            let views: Vec<_> = names(lakehouse.list_views(catalog, namespace).await?).collect();
            // Nothing goes where something has to stay.
            for (what, name) in tables
                .iter()
                .map(|name| ("table", name))
                .chain(views.iter().map(|name| ("view", name)))
            {
                guard.require(user, what, name, &[Privilege::Own]).await?;
            }
            for name in &views {
                unless_gone(client.drop_view(name).await)?;
                forget(guard, name).await?;
            }
            for name in &tables {
                unless_gone(client.drop_table(name, false).await)?;
                forget(guard, name).await?;
            }
        }
        false => function::check_none_in(catalog, namespace, lakehouse).await?,
    }
    Ok(client.drop_namespace(namespace).await?)
}

/// Somebody else may have dropped it meanwhile.
fn unless_gone(dropped: catalog::Result<()>) -> Result<()> {
    match dropped {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
