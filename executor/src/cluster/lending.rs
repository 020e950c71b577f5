//! Credentials that the server borrowed from catalogs, handed on to the executors that work for it: each gets those that
//! running queries need, and new ones before they end. They travel beside plans, never in them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use catalog::{Loan, Secret, Stores};
use futures::future::join_all;
use http::uri::PathAndQuery;
use proto::{LendRequest, LendResponse, StorageLoan};
use tonic::Request;
use tonic_prost::ProstCodec;
use tracing::warn;
use url::Url;

use super::channel::{Channels, innermost, of_status, unreachable};
use super::members::{Members, Peer};
use crate::error::Result;

/// Where an executor takes credentials.
pub(crate) const LEND_PATH: &str = "/lakewing.v1.Executor/Lend";
/// How often is looked for loans that end soon.
const INTERVAL: Duration = Duration::from_millis(250);
/// Loans in one message; a session token has a kilobyte or two.
const MESSAGE_LOANS_MAX: usize = 256;
/// An executor that does not take them within this time is taken for lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// By the number of its prefix, the version of each loan that an executor has.
type Told = HashMap<u64, u64>;

/// Hands on loans.
#[derive(Debug)]
pub(crate) struct Lending {
    stores: Arc<Stores>,
    channels: Arc<Channels>,
    members: Arc<Members>,
    told: Mutex<HashMap<Peer, Told>>,
}

impl Lending {
    /// Of the loans of `stores`, to `members`.
    pub(super) fn new(stores: Arc<Stores>, channels: Arc<Channels>, members: Arc<Members>) -> Arc<Self> {
        Arc::new(Self {
            stores,
            channels,
            members,
            told: Mutex::default(),
        })
    }

    /// The credentials themselves.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Gives `peers` what queries need that run or are about to.
    ///
    /// # Errors
    /// [`Error::Unreachable`](crate::Error::Unreachable) and what else is wrong with the first that did not take them;
    /// the others have got theirs.
    pub(crate) async fn lend(&self, peers: &[Peer]) -> Result<()> {
        let loans = self.stores.loans_in_use().await;
        let given = peers.iter().map(|peer| self.give(peer, &loans));
        join_all(given).await.into_iter().collect()
    }

    /// Renews what running queries need, and tells the executors, for ever.
    pub(super) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(INTERVAL).await;
            if !self.stores.are_loans_in_use() {
                continue;
            }
            let peers = self.members.started();
            self.told().retain(|peer, _| peers.contains(peer));
            // Whoever never got any runs none of the queries that need them.
            let peers: Vec<_> = {
                let told = self.told();
                peers.into_iter().filter(|peer| told.contains_key(peer)).collect()
            };
            if let Err(error) = self.lend(&peers).await {
                warn!(%error, "an executor does not take new credentials");
            }
        }
    }

    async fn give(&self, peer: &Peer, loans: &[(u64, u64, Loan)]) -> Result<()> {
        let due: Vec<_> = {
            let told = self.told();
            let has = |id: u64, version| told.get(peer).and_then(|told| told.get(&id)) == Some(&version);
            loans.iter().filter(|(id, version, _)| !has(*id, *version)).collect()
        };
        for some in due.chunks(MESSAGE_LOANS_MAX) {
            let loans = some.iter().map(|(_, _, loan)| written(loan)).collect();
            let sent = tokio::time::timeout(TIMEOUT, self.send(&peer.address, LendRequest { loans }));
            let late = |_| unreachable(&peer.address, format!("it did not take credentials within {TIMEOUT:?}"));
            sent.await.map_err(late)??;
        }
        if !due.is_empty() {
            let living: HashSet<u64> = loans.iter().map(|(id, ..)| *id).collect();
            let mut told = self.told();
            let told = told.entry(peer.clone()).or_default();
            // What is not in use any more is given again when it is.
            told.retain(|id, _| living.contains(id));
            told.extend(due.into_iter().map(|(id, version, _)| (*id, *version)));
        }
        Ok(())
    }

    async fn send(&self, address: &Url, request: LendRequest) -> Result<()> {
        let mut client = tonic::client::Grpc::new(self.channels.channel(address).await?);
        client
            .ready()
            .await
            .map_err(|error| unreachable(address, innermost(&error)))?;
        let codec = ProstCodec::<LendRequest, LendResponse>::default();
        let answer = client
            .unary(Request::new(request), PathAndQuery::from_static(LEND_PATH), codec)
            .await;
        let failed = |status: tonic::Status| {
            of_status(address, &status).unwrap_or_else(|| unreachable(address, status.message().to_owned()))
        };
        answer.map(|_| ()).map_err(failed)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, HashMap<Peer, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loan as it travels.
fn written(loan: &Loan) -> StorageLoan {
    let left = |end: SystemTime| end.duration_since(SystemTime::now()).unwrap_or_default();
    StorageLoan {
        prefix: loan.prefix.clone(),
        access_key_id: loan.access_key_id.expose().to_owned(),
        secret_access_key: loan.secret_access_key.expose().to_owned(),
        session_token: (loan.session_token.as_ref()).map_or_else(String::new, |token| token.expose().to_owned()),
        expires_in_ms: (loan.expires).map(|end| u64::try_from(left(end).as_millis()).unwrap_or(u64::MAX)),
        endpoint: loan.endpoint.clone(),
        region: loan.region.clone(),
        path_style: loan.path_style,
    }
}

/// A loan that has travelled.
pub(crate) fn read(loan: StorageLoan) -> Loan {
    let end = |milliseconds| SystemTime::now().checked_add(Duration::from_millis(milliseconds));
    Loan {
        prefix: loan.prefix,
        access_key_id: Secret::new(loan.access_key_id),
        secret_access_key: Secret::new(loan.secret_access_key),
        session_token: (!loan.session_token.is_empty()).then(|| Secret::new(loan.session_token)),
        expires: loan.expires_in_ms.and_then(end),
        endpoint: loan.endpoint,
        region: loan.region,
        path_style: loan.path_style,
    }
}
