//! The server's own bearer tokens: signed, they expire, and every server with the same key can check them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;

use super::{Purpose, Seal};
use crate::error::{Error, Result};

/// What a token says. Opaque to clients, so its form may change with any version.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Claims {
    #[prost(string, tag = "1")]
    pub(super) user: String,
    #[prost(string, tag = "2")]
    pub(super) session_id: String,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    pub(super) expires_s: u64,
    #[prost(enumeration = "Proof", tag = "4")]
    pub(super) proof: i32,
    /// Of the password that was given, so that the login ends with it.
    #[prost(bytes = "vec", tag = "5")]
    pub(super) password: Vec<u8>,
}

/// How the user of a token proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Proof {
    /// Not at all: the server asks nobody.
    Anonymous = 0,
    Password = 1,
    Certificate = 2,
}

/// Issues and checks tokens.
pub(super) struct Tokens {
    seal: Seal,
    lifetime: Duration,
}

impl Tokens {
    pub(super) fn new(seal: Seal, lifetime: Duration) -> Self {
        Self { seal, lifetime }
    }

    /// A token that says what `claims` say, for its whole lifetime from `now` on.
    pub(super) fn issue(&self, claims: Claims, now: SystemTime) -> String {
        let expires_s = seconds(now).saturating_add(self.lifetime.as_secs());
        let claims = Claims { expires_s, ..claims };
        URL_SAFE_NO_PAD.encode(self.seal.seal(Purpose::Token, claims.encode_to_vec()))
    }

    pub(super) fn verify(&self, token: &str, now: SystemTime) -> Result<Claims> {
        let invalid = || Error::unauthenticated("the token is not valid");
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let payload = self.seal.open(Purpose::Token, &sealed).ok_or_else(invalid)?;
        let claims = Claims::decode(payload).map_err(|_| invalid())?;
        if claims.expires_s <= seconds(now) {
            return Err(Error::unauthenticated("the login has expired: log in again"));
        }
        Ok(claims)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
