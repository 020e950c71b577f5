//! What a statement that writes has to be allowed beside what it reads.
//!
//! | Statement | On the table |
//! |---|---|
//! | INSERT, COPY INTO | INSERT |
//! | INSERT OVERWRITE | INSERT, DELETE |
//! | UPDATE | UPDATE, and SELECT as every table that is read |
//! | DELETE | DELETE, SELECT |
//! | MERGE | SELECT, and what its clauses do |
//! | TRUNCATE | DELETE |
//! | CREATE TABLE AS | CREATE on the schema; what it replaces must be owned |

use datafusion::logical_expr::dml::{InsertOp, MergeIntoAction};
use datafusion::logical_expr::{LogicalPlan, WriteOp};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{Insert, Query, Statement, TableObject};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::full_name;
use crate::access::Privilege;
use crate::error::Result;
use crate::session::Session;
use crate::sql::ddl::{CreateTable, table_name};
use crate::sql::parse::name_parts;
use crate::sql::pinned::PinnedTables;

/// What a statement writes to that its plan does not tell.
pub(in crate::sql) struct Targets<'a> {
    pub(in crate::sql) creates: Option<&'a CreateTable>,
    pub(in crate::sql) copies: Option<&'a [String]>,
}

/// Refuses a statement that its user may not run. What it reads was checked when it was named.
pub(in crate::sql) async fn check(
    plan: &LogicalPlan,
    targets: &Targets<'_>,
    tables: &PinnedTables,
    session: &Session,
) -> Result<()> {
    let (guard, user) = (tables.guard(), session.user.as_str());
    if guard.is_free(user) {
        return Ok(());
    }
    if let Some(table) = targets.creates {
        table.check(user, guard)?;
        let name = table_name(&table.name, session);
        guard.may_create(user, &name, table.or_replace).await?;
    }
    if let Some(into) = targets.copies {
        let name = table_name(into, session);
        guard.require(user, "table", &name, &[Privilege::Insert]).await?;
    }
    let plan = match plan {
        LogicalPlan::Explain(explain) => explain.plan.as_ref(),
        LogicalPlan::Analyze(analyze) => analyze.input.as_ref(),
        plan => plan,
    };
    match plan {
        LogicalPlan::Dml(dml) => {
            let name = full_name(&dml.table_name, tables, session);
            guard.require(user, "table", &name, &of(&dml.op)).await
        }
        _ => Ok(()),
    }
}

fn of(operation: &WriteOp) -> Vec<Privilege> {
    match operation {
        WriteOp::Insert(InsertOp::Append) => vec![Privilege::Insert],
        WriteOp::Insert(_) => vec![Privilege::Insert, Privilege::Delete],
        WriteOp::Update => vec![Privilege::Update],
        WriteOp::Delete | WriteOp::Truncate => vec![Privilege::Delete],
        WriteOp::MergeInto(merge) => {
            let of_clause = merge.clauses.iter().map(|clause| match clause.action {
                MergeIntoAction::Insert { .. } => Privilege::Insert,
                MergeIntoAction::Update(_) => Privilege::Update,
                MergeIntoAction::Delete => Privilege::Delete,
            });
            of_clause.collect()
        }
        // Whatever else there will be takes everything.
        _ => Privilege::OF_TABLES.to_vec(),
    }
}

/// The name of the table that a statement writes to without a look at its rows: the target of INSERT and TRUNCATE that
/// stands nowhere else in the statement.
pub(in crate::sql) fn unread_target(statement: &Parsed) -> Result<Option<Vec<String>>> {
    let inner = match statement {
        Parsed::Explain(explain) => return unread_target(&explain.statement),
        Parsed::Statement(inner) => inner.as_ref(),
        _ => return Ok(None),
    };
    let name = match inner {
        Statement::Insert(Insert {
            table: TableObject::TableName(name),
            source,
            on: None,
            returning: None,
            output: None,
            ..
        }) => {
            let parts = name_parts(name)?;
            let is_read = source.as_deref().is_some_and(|source| names(source, parts.last()));
            return Ok((!is_read).then_some(parts));
        }
        Statement::Truncate(truncate) => match truncate.table_names.as_slice() {
            [target] => &target.name,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    name_parts(name).map(Some)
}

/// Whether the name stands anywhere in a query, be it that of a column: then the table counts as one that is read.
fn names(query: &Query, name: Option<&String>) -> bool {
    let tokens = Tokenizer::new(&GenericDialect {}, &query.to_string()).tokenize();
    let (Ok(tokens), Some(name)) = (tokens, name) else {
        return true;
    };
    tokens
        .iter()
        .any(|token| matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::sql::parse::Statement as Ours;

    fn target(sql: &str) -> Option<String> {
        let (Ours::Write { statement, .. } | Ours::Query { query: statement, .. }) = Ours::parse(sql).unwrap() else {
            panic!("{sql}")
        };
        unread_target(&statement).unwrap().map(|parts| parts.join("."))
    }

    #[test]
    fn only_what_stands_nowhere_else_is_not_read() {
        let check = |sql: &str, expect: Option<&str>| assert_eq!(target(sql).as_deref(), expect, "{sql}");
        check("INSERT INTO s.t VALUES (1, 't')", Some("s.t"));
        check("EXPLAIN INSERT INTO t SELECT 1", Some("t"));
        check("INSERT OVERWRITE t SELECT * FROM u", Some("t"));
        check("TRUNCATE TABLE c.s.t", Some("c.s.t"));
        check("INSERT INTO s.t SELECT * FROM s.t", None);
        check(
            "INSERT INTO t SELECT 1 WHERE (SELECT count(*) FROM other.\"T\") > 1",
            None,
        );
        check("WITH a AS (SELECT * FROM t) INSERT INTO t SELECT * FROM a", None);
        check("UPDATE t SET a = 1", None);
        check("DELETE FROM t", None);
        check("SELECT * FROM t", None);
        check("INSERT INTO t SELECT * FROM t FOR VERSION AS OF 1", None);
    }
}
