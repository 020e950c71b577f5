//! `DELETE FROM t AS d WHERE d.id = 1`: DataFusion overlooks the alias, so that the table's own name takes its place.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Delete, Expr, FromTable, Ident, ObjectName, Statement, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use crate::error::{Error, Result};
use crate::sql::parse::name_parts;

/// Writes the target of a DELETE without its alias. Other statements stay.
pub(in crate::sql) fn spell_out(statement: &mut Statement) -> Result<()> {
    let Statement::Delete(Delete { from, selection, .. }) = statement else {
        return Ok(());
    };
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
    let [TableWithJoins { relation, .. }] = &mut from[..] else {
        return Ok(());
    };
    let TableFactor::Table { name, alias, .. } = relation else {
        return Ok(());
    };
    let Some(alias) = alias.take() else {
        return Ok(());
    };
    let mut names = Names {
        alias: spelt(&alias.name)?,
        table: name.0.iter().filter_map(|part| part.as_ident().cloned()).collect(),
    };
    match selection.visit(&mut names) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Names {
    alias: String,
    table: Vec<Ident>,
}

impl VisitorMut for Names {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        let (TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. }) = table else {
            return ControlFlow::Continue(());
        };
        match alias.as_ref().map(|alias| spelt(&alias.name)) {
            Some(Ok(inner)) if inner == self.alias => {
                let detail = format!("\"{inner}\" is the alias of the table and of another in the same DELETE");
                ControlFlow::Break(Error::statement(detail))
            }
            Some(Err(error)) => ControlFlow::Break(error),
            _ => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [first, column] = &parts[..]
        {
            match spelt(first) {
                Ok(qualifier) if qualifier == self.alias => {
                    let column = column.clone();
                    *parts = self.table.iter().cloned().chain([column]).collect();
                }
                Ok(_) => {}
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

/// A name as it is compared.
fn spelt(name: &Ident) -> Result<String> {
    Ok(name_parts(&ObjectName::from(vec![name.clone()]))?.concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn spelt_out(sql: &str) -> Result<String> {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
        spell_out(&mut statement)?;
        Ok(statement.to_string())
    }

    #[test]
    fn the_table_stands_for_its_alias() {
        let check = |sql: &str, expect: &str| assert_eq!(spelt_out(sql).unwrap(), expect);
        check(
            "DELETE FROM a.t AS D WHERE d.id = 1 AND x.d > 2",
            "DELETE FROM a.t WHERE a.t.id = 1 AND x.d > 2",
        );
        check(
            "DELETE FROM \"L\".s.t d WHERE EXISTS (SELECT 1 FROM u WHERE u.a = d.a)",
            "DELETE FROM \"L\".s.t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = \"L\".s.t.a)",
        );
        check("DELETE FROM t WHERE t.id = 1", "DELETE FROM t WHERE t.id = 1");
        check("UPDATE t AS d SET a = d.b", "UPDATE t AS d SET a = d.b");
        let twice = spelt_out("DELETE FROM t AS d WHERE id IN (SELECT d.id FROM u AS d)");
        assert!(twice.unwrap_err().to_string().contains("alias"));
    }
}
