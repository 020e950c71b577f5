//! Parsed metadata files by location. Kept are those whose name has a UUID: it was made for one version of one table, so
//! that what is kept cannot grow stale. Another name, `v3.metadata.json` say, may come back with other content.

use std::sync::Arc;

use uuid::Uuid;

use super::Metadata;
use crate::error::Result;
use crate::stores::Stores;
use crate::stores::cache::{BoundedCache, CacheUse};

/// Bound of the parsed files in memory, in bytes.
const METADATA_BYTES_MAX: u64 = 64 << 20;
/// About what a byte of JSON becomes when it is parsed.
const BYTES_PER_BYTE: usize = 2;

/// Metadata that queries share.
#[derive(Debug)]
pub(crate) struct MetadataCache {
    parsed: BoundedCache<String, Parsed>,
    stores: Arc<Stores>,
}

#[derive(Debug, Clone)]
struct Parsed {
    metadata: Arc<Metadata>,
    json_bytes: usize,
}

impl MetadataCache {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        let weight = |location: &String, parsed: &Parsed| {
            let bytes = parsed.json_bytes.saturating_mul(BYTES_PER_BYTE);
            bytes.saturating_add(location.len())
        };
        Self {
            parsed: BoundedCache::new("Iceberg metadata files", METADATA_BYTES_MAX, weight),
            stores,
        }
    }

    pub(crate) fn usage(&self) -> CacheUse {
        self.parsed.usage()
    }

    /// The metadata at that location; `table` is the table's name, for messages.
    pub(crate) async fn load(&self, table: &str, location: &str) -> Result<Arc<Metadata>> {
        let kept = is_used_once(location);
        if kept && let Some(parsed) = self.parsed.get(location).await {
            return Ok(parsed.metadata);
        }
        let (metadata, json_bytes) = Metadata::read(&self.stores, table, location).await?;
        let metadata = Arc::new(metadata);
        if kept {
            let parsed = Parsed {
                metadata: Arc::clone(&metadata),
                json_bytes,
            };
            self.parsed.insert(location.to_owned(), parsed).await;
        }
        Ok(metadata)
    }
}

/// True for `00003-<uuid>.metadata.json` and the like.
fn is_used_once(location: &str) -> bool {
    let name = location.rsplit('/').next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    let uuid = stem.split_once('-').map(|(_, uuid)| Uuid::try_parse(uuid));
    matches!(uuid, Some(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_uuid_is_used_once() {
        let check = |name: &str, expect: bool| assert_eq!(is_used_once(&format!("s3://b/t/metadata/{name}")), expect);
        check("00003-9c12d441-03fe-4693-9a96-a0705ddf69c1.metadata.json", true);
        check("00003-9c12d441-03fe-4693-9a96-a0705ddf69c1.gz.metadata.json", true);
        check("v3.metadata.json", false);
        check("00003-9c12.metadata.json", false);
        check("9c12d441-03fe-4693-9a96-a0705ddf69c1.metadata.json", false);
    }

    #[tokio::test]
    async fn what_may_come_back_with_other_content_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = MetadataCache::new(Stores::new(&[]).unwrap());
        let version = async |name: &str, version: i64| {
            let path = folder.path().join(name);
            let json = super::super::tests::whole().to_string();
            let json = json.replace("\"last-updated-ms\":2", &format!("\"last-updated-ms\":{version}"));
            std::fs::write(&path, json).unwrap();
            let metadata = cache.load("t", path.to_str().unwrap()).await.unwrap();
            metadata.table.last_updated_ms()
        };
        let once = "00003-9c12d441-03fe-4693-9a96-a0705ddf69c1.metadata.json";
        assert_eq!((version(once, 3).await, version(once, 4).await), (3, 3));
        let again = "v3.metadata.json";
        assert_eq!((version(again, 3).await, version(again, 4).await), (3, 4));
        let error = cache.load("t", "/nowhere/v1.metadata.json").await.unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
}
