//! Credentials that a catalog lends for the objects below a prefix, for a while. Whoever borrowed them can ask for new
//! ones in time; executors cannot, and are told of new ones by their server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::join_all;
use object_store::aws::AwsCredential;
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::path::Path;
use object_store::{ClientOptions, CredentialProvider, ObjectStore};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{bucket_of, s3, split};
use crate::config::{Secret, StorageProfile};
use crate::error::{Error, Result};
use crate::write::exec::LakeWriteExec;

/// Loans above this number are not kept; those that end first go first.
const LOANS_MAX: usize = 4096;
/// A loan is renewed when less than this part of its life is left, and less than [`MARGIN_MAX`].
const MARGIN_PART: u32 = 6;
const MARGIN_MAX: Duration = Duration::from_secs(5 * 60);
/// A lender that failed is not asked again sooner.
const RETRY: Duration = Duration::from_secs(1);
/// How long a lender may take.
const LENDER_WAIT: Duration = Duration::from_secs(30);
/// How long a request waits for its server to tell of a new loan in the place of one that ended.
const NEWS_WAIT: Duration = Duration::from_secs(10);

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

/// Where the loans of one table are renewed, one at a time.
#[derive(Debug)]
pub(super) struct Desk {
    lender: Arc<dyn Lender>,
    loans: Weak<Loans>,
    /// When the lender failed last.
    turn: Mutex<Option<Instant>>,
}

/// The loan of one prefix, as it is now.
#[derive(Debug)]
struct Purse {
    id: u64,
    prefix: String,
    held: watch::Sender<Held>,
    /// How many [`LoansInUse`] hold it.
    users: AtomicUsize,
    desk: RwLock<Option<Arc<Desk>>>,
}

#[derive(Debug)]
struct Held {
    loan: Loan,
    credential: Arc<AwsCredential>,
    version: u64,
    since: SystemTime,
}

impl Held {
    fn new(loan: Loan, version: u64, since: SystemTime) -> Self {
        Self {
            credential: Arc::new(loan.credential()),
            loan,
            version,
            since,
        }
    }

    /// What is left of its life, and how long that is in all. Those that never end are always new.
    fn left(&self, now: SystemTime) -> Option<(Duration, Duration)> {
        let end = self.loan.expires?;
        let life = end.duration_since(self.since).unwrap_or_default();
        Some((end.duration_since(now).unwrap_or_default(), life))
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.left(now).is_none_or(|(left, _)| !left.is_zero())
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        self.left(now)
            .is_none_or(|(left, life)| left > (life / MARGIN_PART).min(MARGIN_MAX))
    }
}

impl Purse {
    /// Whether `loan` can take the place of the one that is here.
    fn takes(&self, loan: &Loan) -> bool {
        self.held.borrow().loan.place() == loan.place()
    }

    /// Where it is renewed; nowhere on executors.
    fn desk(&self) -> Option<Arc<Desk>> {
        self.desk.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who renews it.
    fn lender(&self) -> Option<String> {
        self.desk().map(|desk| desk.lender.id().to_owned())
    }

    /// Whether it has ended and nobody told of another in time. Where it can be renewed that is tried instead.
    fn is_over(&self, now: SystemTime) -> bool {
        let end = self.held.borrow().loan.expires;
        self.desk().is_none() && end.is_some_and(|end| end + NEWS_WAIT < now)
    }

    /// Is renewed at `desk` from now on, unless that is another desk of the same lender.
    fn turn_to(&self, desk: &Arc<Desk>) {
        let mut own = self.desk.write().unwrap_or_else(PoisonError::into_inner);
        if own.as_ref().is_none_or(|own| own.lender.id() != desk.lender.id()) {
            *own = Some(Arc::clone(desk));
        }
    }

    fn fill(&self, loan: Loan, now: SystemTime) {
        debug!(prefix = self.prefix, "new credentials were lent");
        self.held
            .send_modify(|held| *held = Held::new(loan, held.version + 1, now));
    }

    /// Whether a new loan can wait. One without an end may have been taken back.
    fn is_young(&self, now: SystemTime) -> bool {
        let held = self.held.borrow();
        held.left(now).is_some_and(|(left, life)| left > life / 2)
    }

    /// How long a request waits for a loan in the place of one that has ended: where it can be renewed it was tried.
    fn news_wait(&self) -> Duration {
        match self.desk() {
            Some(_) => Duration::ZERO,
            None => NEWS_WAIT,
        }
    }

    /// Borrows anew if it is time.
    async fn renewed(&self) -> Result<()> {
        if self.held.borrow().is_fresh(SystemTime::now()) {
            return Ok(());
        }
        let Some(desk) = self.desk() else {
            return Ok(());
        };
        let mut failed = desk.turn.lock().await;
        let (fresh, valid) = {
            let (held, now) = (self.held.borrow(), SystemTime::now());
            (held.is_fresh(now), held.is_valid(now))
        };
        if fresh || valid && failed.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(());
        }
        let lent = match tokio::time::timeout(LENDER_WAIT, desk.lender.lend()).await {
            Ok(lent) => lent,
            Err(_) => Err(Error::CatalogUnavailable {
                catalog: self.prefix.clone(),
                detail: format!("no new credentials within {LENDER_WAIT:?}"),
                source: None,
            }),
        };
        let Some(book) = desk.loans.upgrade() else {
            return Ok(());
        };
        let kept = lent.and_then(|loans| loans.into_iter().try_for_each(|loan| book.keep(loan, Some(&desk))));
        *failed = kept.is_err().then(Instant::now);
        // Nothing is lent for it any more, or its table is gone: whatever else reaches it may be tried.
        let gone = matches!(kept, Ok(()) | Err(Error::NotFound { .. }));
        if gone && !self.held.borrow().is_valid(SystemTime::now()) {
            book.forget(self);
        }
        match kept {
            Err(error) if valid => {
                warn!(prefix = self.prefix, %error, "borrowed credentials are not renewed yet");
                Ok(())
            }
            kept => kept,
        }
    }
}

#[async_trait]
impl CredentialProvider for Purse {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Unauthenticated {
            path: self.prefix.clone(),
            source,
        };
        self.renewed().await.map_err(|error| failed(Box::new(error)))?;
        let mut held = self.held.subscribe();
        let valid = held.wait_for(|held| held.is_valid(SystemTime::now()));
        match tokio::time::timeout(self.news_wait(), valid).await {
            Ok(Ok(held)) => Ok(Arc::clone(&held.credential)),
            _ => Err(failed(
                "the credentials that the catalog lent have ended, and there are no new ones".into(),
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
