//! EXPLAIN of a statement that writes: its rows on their way into files. Nothing runs.

use std::sync::Arc;

use catalog::write::change::Operation;
use catalog::write::new_write_id;
use catalog::write::plan::LakeWrite;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Explain, LogicalPlan, PlanType, ToStringifiedPlan};

use super::{RowPlan, Write};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::sql::pinned::PinnedTables;

/// The plan with writers in the place of what DataFusion would ask of the table; other plans as they are.
pub(in crate::sql) fn with_writers(
    plan: LogicalPlan,
    tables: &PinnedTables,
    (session, state): (&Session, &SessionState),
) -> Result<LogicalPlan> {
    let explain = match plan {
        LogicalPlan::Explain(explain) => explain,
        LogicalPlan::Analyze(analyze) if matches!(analyze.input.as_ref(), LogicalPlan::Dml(_)) => {
            return Err(Error::unsupported(
                "EXPLAIN ANALYZE of a statement that writes",
                ": it would have to write",
            ));
        }
        other => return Ok(other),
    };
    let LogicalPlan::Dml(dml) = explain.plan.as_ref() else {
        return Ok(LogicalPlan::Explain(explain));
    };
    let write = Write::of(dml.clone(), None, tables, (session, state))?;
    let snapshot = write.table.snapshot();
    let (rows, target, with_actions) = match write.change {
        RowPlan::Append(rows) | RowPlan::Overwrite { rows, .. } => (rows, snapshot.write_target()?, false),
        RowPlan::Change {
            rows,
            operation: Operation::Delete,
            ..
        } => (rows, snapshot.write_target()?, true),
        RowPlan::Change { rows, .. } => (rows, snapshot.rewrite_target()?, true),
        RowPlan::Truncate => return Err(Error::unsupported("EXPLAIN TRUNCATE", ": it writes no rows")),
    };
    let plan = LakeWrite::plan(rows, target, &new_write_id(), with_actions)?;
    let stringified_plans = vec![plan.to_stringified(PlanType::InitialLogicalPlan)];
    Ok(LogicalPlan::Explain(Explain {
        plan: Arc::new(plan),
        stringified_plans,
        ..explain
    }))
}
