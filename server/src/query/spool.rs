//! What outlives a call: results that clients fetch piece by piece and may fetch again, and handles that are too large
//! to travel. Kept as objects that every server with the same location can read, each with a lease; what has no lease
//! any more is deleted by whoever looks next.
//!
//! ```text
//! location/ID/lease        until when it is kept
//! location/ID/state        StoredQuery, written by the server that runs the query
//! location/ID/cancel       somebody wants it to end
//! location/ID/000000.part  rows, the handle, or what was SET in a session
//! location/ending/ID       a request that queries end, whichever server runs them; kept for a moment
//! location/ending/ID.done  a server has ended some
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use catalog::Stores;
use datafusion::object_store::path::Path;
use datafusion::object_store::{self, ObjectStore, ObjectStoreExt};
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use proto::StoredQuery;
use serde::Deserialize;
use tracing::warn;
use uuid::Uuid;

use crate::error::{Error, Result};

/// Looking for what may be deleted: at most so often.
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// A state that nobody wrote for so long is that of a server that is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Where requests that queries end are kept. No id of anything else is called so.
const REQUESTS: &str = "ending";
/// So long a request is kept: a query that begins meanwhile is ended too. Much longer than servers take to see it, and
/// short enough for what all clients close and cancel in that time to be listed every second.
const REQUEST_KEPT: Duration = Duration::from_secs(60);

/// Where results are stored that clients poll for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A folder or an `s3://` location; servers behind one address need one that all of them reach. Default: the folder
    /// `spool` below `data_dir`.
    pub location: Option<String>,
    /// Bytes that all stored results may hold together, default 10 GiB. Higher fills the storage, lower fails queries.
    pub bytes_max: u64,
    /// How long a result is kept after a client last asked for it, default 10 min. Higher keeps more, lower ends
    /// queries of clients that poll seldom.
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            location: None,
            bytes_max: 10 * 1024 * 1024 * 1024,
            lifetime: Duration::from_secs(10 * 60),
        }
    }
}

impl Config {
    /// Checks what the types cannot. Does no I/O.
    pub fn validate(&self) -> Result<()> {
        if self.lifetime < Duration::from_secs(1) {
            return Err(Error::config("spool.lifetime", "must be at least 1 s"));
        }
        Ok(())
    }
}

/// The stored things of all servers that share a location.
pub(crate) struct Spool {
    store: Arc<dyn ObjectStore>,
    root: Path,
    location: String,
    bytes_max: u64,
    lifetime: Duration,
    bytes: AtomicU64,
}

impl Spool {
    /// At the location of `config`, by default `folder`. Touches nothing yet.
    pub(crate) fn new(config: &Config, folder: &std::path::Path, stores: &Stores) -> Result<Self> {
        let location = match &config.location {
            Some(location) => location.clone(),
            None => std::path::absolute(folder)
                .map(|folder| folder.display().to_string())
                .map_err(|source| Error::Io {
                    action: format!("find {}", folder.display()),
                    source,
                })?,
        };
        let at = stores.locate(location.trim_end_matches('/'))?;
        Ok(Self {
            store: at.store,
            root: at.path,
            location,
            bytes_max: config.bytes_max,
            lifetime: config.lifetime,
            bytes: AtomicU64::new(0),
        })
    }

    /// How long a lease lasts.
    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Keeps `id` for `lifetime` from now on, and says until when that is.
    pub(crate) async fn lease(&self, id: Uuid, lifetime: Duration) -> Result<SystemTime> {
        let until = SystemTime::now() + lifetime;
        let text = milliseconds(until).to_string();
        self.put(id, "lease", text.into()).await?;
        Ok(until)
    }

    /// Until when `id` is kept.
    ///
    /// # Errors
    /// [`Error::Closed`] where it is not kept any more.
    pub(crate) async fn leased(&self, id: Uuid) -> Result<SystemTime> {
        let lease = self.get(id, "lease").await?.ok_or(GONE)?;
        match until(&lease) {
            Some(until) if until > SystemTime::now() => Ok(until),
            _ => Err(GONE),
        }
    }

    /// Stores how far the query `id` is.
    pub(crate) async fn write_state(&self, id: Uuid, state: &StoredQuery) -> Result<()> {
        self.put(id, "state", state.encode_to_vec().into()).await
    }

    /// How far the query `id` is.
    ///
    /// # Errors
    /// [`Error::Closed`] where it is not kept any more, [`Error::Lost`] where nobody runs it any more.
    pub(crate) async fn read_state(&self, id: Uuid) -> Result<StoredQuery> {
        let path = self.path(id, "state");
        let read = async {
            let got = self.store.get(&path).await?;
            let written: SystemTime = got.meta.last_modified.into();
            Ok((written, got.bytes().await?))
        };
        let (written, bytes) = match read.await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Err(GONE),
            Err(error) => return Err(self.failed("read", error)),
        };
        let state = StoredQuery::decode(bytes).map_err(|_| GONE)?;
        let silence = SystemTime::now().duration_since(written).unwrap_or_default();
        if state.state() == proto::StoredState::Running && silence > SILENCE_MAX {
            return Err(Error::Lost);
        }
        Ok(state)
    }

    /// Asks whoever runs the query `id` to end it.
    pub(crate) async fn ask_to_end(&self, id: Uuid) -> Result<()> {
        self.put(id, "cancel", Bytes::from_static(b"1")).await
    }

    /// Whether somebody asked so, or the lease is over.
    pub(crate) async fn is_unwanted(&self, id: Uuid) -> bool {
        let asked = self.get(id, "cancel").await;
        matches!(asked, Ok(Some(_))) || matches!(self.leased(id).await, Err(Error::Closed { .. }))
    }

    /// Stores a request that queries end, for whichever server runs them. `id` sorts by time.
    pub(crate) async fn write_request(&self, id: Uuid, request: Bytes) -> Result<()> {
        self.write(&self.request(&id.to_string()), request).await
    }

    /// The newest requests that are kept, at most `count_max`.
    pub(crate) async fn requests(&self, count_max: usize) -> Result<BTreeSet<Uuid>> {
        let mut newest = BTreeSet::new();
        let mut listed = self.store.list(Some(&self.root.clone().join(REQUESTS)));
        while let Some(object) = listed.next().await {
            let object = object.map_err(|error| self.failed("list", error))?;
            newest.extend(object.location.filename().and_then(|name| name.parse::<Uuid>().ok()));
            if newest.len() > count_max {
                newest.pop_first();
            }
        }
        Ok(newest)
    }

    /// One request; nothing where it is not kept any more.
    pub(crate) async fn read_request(&self, id: Uuid) -> Result<Option<Bytes>> {
        self.read(&self.request(&id.to_string())).await
    }

    /// Tells whoever wrote the request `id` that it was met.
    pub(crate) async fn answer_request(&self, id: Uuid) -> Result<()> {
        self.write(&self.request(&answer_name(id)), Bytes::from_static(b"1"))
            .await
    }

    /// Whether somebody told so.
    pub(crate) async fn is_answered(&self, id: Uuid) -> Result<bool> {
        let answer = self.read(&self.request(&answer_name(id))).await?;
        Ok(answer.is_some())
    }

    /// Stores one part.
    ///
    /// # Errors
    /// [`Error::Full`] where there is no room for it.
    pub(crate) async fn write_part(&self, id: Uuid, number: u32, part: Bytes) -> Result<()> {
        let bytes = part.len() as u64;
        if self.bytes.load(Ordering::Relaxed).saturating_add(bytes) > self.bytes_max {
            return Err(Error::Full {
                bytes_max: self.bytes_max,
            });
        }
        self.put(id, &part_name(number), part).await?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Reads one part.
    ///
    /// # Errors
    /// [`Error::Closed`] where it is not kept any more.
    pub(crate) async fn read_part(&self, id: Uuid, number: u32) -> Result<Bytes> {
        self.get(id, &part_name(number)).await?.ok_or(GONE)
    }

    /// Stores `bytes`, in the place of what was there, for `lifetime`.
    ///
    /// # Errors
    /// As [`Spool::write_part`].
    pub(crate) async fn keep(&self, id: Uuid, bytes: Bytes, lifetime: Duration) -> Result<()> {
        self.lease(id, lifetime).await?;
        self.write_part(id, 0, bytes).await
    }

    /// What was stored by [`Spool::keep`]; nothing where nothing was, or where it is not kept any more.
    pub(crate) async fn read_kept(&self, id: Uuid) -> Result<Option<Bytes>> {
        self.get(id, &part_name(0)).await
    }

    /// Deletes everything about `id`, the lease first, so that nobody begins to read.
    pub(crate) async fn delete(&self, id: Uuid) -> Result<()> {
        let prefix = self.root.clone().join(id.to_string());
        let mut objects: Vec<_> = self.list(&prefix).await?;
        objects.sort_by_key(|object| object.location.filename() != Some("lease"));
        for object in objects {
            match self.store.delete(&object.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("delete", error)),
            }
        }
        Ok(())
    }

    /// Deletes again and again what has no lease any more. Does not end by itself.
    pub(crate) async fn keep_clean(&self) {
        let interval = (self.lifetime / 2).min(SWEEP_INTERVAL_MAX);
        loop {
            tokio::time::sleep(interval).await;
            for swept in [self.sweep().await, self.sweep_requests(REQUEST_KEPT).await] {
                if let Err(error) = swept {
                    warn!(%error, "the spool cannot be cleaned up");
                }
            }
        }
    }

    async fn sweep(&self) -> Result<()> {
        let listed = self.store.list_with_delimiter(Some(&self.root)).await;
        let folders = listed.map_err(|error| self.failed("list", error))?.common_prefixes;
        let mut bytes = 0;
        for folder in folders {
            let Some(id) = folder.filename().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let objects = self.list(&folder).await?;
            let youngest = objects
                .iter()
                .map(|object| SystemTime::from(object.last_modified))
                .max();
            let fresh = youngest
                .is_some_and(|written| SystemTime::now().duration_since(written).unwrap_or_default() < self.lifetime);
            match self.leased(id).await {
                Err(Error::Closed { .. }) if !fresh => self.delete(id).await?,
                _ => bytes += objects.iter().map(|object| object.size).sum::<u64>(),
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes requests and answers that are older than `kept`.
    async fn sweep_requests(&self, kept: Duration) -> Result<()> {
        let now = SystemTime::now();
        let objects = self.list(&self.root.clone().join(REQUESTS)).await?;
        let old = objects.into_iter().filter(|object| {
            let written = SystemTime::from(object.last_modified);
            now.duration_since(written).unwrap_or_default() >= kept
        });
        let old: Vec<_> = old.map(|object| Ok(object.location)).collect();
        let mut deleted = self.store.delete_stream(stream::iter(old).boxed());
        while let Some(deletion) = deleted.next().await {
            match deletion {
                // Every server sweeps.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed("delete", error)),
            }
        }
        Ok(())
    }

    async fn list(&self, prefix: &Path) -> Result<Vec<object_store::ObjectMeta>> {
        let listed = self.store.list(Some(prefix)).try_collect().await;
        listed.map_err(|error| self.failed("list", error))
    }

    async fn put(&self, id: Uuid, name: &str, bytes: Bytes) -> Result<()> {
        self.write(&self.path(id, name), bytes).await
    }

    async fn get(&self, id: Uuid, name: &str) -> Result<Option<Bytes>> {
        self.read(&self.path(id, name)).await
    }

    async fn write(&self, path: &Path, bytes: Bytes) -> Result<()> {
        let put = self.store.put(path, bytes.into()).await;
        put.map(|_| ()).map_err(|error| self.failed("write", error))
    }

    async fn read(&self, path: &Path) -> Result<Option<Bytes>> {
        let read = async { self.store.get(path).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    fn request(&self, name: &str) -> Path {
        self.root.clone().join(REQUESTS).join(name)
    }

    fn path(&self, id: Uuid, name: &str) -> Path {
        self.root.clone().join(id.to_string()).join(name)
    }

    fn failed(&self, action: &'static str, source: object_store::Error) -> Error {
        Error::Spool {
            action,
            location: self.location.clone(),
            source,
        }
    }
}

const GONE: Error = Error::Closed { what: "result" };

fn part_name(number: u32) -> String {
    format!("{number:06}.part")
}

fn answer_name(id: Uuid) -> String {
    format!("{id}.done")
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn until(lease: &[u8]) -> Option<SystemTime> {
    let milliseconds = std::str::from_utf8(lease).ok()?.parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proto::{ErrorKind, StoredState};

    use super::*;

    fn spool(folder: &tempfile::TempDir, config: &Config) -> Spool {
        Spool::new(config, folder.path(), &Stores::new(&[]).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn what_has_a_lease_is_kept_and_the_rest_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            bytes_max: 100,
            lifetime: Duration::from_millis(100),
            ..Config::default()
        };
        let (here, there) = (spool(&folder, &config), spool(&folder, &config));
        let (short, long) = (Uuid::now_v7(), Uuid::now_v7());
        for (id, lifetime) in [(short, Duration::ZERO), (long, Duration::from_secs(60))] {
            here.lease(id, lifetime).await.unwrap();
            here.write_part(id, 0, Bytes::from_static(&[7; 40])).await.unwrap();
        }
        let full = here
            .write_part(long, 1, Bytes::from_static(&[7; 40]))
            .await
            .unwrap_err();
        assert_eq!(full.kind(), ErrorKind::ResourceExhausted);
        assert_eq!(there.leased(short).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert!(there.leased(long).await.unwrap() > SystemTime::now());
        assert!(here.is_unwanted(short).await && !here.is_unwanted(long).await);

        tokio::time::sleep(Duration::from_millis(150)).await;
        here.sweep().await.unwrap();
        assert_eq!(there.read_part(short, 0).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(there.read_part(long, 0).await.unwrap(), vec![7; 40]);
        here.write_part(long, 1, Bytes::from_static(&[7; 40])).await.unwrap();
        there.ask_to_end(long).await.unwrap();
        assert!(here.is_unwanted(long).await);
        there.delete(long).await.unwrap();
        assert_eq!(here.leased(long).await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn states_are_read_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (spool(&folder, &Config::default()), spool(&folder, &Config::default()));
        let id = Uuid::now_v7();
        assert_eq!(there.read_state(id).await.unwrap_err().kind(), ErrorKind::NotFound);
        let state = StoredQuery {
            user: "alice".to_owned(),
            state: StoredState::Running.into(),
            endpoint_chunks: vec![1, 2],
            ..StoredQuery::default()
        };
        here.write_state(id, &state).await.unwrap();
        assert_eq!(there.read_state(id).await.unwrap(), state);
    }

    #[tokio::test]
    async fn the_newest_requests_are_listed_and_old_ones_swept() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (spool(&folder, &Config::default()), spool(&folder, &Config::default()));
        assert!(there.requests(2).await.unwrap().is_empty());
        // As different as their order in time.
        let ids = [1, 2, 3].map(Uuid::from_u128);
        for id in ids {
            here.write_request(id, Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(there.requests(2).await.unwrap(), BTreeSet::from([ids[1], ids[2]]));
        assert_eq!(there.read_request(ids[0]).await.unwrap().unwrap(), "x");
        assert!(!here.is_answered(ids[2]).await.unwrap());
        there.answer_request(ids[2]).await.unwrap();
        assert!(here.is_answered(ids[2]).await.unwrap() && !here.is_answered(ids[1]).await.unwrap());
        // An answer is no request.
        assert_eq!(there.requests(9).await.unwrap(), BTreeSet::from(ids));

        here.sweep().await.unwrap();
        here.sweep_requests(REQUEST_KEPT).await.unwrap();
        assert_eq!(there.requests(9).await.unwrap(), BTreeSet::from(ids));
        here.sweep_requests(Duration::ZERO).await.unwrap();
        there.sweep_requests(Duration::ZERO).await.unwrap();
        assert!(there.requests(9).await.unwrap().is_empty());
        assert!(!here.is_answered(ids[2]).await.unwrap());
    }
}
