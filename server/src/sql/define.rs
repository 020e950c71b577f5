//! Names for queries: CREATE TEMPORARY VIEW, DROP VIEW, PREPARE, DEALLOCATE. DROP VIEW alone reaches beyond the session.

use catalog::{AsOf, TableName};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{CreateTableOptions, CreateView, ObjectName, ObjectType, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use proto::ErrorKind;

use super::ddl::branch::refused;
use super::ddl::{forget, lake_name};
use super::execute;
use super::parse::{self, name_parts, refusal};
use super::plan::Planner;
use crate::access::{Privilege, missing};
use crate::error::{Error, Result, meant};
use crate::session::{NamedStatement, Session, TemporaryView};

/// A plan with more steps is no view: whoever names it twice in the next one would double it.
pub(super) const VIEW_STEPS_MAX: usize = 500;

/// A change to the names that a session knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Definition {
    /// `CREATE [OR REPLACE] TEMPORARY VIEW [IF NOT EXISTS] name AS query`.
    View {
        name: String,
        sql: String,
        or_replace: bool,
        if_not_exists: bool,
    },
    /// `DROP VIEW [IF EXISTS] name, ...`: of the session, else of a catalog.
    DropViews { names: Vec<Vec<String>>, if_exists: bool },
    /// `PREPARE name [(type, ...)] AS query`.
    Prepare {
        name: String,
        types: Vec<String>,
        sql: String,
    },
    /// `DEALLOCATE name`, or all of them.
    Deallocate { name: Option<String> },
}

impl Definition {
    /// The definition that a statement is, or nothing when it is none. `text` is what the statement was read from.
    pub(super) fn parse(statement: &Parsed, text: &str) -> Result<Option<Self>> {
        let Parsed::Statement(statement) = statement else {
            return Ok(None);
        };
        let definition = match statement.as_ref() {
            Statement::CreateView(view) if view.temporary => Self::view(statement, view, text)?,
            Statement::Drop {
                object_type: ObjectType::View,
                if_exists,
                names,
                cascade: false,
                purge: false,
                table: None,
                ..
            } => Definition::DropViews {
                names: names.iter().map(name_parts).collect::<Result<_>>()?,
                if_exists: *if_exists,
            },
            Statement::Prepare { name, data_types, .. } => Definition::Prepare {
                name: only_part(&ObjectName::from(vec![name.clone()]))?,
                types: data_types.iter().map(ToString::to_string).collect(),
                sql: behind_as(text)?.to_owned(),
            },
            Statement::Deallocate { name, .. } => {
                let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
                let name = only_part(&ObjectName::from(vec![name.clone()]))?;
                Definition::Deallocate {
                    name: (!is_all).then_some(name),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(definition))
    }

    fn view(statement: &Statement, view: &CreateView, text: &str) -> Result<Self> {
        let is_plain = !view.or_alter
            && !view.materialized
            && !view.secure
            && !view.with_no_schema_binding
            && !view.copy_grants
            && view.options == CreateTableOptions::None
            && view.cluster_by.is_empty()
            && view.comment.is_none()
            && view.to.is_none()
            && view.params.is_none()
            && view
                .columns
                .iter()
                .all(|column| column.data_type.is_none() && column.options.is_none());
        if !is_plain {
            return Err(refusal(statement));
        }
        let name = only_part(&view.name)?;
        let mut sql = behind_as(text)?.to_owned();
        if !view.columns.is_empty() {
            let columns: Vec<_> = view.columns.iter().map(|column| column.name.to_string()).collect();
            // The query may end with a comment.
            sql = format!("SELECT * FROM (\n{sql}\n) AS v({})", columns.join(", "));
        }
        Ok(Definition::View {
            name,
            sql,
            or_replace: view.or_replace,
            if_not_exists: view.if_not_exists,
        })
    }

    /// `session` with the definition. Fails where the query cannot be planned, so that what is kept can run.
    pub(super) async fn apply(self, mut session: Session, planner: &Planner) -> Result<Session> {
        match self {
            Definition::View {
                name,
                sql,
                or_replace,
                if_not_exists,
            } => match session.views.contains_key(&name) {
                true if if_not_exists => Ok(session),
                true if !or_replace => Err(exists("view", &name, "write CREATE OR REPLACE TEMPORARY VIEW")),
                _ => add_view(session, name, sql, planner).await,
            },
            Definition::DropViews { names, if_exists } => {
                for name in names {
                    drop_view(&mut session, &name, if_exists, planner).await?;
                }
                Ok(session)
            }
            Definition::Prepare { name, types, sql } => {
                if session.statements.contains_key(&name) {
                    return Err(exists("prepared statement", &name, "end it with DEALLOCATE"));
                }
                let (statement, parameters) = query(&sql, "PREPARE")?;
                if types.len() > parameters {
                    let detail = format!(
                        "the statement takes {parameters} parameters, and {} have a type",
                        types.len()
                    );
                    return Err(Error::statement(detail));
                }
                let planned = planner.plan(&session, statement, &[]).await;
                planned.map_err(|error| error.located(&sql))?;
                session.statements.insert(name, NamedStatement { sql, types });
                session.check_size().map(|()| session)
            }
            Definition::Deallocate { name: None } => {
                session.statements.clear();
                Ok(session)
            }
            Definition::Deallocate { name: Some(name) } => match session.statements.remove(&name) {
                Some(_) => Ok(session),
                None => Err(execute::unknown(&name, &session)),
            },
        }
    }
}

/// Drops a temporary view, or the view of that name that a catalog keeps.
async fn drop_view(session: &mut Session, name: &[String], if_exists: bool, planner: &Planner) -> Result<()> {
    if let Some(own) = session.own_name(name)
        && session.views.remove(own).is_some()
    {
        return Ok(());
    }
    let kept = lake_name(name, session);
    if session.settings.branch().is_some() {
        return Err(refused(&format!("dropping the view {kept}"), session));
    }
    let guard = planner.guard();
    let dropped = async {
        guard.require(&session.user, "view", &kept, &[Privilege::Own]).await?;
        planner.lakehouse().client(&kept.catalog)?.drop_view(&kept).await?;
        forget(&guard, &kept).await
    };
    match dropped.await {
        Err(Error::Catalog(catalog::Error::NotFound { what: "view", .. })) if if_exists => Ok(()),
        Err(Error::Catalog(catalog::Error::NotFound { what: "view", .. })) => {
            Err(unknown_view(&kept, &name.join("."), session))
        }
        dropped => dropped,
    }
}

impl Planner {
    /// Refuses a name of the session that would hide a table or view of the lake, or another one of the session.
    pub(crate) async fn refuse_hiding(&self, session: &Session, name: &str) -> Result<()> {
        let hint = "the new one would hide it: choose another name";
        for (what, is_there) in [
            ("temporary table", session.tables.contains_key(name)),
            ("temporary view", session.views.contains_key(name)),
        ] {
            if is_there {
                return Err(exists(what, name, hint));
            }
        }
        let table = TableName::new(&session.catalog, &session.namespace, name);
        // Who may not know of a table is not told that something hides it.
        let found = match self.guard().sees(&session.user, &table).await? {
            true => self.lakehouse().relation(&table, &AsOf::Latest).await,
            false => Err(missing("table", &table)),
        };
        match found {
            Ok(_) => Err(exists("table", &table.to_string(), hint)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

async fn add_view(mut session: Session, name: String, sql: String, planner: &Planner) -> Result<Session> {
    let (_, parameters) = query(&sql, "CREATE VIEW")?;
    if parameters > 0 {
        return Err(Error::statement("a view takes no parameters"));
    }
    // One that is there already is replaced.
    let replaced = session.views.remove(&name);
    planner.refuse_hiding(&session, &name).await?;
    session.views.extend(replaced.map(|view| (name.clone(), view)));
    let all = format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""));
    let view = TemporaryView {
        sql,
        catalog: session.catalog.clone(),
        namespace: session.namespace.clone(),
    };
    session.views.insert(name, view);
    session.check_size()?;
    let plan = planner.plan(&session, parse::Statement::parse(&all)?, &[]).await?;
    match plan.size()? > VIEW_STEPS_MAX {
        true => Err(Error::statement(format!(
            "a view takes more than {VIEW_STEPS_MAX} steps"
        ))),
        false => Ok(session),
    }
}

/// The query that stands behind AS, and how many parameters it takes.
pub(super) fn query(sql: &str, what: &str) -> Result<(parse::Statement, usize)> {
    match parse::Statement::parse(sql)? {
        parse::Statement::Query { query, .. } if matches!(&*query, Parsed::Statement(inner) if matches!(**inner, Statement::Execute { .. })) => {
            Err(Error::statement(format!("{what} takes a query, not EXECUTE")))
        }
        statement @ parse::Statement::Query { parameters, .. } => Ok((statement, parameters)),
        _ => Err(Error::statement(format!("{what} takes a query"))),
    }
}

fn exists(what: &str, name: &str, hint: &str) -> Error {
    Error::Statement {
        detail: format!("{what} \"{name}\" already exists"),
        hint: Some(hint.to_owned()),
    }
}

fn unknown_view(kept: &TableName, name: &str, session: &Session) -> Error {
    let own = meant(name, session.views.keys().map(String::as_str));
    let hint = own.map(|own| format!("did you mean the temporary view {own}?"));
    catalog::Error::NotFound {
        what: "view",
        name: kept.to_string(),
        hint: hint.or_else(|| Some("SHOW VIEWS lists what there is".to_owned())),
    }
    .into()
}

/// A name of one part, in lower case unless quoted.
fn only_part(name: &ObjectName) -> Result<String> {
    match name_parts(name)?.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(Error::Statement {
            detail: format!("\"{name}\" is no name of the session"),
            hint: Some("temporary views belong to no schema: their names have one part".to_owned()),
        }),
    }
}

/// The text behind the first AS outside of brackets. What the parser prints again would lack the versions of tables.
fn behind_as(text: &str) -> Result<&str> {
    let none = || Error::statement("the statement has no AS");
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| Error::statement(error.to_string()))?;
    let mut depth = 0;
    let word = tokens.iter().find(|token| {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Word(word) => return depth == 0 && word.keyword == Keyword::AS,
            _ => {}
        }
        false
    });
    text_from(text, word.ok_or_else(none)?.span.end).ok_or_else(none)
}

/// The text from a location on, without the semicolons at its end; `None` for a location outside of it.
pub(super) fn text_from(text: &str, location: Location) -> Option<&str> {
    let rest = text.get(offset(text, location)?..)?;
    Some(rest.trim().trim_end_matches(';').trim_end())
}

/// Where in `text` the character at `location` begins. Both count from 1.
fn offset(text: &str, location: Location) -> Option<usize> {
    let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?;
    let within = rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column)?;
    Some(start + within)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sql::command::Command;

    fn definition(sql: &str) -> Definition {
        match parse::Statement::parse(sql).unwrap() {
            parse::Statement::Command(Command::Define(definition)) => definition,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn the_text_of_the_query_is_kept_as_it_was_written() {
        let view = |name: &str, sql: &str, or_replace, if_not_exists| Definition::View {
            name: name.to_owned(),
            sql: sql.to_owned(),
            or_replace,
            if_not_exists,
        };
        let sql = "SELECT * FROM t FOR VERSION AS OF 7 -- ü;\n";
        let check =
            |prefix: &str, expect: Definition| assert_eq!(definition(&format!("{prefix} {sql}")), expect, "{prefix}");
        let kept = sql.trim();
        check(
            "CREATE TEMPORARY VIEW v AS",
            view("v", kept.trim_end_matches(';'), false, false),
        );
        check(
            "/* ü as */ create or replace temp view V\nas",
            view("v", kept.trim_end_matches(';'), true, false),
        );
        let quoted = definition("CREATE TEMP VIEW IF NOT EXISTS \"V as\" AS SELECT 1");
        assert_eq!(quoted, view("V as", "SELECT 1", false, true));
        let columns = definition("CREATE TEMP VIEW v (a, \"B\") AS SELECT 1, 2;");
        assert_eq!(
            columns,
            view("v", "SELECT * FROM (\nSELECT 1, 2\n) AS v(a, \"B\")", false, false)
        );
        let prepare = |types: &[&str], sql: &str| Definition::Prepare {
            name: "p".to_owned(),
            types: types.iter().map(|name| name.to_string()).collect(),
            sql: sql.to_owned(),
        };
        assert_eq!(definition("PREPARE p AS SELECT ?"), prepare(&[], "SELECT ?"));
        assert_eq!(
            definition("-- x\nPREPARE P (INT, DECIMAL(10, 2)) AS\nSELECT $1 AS a, $2;"),
            prepare(&["INT", "DECIMAL(10,2)"], "SELECT $1 AS a, $2")
        );
    }

    #[test]
    fn names_are_let_go() {
        let drop = |names: &[&str], if_exists| Definition::DropViews {
            names: names.iter().map(|name| vec![name.to_string()]).collect(),
            if_exists,
        };
        assert_eq!(definition("DROP VIEW a, \"B\""), drop(&["a", "B"], false));
        assert_eq!(definition("DROP VIEW IF EXISTS A"), drop(&["a"], true));
        let deallocate = |name: Option<&str>| Definition::Deallocate {
            name: name.map(str::to_owned),
        };
        assert_eq!(definition("DEALLOCATE p"), deallocate(Some("p")));
        assert_eq!(definition("DEALLOCATE PREPARE p"), deallocate(Some("p")));
        assert_eq!(definition("DEALLOCATE ALL"), deallocate(None));
    }

    #[test]
    fn what_would_last_or_change_something_is_refused() {
        for sql in [
            "CREATE MATERIALIZED VIEW v AS SELECT 1",
            "DROP VIEW v CASCADE",
            "CREATE INDEX i ON t (a)",
        ] {
            let error = parse::Statement::parse(sql).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
        }
        for sql in ["CREATE TEMP VIEW a.b AS SELECT 1", "CREATE VIEW v"] {
            let error = parse::Statement::parse(sql).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{sql}: {error}");
        }
    }
}
