//! Rows that a client uploads, as a plan: its leaf is read once.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use catalog::{LakeTable, TableName};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::Column;
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream;

use super::{cast_to, default_of};
use crate::error::{Error, Result};
use crate::sql::ddl::{CreateTable, TableDefinition};

/// The rows that are uploaded, under this name in plans.
const UPLOAD: &str = "upload";

/// Rows that come from outside, once.
struct Upload {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl PartitionStream for Upload {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.unwrap_or_else(|| {
            let again = DataFusionError::Internal("uploaded rows were read twice".to_owned());
            Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                stream::iter([Err(again)]),
            ))
        })
    }
}

/// The rows as a plan that can be run once, in this process.
pub(crate) fn plan(rows: SendableRecordBatchStream) -> Result<LogicalPlan> {
    let schema = rows.schema();
    let upload = Upload {
        schema: Arc::clone(&schema),
        rows: Mutex::new(Some(rows)),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(upload)])?;
    Ok(LogicalPlanBuilder::scan(UPLOAD, provider_as_source(Arc::new(table)), None)?.build()?)
}

/// The rows of a query, to be appended.
pub(crate) fn named(rows: LogicalPlan) -> Result<LogicalPlan> {
    Ok(LogicalPlanBuilder::from(rows).alias(UPLOAD)?.build()?)
}

/// The rows in the columns of `table`: each takes the column of its name, or its default where the rows have none.
pub(crate) fn append(rows: LogicalPlan, table: &LakeTable, state: &SessionState) -> Result<LogicalPlan> {
    let schema = table.snapshot().schema();
    for field in rows.schema().fields() {
        if schema.index_of(field.name()).is_err() {
            let known: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::statement(format!(
                "the table has no column \"{}\" for the rows: its columns are {}",
                field.name(),
                known.join(", ")
            )));
        }
    }
    let mut columns = Vec::new();
    for (index, field) in schema.fields().iter().enumerate() {
        let value = match rows.schema().has_column_with_unqualified_name(field.name()) {
            true => Expr::Column(Column::new(Some(UPLOAD), field.name())),
            false => default_of(table, index)?,
        };
        columns.push(cast_to(value, field.data_type()).alias(field.name()));
    }
    let plan = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(rows))?);
    Ok(state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})?)
}

/// A table that says of itself nothing but its columns.
pub(crate) fn definition(name: &TableName, or_replace: bool) -> CreateTable {
    CreateTable {
        name: vec![name.catalog.clone(), name.namespace.clone(), name.table.clone()],
        or_replace,
        if_not_exists: false,
        temporary: false,
        definition: TableDefinition::default(),
        query: None,
    }
}
