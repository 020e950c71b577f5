//! SET, RESET, USE, DISCARD and the definitions of names: statements that change the session and nothing else.

use datafusion::sql::parser::{ResetStatement, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    ContextModifier, DiscardObject, Expr, ObjectName, Set, Statement, UnaryOperator, Use, Value,
};

use super::define::Definition;
use super::listing::{self, Selection};
use super::parse::{name_parts, refusal};
use super::plan::Planner;
use crate::access::Viewer;
use crate::error::{Error, Result, meant};
use crate::session::{SETTINGS, Session, Setting};

/// A change to the session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `SET name = value`.
    Set { name: String, value: String },
    /// `RESET name`, `SET name = DEFAULT`, or `RESET ALL`.
    Reset { name: String },
    /// `USE schema` or `USE catalog.schema`. A name of one part that is no schema is a catalog.
    Use { catalog: Option<String>, namespace: String },
    /// `DISCARD ALL`: the session as it began.
    Discard,
    /// A name for a query, or the end of one.
    Define(Definition),
}

impl Command {
    /// The command that a statement is, or nothing when it is none.
    /// `text` is what it was read from.
    pub(super) fn parse(statement: &Parsed, text: &str) -> Result<Option<Self>> {
        if let Some(definition) = Definition::parse(statement, text)? {
            return Ok(Some(Command::Define(definition)));
        }
        let statement = match statement {
            Parsed::Reset(ResetStatement::Variable(name)) => {
                return Ok(Some(Command::Reset { name: variable(name) }));
            }
            Parsed::Statement(statement) => statement.as_ref(),
            _ => return Ok(None),
        };
        match statement {
            Statement::Set(Set::SingleAssignment {
                scope: None | Some(ContextModifier::Session),
                hivevar: false,
                variable: name,
                values,
            }) => match values.as_slice() {
                [value] => Self::set(variable(name), value).map(Some),
                _ => Err(Error::statement("SET takes one value")),
            },
            Statement::Set(Set::SetTimeZone { local: false, value }) => {
                Self::set("time_zone".to_owned(), value).map(Some)
            }
            Statement::Set(_) => Err(refusal(statement)),
            Statement::Use(Use::Object(name)) => match name_parts(name)?.as_slice() {
                [namespace] => Ok(Some(Command::Use {
                    catalog: None,
                    namespace: namespace.clone(),
                })),
                [catalog, namespace] => Ok(Some(Command::Use {
                    catalog: Some(catalog.clone()),
                    namespace: namespace.clone(),
                })),
                _ => Err(Error::statement("USE takes a schema, a catalog or catalog.schema")),
            },
            Statement::Discard {
                object_type: DiscardObject::ALL,
            } => Ok(Some(Command::Discard)),
            _ => Ok(None),
        }
    }

    fn set(name: String, value: &Expr) -> Result<Self> {
        if let Expr::Identifier(ident) = value
            && ident.quote_style.is_none()
            && ident.value.eq_ignore_ascii_case("default")
        {
            return Ok(Command::Reset { name });
        }
        let value = literal(value).ok_or_else(|| Error::statement("SET takes a text or a number"))?;
        Ok(Command::Set { name, value })
    }

    /// `session` after the command; `fresh` is the user's session before any. Fails when a name does not exist.
    pub(crate) async fn apply(self, mut session: Session, fresh: &Session, planner: &Planner) -> Result<Session> {
        let (lakehouse, viewer) = (planner.lakehouse(), planner.viewer(&session));
        match self {
            Command::Define(definition) => session = Box::pin(definition.apply(session, planner)).await?,
            Command::Discard => session = fresh.clone(),
            Command::Use {
                catalog: Some(catalog),
                namespace,
            } => {
                session.catalog = catalog;
                session.namespace = namespace;
                check_namespace(&session, &viewer).await?;
            }
            Command::Use {
                catalog: None,
                namespace,
            } => go_to(&mut session, fresh, namespace, &viewer).await?,
            Command::Set { name, value } => match name.to_lowercase().as_str() {
                "catalog" => {
                    lakehouse.client(&value)?;
                    session.catalog = value;
                }
                "schema" => {
                    session.namespace = value;
                    check_namespace(&session, &viewer).await?;
                }
                _ => session.settings.set(Setting::find(&name)?, &value)?,
            },
            Command::Reset { name } => match name.to_lowercase().as_str() {
                "all" => {
                    session.catalog.clone_from(&fresh.catalog);
                    session.namespace.clone_from(&fresh.namespace);
                    session.settings.clone_from(&fresh.settings);
                }
                "catalog" => session.catalog.clone_from(&fresh.catalog),
                "schema" => session.namespace.clone_from(&fresh.namespace),
                _ => session.settings.reset(Setting::find(&name)?),
            },
        }
        Ok(session)
    }
}

/// Every setting of a session: name, value, description.
pub(super) fn settings(session: &Session) -> Vec<(&'static str, &str, &'static str)> {
    let names = [
        (
            "catalog",
            session.catalog.as_str(),
            "the catalog of names that name none",
        ),
        (
            "schema",
            session.namespace.as_str(),
            "the schema of names that name none",
        ),
    ];
    let others = SETTINGS
        .iter()
        .map(|setting| (setting.name, session.settings.get(setting), setting.description));
    names.into_iter().chain(others).collect()
}

/// Goes to the schema `name` of the current catalog, or to the catalog `name` where there is no such schema.
async fn go_to(session: &mut Session, fresh: &Session, name: String, viewer: &Viewer) -> Result<()> {
    let known = known(&session.catalog, viewer).await?;
    if known.contains(&name) || !viewer.lakehouse().catalog_names().contains(&name) {
        session.namespace = name;
        return check_known(session, &known);
    }
    let known = self::known(&name, viewer).await?;
    session.catalog = name;
    if !known.contains(&session.namespace) {
        session.namespace.clone_from(&fresh.namespace);
    }
    Ok(())
}

async fn check_namespace(session: &Session, viewer: &Viewer) -> Result<()> {
    check_known(session, &known(&session.catalog, viewer).await?)
}

/// The schemas of a catalog that the user may know of.
async fn known(catalog: &str, viewer: &Viewer) -> Result<Vec<String>> {
    viewer.lakehouse().client(catalog)?;
    let selection = Selection {
        catalog: Some(catalog.to_owned()),
        ..Selection::default()
    };
    let names = listing::namespaces(viewer, &selection).await?;
    Ok(names.into_iter().map(|(_, namespace)| namespace).collect())
}

fn check_known(session: &Session, known: &[String]) -> Result<()> {
    let Session { catalog, namespace, .. } = session;
    if known.contains(namespace) {
        return Ok(());
    }
    let hint = match meant(namespace, known.iter().map(String::as_str)) {
        Some(known) => format!("did you mean {catalog}.{known}?"),
        None => format!("SHOW SCHEMAS IN {catalog} lists what there is"),
    };
    Err(catalog::Error::NotFound {
        what: "namespace",
        name: format!("{catalog}.{namespace}"),
        hint: Some(hint),
    }
    .into())
}

fn variable(name: &ObjectName) -> String {
    name.to_string().replace(['"', '`'], "")
}

/// The text of a literal or a bare word.
fn literal(value: &Expr) -> Option<String> {
    match value {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => Some(text.clone()),
            number @ (Value::Number(..) | Value::Boolean(_)) => Some(number.to_string()),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => literal(expr).map(|value| format!("-{value}")),
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } => literal(expr),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::sql::parse::Statement;

    use super::*;

    fn check(sql: &str, expect: Command) {
        match Statement::parse(sql).unwrap() {
            Statement::Command(command) => assert_eq!(command, expect, "{sql}"),
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn reads_every_spelling() {
        let set = |name: &str, value: &str| Command::Set {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        check("SET time_zone = 'Europe/Berlin'", set("time_zone", "Europe/Berlin"));
        check("SET time_zone TO 'UTC'", set("time_zone", "UTC"));
        check("SET TIME ZONE 'UTC'", set("time_zone", "UTC"));
        check("SET TIMEZONE = UTC", set("TIMEZONE", "UTC"));
        check("SET SESSION batch_size = 10", set("batch_size", "10"));
        check(
            "SET datafusion.execution.batch_size = -1",
            set("datafusion.execution.batch_size", "-1"),
        );
        check("SET catalog = delta", set("catalog", "delta"));
        check(
            "SET batch_size = DEFAULT",
            Command::Reset {
                name: "batch_size".to_owned(),
            },
        );
        check(
            "RESET time_zone",
            Command::Reset {
                name: "time_zone".to_owned(),
            },
        );
        check("RESET ALL", Command::Reset { name: "ALL".to_owned() });
        check(
            "USE tpch",
            Command::Use {
                catalog: None,
                namespace: "tpch".to_owned(),
            },
        );
        check(
            "USE Delta.\"Tpch\"",
            Command::Use {
                catalog: Some("delta".to_owned()),
                namespace: "Tpch".to_owned(),
            },
        );
        check("DISCARD ALL", Command::Discard);
    }

    #[test]
    fn other_spellings_are_refused() {
        for sql in [
            "SET LOCAL time_zone = 'UTC'",
            "SET time_zone = 1 + 1",
            "SET time_zone = ?",
            "USE a.b.c",
        ] {
            assert!(Statement::parse(sql).is_err(), "{sql}");
        }
    }
}
