//! A table in a plan: DataFusion's [`TableProvider`] over one pinned snapshot.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use roaring::RoaringTreemap;

use crate::scan;
use crate::scan::deletes::cache::DeleteCache;
use crate::scan::row_metadata::with_row_columns;
use crate::snapshot::TableSnapshot;
use crate::system_table::{MetadataTable, SystemTable};
use crate::write::change::DeletedRows;
use crate::write::target::WriteDefault;

/// A table pinned to one snapshot: every scan planned from it reads the same rows.
#[derive(Debug, Clone)]
pub struct LakeTable {
    snapshot: TableSnapshot,
    deletes: Arc<DeleteCache>,
    /// The columns of the snapshot, and perhaps those of [`RowColumn`](crate::scan::row_metadata::RowColumn).
    schema: SchemaRef,
    /// The only data files that are read, where it is not all of them.
    only: Option<Arc<HashSet<String>>>,
    /// Rows of them that are not read.
    hidden: Option<Arc<HashMap<String, RoaringTreemap>>>,
    /// What INSERT writes into columns that it does not name.
    defaults: Arc<OnceLock<HashMap<String, Expr>>>,
}

impl LakeTable {
    pub(crate) fn new(snapshot: TableSnapshot, deletes: Arc<DeleteCache>) -> Self {
        let schema = Arc::clone(snapshot.schema());
        Self {
            snapshot,
            deletes,
            schema,
            only: None,
            hidden: None,
            defaults: Arc::default(),
        }
    }

    /// The rows that stay in the files which lose some of theirs.
    pub fn remaining(&self, deleted: &[DeletedRows]) -> Self {
        let files = deleted.iter().map(|deleted| deleted.file.clone()).collect();
        let hidden = deleted
            .iter()
            .map(|deleted| (deleted.file.clone(), deleted.positions.clone()));
        Self {
            hidden: Some(Arc::new(hidden.collect())),
            ..self.only_files(files)
        }
    }

    fn defaults(&self) -> HashMap<String, Expr> {
        let fields = self.snapshot.schema().fields().iter().enumerate();
        let value = |(index, field): (usize, &FieldRef)| match self.snapshot.write_default(index) {
            Ok(WriteDefault::Value(value)) if !value.is_null() => {
                Some((field.name().clone(), Expr::Literal(value, None)))
            }
            _ => None,
        };
        fields.filter_map(value).collect()
    }

    /// The same rows with four more columns at the end: `_file`, the location of the row's data file as the table's
    /// metadata write it; `_pos`, its position in the file; `_row_id` and `_last_updated_sequence_number`, which are NULL
    /// in tables without row lineage. Refuses a table with a column of such a name.
    pub fn with_row_metadata(&self) -> crate::error::Result<Self> {
        Ok(Self {
            schema: with_row_columns(self.snapshot.table(), self.snapshot.schema())?,
            ..self.clone()
        })
    }

    /// The rows of the data files at these locations, each as `_file` tells it.
    pub fn only_files(&self, files: HashSet<String>) -> Self {
        Self {
            only: Some(Arc::new(files)),
            ..self.clone()
        }
    }

    /// The version that is read.
    pub fn snapshot(&self) -> &TableSnapshot {
        &self.snapshot
    }

    /// The bytes of all data files of this version; nothing where its metadata do not tell.
    pub async fn bytes(&self) -> crate::error::Result<Option<u64>> {
        self.snapshot.bytes().await
    }

    /// What the metadata of this version say, as a table of its own.
    pub async fn metadata(&self, metadata_table: MetadataTable) -> crate::error::Result<SystemTable> {
        Ok(SystemTable::new(self.snapshot.inspect(metadata_table).await?))
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get_or_init(|| self.defaults()).get(column)
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
        let all = || (0..self.schema.fields().len()).collect::<Vec<_>>();
        let projection = projection.cloned().unwrap_or_else(all);
        let request = scan::Request {
            projection: &projection,
            filters,
            limit,
            only: self.only.as_ref(),
            hidden: self.hidden.as_deref(),
        };
        scan::plan(&self.snapshot, &self.deletes, state, request).await
    }
}
