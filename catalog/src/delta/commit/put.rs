//! One commit into the log: an object that must not exist yet, so that the store decides who made a version.
//!
//! An answer that is lost is asked for again: the same bytes for the same version are sent once more, and where the
//! version exists by then, the unique id in it says whose it is.

use std::time::Duration;

use bytes::Bytes;
use object_store::{ObjectStoreExt, PutMode, PutOptions};
use uuid::Uuid;

use crate::delta::log::Log;
use crate::error::{Error, Result};
use crate::stores::Stores;

/// How often a commit is sent before its fate counts as unknown. The store's client tries each several times.
const SENDS_MAX: u32 = 5;
/// Between the first two sends; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// A commit larger than this is not searched for an id.
pub(crate) const COMMIT_BYTES_MAX: u64 = 512 << 20;

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The version is ours.
    Committed,
    /// The version is another's.
    Taken,
}

/// Makes `version` of the table of `bytes`, which hold the unique `id`.
pub(crate) async fn commit(log: &Log, version: u64, bytes: Bytes, id: &str) -> Result<Outcome> {
    let path = log.folder().join(format!("{version:020}.json"));
    let options = PutOptions::from(PutMode::Create);
    let local = log.root.store_url.as_str().starts_with("file:");
    let mut pause = PAUSE;
    let mut last = String::new();
    let mut unknown = false;
    for _ in 0..SENDS_MAX {
        let sent = log
            .root
            .store
            .put_opts(&path, bytes.clone().into(), options.clone())
            .await;
        let error = match sent {
            Ok(_) => return Ok(Outcome::Committed),
            Err(error) => error,
        };
        let exists = matches!(
            error,
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
        );
        // Refused before anything was stored, unless an earlier send was not answered.
        let refused = matches!(
            error,
            object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
                | object_store::Error::NotImplemented { .. }
                | object_store::Error::NotSupported { .. }
                | object_store::Error::InvalidPath { .. }
        );
        if refused && !unknown {
            return Err(Error::storage(log.root_url.as_str(), error));
        }
        match is_ours(log, &path, id).await {
            Ok(Some(true)) => return Ok(Outcome::Committed),
            Ok(Some(false)) => return Ok(Outcome::Taken),
            // What a local folder does not hold, no answer on its way can bring.
            Ok(None) if local && !exists => return Err(Error::storage(log.root_url.as_str(), error)),
            Ok(None) | Err(_) => {}
        }
        unknown = true;
        last = crate::error::innermost(&error);
        tracing::warn!(table = log.table, version, error = %last, "a commit was not answered: it is sent again");
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Err(Error::CommitUnknown {
        table: log.table.clone(),
        detail: format!("version {version} of its log: {last}"),
    })
}

/// Whether the commit at `path` holds `id`; `None` where there is none.
async fn is_ours(log: &Log, path: &object_store::path::Path, id: &str) -> object_store::Result<Option<bool>> {
    let got = match log.root.store.get(path).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        got => got?,
    };
    // Ours is as large as what was sent, which the limit of memory has passed.
    if got.meta.size > COMMIT_BYTES_MAX {
        return Ok(Some(false));
    }
    let found = got.bytes().await?;
    Ok(Some(found.windows(id.len()).any(|window| window == id.as_bytes())))
}

/// Makes sure, once per store, that the store refuses to put an object that exists. One that overwrites it instead would
/// let two writers make the same version.
pub(crate) async fn probe(log: &Log, stores: &Stores) -> Result<()> {
    let bucket = log.root.store_url.as_str();
    if bucket.starts_with("file:") || stores.has_conditional_put(bucket) {
        return Ok(());
    }
    let path = log
        .root
        .path
        .clone()
        .join(format!(".lakewing-probe-{}", Uuid::new_v4()));
    let put = || {
        log.root
            .store
            .put_opts(&path, Bytes::from_static(b"probe").into(), PutMode::Create.into())
    };
    let failed = |error| Error::storage(log.root_url.as_str(), error);
    put().await.map_err(failed)?;
    let second = put().await;
    if let Err(error) = log.root.store.delete(&path).await {
        tracing::warn!(%path, %error, "the object that probed the store stays behind");
    }
    match second {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
            stores.keep_conditional_put(bucket);
            Ok(())
        }
        Ok(_) => Err(log.unsupported(format!(
            "a store that honours conditional PUT (If-None-Match: *), which {bucket} ignores: two writers could \
             overwrite each other's commits"
        ))),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
#[path = "put_tests.rs"]
mod tests;
