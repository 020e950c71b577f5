//! `INSERT OVERWRITE t PARTITION (a = 1, b)`: which partitions the rows replace. Columns with a value are no columns of
//! the rows; it is added to each.

use catalog::LakeTable;
use catalog::write::replaced::Partitions;
use catalog::write::target::Transform;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Insert, ObjectName, SetExpr, Statement, UnaryOperator, Value,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::rewrite::normalized;
use crate::error::{Error, Result};

/// The columns behind PARTITION, in lower case unless quoted, each with its value where it has one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionClause(Vec<(String, Option<ScalarValue>)>);

/// What a statement replaces.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Replaced {
    /// Every row.
    All,
    /// The partitions with these values, whether rows come for them or not.
    Given(Partitions),
    /// The partitions that the rows are for.
    ThoseOfRows,
}

/// Takes the clause out of an INSERT, and puts the values in it into the rows.
pub(in crate::sql) fn take(statement: &mut Statement) -> Result<Option<PartitionClause>> {
    let Statement::Insert(insert) = statement else {
        return Ok(None);
    };
    let Some(parts) = insert.partitioned.take() else {
        return Ok(None);
    };
    let mut clause = Vec::new();
    let mut fixed = Vec::new();
    for part in parts {
        match part {
            Expr::Identifier(name) => clause.push((normalized(&name), None)),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Eq,
                right,
            } => match *left {
                Expr::Identifier(name) => {
                    clause.push((normalized(&name), Some(constant(&right)?)));
                    fixed.push((name, *right));
                }
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        }
    }
    if !fixed.is_empty() {
        add(insert, fixed)?;
    }
    Ok(insert.overwrite.then_some(PartitionClause(clause)))
}

fn wrong() -> Error {
    Error::statement("PARTITION takes columns, or columns with a constant: PARTITION (country = 'NL', day)")
}

/// A constant as the text that it has, to be read as the column's type.
fn constant(value: &Expr) -> Result<ScalarValue> {
    let text = match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::Number(text, _) => Some(text.clone()),
            Value::Boolean(flag) => Some(flag.to_string()),
            Value::Null => None,
            _ => return Err(wrong()),
        },
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => return Err(wrong()),
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match constant(expr)? {
            ScalarValue::Utf8(Some(text)) => Some(format!("-{text}")),
            _ => return Err(wrong()),
        },
        _ => return Err(wrong()),
    };
    Ok(ScalarValue::Utf8(text))
}

/// Adds columns with one value each to the rows of an INSERT.
fn add(insert: &mut Insert, fixed: Vec<(Ident, Expr)>) -> Result<()> {
    let (Some(source), false) = (&mut insert.source, insert.columns.is_empty()) else {
        return Err(Error::Statement {
            detail: "INSERT with a value in PARTITION does not tell which columns its rows have".to_owned(),
            hint: Some("name them: INSERT OVERWRITE t (id, amount) PARTITION (country = 'NL') SELECT ...".to_owned()),
        });
    };
    if let SetExpr::Values(values) = source.body.as_mut() {
        for row in &mut values.rows {
            row.content.extend(fixed.iter().map(|(_, value)| value.clone()));
        }
    } else {
        let values: Vec<_> = fixed.iter().map(|(_, value)| value.to_string()).collect();
        let text = format!("SELECT *, {} FROM ({source}) AS inserted", values.join(", "));
        let parsed = Parser::new(&GenericDialect {})
            .try_with_sql(&text)
            .and_then(|mut parser| parser.parse_query());
        *source = parsed.map_err(|error| Error::statement(error.to_string()))?;
    }
    insert
        .columns
        .extend(fixed.into_iter().map(|(name, _)| ObjectName::from(vec![name])));
    Ok(())
}

impl PartitionClause {
    /// What it says of `table`.
    pub(super) fn of(&self, table: &LakeTable) -> Result<Replaced> {
        let schema = table.snapshot().schema();
        let target = table.snapshot().write_target()?;
        let spec: Vec<_> = target
            .partition
            .iter()
            .map(|field| (field.column, field.transform))
            .collect();
        let mut columns = Vec::new();
        for (name, _) in &self.0 {
            let column = schema.index_of(name).ok();
            let column = column.filter(|column| spec.contains(&(*column, Transform::Identity)));
            columns.push(column.ok_or_else(|| {
                Error::statement(format!(
                    "PARTITION names {name}: the table is not partitioned by the values of it"
                ))
            })?);
        }
        let values: Option<Vec<_>> = self.0.iter().map(|(_, value)| value.clone()).collect();
        match values {
            Some(values) => {
                let typed = columns.iter().zip(&values).map(|(column, value)| {
                    let field = schema.field(*column);
                    value.cast_to(field.data_type()).map_err(|_| {
                        Error::statement(format!("{value} is no {} (column {})", field.data_type(), field.name()))
                    })
                });
                let typed = typed.collect::<Result<Vec<_>>>()?;
                Ok(Replaced::Given(Partitions::with(columns, typed)))
            }
            None if columns.len() == spec.len() => Ok(Replaced::ThoseOfRows),
            None => Err(Error::statement(
                "PARTITION names some of the columns that the table is partitioned by: name all of them, or give each a value",
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn taken(sql: &str) -> Result<(String, Option<PartitionClause>)> {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0);
        let clause = take(&mut statement)?;
        Ok((statement.to_string(), clause))
    }

    #[test]
    fn values_go_into_the_rows() {
        let text = |text: &str| Some(ScalarValue::Utf8(Some(text.to_owned())));
        let (sql, clause) = taken("INSERT OVERWRITE t PARTITION (Day, \"C\") SELECT a FROM s").unwrap();
        assert_eq!(sql, "INSERT OVERWRITE t SELECT a FROM s");
        let expect = vec![("day".to_owned(), None), ("C".to_owned(), None)];
        assert_eq!(clause, Some(PartitionClause(expect)));
        let (sql, clause) = taken("INSERT OVERWRITE t (a) PARTITION (c = 'NL', n = -1) SELECT a FROM s").unwrap();
        assert_eq!(
            sql,
            "INSERT OVERWRITE t (a, c, n) SELECT *, 'NL', -1 FROM (SELECT a FROM s) AS inserted"
        );
        let expect = vec![("c".to_owned(), text("NL")), ("n".to_owned(), text("-1"))];
        assert_eq!(clause, Some(PartitionClause(expect)));
        let (sql, _) = taken("INSERT OVERWRITE t (a) PARTITION (c = 'NL') VALUES (1), (2)").unwrap();
        assert_eq!(sql, "INSERT OVERWRITE t (a, c) VALUES (1, 'NL'), (2, 'NL')");
        let (sql, clause) = taken("INSERT INTO t (a) PARTITION (c = 'NL') SELECT a FROM s").unwrap();
        assert_eq!(
            sql,
            "INSERT INTO t (a, c) SELECT *, 'NL' FROM (SELECT a FROM s) AS inserted"
        );
        assert_eq!(clause, None, "rows that join the table replace nothing");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let refused = |sql: &str, expect: &str| {
            let error = taken(sql).unwrap_err().to_string();
            assert!(error.contains(expect), "{sql}: {error}");
        };
        refused(
            "INSERT OVERWRITE t PARTITION (c = 'NL') SELECT a FROM s",
            "which columns",
        );
        refused(
            "INSERT OVERWRITE t (a) PARTITION (c = lower('NL')) SELECT a FROM s",
            "constant",
        );
        refused("INSERT OVERWRITE t (a) PARTITION (c > 1) SELECT a FROM s", "constant");
    }
}
