//! The properties of namespaces in a REST catalog.

use std::collections::HashMap;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::RestClient;
use crate::error::{Error, Result};

/// What a service answers about one namespace.
#[derive(Deserialize)]
struct Namespace {
    properties: Option<HashMap<String, String>>,
}

impl RestClient {
    /// All of them; [`Error::NotFound`] where there is no such namespace.
    pub(super) async fn properties(&self, namespace: &str) -> Result<HashMap<String, String>> {
        let session = self.session().await?;
        let path = session.namespace_path(namespace);
        let path = path.ok_or_else(|| self.namespace_missing(namespace))?;
        let url = self.url(&format!("{}{path}", session.prefix))?;
        let answer = self.read(&session.client, &url).await?;
        match answer.status {
            _ if answer.is_missing() => Err(self.namespace_missing(namespace)),
            status if status.is_success() => {
                let found: Namespace = answer.parse(&self.catalog)?;
                Ok(found.properties.unwrap_or_default())
            }
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    /// Sets one, or takes it away. Twice the same is as good as once: a lost answer may be asked for again.
    pub(super) async fn set_property(&self, namespace: &str, key: &str, value: Option<&str>) -> Result<()> {
        let path = self.session().await?.namespace_path(namespace);
        let path = path.ok_or_else(|| self.namespace_missing(namespace))?;
        let request = match value {
            Some(value) => json!({"removals": [], "updates": {key: value}}),
            None => json!({"removals": [key], "updates": {}}),
        };
        let answer = self.post(&format!("{path}/properties"), request).await?;
        match answer.status {
            _ if answer.is_missing() => Err(self.namespace_missing(namespace)),
            StatusCode::CONFLICT => Err(Error::Conflict {
                table: format!("{}.{namespace}", self.catalog),
            }),
            status if status.is_success() => Ok(()),
            _ => Err(answer.failure(&self.catalog)),
        }
    }
}
