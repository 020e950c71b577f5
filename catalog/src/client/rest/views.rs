//! Views of a REST catalog.

use iceberg::ViewUpdate;
use iceberg::spec::ViewMetadata;
use iceberg_catalog_rest::ListTablesResponse;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::http::Answer;
use super::{RestClient, already_exists, segment};
use crate::client::{no_such_table, no_such_view, no_views, other_kind};
use crate::error::{Error, Result};
use crate::iceberg::metadata::view;
use crate::name::TableName;
use crate::view::{LakeView, NewView};

/// The endpoint that a service with views names, where it names any.
pub(super) const ENDPOINT: &str = "GET /v1/{prefix}/namespaces/{namespace}/views/{view}";

/// What a service answers about one view. Its own configuration is of no use here.
#[derive(Deserialize)]
struct LoadViewResult {
    metadata: ViewMetadata,
}

impl RestClient {
    /// The views of a namespace, sorted; none where the service has none.
    pub(super) async fn view_names(&self, namespace: &str) -> Result<Vec<String>> {
        let session = self.session().await?;
        if !session.has_views {
            return Ok(Vec::new());
        }
        let path = session.namespace_path(namespace);
        let path = path.ok_or_else(|| self.namespace_missing(namespace))?;
        let take = |page: ListTablesResponse, names: &mut Vec<String>| {
            names.extend(page.identifiers.into_iter().map(|view| view.name));
            page.next_page_token
        };
        let names = match self.pages(&format!("{path}/views"), take).await {
            // A service from before views knows no such path.
            Err(Error::CatalogProtocol { .. }) if !session.names_endpoints => Some(Vec::new()),
            names => names?,
        };
        Ok(names.unwrap_or_default())
    }

    /// The view of that name; `None` where there is none.
    pub(super) async fn view(&self, name: &TableName) -> Result<Option<LakeView>> {
        Ok(self.view_metadata(name).await?.as_ref().map(view::view))
    }

    async fn view_metadata(&self, name: &TableName) -> Result<Option<ViewMetadata>> {
        let session = self.session().await?;
        let path = self.view_path(name).await?;
        let Some(path) = path.filter(|_| session.has_views) else {
            return Ok(None);
        };
        let url = self.url(&format!("{}{path}", session.prefix))?;
        let answer = self.read(&session.client, &url).await?;
        let unknown_path = !session.names_endpoints && is_unknown_path(&answer);
        match answer.status {
            _ if answer.is_missing() || unknown_path => Ok(None),
            status if status.is_success() => {
                let found: LoadViewResult = answer.parse(&self.catalog)?;
                Ok(Some(found.metadata))
            }
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    async fn view_path(&self, name: &TableName) -> Result<Option<String>> {
        let namespace = self.session().await?.namespace_path(&name.namespace);
        let path = |namespace: String| Some(format!("{namespace}/views/{}", segment(&name.table)?));
        Ok(namespace.and_then(path))
    }

    /// Creates a view, or puts it in the place of another.
    pub(super) async fn put_view(&self, name: &TableName, new: &NewView, replace: bool) -> Result<()> {
        if !self.session().await?.has_views {
            return Err(no_views(name));
        }
        let path = self.view_path(name).await?.ok_or_else(|| no_such_view(name))?;
        let version = view::NewVersion::of(name, new)?;
        let base = match replace {
            true => self.view_metadata(name).await?,
            false => None,
        };
        let Some(base) = base else {
            // A service may not look, and keep a view that nobody lists.
            self.require_namespace(&name.namespace).await?;
            let (folder, _) = path.rsplit_once('/').unwrap_or((&path, ""));
            let request = json!({
                "name": name.table, "schema": version.schema, "view-version": version.version,
                "properties": version.properties,
            });
            let answer = self.post(folder, request).await?;
            return self.made(name, &answer).await;
        };
        let (_, updates) = version.replace(name, &base)?;
        match updates.is_empty() {
            true => Ok(()),
            false => self.update_view(name, &path, &base, &updates).await,
        }
    }

    /// Gives a view another description, or none.
    pub(super) async fn describe_view(&self, name: &TableName, comment: Option<&str>) -> Result<()> {
        let path = self.view_path(name).await?.ok_or_else(|| no_such_view(name))?;
        let Some(base) = self.view_metadata(name).await? else {
            return Err(match self.load_result(name).await? {
                Some(_) => other_kind(name, "table"),
                None => no_such_view(name),
            });
        };
        let (_, updates) = view::commented(name, &base, comment)?;
        match updates.is_empty() {
            true => Ok(()),
            false => self.update_view(name, &path, &base, &updates).await,
        }
    }

    async fn update_view(
        &self,
        name: &TableName,
        path: &str,
        base: &ViewMetadata,
        updates: &[ViewUpdate],
    ) -> Result<()> {
        let levels: Vec<&str> = name.namespace.split('.').collect();
        let request = json!({
            "identifier": {"namespace": levels, "name": name.table},
            "requirements": [{"type": "assert-view-uuid", "uuid": base.uuid()}],
            "updates": updates,
        });
        let answer = self.post(path, request).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => Err(Error::Conflict {
                table: name.to_string(),
            }),
            _ if answer.is_missing() => Err(no_such_view(name)),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    /// Fails where the namespace does not exist.
    async fn require_namespace(&self, namespace: &str) -> Result<()> {
        let session = self.session().await?;
        let path = session.namespace_path(namespace);
        let path = path.ok_or_else(|| self.namespace_missing(namespace))?;
        let url = self.url(&format!("{}{path}", session.prefix))?;
        let answer = self.read(&session.client, &url).await?;
        match answer.status {
            _ if answer.is_missing() => Err(self.namespace_missing(namespace)),
            status if status.is_success() => Ok(()),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    async fn made(&self, name: &TableName, answer: &Answer) -> Result<()> {
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => match self.load_result(name).await? {
                Some(_) => Err(already_exists("table", name)),
                None => Err(already_exists("view", name)),
            },
            _ if answer.is_missing() => Err(self.namespace_missing(&name.namespace)),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    pub(super) async fn delete_view(&self, name: &TableName) -> Result<()> {
        let path = self.view_path(name).await?.ok_or_else(|| no_such_view(name))?;
        let session = self.session().await?;
        if session.has_views {
            let url = self.url(&format!("{}{path}", session.prefix))?;
            let answer = self.exchange(&session.client, Method::DELETE, &url, None).await?;
            match answer.status {
                status if status.is_success() => return Ok(()),
                _ if answer.is_missing() => {}
                _ => return Err(answer.failure(&self.catalog)),
            }
        }
        Err(match self.load_result(name).await? {
            Some(_) => other_kind(name, "table"),
            None => no_such_view(name),
        })
    }

    pub(super) async fn move_view(&self, from: &TableName, to: &TableName) -> Result<()> {
        if !self.session().await?.has_views {
            return Err(no_such_view(from));
        }
        let answer = self.post("views/rename", renaming(from, to)).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => match self.view_metadata(to).await? {
                Some(_) => Err(already_exists("view", to)),
                None => Err(already_exists("table", to)),
            },
            _ if answer.is_missing() => match self.view_metadata(from).await? {
                Some(_) => Err(self.namespace_missing(&to.namespace)),
                None if self.load_result(from).await?.is_some() => Err(other_kind(from, "table")),
                None => Err(no_such_view(from)),
            },
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    /// The error for a table that does not exist, perhaps because the name is that of a view.
    pub(super) async fn table_missing(&self, name: &TableName) -> Error {
        match self.view_metadata(name).await {
            Ok(Some(_)) => other_kind(name, "view"),
            _ => no_such_table(name),
        }
    }
}

/// What a request to give another name says.
pub(super) fn renaming(from: &TableName, to: &TableName) -> Value {
    let name = |name: &TableName| {
        let levels: Vec<&str> = name.namespace.split('.').collect();
        json!({"namespace": levels, "name": name.table})
    };
    json!({"source": name(from), "destination": name(to)})
}

/// How services from before views answer about one.
fn is_unknown_path(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 400 | 404 | 405 | 501)
}
