//! Which catalogs there are and how their storage is reached: plain data, checked whole by [`Config::validate`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::error::{Error, Result};
use crate::write::TableFormat;

/// All catalogs by the name they have in SQL, and the storage their tables lie on.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Catalogs by SQL name: the first part of `catalog.namespace.table`.
    pub catalogs: BTreeMap<String, CatalogConfig>,
    /// How object stores are reached; the profile with the longest matching prefix is used.
    pub storage: Vec<StorageProfile>,
}

/// One catalog.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", deny_unknown_fields, rename_all = "kebab-case")]
pub enum CatalogConfig {
    /// An Iceberg REST catalog.
    IcebergRest {
        /// The service's base URL, without `/v1`.
        uri: Url,
        /// The warehouse to ask the service for, where it serves several.
        warehouse: Option<String>,
        /// OAuth2 client credentials as `id:secret`.
        credential: Option<Secret>,
        /// A bearer token; used when there is no `credential`.
        token: Option<Secret>,
        /// Where tokens are issued; default `{uri}/v1/oauth/tokens`.
        oauth2_server_uri: Option<Url>,
        /// The OAuth2 scope asked for; default `catalog`.
        scope: Option<String>,
        /// Asks the service to lend credentials for the files of its tables; default true. What it lends is used for those
        /// files instead of their storage profile's own.
        #[serde(default = "yes")]
        vended_credentials: bool,
    },
    /// An Iceberg catalog in a SQL database, in the table layout that PyIceberg and Java share.
    IcebergSql {
        /// `sqlite:///absolute/path.db` or `postgresql://user:password@host/database`.
        uri: Secret,
        /// The value of the `catalog_name` column; default: the catalog's SQL name.
        name: Option<String>,
        /// Below this folder new tables are created.
        warehouse: Url,
        /// What new tables are that do not say USING: `iceberg` or `delta`; default `iceberg`. Only Lakewing sees the
        /// Delta tables of such a catalog: other engines read them by their location.
        #[serde(default)]
        default_format: TableFormat,
    },
    /// Delta tables in folders: `<root>/<namespace>/<table>/_delta_log`.
    Delta {
        /// The folder that holds one folder per namespace.
        root: Url,
    },
}

/// How the objects below one prefix are reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageProfile {
    /// `s3://bucket`, `s3://bucket/folder` or `file:///folder`.
    pub prefix: String,
    /// The S3 service's URL; default: the cloud provider's own for the region.
    pub endpoint: Option<String>,
    /// Default: that of the environment where its credentials are used, else `us-east-1`.
    pub region: Option<String>,
    /// Static access key; without it, the environment's own credentials are used.
    pub access_key_id: Option<Secret>,
    /// The secret that belongs to `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
    /// Allows an `http://` endpoint.
    #[serde(default)]
    pub allow_http: bool,
    /// `http://endpoint/bucket/key` instead of `http://bucket.endpoint/key`; default true where `endpoint` is set.
    pub path_style: Option<bool>,
    /// Sends unsigned requests, for public buckets.
    #[serde(default)]
    pub anonymous: bool,
    /// How long a connection may take; default 5 s. Higher hides dead stores, lower fails on slow networks.
    #[serde(with = "humantime_serde", default = "connect_timeout")]
    pub connect_timeout: Duration,
    /// How long one request may take; default 60 s.
    #[serde(with = "humantime_serde", default = "request_timeout")]
    pub request_timeout: Duration,
    /// How often a failed request is repeated; default 3. Every repetition waits longer, up to `request_timeout`.
    #[serde(default = "retries_max")]
    pub retries_max: usize,
}

/// A text that `Debug` never shows.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; not for logs, errors or plans.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Config {
    /// Checks what the types cannot: names, URL schemes and combinations. Does no I/O.
    pub fn validate(&self) -> Result<()> {
        for (name, catalog) in &self.catalogs {
            let key = format!("catalogs.{name}");
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                return invalid(key, "a catalog's name has letters, digits, _ and - only");
            }
            catalog.validate(&key)?;
        }
        for (index, profile) in self.storage.iter().enumerate() {
            profile.validate(&format!("storage.{index}"))?;
        }
        Ok(())
    }
}

impl CatalogConfig {
    fn validate(&self, key: &str) -> Result<()> {
        match self {
            CatalogConfig::IcebergRest { uri, credential, .. } => {
                if !matches!(uri.scheme(), "http" | "https") {
                    return invalid(format!("{key}.uri"), "the scheme must be http or https");
                }
                if credential.as_ref().is_some_and(|c| !c.expose().contains(':')) {
                    return invalid(format!("{key}.credential"), "must have the form id:secret");
                }
                Ok(())
            }
            CatalogConfig::IcebergSql { uri, warehouse, .. } => {
                let uri = uri.expose();
                if !["sqlite:", "postgres://", "postgresql://"]
                    .iter()
                    .any(|s| uri.starts_with(s))
                {
                    return invalid(format!("{key}.uri"), "must begin with sqlite: or postgresql://");
                }
                validate_location(&format!("{key}.warehouse"), warehouse)
            }
            CatalogConfig::Delta { root } => validate_location(&format!("{key}.root"), root),
        }
    }
}

impl StorageProfile {
    /// A profile with every default, for objects below `prefix`.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            allow_http: false,
            path_style: None,
            anonymous: false,
            connect_timeout: connect_timeout(),
            request_timeout: request_timeout(),
            retries_max: retries_max(),
        }
    }

    fn validate(&self, key: &str) -> Result<()> {
        match Url::parse(&self.prefix) {
            Ok(url) => validate_location(&format!("{key}.prefix"), &url)?,
            Err(error) => return invalid(format!("{key}.prefix"), format!("is no URL: {error}")),
        }
        if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            return invalid(key, "access_key_id and secret_access_key go together");
        }
        if self.endpoint.as_ref().is_some_and(|e| e.starts_with("http://")) && !self.allow_http {
            return invalid(
                format!("{key}.endpoint"),
                "is not encrypted: set allow_http = true to allow it",
            );
        }
        Ok(())
    }
}

fn validate_location(key: &str, url: &Url) -> Result<()> {
    if !matches!(url.scheme(), "s3" | "s3a" | "file") {
        return invalid(key, format!("the scheme must be s3, s3a or file, not {}", url.scheme()));
    }
    Ok(())
}

fn invalid(key: impl Into<String>, detail: impl Into<String>) -> Result<()> {
    Err(Error::Config {
        key: key.into(),
        detail: detail.into(),
    })
}

fn yes() -> bool {
    true
}

fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn request_timeout() -> Duration {
    Duration::from_secs(60)
}

fn retries_max() -> usize {
    3
}
