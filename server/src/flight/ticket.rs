//! Handles: what a statement or prepared statement is, in bytes that the client carries. The server keeps nothing
//! between two calls, so any server with the same key can go on. A handle works for its user only.

use bytes::Bytes;
use prost::Message;
use proto::{PreparedStatement, StatementTicket};

use crate::auth::{Caller, Purpose, Seal};
use crate::error::{Error, Result};

/// Makes and opens handles.
pub(super) struct Handles {
    seal: Seal,
}

impl Handles {
    pub(super) fn new(seal: Seal) -> Self {
        Self { seal }
    }

    pub(super) fn seal_statement(&self, ticket: &StatementTicket) -> Bytes {
        self.seal.seal(Purpose::Statement, ticket.encode_to_vec()).into()
    }

    /// Fails with [`Error::Request`] for bytes that are not a statement's handle of this server, and with
    /// [`Error::Forbidden`] for another user's.
    pub(super) fn open_statement(&self, handle: &[u8], caller: &Caller) -> Result<StatementTicket> {
        let payload = self
            .seal
            .open(Purpose::Statement, handle)
            .ok_or_else(|| invalid("ticket"))?;
        let ticket = StatementTicket::decode(payload).map_err(|_| invalid("ticket"))?;
        match ticket.session.as_ref().map(|session| &session.user) {
            Some(user) if *user == caller.user => Ok(ticket),
            _ => Err(Error::Forbidden { what: "ticket" }),
        }
    }

    pub(super) fn seal_prepared(&self, statement: &PreparedStatement) -> Bytes {
        self.seal.seal(Purpose::Prepared, statement.encode_to_vec()).into()
    }

    /// As [`Handles::open_statement`], for a prepared statement's handle.
    pub(super) fn open_prepared(&self, handle: &[u8], caller: &Caller) -> Result<PreparedStatement> {
        let payload = self
            .seal
            .open(Purpose::Prepared, handle)
            .ok_or_else(|| invalid("prepared statement's handle"))?;
        let statement = PreparedStatement::decode(payload).map_err(|_| invalid("prepared statement's handle"))?;
        if statement.user != caller.user {
            return Err(Error::Forbidden {
                what: "prepared statement",
            });
        }
        Ok(statement)
    }
}

fn invalid(what: &str) -> Error {
    Error::request(format!("this {what} is damaged, or another server made it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proto::ErrorKind;

    use super::*;

    fn caller(user: &str) -> Caller {
        Caller {
            user: user.to_owned(),
            session_id: None,
        }
    }

    #[test]
    fn tickets_are_their_users_own() {
        let handles = Handles::new(Seal::random().unwrap());
        let session = Some(proto::Session {
            user: "alice".to_owned(),
            ..proto::Session::default()
        });
        let ticket = StatementTicket {
            sql: "select 1".to_owned(),
            session,
            parameters: vec![1, 2],
        };
        let handle = handles.seal_statement(&ticket);
        assert_eq!(handles.open_statement(&handle, &caller("alice")).unwrap(), ticket);
        let stolen = handles.open_statement(&handle, &caller("bob")).unwrap_err();
        assert_eq!(stolen.kind(), ErrorKind::PermissionDenied);

        let mut flipped = handle.to_vec();
        flipped[3] ^= 1;
        for damaged in [&flipped[..], &handle[..handle.len() - 1], b"", b"not ours"] {
            let error = handles.open_statement(damaged, &caller("alice")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(
            handles.open_prepared(&handle, &caller("alice")).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn prepared_statements_are_their_users_own() {
        let handles = Handles::new(Seal::random().unwrap());
        let statement = PreparedStatement {
            user: "alice".to_owned(),
            ..PreparedStatement::default()
        };
        let handle = handles.seal_prepared(&statement);
        assert_eq!(handles.open_prepared(&handle, &caller("alice")).unwrap(), statement);
        assert_eq!(
            handles.open_prepared(&handle, &caller("bob")).unwrap_err().kind(),
            ErrorKind::PermissionDenied
        );
        assert_eq!(
            handles.open_statement(&handle, &caller("alice")).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}
