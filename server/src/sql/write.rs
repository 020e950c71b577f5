//! INSERT, UPDATE, DELETE, MERGE, TRUNCATE and CREATE TABLE AS: statements that write rows, as one plan of rows each.
//!
//! DataFusion reads the statement; what it would give to a table to do by itself is made here into rows that join the
//! table and rows that leave it, so that every predicate is evaluated as in a query.

pub(super) mod alias;
pub(super) mod branch;
pub(super) mod explain;
mod merge;
pub(crate) mod partitions;
mod rewrite;
pub(super) mod rights;
mod types;
pub(crate) mod upload;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use catalog::write::NewTable;
use catalog::write::change::{Operation, Reads};
use catalog::write::plan::RowAction;
use catalog::write::target::WriteDefault;
use catalog::{LakeTable, TableName};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, WriteOp, lit};
use datafusion::sql::sqlparser::ast;

pub(crate) use partitions::{PartitionClause, Replaced};
pub(super) use rewrite::rewrite;
pub(super) use rights::unread_target;

use super::ddl::CreateTable;
use super::ddl::branch::check_target;
use super::pinned::PinnedTables;
use crate::error::{Error, Result};
use crate::session::{CURRENT_CATALOG, CURRENT_NAMESPACE, Session, TEMPORARY_SCHEMA};

/// The file of a row, as [`LakeTable::with_row_metadata`] names it.
const FILE: &str = "_file";
/// Its position in the file.
const POSITION: &str = "_pos";
/// Its id, where rows have ids.
const ROW_ID: &str = "_row_id";

/// What a statement does to one table of the lake.
pub(crate) struct Write {
    /// The table's name.
    pub(crate) name: TableName,
    /// The table at the version that the statement reads.
    pub(crate) table: LakeTable,
    /// What is done.
    pub(crate) change: RowPlan,
}

/// What a statement writes.
pub(crate) enum Written {
    /// Rows of a table that there is.
    Rows(Write),
    /// A table with rows.
    New(Creation),
}

/// CREATE TABLE AS.
pub(crate) struct Creation {
    /// The new table's name.
    pub(crate) name: TableName,
    /// The branch that its rows go to, where it is not main.
    pub(crate) branch: Option<String>,
    /// What the statement says of it.
    pub(crate) table: Box<CreateTable>,
    /// The columns of the rows.
    pub(crate) schema: SchemaRef,
    /// Its rows.
    pub(crate) rows: LogicalPlan,
}

impl Creation {
    /// The table. Every column may be NULL; where the table format counts microseconds, so do its columns.
    pub(crate) fn new_table(&self) -> Result<NewTable> {
        let definition = &self.table.definition;
        if !definition.columns.is_empty() {
            return Err(Error::unsupported(
                "CREATE TABLE with columns and a query",
                ": the columns are those of the query",
            ));
        }
        let version = definition.properties.iter().find(|(key, _)| key == "format-version");
        let nanoseconds = version.is_some_and(|(_, version)| version == "3");
        let field = |field: &FieldRef| {
            let data_type = match field.data_type() {
                DataType::Timestamp(TimeUnit::Nanosecond, zone) if !nanoseconds => {
                    DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
                }
                // What `row_number()` and its like give. A value beyond BIGINT is an error when it is cast.
                DataType::UInt32 | DataType::UInt64 => DataType::Int64,
                DataType::UInt8 | DataType::UInt16 => DataType::Int32,
                // A NULL without a type is a text, as it is in a query.
                DataType::Null => DataType::Utf8,
                other => other.clone(),
            };
            Field::new(field.name(), data_type, true)
        };
        let fields: Vec<Field> = self.schema.fields().iter().map(field).collect();
        definition.new_table(Arc::new(Schema::new(fields)))
    }
}

/// Rows that join or leave a table.
pub(crate) enum RowPlan {
    /// The rows of the plan join it. Its columns are those of the table.
    Append(LogicalPlan),
    /// They take the place of others.
    Overwrite {
        /// The rows.
        rows: LogicalPlan,
        /// The others.
        replaced: Replaced,
    },
    /// Behind the columns of the table stand what is done with the row, its file and its position.
    Change {
        /// The rows.
        rows: LogicalPlan,
        /// DELETE, UPDATE or MERGE.
        operation: Operation,
        /// What the statement read of the table.
        reads: Reads,
    },
    /// Every row leaves it.
    Truncate,
}

/// Whether a statement writes rows.
pub(super) fn is_one(statement: &ast::Statement) -> bool {
    use ast::Statement as S;
    matches!(
        statement,
        S::Insert(_) | S::Update(_) | S::Delete(_) | S::Merge(_) | S::Truncate(_)
    )
}

/// Refuses what DataFusion reads and overlooks.
pub(super) fn check(statement: &ast::Statement) -> Result<()> {
    let ast::Statement::Update(update) = statement else {
        return Ok(());
    };
    let mut named: Vec<String> = Vec::new();
    for assignment in &update.assignments {
        if let ast::AssignmentTarget::ColumnName(name) = &assignment.target {
            let column = super::parse::name_parts(name)?.pop().unwrap_or_default();
            if named.contains(&column) {
                return Err(Error::statement(format!("the column \"{column}\" is set twice")));
            }
            named.push(column);
        }
    }
    Ok(())
}

impl Write {
    /// Rows, in the table's columns, that join it.
    pub(crate) fn append(name: TableName, table: LakeTable, rows: LogicalPlan, session: &Session) -> Result<Self> {
        check_target(&name, &table, session)?;
        let change = RowPlan::Append(rows);
        Ok(Self { name, table, change })
    }

    /// What `dml` does, of which `partitions` tells what it replaces.
    pub(super) fn of(
        dml: DmlStatement,
        partitions: Option<&PartitionClause>,
        tables: &PinnedTables,
        (session, state): (&Session, &SessionState),
    ) -> Result<Self> {
        let name = full_name(&dml.table_name, tables, session);
        let provider = source_as_provider(&dml.target)?;
        let Some(table) = provider.downcast_ref::<LakeTable>() else {
            return Err(Error::unsupported(
                format!("writing to {name}"),
                ": it is no table of the lake",
            ));
        };
        if dml.table_name.table().contains("://") {
            return Err(Error::unsupported(
                "writing to a table that is named by its location",
                ": its catalog would not know",
            ));
        }
        check_target(&name, table, session)?;
        let table = table.clone();
        let input = || types::plain(dml.input.as_ref().clone());
        let change = match dml.op {
            WriteOp::Insert(InsertOp::Append) => RowPlan::Append(input()?),
            WriteOp::Insert(InsertOp::Overwrite) => RowPlan::Overwrite {
                rows: input()?,
                replaced: match partitions {
                    Some(clause) => clause.of(&table)?,
                    None => Replaced::All,
                },
            },
            WriteOp::Insert(InsertOp::Replace) => return Err(Error::unsupported("REPLACE INTO", ": use MERGE")),
            WriteOp::Truncate => RowPlan::Truncate,
            WriteOp::Delete => RowPlan::Change {
                rows: deleted_rows(input()?, &table)?,
                operation: Operation::Delete,
                reads: reads(&dml.input, &dml.table_name, state)?,
            },
            WriteOp::Update => RowPlan::Change {
                rows: updated_rows(input()?, &table)?,
                operation: Operation::Update,
                reads: reads(&dml.input, &dml.table_name, state)?,
            },
            WriteOp::MergeInto(merge) => RowPlan::Change {
                rows: merge::rows(&merge, input()?, &dml.table_name, &table)?,
                operation: Operation::Merge,
                reads: Reads::Rows(None),
            },
            other => return Err(Error::unsupported(other.name().to_uppercase(), "")),
        };
        Ok(Self { name, table, change })
    }
}

/// The table's own name, with the session's catalog and schema where it has none.
pub(super) fn full_name(reference: &TableReference, tables: &PinnedTables, session: &Session) -> TableName {
    let catalog = match reference.catalog() {
        None | Some(CURRENT_CATALOG) => session.catalog.as_str(),
        Some(catalog) => catalog,
    };
    let namespace = match reference.schema() {
        None | Some(CURRENT_NAMESPACE) => session.namespace.as_str(),
        Some(namespace) => namespace,
    };
    let table = tables.own_name(reference.table());
    let is_of_session = match reference.schema() {
        None | Some(CURRENT_NAMESPACE) => matches!(reference.catalog(), None | Some(CURRENT_CATALOG)),
        Some(schema) => schema == TEMPORARY_SCHEMA && catalog == session.catalog,
    };
    match session.tables.get(&table) {
        Some(temporary) if is_of_session => temporary.clone(),
        _ => TableName::new(catalog, namespace, table),
    }
}

/// NULLs in the place of the table's columns, and the places of the rows that leave it.
fn deleted_rows(input: LogicalPlan, table: &LakeTable) -> Result<LogicalPlan> {
    let input = with_places(input, table)?;
    let (file, position) = places(&input)?;
    let mut columns = Vec::new();
    for field in table.snapshot().schema().fields() {
        columns.push(Expr::Literal(ScalarValue::try_from(field.data_type())?, None).alias(field.name()));
    }
    columns.extend([action(RowAction::Delete), file, position]);
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
}

/// The new rows, and the places of the old ones.
fn updated_rows(input: LogicalPlan, table: &LakeTable) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = input else {
        return Err(Error::unsupported("this form of UPDATE", ""));
    };
    let input = with_places(Arc::unwrap_or_clone(projection.input), table)?;
    let (file, position) = places(&input)?;
    let mut columns = projection.expr;
    columns.extend(lineage(&input, table)?);
    columns.extend([action(RowAction::Update), file, position]);
    Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(input))?))
}

/// What a row of the target keeps when it is changed, where its rows have ids: the id, and no commit that last changed it
/// but the one that changes it now. New rows have neither.
fn lineage(plan: &LogicalPlan, table: &LakeTable) -> Result<Vec<Expr>> {
    match table.snapshot().tracks_rows() {
        true => Ok(vec![of_target(plan, ROW_ID, "row id")?, no_number("row change")]),
        false => Ok(Vec::new()),
    }
}

fn no_number(name: &str) -> Expr {
    lit(ScalarValue::Int64(None)).alias(name)
}

/// What is done with a row, as a column.
fn action(action: RowAction) -> Expr {
    lit(action as i8).alias("row action")
}

/// The columns of the target's rows that tell their places: the target stands first in a plan.
fn places(plan: &LogicalPlan) -> Result<(Expr, Expr)> {
    Ok((
        of_target(plan, FILE, "row file")?,
        of_target(plan, POSITION, "row position")?,
    ))
}

/// A column of the target, which stands first in the plan.
fn of_target(plan: &LogicalPlan, name: &str, alias: &str) -> Result<Expr> {
    let found = plan.schema().iter().find(|(_, field)| field.name() == name);
    let found = found.map(|(qualifier, field)| Expr::Column(Column::from((qualifier, field))).alias(alias));
    found.ok_or_else(|| Error::from(DataFusionError::Internal(format!("a scan without {name}"))))
}

/// The plan with the target's rows telling their places. The target is what stands first in it.
fn with_places(plan: LogicalPlan, table: &LakeTable) -> Result<LogicalPlan> {
    if let LogicalPlan::TableScan(scan) = plan {
        return target_scan(scan.table_name, table);
    }
    let mut inputs: Vec<LogicalPlan> = plan.inputs().into_iter().cloned().collect();
    let Some(first) = inputs.first_mut() else {
        return Err(DataFusionError::Internal("a statement without its target".to_owned()).into());
    };
    *first = with_places(first.clone(), table)?;
    Ok(plan.with_new_exprs(plan.expressions(), inputs)?)
}

/// The rows of the target, telling their places.
fn target_scan(name: TableReference, table: &LakeTable) -> Result<LogicalPlan> {
    let provider: Arc<dyn TableProvider> = Arc::new(table.with_row_metadata()?);
    Ok(LogicalPlanBuilder::scan(name, provider_as_source(provider), None)?.build()?)
}

/// The rows of the target that a DELETE or UPDATE looked at: those that its condition picks, where that is about the
/// target alone.
fn reads(input: &LogicalPlan, target: &TableReference, state: &SessionState) -> Result<Reads> {
    let plan = state
        .analyzer()
        .execute_and_check(input.clone(), state.config_options(), |_, _| {})?;
    let mut plan = &plan;
    while let LogicalPlan::Projection(Projection { input, .. }) = plan {
        plan = input;
    }
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = plan else {
        return Ok(Reads::Rows(None));
    };
    let of_target = match input.as_ref() {
        LogicalPlan::TableScan(scan) => scan.table_name == *target,
        LogicalPlan::SubqueryAlias(alias) => matches!(alias.input.as_ref(), LogicalPlan::TableScan(_)),
        _ => false,
    };
    let mut plain = of_target && !predicate.is_volatile();
    predicate.apply(|expr| {
        let other = matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
        );
        plain &= !other && !matches!(expr, Expr::OuterReferenceColumn(..));
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !plain {
        return Ok(Reads::Rows(None));
    }
    Ok(Reads::Rows(Some(
        datafusion::logical_expr::expr_rewriter::unnormalize_col(predicate.clone()),
    )))
}

/// `expr` in the type of a column. A value that does not fit is an error when it runs.
fn cast_to(expr: Expr, data_type: &DataType) -> Expr {
    datafusion::logical_expr::cast(expr, types::without_metadata(data_type))
}

/// The value of a column in new rows that give none.
fn default_of(table: &LakeTable, index: usize) -> Result<Expr> {
    match table.snapshot().write_default(index)? {
        WriteDefault::Value(value) => Ok(Expr::Literal(value, None)),
        WriteDefault::Sql(_) => Err(Error::unsupported("a default that is an expression", "")),
    }
}
