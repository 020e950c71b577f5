//! Forms of INSERT, UPDATE, DELETE and MERGE that DataFusion does not plan, as forms that it does:
//!
//! | Written | Planned |
//! |---|---|
//! | `WITH a AS (q) INSERT INTO t SELECT ...` | `INSERT INTO t WITH a AS (q) SELECT ...` |
//! | `WITH a AS (q) DELETE FROM t WHERE x IN (SELECT ...)` | `DELETE FROM t WHERE x IN (WITH a AS (q) SELECT ...)` |
//! | `UPDATE t SET x = s.x FROM s WHERE c` | `MERGE INTO t USING s ON c WHEN MATCHED THEN UPDATE SET x = s.x` |
//! | `DELETE FROM t USING s WHERE c` | `MERGE INTO t USING s ON c WHEN MATCHED THEN DELETE` |

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Delete, Expr, FromTable, Ident, Merge, MergeAction, MergeClause, MergeClauseKind, MergeUpdateExpr, Query, SetExpr,
    Statement, TableAlias, TableFactor, TableWithJoins, Update, UpdateTableFromKind, Value, VisitMut, VisitorMut, With,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::{Error, Result};

/// `statement` in a form that can be planned. Other statements stay as they are.
pub(in crate::sql) fn rewrite(statement: &mut Statement) -> Result<()> {
    if let Statement::Query(query) = statement
        && let SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner) | SetExpr::Merge(inner) =
            query.body.as_mut()
    {
        let mut inner = inner.clone();
        if let Some(with) = query.with.take() {
            push_down(with, &mut inner)?;
        }
        *statement = inner;
    }
    match statement {
        Statement::Update(update) if update.from.is_some() => *statement = Statement::Merge(updating(update)?),
        Statement::Delete(delete) if delete.using.is_some() => *statement = Statement::Merge(deleting(delete)?),
        _ => {}
    }
    Ok(())
}

/// Puts the queries that WITH names where their names can be used: into every query inside the statement, and in the
/// place of every table of their name.
fn push_down(with: With, statement: &mut Statement) -> Result<()> {
    let mut names = PushDown { with, depth: 0 };
    match names.visit(statement) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The names of one WITH on their way down.
struct PushDown {
    with: With,
    /// How many queries there are around.
    depth: usize,
}

impl PushDown {
    /// Visits what a statement reads. The table that it changes is no name of WITH.
    fn visit(&mut self, statement: &mut Statement) -> ControlFlow<Error> {
        match statement {
            Statement::Insert(insert) => insert.source.visit(self)?,
            Statement::Update(update) => {
                update.from.visit(self)?;
                update.assignments.visit(self)?;
                update.selection.visit(self)?;
            }
            Statement::Delete(delete) => {
                delete.using.visit(self)?;
                delete.selection.visit(self)?;
            }
            Statement::Merge(merge) => {
                merge.source.visit(self)?;
                merge.on.visit(self)?;
                merge.clauses.visit(self)?;
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// `(SELECT * FROM name) AS alias` for a table that is a name of WITH.
    fn query_of(&self, factor: &TableFactor) -> Result<Option<TableFactor>> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return Ok(None);
        };
        let [part] = name.0.as_slice() else { return Ok(None) };
        let Some(name) = part.as_ident() else { return Ok(None) };
        let is_named = |table: &Ident| normalized(table) == normalized(name);
        if !self.with.cte_tables.iter().any(|table| is_named(&table.alias.name)) {
            return Ok(None);
        }
        let parsed = Parser::new(&GenericDialect {})
            .try_with_sql(&format!("SELECT * FROM {name}"))
            .and_then(|mut parser| parser.parse_query());
        let mut subquery = parsed.map_err(|error| Error::statement(error.to_string()))?;
        subquery.with = Some(self.with.clone());
        Ok(Some(TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(alias.clone().unwrap_or_else(|| TableAlias {
                explicit: true,
                name: name.clone(),
                columns: Vec::new(),
                at: None,
            })),
            sample: None,
        }))
    }
}

impl VisitorMut for PushDown {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if self.depth == 0 {
            let mut tables = self.with.cte_tables.clone();
            let own = query.with.take();
            let recursive = self.with.recursive || own.as_ref().is_some_and(|own| own.recursive);
            tables.extend(own.into_iter().flat_map(|own| own.cte_tables));
            query.with = Some(With {
                recursive,
                cte_tables: tables,
                ..self.with.clone()
            });
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match self.query_of(factor) {
            Ok(Some(query)) => *factor = query,
            Ok(None) => {}
            Err(error) => return ControlFlow::Break(error),
        }
        ControlFlow::Continue(())
    }
}

/// UPDATE with FROM as the MERGE that fails where two rows would change the same one.
fn updating(update: &Update) -> Result<Merge> {
    let refused = [
        (update.returning.is_some() || update.output.is_some(), "RETURNING"),
        (update.or.is_some(), "UPDATE OR"),
        (
            !update.order_by.is_empty() || update.limit.is_some(),
            "ORDER BY and LIMIT",
        ),
    ];
    refuse("UPDATE ... FROM", &refused)?;
    let from = match &update.from {
        Some(UpdateTableFromKind::AfterSet(from)) => from.as_slice(),
        _ => return Err(Error::unsupported("FROM before SET", ": write UPDATE t SET ... FROM s")),
    };
    let action = MergeAction::Update(MergeUpdateExpr {
        update_token: AttachedToken::empty(),
        assignments: update.assignments.clone(),
        update_predicate: None,
        delete_predicate: None,
    });
    merge("UPDATE ... FROM", &update.table, from, &update.selection, action)
}

/// DELETE with USING as the MERGE that deletes what matches, however often.
fn deleting(delete: &Delete) -> Result<Merge> {
    let refused = [
        (delete.returning.is_some() || delete.output.is_some(), "RETURNING"),
        (
            !delete.order_by.is_empty() || delete.limit.is_some(),
            "ORDER BY and LIMIT",
        ),
        (!delete.tables.is_empty(), "several tables"),
    ];
    refuse("DELETE ... USING", &refused)?;
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [table] = tables.as_slice() else {
        return Err(Error::unsupported("DELETE from several tables", ""));
    };
    let using = delete.using.as_deref().unwrap_or_default();
    let action = MergeAction::Delete {
        delete_token: AttachedToken::empty(),
    };
    merge("DELETE ... USING", table, using, &delete.selection, action)
}

fn refuse(statement: &str, refused: &[(bool, &str)]) -> Result<()> {
    match refused.iter().find(|(found, _)| *found) {
        Some((_, what)) => Err(Error::unsupported(format!("{statement} with {what}"), "")),
        None => Ok(()),
    }
}

/// What `action` does to the rows of `table` that match rows of `sources`.
fn merge(
    statement: &str,
    table: &TableWithJoins,
    sources: &[TableWithJoins],
    condition: &Option<Expr>,
    action: MergeAction,
) -> Result<Merge> {
    let source = match sources {
        [source] if source.joins.is_empty() => source.relation.clone(),
        [source] => TableFactor::NestedJoin {
            table_with_joins: Box::new(source.clone()),
            alias: None,
        },
        _ => {
            return Err(Error::unsupported(
                format!("{statement} with several tables"),
                ": join them, as in a JOIN b ON ...",
            ));
        }
    };
    if !table.joins.is_empty() {
        return Err(Error::unsupported(format!("{statement} of a join"), ""));
    }
    let condition = condition.clone();
    Ok(Merge {
        merge_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        into: true,
        table: table.relation.clone(),
        source,
        on: Box::new(condition.unwrap_or_else(|| Expr::Value(Value::Boolean(true).into()))),
        clauses: vec![MergeClause {
            when_token: AttachedToken::empty(),
            clause_kind: MergeClauseKind::Matched,
            predicate: None,
            action,
        }],
        output: None,
    })
}

/// A name as it is compared.
pub(super) fn normalized(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rewritten(sql: &str) -> Result<String> {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
        rewrite(&mut statement)?;
        Ok(statement.to_string())
    }

    #[test]
    fn names_of_with_go_to_where_they_are_used() {
        let check = |sql: &str, expect: &str| assert_eq!(rewritten(sql).unwrap(), expect, "{sql}");
        check(
            "WITH a AS (SELECT 1 AS x) INSERT INTO t SELECT x FROM a",
            "INSERT INTO t WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        );
        check(
            "WITH a AS (SELECT 1 AS x) DELETE FROM t WHERE y IN (SELECT x FROM a WHERE x IN (SELECT x FROM a))",
            "DELETE FROM t WHERE y IN (WITH a AS (SELECT 1 AS x) SELECT x FROM a WHERE x IN (SELECT x FROM a))",
        );
        check(
            "WITH a AS (SELECT 1 AS x) UPDATE a SET y = (WITH b AS (SELECT 2) SELECT x FROM a)",
            "UPDATE a SET y = (WITH a AS (SELECT 1 AS x), b AS (SELECT 2) SELECT x FROM a)",
        );
        check(
            "WITH A AS (SELECT 1 AS x) MERGE INTO t USING a AS s ON t.x = s.x WHEN MATCHED THEN DELETE",
            "MERGE INTO t USING (WITH A AS (SELECT 1 AS x) SELECT * FROM a) AS s ON t.x = s.x WHEN MATCHED THEN DELETE",
        );
        check("DELETE FROM t WHERE x = 1", "DELETE FROM t WHERE x = 1");
    }

    #[test]
    fn other_tables_take_part_as_the_source_of_a_merge() {
        let check = |sql: &str, expect: &str| assert_eq!(rewritten(sql).unwrap(), expect, "{sql}");
        check(
            "UPDATE t AS u SET x = s.x FROM s WHERE u.id = s.id",
            "MERGE INTO t AS u USING s ON u.id = s.id WHEN MATCHED THEN UPDATE SET x = s.x",
        );
        check(
            "WITH s AS (SELECT 1 AS id) DELETE FROM t USING s JOIN r ON r.id = s.id WHERE t.id = r.id",
            "MERGE INTO t USING ((WITH s AS (SELECT 1 AS id) SELECT * FROM s) AS s JOIN r ON r.id = s.id) \
             ON t.id = r.id WHEN MATCHED THEN DELETE",
        );
        let refused = |sql: &str, what: &str| {
            let error = rewritten(sql).unwrap_err().to_string();
            assert!(error.contains(what), "{sql}: {error}");
        };
        refused("UPDATE t SET x = 1 FROM a, b", "several tables");
        refused("DELETE FROM t USING s WHERE t.x = s.x RETURNING t.x", "RETURNING");
    }
}
