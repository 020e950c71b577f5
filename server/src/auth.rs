//! Who is calling: turns what a call brings along, its `authorization` header or its connection's certificate, into a
//! [`Caller`]. Knows passwords, tokens and certificates, not what a caller may do.
//!
//! ```text
//! anonymous   nobody is asked, whatever a driver offers
//! basic       Basic user:password, or the bearer token that a login returned
//! required    the same, or a bearer token of the identity provider, or a client certificate
//! ```
//!
//! Every way ends in the same error, UNAUTHENTICATED with a reason, and takes as long whatever was wrong.

mod basic;
mod certificate;
mod config;
mod jwk;
mod jwks;
mod jwt;
mod limit;
pub mod password;
mod seal;
mod token;
mod users;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use catalog::Secret;
use ring::digest;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tracing::Span;
use uuid::Uuid;

use crate::error::{Error, Result};
pub use config::{Algorithm, CertificateUser, Config, JwtConfig, Mode};
use jwt::Jwt;
use limit::Failures;
pub(crate) use seal::{Purpose, Seal};
use token::{Claims, Proof, Tokens};
use users::Users;

/// The user of every call in the anonymous mode.
pub const ANONYMOUS: &str = "anonymous";

/// Who is calling, and in which session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub user: String,
    /// The session that a login opened; absent when the call carries none of our tokens.
    pub session_id: Option<String>,
    /// What the call says of its purpose, such as `app=tableau`: the caller's own word, and no proof of anything.
    pub tags: Vec<String>,
}

/// What a call shows of its caller, taken out of its request. Has no `Debug`: it holds secrets.
struct Evidence {
    credentials: Result<Credentials>,
    address: Option<IpAddr>,
    /// The client's certificate, which TLS has checked.
    certificate: Option<CertificateDer<'static>>,
}

impl Evidence {
    fn of<T>(request: &Request<T>) -> Self {
        let certificates = request.peer_certs();
        Self {
            credentials: Credentials::of(request.metadata()),
            address: request.remote_addr().map(|address| address.ip()),
            certificate: certificates.and_then(|chain| chain.first().cloned()),
        }
    }
}

/// Who there is, as far as this server knows.
#[derive(Clone)]
pub(crate) struct Directory(Option<Arc<Users>>);

impl Directory {
    /// Nobody is known.
    #[cfg(test)]
    pub(crate) fn unknown() -> Self {
        Self(None)
    }

    /// Whether there is surely no user of that name.
    pub(crate) fn lacks(&self, user: &str) -> bool {
        self.0.as_ref().is_some_and(|users| !users.has(user))
    }
}

/// Checks credentials and issues tokens.
pub struct Authenticator {
    mode: Mode,
    users: Option<Arc<Users>>,
    jwt: Option<Jwt>,
    certificate_user: CertificateUser,
    failures: Failures,
    tokens: Tokens,
    seal: Seal,
}

impl Authenticator {
    /// Takes over the users and the signing key; makes up a key where there is none. The configuration is valid.
    pub fn new(config: &Config) -> Result<Self> {
        let seal = match &config.secret {
            Some(secret) => Seal::new(secret.expose().as_bytes()),
            None => Seal::random()?,
        };
        let users = match config.has_passwords() {
            true => Some(Arc::new(Users::new(config)?)),
            false => None,
        };
        let jwt = config
            .jwt
            .as_ref()
            .map(|config| Jwt::new(config, jwks::Ages::default()));
        Ok(Self {
            mode: config.mode,
            users,
            jwt: jwt.transpose()?,
            certificate_user: config.certificate_user,
            failures: Failures::new(),
            tokens: Tokens::new(seal.clone(), config.token_lifetime),
            seal,
        })
    }

    /// Follows changes of the file of users and of the issuer's keys, as long as it is polled.
    pub(crate) fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let users = self.users.clone().map(|users| users.watch(users::RELOAD_INTERVAL));
        let keys = self.jwt.as_ref().map(Jwt::watch);
        async move {
            let users = async { futures::future::OptionFuture::from(users).await };
            let keys = async { futures::future::OptionFuture::from(keys).await };
            tokio::join!(users, keys);
        }
    }

    /// A login: the bearer token that later calls carry. A token of ours comes back with a new lifetime, one of the
    /// identity provider as it came.
    pub(crate) fn log_in<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<String>> + Send + use<'a, T> {
        self.new_token(Evidence::of(request))
    }

    /// Who makes this call.
    pub(crate) fn caller<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Caller>> + Send + use<'a, T> {
        let evidence = Evidence::of(request);
        async move {
            let caller = self.find_caller(evidence).await?;
            Span::current().record("user", &caller.user);
            Ok(caller)
        }
    }

    /// Who there is: only where every user has a password are all of them known.
    pub(crate) fn directory(&self) -> Directory {
        Directory(self.users.clone().filter(|_| self.mode == Mode::Basic))
    }

    /// What makes handles that only this server can have written.
    pub(crate) fn seal(&self) -> Seal {
        self.seal.clone()
    }

    async fn new_token(&self, evidence: Evidence) -> Result<String> {
        let now = SystemTime::now();
        if let Ok(Credentials::Bearer(token)) = &evidence.credentials {
            if let Ok(claims) = self.open(token, now) {
                return Ok(self.tokens.issue(claims, now));
            }
            if self.mode != Mode::Anonymous {
                let token = token.clone();
                return self.find_caller(evidence).await.map(|_| token);
            }
        }
        let claims = self.prove(evidence).await?;
        Ok(self.tokens.issue(claims, now))
    }

    async fn find_caller(&self, evidence: Evidence) -> Result<Caller> {
        let now = SystemTime::now();
        if let Ok(Credentials::Bearer(token)) = &evidence.credentials {
            match (self.open(token, now), &self.jwt) {
                (Ok(claims), _) => {
                    return Ok(Caller {
                        user: claims.user,
                        session_id: Some(claims.session_id),
                        tags: Vec::new(),
                    });
                }
                (Err(_), Some(jwt)) if Jwt::is_one(token) => {
                    return Ok(Caller {
                        user: jwt.verify(token, now).await?,
                        session_id: Some(session_of(token)),
                        tags: Vec::new(),
                    });
                }
                (Err(error), _) if self.mode != Mode::Anonymous => return Err(error),
                _ => {}
            }
        }
        let claims = self.prove(evidence).await?;
        Ok(Caller {
            user: claims.user,
            session_id: None,
            tags: Vec::new(),
        })
    }

    /// Who offers something else than a token, as the token of a new login would say.
    async fn prove(&self, evidence: Evidence) -> Result<Claims> {
        let claims = |user: String, proof: Proof| Claims {
            user,
            session_id: Uuid::now_v7().to_string(),
            proof: proof.into(),
            ..Claims::default()
        };
        if self.mode == Mode::Anonymous {
            return Ok(claims(ANONYMOUS.to_owned(), Proof::Anonymous));
        }
        match (evidence.credentials?, evidence.certificate, &self.users) {
            (Credentials::Basic { user, password }, _, Some(users)) => {
                self.check_password(users, evidence.address, &user, &password).await?;
                let password = users.fingerprint(&user, &self.seal).unwrap_or_default();
                Ok(Claims {
                    password,
                    ..claims(user, Proof::Password)
                })
            }
            (Credentials::None, Some(certificate), _) if self.mode == Mode::Required => {
                let user = certificate::user(&certificate, self.certificate_user)?;
                Ok(claims(user, Proof::Certificate))
            }
            _ => Err(Error::unauthenticated(format!("this server wants {}", self.wanted()))),
        }
    }

    async fn check_password(
        &self,
        users: &Arc<Users>,
        address: Option<IpAddr>,
        user: &str,
        password: &Secret,
    ) -> Result<()> {
        if users.known(user, password).await {
            return Ok(());
        }
        let attempt = self.failures.attempt(address, user).await?;
        match users.check(user, password).await {
            true => attempt.succeeded(),
            false => return Err(Error::unauthenticated("wrong user or password")),
        }
        Ok(())
    }

    /// What one of our tokens says, if what it was issued for still holds: a password that was changed, a user who is
    /// gone or a mode that asks for more ends a login.
    fn open(&self, token: &str, now: SystemTime) -> Result<Claims> {
        let claims = self.tokens.verify(token, now)?;
        let holds = match (claims.proof(), &self.users) {
            (Proof::Anonymous, _) => self.mode == Mode::Anonymous,
            (Proof::Certificate, _) => self.mode == Mode::Required,
            (Proof::Password, Some(users)) => users.is_fingerprint(&claims.user, &self.seal, &claims.password),
            (Proof::Password, None) => false,
        };
        match holds {
            true => Ok(claims),
            false => Err(Error::unauthenticated("the login is no longer valid: log in again")),
        }
    }

    /// What a caller without credentials is asked for.
    fn wanted(&self) -> String {
        let mut ways = Vec::new();
        if self.users.is_some() {
            ways.push("a user and a password");
        }
        if self.jwt.is_some() {
            ways.push("a bearer token");
        }
        if self.mode == Mode::Required {
            ways.push("a client certificate");
        }
        ways.join(" or ")
    }
}

/// One session for each token of the identity provider: whoever has the token has the session.
fn session_of(token: &str) -> String {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the header `authorization` holds. Has no `Debug`: it holds secrets.
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
