//! Parameters in several rows: an INSERT of one row of VALUES takes them as a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, TableReference};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Values, WriteOp};

use crate::error::{Error, Result};

/// The table of parameters that are bound in several rows.
const PARAMETERS: &str = "\u{0}parameters";

/// The rows that an INSERT of one row of VALUES makes of several rows of parameters; `None` for other statements.
/// `expected` has a field for each parameter.
pub(super) fn together(dml: &DmlStatement, expected: &Schema, rows: &[RecordBatch]) -> Result<Option<LogicalPlan>> {
    let Some(template) = template(dml)? else {
        return Ok(None);
    };
    let [template_row] = template.values.as_slice() else {
        return Ok(None);
    };
    let Some(table) = table(expected, rows)? else {
        return Ok(None);
    };
    let scan = LogicalPlanBuilder::scan(PARAMETERS, provider_as_source(table), None)?.build()?;
    let values = template_row.iter().zip(template.schema.fields()).map(|(value, field)| {
        let value = value.clone().transform(|expr| match &expr {
            Expr::Placeholder(Placeholder { id, .. }) => {
                let column = Column::new(Some(TableReference::bare(PARAMETERS)), id);
                Ok(Transformed::yes(Expr::Column(column)))
            }
            _ => Ok(Transformed::no(expr)),
        });
        let value = datafusion::logical_expr::cast(value.data()?, field.data_type().clone());
        Ok(value.alias(field.name()))
    });
    let values = values.collect::<Result<Vec<_>, DataFusionError>>()?;
    let values = LogicalPlan::Projection(Projection::try_new(values, Arc::new(scan))?);
    let input = dml.input.as_ref().clone();
    let input = input.transform_down(|plan| match plan {
        LogicalPlan::Values(_) => Ok(Transformed::yes(values.clone())),
        plan => Ok(Transformed::no(plan)),
    });
    Ok(Some(input.data()?))
}

/// The VALUES of an INSERT, where all parameters stand in them.
fn template(dml: &DmlStatement) -> Result<Option<Values>> {
    if !matches!(dml.op, WriteOp::Insert(InsertOp::Append)) {
        return Ok(None);
    }
    let (mut templates, mut elsewhere) = (Vec::new(), false);
    dml.input.apply_with_subqueries(|plan| {
        if let LogicalPlan::Values(values) = plan {
            templates.push(values.clone());
            return Ok(TreeNodeRecursion::Continue);
        }
        plan.apply_expressions(|expr| {
            elsewhere |= expr.exists(|expr| Ok(matches!(expr, Expr::Placeholder(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(match (templates.len(), elsewhere) {
        (1, false) => templates.pop(),
        _ => None,
    })
}

/// The parameters as a table with the columns `$1` and so on.
fn table(expected: &Schema, rows: &[RecordBatch]) -> Result<Option<Arc<dyn TableProvider>>> {
    let wanted = expected.fields().len();
    let mut typed_rows = Vec::with_capacity(rows.len());
    let mut schema: Option<SchemaRef> = None;
    for batch in rows {
        if batch.num_columns() != wanted {
            return Err(Error::statement(format!(
                "the statement takes {wanted} parameters, and {} are bound",
                batch.num_columns()
            )));
        }
        let typed = batch.columns().iter().zip(expected.fields());
        let typed = typed.map(|(column, field)| typed_column(column, field.data_type()));
        let typed = typed.collect::<Result<Vec<_>>>()?;
        let fields = typed.iter().zip(expected.fields());
        let fields = fields.map(|(column, field)| Field::new(field.name(), column.data_type().clone(), true));
        let found = SchemaRef::new(Schema::new(fields.collect::<Vec<_>>()));
        let schema = schema.get_or_insert(found);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let typed = RecordBatch::try_new_with_options(Arc::clone(schema), typed, &options);
        typed_rows.push(typed.map_err(DataFusionError::from)?);
    }
    let Some(schema) = schema else { return Ok(None) };
    Ok(Some(Arc::new(MemTable::try_new(schema, vec![typed_rows])?)))
}

/// A text in the place of another type is read as that type, and NULLs alone take the type that is expected.
fn typed_column(column: &ArrayRef, expected: &DataType) -> Result<ArrayRef> {
    let is_text = column.data_type().is_string() && !expected.is_string();
    if expected.is_null() || !(is_text || column.data_type().is_null()) {
        return Ok(Arc::clone(column));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    Ok(cast_with_options(column, expected, &strict).map_err(DataFusionError::from)?)
}
