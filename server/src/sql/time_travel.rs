//! From what a statement writes behind `AS OF` to what the lake is asked for.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use catalog::AsOf;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{self, ExprWithAlias};

use super::parse::Version;
use crate::error::{Error, Result};

/// The version that is meant: points in time are computed, in the session's time zone where they name none.
pub(super) fn as_of(state: &SessionState, version: &Version) -> Result<AsOf> {
    match version {
        Version::Number(number) => Ok(AsOf::Version(*number)),
        Version::Ref(name) => Ok(AsOf::Ref(name.clone())),
        Version::At(expr) => Ok(AsOf::Timestamp(point_in_time(state, expr)?)),
    }
}

/// Microseconds since the epoch, UTC.
fn point_in_time(state: &SessionState, expr: &ast::Expr) -> Result<i64> {
    let value = match text(expr) {
        // A zone in the text counts, which the type TIMESTAMP would drop.
        Some(text) => ScalarValue::from(text),
        None => constant(state, expr)?,
    };
    let zone = state.config_options().execution.time_zone.as_deref().unwrap_or("UTC");
    microseconds(&value, zone).ok_or_else(|| Error::Statement {
        detail: format!("{expr} is no point in time"),
        hint: Some("write for example TIMESTAMP '2026-01-31 12:00:00' or now() - INTERVAL '1 day'".to_owned()),
    })
}

/// The text of `'...'` and of `TIMESTAMP '...'`.
fn text(expr: &ast::Expr) -> Option<&str> {
    let value = match expr {
        ast::Expr::Value(value) => value,
        ast::Expr::TypedString(typed) if matches!(typed.data_type, ast::DataType::Timestamp(..)) => &typed.value,
        _ => return None,
    };
    match &value.value {
        ast::Value::SingleQuotedString(text) => Some(text),
        _ => None,
    }
}

/// The value of an expression of constants; `now()` is the start of the statement.
fn constant(state: &SessionState, expr: &ast::Expr) -> Result<ScalarValue> {
    let schema = Arc::new(DFSchema::empty());
    let written = ExprWithAlias {
        expr: expr.clone(),
        alias: None,
    };
    let logical = state.create_logical_expr_from_sql_expr(written, &schema)?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(&schema))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let simplified = simplifier
        .coerce(logical, &schema)
        .and_then(|coerced| simplifier.simplify(coerced))?;
    match simplified {
        Expr::Literal(value, _) => Ok(value),
        other => Err(Error::statement(format!("{other} is not constant"))),
    }
}

/// Microseconds since the epoch; `None` where `value` is no point in time, or none that `zone` has.
fn microseconds(value: &ScalarValue, zone: &str) -> Option<i64> {
    let local = DataType::Timestamp(TimeUnit::Microsecond, None);
    let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.into()));
    let cast = |value: &ScalarValue, to: &DataType| value.cast_to(to).ok();
    let instant = match value.data_type() {
        DataType::Date32 | DataType::Date64 => cast(&cast(value, &local)?, &zoned),
        DataType::Timestamp(..) | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => cast(value, &zoned),
        _ => None,
    };
    match instant? {
        ScalarValue::TimestampMicrosecond(microseconds, _) => microseconds,
        _ => None,
    }
}
