//! A table in a plan: DataFusion's [`TableProvider`] over one pinned snapshot.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::scan;
use crate::scan::deletes::cache::DeleteCache;
use crate::snapshot::TableSnapshot;
use crate::system_table::{MetadataTable, SystemTable};

/// A table pinned to one snapshot: every scan planned from it reads the same rows.
#[derive(Debug, Clone)]
pub struct LakeTable {
    snapshot: TableSnapshot,
    deletes: Arc<DeleteCache>,
}

impl LakeTable {
    pub(crate) fn new(snapshot: TableSnapshot, deletes: Arc<DeleteCache>) -> Self {
        Self { snapshot, deletes }
    }

    /// The version that is read.
    pub fn snapshot(&self) -> &TableSnapshot {
        &self.snapshot
    }

    /// What the metadata of this version say, as a table of its own.
    pub async fn metadata(&self, metadata_table: MetadataTable) -> crate::error::Result<SystemTable> {
        Ok(SystemTable::new(self.snapshot.inspect(metadata_table).await?))
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.snapshot.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Files are pruned by every filter, and rows are filtered above the scan.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let request = scan::Request {
            projection,
            filters,
            limit,
        };
        scan::plan(&self.snapshot, &self.deletes, state, request).await
    }
}
