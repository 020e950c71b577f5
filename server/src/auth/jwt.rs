//! Tokens of an identity provider (RFC 7519): who signed them, for whom, until when, and which user they name.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::config::{Algorithm, JwtConfig, check_name};
use super::jwks::{Ages, KeyStore};
use crate::error::{Error, Result};

/// Longer tokens are not looked at.
const TOKEN_BYTES_MAX: usize = 32 * 1024;
const USER_BYTES_MAX: usize = 256;

/// Checks tokens of one issuer.
pub(super) struct Jwt {
    config: JwtConfig,
    keys: Arc<KeyStore>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: none is.
    crit: Option<Value>,
}

impl Jwt {
    pub(super) fn new(config: &JwtConfig, ages: Ages) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
            keys: Arc::new(KeyStore::new(config, ages)?),
        })
    }

    /// Whether a bearer token has the form of these; whether it is one, only [`Jwt::verify`] tells.
    pub(super) fn is_one(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// The user whom the token names. Fails with PERMISSION_DENIED for a user who is in none of the wanted groups.
    pub(super) async fn verify(&self, token: &str, now: SystemTime) -> Result<String> {
        let claims = self.signed(token).await?;
        self.check_claims(&claims, now)?;
        let user = match claim(&claims, &self.config.user_claim) {
            Some(Value::String(user)) if user.len() <= USER_BYTES_MAX && check_name(&user.replace(':', "")).is_ok() => {
                user
            }
            _ => {
                return Err(refused(&format!(
                    "names no user in its claim {}",
                    self.config.user_claim
                )));
            }
        };
        let wanted = &self.config.groups;
        if !wanted.is_empty()
            && !self
                .groups(&claims)
                .any(|group| wanted.iter().any(|wanted| wanted == group))
        {
            return Err(Error::Denied {
                detail: format!("the user {user} is in none of the groups that may connect"),
            });
        }
        Ok(user.clone())
    }

    /// Keeps the keys fresh as long as it is polled.
    pub(super) fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.keys).watch()
    }

    /// The claims, once the signature is the issuer's.
    async fn signed(&self, token: &str) -> Result<Map<String, Value>> {
        let malformed = || refused("is malformed");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed());
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (header, payload) = message.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
        let (payload, signature) = (decode(payload)?, decode(signature)?);
        if header.crit.is_some() {
            return Err(refused("needs an extension that is not offered"));
        }
        let algorithm = self.algorithm(&header.alg)?;
        let keys = self.keys.candidates(header.kid.as_deref()).await?;
        if !keys
            .iter()
            .any(|key| key.verify(algorithm, message.as_bytes(), &signature))
        {
            return Err(refused("has a wrong signature"));
        }
        serde_json::from_slice(&payload).map_err(|_| malformed())
    }

    fn algorithm(&self, name: &str) -> Result<Algorithm> {
        let mut allowed = self.config.algorithms.iter().copied();
        let found = allowed.find(|algorithm| format!("{algorithm:?}") == name);
        found.ok_or_else(|| refused("is signed in a way that is not allowed"))
    }

    /// A claim of the wrong type is as wrong as one of the wrong value.
    fn check_claims(&self, claims: &Map<String, Value>, now: SystemTime) -> Result<()> {
        let now_s = now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let skew_s = self.config.clock_skew.as_secs_f64();
        if claims.get("iss").and_then(Value::as_str) != Some(&self.config.issuer) {
            return Err(refused("is of another issuer"));
        }
        let is_audience = |value: &Value| value.as_str() == Some(&self.config.audience);
        let for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_audience),
            Some(audience) => is_audience(audience),
            None => false,
        };
        if !for_us {
            return Err(refused("is for another audience"));
        }
        match claims.get("exp").map(Value::as_f64) {
            Some(Some(expires_s)) if now_s < expires_s + skew_s => {}
            Some(Some(_)) => return Err(refused("has expired")),
            _ => return Err(refused("does not say when it expires")),
        }
        match claims.get("nbf").map(Value::as_f64) {
            None => Ok(()),
            Some(Some(begins_s)) if begins_s <= now_s + skew_s => Ok(()),
            Some(_) => Err(refused("is not valid yet")),
        }
    }

    fn groups<'a>(&self, claims: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        let groups = match claim(claims, &self.config.groups_claim) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(group)) => vec![group.as_str()],
            _ => Vec::new(),
        };
        groups.into_iter()
    }
}

fn refused(detail: &str) -> Error {
    Error::unauthenticated(format!("the token {detail}"))
}

/// The claim with this name, or, where there is none, the member that the name is a path to.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(name) {
        return Some(found);
    }
    let (first, rest) = name.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

#[cfg(test)]
mod tests;
