//! A DATE beside a TIMESTAMP. DataFusion (55.2) makes nanoseconds of both, which end in the year 2262, and tables use the
//! year 9999 for "until further notice". Here the date gets the unit of the timestamps beside it, before DataFusion's own
//! rule sees them.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, Union, cast};
use datafusion::optimizer::analyzer::AnalyzerRule;

/// Functions whose arguments become one type.
const OF_ONE_TYPE: [&str; 6] = ["coalesce", "greatest", "ifnull", "least", "nullif", "nvl"];

/// Casts dates that are compared with timestamps, or may be in their place.
#[derive(Debug)]
pub(super) struct DatesAsTimestamps;

impl AnalyzerRule for DatesAsTimestamps {
    fn name(&self) -> &str {
        "dates_as_timestamps"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let analyzed = plan.transform_up_with_subqueries(|plan| {
            if let LogicalPlan::Union(union) = plan {
                return in_union(union);
            }
            let mut schema = merge_schema(&plan.inputs());
            if let LogicalPlan::TableScan(scan) = &plan {
                let source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
                schema.merge(&source);
            }
            let names = NamePreserver::new(&plan);
            let mapped = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let with_casts = expr.transform_up(|expr| in_expr(expr, &schema))?;
                Ok(with_casts.update_data(|expr| name.restore(expr)))
            })?;
            // What lies below may have changed its types.
            mapped.map_data(LogicalPlan::recompute_schema)
        })?;
        Ok(analyzed.data)
    }
}

/// Casts the dates among those parts of an expression that become one type.
fn in_expr(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    match &mut expr {
        Expr::BinaryExpr(binary) if binary.op.supports_propagation() => {
            changed |= unify(&mut [&mut binary.left, &mut binary.right], schema);
        }
        Expr::Between(between) => {
            changed |= unify(&mut [&mut between.expr, &mut between.low, &mut between.high], schema);
        }
        Expr::InList(list) => {
            let mut parts: Vec<&mut Expr> = list.list.iter_mut().collect();
            parts.push(&mut list.expr);
            changed |= unify(&mut parts, schema);
        }
        Expr::Case(case) => {
            let (mut whens, mut results): (Vec<&mut Expr>, Vec<&mut Expr>) = case
                .when_then_expr
                .iter_mut()
                .map(|(when, then)| (when.as_mut(), then.as_mut()))
                .unzip();
            results.extend(case.else_expr.as_deref_mut());
            changed |= unify(&mut results, schema);
            if let Some(operand) = case.expr.as_deref_mut() {
                whens.push(operand);
                changed |= unify(&mut whens, schema);
            }
        }
        Expr::ScalarFunction(function) if OF_ONE_TYPE.contains(&function.name()) => {
            let mut parts: Vec<&mut Expr> = function.args.iter_mut().collect();
            changed |= unify(&mut parts, schema);
        }
        _ => {}
    }
    Ok(match changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    })
}

/// Casts the columns of dates that stand in the place of timestamps in other inputs.
fn in_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.schema.fields().len();
    let units: Vec<Option<TimeUnit>> = (0..width)
        .map(|index| unit_beside(union.inputs.iter().flat_map(|input| leaves(input, index))))
        .collect();
    let mut changed = false;
    let mut inputs = Vec::with_capacity(union.inputs.len());
    for input in union.inputs {
        let columns = input.schema().iter().zip(&units).enumerate();
        let mut casts = false;
        let exprs: Vec<Expr> = columns
            .map(|(index, ((qualifier, field), unit))| {
                let column = Expr::Column(Column::from((qualifier, field)));
                match unit {
                    Some(unit) if leaves(&input, index).any(|data_type| is_cast(&data_type)) => {
                        casts = true;
                        let moment = cast(column, DataType::Timestamp(*unit, None));
                        moment.alias_qualified(qualifier.cloned(), field.name())
                    }
                    _ => column,
                }
            })
            .collect();
        changed |= casts;
        inputs.push(match casts {
            true => Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input)?)),
            false => input,
        });
    }
    let union = Union::try_new_with_loose_types(inputs)?;
    Ok(match changed {
        true => Transformed::yes(LogicalPlan::Union(union)),
        false => Transformed::no(LogicalPlan::Union(union)),
    })
}

/// The types that a column of a plan is made of: of unions in it, which have no common type yet, those of their inputs.
fn leaves(plan: &LogicalPlan, index: usize) -> Box<dyn Iterator<Item = DataType> + '_> {
    match plan {
        LogicalPlan::Union(union) => Box::new(union.inputs.iter().flat_map(move |input| leaves(input, index))),
        plan => {
            let fields = plan.schema().fields();
            Box::new(fields.get(index).map(|field| field.data_type().clone()).into_iter())
        }
    }
}

fn is_date(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date32 | DataType::Date64)
}

/// Whether a type becomes a timestamp without a zone beside others: dates, and, as DataFusion does where there are dates,
/// timestamps with a time zone.
fn is_cast(data_type: &DataType) -> bool {
    is_date(data_type) || matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// The unit that dates among these types get: the finest of the timestamps. Beside nanoseconds they are left to DataFusion.
fn unit_beside(types: impl Iterator<Item = DataType>) -> Option<TimeUnit> {
    let (mut finest, mut dates) = (None, false);
    for data_type in types {
        match data_type {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => return None,
            DataType::Timestamp(unit, _) => {
                finest = finest.into_iter().chain([unit]).max_by_key(|unit| digits(*unit));
            }
            other => dates |= is_date(&other),
        }
    }
    finest.filter(|_| dates)
}

/// Makes the dates among `parts` timestamps of the unit that the timestamps among them have; whether there were any.
fn unify(parts: &mut [&mut Expr], schema: &DFSchema) -> bool {
    // What has no type yet is told of by DataFusion.
    let types: Vec<Option<DataType>> = parts.iter().map(|part| part.get_type(schema).ok()).collect();
    let Some(unit) = unit_beside(types.iter().flatten().cloned()) else {
        return false;
    };
    for (part, data_type) in parts.iter_mut().zip(&types) {
        if data_type.as_ref().is_some_and(is_cast) {
            let date = std::mem::take(*part);
            **part = cast(date, DataType::Timestamp(unit, None));
        }
    }
    true
}

fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}
