//! One catalog service: what it lists, where its tables lie, and how a new table becomes visible.
//!
//! A client knows its service's protocol. It does not read tables: it says where they are.

mod folder;
mod rest;
mod sql;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use percent_encoding::percent_decode_str;
use url::Url;

use self::folder::FolderClient;
use self::rest::token::Tokens;
use self::rest::{RestClient, Service};
use self::sql::{Database, NewTables, SqlClient};
use crate::config::CatalogConfig;
use crate::delta::DeltaSnapshot;
use crate::delta::commit::create::NewLog;
use crate::error::{Error, Result};
use crate::iceberg::commit::{Replacement, TableCommit};
use crate::name::TableName;
use crate::stores::Stores;
use crate::view::{LakeView, NewView};
use crate::write::target::WriteTarget;
use crate::write::{NewTable, TableFormat, WrittenFile};

/// One catalog service. Names are compared exactly; a nested namespace is one text joined by dots.
#[async_trait]
pub trait CatalogClient: fmt::Debug + Send + Sync {
    /// The namespaces, sorted.
    async fn list_namespaces(&self) -> Result<Vec<String>>;

    /// The tables of a namespace, sorted. A namespace that does not exist is [`Error::NotFound`], or has no tables
    /// where the service cannot tell the difference.
    async fn list_tables(&self, namespace: &str) -> Result<Vec<String>>;

    /// Where a table lies now, or the view of that name; `None` where neither exists.
    async fn load(&self, name: &TableName) -> Result<Option<TableLocation>>;

    /// Creates a namespace; [`Error::AlreadyExists`] where the service can tell that there is one. A service that keeps
    /// no properties of namespaces refuses them.
    async fn create_namespace(&self, namespace: &str, properties: &[(String, String)]) -> Result<()>;

    /// The properties of a namespace; none in a service that keeps none.
    async fn namespace_properties(&self, _namespace: &str) -> Result<HashMap<String, String>> {
        Ok(HashMap::new())
    }

    /// Sets one property of a namespace, or takes it away, and leaves the others as they are: of two calls about the
    /// same one, the later counts.
    async fn set_namespace_property(&self, namespace: &str, _key: &str, _value: Option<&str>) -> Result<()> {
        Err(Error::Unsupported {
            table: namespace.to_owned(),
            feature: "a catalog that keeps properties of schemas: a REST or SQL catalog".to_owned(),
        })
    }

    /// Drops a namespace, which must be empty.
    async fn drop_namespace(&self, namespace: &str) -> Result<()>;

    /// Chooses where the files of a new table go and in which columns. Nobody sees the table yet, and nothing has to
    /// be undone when it is never created.
    async fn stage(&self, name: &TableName, new: &NewTable) -> Result<StagedTable>;

    /// Makes a staged table visible with all of `files` in one step. After [`Error::CommitUnknown`] the files must
    /// stay; after every other error nothing refers to them.
    async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()>;

    /// Makes the changes of `commit` in one step, if its requirements hold. After [`Error::CommitUnknown`] the files that
    /// it refers to must stay; after every other error nothing refers to them. [`Error::Conflict`]: another commit came
    /// first, and the same may be tried again on the table as it is then.
    async fn commit(&self, name: &TableName, _commit: &TableCommit) -> Result<()> {
        Err(Error::Unsupported {
            table: name.to_string(),
            feature: "commits through its catalog".to_owned(),
        })
    }

    /// Whether [`CatalogClient::commit_all`] is there.
    async fn commits_together(&self) -> Result<bool> {
        Ok(false)
    }

    /// As [`CatalogClient::commit`], of several tables in one step: all of the commits take place or none.
    async fn commit_all(&self, commits: &[(&TableName, &TableCommit)]) -> Result<()> {
        let tables: Vec<String> = commits.iter().map(|(name, _)| name.to_string()).collect();
        Err(Error::Unsupported {
            table: tables.join(", "),
            feature: "commits of several tables in one step".to_owned(),
        })
    }

    /// Takes the table out of the catalog, and with `purge` deletes its files.
    async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()>;

    /// Gives the table another name, perhaps in another namespace of the same catalog.
    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()>;

    /// The views of a namespace, sorted; none in a service that keeps none.
    async fn list_views(&self, _namespace: &str) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Creates a view, with `replace` in the place of a view of its name that there may be.
    async fn create_view(&self, name: &TableName, _view: &NewView, _replace: bool) -> Result<()> {
        Err(no_views(name))
    }

    /// Gives the view another description, or none. [`Error::Conflict`]: the view was changed at the same time.
    async fn comment_view(&self, name: &TableName, _comment: Option<&str>) -> Result<()> {
        Err(no_such_view(name))
    }

    /// Takes the view out of the catalog.
    async fn drop_view(&self, name: &TableName) -> Result<()> {
        Err(no_such_view(name))
    }

    /// Gives the view another name, perhaps in another namespace of the same catalog.
    async fn rename_view(&self, from: &TableName, _to: &TableName) -> Result<()> {
        Err(no_such_view(from))
    }
}

/// Where a table lies, or what stands in its place.
#[derive(Debug, Clone)]
pub enum TableLocation {
    /// The table's current metadata file, and its content where the service sent it along.
    Iceberg {
        /// URL of the metadata file.
        metadata_location: String,
        /// The metadata itself.
        metadata: Option<Box<TableMetadata>>,
    },
    /// The folder that holds `_delta_log`.
    Delta {
        /// URL of the folder, its key not percent-encoded.
        root: String,
    },
    /// Nowhere: the name is that of a view.
    View(Box<LakeView>),
}

/// A table that is being created.
#[derive(Debug)]
pub struct StagedTable {
    /// How its rows become files.
    pub(crate) target: WriteTarget,
    pub(crate) format: StagedFormat,
    /// The branch that its first rows go to.
    pub(crate) branch: String,
}

/// What its format has to say of a staged table.
#[derive(Debug)]
pub(crate) enum StagedFormat {
    /// The table's metadata before its first snapshot.
    Iceberg(Box<TableMetadata>),
    /// What takes the place of an Iceberg table.
    Replacement(Box<Replacement>),
    /// The first commit of the table's log.
    Delta(Box<NewLog>),
    /// A Delta table, and what takes its place.
    DeltaReplacement(Arc<DeltaSnapshot>, Box<NewLog>),
}

impl StagedTable {
    /// One whose rows go to the branch main.
    pub(crate) fn new(target: WriteTarget, format: StagedFormat) -> Self {
        Self {
            target,
            format,
            branch: MAIN_BRANCH.to_owned(),
        }
    }

    /// Lets its first rows go to another branch: main has none then. Only new Iceberg tables have branches.
    pub fn on_branch(mut self, name: &TableName, branch: &str) -> Result<Self> {
        match self.format {
            StagedFormat::Iceberg(_) => {
                branch.clone_into(&mut self.branch);
                Ok(self)
            }
            StagedFormat::Replacement(_) => Err(Error::Unsupported {
                table: name.to_string(),
                feature: "replacing it on a branch: INSERT OVERWRITE replaces its rows there".to_owned(),
            }),
            StagedFormat::Delta(_) | StagedFormat::DeltaReplacement(..) => Err(Error::Unsupported {
                table: name.to_string(),
                feature: "creating it on a branch, which Delta tables do not have".to_owned(),
            }),
        }
    }

    /// How its rows become files.
    pub fn target(&self) -> &WriteTarget {
        &self.target
    }

    /// Its format.
    pub(crate) fn format(&self) -> TableFormat {
        match self.format {
            StagedFormat::Iceberg(_) | StagedFormat::Replacement(_) => TableFormat::Iceberg,
            StagedFormat::Delta(_) | StagedFormat::DeltaReplacement(..) => TableFormat::Delta,
        }
    }

    /// The error for a table that another catalog has staged.
    fn foreign(&self, name: &TableName) -> Error {
        let detail = format!("the table {} was staged by another catalog", name.table);
        Error::CatalogProtocol {
            catalog: name.catalog.clone(),
            detail,
        }
    }
}

/// The client of a configured catalog. Connects to nothing.
pub(crate) fn client(catalog: &str, config: &CatalogConfig, stores: &Arc<Stores>) -> Result<Arc<dyn CatalogClient>> {
    let catalog = catalog.to_owned();
    let stores = Arc::clone(stores);
    Ok(match config {
        CatalogConfig::IcebergRest {
            uri,
            warehouse,
            credential,
            token,
            oauth2_server_uri,
            scope,
            vended_credentials,
        } => {
            let tokens = match (credential, token) {
                (Some(credential), _) => {
                    let uri = match oauth2_server_uri {
                        Some(uri) => uri.clone(),
                        None => rest::token_uri(uri)?,
                    };
                    Tokens::credential(credential, uri, scope.clone().unwrap_or_else(|| "catalog".to_owned()))
                }
                (None, Some(token)) => Tokens::fixed(token.clone()),
                (None, None) => Tokens::none(),
            };
            let service = Service {
                uri: uri.clone(),
                warehouse: warehouse.clone(),
                tokens,
                lends: *vended_credentials,
            };
            RestClient::new(catalog, service, stores)
        }
        CatalogConfig::IcebergSql {
            uri,
            name,
            warehouse,
            default_format,
        } => {
            let rows_of = name.clone().unwrap_or_else(|| catalog.clone());
            let database = Database::new(catalog, uri.clone());
            let new_tables = NewTables {
                warehouse: folder_of(warehouse)?,
                format: *default_format,
            };
            Arc::new(SqlClient::new(database, rows_of, new_tables, stores))
        }
        CatalogConfig::Delta { root } => Arc::new(FolderClient::new(folder_of(root)?, stores)),
    })
}

/// A configured URL as a location: its key not percent-encoded, no slash at its end.
fn folder_of(url: &Url) -> Result<String> {
    let key = percent_decode_str(url.path()).decode_utf8();
    let key = key.map_err(|_| Error::InvalidName {
        detail: format!("{url} is no UTF-8 when it is decoded"),
    })?;
    Ok(format!(
        "{}://{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        key.trim_end_matches('/')
    ))
}

fn already_exists(what: &'static str, name: impl ToString) -> Error {
    Error::AlreadyExists {
        what,
        name: name.to_string(),
    }
}

fn no_such_table(name: &TableName) -> Error {
    Error::NotFound {
        what: "table",
        name: name.to_string(),
        hint: None,
    }
}

fn no_such_view(name: &TableName) -> Error {
    Error::NotFound {
        what: "view",
        name: name.to_string(),
        hint: None,
    }
}

fn no_views(name: &TableName) -> Error {
    Error::Unsupported {
        table: name.to_string(),
        feature: "a catalog that keeps views: a REST or SQL catalog".to_owned(),
    }
}

/// The error for a name that a verb of the other kind was meant for: `is` is `table` or `view`.
pub(crate) fn other_kind(name: &TableName, is: &str) -> Error {
    Error::InvalidName {
        detail: format!("\"{name}\" is a {is}: write {} instead", is.to_uppercase()),
    }
}

/// The error for a table format that a catalog does not keep.
fn no_format(name: &TableName, format: TableFormat, what: &str) -> Error {
    Error::Unsupported {
        table: name.to_string(),
        feature: format!("USING {format}: {what}"),
    }
}

fn not_empty(namespace: impl std::fmt::Display) -> Error {
    Error::InvalidName {
        detail: format!("the namespace \"{namespace}\" is not empty: drop its tables first"),
    }
}

/// Refuses a namespace or table name that would leave its folder, or hide in it.
fn check_new(name: &str) -> Result<()> {
    match fits_in_path(name) && !name.starts_with(['.', '_']) {
        true => Ok(()),
        false => Err(Error::InvalidName {
            detail: format!("\"{name}\" cannot be the name of a table or namespace: it is also the name of a folder"),
        }),
    }
}

/// True where `name` is one segment of a path and nothing else.
fn fits_in_path(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(|c: char| matches!(c, '/' | '\\') || c.is_control())
}

#[cfg(test)]
mod tests;
