//! Files in a table's folders that its metadata do not name: what failed writes and deletes leave behind.
//!
//! The folders are looked at before the metadata are read, so that a commit meanwhile makes no file an orphan. Only the
//! table's own data and metadata folders are looked at: what else lies below its location may be another table's.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use iceberg::spec::TableMetadata;

use super::super::commit::land::now;
use super::super::commit::{data_folder, metadata_folder};
use super::{check_owned, for_each_file, key, manifests_of, unsupported};
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::delete_all;
use crate::write::maintenance::{Maintained, ORPHANS_FLOOR, Retention};

/// Deletes them, or with `dry_run` only says which they are.
pub(super) async fn remove_orphans(
    lakehouse: &Lakehouse,
    name: &TableName,
    retention: Retention,
    dry_run: bool,
) -> Result<Maintained> {
    let age_ms = retention
        .millis(ORPHANS_FLOOR, ORPHANS_FLOOR)
        .map_err(|complaint| unsupported(name, &complaint))?;
    let oldest_ms = Utc::now().timestamp_millis().saturating_sub(age_ms);
    let oldest = DateTime::from_timestamp_millis(oldest_ms).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let first = now(lakehouse, name).await?;
    let metadata = &first.metadata.table;
    check_owned(name, metadata)?;
    let stores = lakehouse.stores();
    let location = key(metadata.location())?;
    let mut found = BTreeMap::new();
    for folder in BTreeSet::from([data_folder(metadata), metadata_folder(metadata)]) {
        if !key(&folder)?.starts_with(&format!("{location}/")) {
            return Err(unsupported(
                name,
                &format!("orphan files in {folder}, which lies outside of the table's location"),
            ));
        }
        list(stores, &folder, oldest, &mut found).await?;
    }
    check_listed(lakehouse, name, metadata, &found).await?;
    found.retain(|_, old| *old);
    // The table as it is now: commits since the folders were looked at count.
    let newest = now(lakehouse, name).await?;
    let metadata = &newest.metadata.table;
    if metadata.uuid() != first.metadata.table.uuid() {
        return Err(Error::Conflict {
            table: name.to_string(),
        });
    }
    let mut named: Vec<String> = vec![newest.location.clone()];
    named.extend(metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()));
    named.extend(metadata.snapshots().map(|snapshot| snapshot.manifest_list().to_owned()));
    named.extend(metadata.statistics_iter().map(|file| file.statistics_path.clone()));
    let partitions = metadata.partition_statistics_iter();
    named.extend(partitions.map(|file| file.statistics_path.clone()));
    named.push(format!("{}/version-hint.text", metadata_folder(metadata)));
    let cache = lakehouse.manifests();
    let manifests = manifests_of(cache, name, metadata.snapshots().map(AsRef::as_ref)).await?;
    named.extend(manifests.values().map(|manifest| manifest.path.clone()));
    for location in &named {
        found.remove(&key(location)?);
    }
    for_each_file(cache, name, manifests.values(), |_, key, _| {
        found.remove(&key);
    })
    .await?;
    let orphans: Vec<String> = found.into_keys().collect();
    if dry_run {
        return Ok(Maintained::WouldDelete(orphans));
    }
    delete_all(stores, &orphans).await;
    Ok(Maintained::Counts(vec![(
        "deleted_files_count",
        u64::try_from(orphans.len()).unwrap_or(u64::MAX),
    )]))
}

/// Refuses to go on where the store lists a file of the newest snapshot under another name than the metadata, or not at
/// all.
async fn check_listed(
    lakehouse: &Lakehouse,
    name: &TableName,
    metadata: &TableMetadata,
    found: &BTreeMap<String, bool>,
) -> Result<()> {
    let cache = lakehouse.manifests();
    let newest = metadata.current_snapshot().into_iter().map(AsRef::as_ref);
    let manifests = manifests_of(cache, name, newest).await?;
    let folders = [key(&data_folder(metadata))?, key(&metadata_folder(metadata))?];
    let missing =
        |key: &str| folders.iter().any(|folder| key.starts_with(&format!("{folder}/"))) && !found.contains_key(key);
    let mut lost = manifests.keys().find(|key| missing(key)).cloned();
    for_each_file(cache, name, manifests.values(), |_, key, _| {
        if lost.is_none() && missing(&key) {
            lost = Some(key);
        }
    })
    .await?;
    match lost {
        None => Ok(()),
        Some(file) => Err(Error::Corrupt {
            table: name.to_string(),
            file,
            detail: "it is not in the listing of its folder: nothing is deleted".to_owned(),
        }),
    }
}

/// The objects below `folder` by [`key`], and whether they are older than `oldest`.
async fn list(stores: &Stores, folder: &str, oldest: DateTime<Utc>, found: &mut BTreeMap<String, bool>) -> Result<()> {
    let at = stores.locate(folder)?;
    let mut listed = at.store.list(Some(&at.path));
    loop {
        let object = match listed.try_next().await {
            Ok(Some(object)) => object,
            Ok(None) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(Error::storage(folder, error)),
        };
        let location = format!("{}{}", at.store_url.as_str(), object.location);
        found.insert(location, object.last_modified < oldest);
    }
}
