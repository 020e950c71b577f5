//! Which data files new rows take the place of, where they replace table partitions.

use std::collections::HashSet;

use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{Expr, lit};

use super::WrittenFile;
use super::target::{Transform, WriteTarget};
use crate::error::{Error, Result};
use crate::snapshot::{DataFile, FileRequest, TableSnapshot};

/// A filter over more partitions is not worth its evaluation.
const FILTERED_MAX: usize = 64;

/// Table partitions: those with certain values in certain columns, which are partitioned by the values themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Partitions {
    /// Columns of the table, by position.
    columns: Vec<usize>,
    /// Values of these columns, in their types.
    values: HashSet<Vec<ScalarValue>>,
}

impl Partitions {
    /// Those with these values in these columns.
    pub fn with(columns: Vec<usize>, values: Vec<ScalarValue>) -> Self {
        Self {
            columns,
            values: HashSet::from([values]),
        }
    }

    /// Those that `files` lie in, which were written for `target`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the table is not partitioned by the values of its columns alone.
    pub fn of(target: &WriteTarget, files: &[WrittenFile]) -> Result<Self> {
        let identity = |transform| transform == Transform::Identity;
        if target.partition.is_empty() || !target.partition.iter().all(|field| identity(field.transform)) {
            let what = "replacing partitions of a table that is not partitioned by values of its columns";
            return Err(unsupported(&target.table, what));
        }
        let columns: Vec<usize> = target.partition.iter().map(|field| field.column).collect();
        let types: Vec<_> = columns
            .iter()
            .map(|column| target.table_schema.field(*column).data_type())
            .collect();
        let mut values = HashSet::new();
        for file in files {
            let typed = file
                .partition
                .iter()
                .zip(&types)
                .map(|(value, data_type)| value.cast_to(data_type));
            let typed = typed.collect::<datafusion::error::Result<Vec<_>>>();
            values.insert(typed.map_err(|error| Error::Write {
                table: target.table.clone(),
                detail: error.to_string(),
                source: None,
            })?);
        }
        Ok(Self { columns, values })
    }

    /// The rows in them, as a condition over the table's columns; `None` where there are many.
    pub fn filter(&self, snapshot: &TableSnapshot) -> Option<Expr> {
        if self.values.len() > FILTERED_MAX {
            return None;
        }
        let of_one = |values: &Vec<ScalarValue>| {
            let equal = self.columns.iter().zip(values).map(|(column, value)| {
                let column = Expr::Column(Column::new_unqualified(snapshot.schema().field(*column).name()));
                match value.is_null() {
                    true => column.is_null(),
                    false => column.eq(Expr::Literal(value.clone(), None)),
                }
            });
            equal.reduce(Expr::and).unwrap_or(lit(true))
        };
        Some(self.values.iter().map(of_one).reduce(Expr::or).unwrap_or(lit(false)))
    }

    /// The data files in them, by their location as the table's metadata write it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where a file of the table lies in no partition by these columns: its partitioning was
    /// another one when the file was written.
    pub async fn files(&self, snapshot: &TableSnapshot) -> Result<Vec<String>> {
        let request = FileRequest {
            wanted: &[],
            predicate: None,
            only: None,
            with_origin: true,
        };
        let mut found = Vec::new();
        for set in snapshot.files(request).await?.sets {
            let places: Option<Vec<usize>> = self
                .columns
                .iter()
                .map(|column| set.constant_columns.iter().position(|constant| constant == column))
                .collect();
            let Some(places) = places.filter(|_| !set.files.is_empty()) else {
                let what = "replacing partitions while it has data files of another partitioning";
                return Err(unsupported(snapshot.table(), what));
            };
            let is_in = |file: &DataFile| {
                let values = places.iter().map(|place| file.constants[*place].clone());
                self.values.contains(&values.collect::<Vec<_>>())
            };
            let origins = set.files.into_iter().filter(is_in).filter_map(|file| file.origin);
            found.extend(origins.map(|origin| origin.location));
        }
        Ok(found)
    }
}

fn unsupported(table: &str, feature: &str) -> Error {
    Error::Unsupported {
        table: table.to_owned(),
        feature: feature.to_owned(),
    }
}
