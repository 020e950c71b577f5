//! One change of a branch in all tables of a namespace that have it: in one step where the catalog can do that, so that
//! nobody sees some of the tables changed and others not.

use futures::{StreamExt, TryStreamExt, stream};

use super::{MetadataChange, took_place};
use crate::client::TableLocation;
use crate::error::{Error, Result};
use crate::iceberg::commit::TableCommit;
use crate::iceberg::commit::land::{Now, Pace, now};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::alter::Alteration;

/// How many tables are looked at at once.
const LOADS: usize = 8;

/// Makes `alteration`, which is about `branch`, in every Iceberg table of the namespace that has such a branch; the names of
/// these tables. Every table is found fit before the first one is changed.
pub(crate) async fn alter_together(
    lakehouse: &Lakehouse,
    (catalog, namespace): (&str, &str),
    branch: &str,
    alteration: &Alteration,
) -> Result<Vec<TableName>> {
    let mut pace: Option<Pace> = None;
    loop {
        let tables = tables_with(lakehouse, (catalog, namespace), branch).await?;
        let mut changes = Vec::new();
        for (name, now) in &tables {
            let change = MetadataChange::of(lakehouse, name, now, std::slice::from_ref(alteration)).await;
            let change = change.map_err(|error| of_table(name, error))?;
            if !change.commit.updates.is_empty() {
                changes.push((name.clone(), change));
            }
        }
        let names = || tables.iter().map(|(name, _)| name.clone()).collect();
        let (Some((first, _)), Some((_, found))) = (changes.first(), tables.first()) else {
            return Ok(names());
        };
        match land(lakehouse, catalog, &changes).await {
            Ok(()) => return Ok(names()),
            Err(Error::Conflict { table }) => {
                let pace = pace.get_or_insert_with(|| Pace::of(&found.metadata.table));
                if !pace.wait().await {
                    return Err(Error::Conflict { table });
                }
            }
            Err(Error::CommitUnknown { table, detail }) => {
                // All of them took place, or none.
                let mut pace = Pace::of(&found.metadata.table);
                let after = changes.first().map(|(_, change)| &change.after);
                return match after {
                    Some(after) if took_place(lakehouse, first, after, &mut pace).await => Ok(names()),
                    _ => Err(Error::CommitUnknown { table, detail }),
                };
            }
            Err(error) => return Err(error),
        }
    }
}

/// The tables of the namespace that have the branch, as they are now, by name.
async fn tables_with(
    lakehouse: &Lakehouse,
    (catalog, namespace): (&str, &str),
    branch: &str,
) -> Result<Vec<(TableName, Now)>> {
    let listed = lakehouse.list_tables(catalog, namespace).await?;
    let looks = listed.into_iter().map(|table| async move {
        let name = TableName::new(catalog, namespace, table);
        match lakehouse.client(catalog)?.load(&name).await? {
            Some(TableLocation::Iceberg { .. }) => {
                let now = now(lakehouse, &name).await?;
                let has = now.metadata.refs().get(branch).is_some_and(|found| found.is_branch());
                Ok(has.then_some((name, now)))
            }
            // Others have no branches, or are gone.
            _ => Ok(None),
        }
    });
    let looked = stream::iter(looks).buffered(LOADS);
    looked.try_filter_map(|found| async { Ok(found) }).try_collect().await
}

/// Commits all of them in one step, or, where the catalog has no such step, one after the other.
async fn land(lakehouse: &Lakehouse, catalog: &str, changes: &[(TableName, MetadataChange)]) -> Result<()> {
    let client = lakehouse.client(catalog)?;
    let commits: Vec<(&TableName, &TableCommit)> =
        changes.iter().map(|(name, change)| (name, &change.commit)).collect();
    if let [(name, commit)] = commits.as_slice() {
        return client.commit(name, commit).await;
    }
    if client.commits_together().await? {
        return client.commit_all(&commits).await;
    }
    for (name, change) in changes {
        match client.commit(name, &change.commit).await {
            Err(Error::CommitUnknown { table, detail }) => {
                let mut pace = Pace::of(&change.commit.base.table);
                if !took_place(lakehouse, name, &change.after, &mut pace).await {
                    return Err(Error::CommitUnknown { table, detail });
                }
            }
            // What landed before has the change already and is not changed again.
            landed => landed?,
        }
    }
    Ok(())
}

/// The error of one table among several.
fn of_table(name: &TableName, error: Error) -> Error {
    match error {
        Error::InvalidName { detail } => Error::InvalidName {
            detail: format!("{name}: {detail}"),
        },
        other => other,
    }
}
