//! The query of a view as the rows of its columns: what it was made with, however its tables have grown.

use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::TableName;
use catalog::view::{DIALECT, LakeView, ViewText, columns};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use crate::error::{Error, Result};

/// The plan of a view's query, with the columns of the view. Refuses a query that no longer has them.
pub(in crate::sql) fn fitted(
    plan: LogicalPlan,
    name: &TableName,
    view: &LakeView,
    text: &ViewText,
) -> Result<LogicalPlan> {
    let found = plan.schema();
    let stored = columns(name, found.as_arrow())?;
    let wanted = view.schema.fields();
    let own = text.dialect == DIALECT;
    let mut expressions = Vec::with_capacity(wanted.len());
    let mut is_same = wanted.len() == found.fields().len();
    for (index, field) in wanted.iter().enumerate() {
        let at = place(index, field, found.fields(), view);
        let at = at.ok_or_else(|| stale(name, &format!("no longer gives its column {}", field.name())))?;
        let (qualifier, column) = found.qualified_field(at);
        let (is, was) = (stored.field(at).data_type(), field.data_type());
        let still_fits = is.equals_datatype(was) || (own && widens(is, was));
        if !still_fits {
            let detail = format!(
                "gives {is} in its column {}, which was {was} when it was made",
                field.name()
            );
            return Err(stale(name, &detail));
        }
        is_same &= at == index && column.name() == field.name();
        let expression = Expr::Column(Column::from((qualifier, column)));
        let expression = match reads_as(column.data_type(), was) {
            true => expression,
            false => {
                is_same = false;
                cast(expression, was.clone())
            }
        };
        expressions.push(expression.alias(field.name()));
    }
    match is_same {
        true => Ok(plan),
        false => Ok(LogicalPlanBuilder::from(plan).project(expressions)?.build()?),
    }
}

/// Where the query has the view's column `index`: by the name that it had there, else by its position.
fn place(index: usize, field: &Field, found: &[FieldRef], view: &LakeView) -> Option<usize> {
    let names = view.query_columns.as_deref();
    let names = names.filter(|names| names.len() == view.schema.fields().len());
    let named = |name: &str| {
        let mut places = found.iter().enumerate().filter(|(_, found)| found.name() == name);
        let first = places.next()?.0;
        places.next().is_none().then_some(first)
    };
    match names {
        Some(names) => {
            let name = names.get(index)?;
            // A name that stands there twice is told by its position only.
            let is_unique = names.iter().filter(|other| *other == name).count() == 1;
            match is_unique {
                true => named(name),
                false => found.get(index).filter(|found| found.name() == name).map(|_| index),
            }
        }
        None if found.len() == view.schema.fields().len() => Some(index),
        None => named(field.name()),
    }
}

/// Whether every value of a type is one of another.
fn widens(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::Int32, DataType::Int64) | (DataType::Float32, DataType::Float64) => true,
        (DataType::Decimal128(from, scale), DataType::Decimal128(to, other)) => from <= to && scale == other,
        _ => false,
    }
}

/// Whether values of a type need no cast to stand for those of another.
fn reads_as(from: &DataType, to: &DataType) -> bool {
    let is_binary = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView
        )
    };
    from.equals_datatype(to) || from.is_string() && to.is_string() || is_binary(from) && is_binary(to)
}

fn stale(name: &TableName, detail: &str) -> Error {
    Error::Statement {
        detail: format!("the query of the view {name} {detail}"),
        hint: Some("make the view again with CREATE OR REPLACE VIEW".to_owned()),
    }
}

/// The view's texts that can be read here: its own dialect, or else any.
pub(in crate::sql) fn texts<'a>(name: &TableName, view: &'a LakeView) -> Result<&'a [ViewText]> {
    match view.texts.first() {
        None => Err(stale(name, "is not there")),
        Some(text) if text.dialect == DIALECT => Ok(std::slice::from_ref(text)),
        Some(_) => Ok(&view.texts),
    }
}
