//! What changes something in a REST catalog: commits, and the verbs of tables and namespaces.

use iceberg::spec::TableMetadata;
use iceberg::{TableIdent, TableRequirement, TableUpdate};
use iceberg_catalog_rest::CommitTableRequest;
use reqwest::{Method, StatusCode};

use super::http::Answer;
use super::views::renaming;
use super::{RestClient, already_exists};
use crate::client::{no_such_table, not_empty};
use crate::error::{Error, Result};
use crate::iceberg::commit::{FirstVersion, TableCommit};
use crate::name::TableName;

/// How a service says that it commits several tables in one step.
pub(super) const TRANSACTIONS: &str = "POST /v1/{prefix}/transactions/commit";

impl RestClient {
    /// Sends the commit that creates a table.
    pub(super) async fn publish(&self, name: &TableName, version: &FirstVersion) -> Result<()> {
        let mut updates = creation(&version.metadata);
        updates.extend(version.updates.iter().cloned());
        match self.send_commit(name, vec![TableRequirement::NotExist], updates).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) if answer.status == StatusCode::CONFLICT => Err(self.taken(name).await),
            Ok(answer) if answer.status.is_server_error() => self.settle(name, version, answer.describe()).await,
            Ok(answer) => Err(answer.failure(&self.catalog)),
            Err(error @ Error::NotFound { .. }) => Err(error),
            Err(error) => self.settle(name, version, error.to_string()).await,
        }
    }

    /// Finds out whether a commit whose answer was lost took place: the service keeps the id that it gave the table.
    async fn settle(&self, name: &TableName, version: &FirstVersion, lost: String) -> Result<()> {
        match self.load_result(name).await {
            Ok(Some(found)) if found.metadata.uuid() == version.metadata.uuid() => Ok(()),
            Ok(Some(_)) => Err(already_exists("table", name)),
            Ok(None) | Err(_) => Err(unknown(name, lost)),
        }
    }

    /// Sends a commit to a table that exists. An answer that is lost, or that leaves open what happened, is
    /// [`Error::CommitUnknown`].
    pub(super) async fn update_table(&self, name: &TableName, commit: &TableCommit) -> Result<()> {
        let (requirements, updates) = (commit.requirements.clone(), commit.updates.clone());
        self.landed(name, self.send_commit(name, requirements, updates).await)
    }

    /// What the answer to a commit says.
    fn landed(&self, name: &TableName, answer: Result<Answer>) -> Result<()> {
        match answer {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) if answer.status == StatusCode::CONFLICT => Err(Error::Conflict {
                table: name.to_string(),
            }),
            Ok(answer) if answer.is_missing() => Err(no_such_table(name)),
            Ok(answer) if answer.status.is_server_error() => Err(unknown(name, answer.describe())),
            Ok(answer) => Err(answer.failure(&self.catalog)),
            Err(error @ Error::CatalogUnavailable { .. }) => Err(unknown(name, error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// The error for a name that is a table's or a view's already.
    pub(super) async fn taken(&self, name: &TableName) -> Error {
        match self.view(name).await {
            Ok(Some(_)) => already_exists("view", name),
            _ => already_exists("table", name),
        }
    }

    async fn send_commit(
        &self,
        name: &TableName,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Answer> {
        let path = self.session().await?.table_path(name);
        let path = path.ok_or_else(|| self.namespace_missing(&name.namespace))?;
        self.post(&path, self.commit_request(name, requirements, updates)?)
            .await
    }

    fn commit_request(
        &self,
        name: &TableName,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<CommitTableRequest> {
        Ok(CommitTableRequest {
            identifier: Some(TableIdent::new(self.levels(&name.namespace)?, name.table.clone())),
            requirements,
            updates,
        })
    }

    /// Sends the commits of several tables as one. Errors are those of [`RestClient::update_table`], about the first.
    pub(super) async fn update_tables(&self, commits: &[(&TableName, &TableCommit)]) -> Result<()> {
        let Some((first, _)) = commits.first() else {
            return Ok(());
        };
        let requests = commits
            .iter()
            .map(|(name, commit)| self.commit_request(name, commit.requirements.clone(), commit.updates.clone()));
        let requests: Vec<CommitTableRequest> = requests.collect::<Result<_>>()?;
        let body = serde_json::json!({ "table-changes": requests });
        self.landed(first, self.post("transactions/commit", body).await)
    }

    pub(super) async fn delete_namespace(&self, namespace: &str) -> Result<()> {
        let path = self.session().await?.namespace_path(namespace);
        let path = path.ok_or_else(|| self.namespace_missing(namespace))?;
        let answer = self.delete(&path, None).await?;
        match answer.status {
            _ if answer.is_missing() => Err(self.namespace_missing(namespace)),
            // The protocol says 409; its first servers said 400.
            StatusCode::CONFLICT => Err(not_empty(format!("{}.{namespace}", self.catalog))),
            status if status.is_success() => Ok(()),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    pub(super) async fn delete_table(&self, name: &TableName, purge: bool) -> Result<()> {
        let path = self.session().await?.table_path(name);
        let path = path.ok_or_else(|| no_such_table(name))?;
        let purge = if purge { "true" } else { "false" };
        let answer = self.delete(&path, Some(("purgeRequested", purge))).await?;
        match answer.status {
            _ if answer.is_missing() => Err(self.table_missing(name).await),
            status if status.is_success() => Ok(()),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    pub(super) async fn move_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        let answer = self.post("tables/rename", renaming(from, to)).await?;
        match answer.status {
            StatusCode::CONFLICT => Err(self.taken(to).await),
            // Either the table or the namespace of the new name.
            _ if answer.is_missing() => match self.load_result(from).await? {
                Some(_) => Err(self.namespace_missing(&to.namespace)),
                None => Err(self.table_missing(from).await),
            },
            status if status.is_success() => Ok(()),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    async fn delete(&self, path: &str, parameter: Option<(&str, &str)>) -> Result<Answer> {
        let session = self.session().await?;
        let mut url = self.url(&format!("{}{path}", session.prefix))?;
        if let Some((key, value)) = parameter {
            url.query_pairs_mut().append_pair(key, value);
        }
        self.exchange(&session.client, Method::DELETE, &url, None).await
    }
}

/// The changes that make an empty table of the staged metadata. -1 means what was added last.
fn creation(metadata: &TableMetadata) -> Vec<TableUpdate> {
    vec![
        TableUpdate::AssignUuid { uuid: metadata.uuid() },
        TableUpdate::UpgradeFormatVersion {
            format_version: metadata.format_version(),
        },
        TableUpdate::AddSchema {
            schema: metadata.current_schema().as_ref().clone(),
        },
        TableUpdate::SetCurrentSchema { schema_id: -1 },
        TableUpdate::AddSpec {
            spec: metadata.default_partition_spec().as_ref().clone().into_unbound(),
        },
        TableUpdate::SetDefaultSpec { spec_id: -1 },
        TableUpdate::AddSortOrder {
            sort_order: metadata.default_sort_order().as_ref().clone(),
        },
        TableUpdate::SetDefaultSortOrder { sort_order_id: -1 },
        TableUpdate::SetLocation {
            location: metadata.location().to_owned(),
        },
        TableUpdate::SetProperties {
            updates: metadata.properties().clone(),
        },
    ]
}

fn unknown(name: &TableName, detail: String) -> Error {
    Error::CommitUnknown {
        table: name.to_string(),
        detail,
    }
}
