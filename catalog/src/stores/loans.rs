//! Credentials that a catalog lends for the objects below a prefix, for a while. Whoever borrowed them can ask for new
//! ones in time; executors cannot, and are told of new ones by their server.

mod purse;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use async_trait::async_trait;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::join_all;
use object_store::aws::AwsCredential;
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};
use tokio::sync::{Mutex, watch};
use tracing::warn;

use self::purse::{Desk, Held, Purse};
use super::{bucket_of, s3, split};
use crate::config::{Secret, StorageProfile};
use crate::error::{Error, Result};
use crate::write::exec::LakeWriteExec;

/// Loans above this number are not kept; those that end first go first.
const LOANS_MAX: usize = 4096;

/// Credentials for all objects below a prefix, and where the catalog says that they count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// A location, such as `s3://bucket/folder`.
    pub prefix: String,
    /// The key's id.
    pub access_key_id: Secret,
    /// The key.
    pub secret_access_key: Secret,
    /// What makes it a temporary one.
    pub session_token: Option<Secret>,
    /// When it ends; never where the catalog does not say.
    pub expires: Option<SystemTime>,
    /// The S3 service's URL, where it is not that of the storage profile.
    pub endpoint: Option<String>,
    /// Its region, where it is not that of the storage profile.
    pub region: Option<String>,
    /// As in the storage profile, where the catalog says it.
    pub path_style: Option<bool>,
}

impl Loan {
    /// What the client is built from. The rest may change while it lives.
    fn place(&self) -> (Option<&str>, Option<&str>, Option<bool>) {
        (self.endpoint.as_deref(), self.region.as_deref(), self.path_style)
    }

    fn credential(&self) -> AwsCredential {
        AwsCredential {
            key_id: self.access_key_id.expose().to_owned(),
            secret_key: self.secret_access_key.expose().to_owned(),
            token: self.session_token.as_ref().map(|token| token.expose().to_owned()),
        }
    }
}

/// Who lends, and does so again when it is asked.
#[async_trait]
pub(crate) trait Lender: fmt::Debug + Send + Sync {
    /// The loans of one table, each with a new end.
    async fn lend(&self) -> Result<Vec<Loan>>;

    /// Who it is: another one takes its place.
    fn id(&self) -> &str;
}

/// All loans of one process, by bucket and key.
#[derive(Debug)]
pub(super) struct Loans {
    profiles: Vec<StorageProfile>,
    accounts: RwLock<HashMap<String, BTreeMap<String, Account>>>,
    ids: AtomicU64,
    /// The connections to a bucket, which all prefixes in it share.
    connections: Arc<RwLock<HashMap<String, HttpClient>>>,
}

/// Hands out the connections to one bucket.
#[derive(Debug)]
struct Connections {
    bucket: String,
    all: Arc<RwLock<HashMap<String, HttpClient>>>,
}

impl HttpConnector for Connections {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&self.bucket) {
            return Ok(known.clone());
        }
        let new = ReqwestConnector::default().connect(options)?;
        all.insert(self.bucket.clone(), new.clone());
        Ok(new)
    }
}

/// One prefix.
#[derive(Debug, Clone)]
struct Account {
    purse: Arc<Purse>,
    store: Arc<dyn ObjectStore>,
}

impl Loans {
    pub(super) fn new(profiles: &[StorageProfile]) -> Arc<Self> {
        Arc::new(Self {
            profiles: profiles.to_vec(),
            accounts: RwLock::default(),
            ids: AtomicU64::new(0),
            connections: Arc::default(),
        })
    }

    /// Keeps `loans`, which `lender` lent. One whose predecessor is in the first half of its life is not needed.
    pub(super) fn borrow(self: &Arc<Self>, loans: Vec<Loan>, lender: Arc<dyn Lender>) -> Result<()> {
        let now = SystemTime::now();
        let desk = Arc::new(Desk {
            lender,
            loans: Arc::downgrade(self),
            turn: Mutex::new(None),
        });
        for loan in loans {
            match self
                .account(&loan.prefix)?
                .filter(|account| account.purse.is_young(now))
            {
                Some(account) => account.purse.turn_to(&desk),
                None => self.keep(loan, Some(&desk))?,
            }
        }
        Ok(())
    }

    /// Keeps a loan in the place of that of the same prefix.
    pub(super) fn keep(&self, loan: Loan, desk: Option<&Arc<Desk>>) -> Result<()> {
        let parts = split(&loan.prefix)?;
        let (bucket, key) = (bucket_of(&parts), parts.key.trim_matches('/').to_owned());
        let now = SystemTime::now();
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let known = accounts.get(&bucket).and_then(|accounts| accounts.get(&key));
        if let Some(account) = known.filter(|account| account.purse.takes(&loan)) {
            account.purse.fill(loan, now);
            desk.into_iter().for_each(|desk| account.purse.turn_to(desk));
            return Ok(());
        }
        if accounts.values().map(BTreeMap::len).sum::<usize>() >= LOANS_MAX {
            drop_first_to_end(&mut accounts);
        }
        let purse = Arc::new(Purse {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            prefix: loan.prefix.clone(),
            held: watch::Sender::new(Held::new(loan.clone(), 0, now)),
            users: AtomicUsize::new(0),
            desk: RwLock::new(desk.map(Arc::clone)),
        });
        let of_bucket =
            |profile: &&StorageProfile| split(&profile.prefix).is_ok_and(|parts| bucket_of(&parts) == bucket);
        let profile = self.profiles.iter().find(of_bucket);
        let mut profile = profile.cloned().unwrap_or_else(|| StorageProfile::new(&bucket));
        (profile.access_key_id, profile.anonymous) = (None, false);
        profile.endpoint = loan.endpoint.or(profile.endpoint);
        profile.region = loan.region.or(profile.region);
        profile.path_style = loan.path_style.or(profile.path_style);
        let connections = Connections {
            bucket: bucket.clone(),
            all: Arc::clone(&self.connections),
        };
        let store = s3(&profile, &bucket).with_http_connector(connections);
        let store = store.with_credentials(Arc::clone(&purse) as _).build();
        let store = Arc::new(store.map_err(|error| Error::storage(&purse.prefix, error))?);
        accounts
            .entry(bucket)
            .or_default()
            .insert(key, Account { purse, store });
        Ok(())
    }

    /// What reaches an object of `bucket` with the credentials that were lent for it: those of the longest prefix.
    pub(super) fn store(&self, bucket: &str, path: &Path) -> Option<Arc<dyn ObjectStore>> {
        let account = self.find(bucket, path.as_ref())?;
        if account.purse.is_over(SystemTime::now()) {
            self.forget(&account.purse);
            return None;
        }
        Some(account.store)
    }

    /// Whether anything was lent for objects of `bucket`.
    pub(super) fn has_any(&self, bucket: &str) -> bool {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.contains_key(bucket)
    }

    /// The loans that these nodes of a plan need, which are renewed as long as the answer lives.
    pub(super) fn used_by(&self, nodes: &[Arc<dyn ExecutionPlan>]) -> LoansInUse {
        let mut used = LoansInUse(Vec::new());
        for node in nodes {
            let scan = node.downcast_ref::<DataSourceExec>();
            if let Some(scan) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>()) {
                let bucket = scan.object_store_url.as_str();
                let files = scan.file_groups.iter().flat_map(|group| group.iter());
                let keys = files.map(|file| file.object_meta.location.as_ref());
                // Prefixes are folders, of which there are fewer than files.
                let folders: HashSet<&str> = keys
                    .map(|key| key.rsplit_once('/').map_or("", |(folder, _)| folder))
                    .collect();
                folders
                    .into_iter()
                    .for_each(|folder| used.take(self.find(bucket, folder)));
            }
            let folder = node
                .downcast_ref::<LakeWriteExec>()
                .map(|writer| &writer.target.data_folder);
            if let Some(parts) = folder.and_then(|folder| split(folder).ok()) {
                used.take(self.find(&bucket_of(&parts), parts.key));
            }
        }
        // A scan names its data files alone: what deletes their rows may be below another prefix of the same table.
        let lenders: HashSet<_> = used.0.iter().filter_map(|purse| purse.lender()).collect();
        if !lenders.is_empty() {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            let all = accounts.values().flat_map(BTreeMap::values);
            all.filter(|account| account.purse.lender().is_some_and(|lender| lenders.contains(&lender)))
                .for_each(|account| used.take(Some(account.clone())));
        }
        used
    }

    /// Renews those in use that end soon; says of each in use what it is now, with a number that is another one for every
    /// prefix and one that grows when it is renewed.
    pub(super) async fn in_use(&self) -> Vec<(u64, u64, Loan)> {
        let accounts: Vec<_> = {
            let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
            let all = accounts.values().flat_map(BTreeMap::values);
            all.filter(|account| account.purse.users.load(Ordering::Relaxed) > 0)
                .map(|account| Arc::clone(&account.purse))
                .collect()
        };
        let renewed = accounts.into_iter().map(async |purse| {
            if let Err(error) = purse.renewed().await {
                warn!(prefix = purse.prefix, %error, "borrowed credentials cannot be renewed");
            }
            let held = purse.held.borrow();
            (purse.id, held.version, held.loan.clone())
        });
        join_all(renewed).await
    }

    /// Whether any loan is in use.
    pub(super) fn are_used(&self) -> bool {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = accounts.values().flat_map(BTreeMap::values);
        all.any(|account| account.purse.users.load(Ordering::Relaxed) > 0)
    }

    /// Gives a loan up.
    fn forget(&self, purse: &Purse) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        for accounts in accounts.values_mut() {
            accounts.retain(|_, account| account.purse.id != purse.id);
        }
    }

    fn account(&self, prefix: &str) -> Result<Option<Account>> {
        let parts = split(prefix)?;
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.get(&bucket_of(&parts));
        Ok(account
            .and_then(|accounts| accounts.get(parts.key.trim_matches('/')))
            .cloned())
    }

    fn find(&self, bucket: &str, key: &str) -> Option<Account> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        let accounts = accounts.get(bucket)?;
        let mut prefix = key.trim_matches('/');
        loop {
            if let Some(account) = accounts.get(prefix) {
                return Some(account.clone());
            }
            prefix = match prefix.rsplit_once('/') {
                Some((above, _)) => above,
                None if prefix.is_empty() => return None,
                None => "",
            };
        }
    }
}

/// Makes room for one more.
fn drop_first_to_end(accounts: &mut HashMap<String, BTreeMap<String, Account>>) {
    let ends = accounts.iter().flat_map(|(bucket, accounts)| {
        let ends = accounts.iter();
        ends.map(move |(key, account)| (account.purse.held.borrow().loan.expires, bucket, key))
    });
    // `None`, which never ends, would be the least.
    let first = ends.min_by_key(|(end, ..)| (end.is_none(), *end));
    let Some((bucket, key)) = first.map(|(_, bucket, key)| (bucket.clone(), key.clone())) else {
        return;
    };
    if let Some(accounts) = accounts.get_mut(&bucket) {
        accounts.remove(&key);
    }
}

/// Loans that something needs which runs: as long as this lives they are renewed in time.
#[derive(Debug)]
pub struct LoansInUse(Vec<Arc<Purse>>);

impl LoansInUse {
    /// True where nothing was lent for what runs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, account: Option<Account>) {
        if let Some(Account { purse, .. }) = account
            && !self.0.iter().any(|known| Arc::ptr_eq(known, &purse))
        {
            purse.users.fetch_add(1, Ordering::Relaxed);
            self.0.push(purse);
        }
    }
}

impl Drop for LoansInUse {
    fn drop(&mut self) {
        for purse in &self.0 {
            purse.users.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
