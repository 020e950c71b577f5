//! The sessions of this process: bounded, and forgotten when nobody uses them. A session that is not here is one in
//! which nothing was SET, so nothing breaks when a call reaches another server than the one before.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use super::Session;
use crate::auth::Caller;
use crate::error::{Error, Result};

/// The least recently used session above this number is forgotten.
const SESSIONS_MAX: u64 = 10_000;
/// A session that no call used for so long is forgotten.
const IDLE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Finds the session of a caller.
pub(crate) struct Sessions {
    catalog: String,
    namespace: String,
    changed: Cache<String, Session>,
    closed: Cache<String, ()>,
}

impl Sessions {
    /// `catalog` and `namespace` are where unqualified names look in a new session.
    pub(crate) fn new(catalog: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            catalog: catalog.into(),
            namespace: namespace.into(),
            changed: Cache::builder()
                .max_capacity(SESSIONS_MAX)
                // The default policy would rather refuse a new session than forget a popular one.
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(IDLE_MAX)
                .build(),
            closed: Cache::builder()
                .max_capacity(SESSIONS_MAX)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    /// A session of `user` in which nothing was SET.
    pub(crate) fn fresh(&self, user: impl Into<String>) -> Session {
        Session::new(user, &self.catalog, &self.namespace)
    }

    /// The caller's session as it is now.
    pub(crate) async fn of(&self, caller: &Caller) -> Session {
        self.known(caller).await.unwrap_or_else(|| self.fresh(&caller.user))
    }

    /// The caller's session, where something was SET in it here.
    pub(crate) async fn known(&self, caller: &Caller) -> Option<Session> {
        self.changed.get(caller.session_id.as_ref()?).await
    }

    /// Ends a session for good.
    pub(crate) async fn close(&self, id: &str) {
        self.changed.invalidate(id).await;
        self.closed.insert(id.to_owned(), ()).await;
    }

    /// Whether the caller's session was closed.
    pub(crate) fn is_closed(&self, caller: &Caller) -> bool {
        let id = caller.session_id.as_ref();
        id.is_some_and(|id| self.closed.contains_key(id))
    }

    /// Keeps `session` for the caller's later calls. Refused for a caller who has not logged in.
    pub(crate) async fn keep(&self, caller: &Caller, session: Session) -> Result<()> {
        let Some(id) = &caller.session_id else {
            return Err(no_session());
        };
        self.changed.insert(id.clone(), session).await;
        Ok(())
    }
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
    use super::*;

    #[tokio::test]
    async fn a_login_keeps_what_it_set_and_others_do_not_see_it() {
        let sessions = Sessions::new("lake", "default");
        let caller = |id: Option<&str>| Caller {
            user: "alice".to_owned(),
            session_id: id.map(str::to_owned),
            tags: Vec::new(),
        };
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
}
