//! Which files a location means: the file itself, all files of the kind below a folder, or those that a pattern matches.

use std::sync::Arc;

use datafusion::datasource::object_store::ObjectStoreUrl;
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::FileKind;
use crate::error::{Error, Result};
use crate::stores::Stores;

/// More files than this are no table that a statement can plan.
const FILES_MAX: usize = 100_000;

/// `*` and `?` stop at a folder's end; `**` does not.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The files of one table; at least one.
pub(super) struct Listing {
    /// The bucket.
    pub(super) store: Arc<dyn ObjectStore>,
    /// The bucket as plans know it.
    pub(super) store_url: ObjectStoreUrl,
    /// The folder that they lie below, at any depth.
    pub(super) folder: Path,
    /// The files, by name.
    pub(super) objects: Vec<ObjectMeta>,
}

/// Lists the files at `location`, without those that writers hide: names that begin with `_` or a dot.
pub(super) async fn list(stores: &Stores, kind: FileKind, location: &str) -> Result<Listing> {
    let (folder, pattern) = split(location)?;
    let at = stores.locate(folder)?;
    let mut objects = Vec::new();
    if pattern.is_none() && !at.path.as_ref().is_empty() {
        match at.store.head(&at.path).await {
            Ok(object) => objects.push(object),
            // A folder is no object; should nothing lie below it, this is told then.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(Error::storage(location, error)),
        }
    }
    if objects.is_empty() {
        let prefix = (!at.path.as_ref().is_empty()).then_some(&at.path);
        let mut found = at.store.list(prefix);
        while let Some(object) = found.try_next().await.map_err(|e| Error::storage(location, e))? {
            let wanted = match (below(&at.path, &object.location), &pattern) {
                (None, _) => false,
                (Some(name), _) if is_hidden(&name) => false,
                (Some(name), Some(pattern)) => pattern.matches_with(&name, MATCHING),
                (Some(name), None) => has_extension(&name, kind),
            };
            if wanted {
                objects.push(object);
            }
            if objects.len() > FILES_MAX {
                let detail = format!("\"{location}\" has more than {FILES_MAX} files: name a part of them");
                return Err(Error::InvalidName { detail });
            }
        }
    }
    if objects.is_empty() {
        return Err(Error::NotFound {
            what: "file",
            name: location.to_owned(),
            hint: Some(format!(
                "a folder stands for the files below it whose names end with .{}, a pattern such as *.txt for others",
                kind.extensions().join(" or .")
            )),
        });
    }
    if let Some(compressed) = objects.iter().find(|object| is_compressed(&object.location, kind)) {
        let feature = format!("compressed files such as {}", compressed.location);
        let table = location.to_owned();
        return Err(Error::Unsupported { table, feature });
    }
    objects.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(Listing {
        store: at.store,
        store_url: at.store_url,
        folder: at.path,
        objects,
    })
}

/// The folder above the first name with a wildcard, and the pattern of the names below it.
fn split(location: &str) -> Result<(&str, Option<Pattern>)> {
    let Some(wildcard) = location.find(['*', '?', '[']) else {
        return Ok((location, None));
    };
    let wrong = |detail: &str| Error::InvalidName {
        detail: format!("\"{location}\" is no pattern of files: {detail}"),
    };
    let (head, _) = location.split_at(wildcard);
    let slash = head.rfind('/').ok_or_else(|| wrong("it has no folder"))?;
    let pattern = Pattern::new(&location[slash + 1..]).map_err(|error| wrong(error.msg))?;
    Ok((&location[..slash], Some(pattern)))
}

/// The rest of the key of an object that lies below `folder`.
pub(super) fn below(folder: &Path, object: &Path) -> Option<String> {
    let parts: Vec<_> = object
        .prefix_match(folder)?
        .map(|part| part.as_ref().to_owned())
        .collect();
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// `_SUCCESS`, `_delta_log/` and `.crc` files, but not a folder such as `_day=1`.
fn is_hidden(name: &str) -> bool {
    name.split('/')
        .any(|part| part.starts_with(['_', '.']) && !part.contains('='))
}

fn has_extension(name: &str, kind: FileKind) -> bool {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| {
        kind.extensions()
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Parquet files are compressed inside, whatever their name says.
fn is_compressed(path: &Path, kind: FileKind) -> bool {
    let extension = path.extension().unwrap_or_default();
    kind != FileKind::Parquet && ["gz", "bz2", "xz", "zst", "zip"].contains(&extension)
}
