//! `LIKE ... ESCAPE 'c'`: the engine escapes with a backslash only.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Statement, Value, ValueWithSpan, VisitMut, VisitorMut};

use crate::error::{Error, Result};

/// Writes patterns that escape with another character, or with none, as those that escape with a backslash.
pub(super) fn translate(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Patterns) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Patterns;

impl VisitorMut for Patterns {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let (Expr::Like {
            pattern, escape_char, ..
        }
        | Expr::ILike {
            pattern, escape_char, ..
        }) = expr
        else {
            return ControlFlow::Continue(());
        };
        match rewrite(pattern, escape_char) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn rewrite(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) -> Result<()> {
    let Some(told) = escape.as_ref().and_then(|escape| text(&escape.value)) else {
        return Ok(());
    };
    let mut told = told.chars();
    let by = match (told.next(), told.next()) {
        (by, None) => by,
        (_, Some(_)) => return Err(Error::statement("ESCAPE takes one character or none")),
    };
    if by != Some('\\') {
        escape_by_backslash(pattern, by)?;
    }
    *escape = None;
    Ok(())
}

/// Rewrites a constant text, or a chain of them.
fn escape_by_backslash(pattern: &mut Expr, by: Option<char>) -> Result<()> {
    let no_constant = || {
        Error::unsupported(
            "LIKE ... ESCAPE with a pattern that is no constant text",
            ": escape with the backslash, which takes no ESCAPE",
        )
    };
    // A long chain is a deep tree: too deep to walk on the stack.
    let mut parts = vec![pattern];
    while let Some(part) = parts.pop() {
        match part {
            Expr::Nested(inner) => parts.push(inner),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::StringConcat,
                right,
            } => parts.extend([left.as_mut(), right.as_mut()]),
            Expr::Value(value) => {
                let escaped = escaped(text(&value.value).ok_or_else(no_constant)?, by)?;
                value.value = Value::SingleQuotedString(escaped);
            }
            _ => return Err(no_constant()),
        }
    }
    Ok(())
}

/// The pattern that means with a backslash what `pattern` means with `by`.
fn escaped(pattern: &str, by: Option<char>) -> Result<String> {
    let mut escaped = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(found) = rest.next() {
        let (literal, is_literal) = match Some(found) == by {
            true => {
                let next = rest.next();
                let none = || Error::statement("a pattern of LIKE ends with its ESCAPE character");
                (next.ok_or_else(none)?, true)
            }
            false => (found, false),
        };
        if literal == '\\' || is_literal && matches!(literal, '%' | '_') {
            escaped.push('\\');
        }
        escaped.push(literal);
    }
    Ok(escaped)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) | Value::NationalStringLiteral(text) => {
            Some(text)
        }
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn translated(condition: &str) -> Result<String> {
        let sql = format!("SELECT {condition}");
        let mut statements = Parser::parse_sql(&GenericDialect {}, &sql).unwrap();
        let mut statement = statements.pop().unwrap();
        translate(&mut statement)?;
        Ok(statement.to_string()["SELECT ".len()..].to_owned())
    }

    #[test]
    fn patterns_escape_with_a_backslash() {
        let check = |condition: &str, expect: &str| assert_eq!(translated(condition).unwrap(), expect, "{condition}");
        check(r"a LIKE 'x!%y%' ESCAPE '!'", r"a LIKE 'x\%y%'");
        check(r"a NOT LIKE '_!_' ESCAPE '!'", r"a NOT LIKE '_\_'");
        check(r"a ILIKE ('!!!%') ESCAPE '!'", r"a ILIKE ('!\%')");
        check(r"a LIKE '%' || 'x/_' || '%' ESCAPE '/'", r"a LIKE '%' || 'x\_' || '%'");
        check(r"a LIKE '\!\' ESCAPE '!'", r"a LIKE '\\\\'");
        check(r"a LIKE '!ab' ESCAPE '!'", r"a LIKE 'ab'");
        check(r"a LIKE 'ü%%' ESCAPE 'ü'", r"a LIKE '\%%'");
        check(r"a LIKE '%%_' ESCAPE '%'", r"a LIKE '\%_'");
        check(r"a LIKE 'x\%' ESCAPE ''", r"a LIKE 'x\\%'");
        check(r"a LIKE b ESCAPE '\'", r"a LIKE b");
        check(r"a LIKE 'x\%'", r"a LIKE 'x\%'");
    }

    #[test]
    fn what_cannot_be_escaped_is_refused() {
        let check = |condition: &str, expect: &str| {
            let error = translated(condition).unwrap_err().to_string();
            assert!(error.contains(expect), "{condition}: {error}");
        };
        check("a LIKE b ESCAPE '!'", "no constant text");
        check("a LIKE b ESCAPE ''", "no constant text");
        check("a LIKE '%' || b ESCAPE '!'", "no constant text");
        check("a LIKE 'x!' ESCAPE '!'", "ends with its ESCAPE");
        check("a LIKE 'x' ESCAPE '!!'", "one character");
    }
}
