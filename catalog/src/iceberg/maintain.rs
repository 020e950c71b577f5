//! What keeps an Iceberg table small: old snapshots, files that nothing names, and manifests; and what ANALYZE
//! knows of its columns.

mod analyze;
mod expire;
mod manifests;
mod orphans;
mod sketch;

use std::collections::BTreeMap;

use iceberg::spec::{Snapshot, TableMetadata};

pub(crate) use self::analyze::keep_sketches;
use self::expire::expire;
use self::manifests::optimize;
use self::orphans::remove_orphans;
pub use self::sketch::theta_sketch;
use super::cache::ManifestCache;
use super::manifest::ManifestFile;
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::stores::address;
use crate::write::maintenance::{Maintained, Maintenance};

/// Manifests that are in memory at once.
const MANIFESTS_AT_ONCE: usize = 16;

/// Does it to the table of that name.
pub(crate) async fn maintain(lakehouse: &Lakehouse, name: &TableName, what: &Maintenance) -> Result<Maintained> {
    match what {
        Maintenance::ExpireSnapshots { retention, retain_last } => {
            expire(lakehouse, name, *retention, *retain_last).await
        }
        Maintenance::RemoveOrphanFiles { retention, dry_run } => {
            remove_orphans(lakehouse, name, *retention, *dry_run).await
        }
        Maintenance::OptimizeManifests => optimize(lakehouse, name).await,
        Maintenance::Vacuum { .. } => Err(unsupported(
            name,
            "VACUUM of an Iceberg table: ALTER TABLE ... EXECUTE expire_snapshots and remove_orphan_files do it",
        )),
        Maintenance::Checkpoint => Err(unsupported(name, "checkpoints, which are Delta's")),
    }
}

fn unsupported(name: &TableName, feature: &str) -> Error {
    Error::Unsupported {
        table: name.to_string(),
        feature: feature.to_owned(),
    }
}

/// Refuses a table whose files are not its own.
fn check_owned(name: &TableName, metadata: &TableMetadata) -> Result<()> {
    let enabled = metadata.properties().get("gc.enabled");
    match enabled.is_some_and(|enabled| enabled.eq_ignore_ascii_case("false")) {
        true => Err(unsupported(
            name,
            "deleting files, which its property gc.enabled = false forbids",
        )),
        false => Ok(()),
    }
}

/// One name for an object, however its location is spelled.
fn key(location: &str) -> Result<String> {
    let (store_url, path) = address(location)?;
    Ok(format!("{}{path}", store_url.as_str()))
}

/// The manifests of these snapshots by [`key`], those without a live file too. Refuses a snapshot without a manifest
/// list.
async fn manifests_of<'a>(
    cache: &ManifestCache,
    name: &TableName,
    snapshots: impl Iterator<Item = &'a Snapshot>,
) -> Result<BTreeMap<String, ManifestFile>> {
    let table = name.to_string();
    let mut found = BTreeMap::new();
    for snapshot in snapshots {
        if snapshot.manifest_list().is_empty() {
            return Err(unsupported(
                name,
                "deleting files beside a snapshot without a manifest list",
            ));
        }
        let listed = cache.list(&table, snapshot.manifest_list()).await?;
        for manifest in listed.iter() {
            if manifest.encrypted {
                return Err(unsupported(name, "table encryption"));
            }
            let key = key(&manifest.path)?;
            found.entry(key).or_insert_with(|| manifest.clone());
        }
    }
    Ok(found)
}

/// Calls `each` with the location of every live file of these manifests, its [`key`], and whether it is a delete file.
async fn for_each_file(
    cache: &ManifestCache,
    name: &TableName,
    manifests: impl Iterator<Item = &ManifestFile>,
    mut each: impl FnMut(&str, String, bool),
) -> Result<()> {
    let table = name.to_string();
    let manifests: Vec<&ManifestFile> = manifests.filter(|manifest| manifest.may_be_live()).collect();
    for some in manifests.chunks(MANIFESTS_AT_ONCE) {
        let some = some.iter().map(|manifest| (*manifest).clone()).collect();
        for manifest in cache.load(&table, some).await? {
            for row in 0..manifest.entries.len() {
                let path = manifest.entries.paths.value(row);
                each(path, key(path)?, manifest.file.deletes);
            }
        }
    }
    Ok(())
}
