//! Types of new rows: those of the table without the metadata of inner fields (ids), which DataFusion does not carry
//! through every step. Writers give the rows the types of the table's files.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use crate::error::Result;

/// The rows with casts to types without inner metadata, where the planner cast them to the table's types.
pub(super) fn plain(rows: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = rows else {
        return Ok(rows);
    };
    let plain = |expr: Expr| {
        let expr = expr.transform(|expr| match expr {
            Expr::Cast(Cast { expr, field }) if field.data_type().is_nested() => {
                let data_type = without_metadata(field.data_type());
                let field = Arc::new(field.as_ref().clone().with_data_type(data_type));
                Ok(Transformed::yes(Expr::Cast(Cast { expr, field })))
            }
            other => Ok(Transformed::no(other)),
        });
        expr.map(|expr| expr.data)
    };
    let columns = projection.expr.into_iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    Ok(LogicalPlan::Projection(Projection::try_new(columns, projection.input)?))
}

/// The type without metadata inside.
pub(super) fn without_metadata(data_type: &DataType) -> DataType {
    let inner = |field: &FieldRef| {
        let data_type = without_metadata(field.data_type());
        let field = field.as_ref().clone().with_data_type(data_type);
        Arc::new(field.with_metadata(Default::default()))
    };
    match data_type {
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn inner_fields_lose_their_metadata() {
        let nested = |id: fn(Field) -> Field| {
            let fields = vec![id(Field::new("x", DataType::Int32, true))];
            DataType::new_list(DataType::Struct(fields.into()), true)
        };
        let named = nested(|field| field.with_metadata([("id".to_owned(), "3".to_owned())].into()));
        assert_eq!(without_metadata(&named), nested(|field| field));
        assert_eq!(without_metadata(&DataType::Utf8View), DataType::Utf8View);
    }
}
