//! Equality deletes as anti joins: data rows without an equal, younger delete row stay.
//!
//! One join per set of compared columns and scope. NULL equals NULL, and a delete applies to strictly older data: data
//! files lend their sequence number and the number of their table partition to their rows as hidden constants.
//! Source: the Iceberg table specification, "Equality Delete Files" and "Scan Planning".

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{JoinSide, JoinType, NullEquality, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;

use super::adapt::field_id;
use super::row_metadata::RowMetadata;
use super::{Layout, Scan, by_store};
use crate::snapshot::{Column as Bounds, DataFile, EqualityDeleteFile, FileSet};

/// Names that no column of a table has.
const SEQUENCE: &str = "\u{0}sequence";
const TABLE_PARTITION: &str = "\u{0}partition";

/// The equality deletes of one list of files.
pub(super) struct EqualityDeletes {
    groups: Vec<Group>,
}

/// Delete files that compare the same columns in the same scope.
struct Group {
    columns: Vec<Field>,
    /// Each file applies to its own table partition only.
    scoped: bool,
    files: Vec<EqualityDeleteFile>,
}

impl EqualityDeletes {
    pub(super) fn new(files: Vec<EqualityDeleteFile>) -> Self {
        let ids = |columns: &[Field]| columns.iter().map(field_id).collect::<Vec<_>>();
        let mut groups: Vec<Group> = Vec::new();
        for file in files {
            let scoped = file.table_partition.is_some();
            let same =
                |group: &&mut Group| group.scoped == scoped && ids(&group.columns) == ids(&file.equality_columns);
            match groups.iter_mut().find(same) {
                Some(group) => group.files.push(file),
                None => groups.push(Group {
                    columns: file.equality_columns.clone(),
                    scoped,
                    files: vec![file],
                }),
            }
        }
        Self { groups }
    }

    /// Moves the files that no equality delete can concern out of `set`.
    pub(super) fn take_untouched(&self, set: &mut FileSet) -> Vec<DataFile> {
        let touched = |file: &DataFile| {
            let mut deletes = self.groups.iter().flat_map(|group| &group.files);
            deletes.any(|delete| {
                let in_scope = delete.table_partition.is_none() || delete.table_partition == file.table_partition;
                in_scope && file.sequence < delete.sequence
            })
        };
        let (touched, untouched) = std::mem::take(&mut set.files).into_iter().partition(touched);
        set.files = touched;
        untouched
    }

    /// The rows of `sets` that are not deleted, with the columns of `scan`'s projection.
    pub(super) fn surviving(&self, scan: &Scan<'_>, sets: Vec<FileSet>) -> Result<Arc<dyn ExecutionPlan>> {
        let wide = WideTable::new(scan, &self.groups);
        let mut data = Vec::new();
        for set in sets {
            let layout = Layout::new(&wide.columns, &set.constant_columns, &hidden_constants(), scan.rows);
            let files = set.files.into_iter().map(|file| lend(file, wide.columns.len()));
            for part in by_store(files.collect()) {
                data.push(scan.of_files(&layout, part, &wide.projection, None)?);
            }
        }
        let mut rows = union(data)?;
        for group in &self.groups {
            rows = group.anti_join(scan, &wide, rows)?;
        }
        let schema = rows.schema();
        let of_rows = wide.projection.len()..wide.projection.len() + scan.rows.asked.len();
        let asked = (0..scan.projection.len()).chain(of_rows).map(|index| {
            let name = schema.field(index).name();
            ProjectionExpr::new(Arc::new(Column::new(name, index)), name)
        });
        Ok(Arc::new(ProjectionExec::try_new(asked.collect::<Vec<_>>(), rows)?))
    }
}

/// The table with every column that a delete compares, and what the joins read of it.
struct WideTable {
    /// The table's columns, and behind them those that it has no more.
    columns: Vec<FieldRef>,
    /// The scan's own projection, then the compared columns, the sequence number and the table partition.
    projection: Vec<usize>,
    /// Field id -> position in the projection.
    compared: Vec<(Option<i32>, usize)>,
}

impl WideTable {
    fn new(scan: &Scan<'_>, groups: &[Group]) -> Self {
        let mut columns: Vec<FieldRef> = scan.snapshot.schema().fields().to_vec();
        let mut projection = scan.projection.to_vec();
        let mut compared: Vec<(Option<i32>, usize)> = Vec::new();
        for column in groups.iter().flat_map(|group| &group.columns) {
            let id = field_id(column);
            if compared.iter().any(|(known, _)| *known == id) {
                continue;
            }
            let position = columns
                .iter()
                .position(|known| field_id(known) == id)
                .unwrap_or_else(|| {
                    // The table may have a new column of the dropped one's name.
                    let name = format!("\u{0}{}", column.name());
                    columns.push(Arc::new(column.clone().with_name(name).with_nullable(true)));
                    columns.len() - 1
                });
            compared.push((id, projection.len()));
            projection.push(position);
        }
        projection.extend([columns.len(), columns.len() + 1]);
        Self {
            columns,
            projection,
            compared,
        }
    }

    /// The compared column and its position in the rows.
    fn compared(&self, column: &Field) -> Option<(&FieldRef, usize)> {
        let (_, position) = self.compared.iter().find(|(id, _)| *id == field_id(column))?;
        Some((self.columns.get(*self.projection.get(*position)?)?, *position))
    }
}

impl Group {
    /// The rows of `data` that none of the group's deletes concerns.
    fn anti_join(
        &self,
        scan: &Scan<'_>,
        wide: &WideTable,
        data: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let keys: Vec<(&FieldRef, usize)> = self.columns.iter().filter_map(|c| wide.compared(c)).collect();
        let deletes = self.deletes(scan, keys.iter().map(|(field, _)| Arc::clone(field)).collect())?;
        let (sequence, table_partition) = (wide.projection.len() - 2, wide.projection.len() - 1);
        let pair = |name: &str, left: usize, right: usize| {
            let name_right = data.schema().field(right).name().clone();
            (
                Arc::new(Column::new(name, left)) as Arc<dyn PhysicalExpr>,
                Arc::new(Column::new(&name_right, right)) as Arc<dyn PhysicalExpr>,
            )
        };
        let equal = keys.iter().enumerate();
        let mut on: Vec<_> = equal
            .map(|(left, (field, right))| pair(field.name(), left, *right))
            .collect();
        if self.scoped {
            on.push(pair(TABLE_PARTITION, keys.len() + 1, table_partition));
        }
        Ok(Arc::new(HashJoinExec::try_new(
            deletes,
            data,
            on,
            Some(younger(keys.len(), sequence)),
            &JoinType::RightAnti,
            None,
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNull,
            false,
        )?))
    }

    /// The delete rows: the compared columns, the sequence number, the table partition.
    fn deletes(&self, scan: &Scan<'_>, keys: Vec<FieldRef>) -> Result<Arc<dyn ExecutionPlan>> {
        // Whatever the table demands of its rows, a delete may name NULL.
        let keys: Vec<FieldRef> = keys
            .into_iter()
            .map(|key| Arc::new(key.as_ref().clone().with_nullable(true)))
            .collect();
        let rows = RowMetadata::default();
        let layout = Layout::new(&keys, &[], &hidden_constants(), &rows);
        let projection: Vec<usize> = (0..keys.len() + 2).collect();
        let files = self.files.iter().map(|delete| {
            let file = DataFile {
                store_url: delete.store_url.clone(),
                path: delete.path.clone(),
                size_bytes: delete.size_bytes,
                rows: Some(delete.rows),
                constants: Vec::new(),
                columns: Vec::new(),
                deletes: None,
                sequence: delete.sequence,
                table_partition: delete.table_partition,
                origin: None,
            };
            lend(file, keys.len())
        });
        let scan = scan.of_delete_files(&rows);
        let scans = by_store(files.collect()).into_iter();
        let scans = scans.map(|part| scan.of_files(&layout, part, &projection, None));
        union(scans.collect::<Result<Vec<_>>>()?)
    }
}

/// `file` with its sequence number and table partition as constants, and bounds for `columns` columns.
fn lend(mut file: DataFile, columns: usize) -> DataFile {
    file.constants.push(ScalarValue::Int64(Some(file.sequence)));
    file.constants.push(ScalarValue::Int32(file.table_partition));
    file.columns.resize(columns, Bounds::default());
    file
}

fn hidden_constants() -> [FieldRef; 2] {
    [
        Arc::new(Field::new(SEQUENCE, DataType::Int64, false)),
        Arc::new(Field::new(TABLE_PARTITION, DataType::Int32, true)),
    ]
}

/// True where the data is older than the delete.
fn younger(delete_sequence: usize, data_sequence: usize) -> JoinFilter {
    let sequence = |name| Field::new(name, DataType::Int64, false);
    let schema = Schema::new(vec![sequence("delete"), sequence("data")]);
    let older = BinaryExpr::new(
        Arc::new(Column::new("data", 1)),
        Operator::Lt,
        Arc::new(Column::new("delete", 0)),
    );
    let columns = vec![
        ColumnIndex {
            index: delete_sequence,
            side: JoinSide::Left,
        },
        ColumnIndex {
            index: data_sequence,
            side: JoinSide::Right,
        },
    ];
    JoinFilter::new(Arc::new(older), columns, Arc::new(schema))
}

/// All rows of all `plans`, of which there is at least one.
fn union(mut plans: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    match plans.len() {
        1 => Ok(plans.swap_remove(0)),
        _ => UnionExec::try_new(plans),
    }
}
