//! What the configuration says about who may connect. Plain data: nothing is opened here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use catalog::Secret;
use serde::Deserialize;
use url::{Host, Url};

use super::password::Password;
use crate::error::{Error, Result};

/// A shorter signing key could be guessed.
const SECRET_BYTES_MIN: usize = 16;

/// How callers prove who they are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `anonymous` (the default) lets everybody in; `basic` asks for a user and password; `required` accepts every
    /// proof that is configured: passwords, tokens of `jwt`, client certificates.
    pub mode: Mode,
    /// By user name the password, or better its hash as `lakewing hash-password` prints it.
    pub users: BTreeMap<String, Secret>,
    /// File of further users, one `name:hash` per line; changes count within seconds. Holds hashes only.
    pub users_file: Option<PathBuf>,
    /// Tokens of an identity provider; for the mode `required`.
    pub jwt: Option<JwtConfig>,
    /// Which name in a client's certificate is the user; default `common-name`.
    pub certificate_user: CertificateUser,
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
    /// Everybody is the user [`super::ANONYMOUS`].
    #[default]
    Anonymous,
    /// User names and passwords.
    Basic,
    /// Whatever is configured: passwords, tokens, certificates.
    Required,
}

/// See [`Config::certificate_user`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateUser {
    /// The subject's common name.
    #[default]
    CommonName,
    /// The alternative name that is a host's.
    DnsName,
    /// The alternative name that is a mail address.
    Email,
    /// The alternative name that is a URI, such as a SPIFFE id.
    Uri,
}

/// Which tokens of an identity provider are believed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// Who must have issued a token, exactly as its claim `iss` says.
    pub issuer: String,
    /// For whom it must have been issued: one of the values of its claim `aud`.
    pub audience: String,
    /// The issuer's public keys: an `https://` URL, a `file://` URL or a path. Default: as the issuer's
    /// `/.well-known/openid-configuration` says.
    pub jwks: Option<String>,
    /// How tokens may be signed; default: every algorithm with a public key.
    #[serde(default = "Algorithm::all")]
    pub algorithms: Vec<Algorithm>,
    /// The claim that names the user; default `sub`. `a.b` is the member b of the claim a.
    #[serde(default = "default_user_claim")]
    pub user_claim: String,
    /// The claim that lists the user's groups; default `groups`.
    #[serde(default = "default_groups_claim")]
    pub groups_claim: String,
    /// When not empty, only members of one of these groups may connect.
    #[serde(default)]
    pub groups: Vec<String>,
    /// How far the clocks of the issuer and the server may differ; default 60 s.
    #[serde(with = "humantime_serde", default = "default_clock_skew")]
    pub clock_skew: Duration,
}

/// A way to sign a token with a private key. Those with a shared key, and `none`, are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "named as RFC 7518 and RFC 8037 name them")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    pub(super) fn all() -> Vec<Self> {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        vec![RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA]
    }
}

fn default_user_claim() -> String {
    "sub".to_owned()
}

fn default_groups_claim() -> String {
    "groups".to_owned()
}

fn default_clock_skew() -> Duration {
    Duration::from_secs(60)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            users: BTreeMap::new(),
            users_file: None,
            jwt: None,
            certificate_user: CertificateUser::default(),
            secret: None,
            token_lifetime: Duration::from_secs(12 * 60 * 60),
            allow_anonymous_remote: false,
        }
    }
}

impl Config {
    /// Checks what the types cannot; `certificates` tells whether clients can show certificates. Does no I/O.
    pub fn validate(&self, certificates: bool) -> Result<()> {
        self.validate_ways(certificates)?;
        for (name, password) in &self.users {
            let key = || format!("auth.users.{name}");
            check_name(name).map_err(|detail| Error::config(key(), detail))?;
            Password::parse(password.expose()).map_err(|detail| Error::config(key(), detail))?;
        }
        if let Some(secret) = &self.secret
            && secret.expose().len() < SECRET_BYTES_MIN
        {
            let detail = format!("must have at least {SECRET_BYTES_MIN} bytes");
            return Err(Error::config("auth.secret", detail));
        }
        if self.token_lifetime.is_zero() {
            return Err(Error::config("auth.token_lifetime", "must be longer than 0 s"));
        }
        self.jwt.as_ref().map_or(Ok(()), JwtConfig::validate)
    }

    /// Whether there are users with passwords.
    pub(super) fn has_passwords(&self) -> bool {
        !self.users.is_empty() || self.users_file.is_some()
    }

    /// That the mode has something to check callers by, and that nothing is configured in vain.
    fn validate_ways(&self, certificates: bool) -> Result<()> {
        match self.mode {
            Mode::Basic if !self.has_passwords() => {
                let detail = "the mode basic needs at least one user here or in auth.users_file";
                Err(Error::config("auth.users", detail))
            }
            Mode::Required if !self.has_passwords() && self.jwt.is_none() && !certificates => {
                let detail = "the mode required needs users, a users_file, [auth.jwt] or tls.client_authority";
                Err(Error::config("auth.mode", detail))
            }
            Mode::Anonymous if self.has_passwords() => {
                let detail = "lets everybody in although there are users: set it to \"basic\" or \"required\"";
                Err(Error::config("auth.mode", detail))
            }
            Mode::Anonymous | Mode::Basic if self.jwt.is_some() => {
                let detail = "has no effect in this mode: set auth.mode = \"required\"";
                Err(Error::config("auth.jwt", detail))
            }
            _ => Ok(()),
        }
    }
}

impl JwtConfig {
    fn validate(&self) -> Result<()> {
        let wrong = |key: &str, detail: &str| Err(Error::config(format!("auth.jwt.{key}"), detail));
        if self.issuer.is_empty() {
            return wrong("issuer", "must not be empty");
        }
        if self.audience.is_empty() {
            return wrong(
                "audience",
                "must not be empty: else tokens for other services would work here",
            );
        }
        if self.algorithms.is_empty() {
            return wrong("algorithms", "must not be empty");
        }
        if self.user_claim.is_empty() {
            return wrong("user_claim", "must not be empty");
        }
        match &self.jwks {
            None if !is_private(&self.issuer) => wrong("jwks", "is needed, since the issuer is no https:// URL"),
            Some(jwks) if jwks.starts_with("http://") && !is_private(jwks) => wrong(
                "jwks",
                "must be https://: keys that travel openly can be replaced on their way",
            ),
            _ => Ok(()),
        }
    }
}

/// Whether what is fetched from `url` cannot be changed on its way: it is encrypted, or stays on this machine.
fn is_private(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && here
}

/// What is wrong with a user's name: a colon ends it in the headers of logins and in files of users.
pub(super) fn check_name(name: &str) -> std::result::Result<(), &'static str> {
    match name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
        true => Err("a user's name is not empty and has no colon"),
        false => Ok(()),
    }
}
