//! CREATE VIEW and ALTER VIEW: queries that a catalog keeps.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use catalog::view::NewView;
use datafusion::sql::sqlparser::tokenizer::Token;
use proto::ErrorKind;

use super::create::property;
use super::cursor::{Cursor, Path};
use super::{lake_name, unless};
use crate::error::{Error, Result};
use crate::session::{Session, temporary_age};
use crate::sql::define;
use crate::sql::plan::Planner;

/// The metadata key of a field that holds a column's description.
const COMMENT: &str = "comment";

/// A view that is to be created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateView {
    /// Its name as it was written.
    pub(super) name: Path,
    pub(super) or_replace: bool,
    pub(super) if_not_exists: bool,
    /// Names of its columns with their descriptions; none where the query has the names.
    pub(super) columns: Vec<(String, Option<String>)>,
    pub(super) comment: Option<String>,
    pub(super) properties: Vec<(String, String)>,
    /// The query as it was written.
    pub(super) sql: String,
}

impl CreateView {
    /// What stands behind CREATE [OR REPLACE] VIEW; `text` is the whole statement.
    pub(super) fn parse(cursor: &mut Cursor, or_replace: bool, text: &str) -> Result<Self> {
        let if_not_exists = cursor.words("IF NOT EXISTS");
        if or_replace && if_not_exists {
            return Err(Error::statement("CREATE takes OR REPLACE or IF NOT EXISTS, not both"));
        }
        let mut view = Self {
            name: cursor.path()?,
            or_replace,
            if_not_exists,
            columns: Vec::new(),
            comment: None,
            properties: Vec::new(),
            sql: String::new(),
        };
        if cursor.is_token(&Token::LParen) {
            view.columns = cursor.list(|cursor| {
                let name = cursor.name()?;
                let comment = match cursor.words("COMMENT") {
                    true => Some(cursor.text()?),
                    false => None,
                };
                Ok((name, comment))
            })?;
        }
        loop {
            if cursor.words("COMMENT") {
                view.comment = Some(cursor.text()?);
            } else if cursor.any(&["TBLPROPERTIES", "WITH"]) {
                view.properties.extend(cursor.list(property)?);
            } else {
                cursor.expect("AS")?;
                let sql = define::text_from(text, cursor.location());
                view.sql = sql.ok_or_else(|| cursor.wanted("a query"))?.to_owned();
                cursor.rest();
                return Ok(view);
            }
        }
    }

    /// Creates it, once its query could be planned.
    pub(super) async fn run(self, session: &Session, planner: &Planner) -> Result<()> {
        let name = lake_name(&self.name, session);
        // Everybody may make temporary tables, and they are swept away: what is no table would stay.
        if temporary_age(&name).is_some() {
            return Err(Error::unsupported("a view by the name of a temporary table", ""));
        }
        let (statement, parameters) = define::query(&self.sql, "CREATE VIEW")?;
        if parameters > 0 {
            return Err(Error::statement("a view takes no parameters"));
        }
        let plan = planner.plan_view(session, statement, &name).await;
        let plan = plan.map_err(|error| error.located(&self.sql))?;
        if plan.size()? > define::VIEW_STEPS_MAX {
            return Err(Error::statement(format!(
                "a view takes more than {} steps",
                define::VIEW_STEPS_MAX
            )));
        }
        let found = plan.schema()?;
        let columns = self.columns_of(&found)?;
        let view = NewView {
            sql: self.sql,
            default_catalog: session.catalog.clone(),
            default_namespace: session.namespace.clone(),
            schema: Arc::new(columns),
            query_columns: found.fields().iter().map(|field| field.name().clone()).collect(),
            comment: self.comment,
            properties: self.properties,
        };
        let guard = planner.guard();
        let created = async {
            let making = guard.before_creating(&session.user, &name, self.or_replace).await?;
            let client = planner.lakehouse().client(&name.catalog)?;
            client.create_view(&name, &view, self.or_replace).await?;
            guard.after_creating(making).await
        };
        unless(created.await, self.if_not_exists, ErrorKind::AlreadyExists, &["view"])
    }

    /// The view's columns, of those that its query has.
    fn columns_of(&self, found: &Schema) -> Result<Schema> {
        if !self.columns.is_empty() && self.columns.len() != found.fields().len() {
            return Err(Error::statement(format!(
                "the view names {} columns, and its query has {}",
                self.columns.len(),
                found.fields().len()
            )));
        }
        let mut names = HashSet::new();
        let mut fields = Vec::with_capacity(found.fields().len());
        for (index, field) in found.fields().iter().enumerate() {
            let (name, comment) = match self.columns.get(index) {
                Some((name, comment)) => (name, comment.clone()),
                None => (field.name(), None),
            };
            if !names.insert(name.clone()) {
                return Err(Error::Statement {
                    detail: format!("the view would have two columns \"{name}\""),
                    hint: Some("name its columns: CREATE VIEW v (a, b) AS ...".to_owned()),
                });
            }
            let field = Field::new(name, field.data_type().clone(), true);
            let metadata = comment.map(|comment| (COMMENT.to_owned(), comment));
            fields.push(field.with_metadata(metadata.into_iter().collect()));
        }
        Ok(Schema::new(fields))
    }
}
