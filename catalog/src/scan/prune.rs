//! Which data files can hold a row that a filter keeps, by their bounds and constants.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use crate::snapshot::DataFile;

/// Keeps the files that may hold a row for which `predicate` is true.
pub(crate) fn files(
    files: Vec<DataFile>,
    constant_columns: &[usize],
    schema: &SchemaRef,
    predicate: Option<&Arc<dyn PhysicalExpr>>,
) -> Vec<DataFile> {
    let bounds = Bounds {
        files: &files,
        constant_columns,
        schema,
    };
    let Some(keep) = predicate.and_then(|predicate| containers(schema, predicate, &bounds)) else {
        return files;
    };
    files
        .into_iter()
        .zip(keep)
        .filter_map(|(file, keep)| keep.then_some(file))
        .collect()
}

/// Which containers (files, manifests) of `statistics` may hold a row for which `predicate` is true; `None` where the
/// predicate is too complex to reason about.
pub(crate) fn containers(
    schema: &SchemaRef,
    predicate: &Arc<dyn PhysicalExpr>,
    statistics: &impl PruningStatistics,
) -> Option<Vec<bool>> {
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    builder.try_build(Arc::clone(predicate)).ok()?.prune(statistics).ok()
}

/// The files' bounds, one row per file, as DataFusion's pruning reads them.
struct Bounds<'a> {
    files: &'a [DataFile],
    constant_columns: &'a [usize],
    schema: &'a SchemaRef,
}

impl Bounds<'_> {
    fn values(&self, column: &Column, bound: impl Fn(&DataFile, usize) -> Option<&ScalarValue>) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        let unknown = ScalarValue::try_from(self.schema.field(index).data_type()).ok()?;
        let constant = self.constant_columns.iter().position(|c| *c == index);
        let values = self.files.iter().map(|file| {
            let value = match constant {
                Some(position) => file.constants.get(position),
                None => bound(file, index),
            };
            value.unwrap_or(&unknown).clone()
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Bounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |file, index| file.columns.get(index)?.lower.as_ref())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.values(column, |file, index| file.columns.get(index)?.upper.as_ref())
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let index = self.schema.index_of(&column.name).ok()?;
        let constant = self.constant_columns.iter().position(|c| *c == index);
        let nulls = self.files.iter().map(|file| match constant {
            Some(position) => match file.constants.get(position)?.is_null() {
                true => file.rows,
                false => Some(0),
            },
            None => file.columns.get(index)?.nulls,
        });
        Some(Arc::new(nulls.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(
            self.files.iter().map(|file| file.rows).collect::<UInt64Array>(),
        ))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

#[cfg(test)]
mod tests;
