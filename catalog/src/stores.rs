//! Locations to object stores: one client per bucket, built when it is first asked for.
//!
//! The same type serves the catalog readers and, as DataFusion's registry, the plans of coordinators and executors.

pub(crate) mod cache;
mod loans;
mod routed;

use std::collections::{HashMap, HashSet};
use std::path::Path as FilePath;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::error::DataFusionError;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::physical_plan::ExecutionPlan;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, GetOptions, ObjectStore, RetryConfig};
use url::Url;

pub use self::cache::CacheUse;
pub(crate) use self::loans::Lender;
use self::loans::Loans;
pub use self::loans::{Loan, LoansInUse};
use self::routed::Routed;

use crate::config::StorageProfile;
use crate::error::{Error, Result};

/// More buckets than this at once and the clients are built anew.
const CLIENTS_MAX: usize = 1024;

/// Every object store the configuration allows, by URL.
#[derive(Debug)]
pub struct Stores {
    profiles: Vec<StorageProfile>,
    clients: RwLock<HashMap<String, Arc<dyn ObjectStore>>>,
    /// Buckets whose store was seen to refuse to overwrite an object.
    exclusive: RwLock<HashSet<String>>,
    loans: Arc<Loans>,
}

/// One object: its store and its key in it.
#[derive(Debug, Clone)]
pub struct Location {
    /// The client of the object's bucket.
    pub store: Arc<dyn ObjectStore>,
    /// The bucket as DataFusion knows it, such as `s3://bucket/` or `file:///`.
    pub store_url: ObjectStoreUrl,
    /// The key in the bucket, not percent-encoded.
    pub path: Path,
}

impl Stores {
    /// Remembers the profiles; connects to nothing.
    pub fn new(profiles: &[StorageProfile]) -> Result<Arc<Self>> {
        let mut buckets: Vec<String> = Vec::new();
        for profile in profiles.iter().filter(|profile| !profile.prefix.starts_with("file:")) {
            let bucket = bucket_of(&split(&profile.prefix)?);
            if buckets.contains(&bucket) {
                let detail = format!("there are two profiles for {bucket}: one bucket has one profile");
                return Err(Error::Config {
                    key: "storage".to_owned(),
                    detail,
                });
            }
            buckets.push(bucket);
        }
        Ok(Arc::new(Self {
            profiles: profiles.to_vec(),
            clients: RwLock::default(),
            exclusive: RwLock::default(),
            loans: Loans::new(profiles),
        }))
    }

    /// The store and key of `location`: `s3://bucket/key`, `file:///path` or an absolute path. Keys are taken as they
    /// are written: table formats store them without percent-encoding.
    pub fn locate(&self, location: &str) -> Result<Location> {
        let (store_url, path) = address(location)?;
        Ok(Location {
            store: self.client(store_url.as_str())?,
            store_url,
            path,
        })
    }

    /// True where a storage profile covers `location`, so that its owner meant it to be read by name.
    pub fn covers(&self, location: &str) -> bool {
        let normal = |text: &str| {
            split(text)
                .ok()
                .map(|p| (bucket_of(&p), p.key.trim_end_matches('/').to_owned()))
        };
        let Some((bucket, key)) = normal(location) else {
            return false;
        };
        if Path::parse(&key).is_err() {
            return false;
        }
        self.profiles
            .iter()
            .filter_map(|profile| normal(&profile.prefix))
            .any(|(b, prefix)| {
                b == bucket
                    && (prefix.is_empty()
                        || key == prefix
                        || key.strip_prefix(&prefix).is_some_and(|k| k.starts_with('/')))
            })
    }

    /// The whole object at `location`, refused above `bytes_max`.
    pub async fn read(&self, location: &str, bytes_max: u64) -> Result<Bytes> {
        let at = self.locate(location)?;
        let read = async {
            let got = at.store.get_opts(&at.path, GetOptions::default()).await?;
            if got.meta.size > bytes_max {
                let source = format!(
                    "the object has {} bytes, more than the {bytes_max} allowed",
                    got.meta.size
                );
                return Err(object_store::Error::NotSupported { source: source.into() });
            }
            got.bytes().await
        };
        read.await.map_err(|error| Error::storage(location, error))
    }

    /// Reaches what is below the prefixes of `loans` with their credentials from now on, and has `lender` renew them.
    pub(crate) fn borrow(&self, loans: Vec<Loan>, lender: Arc<dyn Lender>) -> Result<()> {
        self.loans.borrow(loans, lender)
    }

    /// Reaches what is below the prefix of a loan with its credentials, until they end or another one comes.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for a prefix that is no location, [`Error::Storage`] for one that no store can have.
    pub fn receive(&self, loan: Loan) -> Result<()> {
        self.loans.keep(loan, None)
    }

    /// What these nodes of a plan, scans and writers, need of the loans here, which are renewed as long as the answer
    /// lives.
    pub fn loans_of(&self, nodes: &[Arc<dyn ExecutionPlan>]) -> LoansInUse {
        self.loans.used_by(nodes)
    }

    /// Renews the loans in use that end soon, and says what each is now: a number of its prefix, one that grows when it
    /// is renewed, and the loan.
    pub async fn loans_in_use(&self) -> Vec<(u64, u64, Loan)> {
        self.loans.in_use().await
    }

    /// Whether there are loans that anything needs which runs.
    pub fn are_loans_in_use(&self) -> bool {
        self.loans.are_used()
    }

    /// True where the store of that bucket was seen to refuse to overwrite an object.
    pub(crate) fn has_conditional_put(&self, bucket: &str) -> bool {
        self.exclusive
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(bucket)
    }

    /// Remembers that the store of that bucket refuses to overwrite an object.
    pub(crate) fn keep_conditional_put(&self, bucket: &str) {
        let mut exclusive = self.exclusive.write().unwrap_or_else(PoisonError::into_inner);
        if exclusive.len() >= CLIENTS_MAX {
            exclusive.clear();
        }
        exclusive.insert(bucket.to_owned());
    }

    fn client(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(bucket) {
            return Ok(Arc::clone(client));
        }
        drop(clients);
        let client = self.build(bucket)?;
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        Ok(Arc::clone(clients.entry(bucket.to_owned()).or_insert(client)))
    }

    fn build(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        if bucket == "file:///" {
            return Ok(Arc::new(LocalFileSystem::new()));
        }
        let profile = self
            .profiles
            .iter()
            .find(|p| split(&p.prefix).is_ok_and(|parts| bucket_of(&parts) == bucket));
        let profile = profile.cloned().unwrap_or_else(|| StorageProfile::new(bucket));
        let store = s3(&profile, bucket)
            .build()
            .map_err(|error| Error::storage(bucket, error))?;
        Ok(Arc::new(Routed {
            bucket: bucket.to_owned(),
            configured: Arc::new(store),
            loans: Arc::clone(&self.loans),
        }))
    }
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        let bucket = bucket_of(&split(url.as_str()).ok()?);
        self.clients
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(bucket, store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>, DataFusionError> {
        let bucket = bucket_of(&split(url.as_str())?);
        Ok(self.client(&bucket)?)
    }
}

/// The client of a bucket as `profile` says.
fn s3(profile: &StorageProfile, bucket: &str) -> AmazonS3Builder {
    let options = ClientOptions::new()
        .with_connect_timeout(profile.connect_timeout)
        .with_timeout(profile.request_timeout)
        .with_allow_http(profile.allow_http);
    let retry = RetryConfig {
        max_retries: profile.retries_max,
        retry_timeout: profile.request_timeout,
        ..RetryConfig::default()
    };
    // Without a static key the provider chain of the environment answers: variables, web identity, instance.
    let mut builder = match profile.access_key_id {
        Some(_) => AmazonS3Builder::new(),
        None => AmazonS3Builder::from_env(),
    };
    builder = builder.with_url(bucket).with_client_options(options).with_retry(retry);
    // Where nobody says it, the region is that of the environment along with the credentials, or else us-east-1.
    if let Some(region) = &profile.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &profile.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let path_style = profile.path_style.unwrap_or(profile.endpoint.is_some());
    builder = builder.with_virtual_hosted_style_request(!path_style);
    if let (Some(id), Some(secret)) = (&profile.access_key_id, &profile.secret_access_key) {
        builder = builder
            .with_access_key_id(id.expose())
            .with_secret_access_key(secret.expose());
    }
    if let Some(token) = &profile.session_token {
        builder = builder.with_token(token.expose());
    }
    builder.with_skip_signature(profile.anonymous)
}

/// The bucket and the key of a location, as [`Stores::locate`] finds them.
pub(crate) fn address(location: &str) -> Result<(ObjectStoreUrl, Path)> {
    let parts = split(location)?;
    let path = Path::parse(parts.key).map_err(|error| Error::InvalidName {
        detail: format!("location \"{location}\" has a key that no object can have: {error}"),
    })?;
    let store_url = ObjectStoreUrl::parse(bucket_of(&parts)).map_err(|error| Error::InvalidName {
        detail: format!("location \"{location}\" is no URL: {error}"),
    })?;
    Ok((store_url, path))
}

struct Parts<'a> {
    scheme: &'a str,
    host: &'a str,
    key: &'a str,
}

fn split(location: &str) -> Result<Parts<'_>> {
    let absolute = |key| {
        Ok(Parts {
            scheme: "file",
            host: "",
            key,
        })
    };
    if FilePath::new(location).is_absolute() {
        return absolute(location.trim_start_matches('/'));
    }
    let Some((scheme, rest)) = location.split_once(':') else {
        return Err(bad_location(location));
    };
    match (scheme, rest.strip_prefix("//")) {
        // Hadoop writes `file:/path`.
        ("file", None) if rest.starts_with('/') => absolute(rest.trim_start_matches('/')),
        ("file", Some(path)) if path.starts_with('/') => absolute(path.trim_start_matches('/')),
        ("s3" | "s3a", Some(rest)) => {
            let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
            match host.is_empty() {
                true => Err(bad_location(location)),
                false => Ok(Parts {
                    scheme: "s3",
                    host,
                    key,
                }),
            }
        }
        _ => Err(bad_location(location)),
    }
}

fn bucket_of(parts: &Parts<'_>) -> String {
    format!("{}://{}/", parts.scheme, parts.host)
}

fn bad_location(location: &str) -> Error {
    let allowed = "s3://bucket/key, file:///path or an absolute path";
    Error::InvalidName {
        detail: format!("location \"{location}\" is none of {allowed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_raw() {
        let stores = Stores::new(&[]).unwrap();
        let check = |location: &str, url: &str, path: &str| {
            let at = stores.locate(location).unwrap();
            assert_eq!((at.store_url.as_str(), at.path.as_ref()), (url, path), "{location}");
        };
        check("file:///a/b%20c/d e", "file:///", "a/b%20c/d e");
        check("file:/a/b", "file:///", "a/b");
        check("/a/b=ü", "file:///", "a/b=ü");
        check("s3a://bucket/k+1", "s3://bucket/", "k+1");
        for bad in [
            "gs://bucket/key",
            "relative/path",
            "s3:///key",
            "file://host/path",
            "s3://b/../c",
        ] {
            assert!(stores.locate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_profile_covers_whole_folders() {
        let profiles = [
            StorageProfile::new("s3://bucket/lake"),
            StorageProfile::new("file:///data"),
        ];
        let stores = Stores::new(&profiles).unwrap();
        let check = |location: &str, expect: bool| assert_eq!(stores.covers(location), expect, "{location}");
        check("s3://bucket/lake/t", true);
        check("s3a://bucket/lake", true);
        check("s3://bucket/lakeside/t", false);
        check("s3://other/lake/t", false);
        check("/data/t", true);
        check("/database", false);
        check("/data/../etc", false);
    }
}
