//! EXECUTE: the statement that PREPARE named, with its arguments written in the place of its parameters.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{self, CastKind, Expr, ExprWithAlias, Value, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::parse::{Statement, VersionedTable, check_constant, name_parts, refusal};
use crate::error::{Error, Result, meant};
use crate::session::{NamedStatement, Session};

/// Replaces EXECUTE, also behind EXPLAIN, by the query that it runs, and adds the versions of tables in that.
pub(super) fn expand(statement: &mut Parsed, versions: &mut Vec<VersionedTable>, session: &Session) -> Result<()> {
    match statement {
        Parsed::Explain(explain) => expand(&mut explain.statement, versions, session),
        Parsed::Statement(inner) if matches!(**inner, ast::Statement::Execute { .. }) => {
            let (query, named) = run(inner, session)?;
            *statement = query;
            versions.extend(named);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a statement is EXECUTE, or EXPLAIN of it.
pub(super) fn is_one(statement: &Parsed) -> bool {
    match statement {
        Parsed::Explain(explain) => is_one(&explain.statement),
        Parsed::Statement(inner) => matches!(**inner, ast::Statement::Execute { .. }),
        _ => false,
    }
}

fn run(execute: &ast::Statement, session: &Session) -> Result<(Parsed, Vec<VersionedTable>)> {
    let ast::Statement::Execute {
        name: Some(name),
        parameters,
        has_parentheses,
        immediate: false,
        into,
        using,
        output: false,
        default: false,
    } = execute
    else {
        return Err(refusal(execute));
    };
    let is_misread = !parameters.is_empty() && (!using.is_empty() || !has_parentheses);
    if is_misread || !into.is_empty() || using.iter().any(|argument| argument.alias.is_some()) {
        return Err(refusal(execute));
    }
    let name = name_parts(name)?.join(".");
    let Some(named) = session.statements.get(&name) else {
        return Err(unknown(&name, session));
    };
    let using = using.iter().map(|ExprWithAlias { expr, .. }| expr);
    let arguments: Vec<_> = parameters.iter().chain(using).cloned().collect();
    let Statement::Query {
        mut query,
        parameters,
        versions,
    } = Statement::parse(&named.sql)?
    else {
        return Err(Error::statement(format!(
            "the prepared statement \"{name}\" is no query"
        )));
    };
    if arguments.len() != parameters {
        let detail = format!(
            "the statement takes {parameters} parameters, and {} are given",
            arguments.len()
        );
        return Err(Error::statement(detail));
    }
    let mut arguments = Arguments(typed(arguments, named)?);
    if let Parsed::Statement(query) = query.as_mut() {
        let ControlFlow::<()>::Continue(()) = query.visit(&mut arguments) else {
            return Err(refusal(execute));
        };
    }
    Ok((*query, versions))
}

/// The error for a statement that nobody prepared.
pub(super) fn unknown(name: &str, session: &Session) -> Error {
    let names = session.statements.keys().map(String::as_str);
    Error::Statement {
        detail: format!("there is no prepared statement \"{name}\""),
        hint: Some(match meant(name, names) {
            Some(known) => format!("did you mean {known}?"),
            None => "PREPARE makes one".to_owned(),
        }),
    }
}

/// The arguments, with the types that PREPARE gave to the parameters. Only constants: a column would be looked for in
/// the prepared query.
fn typed(arguments: Vec<Expr>, named: &NamedStatement) -> Result<Vec<Expr>> {
    let mut types = named.types.iter();
    let typed = arguments.into_iter().map(|argument| {
        check_constant(&argument)?;
        let argument = Expr::Nested(Box::new(argument));
        let Some(data_type) = types.next() else {
            return Ok(argument);
        };
        let parsed = Parser::new(&GenericDialect {})
            .try_with_sql(data_type)
            .and_then(|mut parser| parser.parse_data_type());
        Ok(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(argument),
            data_type: parsed.map_err(|error| Error::statement(error.to_string()))?,
            array: false,
            format: None,
        })
    });
    typed.collect()
}

/// Puts the arguments in the place of `$1` and so on.
struct Arguments(Vec<Expr>);

impl VisitorMut for Arguments {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
            && let Some(index) = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok())
            && let Some(argument) = self.0.get(index.wrapping_sub(1))
        {
            *expr = argument.clone();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn expanded(sql: &str, prepared: &str, types: &[&str]) -> Result<String> {
        let mut session = Session::new("alice", "lake", "default");
        let named = NamedStatement {
            sql: prepared.to_owned(),
            types: types.iter().map(|name| name.to_string()).collect(),
        };
        session.statements.insert("p".to_owned(), named);
        let Statement::Query {
            mut query,
            mut versions,
            ..
        } = Statement::parse(sql)?
        else {
            panic!("{sql}")
        };
        expand(&mut query, &mut versions, &session)?;
        Ok(query.to_string())
    }

    #[test]
    fn arguments_take_the_place_of_parameters() {
        let check = |sql: &str, prepared: &str, types: &[&str], expect: &str| {
            assert_eq!(expanded(sql, prepared, types).unwrap(), expect, "{sql}");
        };
        check("EXECUTE p", "SELECT 1", &[], "SELECT 1");
        check("EXECUTE P(1, -2)", "SELECT ? - ?", &[], "SELECT (1) - (-2)");
        check(
            "/* x */ EXECUTE p USING 1, 'a'",
            "SELECT $2, $1, $1",
            &[],
            "SELECT ('a'), (1), (1)",
        );
        check("EXECUTE p('7')", "SELECT $1", &["INT"], "SELECT CAST(('7') AS INT)");
        check(
            "EXPLAIN EXECUTE p(3)",
            "SELECT a FROM t LIMIT ?",
            &[],
            "EXPLAIN SELECT a FROM t LIMIT (3)",
        );
        check(
            "EXECUTE p(now())",
            "SELECT 1 WHERE $1 > (SELECT $1)",
            &[],
            "SELECT 1 WHERE (now()) > (SELECT (now()))",
        );
    }

    #[test]
    fn what_is_no_constant_or_no_statement_is_refused() {
        let check = |sql: &str, expect: &str| {
            let error = expanded(sql, "SELECT name FROM t WHERE name = ?", &[])
                .unwrap_err()
                .to_string();
            assert!(error.contains(expect), "{sql}: {error}");
        };
        check("EXECUTE p", "takes 1 parameters, and 0 are given");
        check("EXECUTE p(1, 2)", "takes 1 parameters, and 2 are given");
        check("EXECUTE p(name)", "the column name");
        check("EXECUTE p((SELECT 1))", "a query");
        check("EXECUTE q", "there is no prepared statement \"q\"");
        check("EXECUTE IMMEDIATE 'SELECT 1'", "EXECUTE is not supported");
    }
}
