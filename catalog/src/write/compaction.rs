//! OPTIMIZE: which data files a table is better off without, and the plan of the rows that move out of them.
//!
//! Rows move within their table partition. A partition's files move where there are two small ones or more, and a file
//! that rows were deleted from moves in any case.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::create_physical_expr;

use super::plan::LakeWrite;
use super::target::WriteTarget;
use crate::error::{Error, Result};
use crate::iceberg::deletes::Partition;
use crate::snapshot::{DataFile, EqualityDeleteFile, FileRequest};
use crate::table::LakeTable;

/// A file below this part of the target size is small, in quarters.
const SMALL_QUARTERS: u64 = 3;
/// The rows that move, in plans.
const MOVING: &str = "moving";

/// Data files whose rows move into others.
#[derive(Debug)]
pub struct Compaction {
    /// Their locations as the table's metadata write them.
    pub files: Vec<String>,
    /// Their size together.
    pub bytes: u64,
    /// How many of them had rows that were deleted.
    pub with_deletes: usize,
    /// How many rows there are to move, where no row was deleted.
    pub rows: Option<u64>,
    target: WriteTarget,
}

/// What two files of one table partition have in common.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    columns: Vec<usize>,
    constants: Vec<ScalarValue>,
    partition: Option<Partition>,
}

impl LakeTable {
    /// The files whose rows are better off in others: of those that may hold a row for which `filter` is true, where
    /// there is one. Its columns are those of the table, unqualified.
    ///
    /// # Errors
    /// Refuses by name a table that this writer cannot write right.
    pub async fn compaction(&self, filter: Option<&Expr>) -> Result<Compaction> {
        let snapshot = self.snapshot();
        let target = snapshot.rewrite_target()?;
        let small = target.file_bytes_target / 4 * SMALL_QUARTERS;
        let predicate = filter.map(|filter| self.physical(filter)).transpose()?;
        let request = FileRequest {
            wanted: &[],
            predicate: predicate.as_ref(),
            only: None,
            with_origin: true,
        };
        let list = snapshot.files(request).await?;
        let mut places: HashMap<Place, Vec<(DataFile, bool)>> = HashMap::new();
        for set in list.sets {
            for mut file in set.files {
                let deleted = file.deletes.is_some() || list.equality_deletes.iter().any(|del| applies(del, &file));
                if !deleted && file.size_bytes >= small {
                    continue;
                }
                let place = Place {
                    columns: set.constant_columns.clone(),
                    constants: std::mem::take(&mut file.constants),
                    partition: file.origin.as_mut().and_then(|origin| origin.partition.take()),
                };
                places.entry(place).or_default().push((file, deleted));
            }
        }
        let mut chosen = Compaction {
            files: Vec::new(),
            bytes: 0,
            with_deletes: 0,
            rows: Some(0),
            target,
        };
        for files in places.into_values() {
            let alone = files.len() < 2;
            for (file, deleted) in files.into_iter().filter(|(_, deleted)| *deleted || !alone) {
                chosen.bytes += file.size_bytes;
                chosen.with_deletes += usize::from(deleted);
                let rows = file.rows.filter(|_| !deleted);
                chosen.rows = chosen.rows.zip(rows).map(|(sum, rows)| sum + rows);
                let origin = file.origin.ok_or_else(|| Error::Corrupt {
                    table: snapshot.table().to_owned(),
                    file: file.path.to_string(),
                    detail: "its location is not known".to_owned(),
                })?;
                chosen.files.push(origin.location);
            }
        }
        chosen.files.sort_unstable();
        Ok(chosen)
    }

    /// The plan that writes the rows of these files anew, into files whose names begin with `write_id`.
    pub fn moved(&self, chosen: &Compaction, write_id: &str) -> Result<LogicalPlan> {
        let files: HashSet<String> = chosen.files.iter().cloned().collect();
        let rows = self.only_files(files).kept_rows(&chosen.target)?;
        let target = chosen.target.clone();
        // Each writer has a file of its own: as many rows as fit into one file go through one.
        match chosen.bytes <= target.file_bytes_target {
            true => LakeWrite::gathered(rows, target, write_id),
            false => LakeWrite::plan(rows, target, write_id, false),
        }
        .map_err(|error| self.failed(error))
    }

    /// The rows of this table as `target`, its [`rewrite_target`](crate::TableSnapshot::rewrite_target), takes them: with
    /// what they keep wherever they are moved.
    pub fn kept_rows(&self, target: &WriteTarget) -> Result<LogicalPlan> {
        let table = match self.snapshot().tracks_rows() {
            true => self.with_row_metadata()?,
            false => self.clone(),
        };
        let columns = target.table_schema.fields().iter();
        let names: HashSet<&String> = self
            .snapshot()
            .schema()
            .fields()
            .iter()
            .map(|field| field.name())
            .collect();
        let lineage = ["_row_id", "_last_updated_sequence_number"];
        let mut lineage = lineage.into_iter();
        let columns = columns.map(|field| {
            let name = match names.contains(field.name()) {
                true => field.name().as_str(),
                false => lineage.next().unwrap_or_default(),
            };
            Expr::Column(Column::new(Some(MOVING), name))
        });
        LogicalPlanBuilder::scan(MOVING, provider_as_source(Arc::new(table)), None)
            .and_then(|scan| scan.project(columns.collect::<Vec<_>>()))
            .and_then(LogicalPlanBuilder::build)
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: datafusion::error::DataFusionError) -> Error {
        Error::Write {
            table: self.snapshot().table().to_owned(),
            detail: error.to_string(),
            source: None,
        }
    }

    fn physical(&self, filter: &Expr) -> Result<Arc<dyn datafusion::physical_expr::PhysicalExpr>> {
        let wrong = |error: datafusion::error::DataFusionError| Error::InvalidName {
            detail: error.to_string(),
        };
        let schema = DFSchema::try_from(Arc::clone(self.snapshot().schema())).map_err(wrong)?;
        let context = PhysicalPlanningContext::default();
        create_physical_expr(filter, &schema, &ExecutionProps::new(), &context).map_err(wrong)
    }
}

/// True where the equality delete may delete rows of the file.
fn applies(delete: &EqualityDeleteFile, file: &DataFile) -> bool {
    delete.sequence > file.sequence
        && (delete.table_partition.is_none() || delete.table_partition == file.table_partition)
}
