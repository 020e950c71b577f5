//! Session options: what SQL reads and writes with SHOW, SET and RESET, as actions. Their messages stand here, since
//! the Flight crate has none. They travel bare, not packed.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

use super::Flight;
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::session::Session;

#[derive(Clone, PartialEq, prost::Message)]
struct OptionValue {
    /// Absent: the option shall have its default again.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(sfixed64, tag = "3")]
    Integer(i64),
    #[prost(double, tag = "4")]
    Number(f64),
    #[prost(message, tag = "5")]
    List(Texts),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

/// `SetSessionOptionsRequest` and `GetSessionOptionsResult`.
#[derive(Clone, PartialEq, prost::Message)]
struct Options {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

/// `SetSessionOptionsResult`.
#[derive(Clone, PartialEq, prost::Message)]
struct Refusals {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, Refusal>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Refusal {
    #[prost(enumeration = "Reason", tag = "1")]
    reason: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum Reason {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

/// `CloseSessionResult`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Closed {
    #[prost(enumeration = "ClosedStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ClosedStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

impl Flight {
    /// Sets what can be set, and says of the rest why it cannot.
    pub(super) async fn set_session_options(&self, caller: &Caller, body: &[u8]) -> Result<Bytes> {
        let request: Options = decode(body, "SetSessionOptionsRequest")?;
        let mut session = self.sessions.of(caller).await;
        let mut errors = HashMap::new();
        let mut options: Vec<_> = request.options.into_iter().collect();
        // A schema is looked up in its catalog, and both may come together.
        options.sort_by_key(|(name, _)| (!name.eq_ignore_ascii_case("catalog"), name.to_lowercase()));
        for (name, value) in options {
            match self.set_option(caller, session.clone(), &name, value).await {
                Ok(changed) => session = changed,
                Err(reason) => {
                    let reason = reason.into();
                    errors.insert(name, Refusal { reason });
                }
            }
        }
        self.sessions.keep(caller, session).await?;
        Ok(Refusals { errors }.encode_to_vec().into())
    }

    async fn set_option(
        &self,
        caller: &Caller,
        session: Session,
        name: &str,
        value: OptionValue,
    ) -> Result<Session, Reason> {
        if !Session::knows(name) {
            return Err(Reason::InvalidName);
        }
        let value = match value.value {
            Some(Value::List(_)) => return Err(Reason::InvalidValue),
            Some(Value::Text(value)) => Some(value),
            Some(Value::Flag(value)) => Some(value.to_string()),
            Some(Value::Integer(value)) => Some(value.to_string()),
            Some(Value::Number(value)) => Some(value.to_string()),
            None => None,
        };
        let fresh = self.sessions.fresh(&caller.user);
        let changed = self.queries.set(session, &fresh, name, value).await;
        changed.map_err(|error| match error.kind() {
            proto::ErrorKind::InvalidInput | proto::ErrorKind::NotFound => Reason::InvalidValue,
            _ => Reason::Error,
        })
    }

    /// Every option with its value: a whole number where it is one, else a text.
    pub(super) async fn session_options(&self, caller: &Caller, body: &[u8]) -> Result<Bytes> {
        let _: Empty = decode(body, "GetSessionOptionsRequest")?;
        let session = self.sessions.of(caller).await;
        let value = |value: &str| OptionValue {
            value: Some(match value.parse() {
                Ok(number) => Value::Integer(number),
                Err(_) => Value::Text(value.to_owned()),
            }),
        };
        let options = session.options().into_iter();
        let options = options.map(|(name, text)| (name.to_owned(), value(text))).collect();
        Ok(Options { options }.encode_to_vec().into())
    }

    /// Forgets the caller's session, drops its temporary tables and ends its queries, also those on other servers; its
    /// token is worth nothing from now on.
    pub(super) async fn close_session(&self, caller: &Caller, body: &[u8]) -> Result<Bytes> {
        let _: Empty = decode(body, "CloseSessionRequest")?;
        let status = match &caller.session_id {
            Some(id) => {
                let ended = self.sessions.known(caller).await;
                self.sessions.close(id).await?;
                self.queries.end_session(id);
                if let Some(session) = ended {
                    self.queries.drop_all_temporary(&session).await;
                }
                ClosedStatus::Closed
            }
            None => ClosedStatus::NotCloseable,
        };
        Ok(Closed { status: status.into() }.encode_to_vec().into())
    }
}

/// A message without fields.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Empty {}

/// A bare message.
pub(super) fn decode<M: Message + Default>(body: &[u8], name: &str) -> Result<M> {
    M::decode(body).map_err(|_| Error::request(format!("the action's body is no {name}")))
}
