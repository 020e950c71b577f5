//! Credentials for the files of a table that a service lends along with the table: "vended credentials" of the Iceberg
//! REST protocol.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use iceberg_catalog_rest::LoadTableResult;
use serde_json::Value;

use super::RestClient;
use crate::config::Secret;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::{Lender, Loan};

/// The header that asks for them, and its value.
pub(super) const HEADER: &str = "X-Iceberg-Access-Delegation";
pub(super) const VENDED: &str = "vended-credentials";
/// Metadata without old snapshots: only the credentials beside it are wanted.
const BRIEF: &str = "?snapshots=refs";

/// Properties of a table that name other folders of its files than its location.
const FOLDERS: [&str; 3] = ["write.data.path", "write.object-storage.path", "write.metadata.path"];

/// The service, asked for one table's credentials again.
#[derive(Debug)]
struct TableLender {
    client: Weak<RestClient>,
    name: TableName,
    id: String,
}

/// The service, asked to stage a table once more in the place where it is staged: it cannot be loaded yet.
#[derive(Debug)]
struct StagingLender {
    client: Weak<RestClient>,
    path: String,
    request: Value,
    id: String,
}

#[async_trait]
impl Lender for TableLender {
    async fn lend(&self) -> Result<Vec<Loan>> {
        let Some(client) = self.client.upgrade() else {
            return Ok(Vec::new());
        };
        let found = client.ask_for(&self.name, BRIEF).await?;
        let found = found.ok_or_else(|| Error::NotFound {
            what: "table",
            name: self.name.to_string(),
            hint: None,
        })?;
        Ok(loans(&found))
    }

    fn id(&self) -> &str {
        &self.id
    }
}

#[async_trait]
impl Lender for StagingLender {
    async fn lend(&self) -> Result<Vec<Loan>> {
        let Some(client) = self.client.upgrade() else {
            return Ok(Vec::new());
        };
        let answer = client.post(&self.path, &self.request).await?;
        match answer.status.is_success() {
            true => Ok(loans(&answer.parse(&client.catalog)?)),
            false => Err(answer.failure(&client.catalog)),
        }
    }

    fn id(&self) -> &str {
        &self.id
    }
}

impl RestClient {
    /// Keeps what the service lent for the files of a table.
    pub(super) fn borrow(&self, name: &TableName, found: &LoadTableResult) -> Result<()> {
        let loans = match self.service.lends {
            true => loans(found),
            false => Vec::new(),
        };
        if loans.is_empty() {
            return Ok(());
        }
        let lender = TableLender {
            client: Weak::clone(&self.me),
            name: name.clone(),
            id: format!("table {name}"),
        };
        self.stores.borrow(loans, Arc::new(lender))
    }

    /// As [`RestClient::borrow`], for the files of a table that is staged: `request`, sent to `path`, staged it.
    pub(super) fn borrow_staged(&self, path: &str, mut request: Value, found: &LoadTableResult) -> Result<()> {
        let loans = match self.service.lends {
            true => loans(found),
            false => Vec::new(),
        };
        if loans.is_empty() {
            return Ok(());
        }
        let location = found.metadata.location();
        request["location"] = Value::from(location);
        let lender = StagingLender {
            client: Weak::clone(&self.me),
            path: path.to_owned(),
            request,
            id: format!("staged {location}"),
        };
        self.stores.borrow(loans, Arc::new(lender))
    }
}

/// What was lent: the protocol's own list, or else the keys among the table's settings, which count for all of its
/// folders.
fn loans(found: &LoadTableResult) -> Vec<Loan> {
    let metadata = &found.metadata;
    let folders = FOLDERS.iter().filter_map(|key| metadata.properties().get(*key));
    let folders: Vec<&str> = std::iter::once(metadata.location())
        .chain(folders.map(String::as_str))
        .filter(|folder| is_s3(folder))
        .collect();
    let of_folders = |keys: &HashMap<String, String>| -> Vec<Loan> {
        let loans = folders.iter();
        loans.filter_map(|folder| loan(folder, keys, &found.config)).collect()
    };
    let listed = found.storage_credentials.iter().flatten();
    let mut loans: Vec<Loan> = listed
        .flat_map(|lent| match is_s3(&lent.prefix) {
            true => loan(&lent.prefix, &lent.config, &found.config).into_iter().collect(),
            // For everything of that kind of store.
            false if matches!(lent.prefix.as_str(), "" | "s3" | "s3a") => of_folders(&lent.config),
            false => Vec::new(),
        })
        .collect();
    if loans.is_empty() {
        loans = of_folders(&found.config);
    }
    loans
}

fn is_s3(location: &str) -> bool {
    ["s3://", "s3a://"].iter().any(|scheme| {
        let rest = location.strip_prefix(scheme);
        rest.is_some_and(|rest| !rest.is_empty())
    })
}

/// The loan for `prefix` of these keys; where they do not say where the store is, the table's settings do.
fn loan(prefix: &str, keys: &HashMap<String, String>, table: &HashMap<String, String>) -> Option<Loan> {
    let place = |name: &str| keys.get(name).or_else(|| table.get(name)).cloned();
    let expires = keys.get("s3.session-token-expires-at-ms");
    let expires = expires.and_then(|text| text.parse().ok()).map(Duration::from_millis);
    Some(Loan {
        prefix: prefix.to_owned(),
        access_key_id: Secret::new(keys.get("s3.access-key-id")?),
        secret_access_key: Secret::new(keys.get("s3.secret-access-key")?),
        session_token: keys.get("s3.session-token").map(Secret::new),
        expires: expires.and_then(|since| UNIX_EPOCH.checked_add(since)),
        endpoint: place("s3.endpoint"),
        region: place("client.region").or_else(|| place("s3.region")),
        path_style: place("s3.path-style-access").map(|text| text.eq_ignore_ascii_case("true")),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(answer: &Value) -> LoadTableResult {
        let mut whole = json!({
            "metadata-location": "s3://b/t/metadata/1.json",
            "metadata": {
                "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": "s3://b/t",
                "last-sequence-number": 0, "last-updated-ms": 0, "last-column-id": 1, "current-schema-id": 0,
                "schemas": [{"type": "struct", "schema-id": 0, "fields": [
                    {"id": 1, "name": "a", "required": false, "type": "int"}]}],
                "default-spec-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}], "last-partition-id": 999,
                "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}],
                "properties": {"write.data.path": "s3://c/data", "write.metadata.path": "file:///x"},
            },
        });
        whole
            .as_object_mut()
            .unwrap()
            .extend(answer.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    fn prefixes(answer: &Value) -> Vec<String> {
        loans(&found(answer)).into_iter().map(|loan| loan.prefix).collect()
    }

    #[test]
    fn keys_among_the_settings_count_for_all_folders() {
        let settings = json!({
            "s3.access-key-id": "id", "s3.secret-access-key": "key", "s3.session-token": "token",
            "s3.session-token-expires-at-ms": "60000", "s3.endpoint": "http://s3", "client.region": "r",
            "s3.path-style-access": "true",
        });
        let lent = loans(&found(&json!({"config": settings})));
        let expected = Loan {
            prefix: "s3://b/t".to_owned(),
            access_key_id: Secret::new("id"),
            secret_access_key: Secret::new("key"),
            session_token: Some(Secret::new("token")),
            expires: UNIX_EPOCH.checked_add(Duration::from_secs(60)),
            endpoint: Some("http://s3".to_owned()),
            region: Some("r".to_owned()),
            path_style: Some(true),
        };
        let elsewhere = Loan {
            prefix: "s3://c/data".to_owned(),
            ..expected.clone()
        };
        assert_eq!(lent, [expected, elsewhere]);
        assert_eq!(prefixes(&json!({})), [""; 0]);
        assert_eq!(prefixes(&json!({"config": {"s3.endpoint": "http://s3"}})), [""; 0]);
    }

    #[test]
    fn the_list_of_credentials_counts_before_the_settings() {
        let keys = |id: &str| json!({"s3.access-key-id": id, "s3.secret-access-key": "key"});
        let lent = |prefix: &str| json!({"prefix": prefix, "config": keys("listed")});
        let answer = json!({"config": keys("setting"), "storage-credentials": [lent("s3://b/t/x"), lent("gs://b")]});
        assert_eq!(prefixes(&answer), ["s3://b/t/x"]);
        let answer = json!({"storage-credentials": [lent("s3")]});
        assert_eq!(prefixes(&answer), ["s3://b/t", "s3://c/data"]);
        let answer = json!({"config": keys("setting"), "storage-credentials": [lent("gs://b")]});
        assert_eq!(prefixes(&answer), ["s3://b/t", "s3://c/data"]);
    }
}
