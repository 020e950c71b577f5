//! `information_schema.routines`: the functions of the engine, and those that catalogs keep.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::TableName;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{ExecutionPlan, collect};

use crate::access::Viewer;
use crate::sql::ddl::function::{Function, FunctionKind, Volatility};
use crate::sql::information_schema::selection;
use crate::sql::listing::{self, Selection};

/// The name of the table.
pub(in crate::sql) const TABLE: &str = "routines";

/// The table.
#[derive(Debug)]
pub(in crate::sql) struct Routines {
    viewer: Viewer,
    engine: Arc<dyn TableProvider>,
}

impl Routines {
    /// `engine` has the functions of the engine, and the columns.
    pub(in crate::sql) fn new(viewer: Viewer, engine: Arc<dyn TableProvider>) -> Self {
        Self { viewer, engine }
    }

    async fn of_lake(&self, selection: &Selection) -> Result<RecordBatch> {
        let functions = listing::functions(&self.viewer, selection).await;
        let functions = functions.map_err(|error| DataFusionError::External(Box::new(error)))?;
        rows(self.engine.schema(), &functions)
    }
}

/// One row for each function.
fn rows(schema: SchemaRef, functions: &[(TableName, Function)]) -> Result<RecordBatch> {
    let texts = |text: &dyn Fn(&(TableName, Function)) -> Option<String>| -> ArrayRef {
        Arc::new(functions.iter().map(text).collect::<StringArray>())
    };
    let column = |name: &str| -> ArrayRef {
        match name {
            "specific_catalog" | "routine_catalog" => texts(&|(name, _)| Some(name.catalog.clone())),
            "specific_schema" | "routine_schema" => texts(&|(name, _)| Some(name.namespace.clone())),
            "specific_name" | "routine_name" => texts(&|(name, _)| Some(name.table.clone())),
            "routine_type" => texts(&|_| Some("FUNCTION".to_owned())),
            "is_deterministic" => Arc::new(
                functions
                    .iter()
                    .map(|(_, function)| Some(function.volatility == Some(Volatility::Immutable)))
                    .collect::<BooleanArray>(),
            ),
            "data_type" => texts(&|(_, function)| Some(function.returns.clone())),
            "function_type" => texts(&|(_, function)| {
                let kind = match function.kind {
                    FunctionKind::Scalar => "SCALAR",
                    FunctionKind::Aggregate => "AGGREGATE",
                };
                Some(kind.to_owned())
            }),
            "description" => texts(&|(_, function)| function.comment.clone()),
            "syntax_example" => texts(&|(name, function)| Some(format!("{}{function}", name.table))),
            _ => texts(&|_| None),
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect();
    Ok(RecordBatch::try_new(schema, columns)?)
}

#[async_trait]
impl TableProvider for Routines {
    fn schema(&self) -> SchemaRef {
        self.engine.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    /// Lists while planning, as the other tables of the schema.
    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let engine = self.engine.scan(state, None, &[], None).await?;
        let mut batches = collect(engine, state.task_ctx()).await?;
        batches.push(self.of_lake(&selection(filters)).await?);
        Ok(MemorySourceConfig::try_new_exec(
            &[batches],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
