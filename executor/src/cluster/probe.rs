//! Asks every executor, again and again, whether it lives and takes tasks. A process that is stopped and a network that
//! swallows packets say nothing by themselves.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use futures::future::join_all;
use http::uri::PathAndQuery;
use proto::{ExecutorStatus, ExecutorStatusRequest};
use tonic::Request;
use tonic_prost::ProstCodec;
use tracing::warn;
use url::Url;

use super::channel::{Channels, of_status, unreachable};
use super::members::{Health, Members, Peer};
use crate::error::{Error, Result};
use crate::scale::fleet::Placed;

/// Where an executor tells its status.
pub(crate) const STATUS_PATH: &str = "/lakewing.v1.Executor/Status";
/// How often an executor is asked.
const INTERVAL_MAX: Duration = Duration::from_secs(1);
/// How often a name is resolved.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(2);
/// An executor whose connection broke may have closed it only because it is idle: it is asked once more after this.
const AGAIN: Duration = Duration::from_millis(50);
/// How long executors of a failed query may take to show that they live.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// How executors are found.
pub(super) enum Found {
    /// At these addresses.
    Listed(Vec<Url>),
    /// With this scheme, at all addresses of a name, on a port.
    Resolved(&'static str, String, u16),
    /// Where those listen that are started as they are needed.
    Started(tokio::sync::watch::Receiver<Placed>),
}

/// Keeps `members` true, for ever.
pub(super) async fn supervise(members: Arc<Members>, channels: Arc<Channels>, mut found: Found, lost_after: Duration) {
    let mut asked: HashMap<Url, SpawnedTask<()>> = HashMap::new();
    let mut complained = false;
    loop {
        let set: Arc<str> = Arc::from("");
        let listed = |addresses: Vec<Url>| -> Placed {
            addresses
                .into_iter()
                .map(|address| (address, Arc::clone(&set)))
                .collect()
        };
        let placed: Option<Placed> = match &mut found {
            Found::Listed(addresses) => Some(listed(addresses.clone())),
            Found::Started(placed) => Some(placed.borrow_and_update().clone()),
            Found::Resolved(scheme, host, port) => match resolve(scheme, host, *port).await {
                Ok(addresses) => {
                    complained = false;
                    Some(listed(addresses))
                }
                // Those known so far stay: a name server may be away for a moment.
                Err(error) => {
                    if !complained {
                        warn!(host, %error, "the name of the executors has no addresses");
                    }
                    complained = true;
                    None
                }
            },
        };
        if let Some(placed) = placed {
            members.place(&placed);
            asked.retain(|address, _| placed.iter().any(|(known, _)| known == address));
            for (address, _) in placed {
                let asking = || {
                    let (members, channels) = (Arc::clone(&members), Arc::clone(&channels));
                    SpawnedTask::spawn(watch(members, channels, address.clone(), lost_after))
                };
                asked.entry(address.clone()).or_insert_with(asking);
            }
        }
        match &mut found {
            Found::Listed(_) => std::future::pending().await,
            Found::Resolved(..) => tokio::time::sleep(RESOLVE_INTERVAL).await,
            // Whoever starts them is gone with the server.
            Found::Started(placed) => match placed.changed().await {
                Ok(()) => {}
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Those of `peers` that do not answer soon, or are other processes by now.
pub(super) async fn find_lost(channels: &Channels, peers: &[Peer]) -> Vec<Peer> {
    let asked = peers.iter().map(|peer| async {
        let status = tokio::time::timeout(CHECK_TIMEOUT, ask(channels, &peer.address)).await;
        let lives = matches!(status, Ok(Ok(status)) if status.instance == peer.instance);
        (!lives).then(|| peer.clone())
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn resolve(scheme: &str, host: &str, port: u16) -> std::io::Result<Vec<Url>> {
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    addresses.sort();
    addresses.dedup();
    let urls = addresses
        .iter()
        .filter_map(|address| Url::parse(&format!("{scheme}://{address}")).ok());
    Ok(urls.collect())
}

async fn watch(members: Arc<Members>, channels: Arc<Channels>, address: Url, lost_after: Duration) {
    let interval = INTERVAL_MAX.min(lost_after);
    loop {
        let mut answer = tokio::time::timeout(lost_after, ask(&channels, &address)).await;
        if matches!(&answer, Ok(Err(error)) if !matches!(error, Error::Refused { .. })) {
            channels.forget(&address).await;
            tokio::time::sleep(AGAIN).await;
            answer = tokio::time::timeout(lost_after, ask(&channels, &address)).await;
        }
        let calls = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.as_ref().ok())
            .map(|status| status.calls);
        let health = match answer {
            Ok(Ok(status)) if status.draining => Health::Draining {
                instance: status.instance,
            },
            Ok(Ok(status)) => Health::Ready {
                instance: status.instance,
                cores: usize::try_from(status.cores).unwrap_or(usize::MAX),
                results: status.results,
            },
            Ok(Err(Error::Refused { reason, .. })) => Health::Refusing { reason },
            Ok(Err(Error::Unreachable { reason, .. })) => Health::Lost { reason },
            Ok(Err(error)) => Health::Lost {
                reason: error.to_string(),
            },
            Err(_) => Health::Lost {
                reason: format!("no answer within {lost_after:?}"),
            },
        };
        if matches!(health, Health::Lost { .. }) {
            // Whoever comes next must not wait for the end of the old connection.
            channels.forget(&address).await;
        }
        members.found(&address, health);
        if let Some(calls) = calls {
            members.works(&address, calls);
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = members.suspected(&address) => {}
        }
    }
}

/// What the executor at `address` says about itself.
async fn ask(channels: &Channels, address: &Url) -> Result<ExecutorStatus> {
    let mut client = tonic::client::Grpc::new(channels.channel(address).await?);
    client
        .ready()
        .await
        .map_err(|error| unreachable(address, super::channel::innermost(&error)))?;
    let codec = ProstCodec::<ExecutorStatusRequest, ExecutorStatus>::default();
    let request = Request::new(ExecutorStatusRequest {});
    let answer = client
        .unary(request, PathAndQuery::from_static(STATUS_PATH), codec)
        .await;
    let failed = |status: tonic::Status| {
        of_status(address, &status).unwrap_or_else(|| unreachable(address, status.message().to_owned()))
    };
    answer.map(tonic::Response::into_inner).map_err(failed)
}
