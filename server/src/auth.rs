//! Who is calling: turns the `authorization` header of a call into a [`Caller`]. Knows passwords and the server's own
//! bearer tokens, not what a caller may do, and no protocol beyond that one header.
//!
//! In the anonymous mode every call is the user `anonymous` and no password is ever looked at, whatever a client
//! offers: drivers that insist on credentials work, and a login still opens a session. In the basic mode every call
//! carries `Basic` credentials or a bearer token that an earlier login returned.

mod basic;
mod seal;
mod token;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use catalog::Secret;
use serde::Deserialize;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::error::{Error, Result};
use basic::Passwords;
pub(crate) use seal::{Purpose, Seal};
use token::{Claims, Tokens};

/// The user of every call in the anonymous mode.
pub const ANONYMOUS: &str = "anonymous";

/// A shorter signing key could be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// How callers prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `anonymous` (the default) lets everybody in; `basic` asks for a user and password of `users`.
    pub mode: Mode,
    /// Passwords by user name, for the mode `basic`.
    pub users: BTreeMap<String, Secret>,
    /// Signs tokens and handles, at least 16 bytes. Servers behind one address need the same one. Default: random, so
    /// that a restart ends all logins and prepared statements.
    pub secret: Option<Secret>,
    /// How long a login lasts; default 12 hours. Longer keeps a stolen token useful, shorter makes clients log in
    /// again.
    #[serde(with = "humantime_serde")]
    pub token_lifetime: Duration,
    /// Allows the mode `anonymous` on an address that other machines can reach; default false.
    pub allow_anonymous_remote: bool,
}

/// See [`Config::mode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Everybody is the user [`ANONYMOUS`].
    #[default]
    Anonymous,
    /// User names and passwords.
    Basic,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            users: BTreeMap::new(),
            secret: None,
            token_lifetime: Duration::from_secs(12 * 60 * 60),
            allow_anonymous_remote: false,
        }
    }
}

impl Config {
    /// Checks what the types cannot. Does no I/O.
    pub fn validate(&self) -> Result<()> {
        if self.mode == Mode::Basic && self.users.is_empty() {
            return Err(Error::config("auth.users", "the mode basic needs at least one user"));
        }
        if let Some((name, _)) = self
            .users
            .iter()
            .find(|(name, _)| name.is_empty() || name.contains(':'))
        {
            return Err(Error::config(
                format!("auth.users.{name}"),
                "a user's name is not empty and has no colon",
            ));
        }
        if self
            .secret
            .as_ref()
            .is_some_and(|secret| secret.expose().len() < SECRET_BYTES_MIN)
        {
            return Err(Error::config(
                "auth.secret",
                format!("must have at least {SECRET_BYTES_MIN} bytes"),
            ));
        }
        if self.token_lifetime.is_zero() {
            return Err(Error::config("auth.token_lifetime", "must be longer than 0 s"));
        }
        Ok(())
    }
}

/// Who is calling, and in which session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub user: String,
    /// The session that a login opened; absent when the call carries none of our tokens.
    pub session_id: Option<String>,
}

/// Checks credentials and issues tokens.
pub struct Authenticator {
    mode: Mode,
    passwords: Passwords,
    tokens: Tokens,
    seal: Seal,
}

impl Authenticator {
    /// Takes over the users and the signing key; makes up a key where there is none.
    pub fn new(config: &Config) -> Result<Self> {
        config.validate()?;
        let seal = match &config.secret {
            Some(secret) => Seal::new(secret.expose().as_bytes()),
            None => Seal::random()?,
        };
        Ok(Self {
            mode: config.mode,
            passwords: Passwords::new(&config.users)?,
            tokens: Tokens::new(seal.clone(), config.token_lifetime),
            seal,
        })
    }

    /// A login: the bearer token that later calls carry. A valid token is returned as it came.
    pub(crate) fn log_in(&self, headers: &MetadataMap) -> Result<String> {
        let offered = Credentials::of(headers)?;
        if let Credentials::Bearer(token) = &offered
            && self.tokens.verify(token, SystemTime::now()).is_ok()
        {
            return Ok(token.clone());
        }
        let user = self.user(&offered)?;
        let session_id = Uuid::now_v7().to_string();
        Ok(self.tokens.issue(&user, &session_id, SystemTime::now()))
    }

    /// Who makes this call.
    pub(crate) fn caller(&self, headers: &MetadataMap) -> Result<Caller> {
        let offered = Credentials::of(headers)?;
        if let Credentials::Bearer(token) = &offered {
            match self.tokens.verify(token, SystemTime::now()) {
                Ok(Claims { user, session_id, .. }) => {
                    return Ok(Caller {
                        user,
                        session_id: Some(session_id),
                    });
                }
                Err(error) if self.mode == Mode::Basic => return Err(error),
                Err(_) => {}
            }
        }
        Ok(Caller {
            user: self.user(&offered)?,
            session_id: None,
        })
    }

    /// What makes handles that only this server can have written.
    pub(crate) fn seal(&self) -> Seal {
        self.seal.clone()
    }

    fn user(&self, offered: &Credentials) -> Result<String> {
        match (self.mode, offered) {
            (Mode::Anonymous, _) => Ok(ANONYMOUS.to_owned()),
            (Mode::Basic, Credentials::Basic { user, password }) => {
                self.passwords.check(user, password)?;
                Ok(user.clone())
            }
            (Mode::Basic, Credentials::Bearer(_)) => Err(Error::unauthenticated("the token is not valid")),
            (Mode::Basic, Credentials::None) => Err(Error::unauthenticated("this server wants a user and a password")),
        }
    }
}

/// What a call offers. Has no `Debug`: it holds secrets.
enum Credentials {
    None,
    Basic { user: String, password: Secret },
    Bearer(String),
}

impl Credentials {
    fn of(headers: &MetadataMap) -> Result<Self> {
        let Some(value) = headers.get("authorization") else {
            return Ok(Credentials::None);
        };
        let malformed = || Error::unauthenticated("the authorization header is malformed");
        let value = value.to_str().map_err(|_| malformed())?;
        let (scheme, rest) = value.split_once(' ').ok_or_else(malformed)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Credentials::Bearer(rest.trim().to_owned()));
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let (user, password) = basic::decode(rest.trim()).ok_or_else(malformed)?;
            return Ok(Credentials::Basic { user, password });
        }
        Err(Error::unauthenticated(
            "the authorization header is neither Basic nor Bearer",
        ))
    }
}

#[cfg(test)]
mod tests;
