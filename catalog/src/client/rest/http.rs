//! One HTTP exchange with a REST catalog: bounded in time and size, its failures in words.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::error::{Error, Result, innermost};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Metadata of large tables takes a service a while.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Metadata of a table of a hundred thousand snapshots stays below it.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How much of a service's own words is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// What a service answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The request's URL, for messages.
    url: String,
    body: Bytes,
}

/// A client of any HTTP service.
pub(super) fn client() -> reqwest::Result<Client> {
    let agent = concat!("lakewing/", env!("CARGO_PKG_VERSION"));
    Client::builder()
        .user_agent(agent)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .build()
}

/// Sends one request and reads the whole answer, whatever its status.
pub(super) async fn send(catalog: &str, url: &Url, request: RequestBuilder) -> Result<Answer> {
    let url = displayed(url);
    let unavailable = |error: reqwest::Error| {
        let reason = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            innermost(&error.without_url())
        };
        Error::CatalogUnavailable {
            catalog: catalog.to_owned(),
            detail: format!("{url}: {reason}"),
            source: None,
        }
    };
    let mut response = request.send().await.map_err(unavailable)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            let detail = format!("{url}: the answer has more than {ANSWER_BYTES_MAX} bytes");
            return Err(Error::CatalogProtocol {
                catalog: catalog.to_owned(),
                detail,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status: response.status(),
        url,
        body: body.freeze(),
    })
}

impl Answer {
    /// True where the service itself says that what was asked for does not exist; a wrong address says it otherwise.
    pub(super) fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.message().is_some()
    }

    /// True for failures that may pass: overload, restarts, proxies.
    pub(super) fn is_transient(&self) -> bool {
        self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED
            || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    /// The body as the protocol's type.
    pub(super) fn parse<T: DeserializeOwned>(&self, catalog: &str) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let detail = format!("{}: the answer is not what the protocol says: {error}", self.url);
            Error::CatalogProtocol {
                catalog: catalog.to_owned(),
                detail,
            }
        })
    }

    /// The error that this answer means.
    pub(super) fn failure(&self, catalog: &str) -> Error {
        let (catalog, detail) = (catalog.to_owned(), self.describe());
        match self.status.as_u16() {
            // 419 is the protocol's own code for a token that has expired.
            401 | 403 | 419 => Error::CatalogDenied { catalog, detail },
            _ if self.is_transient() => Error::CatalogUnavailable {
                catalog,
                detail,
                source: None,
            },
            _ => Error::CatalogProtocol { catalog, detail },
        }
    }

    /// Who answered, with which status, and in which words.
    pub(super) fn describe(&self) -> String {
        let answered = format!("{} answered {}", self.url, self.status);
        match self.message() {
            Some(message) => format!("{answered}: {message}"),
            None => answered,
        }
    }

    /// The message in the protocol's error body, or in OAuth2's.
    fn message(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let message = [&body["error"]["message"], &body["error_description"], &body["error"]];
        let message = message.into_iter().find_map(Value::as_str)?;
        Some(message.chars().take(MESSAGE_CHARS_MAX).collect())
    }
}

/// A URL without what it may hold of credentials.
fn displayed(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer {
            status,
            url: "http://catalog/v1".to_owned(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn failures_repeat_the_services_words() {
        let check = |status, body, expect: &str| assert_eq!(answer(status, body).failure("c").to_string(), expect);
        check(
            400,
            r#"{"error":{"message":"no such type","type":"BadRequestException","code":400}}"#,
            r#"catalog "c": http://catalog/v1 answered 400 Bad Request: no such type"#,
        );
        check(
            401,
            r#"{"error":"invalid_client","error_description":"unknown id"}"#,
            concat!(
                r#"catalog "c" refuses the configured credentials: "#,
                "http://catalog/v1 answered 401 Unauthorized: unknown id"
            ),
        );
        check(
            502,
            "<html>",
            r#"catalog "c" does not answer: http://catalog/v1 answered 502 Bad Gateway"#,
        );
    }

    #[test]
    fn only_the_services_own_404_means_missing() {
        assert!(
            answer(
                404,
                r#"{"error":{"message":"gone","type":"NoSuchTableException","code":404}}"#
            )
            .is_missing()
        );
        assert!(!answer(404, "<html>not found</html>").is_missing());
    }

    #[test]
    fn messages_do_not_show_credentials() {
        let url = Url::parse("https://user:secret@catalog:8181/v1/config?token=secret").unwrap();
        assert_eq!(displayed(&url), "https://catalog:8181/v1/config");
    }
}
