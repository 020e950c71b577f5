//! The sessions of all servers that share a spool. What was SET in one is kept there, sealed, and every call looks for what
//! another server may have changed; a session that is not there is one in which nothing was SET. This process remembers
//! what it saw last, within a bound.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use prost::Message;
use proto::StoredSession;
use ring::digest;
use tracing::debug;
use uuid::Uuid;

use super::Session;
use crate::auth::{Caller, Purpose, Seal};
use crate::error::{Error, Result};
use crate::query::Spool;

/// The least recently used session above this number is looked up again.
const SESSIONS_MAX: u64 = 10_000;
/// A session that no call used for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// A session in use is kept on at least so often.
const KEPT_ANEW: Duration = Duration::from_secs(6 * 60 * 60);

/// Finds the session of a caller.
pub(crate) struct Sessions {
    catalog: String,
    namespace: String,
    spool: Arc<Spool>,
    seal: Seal,
    changed: Cache<String, Session>,
    closed: Cache<String, ()>,
    /// Those whose life in the spool was prolonged lately.
    kept: Cache<String, ()>,
}

impl Sessions {
    /// `catalog` and `namespace` are where unqualified names look in a new session; `seal` is that of all servers which
    /// share `spool`.
    pub(crate) fn new(
        (catalog, namespace): (impl Into<String>, impl Into<String>),
        spool: Arc<Spool>,
        seal: Seal,
    ) -> Self {
        Self {
            catalog: catalog.into(),
            namespace: namespace.into(),
            spool,
            seal,
            changed: remembered(IDLE_MAX),
            closed: remembered(IDLE_MAX),
            kept: remembered(KEPT_ANEW),
        }
    }

    /// A session of `user` in which nothing was SET.
    pub(crate) fn fresh(&self, user: impl Into<String>) -> Session {
        Session::new(user, &self.catalog, &self.namespace)
    }

    /// Learns what other servers changed in the caller's session: once for every call, before anything is asked of it.
    pub(crate) async fn look(&self, caller: &Caller) -> Result<()> {
        let Some(id) = &caller.session_id else {
            return Ok(());
        };
        let Some(stored) = self.spool.read_kept(place(id)).await? else {
            return Ok(());
        };
        let payload = self.seal.open(Purpose::Session, &stored);
        let stored = payload.and_then(|payload| StoredSession::decode(payload).ok());
        let Some(stored) = stored.filter(|stored| stored.id == *id) else {
            debug!("a session in the spool is damaged, or of servers with another secret");
            return Ok(());
        };
        match stored.session {
            Some(session) => self.changed.insert(id.clone(), session.into()).await,
            None => self.forget(id).await,
        }
        if self.kept.get(id).await.is_none() {
            self.spool.lease(place(id), IDLE_MAX).await?;
            self.kept.insert(id.clone(), ()).await;
        }
        Ok(())
    }

    /// The caller's session as it is now.
    pub(crate) async fn of(&self, caller: &Caller) -> Session {
        self.known(caller).await.unwrap_or_else(|| self.fresh(&caller.user))
    }

    /// The caller's session, where something was SET in it.
    pub(crate) async fn known(&self, caller: &Caller) -> Option<Session> {
        self.changed.get(caller.session_id.as_ref()?).await
    }

    /// Ends a session for good.
    pub(crate) async fn close(&self, id: &str) -> Result<()> {
        self.forget(id).await;
        self.store(id, None).await
    }

    /// [`Sessions::look`], and an error where the caller's session was closed, on whatever server.
    pub(crate) async fn expect_open(&self, caller: &Caller) -> Result<()> {
        self.look(caller).await?;
        let id = caller.session_id.as_ref();
        match id.is_some_and(|id| self.closed.contains_key(id)) {
            true => Err(Error::Closed { what: "session" }),
            false => Ok(()),
        }
    }

    /// Keeps `session` for the caller's later calls, on all servers. Refused for a caller who has not logged in.
    pub(crate) async fn keep(&self, caller: &Caller, session: Session) -> Result<()> {
        let Some(id) = &caller.session_id else {
            return Err(no_session());
        };
        self.store(id, Some(session.clone())).await?;
        self.changed.insert(id.clone(), session).await;
        Ok(())
    }

    async fn forget(&self, id: &str) {
        self.changed.invalidate(id).await;
        self.closed.insert(id.to_owned(), ()).await;
    }

    async fn store(&self, id: &str, session: Option<Session>) -> Result<()> {
        let stored = StoredSession {
            id: id.to_owned(),
            session: session.map(Into::into),
        };
        let sealed = self.seal.seal(Purpose::Session, stored.encode_to_vec());
        self.spool.keep(place(id), sealed.into(), IDLE_MAX).await?;
        self.kept.insert(id.to_owned(), ()).await;
        Ok(())
    }
}

/// A bounded memory of sessions.
fn remembered<T: Clone + Send + Sync + 'static>(idle_max: Duration) -> Cache<String, T> {
    Cache::builder()
        .max_capacity(SESSIONS_MAX)
        // The default policy would rather refuse a new session than forget a popular one.
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(idle_max)
        .build()
}

/// Where a session lies in the spool, which does not tell its id.
fn place(id: &str) -> Uuid {
    let hash = digest::digest(&digest::SHA256, id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What cannot be kept for a caller who has not logged in.
pub(crate) fn no_session() -> Error {
    Error::Statement {
        detail: "this connection has no session that could remember it".to_owned(),
        hint: Some("connect with a user name and password, so that the driver logs in".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use catalog::Stores;

    use super::*;
    use crate::query::spool;

    fn caller(id: Option<&str>) -> Caller {
        Caller {
            user: "alice".to_owned(),
            session_id: id.map(str::to_owned),
            tags: Vec::new(),
        }
    }

    fn server(folder: &tempfile::TempDir, seal: &Seal) -> Sessions {
        let spool = Spool::new(&spool::Config::default(), folder.path(), &Stores::new(&[]).unwrap()).unwrap();
        Sessions::new(("lake", "default"), Arc::new(spool), seal.clone())
    }

    #[tokio::test]
    async fn a_login_keeps_what_it_set_and_others_do_not_see_it() {
        let (folder, seal) = (tempfile::tempdir().unwrap(), Seal::random().unwrap());
        let sessions = server(&folder, &seal);
        let mut session = sessions.of(&caller(Some("a"))).await;
        assert_eq!(session, Session::new("alice", "lake", "default"));
        session.namespace = "tpch".to_owned();
        sessions.keep(&caller(Some("a")), session.clone()).await.unwrap();
        assert_eq!(sessions.of(&caller(Some("a"))).await, session);
        assert_eq!(sessions.of(&caller(Some("b"))).await.namespace, "default");
        assert_eq!(sessions.of(&caller(None)).await.namespace, "default");

        let error = sessions.keep(&caller(None), session).await.unwrap_err();
        assert!(error.hint().unwrap().contains("log"), "{error}");
    }

    #[tokio::test]
    async fn every_server_sees_what_another_one_changed() {
        let (folder, seal) = (tempfile::tempdir().unwrap(), Seal::random().unwrap());
        let (here, there) = (server(&folder, &seal), server(&folder, &seal));
        let stranger = server(&folder, &Seal::random().unwrap());
        let alice = caller(Some("a"));
        for (writer, reader, namespace) in [(&here, &there, "one"), (&there, &here, "two"), (&here, &there, "three")] {
            let mut session = writer.of(&alice).await;
            session.namespace = namespace.to_owned();
            writer.keep(&alice, session).await.unwrap();
            for (sessions, expected) in [(reader, namespace), (&stranger, "default")] {
                sessions.look(&alice).await.unwrap();
                assert_eq!(sessions.of(&alice).await.namespace, expected);
            }
        }
        there.close("a").await.unwrap();
        here.look(&alice).await.unwrap();
        assert!(here.expect_open(&alice).await.is_err());
        here.expect_open(&caller(Some("b"))).await.unwrap();
    }

    #[tokio::test]
    async fn a_stored_session_is_nobody_elses() {
        let (folder, seal) = (tempfile::tempdir().unwrap(), Seal::random().unwrap());
        let sessions = server(&folder, &seal);
        let mut session = sessions.fresh("alice");
        session.namespace = "tpch".to_owned();
        sessions.keep(&caller(Some("a")), session).await.unwrap();
        let of = |id: &str| folder.path().join(place(id).to_string());
        std::fs::rename(of("a"), of("b")).unwrap();
        sessions.look(&caller(Some("b"))).await.unwrap();
        assert_eq!(sessions.of(&caller(Some("b"))).await.namespace, "default");
    }
}
