//! The bearer token of a REST catalog: fixed, or issued for client credentials and renewed before it expires.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Client;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tokio::sync::Semaphore;
use url::Url;

use super::http::{self, Answer};
use crate::config::Secret;
use crate::error::{Error, Result};

/// A token is renewed this long before it expires, so that none expires on its way.
const RENEWAL_MARGIN: Duration = Duration::from_secs(30);
/// What a token without a lifetime of its own is trusted for.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// Where tokens come from.
pub(in crate::client) struct Tokens {
    source: Source,
    issued: Mutex<Option<Issued>>,
    /// One renewal at a time: a catalog that many sessions use asks once.
    renewal: Semaphore,
}

enum Source {
    None,
    Fixed(Secret),
    Credential {
        id: String,
        secret: Secret,
        uri: Url,
        scope: String,
    },
}

#[derive(Clone)]
struct Issued {
    header: HeaderValue,
    renew_at: Instant,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    expires_in: Option<u64>,
}

impl Tokens {
    /// Requests go without a token.
    pub(in crate::client) fn none() -> Self {
        Self::of(Source::None)
    }

    /// The same token for every request.
    pub(in crate::client) fn fixed(token: Secret) -> Self {
        Self::of(Source::Fixed(token))
    }

    /// Tokens issued at `uri` for `credential`, which is `id:secret`.
    pub(in crate::client) fn credential(credential: &Secret, uri: Url, scope: String) -> Self {
        let (id, secret) = credential.expose().split_once(':').unwrap_or(("", credential.expose()));
        Self::of(Source::Credential {
            id: id.to_owned(),
            secret: Secret::new(secret),
            uri,
            scope,
        })
    }

    fn of(source: Source) -> Self {
        Self {
            source,
            issued: Mutex::new(None),
            renewal: Semaphore::new(1),
        }
    }

    /// The value of the `Authorization` header; `None` where requests go without.
    pub(super) async fn header(&self, catalog: &str, client: &Client) -> Result<Option<HeaderValue>> {
        let Source::Credential { .. } = &self.source else {
            return self.fixed_header(catalog);
        };
        if let Some(header) = self.current() {
            return Ok(Some(header));
        }
        let _renewing = self.renewal.acquire().await;
        if let Some(header) = self.current() {
            return Ok(Some(header));
        }
        let issued = self.issue(catalog, client).await?;
        let header = issued.header.clone();
        *self.issued.lock().unwrap_or_else(PoisonError::into_inner) = Some(issued);
        Ok(Some(header))
    }

    /// Forgets the token that the service refused. False where asking again can only give the same.
    pub(super) fn renew(&self, refused: Option<&HeaderValue>) -> bool {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if issued.as_ref().is_some_and(|issued| Some(&issued.header) == refused) {
            *issued = None;
        }
        matches!(self.source, Source::Credential { .. })
    }

    fn fixed_header(&self, catalog: &str) -> Result<Option<HeaderValue>> {
        match &self.source {
            Source::Fixed(token) => bearer(catalog, token.expose()).map(Some),
            _ => Ok(None),
        }
    }

    fn current(&self) -> Option<HeaderValue> {
        let issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        issued
            .as_ref()
            .filter(|issued| Instant::now() < issued.renew_at)
            .map(|issued| issued.header.clone())
    }

    async fn issue(&self, catalog: &str, client: &Client) -> Result<Issued> {
        let Source::Credential { id, secret, uri, scope } = &self.source else {
            return Err(protocol(catalog, "it has no credential to issue a token for"));
        };
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret.expose()),
            ("scope", scope),
        ];
        let request = client.post(uri.clone()).form(&form);
        let answer: Answer = http::send(catalog, uri, request).await?;
        if !answer.status.is_success() {
            return Err(match answer.status.as_u16() {
                400 | 401 | 403 => Error::CatalogDenied {
                    catalog: catalog.to_owned(),
                    detail: answer.describe(),
                },
                _ => answer.failure(catalog),
            });
        }
        let token: TokenResponse = answer.parse(catalog)?;
        let lifetime = token.expires_in.map_or(LIFETIME_DEFAULT, Duration::from_secs);
        let renew_at = Instant::now() + lifetime.saturating_sub(RENEWAL_MARGIN).max(lifetime / 2);
        Ok(Issued {
            header: bearer(catalog, &token.access_token)?,
            renew_at,
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::None => "None",
            Source::Fixed(_) => "Fixed(***)",
            Source::Credential { .. } => "Credential(***)",
        })
    }
}

fn bearer(catalog: &str, token: &str) -> Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| protocol(catalog, "its token has characters that no HTTP header can have"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn protocol(catalog: &str, detail: &str) -> Error {
    Error::CatalogProtocol {
        catalog: catalog.to_owned(),
        detail: detail.to_owned(),
    }
}
