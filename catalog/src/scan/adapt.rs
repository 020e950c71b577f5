//! A data file's columns to the table's columns: by name for Delta, by field id for Iceberg.
//!
//! DataFusion's own adapter already casts, fills missing columns with NULL and works by name. By field id means: give
//! every file column the table's name for its id, let that adapter work, and put the file's names back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use proto::ColumnMatch;

use crate::error::Error;
use crate::snapshot::ColumnMapping;

/// Makes one adapter per data file.
#[derive(Debug)]
pub(crate) struct LakeExprAdapterFactory {
    table: String,
    columns: Arc<ColumnMapping>,
}

impl LakeExprAdapterFactory {
    /// `table` is the table's name, for messages.
    pub(crate) fn new(table: &str, columns: Arc<ColumnMapping>) -> Self {
        Self {
            table: table.to_owned(),
            columns,
        }
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn columns(&self) -> &Arc<ColumnMapping> {
        &self.columns
    }

    fn unsupported(&self, feature: impl Into<String>) -> Error {
        Error::Unsupported {
            table: self.table.clone(),
            feature: feature.into(),
        }
    }

    /// The file's columns under the table's names, each at its place.
    fn rename(&self, table: &Schema, file: &Schema) -> Result<Schema> {
        if !file.fields().is_empty() && file.fields().iter().all(|field| field_id(field).is_none()) {
            return Err(self
                .unsupported("a name mapping (its data files have no field ids)")
                .into());
        }
        let by_id: HashMap<i32, &FieldRef> = table.fields().iter().filter_map(|f| Some((field_id(f)?, f))).collect();
        let mut fields = Vec::with_capacity(file.fields().len());
        for (index, field) in file.fields().iter().enumerate() {
            fields.push(match field_id(field).and_then(|id| by_id.get(&id)) {
                Some(wanted) => {
                    self.check_nested(wanted.name(), wanted.data_type(), field.data_type())?;
                    field.as_ref().clone().with_name(wanted.name())
                }
                // A dropped column: no name of the table may find it.
                None => field.as_ref().clone().with_name(format!("\u{0}{index}")),
            });
        }
        Ok(Schema::new(fields))
    }

    /// Casts inside a column go by name: they are right only where names and ids agree.
    fn check_nested(&self, column: &str, table: &DataType, file: &DataType) -> Result<()> {
        if same_shape(table, file) {
            return Ok(());
        }
        Err(self
            .unsupported(format!("schema evolution inside the nested column {column}"))
            .into())
    }
}

impl PhysicalExprAdapterFactory for LakeExprAdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        match self.columns.column_match {
            ColumnMatch::Name => DefaultPhysicalExprAdapterFactory.create(table, file),
            ColumnMatch::FieldId => {
                let renamed = Arc::new(self.rename(&table, &file)?);
                let by_name = DefaultPhysicalExprAdapterFactory.create(table, renamed)?;
                Ok(Arc::new(FieldIdAdapter { by_name, file }))
            }
            ColumnMatch::Unspecified => Err(self.unsupported("an unknown way to match columns").into()),
        }
    }
}

#[derive(Debug)]
struct FieldIdAdapter {
    by_name: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
}

impl PhysicalExprAdapter for FieldIdAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let adapted = self.by_name.rewrite(expr)?;
        let file_name = |expr: Arc<dyn PhysicalExpr>| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let name = self.file.field(column.index()).name();
            Ok(Transformed::yes(
                Arc::new(Column::new(name, column.index())) as Arc<dyn PhysicalExpr>
            ))
        };
        adapted.transform(file_name).data()
    }
}

/// The field id that Iceberg and Parquet give a column.
pub(crate) fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// True where both have the same struct fields, by name and id, in the same order, all the way down. Leaves may
/// differ: the adapter casts them.
fn same_shape(table: &DataType, file: &DataType) -> bool {
    let same_fields = |table: &Fields, file: &Fields| {
        table.len() == file.len()
            && table.iter().zip(file).all(|(t, f)| {
                t.name() == f.name() && field_id(t) == field_id(f) && same_shape(t.data_type(), f.data_type())
            })
    };
    match (table, file) {
        (DataType::Struct(table), DataType::Struct(file)) => same_fields(table, file),
        (DataType::List(table), DataType::List(file) | DataType::LargeList(file)) => {
            same_shape(table.data_type(), file.data_type())
        }
        (DataType::Map(table, _), DataType::Map(file, _)) => match (table.data_type(), file.data_type()) {
            (DataType::Struct(table), DataType::Struct(file)) => {
                table.len() == file.len()
                    && table
                        .iter()
                        .zip(file)
                        .all(|(t, f)| same_shape(t.data_type(), f.data_type()))
            }
            _ => false,
        },
        (table, file) => !table.is_nested() && !file.is_nested(),
    }
}

#[cfg(test)]
mod tests;
