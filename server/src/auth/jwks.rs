//! The current keys of an identity provider: fetched when they are first needed, again from time to time, and at once
//! when a token names a key that is not among them, since that is what a rotation looks like.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;
use tracing::{debug, warn};
use url::Url;

use super::config::JwtConfig;
use super::jwk::{self, Key};
use crate::error::{Error, Result};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// How old keys become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    /// Then they are fetched again, as long as somebody watches.
    pub(super) refresh: Duration,
    /// Then they are believed no more: the provider may have withdrawn them.
    pub(super) max: Duration,
    /// Between two attempts, so that tokens with made-up keys do not become requests to the provider.
    pub(super) between: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(5 * 60),
            max: Duration::from_secs(24 * 60 * 60),
            between: Duration::from_secs(5),
        }
    }
}

/// Where the keys are.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Keys(Url),
    /// The document that says where they are, and the issuer it must name.
    Discovery {
        document: Url,
        issuer: String,
    },
}

/// The member of the provider's description that is needed (OpenID Connect Discovery, section 3).
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

#[derive(Clone)]
struct Fetched {
    keys: Arc<[Key]>,
    at: Instant,
}

/// The keys of one provider.
pub(super) struct KeyStore {
    source: Source,
    http: Option<reqwest::Client>,
    ages: Ages,
    current: RwLock<Option<Fetched>>,
    /// When the last attempt began and whether it worked. Held while fetching, so that one attempt serves all who wait.
    attempt: Mutex<Option<(Instant, bool)>>,
}

impl KeyStore {
    pub(super) fn new(config: &JwtConfig, ages: Ages) -> Result<Self> {
        let source = Source::of(config)?;
        let http = match source {
            Source::File(_) => None,
            Source::Keys(_) | Source::Discovery { .. } => Some(client()?),
        };
        Ok(Self {
            source,
            http,
            ages,
            current: RwLock::default(),
            attempt: Mutex::default(),
        })
    }

    /// The keys that a token may be signed with which names the key `id`, or none. Never empty.
    pub(super) async fn candidates(&self, id: Option<&str>) -> Result<Vec<Key>> {
        if let Some(keys) = self.matching(id) {
            return Ok(keys);
        }
        let fetched = self.fetch().await;
        self.matching(id).ok_or_else(|| {
            Error::unauthenticated(match fetched {
                true => "the token is signed with a key that its issuer does not list",
                // Why, is for the log: a stranger need not know where the keys are.
                false => "the token cannot be checked now: the server cannot read its issuer's keys",
            })
        })
    }

    /// Fetches the keys whenever they are old, as long as it is polled.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            self.fetch().await;
            tokio::time::sleep(self.ages.refresh).await;
        }
    }

    fn matching(&self, id: Option<&str>) -> Option<Vec<Key>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        if current.at.elapsed() > self.ages.max {
            return None;
        }
        let fits = |key: &&Key| id.is_none() || key.id.as_deref() == id || key.id.is_none();
        let keys: Vec<_> = current.keys.iter().filter(fits).cloned().collect();
        (!keys.is_empty()).then_some(keys)
    }

    /// Fetches the keys, unless that was tried a moment ago. Whether the last attempt worked.
    async fn fetch(&self) -> bool {
        let mut attempt = self.attempt.lock().await;
        if let Some((began, worked)) = *attempt
            && began.elapsed() < self.ages.between
        {
            return worked;
        }
        let began = Instant::now();
        let worked = match self.read().await {
            Ok(keys) => {
                debug!(keys = keys.len(), "the keys that sign tokens were read");
                let fetched = Fetched {
                    keys: keys.into(),
                    at: began,
                };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(fetched);
                true
            }
            Err(reason) => {
                warn!(%reason, "the keys that sign tokens cannot be read");
                false
            }
        };
        *attempt = Some((began, worked));
        worked
    }

    async fn read(&self) -> std::result::Result<Vec<Key>, String> {
        let (place, document) = match &self.source {
            Source::File(file) => {
                let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
                if tokio::fs::metadata(file).await.map_err(unreadable)?.len() > DOCUMENT_BYTES_MAX as u64 {
                    return Err(format!("{} is too large", file.display()));
                }
                (
                    file.display().to_string(),
                    tokio::fs::read(file).await.map_err(unreadable)?,
                )
            }
            Source::Keys(url) => (url.to_string(), self.get(url).await?),
            Source::Discovery { document, issuer } => {
                let url = self.discover(document, issuer).await?;
                (url.to_string(), self.get(&url).await?)
            }
        };
        jwk::parse(&document).map_err(|detail| format!("{place} {detail}"))
    }

    async fn discover(&self, document: &Url, issuer: &str) -> std::result::Result<Url, String> {
        let found: Description = serde_json::from_slice(&self.get(document).await?)
            .map_err(|error| format!("{document} does not describe a provider: {error}"))?;
        if found.issuer != issuer {
            return Err(format!("{document} describes another issuer, {}", found.issuer));
        }
        let url = Url::parse(&found.jwks_uri)
            .ok()
            .filter(|url| url.scheme() == "https" || url.host() == document.host());
        url.ok_or_else(|| format!("{document} names no https:// URL of keys"))
    }

    async fn get(&self, url: &Url) -> std::result::Result<Vec<u8>, String> {
        let Some(http) = &self.http else {
            return Err(format!("{url} cannot be fetched"));
        };
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            format!("{url}: {cause}")
        };
        let mut response = http.get(url.clone()).send().await.map_err(failed)?;
        if !response.status().is_success() {
            return Err(format!("{url} answers {}", response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            document.extend_from_slice(&chunk);
            if document.len() > DOCUMENT_BYTES_MAX {
                return Err(format!("{url} answers more than {DOCUMENT_BYTES_MAX} bytes"));
            }
        }
        Ok(document)
    }
}

impl Source {
    fn of(config: &JwtConfig) -> Result<Self> {
        let wrong = |detail: &str| Error::config("auth.jwt.jwks", detail);
        let Some(place) = &config.jwks else {
            let document = format!(
                "{}/.well-known/openid-configuration",
                config.issuer.trim_end_matches('/')
            );
            let document = Url::parse(&document).map_err(|_| wrong("is needed, since the issuer is no URL"))?;
            let issuer = config.issuer.clone();
            return Ok(Source::Discovery { document, issuer });
        };
        if !place.contains("://") {
            return Ok(Source::File(PathBuf::from(place)));
        }
        let url = Url::parse(place).map_err(|_| wrong("must be a URL or a path"))?;
        match url.scheme() {
            "http" | "https" => Ok(Source::Keys(url)),
            "file" => url
                .to_file_path()
                .map(Source::File)
                .map_err(|()| wrong("must name a file")),
            _ => Err(wrong("must be an https:// or file:// URL or a path")),
        }
    }
}

/// Follows no redirects: keys come from where the configuration says.
fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Error::config("auth.jwt.jwks", format!("cannot be fetched: {error}")))
}
