//! Metadata tables: what the metadata of one version of a table say, as rows. `t$files` lists the files of `t`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// Which metadata of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataTable {
    /// Its versions.
    Snapshots,
    /// Which version was current from when on.
    History,
    /// Its branches and tags.
    Refs,
    /// The manifests of this version.
    Manifests,
    /// The data and delete files of this version.
    Files,
    /// The table partitions of this version, with their sizes.
    Partitions,
    /// The table properties.
    Properties,
}

impl MetadataTable {
    /// All of them, in the order that messages list them.
    pub const ALL: [Self; 7] = [
        Self::Snapshots,
        Self::History,
        Self::Refs,
        Self::Manifests,
        Self::Files,
        Self::Partitions,
        Self::Properties,
    ];

    /// What stands behind `$`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::History => "history",
            Self::Refs => "refs",
            Self::Manifests => "manifests",
            Self::Files => "files",
            Self::Partitions => "partitions",
            Self::Properties => "properties",
        }
    }

    /// The one of that name, which is in lower case.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// A metadata table whose rows were read when it was opened: every scan of it gives the same.
#[derive(Debug, Clone)]
pub struct SystemTable {
    rows: RecordBatch,
}

impl SystemTable {
    pub(crate) fn new(rows: RecordBatch) -> Self {
        Self { rows }
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    /// The plan carries the rows, so that it can run anywhere.
    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = vec![self.rows.clone()];
        Ok(MemorySourceConfig::try_new_exec(
            &[rows],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
