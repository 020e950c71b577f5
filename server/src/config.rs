//! What the server is told: a TOML file, then `LAKEWING__SECTION__KEY` variables, then flags, checked whole before
//! anything starts.
//!
//! The only file that reads the environment. Settings are plain data: nothing is opened, created or connected here.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog::write::TableFormat;
use catalog::{CatalogConfig, Secret, StorageProfile};
use executor::ExecutorConfig;
use figment::Figment;
use figment::providers::{Format, Serialized, Toml};
use serde::Deserialize;
use url::Url;

use crate::access;
use crate::auth;
use crate::error::{Error, Result};
use crate::query::{QueriesConfig, spool};
use crate::telemetry::metrics;
use crate::tls;

mod complaint;

const PREFIX: &str = "LAKEWING__";

/// Everything a Lakewing process can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where Flight SQL listens; port 0 takes a free one. Default `127.0.0.1:31415`: this machine only.
    pub listen: SocketAddr,
    /// Folder of the embedded lake, used when there are no `catalogs`. Default `./lakewing-data`.
    pub data_dir: PathBuf,
    /// The catalog of table names that name none. Default: `lake` if there is one, else the first by name.
    pub default_catalog: Option<String>,
    /// The namespace of table names that name none. Default `default`.
    pub default_namespace: String,
    /// How long running queries may go on after a stop signal. Default 30 s; higher delays restarts, lower cancels more.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Who may connect.
    pub auth: auth::Config,
    /// Who may do what; without it whoever may connect.
    pub access: access::Config,
    /// Encryption of Flight SQL connections; none by default.
    pub tls: Option<tls::Config>,
    /// Catalogs by SQL name; without any, the embedded lake below `data_dir`.
    pub catalogs: BTreeMap<String, CatalogConfig>,
    /// How object stores are reached.
    pub storage: Vec<StorageProfile>,
    /// Where results are stored that clients poll for.
    pub spool: spool::Config,
    /// Where metrics and probes are served.
    pub metrics: metrics::Config,
    /// Who runs queries when, and what they may use.
    pub queries: QueriesConfig,
    /// Where queries run.
    pub executor: executor::Config,
}

/// Settings of the command line: they win over every other source.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Replaces [`Config::listen`].
    pub listen: Option<SocketAddr>,
    /// Replaces [`Config::data_dir`].
    pub data_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 31415)),
            data_dir: PathBuf::from("./lakewing-data"),
            default_catalog: None,
            default_namespace: "default".to_owned(),
            shutdown_grace: Duration::from_secs(30),
            auth: auth::Config::default(),
            access: access::Config::default(),
            tls: None,
            catalogs: BTreeMap::new(),
            storage: Vec::new(),
            spool: spool::Config::default(),
            metrics: metrics::Config::default(),
            queries: QueriesConfig::default(),
            executor: executor::Config::default(),
        }
    }
}

impl Config {
    /// Reads `file` if there is one, the environment and `flags`, and checks the whole.
    /// Fails with the path of the first key that is wrong and where it was set.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self> {
        let config = Self::read(file, flags)?;
        config.validate()?;
        Ok(config)
    }

    /// As [`Config::load`], for the `lakewing executor` process that listens on `listen`: its own settings, from the
    /// section of executors, and how it reaches storage. Checks only what an executor uses.
    pub fn load_executor(file: Option<&Path>, listen: SocketAddr) -> Result<(ExecutorConfig, Vec<StorageProfile>)> {
        let Self { executor, storage, .. } = Self::read(file, Flags::default())?;
        let lake = catalog::Config {
            catalogs: BTreeMap::new(),
            storage,
        };
        lake.validate()?;
        let process = ExecutorConfig {
            listen,
            memory_bytes_max: executor.memory_bytes_max,
            query_memory_bytes_max: executor.query_memory_bytes_max,
            spill_dir: executor.spill_dir,
            spill_bytes_max: executor.spill_bytes_max,
            connect_timeout: executor.connect_timeout,
            keep_alive: executor.keep_alive,
            tls: executor.tls,
            results: executor.results,
            grace: executor.grace,
        };
        process.validate().map_err(below_executor)?;
        Ok((process, lake.storage))
    }

    /// The configuration of a lake in the folder `dir`, reachable from this machine only.
    pub fn embedded(dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: dir.into(),
            ..Self::default()
        }
    }

    /// Whether the lake is the embedded one below [`Config::data_dir`].
    pub fn is_embedded(&self) -> bool {
        self.catalogs.is_empty()
    }

    /// The catalogs to open and how to reach their storage: those that are configured, or the embedded two,
    /// `lake` (Iceberg, in an SQLite file) and `delta`.
    pub fn lake(&self) -> Result<catalog::Config> {
        let catalogs = if self.is_embedded() {
            embedded_catalogs(&self.data_dir)?
        } else {
            self.catalogs.clone()
        };
        Ok(catalog::Config {
            catalogs,
            storage: self.storage.clone(),
        })
    }

    /// Where names without a catalog look: what is configured, else `lake` if there is one, else the first by name.
    pub fn starting_catalog(&self) -> Result<String> {
        if let Some(name) = &self.default_catalog {
            return Ok(name.clone());
        }
        let catalogs = self.lake()?.catalogs;
        let first = catalogs.get_key_value("lake").or_else(|| catalogs.first_key_value());
        Ok(first.map(|(name, _)| name.clone()).unwrap_or_default())
    }

    /// Checks what single values cannot show: names that refer to each other, and openness to the network.
    pub fn validate(&self) -> Result<()> {
        let lake = self.lake()?;
        lake.validate()?;
        self.executor.validate().map_err(below_executor)?;
        self.auth
            .validate(self.tls.as_ref().is_some_and(|tls| tls.client_authority.is_some()))?;
        let catalogs: Vec<_> = lake.catalogs.keys().collect();
        self.access
            .validate(&catalogs, self.auth.mode == auth::Mode::Anonymous)?;
        self.tls.as_ref().map_or(Ok(()), tls::Config::validate)?;
        self.spool.validate()?;
        self.queries.validate()?;
        if let Some(name) = &self.default_catalog
            && !lake.catalogs.contains_key(name)
        {
            let known = lake.catalogs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let detail = format!("there is no catalog \"{name}\"; the catalogs are {known}");
            return Err(Error::config("default_catalog", detail));
        }
        if self.auth.mode == auth::Mode::Anonymous
            && !self.listen.ip().is_loopback()
            && !self.auth.allow_anonymous_remote
        {
            let detail = format!(
                "everyone who reaches {} could read every table: set auth.mode = \"basic\" and auth.users, or allow it \
                 with auth.allow_anonymous_remote = true",
                self.listen
            );
            return Err(Error::config("auth.mode", detail));
        }
        Ok(())
    }

    fn read(file: Option<&Path>, flags: Flags) -> Result<Self> {
        let text = match file {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| Error::config("--config", format!("cannot read {}: {error}", file.display())))?,
            None => String::new(),
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let source = file.map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
        let mut config = Self::merge(&text, &source, variables, flags)?;
        config.executor.file = file.map(Path::to_owned);
        Ok(config)
    }

    /// Merges the sources, weakest first; `source` names the text in complaints.
    fn merge(text: &str, source: &str, variables: Vec<(String, String)>, flags: Flags) -> Result<Self> {
        let mut figment = Figment::from(Toml::string(text));
        for (name, value) in &variables {
            if let Some(key) = name.strip_prefix(PREFIX) {
                let key = key.to_lowercase().replace("__", ".");
                let Ok(value) = value.parse::<figment::value::Value>();
                figment = figment.merge(Serialized::default(&key, value));
            }
        }
        let mut config: Self = figment
            .extract()
            .map_err(|error| complaint::describe(&error, PREFIX, source, &variables))?;
        config.listen = flags.listen.unwrap_or(config.listen);
        config.data_dir = flags.data_dir.unwrap_or(config.data_dir);
        Ok(config)
    }
}

/// The value of the environment variable `name`, for secrets that must not stand on a command line.
pub fn secret_from_environment(name: &str) -> Result<Secret> {
    #[allow(clippy::disallowed_methods, reason = "this is the file that reads the environment")]
    let value = std::env::var(name);
    value
        .map(Secret::new)
        .map_err(|_| Error::config("--password-env", format!("the environment variable {name} is not set")))
}

fn embedded_catalogs(dir: &Path) -> Result<BTreeMap<String, CatalogConfig>> {
    let folder = |name: &str| folder_url(&dir.join(name));
    let database = folder("catalog.db")?;
    let lake = CatalogConfig::IcebergSql {
        uri: Secret::new(format!("sqlite://{}", database.path().trim_end_matches('/'))),
        name: None,
        warehouse: folder("lake")?,
        default_format: TableFormat::Iceberg,
    };
    let delta = CatalogConfig::Delta { root: folder("delta")? };
    Ok(BTreeMap::from([("lake".to_owned(), lake), ("delta".to_owned(), delta)]))
}

/// Complaints of the executor's room, with the key's path from the top.
/// `error`, whose key is one of the section of executors.
pub(crate) fn below_executor(error: executor::Error) -> Error {
    match error {
        executor::Error::Config { key, detail } => Error::config(format!("executor.{key}"), detail),
        other => other.into(),
    }
}

fn folder_url(path: &Path) -> Result<Url> {
    let url = std::path::absolute(path)
        .ok()
        .and_then(|path| Url::from_directory_path(path).ok());
    url.ok_or_else(|| {
        Error::config(
            "data_dir",
            format!("{} cannot be made an absolute path", path.display()),
        )
    })
}

#[cfg(test)]
mod tests;
