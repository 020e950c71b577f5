//! What a row is beside its columns: the file it lies in and where, and since when it is the same row.
//!
//! Two of the four columns may stand in data files that took rows over from older ones; where a file has no value, the
//! row inherits it from the file's entry in the metadata.
//! Sources: the Iceberg table specification, "Reserved Field IDs" and "Row Lineage"; the Delta protocol, "Row Tracking".

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, CastExpr, Column, IsNotNullExpr};
use datafusion::physical_expr::projection::ProjectionExpr;

use crate::error::Error;
use crate::snapshot::{DataFile, StoredLineage};

/// Names that no column of a table has.
const POSITION: &str = "\u{0}position";
const FILE: &str = "\u{0}file";
const FIRST_ROW_ID: &str = "\u{0}first_row_id";
const FILE_SEQUENCE: &str = "\u{0}file_sequence";

/// The key that marks the column of positions, which the reader makes up.
const POSITION_KEY: &str = "lakewing.row_position";

/// A column that every row has besides those of its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowColumn {
    /// The location of its data file, as the table's metadata write it.
    File,
    /// Its position in that file, deleted rows counted.
    Position,
    /// The id that it keeps while other commits rewrite or update it; NULL in tables without row lineage.
    RowId,
    /// The Iceberg sequence number or Delta version of the commit that last changed it; NULL as the row id is.
    LastUpdated,
}

impl RowColumn {
    /// In the order in which they follow the columns of a table.
    pub(crate) const ALL: [Self; 4] = [Self::File, Self::Position, Self::RowId, Self::LastUpdated];

    /// The column as plans see it.
    pub(crate) fn field(self) -> Field {
        match self {
            Self::File => Field::new("_file", location_type(), false),
            Self::Position => Field::new("_pos", DataType::Int64, false),
            Self::RowId => Field::new("_row_id", DataType::Int64, true),
            Self::LastUpdated => Field::new("_last_updated_sequence_number", DataType::Int64, true),
        }
    }
}

/// `columns` and, behind them, those of [`RowColumn`]. Refuses a table that has a column of such a name itself.
pub(crate) fn with_row_columns(table: &str, columns: &SchemaRef) -> Result<SchemaRef, Error> {
    let mut fields: Vec<FieldRef> = columns.fields().to_vec();
    for column in RowColumn::ALL {
        let field = column.field();
        if columns.index_of(field.name()).is_ok() {
            return Err(Error::Unsupported {
                table: table.to_owned(),
                feature: format!("a column of its own that is named {}", field.name()),
            });
        }
        fields.push(Arc::new(field));
    }
    Ok(Arc::new(Schema::new_with_metadata(fields, columns.metadata().clone())))
}

/// True for the column that holds each row's position.
pub(crate) fn is_position(field: &Field) -> bool {
    field.metadata().contains_key(POSITION_KEY)
}

/// True for an expression over a row's position.
pub(crate) fn reads_positions(expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    expr.exists(|expr| {
        Ok(expr
            .downcast_ref::<Column>()
            .is_some_and(|column| column.name() == POSITION))
    })
}

/// What a scan reads besides the columns of its table, to tell of each row what is asked.
#[derive(Debug, Clone, Default)]
pub(super) struct RowMetadata {
    /// What is asked, in this order.
    pub(super) asked: Vec<RowColumn>,
    /// Where files keep what they took over.
    pub(super) stored: StoredLineage,
}

impl RowMetadata {
    /// Columns to read from files.
    pub(super) fn in_files(&self) -> Vec<FieldRef> {
        if self.asked.is_empty() {
            return Vec::new();
        }
        let mark = HashMap::from([(POSITION_KEY.to_owned(), String::new())]);
        let position = Field::new(POSITION, DataType::Int64, false).with_metadata(mark);
        let mut fields = vec![Arc::new(position)];
        fields.extend([&self.stored.row_id, &self.stored.last_updated].map(Arc::clone));
        fields
    }

    /// What every row of a file has in common.
    pub(super) fn constants(&self) -> Vec<FieldRef> {
        if self.asked.is_empty() {
            return Vec::new();
        }
        let constants = [
            Field::new(FILE, location_type(), false),
            Field::new(FIRST_ROW_ID, DataType::Int64, true),
            Field::new(FILE_SEQUENCE, DataType::Int64, true),
        ];
        constants.map(Arc::new).to_vec()
    }

    /// `file` with the values of [`RowMetadata::constants`].
    pub(super) fn lend(&self, mut file: DataFile) -> DataFile {
        if let Some(origin) = file.origin.take().filter(|_| !self.asked.is_empty()) {
            let location = ScalarValue::Utf8(Some(origin.location));
            let location = ScalarValue::Dictionary(Box::new(DataType::Int32), Box::new(location));
            file.constants.push(location);
            file.constants.push(ScalarValue::Int64(origin.first_row_id));
            file.constants.push(ScalarValue::Int64(origin.sequence));
        }
        file
    }

    /// What is asked, from the columns of a scan: those of [`RowMetadata::in_files`] stand at `in_files`, those of
    /// [`RowMetadata::constants`] at `constants`.
    pub(super) fn projection(&self, in_files: usize, constants: usize) -> Result<Vec<ProjectionExpr>> {
        let column = |name: &str, at| Arc::new(Column::new(name, at)) as Arc<dyn PhysicalExpr>;
        let position = || column(POSITION, in_files);
        let inherited = |stored: &Field, at: usize, otherwise| -> Result<Arc<dyn PhysicalExpr>> {
            let stored = column(stored.name(), at);
            let has_own = Arc::new(IsNotNullExpr::new(Arc::clone(&stored)));
            Ok(Arc::new(CaseExpr::try_new(
                None,
                vec![(has_own, stored)],
                Some(otherwise),
            )?))
        };
        let expr = |asked: &RowColumn| {
            let field = asked.field();
            let name = field.name().clone();
            let expr: Arc<dyn PhysicalExpr> = match asked {
                RowColumn::File => column(FILE, constants),
                // The cast leaves the mark behind.
                RowColumn::Position => Arc::new(CastExpr::new_with_target_field(position(), Arc::new(field), None)),
                RowColumn::RowId => {
                    let first = column(FIRST_ROW_ID, constants + 1);
                    let nth = Arc::new(BinaryExpr::new(first, Operator::Plus, position()));
                    inherited(&self.stored.row_id, in_files + 1, nth)?
                }
                RowColumn::LastUpdated => {
                    let sequence = column(FILE_SEQUENCE, constants + 2);
                    inherited(&self.stored.last_updated, in_files + 2, sequence)?
                }
            };
            Ok(ProjectionExpr::new(expr, name))
        };
        self.asked.iter().map(expr).collect()
    }
}

fn location_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}
