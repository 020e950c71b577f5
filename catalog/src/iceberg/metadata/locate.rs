//! The current metadata file of a table that no catalog knows, by its folder.

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::stores::{Location, Stores};

/// A version hint is one number.
const HINT_BYTES_MAX: u64 = 64;
/// More metadata files than this and the caller has to name one.
const FILES_MAX: usize = 100_000;

/// The metadata file of the table at `location`: itself where it names one, else the one that the folder's version
/// hint names, else the one of the highest version. Two of one version are ambiguous, and an error.
pub(crate) async fn newest_metadata(stores: &Stores, location: &str) -> Result<String> {
    if version_of(location.rsplit('/').next().unwrap_or_default()).is_some() {
        return Ok(location.to_owned());
    }
    let folder = format!("{location}/metadata");
    let names = metadata_files(&stores.locate(&folder)?, &folder).await?;
    let versions: Vec<(u64, String)> = names
        .into_iter()
        .filter_map(|n| Some((version_of(&n)?.ok()?, n)))
        .collect();
    let hinted = match stores
        .read(&format!("{folder}/version-hint.text"), HINT_BYTES_MAX)
        .await
    {
        Ok(hint) => std::str::from_utf8(&hint)
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok()),
        Err(Error::Storage {
            source: object_store::Error::NotFound { .. },
            ..
        }) => None,
        Err(error) => return Err(error),
    };
    let Some(version) = hinted.or_else(|| versions.iter().map(|(version, _)| *version).max()) else {
        return Err(Error::NotFound {
            what: "Iceberg table",
            name: location.to_owned(),
            hint: Some(format!(
                "{folder} has no metadata file with a version in its name: name the file itself"
            )),
        });
    };
    let mut newest = versions
        .into_iter()
        .filter(|(v, _)| *v == version)
        .map(|(_, name)| name);
    match (newest.next(), newest.next()) {
        (Some(name), None) => Ok(format!("{folder}/{name}")),
        (None, _) => Err(Error::Corrupt {
            table: location.to_owned(),
            file: format!("{folder}/version-hint.text"),
            detail: format!("it names version {version}, which has no metadata file"),
        }),
        (Some(one), Some(other)) => Err(Error::InvalidName {
            detail: format!("{folder} has two current metadata files, {one} and {other}: name one of them"),
        }),
    }
}

async fn metadata_files(folder: &Location, url: &str) -> Result<Vec<String>> {
    let failed = |error| Error::storage(url, error);
    let mut names = Vec::new();
    let mut objects = folder.store.list(Some(&folder.path));
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        if is_child(&folder.path, &object.location) {
            names.extend(object.location.filename().map(str::to_owned));
        }
        if names.len() > FILES_MAX {
            let detail = format!("{url} has more than {FILES_MAX} files: name the table's metadata file");
            return Err(Error::InvalidName { detail });
        }
    }
    Ok(names)
}

fn is_child(folder: &Path, object: &Path) -> bool {
    object.prefix_match(folder).is_some_and(|rest| rest.count() == 1)
}

/// The version in the name of a metadata file: `v3.metadata.json`, `00003-<uuid>.metadata.json`, either of them with
/// `.gz` before `.metadata` or at the end. The name is none of a metadata file: `None`; it has no version: an error.
pub(crate) fn version_of(name: &str) -> Option<Result<u64, std::num::ParseIntError>> {
    let stem = name
        .strip_suffix(".gz")
        .unwrap_or(name)
        .strip_suffix(".metadata.json")?;
    let stem = stem.strip_suffix(".gz").unwrap_or(stem);
    let digits = stem
        .strip_prefix('v')
        .unwrap_or_else(|| stem.split('-').next().unwrap_or_default());
    Some(digits.parse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        let check = |name: &str, expect: Option<u64>| assert_eq!(version_of(name).map(Result::ok), expect.map(Some));
        check("v12.metadata.json", Some(12));
        check("v3.gz.metadata.json", Some(3));
        check("00007-2ee3-41.metadata.json", Some(7));
        check("v1.metadata.json.gz", Some(1));
        check("snap-1-2.avro", None);
        assert!(version_of("vfinal.metadata.json").unwrap().is_err());
    }

    #[tokio::test]
    async fn the_hint_decides_then_the_highest_version() {
        let folder = std::env::temp_dir().join(format!("lakewing-locate-{}", uuid::Uuid::new_v4()));
        let metadata = folder.join("metadata");
        std::fs::create_dir_all(&metadata).unwrap();
        let touch = |name: &str, text: &str| std::fs::write(metadata.join(name), text).unwrap();
        let stores = Stores::new(&[]).unwrap();
        let location = folder.to_str().unwrap();
        let newest = async || {
            newest_metadata(&stores, location)
                .await
                .map(|n| n.rsplit('/').next().unwrap().to_owned())
        };

        assert!(newest().await.unwrap_err().to_string().contains("does not exist"));
        touch("v2.metadata.json", "");
        touch("v10.metadata.json", "");
        assert_eq!(newest().await.unwrap(), "v10.metadata.json");
        touch("version-hint.text", "2\n");
        assert_eq!(newest().await.unwrap(), "v2.metadata.json");
        touch("version-hint.text", "9");
        assert!(newest().await.unwrap_err().to_string().contains("names version 9"));
        std::fs::remove_file(metadata.join("version-hint.text")).unwrap();
        touch("00010-abc.metadata.json", "");
        assert!(
            newest()
                .await
                .unwrap_err()
                .to_string()
                .contains("two current metadata files")
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
