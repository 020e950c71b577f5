//! A cache that is bounded in bytes and counts how often it helped.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::future::Cache;

/// Entries are weighed in units of so many bytes, rounded up: a weight has 32 bits.
const UNIT_BYTES: usize = 1 << 10;

/// What a cache holds, and how often it was asked, since its process began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheUse {
    /// What is cached.
    pub name: &'static str,
    /// How many values it holds.
    pub entries: u64,
    /// About what the entries take.
    pub bytes: u64,
    /// It never holds more.
    pub bytes_max: u64,
    /// How often what was asked for was there, and how often it was not; none where that is not counted.
    pub hits_and_misses: Option<(u64, u64)>,
}

/// Values by key, the least useful dropped first. Cheap to clone; clones are the same cache.
#[derive(Clone)]
pub(crate) struct BoundedCache<K, V> {
    name: &'static str,
    bytes_max: u64,
    kept: Cache<K, V>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl<K, V> fmt::Debug for BoundedCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedCache")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K, V> BoundedCache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Holds at most `bytes_max` as `bytes` counts them.
    pub(crate) fn new(
        name: &'static str,
        bytes_max: u64,
        bytes: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        let weight =
            move |key: &K, value: &V| u32::try_from(bytes(key, value).div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let units = bytes_max / UNIT_BYTES as u64;
        Self {
            name,
            bytes_max,
            kept: Cache::builder().max_capacity(units).weigher(weight).build(),
            counts: Arc::default(),
        }
    }

    /// The value of a key, where it is there.
    pub(crate) async fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self.kept.get(key).await;
        self.count(found.is_some());
        found
    }

    /// Whether a key is there; not counted.
    pub(crate) fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.kept.contains_key(key)
    }

    /// The value of a key; of those that miss it at the same time, one loads it for all.
    ///
    /// # Errors
    /// What `load` fails with, shared by all who waited for it.
    pub(crate) async fn get_or_load<Q, E>(&self, key: &Q, load: impl Future<Output = Result<V, E>>) -> Result<V, Arc<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        E: Send + Sync + 'static,
    {
        let entry = self.kept.entry_by_ref(key).or_try_insert_with(load).await?;
        self.count(!entry.is_fresh());
        Ok(entry.into_value())
    }

    pub(crate) async fn insert(&self, key: K, value: V) {
        self.kept.insert(key, value).await;
    }

    pub(crate) async fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.kept.invalidate(key).await;
    }

    /// What it holds now. What was put in a moment ago may not be counted yet.
    pub(crate) fn usage(&self) -> CacheUse {
        CacheUse {
            name: self.name,
            entries: self.kept.entry_count(),
            bytes: self.kept.weighted_size() * UNIT_BYTES as u64,
            bytes_max: self.bytes_max,
            hits_and_misses: Some((
                self.counts.hits.load(Ordering::Relaxed),
                self.counts.misses.load(Ordering::Relaxed),
            )),
        }
    }

    fn count(&self, hit: bool) {
        let count = if hit { &self.counts.hits } else { &self.counts.misses };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn counts_and_stays_in_its_bound() {
        let cache = BoundedCache::new("texts", 64 << 10, |_: &String, text: &String| text.len());
        let load = async |key: &str| {
            let value = async { Ok::<_, String>("x".repeat(10 << 10)) };
            cache.get_or_load(key, value).await.unwrap()
        };
        load("a").await;
        load("a").await;
        assert_eq!(cache.get("b").await, None);
        let failed = cache
            .get_or_load("c", async { Err::<String, _>("no".to_owned()) })
            .await;
        assert_eq!(*failed.unwrap_err(), "no");
        cache.kept.run_pending_tasks().await;
        let usage = cache.usage();
        assert_eq!((usage.entries, usage.bytes, usage.bytes_max), (1, 10 << 10, 64 << 10));
        assert_eq!(usage.hits_and_misses, Some((1, 2)), "what cannot be loaded is no miss");
        for number in 0..20 {
            load(&number.to_string()).await;
        }
        cache.kept.run_pending_tasks().await;
        assert!(cache.usage().bytes <= 64 << 10, "{:?}", cache.usage());
    }
}
