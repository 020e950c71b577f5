//! An Iceberg catalog behind the Iceberg REST protocol.
//!
//! The service is asked for its configuration once, on first use. A new table is staged: the service chooses its
//! location and nobody sees it until one commit creates it with its rows.

mod http;
mod lending;
mod properties;
pub(super) mod token;
mod views;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::datatypes::Schema;
use async_trait::async_trait;
use iceberg::NamespaceIdent;
use iceberg_catalog_rest::{
    CreateNamespaceRequest, CreateTableRequest, ListNamespaceResponse, ListTablesResponse, LoadTableResult,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::Url;

use self::http::Answer;
use self::token::Tokens;
use super::{CatalogClient, StagedFormat, StagedTable, TableLocation, already_exists, check_new, no_format};
use crate::error::{Error, Result};
use crate::iceberg::commit::{self, FirstVersion, TableCommit, create};
use crate::name::TableName;
use crate::stores::Stores;
use crate::view::NewView;
use crate::write::{NewTable, TableFormat, WrittenFile};

/// How often a read is tried, with waits of 0.1, 0.4 … seconds between.
const ATTEMPTS: u32 = 3;
/// A list that never ends is an error.
const PAGES_MAX: usize = 10_000;
/// Separates the levels of a namespace in a path, unless the service says otherwise.
const LEVEL_SEPARATOR: &str = "%1F";
/// What a path segment keeps as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One REST catalog, or one warehouse of it.
#[derive(Debug)]
pub(super) struct RestClient {
    catalog: String,
    service: Service,
    session: OnceCell<Session>,
    stores: Arc<Stores>,
    me: Weak<Self>,
}

/// Where a service is, and how it is asked.
#[derive(Debug)]
pub(super) struct Service {
    /// Without `/v1`.
    pub(super) uri: Url,
    /// The warehouse, where it serves several.
    pub(super) warehouse: Option<String>,
    pub(super) tokens: Tokens,
    /// Whether it is asked for credentials for tables' files.
    pub(super) lends: bool,
}

/// What is learnt on first use.
#[derive(Debug)]
struct Session {
    client: Client,
    /// Comes before `namespaces` in every path; empty, or with a slash at its end.
    prefix: String,
    separator: String,
    /// Whether the service keeps views, as far as it says.
    has_views: bool,
    /// Whether it commits several tables in one step.
    has_transactions: bool,
    /// Whether it says what it offers.
    names_endpoints: bool,
}

/// The service's own configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceConfig {
    endpoints: Option<Vec<String>>,
    overrides: HashMap<String, String>,
    defaults: HashMap<String, String>,
}

/// Where a service issues tokens, unless it is configured otherwise.
pub(super) fn token_uri(uri: &Url) -> Result<Url> {
    let issuer = format!("{}/v1/oauth/tokens", uri.as_str().trim_end_matches('/'));
    Url::parse(&issuer).map_err(|error| Error::Config {
        key: "uri".to_owned(),
        detail: error.to_string(),
    })
}

impl RestClient {
    pub(super) fn new(catalog: String, service: Service, stores: Arc<Stores>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            catalog,
            service,
            session: OnceCell::new(),
            stores,
            me: Weak::clone(me),
        })
    }

    async fn session(&self) -> Result<&Session> {
        self.session.get_or_try_init(|| self.begin()).await
    }

    async fn begin(&self) -> Result<Session> {
        let client = http::client().map_err(|error| self.protocol(error.to_string()))?;
        let mut url = self.url("config")?;
        if let Some(warehouse) = &self.service.warehouse {
            url.query_pairs_mut().append_pair("warehouse", warehouse);
        }
        let answer = self.read(&client, &url).await?;
        if !answer.status.is_success() {
            return Err(answer.failure(&self.catalog));
        }
        Ok(Session::new(client, &answer.parse(&self.catalog)?))
    }

    fn url(&self, path: &str) -> Result<Url> {
        let base = self.service.uri.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/v1/{path}")).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks, and asks again while the failure may pass.
    async fn read(&self, client: &Client, url: &Url) -> Result<Answer> {
        let mut attempt = 1;
        loop {
            let answer = self.exchange(client, Method::GET, url, None).await;
            let transient = match &answer {
                Ok(answer) => answer.is_transient(),
                Err(error) => matches!(error, Error::CatalogUnavailable { .. }),
            };
            if !transient || attempt == ATTEMPTS {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(25) * 4_u32.pow(attempt)).await;
            attempt += 1;
        }
    }

    /// Sends one request; a token that the service refuses is renewed once.
    async fn exchange(&self, client: &Client, method: Method, url: &Url, body: Option<&Value>) -> Result<Answer> {
        let mut renewed = false;
        loop {
            let token = self.service.tokens.header(&self.catalog, client).await?;
            let mut request = client.request(method.clone(), url.clone());
            if self.service.lends {
                request = request.header(lending::HEADER, lending::VENDED);
            }
            if let Some(token) = &token {
                request = request.header(reqwest::header::AUTHORIZATION, token);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = http::send(&self.catalog, url, request).await?;
            let refused = matches!(answer.status.as_u16(), 401 | 419);
            if !refused || renewed || !self.service.tokens.renew(token.as_ref()) {
                return Ok(answer);
            }
            renewed = true;
        }
    }

    async fn post(&self, path: &str, body: impl serde::Serialize) -> Result<Answer> {
        let body = serde_json::to_value(body).map_err(|error| self.protocol(error.to_string()))?;
        let session = self.session().await?;
        let url = self.url(&format!("{}{path}", session.prefix))?;
        self.exchange(&session.client, Method::POST, &url, Some(&body)).await
    }

    /// Reads every page of a list; `None` where what is listed does not exist.
    async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        take: impl Fn(T, &mut Vec<String>) -> Option<String>,
    ) -> Result<Option<Vec<String>>> {
        let session = self.session().await?;
        let mut url = self.url(&format!("{}{path}", session.prefix))?;
        let mut names = Vec::new();
        for _ in 0..PAGES_MAX {
            let answer = self.read(&session.client, &url).await?;
            if answer.is_missing() {
                return Ok(None);
            }
            if !answer.status.is_success() {
                return Err(answer.failure(&self.catalog));
            }
            match take(answer.parse(&self.catalog)?, &mut names).filter(|token| !token.is_empty()) {
                Some(token) => url.query_pairs_mut().clear().append_pair("pageToken", &token),
                None => {
                    names.sort();
                    return Ok(Some(names));
                }
            };
        }
        Err(self.protocol(format!("the list {path} has more than {PAGES_MAX} pages")))
    }

    /// The table, and what the service lends for its files.
    async fn load_result(&self, name: &TableName) -> Result<Option<LoadTableResult>> {
        let found = self.ask_for(name, "").await?;
        if let Some(found) = &found {
            self.borrow(name, found)?;
        }
        Ok(found)
    }

    async fn ask_for(&self, name: &TableName, query: &str) -> Result<Option<LoadTableResult>> {
        let session = self.session().await?;
        let Some(path) = session.table_path(name) else {
            return Ok(None);
        };
        let url = self.url(&format!("{}{path}{query}", session.prefix))?;
        let answer = self.read(&session.client, &url).await?;
        match answer.status {
            _ if answer.is_missing() => Ok(None),
            status if status.is_success() => answer.parse(&self.catalog).map(Some),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    fn levels(&self, namespace: &str) -> Result<NamespaceIdent> {
        let levels = NamespaceIdent::from_strs(namespace.split('.'));
        levels.map_err(|error| self.protocol(error.to_string()))
    }

    fn namespace_missing(&self, namespace: &str) -> Error {
        Error::NotFound {
            what: "namespace",
            name: format!("{}.{namespace}", self.catalog),
            hint: None,
        }
    }

    fn protocol(&self, detail: String) -> Error {
        Error::CatalogProtocol {
            catalog: self.catalog.clone(),
            detail,
        }
    }
}

#[async_trait]
impl CatalogClient for RestClient {
    /// The namespaces of the first level. Those below can be named, but finding them takes a request for each.
    async fn list_namespaces(&self) -> Result<Vec<String>> {
        let take = |page: ListNamespaceResponse, names: &mut Vec<String>| {
            names.extend(page.namespaces.into_iter().map(|namespace| namespace.inner().join(".")));
            page.next_page_token
        };
        Ok(self.pages("namespaces", take).await?.unwrap_or_default())
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<String>> {
        let take = |page: ListTablesResponse, names: &mut Vec<String>| {
            names.extend(page.identifiers.into_iter().map(|table| table.name));
            page.next_page_token
        };
        let tables = match self.session().await?.namespace_path(namespace) {
            Some(path) => self.pages(&format!("{path}/tables"), take).await?,
            None => None,
        };
        tables.ok_or_else(|| self.namespace_missing(namespace))
    }

    async fn load(&self, name: &TableName) -> Result<Option<TableLocation>> {
        let Some(found) = self.load_result(name).await? else {
            let view = self.view(name).await?;
            return Ok(view.map(|view| TableLocation::View(Box::new(view))));
        };
        Ok(Some(TableLocation::Iceberg {
            metadata_location: found.metadata_location.unwrap_or_default(),
            metadata: Some(Box::new(found.metadata)),
        }))
    }

    async fn create_namespace(&self, namespace: &str, properties: &[(String, String)]) -> Result<()> {
        namespace.split('.').try_for_each(check_new)?;
        let request = CreateNamespaceRequest {
            namespace: self.levels(namespace)?,
            properties: properties.iter().cloned().collect(),
        };
        let answer = self.post("namespaces", request).await?;
        match answer.status {
            StatusCode::CONFLICT => Err(already_exists("namespace", format!("{}.{namespace}", self.catalog))),
            status if status.is_success() => Ok(()),
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    async fn stage(&self, name: &TableName, new: &NewTable) -> Result<StagedTable> {
        name.namespace.split('.').try_for_each(check_new)?;
        check_new(&name.table)?;
        if let Some(format @ TableFormat::Delta) = new.format {
            return Err(no_format(name, format, "a REST catalog has Iceberg tables"));
        }
        let namespace = self.session().await?.namespace_path(&name.namespace);
        let namespace = namespace.ok_or_else(|| self.namespace_missing(&name.namespace))?;
        let mut properties: HashMap<String, String> = new.properties.iter().cloned().collect();
        properties
            .entry("format-version".to_owned())
            .or_insert_with(|| "2".to_owned());
        let schema = commit::table_schema(name, new)?;
        let order = create::sort_order(new, &schema)?;
        let request = CreateTableRequest {
            name: name.table.clone(),
            location: new.location.clone(),
            partition_spec: create::partition_spec(name, new, &schema)?,
            write_order: (!order.is_unsorted()).then_some(order),
            schema,
            stage_create: Some(true),
            properties,
        };
        let path = format!("{namespace}/tables");
        let request = serde_json::to_value(request).map_err(|error| self.protocol(error.to_string()))?;
        let answer = self.post(&path, &request).await?;
        match answer.status {
            StatusCode::CONFLICT => Err(self.taken(name).await),
            _ if answer.is_missing() => Err(self.namespace_missing(&name.namespace)),
            status if status.is_success() => {
                let found: LoadTableResult = answer.parse(&self.catalog)?;
                self.borrow_staged(&path, request, &found)?;
                let staged = commit::stage(name, new, found.metadata)?;
                if !same_columns(&staged.target.file_schema, &new.schema) {
                    return Err(self.protocol(format!("it staged the table {name} with other columns")));
                }
                Ok(staged)
            }
            _ => Err(answer.failure(&self.catalog)),
        }
    }

    async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()> {
        let StagedFormat::Iceberg(metadata) = &staged.format else {
            return Err(staged.foreign(name));
        };
        let first = (metadata.as_ref().clone(), staged.branch.as_str());
        let version = FirstVersion::write(&self.stores, name, first, files).await?;
        let published = self.publish(name, &version).await;
        version.settle(&self.stores, published).await
    }

    async fn namespace_properties(&self, namespace: &str) -> Result<HashMap<String, String>> {
        self.properties(namespace).await
    }

    async fn set_namespace_property(&self, namespace: &str, key: &str, value: Option<&str>) -> Result<()> {
        self.set_property(namespace, key, value).await
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<()> {
        self.delete_namespace(namespace).await
    }

    async fn commit(&self, name: &TableName, commit: &TableCommit) -> Result<()> {
        self.update_table(name, commit).await
    }

    async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()> {
        self.delete_table(name, purge).await
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        check_new(&to.table)?;
        self.move_table(from, to).await
    }

    async fn commits_together(&self) -> Result<bool> {
        Ok(self.session().await?.has_transactions)
    }

    async fn commit_all(&self, commits: &[(&TableName, &TableCommit)]) -> Result<()> {
        self.update_tables(commits).await
    }

    async fn list_views(&self, namespace: &str) -> Result<Vec<String>> {
        self.view_names(namespace).await
    }

    async fn create_view(&self, name: &TableName, view: &NewView, replace: bool) -> Result<()> {
        name.namespace.split('.').try_for_each(check_new)?;
        check_new(&name.table)?;
        self.put_view(name, view, replace).await
    }

    async fn comment_view(&self, name: &TableName, comment: Option<&str>) -> Result<()> {
        self.describe_view(name, comment).await
    }

    async fn drop_view(&self, name: &TableName) -> Result<()> {
        self.delete_view(name).await
    }

    async fn rename_view(&self, from: &TableName, to: &TableName) -> Result<()> {
        check_new(&to.table)?;
        self.move_view(from, to).await
    }
}

impl Session {
    fn new(client: Client, config: &ServiceConfig) -> Self {
        let value = |key: &str| config.overrides.get(key).or_else(|| config.defaults.get(key));
        let prefix = value("prefix")
            .map(|prefix| prefix.trim_matches('/'))
            .filter(|prefix| !prefix.is_empty());
        Self {
            client,
            prefix: prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default(),
            separator: value("namespace-separator")
                .map_or(LEVEL_SEPARATOR, String::as_str)
                .to_owned(),
            has_views: (config.endpoints.as_ref())
                .is_none_or(|endpoints| endpoints.iter().any(|endpoint| endpoint == views::ENDPOINT)),
            has_transactions: (config.endpoints.as_ref())
                .is_some_and(|endpoints| endpoints.iter().any(|endpoint| endpoint == write::TRANSACTIONS)),
            names_endpoints: config.endpoints.is_some(),
        }
    }

    /// The namespace's path below the prefix; `None` for a name that no path can have.
    fn namespace_path(&self, namespace: &str) -> Option<String> {
        let levels: Option<Vec<String>> = namespace.split('.').map(segment).collect();
        Some(format!("namespaces/{}", levels?.join(&self.separator)))
    }

    fn table_path(&self, name: &TableName) -> Option<String> {
        Some(format!(
            "{}/tables/{}",
            self.namespace_path(&name.namespace)?,
            segment(&name.table)?
        ))
    }
}

fn same_columns(staged: &Schema, wanted: &Schema) -> bool {
    staged
        .fields()
        .iter()
        .map(|field| field.name())
        .eq(wanted.fields().iter().map(|field| field.name()))
}

/// A name as one segment of a path. URLs have no way to write a segment of dots alone.
fn segment(name: &str) -> Option<String> {
    (!matches!(name, "" | "." | "..")).then(|| utf8_percent_encode(name, SEGMENT).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(config: &str) -> Session {
        Session::new(http::client().unwrap(), &serde_json::from_str(config).unwrap())
    }

    #[test]
    fn the_services_overrides_win() {
        let check = |config, prefix: &str, separator: &str| {
            let session = session(config);
            assert_eq!(
                (session.prefix.as_str(), session.separator.as_str()),
                (prefix, separator),
                "{config}"
            );
        };
        check("{}", "", "%1F");
        check(r#"{"defaults":{"prefix":"a"},"overrides":{}}"#, "a/", "%1F");
        check(
            r#"{"defaults":{"prefix":"a"},"overrides":{"prefix":"/b/c/"}}"#,
            "b/c/",
            "%1F",
        );
        check(r#"{"overrides":{"namespace-separator":"%2E"}}"#, "", "%2E");
    }

    #[test]
    fn names_are_encoded_level_by_level() {
        let session = session("{}");
        let check = |namespace: &str, table: &str, expect: Option<&str>| {
            assert_eq!(
                session.table_path(&TableName::new("c", namespace, table)).as_deref(),
                expect
            );
        };
        check("sales", "orders", Some("namespaces/sales/tables/orders"));
        check("a.b", "x y/ü", Some("namespaces/a%1Fb/tables/x%20y%2F%C3%BC"));
        check("a..b", "x", None);
        check("a", "..", None);
    }
}
