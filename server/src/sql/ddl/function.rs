//! CREATE FUNCTION and DROP FUNCTION: expressions that a catalog keeps under names, as properties of their schema.

use std::collections::HashMap;
use std::fmt;

use catalog::{Lakehouse, TableName};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::tokenizer::Token;
use proto::ErrorKind;
use serde::{Deserialize, Serialize};

use super::cursor::{Cursor, Path};
use super::{Ddl, lake_name};
use crate::access::{Guard, Object, Privilege};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::sql::parse::Statement;
use crate::sql::plan::{Planner, functions};

/// What stands before a function's name in the key of the property that keeps it.
const KEY: &str = "lakewing.function.";

/// More arguments are refused.
const ARGUMENTS_MAX: usize = 100;

/// What a function makes one value of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FunctionKind {
    /// The values of one row.
    Scalar,
    /// Those of many.
    Aggregate,
}

/// Whether a function gives the same for the same arguments, as its maker says. What it does is what its body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

/// One argument of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Argument {
    /// Its name, in lower case unless it was quoted.
    pub(crate) name: String,
    /// Its type, in SQL.
    #[serde(rename = "type")]
    pub(crate) sql_type: String,
    /// What stands for it where a call leaves it out, in SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<String>,
}

/// A function in SQL, as a catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Function {
    pub(crate) kind: FunctionKind,
    pub(crate) arguments: Vec<Argument>,
    /// The type of what it gives, in SQL.
    pub(crate) returns: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) volatility: Option<Volatility>,
    /// An expression of its arguments, or SELECT with one.
    pub(crate) body: String,
    /// The catalog of names in it that name none.
    pub(crate) catalog: String,
    /// The schema of names in it that name none.
    pub(crate) namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
}

impl Function {
    /// The function of that name among the properties of its schema.
    pub(crate) fn read(name: &TableName, properties: &HashMap<String, String>) -> Result<Option<Self>> {
        let Some(text) = properties.get(&key(&name.table)) else {
            return Ok(None);
        };
        let read = serde_json::from_str(text).map_err(|error| catalog::Error::Corrupt {
            table: name.to_string(),
            file: format!("the property {} of its schema", key(&name.table)),
            detail: error.to_string(),
        });
        Ok(Some(read?))
    }

    /// The names of the functions among the properties of a schema, sorted.
    pub(crate) fn names(properties: &HashMap<String, String>) -> Vec<String> {
        let names = properties.keys().filter_map(|key| key.strip_prefix(KEY));
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    }
}

impl fmt::Display for Function {
    /// Its arguments, as messages tell them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.arguments.iter().map(|argument| {
            let default = argument.default.iter().map(|default| format!(" DEFAULT {default}"));
            format!("{} {}{}", argument.name, argument.sql_type, default.collect::<String>())
        });
        write!(f, "({})", arguments.collect::<Vec<_>>().join(", "))
    }
}

/// A function that is to be created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateFunction {
    /// Its name as it was written.
    name: Path,
    pub(super) or_replace: bool,
    if_not_exists: bool,
    /// Its place is that of the session once it is made.
    function: Function,
}

/// The statement, where the next words begin one about functions.
pub(super) fn parse(cursor: &mut Cursor) -> Result<Option<Ddl>> {
    for or_replace in [false, true] {
        let create = if or_replace { "CREATE OR REPLACE" } else { "CREATE" };
        for (words, kind) in [
            (" FUNCTION", FunctionKind::Scalar),
            (" AGGREGATE FUNCTION", FunctionKind::Aggregate),
        ] {
            if cursor.words(&format!("{create}{words}")) {
                let create = CreateFunction::parse(cursor, or_replace, kind)?;
                return Ok(Some(Ddl::CreateFunction(Box::new(create))));
            }
        }
        for other in ["TEMPORARY", "TEMP", "TABLE"] {
            if cursor.words(&format!("{create} {other} FUNCTION")) {
                return Err(Error::unsupported(
                    format!("{create} {other} FUNCTION"),
                    ": functions are kept by catalogs, and give one value",
                ));
            }
        }
    }
    if cursor.any(&["DROP FUNCTION", "DROP AGGREGATE FUNCTION"]) {
        let if_exists = cursor.words("IF EXISTS");
        let name = cursor.path()?;
        // There is one function of a name, whatever it takes.
        if cursor.token(&Token::LParen) && !cursor.token(&Token::RParen) {
            loop {
                cursor.data_type()?;
                if !cursor.token(&Token::Comma) {
                    cursor.expect_token(&Token::RParen)?;
                    break;
                }
            }
        }
        return Ok(Some(Ddl::DropFunction { name, if_exists }));
    }
    Ok(None)
}

impl CreateFunction {
    fn parse(cursor: &mut Cursor, or_replace: bool, kind: FunctionKind) -> Result<Self> {
        let if_not_exists = cursor.words("IF NOT EXISTS");
        if or_replace && if_not_exists {
            return Err(Error::statement("CREATE takes OR REPLACE or IF NOT EXISTS, not both"));
        }
        let name = cursor.path()?;
        let arguments = arguments(cursor)?;
        cursor.expect("RETURNS")?;
        if cursor.words("TABLE") {
            return Err(Error::unsupported(
                "CREATE FUNCTION ... RETURNS TABLE",
                ": use CREATE VIEW",
            ));
        }
        let mut function = Function {
            kind,
            arguments,
            returns: cursor.data_type()?,
            volatility: None,
            body: String::new(),
            catalog: String::new(),
            namespace: String::new(),
            comment: None,
        };
        let mut body = None;
        loop {
            if cursor.words("LANGUAGE") {
                let language = cursor.name()?;
                if language != "sql" {
                    let what = format!("CREATE FUNCTION ... LANGUAGE {}", language.to_uppercase());
                    return Err(Error::unsupported(what, ": functions are written in SQL"));
                }
            } else if cursor.any(&["IMMUTABLE", "DETERMINISTIC"]) {
                function.volatility = Some(Volatility::Immutable);
            } else if cursor.words("STABLE") {
                function.volatility = Some(Volatility::Stable);
            } else if cursor.any(&["VOLATILE", "NOT DETERMINISTIC"]) {
                function.volatility = Some(Volatility::Volatile);
            } else if cursor.words("COMMENT") {
                function.comment = Some(cursor.text()?);
            } else if body.is_none() && cursor.words("RETURN") {
                body = Some(cursor.unbracketed()?);
            } else if body.is_none() && cursor.words("AS") {
                body = Some(match cursor.is_token(&Token::LParen) {
                    true => cursor.expression()?,
                    false => cursor.quoted()?,
                });
            } else {
                break;
            }
        }
        function.body = body.ok_or_else(|| cursor.wanted("AS or RETURN"))?;
        Ok(Self {
            name,
            or_replace,
            if_not_exists,
            function,
        })
    }

    /// Creates it, once a call of it could be planned.
    pub(super) async fn run(mut self, session: &Session, planner: &Planner) -> Result<()> {
        let name = lake_name(&self.name, session);
        self.function.catalog.clone_from(&session.catalog);
        self.function.namespace.clone_from(&session.namespace);
        let state = planner.state(session)?;
        if functions::is_built_in(&state, &name.table) {
            return Err(Error::statement(format!(
                "{} is a function of the server: choose another name",
                name.table
            )));
        }
        Box::pin(self.check(&name, session, planner, &state)).await?;
        let client = planner.lakehouse().client(&name.catalog)?;
        let (guard, user) = (planner.guard(), session.user.as_str());
        let place = (name.catalog.as_str(), name.namespace.as_str());
        guard
            .require_on_schema(user, place.0, place.1, Privilege::Create)
            .await?;
        let exists = Function::names(&client.namespace_properties(&name.namespace).await?).contains(&name.table);
        match exists {
            true if self.if_not_exists => return Ok(()),
            true if !self.or_replace => {
                return Err(catalog::Error::AlreadyExists {
                    what: "function",
                    name: name.to_string(),
                }
                .into());
            }
            true => guard.require_function(user, &name).await?,
            false => {}
        }
        let text = serde_json::to_string(&self.function).map_err(|error| Error::statement(error.to_string()))?;
        let key = key(&name.table);
        client
            .set_namespace_property(&name.namespace, &key, Some(&text))
            .await?;
        match exists {
            true => Ok(()),
            false => guard.take(user, place, &Object::Function(name.table.clone())).await,
        }
    }

    /// Plans the body over columns of the arguments' names and types. It must be an expression of nothing else.
    async fn check(&self, name: &TableName, session: &Session, planner: &Planner, state: &SessionState) -> Result<()> {
        let function = &self.function;
        let body = functions::body(&function.body)?;
        if functions::names_in(&body, state)?
            .iter()
            .any(|called| lake_name(called, session) == *name)
        {
            return Err(Error::statement(format!("the function {name} is built on itself")));
        }
        let mut known = Vec::with_capacity(function.arguments.len());
        for argument in &function.arguments {
            if known.contains(&argument.name.as_str()) {
                return Err(Error::statement(format!(
                    "two arguments are called \"{}\"",
                    argument.name
                )));
            }
            known.push(&argument.name);
            if let Some(default) = &argument.default {
                let default = functions::body(default)?;
                functions::check_names(&default, &[])?;
                plan(
                    &format!("CAST({default} AS {})", argument.sql_type),
                    "",
                    session,
                    planner,
                )
                .await?;
            }
        }
        functions::check_names(&body, &known)?;
        let columns = function.arguments.iter().map(|argument| {
            let name = argument.name.replace('"', "\"\"");
            format!("CAST(NULL AS {}) AS \"{name}\"", argument.sql_type)
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        let rows = match columns.is_empty() {
            true => String::new(),
            false => format!(" FROM (SELECT {columns}) AS arguments"),
        };
        let aggregates = plan(
            &format!("CAST({body} AS {})", function.returns),
            &rows,
            session,
            planner,
        )
        .await?;
        match (function.kind, aggregates) {
            (FunctionKind::Scalar, true) => Err(Error::Statement {
                detail: format!("the body of {name} has an aggregate function"),
                hint: Some("write CREATE AGGREGATE FUNCTION".to_owned()),
            }),
            (FunctionKind::Aggregate, false) => Err(Error::Statement {
                detail: format!("the body of {name} has no aggregate function"),
                hint: Some("write CREATE FUNCTION".to_owned()),
            }),
            _ => Ok(()),
        }
    }
}

/// Plans `SELECT expression rows`; whether it aggregates. It must be an expression of one value.
async fn plan(expression: &str, rows: &str, session: &Session, planner: &Planner) -> Result<bool> {
    let statement = Statement::parse(&format!("SELECT {expression} AS result{rows}"))?;
    if matches!(statement, Statement::Query { parameters: 1.., .. }) {
        return Err(Error::Statement {
            detail: "a function has no parameters of a prepared statement".to_owned(),
            hint: Some("its arguments have names".to_owned()),
        });
    }
    let planned = planner.plan(session, statement, &[]).await?;
    planned.schema()?;
    let mut aggregates = false;
    let mut steps = vec![&planned.plan];
    while let Some(step) = steps.pop() {
        match step {
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::EmptyRelation(_) => {}
            LogicalPlan::Aggregate(_) => aggregates = true,
            _ => return Err(Error::unsupported("a function of windows or of several rows", "")),
        }
        steps.extend(step.inputs());
    }
    Ok(aggregates)
}

/// Takes the function of that name away.
pub(super) async fn drop(
    name: &TableName,
    if_exists: bool,
    lakehouse: &Lakehouse,
    (user, guard): (&str, &Guard),
) -> Result<()> {
    match guard.require_function(user, name).await {
        Err(error) if if_exists && error.kind() == ErrorKind::NotFound => return Ok(()),
        checked => checked?,
    }
    let client = lakehouse.client(&name.catalog)?;
    let names = match client.namespace_properties(&name.namespace).await {
        Ok(properties) => Function::names(&properties),
        Err(catalog::Error::NotFound { what: "namespace", .. }) if if_exists => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match names.contains(&name.table) {
        true => {
            let key = key(&name.table);
            client.set_namespace_property(&name.namespace, &key, None).await?;
            let object = Object::Function(name.table.clone());
            guard.forget((&name.catalog, &name.namespace), &object).await
        }
        false if if_exists => Ok(()),
        false => Err(catalog::Error::NotFound {
            what: "function",
            name: name.to_string(),
            hint: None,
        }
        .into()),
    }
}

/// Refuses to drop a schema that has functions.
pub(super) async fn check_none_in(catalog: &str, namespace: &str, lakehouse: &Lakehouse) -> Result<()> {
    let properties = lakehouse.client(catalog)?.namespace_properties(namespace).await;
    let functions = match properties {
        Ok(properties) => Function::names(&properties),
        // Dropping it says so.
        Err(catalog::Error::NotFound { .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    match functions.first() {
        None => Ok(()),
        Some(function) => Err(Error::Statement {
            detail: format!("the schema \"{catalog}.{namespace}\" is not empty: it has the function {function}"),
            hint: Some("write DROP FUNCTION first".to_owned()),
        }),
    }
}

fn key(function: &str) -> String {
    format!("{KEY}{function}")
}

/// `(name type [DEFAULT constant], ...)`. An argument behind one with a default has one, too.
fn arguments(cursor: &mut Cursor) -> Result<Vec<Argument>> {
    cursor.expect_token(&Token::LParen)?;
    let mut arguments: Vec<Argument> = Vec::new();
    if cursor.token(&Token::RParen) {
        return Ok(arguments);
    }
    loop {
        let name = cursor.name()?;
        let sql_type = cursor.data_type()?;
        let default = match cursor.words("DEFAULT") || cursor.token(&Token::Eq) {
            true => Some(cursor.unbracketed()?),
            false => None,
        };
        if default.is_none() && arguments.last().is_some_and(|before| before.default.is_some()) {
            return Err(Error::statement(format!(
                "the argument {name} has no default, and the one before it has"
            )));
        }
        arguments.push(Argument {
            name,
            sql_type,
            default,
        });
        if !cursor.token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            break;
        }
    }
    match arguments.len() > ARGUMENTS_MAX {
        true => Err(Error::statement(format!(
            "a function takes at most {ARGUMENTS_MAX} arguments"
        ))),
        false => Ok(arguments),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;
    use proto::ErrorKind;

    use super::*;

    fn read(sql: &str) -> Result<Option<Ddl>> {
        let tokens = Tokenizer::new(&GenericDialect {}, sql)
            .tokenize_with_location()
            .unwrap();
        Ddl::parse(&tokens, sql)
    }

    fn function(sql: &str) -> CreateFunction {
        match read(sql).unwrap() {
            Some(Ddl::CreateFunction(function)) => *function,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn bodies_are_texts_and_expressions() {
        let check = |sql: &str, body: &str, volatility: Option<Volatility>| {
            let function = function(sql).function;
            assert_eq!((function.body.trim(), function.volatility), (body, volatility), "{sql}");
        };
        check(
            "CREATE FUNCTION f (a INT) RETURNS INT AS $$ SELECT a * 2 $$ LANGUAGE SQL;",
            "SELECT a * 2",
            None,
        );
        check(
            "create function f(a int) returns int language sql immutable as 'a + 1'",
            "a + 1",
            Some(Volatility::Immutable),
        );
        check(
            "CREATE FUNCTION f() RETURNS DOUBLE NOT DETERMINISTIC RETURN random()",
            "random()",
            Some(Volatility::Volatile),
        );
        check(
            "CREATE FUNCTION f(a DECIMAL(10, 2)) RETURNS INT STABLE AS (a + 1)",
            "a + 1",
            Some(Volatility::Stable),
        );
    }

    #[test]
    fn arguments_have_names_types_and_defaults() {
        let made = function(
            "CREATE OR REPLACE AGGREGATE FUNCTION lake.shop.F (A INT, \"B\" VARCHAR(10) DEFAULT 'x', c DOUBLE = -1.5) \
             RETURNS DECIMAL(10, 2) COMMENT 'what it does' AS 'sum(a)'",
        );
        assert_eq!(made.name, ["lake", "shop", "f"]);
        assert!(made.or_replace && made.function.kind == FunctionKind::Aggregate);
        assert_eq!(
            made.function.to_string(),
            "(a INT, B VARCHAR(10) DEFAULT 'x', c DOUBLE DEFAULT -1.5)"
        );
        assert_eq!(made.function.returns, "DECIMAL(10,2)");
        assert_eq!(made.function.comment.as_deref(), Some("what it does"));
    }

    #[test]
    fn what_a_catalog_keeps_is_read_as_it_was_written() {
        let name = TableName::new("lake", "shop", "f");
        let kept = function("CREATE FUNCTION f(a INT DEFAULT 1) RETURNS INT AS 'a'").function;
        let mut properties = HashMap::from([("comment".to_owned(), "f".to_owned())]);
        assert_eq!(Function::read(&name, &properties).unwrap(), None);
        properties.insert(key("f"), serde_json::to_string(&kept).unwrap());
        assert_eq!(Function::read(&name, &properties).unwrap(), Some(kept));
        assert_eq!(Function::names(&properties), ["f"]);
        properties.insert(key("f"), "{}".to_owned());
        let damaged = Function::read(&name, &properties).unwrap_err().to_string();
        assert!(damaged.contains("lakewing.function.f"), "{damaged}");
    }

    #[test]
    fn one_function_of_a_name_is_dropped() {
        let check = |sql: &str, if_exists: bool| {
            let name = vec!["s".to_owned(), "f".to_owned()];
            assert_eq!(read(sql).unwrap(), Some(Ddl::DropFunction { name, if_exists }), "{sql}");
        };
        check("DROP FUNCTION s.f", false);
        check("DROP FUNCTION IF EXISTS s.f()", true);
        check("DROP AGGREGATE FUNCTION s.f (INT, DECIMAL(10, 2))", false);
    }

    #[test]
    fn other_functions_are_refused_by_name() {
        let check = |sql: &str, kind: ErrorKind, says: &str| {
            let error = read(sql).unwrap_err();
            assert_eq!(error.kind(), kind, "{sql}: {error}");
            assert!(error.to_string().contains(says), "{sql}: {error}");
        };
        let unsupported = ErrorKind::Unsupported;
        check(
            "CREATE FUNCTION f(a INT) RETURNS INT LANGUAGE PYTHON AS $$ def f(a): return a $$",
            unsupported,
            "LANGUAGE PYTHON",
        );
        check(
            "CREATE FUNCTION f() RETURNS TABLE (a INT) AS 'SELECT 1'",
            unsupported,
            "RETURNS TABLE",
        );
        check(
            "CREATE TEMPORARY FUNCTION f() RETURNS INT RETURN 1",
            unsupported,
            "TEMPORARY",
        );
        let invalid = ErrorKind::InvalidInput;
        check("CREATE FUNCTION f(a INT) RETURNS INT", invalid, "AS or RETURN");
        check(
            "CREATE FUNCTION f(a INT = 1, b INT) RETURNS INT AS 'a'",
            invalid,
            "argument b",
        );
        check(
            "CREATE OR REPLACE FUNCTION IF NOT EXISTS f() RETURNS INT AS '1'",
            invalid,
            "not both",
        );
        check("CREATE FUNCTION f(INT) RETURNS INT AS '1'", invalid, "type");
    }
}
