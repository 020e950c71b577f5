//! Joins on keys that may both be NULL, which Power BI writes as `ON (a = b OR a IS NULL AND b IS NULL)`. DataFusion
//! (55.2) compares each row with every other one for it. `a IS NOT DISTINCT FROM b` it joins by hash, but gives wrong rows
//! where there are other keys beside it: one setting says for all keys of several joins whether NULL equals NULL. Here both
//! become keys that are never NULL.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::utils::{can_hash, conjunction, find_valid_equijoin_key_pair, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, LogicalPlan, Operator, lit, when};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// Writes such conditions of joins as equalities, for the rule of DataFusion that makes keys of these. Conditions in
/// WHERE come here in the second pass, when others have brought them to their join.
#[derive(Debug)]
pub(super) struct NullSafeKeys;

impl OptimizerRule for NullSafeKeys {
    fn name(&self) -> &str {
        "null_safe_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut join = match plan {
            // NOT IN takes one key only.
            LogicalPlan::Join(join) if !join.null_aware => join,
            plan => return Ok(Transformed::no(plan)),
        };
        let Some(filter) = join.filter.take() else {
            return Ok(Transformed::no(LogicalPlan::Join(join)));
        };
        let mut conditions = split_conjunction_owned(filter);
        let mut changed = false;
        for condition in &mut conditions {
            if let Some(equal) = equalities(condition, &join)? {
                *condition = equal;
                changed = true;
            }
        }
        join.filter = conjunction(conditions);
        Ok(Transformed::new_transformed(LogicalPlan::Join(join), changed))
    }
}

/// What a condition stands for where it compares one side of the join with the other, and NULL equals NULL in it.
fn equalities(condition: &Expr, join: &Join) -> Result<Option<Expr>> {
    let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
    let Some((one, other)) = operands(condition).filter(|(one, other)| !one.is_volatile() && !other.is_volatile())
    else {
        return Ok(None);
    };
    let Some((left, right)) = find_valid_equijoin_key_pair(one, other, left_schema, right_schema)? else {
        return Ok(None);
    };
    if !left.nullable(left_schema)? || !right.nullable(right_schema)? {
        return Ok(Some(left.eq(right)));
    }
    let data_type = left.get_type(left_schema)?;
    let Some(value) =
        value_of(&data_type).filter(|_| right.get_type(right_schema).is_ok_and(|other| other == data_type))
    else {
        return Ok(None);
    };
    let filled = |key: &Expr| when(key.clone().is_null(), lit(value.clone())).otherwise(key.clone());
    let equal = filled(&left)?.eq(filled(&right)?);
    Ok(Some(equal.and(left.is_null().eq(right.is_null()))))
}

/// Some value of a type that can be a key, to stand for NULL.
fn value_of(data_type: &DataType) -> Option<ScalarValue> {
    let is_simple = can_hash(data_type) && !data_type.is_nested() && !matches!(data_type, DataType::Dictionary(..));
    let value = ScalarValue::new_default(data_type).ok()?;
    (is_simple && !value.is_null()).then_some(value)
}

/// The operands of a condition that holds where they are equal or both NULL. Elsewhere it may be NULL instead of false,
/// which is the same to a join.
fn operands(condition: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else {
        return None;
    };
    match op {
        Operator::IsNotDistinctFrom => Some((left.as_ref(), right.as_ref())),
        Operator::Or => equal_or_null(left, right).or_else(|| equal_or_null(right, left)),
        _ => None,
    }
}

/// The operands of `equal`, where `null` says that both are NULL.
fn equal_or_null<'a>(equal: &'a Expr, null: &Expr) -> Option<(&'a Expr, &'a Expr)> {
    let (Expr::BinaryExpr(equal), Expr::BinaryExpr(null)) = (equal, null) else {
        return None;
    };
    let (Expr::IsNull(one), Expr::IsNull(other)) = (null.left.as_ref(), null.right.as_ref()) else {
        return None;
    };
    let (left, right) = (uncast(&equal.left), uncast(&equal.right));
    let (one, other) = (uncast(one), uncast(other));
    let is_same = (left == one && right == other) || (left == other && right == one);
    (equal.op == Operator::Eq && null.op == Operator::And && is_same)
        .then_some((equal.left.as_ref(), equal.right.as_ref()))
}

/// What is cast: a cast fails, or is NULL where this is NULL and nowhere else.
fn uncast(mut expr: &Expr) -> &Expr {
    while let Expr::Cast(cast) = expr {
        expr = &cast.expr;
    }
    expr
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use datafusion::execution::session_state::SessionStateBuilder;
    use datafusion::optimizer::Optimizer;
    use datafusion::prelude::SessionContext;

    use super::*;

    async fn context() -> SessionContext {
        let own: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(NullSafeKeys);
        let state = SessionStateBuilder::new()
            .with_default_features()
            .with_optimizer_rules(std::iter::once(own).chain(Optimizer::new().rules).collect())
            .build();
        let context = SessionContext::new_with_state(state);
        for name in ["l", "r"] {
            let table = format!(
                "CREATE TABLE {name} AS SELECT column1 AS a, column2 AS b FROM (VALUES (NULL, 1), (2, NULL)) v"
            );
            context.sql(&table).await.unwrap();
        }
        context
    }

    /// The optimised join.
    async fn join(from: &str) -> String {
        let query = context().await.sql(&format!("SELECT 1 FROM {from}")).await.unwrap();
        let plan = query.into_optimized_plan().unwrap().display_indent().to_string();
        let line = plan.lines().find(|line| line.contains("Join:")).unwrap();
        line.trim().to_owned()
    }

    #[tokio::test]
    async fn both_null_becomes_keys() {
        for condition in [
            "l.a = r.a OR l.a IS NULL AND r.a IS NULL",
            "r.a = l.a OR l.a IS NULL AND r.a IS NULL",
            "l.a = r.a OR r.a IS NULL AND l.a IS NULL",
            "(l.a IS NULL AND r.a IS NULL) OR l.a = r.a",
            "CAST(l.a AS DOUBLE) = CAST(r.a AS DOUBLE) OR l.a IS NULL AND r.a IS NULL",
            "CAST(CAST(l.a AS INT) AS TEXT) = CAST(r.a AS TEXT) OR l.a IS NULL AND CAST(r.a AS INT) IS NULL",
            "CAST(l.a AS INT) = r.a OR l.a IS NULL AND r.a IS NULL",
            "(l.a = r.a OR l.a IS NULL AND r.a IS NULL) AND (l.b = r.b OR l.b IS NULL AND r.b IS NULL)",
            "(l.a = r.a OR l.a IS NULL AND r.a IS NULL) AND l.b = r.b",
            "l.a IS NOT DISTINCT FROM r.a",
        ] {
            for kind in ["JOIN", "LEFT JOIN", "FULL JOIN"] {
                let join = join(&format!("l {kind} r ON {condition}")).await;
                assert!(
                    !join.contains("Filter:") && join.contains("IS NULL = "),
                    "{condition}: {join}"
                );
            }
        }
        let join = join("l, r WHERE l.a = r.a OR l.a IS NULL AND r.a IS NULL").await;
        assert!(!join.contains("Filter:") && join.contains("IS NULL = "), "{join}");
    }

    #[tokio::test]
    async fn keys_that_are_never_null_stay_simple() {
        let join =
            join("l JOIN (SELECT 1 AS a UNION ALL SELECT 2) r ON l.a = r.a OR l.a IS NULL AND r.a IS NULL").await;
        assert_eq!(join, "Inner Join: l.a = r.a");
    }

    #[tokio::test]
    async fn what_means_something_else_stays() {
        for condition in [
            "l.a = r.a OR l.b IS NULL AND r.a IS NULL",
            "l.a = r.a OR l.a IS NULL AND l.a IS NULL",
            "l.a = r.a OR l.a IS NULL OR r.a IS NULL",
            "l.a = r.a OR l.a IS NULL",
            "l.a < r.a OR l.a IS NULL AND r.a IS NULL",
            "l.a = r.a OR l.a IS NULL AND r.a IS NULL OR l.b = r.b",
            "NOT (l.a = r.a OR l.a IS NULL AND r.a IS NULL)",
            "l.a = l.b OR l.a IS NULL AND l.b IS NULL",
            "TRY_CAST(l.a AS TINYINT) = r.a OR l.a IS NULL AND r.a IS NULL",
            "l.a + random() = r.a OR l.a + random() IS NULL AND r.a IS NULL",
        ] {
            let join = join(&format!("l LEFT JOIN r ON {condition}")).await;
            assert!(join.starts_with("Left Join:  Filter:"), "{condition}: {join}");
        }
    }

    #[tokio::test]
    async fn other_keys_keep_their_meaning() {
        for from in [
            "l JOIN r ON l.a IS NOT DISTINCT FROM r.a WHERE l.b = r.b",
            "l JOIN r ON l.a IS NOT DISTINCT FROM r.a JOIN r c ON c.b = l.b",
            "l JOIN r ON (l.a = r.a OR l.a IS NULL AND r.a IS NULL) JOIN r c ON c.b = l.b",
        ] {
            let query = context().await.sql(&format!("SELECT 1 FROM {from}")).await.unwrap();
            assert_eq!(query.count().await.unwrap(), 1, "{from}");
        }
    }
}
