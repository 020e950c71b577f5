//! Handles: what a statement, a prepared statement, a stored result or a poll is, in bytes that the client carries, so
//! that any server with the same key can go on. A handle works for its user only. One that is too large to travel in
//! every call is kept in the spool, and a reference to it travels instead.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use proto::{HandleReference, PollHandle, PreparedStatement, ResultTicket, StatementTicket};
use uuid::Uuid;

use crate::auth::{Caller, Purpose, Seal};
use crate::error::{Error, Result};
use crate::query::Spool;

/// A larger handle does not travel itself.
const BYTES_MAX: usize = 32 * 1024;
/// How long it is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes and opens handles.
pub(super) struct Handles {
    seal: Seal,
}

/// What a ticket stands for.
#[derive(Debug, PartialEq)]
pub(super) enum Redeemable {
    /// A query to run.
    Statement(Box<StatementTicket>),
    /// A part of a stored result.
    Result(ResultTicket),
}

impl Handles {
    pub(super) fn new(seal: Seal) -> Self {
        Self { seal }
    }

    pub(super) async fn seal_statement(&self, ticket: &StatementTicket, spool: &Spool) -> Result<Bytes> {
        let user = ticket.session.as_ref().map(|session| session.user.as_str());
        let sealed = self.seal.seal(Purpose::Statement, ticket.encode_to_vec());
        self.travelling(sealed, user.unwrap_or_default(), spool).await
    }

    /// Fails with [`Error::Request`] for bytes that are not a ticket of this server, and with [`Error::Forbidden`] for
    /// another user's.
    pub(super) async fn open_ticket(&self, handle: &[u8], caller: &Caller, spool: &Spool) -> Result<Redeemable> {
        if let Some(payload) = self.seal.open(Purpose::Result, handle) {
            let ticket = ResultTicket::decode(payload).map_err(|_| invalid("ticket"))?;
            own(&ticket.user, caller, "ticket")?;
            return Ok(Redeemable::Result(ticket));
        }
        let handle = self.arrived(handle, caller, "ticket", spool).await?;
        let payload = self.seal.open(Purpose::Statement, &handle);
        let payload = payload.ok_or_else(|| invalid("ticket"))?;
        let ticket = StatementTicket::decode(payload).map_err(|_| invalid("ticket"))?;
        let user = ticket.session.as_ref().map(|session| session.user.as_str());
        own(user.unwrap_or_default(), caller, "ticket")?;
        Ok(Redeemable::Statement(Box::new(ticket)))
    }

    pub(super) async fn seal_prepared(&self, statement: &PreparedStatement, spool: &Spool) -> Result<Bytes> {
        let sealed = self.seal.seal(Purpose::Prepared, statement.encode_to_vec());
        self.travelling(sealed, &statement.user, spool).await
    }

    /// As [`Handles::open_ticket`], for a prepared statement's handle.
    pub(super) async fn open_prepared(
        &self,
        handle: &[u8],
        caller: &Caller,
        spool: &Spool,
    ) -> Result<PreparedStatement> {
        const WHAT: &str = "prepared statement";
        let handle = self.arrived(handle, caller, WHAT, spool).await?;
        let payload = self.seal.open(Purpose::Prepared, &handle);
        let payload = payload.ok_or_else(|| invalid("prepared statement's handle"))?;
        let statement = PreparedStatement::decode(payload).map_err(|_| invalid("prepared statement's handle"))?;
        own(&statement.user, caller, WHAT)?;
        Ok(statement)
    }

    pub(super) fn seal_result(&self, ticket: &ResultTicket) -> Bytes {
        self.seal.seal(Purpose::Result, ticket.encode_to_vec()).into()
    }

    pub(super) fn seal_poll(&self, handle: &PollHandle) -> Bytes {
        self.seal.seal(Purpose::Poll, handle.encode_to_vec()).into()
    }

    /// As [`Handles::open_ticket`], for what a client polls with.
    pub(super) fn open_poll(&self, handle: &[u8], caller: &Caller) -> Result<PollHandle> {
        const WHAT: &str = "descriptor to poll with";
        let payload = self.seal.open(Purpose::Poll, handle).ok_or_else(|| invalid(WHAT))?;
        let handle = PollHandle::decode(payload).map_err(|_| invalid(WHAT))?;
        own(&handle.user, caller, WHAT)?;
        Ok(handle)
    }

    /// `sealed` itself, or where it is kept.
    async fn travelling(&self, sealed: Vec<u8>, user: &str, spool: &Spool) -> Result<Bytes> {
        if sealed.len() <= BYTES_MAX {
            return Ok(sealed.into());
        }
        let id = Uuid::now_v7();
        spool.keep(id, sealed.into(), KEPT).await?;
        let reference = HandleReference {
            user: user.to_owned(),
            id: id.to_string(),
        };
        Ok(self.seal.seal(Purpose::Reference, reference.encode_to_vec()).into())
    }

    /// The inverse of [`Handles::travelling`].
    async fn arrived(&self, handle: &[u8], caller: &Caller, what: &'static str, spool: &Spool) -> Result<Bytes> {
        let Some(payload) = self.seal.open(Purpose::Reference, handle) else {
            return Ok(Bytes::copy_from_slice(handle));
        };
        let reference = HandleReference::decode(payload).map_err(|_| invalid(what))?;
        own(&reference.user, caller, what)?;
        let id = reference.id.parse().map_err(|_| invalid(what))?;
        match spool.leased(id).await {
            Ok(_) => spool.read_part(id, 0).await,
            Err(Error::Closed { .. }) => Err(Error::Closed { what }),
            Err(error) => Err(error),
        }
    }
}

fn own(user: &str, caller: &Caller, what: &'static str) -> Result<()> {
    match user == caller.user {
        true => Ok(()),
        false => Err(Error::Forbidden { what }),
    }
}

fn invalid(what: &str) -> Error {
    Error::request(format!("this {what} is damaged, or another server made it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use catalog::Stores;
    use proto::ErrorKind;

    use super::*;
    use crate::query::spool;

    fn caller(user: &str) -> Caller {
        Caller {
            user: user.to_owned(),
            session_id: None,
            tags: Vec::new(),
        }
    }

    fn spool(folder: &tempfile::TempDir) -> Spool {
        Spool::new(&spool::Config::default(), folder.path(), &Stores::new(&[]).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn tickets_are_their_users_own() {
        let (folder, handles) = (tempfile::tempdir().unwrap(), Handles::new(Seal::random().unwrap()));
        let spool = spool(&folder);
        let session = Some(proto::Session {
            user: "alice".to_owned(),
            ..proto::Session::default()
        });
        let ticket = StatementTicket {
            sql: "select 1".to_owned(),
            session,
            parameters: vec![1, 2],
            ..StatementTicket::default()
        };
        let handle = handles.seal_statement(&ticket, &spool).await.unwrap();
        let opened = handles.open_ticket(&handle, &caller("alice"), &spool).await.unwrap();
        assert_eq!(opened, Redeemable::Statement(Box::new(ticket)));
        let stolen = handles.open_ticket(&handle, &caller("bob"), &spool).await.unwrap_err();
        assert_eq!(stolen.kind(), ErrorKind::PermissionDenied);

        let mut flipped = handle.to_vec();
        flipped[3] ^= 1;
        for damaged in [&flipped[..], &handle[..handle.len() - 1], b"", b"not ours"] {
            let error = handles
                .open_ticket(damaged, &caller("alice"), &spool)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        let error = handles
            .open_prepared(&handle, &caller("alice"), &spool)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn prepared_statements_are_their_users_own_however_large_they_are() {
        let (folder, handles) = (tempfile::tempdir().unwrap(), Handles::new(Seal::random().unwrap()));
        let spool = spool(&folder);
        for parameters in [0, 100_000] {
            let statement = PreparedStatement {
                user: "alice".to_owned(),
                parameters: vec![7; parameters],
                ..PreparedStatement::default()
            };
            let handle = handles.seal_prepared(&statement, &spool).await.unwrap();
            assert!(handle.len() <= BYTES_MAX);
            let opened = handles.open_prepared(&handle, &caller("alice"), &spool).await;
            assert_eq!(opened.unwrap(), statement);
            let stolen = handles.open_prepared(&handle, &caller("bob"), &spool).await;
            assert_eq!(stolen.unwrap_err().kind(), ErrorKind::PermissionDenied);
            let ticket = handles.open_ticket(&handle, &caller("alice"), &spool).await;
            assert_eq!(ticket.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
