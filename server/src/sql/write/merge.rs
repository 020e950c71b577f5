//! MERGE: target and source side by side, the first clause that fits each pair, and what that clause makes of it.
//!
//! ```text
//! target ─┐
//!         ├─► join on the condition ─► number of the clause ─► rows that join, rows that leave
//! source ─┘
//! ```

use std::sync::Arc;

use catalog::LakeTable;
use catalog::write::plan::RowAction;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchemaRef, JoinType, ScalarValue, TableReference, plan_err};
use datafusion::logical_expr::dml::{MergeIntoAction, MergeIntoClause, MergeIntoClauseKind, MergeIntoOp};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, lit};

use super::{cast_to, lineage, no_number, places, target_scan};
use crate::error::{Error, Result};

/// Marks rows that have a source row: true there, NULL elsewhere.
const SOURCE: &str = "\u{0}source row";
/// The number of the clause that a pair falls under.
const CLAUSE: &str = "\u{0}clause";

/// The rows of a MERGE, as [`RowPlan::Change`](super::RowPlan::Change) wants them.
pub(super) fn rows(
    merge: &MergeIntoOp,
    source: LogicalPlan,
    target: &TableReference,
    table: &LakeTable,
) -> Result<LogicalPlan> {
    let pairs = pairs(merge, source, target, table)?;
    let (file, position) = places(&pairs)?;
    let lineage = lineage(&pairs, table)?;
    let (at, marked) = (unaliased(file.clone()), column(SOURCE));
    let sides = Sides {
        pairs: Arc::clone(pairs.schema()),
        target: target.clone(),
    };
    let mut numbers = Vec::new();
    for (number, clause) in (0_i32..).zip(&merge.clauses) {
        let kind = match clause.kind.canonical() {
            MergeIntoClauseKind::Matched => at.clone().is_not_null().and(marked.clone().is_not_null()),
            MergeIntoClauseKind::NotMatchedBySource => marked.clone().is_null(),
            _ => at.clone().is_null(),
        };
        let when = match &clause.predicate {
            Some(predicate) => kind.and(sides.resolve(predicate, clause)?),
            None => kind,
        };
        numbers.push((Box::new(when), Box::new(lit(number))));
    }
    let mut columns: Vec<Expr> = pairs.schema().columns().into_iter().map(Expr::Column).collect();
    columns.push(Expr::Case(Case::new(None, numbers, None)).alias(CLAUSE));
    let numbered = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(pairs))?);
    let numbered = LogicalPlanBuilder::from(numbered)
        .filter(column(CLAUSE).is_not_null())?
        .build()?;
    if let [clause] = merge.clauses.as_slice()
        && matches!(clause.action, MergeIntoAction::Delete)
        && clause.predicate.is_none()
    {
        return once(numbered, [file, position], table);
    }
    let mut columns = Vec::new();
    for index in 0..table.snapshot().schema().fields().len() {
        columns.push(value(merge, &sides, table, index)?);
    }
    let actions = (0_i32..).zip(&merge.clauses).map(|(number, clause)| {
        let action = match clause.action {
            MergeIntoAction::Delete => RowAction::Delete,
            MergeIntoAction::Update(_) => RowAction::Update,
            MergeIntoAction::Insert { .. } => RowAction::Insert,
        };
        (Box::new(lit(number)), Box::new(lit(action as i8)))
    });
    let actions = Case::new(Some(Box::new(column(CLAUSE))), actions.collect(), None);
    columns.extend(lineage);
    columns.extend([Expr::Case(actions).alias("row action"), file, position]);
    Ok(LogicalPlan::Projection(Projection::try_new(
        columns,
        Arc::new(numbered),
    )?))
}

/// The rows that leave where nothing else can happen to them: several source rows may match one, since the outcome is the
/// same.
fn once(numbered: LogicalPlan, places: [Expr; 2], table: &LakeTable) -> Result<LogicalPlan> {
    let places = LogicalPlanBuilder::from(numbered)
        .project(places)?
        .distinct()?
        .build()?;
    let mut columns = Vec::new();
    for field in table.snapshot().schema().fields() {
        columns.push(Expr::Literal(ScalarValue::try_from(field.data_type())?, None).alias(field.name()));
    }
    if table.snapshot().tracks_rows() {
        columns.extend([no_number("row id"), no_number("row change")]);
    }
    columns.push(lit(RowAction::Delete as i8).alias("row action"));
    columns.extend(places.schema().columns().into_iter().map(Expr::Column));
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(places))?))
}

/// What becomes of the column at `index`, by the number of the clause.
fn value(merge: &MergeIntoOp, sides: &Sides, table: &LakeTable, index: usize) -> Result<Expr> {
    let field = table.snapshot().schema().field(index);
    let null = Expr::Literal(ScalarValue::try_from(field.data_type())?, None);
    let old = || Expr::Column(Column::new(Some(sides.target.clone()), field.name()));
    let mut branches = Vec::new();
    for (number, clause) in (0_i32..).zip(&merge.clauses) {
        let value = match &clause.action {
            MergeIntoAction::Delete => continue,
            MergeIntoAction::Update(assignments) => {
                let assigned = assignments.iter().find(|(name, _)| name == field.name());
                match assigned {
                    Some((_, value)) => cast_to(sides.resolve(value, clause)?, field.data_type()),
                    None => old(),
                }
            }
            MergeIntoAction::Insert { columns, values } => {
                let at = match columns.is_empty() {
                    true => Some(index),
                    false => columns.iter().position(|name| name == field.name()),
                };
                let value = match at.and_then(|at| values.get(at)) {
                    Some(value) => sides.resolve(value, clause)?,
                    None => super::default_of(table, index)?,
                };
                cast_to(value, field.data_type())
            }
        };
        branches.push((Box::new(lit(number)), Box::new(value)));
    }
    let value = match branches.is_empty() {
        true => null,
        false => Expr::Case(Case::new(
            Some(Box::new(column(CLAUSE))),
            branches,
            Some(Box::new(null)),
        )),
    };
    Ok(value.alias(field.name()))
}

/// The columns of both sides: those of the target have its name as their qualifier.
struct Sides {
    pairs: DFSchemaRef,
    target: TableReference,
}

impl Sides {
    /// `expr` with each column of the side that has it. The planner leaves a name without its table alone where both
    /// sides have it, and lets a clause name the side that its rows lack, which would read as NULL.
    fn resolve(&self, expr: &Expr, clause: &MergeIntoClause) -> Result<Expr> {
        let (target, source) = match clause.kind.canonical() {
            MergeIntoClauseKind::NotMatchedByTarget => (false, true),
            MergeIntoClauseKind::NotMatchedBySource => (true, false),
            _ => (true, true),
        };
        let is_seen = |qualifier: Option<&TableReference>| match qualifier == Some(&self.target) {
            true => target,
            false => source,
        };
        let resolved = expr.clone().transform(|expr| {
            let Expr::Column(column) = &expr else {
                return Ok(Transformed::no(expr));
            };
            if column.relation.is_some() {
                return match is_seen(column.relation.as_ref()) {
                    true => Ok(Transformed::no(expr)),
                    false => plan_err!("{column} is of the side of the MERGE that has no row in this clause"),
                };
            }
            let mut found = self
                .pairs
                .iter()
                .filter(|(qualifier, field)| field.name() == &column.name && is_seen(*qualifier));
            match (found.next(), found.next()) {
                (Some(one), None) => Ok(Transformed::yes(Expr::Column(Column::from(one)))),
                (Some(_), Some(_)) => plan_err!("{column} is ambiguous: target and source have it"),
                (None, _) => plan_err!("no column is called {column}"),
            }
        })?;
        Ok(resolved.data)
    }
}

/// Target and source rows that match, and of those that match nothing the side that some clause asks for.
fn pairs(merge: &MergeIntoOp, source: LogicalPlan, target: &TableReference, table: &LakeTable) -> Result<LogicalPlan> {
    for clause in &merge.clauses {
        check(clause)?;
    }
    let asked = |kind| merge.clauses.iter().any(|clause| clause.kind.canonical() == kind);
    let of_source = asked(MergeIntoClauseKind::NotMatchedByTarget);
    let of_target = asked(MergeIntoClauseKind::NotMatchedBySource);
    let join = match (of_target, of_source) {
        (true, true) => JoinType::Full,
        (true, false) => JoinType::Left,
        (false, true) => JoinType::Right,
        (false, false) => JoinType::Inner,
    };
    let mut columns: Vec<Expr> = source.schema().columns().into_iter().map(Expr::Column).collect();
    columns.push(lit(true).alias(SOURCE));
    let source = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(source))?);
    let target = target_scan(target.clone(), table)?;
    Ok(LogicalPlanBuilder::from(target)
        .join_on(source, join, [merge.on.clone()])?
        .build()?)
}

/// Refuses an action that its kind of row cannot have.
fn check(clause: &MergeIntoClause) -> Result<()> {
    let inserts = matches!(clause.action, MergeIntoAction::Insert { .. });
    let is_new = clause.kind.is_not_matched_by_target();
    match (inserts, is_new) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err(Error::statement("MERGE inserts rows WHEN NOT MATCHED only")),
        (false, true) => Err(Error::statement(
            "MERGE updates and deletes rows WHEN MATCHED or WHEN NOT MATCHED BY SOURCE only",
        )),
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn unaliased(expr: Expr) -> Expr {
    match expr {
        Expr::Alias(alias) => *alias.expr,
        other => other,
    }
}
