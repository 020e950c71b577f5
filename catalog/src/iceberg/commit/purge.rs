//! Every file that a table's metadata name, for who drops the table with them.

use std::collections::BTreeSet;

use iceberg::spec::Snapshot;

use super::super::metadata::Metadata;
use super::manifests::Manifests;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;

/// The files of all snapshots, and the metadata that name them. Files that no metadata name are not among them.
pub(crate) async fn files(stores: &Stores, name: &TableName, location: &str) -> Result<Vec<String>> {
    let table = name.to_string();
    let metadata = Metadata::load(stores, &table, location).await?;
    let metadata = &metadata.table;
    if metadata
        .properties()
        .get("gc.enabled")
        .is_some_and(|enabled| enabled.eq_ignore_ascii_case("false"))
    {
        return Err(Error::Unsupported {
            table,
            feature: "PURGE, which its property gc.enabled = false forbids".to_owned(),
        });
    }
    let manifests = Manifests { table: &table, stores };
    // Data first, so that what is left after a failure can still be found.
    let (mut data, mut above) = (BTreeSet::new(), BTreeSet::new());
    let mut read = BTreeSet::new();
    for snapshot in metadata.snapshots() {
        let snapshot: &Snapshot = snapshot;
        for manifest in manifests.list(metadata, snapshot).await? {
            if read.insert(manifest.manifest_path.clone()) {
                let loaded = manifests.load(&manifest).await?;
                data.extend(loaded.entries.iter().map(|entry| entry.file.file_path().to_owned()));
                above.insert(manifest.manifest_path);
            }
        }
        above.insert(snapshot.manifest_list().to_owned());
    }
    above.extend(metadata.statistics_iter().map(|file| file.statistics_path.clone()));
    above.extend(
        metadata
            .partition_statistics_iter()
            .map(|file| file.statistics_path.clone()),
    );
    above.extend(metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()));
    let mut files: Vec<String> = data.into_iter().chain(above).collect();
    files.push(location.to_owned());
    Ok(files)
}
