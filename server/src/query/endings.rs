//! Queries that end though another server was asked to end them. That one stores a request in the spool; whoever runs
//! queries looks for new requests every second, so that a query is over within two, and answers where it found one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use prost::Message;
use proto::EndReason;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};
use uuid::Uuid;

use super::registry::{Ending, Registry};
use super::spool::Spool;
use super::{Queries, RunningQuery};
use crate::auth::{Purpose, Seal};
use crate::error::{Error, Result};

/// How often a server that runs queries looks for requests.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long whoever asks waits for an answer: longer than a look and what it reads and writes.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2500);
/// How often they look for it.
const ANSWER_INTERVAL: Duration = Duration::from_millis(100);
/// Of more requests than these the oldest are not seen.
const REQUESTS_MAX: usize = 10_000;
/// What one look reads, the newest first: a server that just began its first query meets many old ones, and new ones
/// shall not wait for them.
const READS_MAX: usize = 256;
/// Objects that one look reads or writes at a time.
const AT_ONCE: usize = 16;

/// What servers that share a spool ask each other to end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endings {
    spool: Arc<Spool>,
    seal: Seal,
}

/// Which queries shall end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct EndRequest {
    target: Target,
    /// Whose queries are meant; everybody's where nobody is named.
    user: Option<String>,
    ending: Ending,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Target {
    Query(Uuid),
    /// All queries of the session with this fingerprint.
    Session(Vec<u8>),
}

/// The requests that are kept, by their ids, which sort by time.
type Known = BTreeMap<Uuid, Seen>;

/// A request that was read.
struct Seen {
    /// Nothing where it is damaged.
    request: Option<EndRequest>,
    is_answered: bool,
}

impl Endings {
    /// `seal` is that of all servers which share `spool`.
    pub(crate) fn new(spool: Arc<Spool>, seal: Seal) -> Self {
        Self { spool, seal }
    }

    /// Ends what other servers are asked to end, where it is in `registry`, for ever.
    pub(crate) async fn watch(self, registry: Registry) {
        let mut turns = tokio::time::interval(LOOK_INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut known, mut is_failing) = (Known::default(), false);
        loop {
            turns.tick().await;
            if registry.is_empty() {
                continue;
            }
            let looked = self.look(&registry, &mut known).await;
            if let (Err(error), false) = (&looked, is_failing) {
                warn!(%error, "queries that other servers are asked to end go on for now");
            }
            is_failing = looked.is_err();
        }
    }

    /// Reads what is new and ends what is wanted. What was seen before counts too, for queries that began since.
    async fn look(&self, registry: &Registry, known: &mut Known) -> Result<()> {
        let kept = self.spool.requests(REQUESTS_MAX).await?;
        known.retain(|id, _| kept.contains(id));
        let new = kept.into_iter().rev().filter(|id| !known.contains_key(id));
        let new: Vec<Uuid> = new.take(READS_MAX).collect();
        let reads = new.into_iter().map(|id| async move { (id, self.read(id).await) });
        let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE);
        let mut outcome = Ok(());
        while let Some((id, read)) = reads.next().await {
            match read {
                Ok(request) => {
                    if let Some(request) = &request {
                        request.forbid(registry);
                    }
                    let is_answered = false;
                    known.insert(id, Seen { request, is_answered });
                }
                // The others are no worse for it, and the next look reads it.
                Err(error) => outcome = Err(error),
            }
        }
        let answers = self.end(registry, known).into_iter();
        let answers = answers.map(|id| async move { (id, self.spool.answer_request(id).await) });
        let mut answers = stream::iter(answers).buffer_unordered(AT_ONCE);
        while let Some((id, answered)) = answers.next().await {
            match (answered, known.get_mut(&id)) {
                (Ok(()), Some(seen)) => seen.is_answered = true,
                (Ok(()), None) => {}
                (Err(error), _) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Ends the queries that are wanted, and tells which requests are to be answered for it.
    fn end(&self, registry: &Registry, known: &Known) -> BTreeSet<Uuid> {
        let mut wanted: HashMap<&Target, Vec<(Uuid, &Seen, &EndRequest)>> = HashMap::new();
        for (id, seen) in known {
            if let Some(request) = &seen.request {
                wanted.entry(&request.target).or_default().push((*id, seen, request));
            }
        }
        let mut found = BTreeSet::new();
        if wanted.is_empty() {
            return found;
        }
        for query in registry.of_everybody() {
            for target in self.targets(&query).into_iter().flatten() {
                for (id, seen, request) in wanted.get(&target).into_iter().flatten() {
                    if !request.is_about(&query) {
                        continue;
                    }
                    query.end(request.ending.clone());
                    // Nobody waits for the queries of a session.
                    if !seen.is_answered && matches!(target, Target::Query(_)) {
                        found.insert(*id);
                    }
                }
            }
        }
        found
    }

    /// What a request may name that is about this query.
    fn targets(&self, query: &RunningQuery) -> [Option<Target>; 2] {
        let session = query.origin.session_id.as_ref();
        [Some(Target::Query(query.origin.id)), session.map(|id| self.session(id))]
    }

    fn session(&self, id: &str) -> Target {
        Target::Session(self.seal.fingerprint(id.as_bytes()))
    }

    /// Stores a request, and gives its id.
    async fn ask(&self, request: &EndRequest) -> Result<Uuid> {
        let id = Uuid::now_v7();
        let message = request.message(id).encode_to_vec();
        let sealed = self.seal.seal(Purpose::Ending, message);
        self.spool.write_request(id, sealed.into()).await?;
        Ok(id)
    }

    /// Asks, and waits until a server says that it ended the query. False where none does in time. A server that stands
    /// alone waits in vain: it cannot know that there is no other.
    async fn ask_and_wait(&self, request: &EndRequest) -> Result<bool> {
        let id = self.ask(request).await?;
        match tokio::time::timeout(ANSWER_TIMEOUT, self.answer(id)).await {
            Ok(answer) => answer.map(|()| true),
            Err(_elapsed) => Ok(false),
        }
    }

    async fn answer(&self, id: Uuid) -> Result<()> {
        while !self.spool.is_answered(id).await? {
            tokio::time::sleep(ANSWER_INTERVAL).await;
        }
        Ok(())
    }

    /// A request. Nothing where it is damaged, gone meanwhile, or of servers with another secret.
    async fn read(&self, id: Uuid) -> Result<Option<EndRequest>> {
        let Some(stored) = self.spool.read_request(id).await? else {
            return Ok(None);
        };
        let payload = self.seal.open(Purpose::Ending, &stored);
        let message = payload.and_then(|payload| proto::EndRequest::decode(payload).ok());
        let message = message.filter(|message| message.id == id.to_string());
        let request = message.and_then(EndRequest::of_message);
        if request.is_none() {
            debug!("a request in the spool is damaged, or of servers with another secret");
        }
        Ok(request)
    }
}

impl EndRequest {
    fn of_query(id: Uuid, user: Option<&str>, ending: Ending) -> Self {
        Self {
            target: Target::Query(id),
            user: user.map(str::to_owned),
            ending,
        }
    }

    fn of_message(message: proto::EndRequest) -> Option<Self> {
        let ending = match message.reason() {
            EndReason::Cancelled => Ending::Cancelled,
            EndReason::Killed => Ending::Killed,
            EndReason::SessionClosed => Ending::SessionClosed,
            EndReason::Unspecified => return None,
        };
        let target = match message.session_fingerprint.is_empty() {
            true => Target::Query(message.query_id.parse().ok()?),
            false => Target::Session(message.session_fingerprint),
        };
        Some(Self {
            target,
            user: message.user,
            ending,
        })
    }

    fn message(&self, id: Uuid) -> proto::EndRequest {
        let reason = match self.ending {
            Ending::Killed => EndReason::Killed,
            Ending::SessionClosed => EndReason::SessionClosed,
            // Nobody asks another server for the others.
            Ending::Cancelled | Ending::TimedOut(_) | Ending::Abandoned | Ending::ServerStops => EndReason::Cancelled,
        };
        let (query_id, session_fingerprint) = match &self.target {
            Target::Query(id) => (id.to_string(), Vec::new()),
            Target::Session(fingerprint) => (String::new(), fingerprint.clone()),
        };
        proto::EndRequest {
            id: id.to_string(),
            user: self.user.clone(),
            reason: reason.into(),
            query_id,
            session_fingerprint,
        }
    }

    /// Whether it is about this query, which its target names.
    fn is_about(&self, query: &RunningQuery) -> bool {
        self.user.as_ref().is_none_or(|user| *user == query.user)
    }

    /// Keeps the query from beginning where its ticket is redeemed later. That of somebody whom the request does not
    /// name is ended when it has begun.
    fn forbid(&self, registry: &Registry) {
        if let (Target::Query(id), Some(user)) = (&self.target, &self.user) {
            registry.forbid(*id, user, self.ending.clone());
        }
    }
}

impl Queries {
    /// Ends the query `id` of `user`, also where it was planned and not begun. False where this server knows none.
    pub(crate) async fn cancel(&self, id: Uuid, user: &str) -> bool {
        let request = EndRequest::of_query(id, Some(user), Ending::Cancelled);
        self.end_known(id, user, request).await
    }

    /// Ends the query `id` of `user` on the server that runs it. False where none says that it does, after a while.
    pub(crate) async fn cancel_elsewhere(&self, id: Uuid, user: &str) -> Result<bool> {
        let request = EndRequest::of_query(id, Some(user), Ending::Cancelled);
        self.endings.ask_and_wait(&request).await
    }

    /// KILL QUERY by `user`, of their own query or, by an administrator, of anybody's, on whatever server.
    pub(super) async fn kill(&self, id: Uuid, user: &str) -> Result<()> {
        let whose = (!self.access.is_admin(user)).then_some(user);
        let request = EndRequest::of_query(id, whose, Ending::Killed);
        if self.end_known(id, user, request.clone()).await || self.endings.ask_and_wait(&request).await? {
            return Ok(());
        }
        Err(Error::NoQuery { id })
    }

    /// Ends all queries of a session, here and on other servers.
    pub(crate) fn end_session(&self, session_id: &str) {
        self.registry.end_session(session_id);
        self.tell(EndRequest {
            target: self.endings.session(session_id),
            user: None,
            ending: Ending::SessionClosed,
        });
    }

    /// Ends the query `id` as `user` asks for it, where it runs or was planned here. Other servers are told as well:
    /// its ticket may have been redeemed there, and each part of a result may come from another server.
    async fn end_known(&self, id: Uuid, user: &str, request: EndRequest) -> bool {
        let ended = match &request.user {
            Some(user) => self.registry.end(id, user, &request.ending),
            None => self.registry.end_of_anybody(id, &request.ending),
        };
        let planned = self.take_planned(id).await.is_some();
        if planned {
            self.registry.forbid(id, user, request.ending.clone());
        }
        if ended || planned {
            self.tell(request);
        }
        ended || planned
    }

    /// Asks other servers, without a caller that waits for it.
    fn tell(&self, request: EndRequest) {
        let endings = self.endings.clone();
        self.tasks.spawn(async move {
            if let Err(error) = endings.ask(&request).await {
                warn!(%error, "other servers do not learn which queries shall end");
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;
    use catalog::Stores;
    use datafusion::common::runtime::SpawnedTask;
    use proto::ErrorKind;
    use tempfile::TempDir;

    use super::super::registry::Registered;
    use super::*;
    use crate::query::{Origin, spool};

    /// One of several servers.
    struct Server {
        endings: Endings,
        registry: Registry,
        known: Known,
    }

    impl Server {
        fn new(folder: &TempDir, seal: &Seal) -> Self {
            let spool = Spool::new(&spool::Config::default(), folder.path(), &Stores::new(&[]).unwrap()).unwrap();
            Self {
                endings: Endings::new(Arc::new(spool), seal.clone()),
                registry: Registry::default(),
                known: Known::default(),
            }
        }

        fn begin(&self, id: Uuid, user: &str) -> Result<Registered> {
            let origin = Origin {
                id,
                session_id: Some(format!("the session of {user}")),
                tags: Vec::new(),
            };
            self.registry.begin(origin, user, "SELECT 1", None)
        }

        async fn ask(&self, id: Uuid, user: Option<&str>) -> Uuid {
            let request = EndRequest::of_query(id, user, Ending::Killed);
            self.endings.ask(&request).await.unwrap()
        }

        async fn look(&mut self) {
            self.endings.look(&self.registry, &mut self.known).await.unwrap();
        }

        async fn is_answered(&self, request: Uuid) -> bool {
            self.endings.spool.is_answered(request).await.unwrap()
        }
    }

    fn pair() -> (TempDir, Seal, Server, Server) {
        let (folder, seal) = (tempfile::tempdir().unwrap(), Seal::random().unwrap());
        let (here, there) = (Server::new(&folder, &seal), Server::new(&folder, &seal));
        (folder, seal, here, there)
    }

    #[tokio::test]
    async fn a_query_ends_where_it_runs_when_its_user_or_an_administrator_asks_elsewhere() {
        let (_folder, _, mut here, there) = pair();
        let (own, other) = (Uuid::now_v7(), Uuid::now_v7());
        let query = here.begin(own, "alice").unwrap();
        let bystander = here.begin(other, "alice").unwrap();
        let refused = there.ask(own, Some("bob")).await;
        here.look().await;
        assert_eq!((query.ending(), there.is_answered(refused).await), (None, false));
        let granted = there.ask(own, Some("alice")).await;
        here.look().await;
        assert_eq!(query.ending(), Some(&Ending::Killed));
        assert!(there.is_answered(granted).await && !there.is_answered(refused).await);
        assert_eq!(bystander.ending(), None);
        let granted = there.ask(other, None).await;
        here.look().await;
        assert_eq!(bystander.ending(), Some(&Ending::Killed));
        assert!(there.is_answered(granted).await);
    }

    #[tokio::test]
    async fn who_asks_hears_of_it_in_time() {
        let (_folder, _, here, there) = pair();
        let id = Uuid::now_v7();
        let query = here.begin(id, "alice").unwrap();
        let _watch = SpawnedTask::spawn(here.endings.clone().watch(here.registry.clone()));
        let request = EndRequest::of_query(id, Some("alice"), Ending::Cancelled);
        assert!(there.endings.ask_and_wait(&request).await.unwrap());
        assert_eq!(query.ending(), Some(&Ending::Cancelled));
        let unknown = EndRequest::of_query(Uuid::now_v7(), Some("alice"), Ending::Cancelled);
        assert!(!there.endings.ask_and_wait(&unknown).await.unwrap());
    }

    #[tokio::test]
    async fn what_begins_after_the_request_does_not_run_either() {
        let (_folder, _, mut here, there) = pair();
        let (id, late) = (Uuid::now_v7(), Uuid::now_v7());
        there.ask(id, Some("alice")).await;
        let anybodys = there.ask(late, None).await;
        here.look().await;
        assert_eq!(here.begin(id, "alice").err().unwrap().kind(), ErrorKind::Cancelled);
        assert!(here.begin(id, "bob").is_ok());
        let query = here.begin(late, "alice").unwrap();
        here.look().await;
        assert_eq!(query.ending(), Some(&Ending::Killed));
        assert!(there.is_answered(anybodys).await);
    }

    #[tokio::test]
    async fn a_closed_session_ends_its_queries_and_is_not_named() {
        let (folder, _, mut here, there) = pair();
        let alices = here.begin(Uuid::now_v7(), "alice").unwrap();
        let bobs = here.begin(Uuid::now_v7(), "bob").unwrap();
        let request = EndRequest {
            target: there.endings.session("the session of alice"),
            user: None,
            ending: Ending::SessionClosed,
        };
        let id = there.endings.ask(&request).await.unwrap();
        here.look().await;
        assert_eq!(alices.ending(), Some(&Ending::SessionClosed));
        assert_eq!(bobs.ending(), None);
        let stored = std::fs::read(folder.path().join("ending").join(id.to_string())).unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains("session of"));
    }

    #[tokio::test]
    async fn requests_of_others_and_requests_of_another_name_are_none() {
        let (folder, _, mut here, there) = pair();
        let stranger = Server::new(&folder, &Seal::random().unwrap());
        let id = Uuid::now_v7();
        let query = here.begin(id, "alice").unwrap();
        stranger.ask(id, None).await;
        let request = there.ask(id, None).await;
        let at = |id: Uuid| folder.path().join("ending").join(id.to_string());
        std::fs::rename(at(request), at(Uuid::now_v7())).unwrap();
        let noise = Bytes::from_static(b"noise");
        here.endings.spool.write_request(Uuid::now_v7(), noise).await.unwrap();
        here.look().await;
        assert_eq!((query.ending(), here.known.len()), (None, 3));
        std::fs::remove_dir_all(folder.path().join("ending")).unwrap();
        here.look().await;
        assert!(here.known.is_empty());
    }
}
