//! FETCH FIRST, and the TOP of Transact-SQL, as the LIMIT that they are.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Fetch, LimitClause, Query, SetExpr, Statement, Top, TopQuantity, Value, VisitMut, VisitorMut,
};

use crate::error::{Error, Result};

const ONE_OF_THEM: &str = ": write one of them";

/// Writes both as LIMIT, wherever a query stands in the statement.
pub(super) fn translate(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Limits) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Limits;

impl VisitorMut for Limits {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        match limit(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn limit(query: &mut Query) -> Result<()> {
    if let Some(fetch) = query.fetch.take() {
        let count = fetched(fetch)?;
        let offset = match query.limit_clause.take() {
            None => None,
            Some(LimitClause::LimitOffset {
                limit: None,
                offset,
                limit_by,
            }) if limit_by.is_empty() => offset,
            Some(_) => return Err(Error::unsupported("FETCH beside LIMIT", ONE_OF_THEM)),
        };
        query.limit_clause = Some(LimitClause::LimitOffset {
            limit: Some(count),
            offset,
            limit_by: Vec::new(),
        });
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return limit_operands(&mut query.body);
    };
    match select.top.take() {
        None => Ok(()),
        Some(_) if query.limit_clause.is_some() => {
            Err(Error::unsupported("TOP beside LIMIT, OFFSET or FETCH", ONE_OF_THEM))
        }
        Some(top) => {
            query.limit_clause = Some(first(counted(top)?));
            Ok(())
        }
    }
}

/// What UNION and its like take is limited by itself, and becomes a query of its own for that.
fn limit_operands(body: &mut SetExpr) -> Result<()> {
    // A long chain is a deep tree: too deep to walk on the stack.
    let mut bodies = vec![body];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::SetOperation { left, right, .. } => bodies.extend([left.as_mut(), right.as_mut()]),
            SetExpr::Select(select) => {
                if let Some(top) = select.top.take() {
                    let limited = limited(SetExpr::Select(select.clone()), top)?;
                    *body = SetExpr::Query(Box::new(limited));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn limited(body: SetExpr, top: Top) -> Result<Query> {
    Ok(Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: Some(first(counted(top)?)),
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    })
}

fn first(count: Expr) -> LimitClause {
    LimitClause::LimitOffset {
        limit: Some(count),
        offset: None,
        limit_by: Vec::new(),
    }
}

/// How many rows FETCH asks for: one where it says nothing.
fn fetched(fetch: Fetch) -> Result<Expr> {
    match fetch {
        Fetch { with_ties: true, .. } => Err(Error::unsupported("FETCH ... WITH TIES", ": write ONLY")),
        Fetch { percent: true, .. } => Err(Error::unsupported("FETCH ... PERCENT", ": write a number of rows")),
        Fetch { quantity, .. } => Ok(quantity.unwrap_or_else(|| number(1))),
    }
}

fn counted(top: Top) -> Result<Expr> {
    match top {
        Top { with_ties: true, .. } => Err(Error::unsupported("TOP ... WITH TIES", ": leave it out")),
        Top { percent: true, .. } => Err(Error::unsupported("TOP ... PERCENT", ": write a number of rows")),
        Top { quantity, .. } => Ok(match quantity {
            Some(TopQuantity::Expr(count)) => count,
            Some(TopQuantity::Constant(count)) => number(count),
            None => number(1),
        }),
    }
}

fn number(count: u64) -> Expr {
    Expr::Value(Value::Number(count.to_string(), false).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn translated(sql: &str) -> Result<String> {
        let mut statements = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        let mut statement = statements.pop().unwrap();
        translate(&mut statement).map(|()| statement.to_string())
    }

    #[test]
    fn both_are_limits() {
        let check = |sql: &str, expect: &str| assert_eq!(translated(sql).unwrap(), expect, "{sql}");
        check("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "SELECT a FROM t LIMIT 3");
        check("SELECT a FROM t FETCH NEXT ROW ONLY", "SELECT a FROM t LIMIT 1");
        check(
            "SELECT a FROM t ORDER BY a OFFSET 2 ROWS FETCH NEXT $1 ROWS ONLY",
            "SELECT a FROM t ORDER BY a LIMIT $1 OFFSET 2 ROWS",
        );
        check("SELECT TOP 3 a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a LIMIT 3");
        check(
            "SELECT DISTINCT TOP (1 + 1) a FROM t",
            "SELECT DISTINCT a FROM t LIMIT 1 + 1",
        );
        check(
            "SELECT * FROM (SELECT TOP 1 a FROM t) AS s WHERE a IN (SELECT b FROM u FETCH FIRST 2 ROWS ONLY)",
            "SELECT * FROM (SELECT a FROM t LIMIT 1) AS s WHERE a IN (SELECT b FROM u LIMIT 2)",
        );
        check(
            "SELECT TOP 1 a FROM t UNION ALL SELECT TOP 2 b FROM u ORDER BY 1 FETCH FIRST 2 ROWS ONLY",
            "(SELECT a FROM t LIMIT 1) UNION ALL (SELECT b FROM u LIMIT 2) ORDER BY 1 LIMIT 2",
        );
        check(
            "INSERT INTO t SELECT TOP 1 a FROM u",
            "INSERT INTO t SELECT a FROM u LIMIT 1",
        );
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        let check = |sql: &str, expect: &str| {
            let error = translated(sql).unwrap_err();
            assert_eq!(error.kind(), proto::ErrorKind::Unsupported, "{sql}");
            assert!(error.to_string().starts_with(expect), "{sql}: {error}");
        };
        check("SELECT a FROM t FETCH FIRST 3 ROWS WITH TIES", "FETCH ... WITH TIES");
        check("SELECT a FROM t FETCH FIRST 3 PERCENT ROWS ONLY", "FETCH ... PERCENT");
        check("SELECT a FROM t LIMIT 2 FETCH FIRST 3 ROWS ONLY", "FETCH beside LIMIT");
        check("SELECT TOP 3 WITH TIES a FROM t ORDER BY a", "TOP ... WITH TIES");
        check("SELECT TOP 3 PERCENT a FROM t", "TOP ... PERCENT");
        check("SELECT TOP 3 a FROM t LIMIT 2", "TOP beside LIMIT");
        check("SELECT TOP 3 a FROM t OFFSET 2", "TOP beside LIMIT");
        check("SELECT TOP 3 PERCENT a FROM t UNION SELECT 1", "TOP ... PERCENT");
    }
}
