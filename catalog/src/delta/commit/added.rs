//! New data files as `add` actions: their paths, partition values and statistics.

use std::sync::Arc;

use delta_kernel::table_features::TableFeature;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};

use super::actions;
use super::live::Texts;
use crate::delta::metrics::{self, StatsColumn};
use crate::delta::read::DeltaSnapshot;
use crate::error::{Error, Result};
use crate::write::WrittenFile;

/// What a path in the log has percent-encoded: all that a URL's path cannot hold.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a table wants to know of its new files.
#[derive(Debug)]
pub(crate) struct Added {
    /// The table's name, for messages.
    pub(crate) table: String,
    /// Its folder, without a slash at its end.
    pub(crate) root: String,
    /// The files' columns that have statistics.
    pub(crate) stats: Vec<StatsColumn>,
    /// The files' columns, by position, that have no NULL.
    pub(crate) not_null: Vec<usize>,
    /// In the order of [`WrittenFile::partition`].
    pub(crate) partition: Vec<PartitionColumn>,
}

/// A partition column.
#[derive(Debug)]
pub(crate) struct PartitionColumn {
    /// Its name, for messages.
    pub(crate) name: String,
    /// Its name in the log.
    pub(crate) physical: String,
    /// Whether NULL is allowed.
    pub(crate) nullable: bool,
}

impl Added {
    /// What a version of a table wants to know.
    pub(crate) async fn of(base: &DeltaSnapshot) -> Result<Self> {
        let (file_schema, file_columns) = base.file_columns()?;
        let (kernel, engine) = (Arc::clone(&base.version.kernel), base.log.engine());
        let clustered = match base.supports(&TableFeature::ClusteredTable) {
            true => {
                let clustered = base
                    .log
                    .blocking(move || kernel.get_physical_clustering_columns(&engine));
                clustered.await?.unwrap_or_default()
            }
            false => Vec::new(),
        };
        let mut always = Vec::new();
        for column in clustered {
            match column.path() {
                [name] => always.push(name.clone()),
                _ => {
                    return Err(base
                        .log
                        .unsupported(format!("statistics of the nested column {column}")));
                }
            }
        }
        let columns: Vec<_> = file_columns
            .iter()
            .zip(file_schema.fields())
            .map(|(column, field)| (base.schema().field(*column).name().as_str(), field.as_ref()))
            .collect();
        let first = base.property("delta.dataSkippingNumIndexedCols");
        let listed = base.property("delta.dataSkippingStatsColumns");
        let known = &base.version.columns;
        let partition = known.partition_columns.iter().map(|column| PartitionColumn {
            name: base.schema().field(*column).name().clone(),
            physical: known.physical[*column].clone(),
            nullable: base.schema().field(*column).is_nullable(),
        });
        Ok(Self {
            table: base.log.table.clone(),
            root: base.root(),
            stats: metrics::wanted(&columns, first.as_deref(), listed.as_deref(), &always),
            not_null: (0..columns.len())
                .filter(|column| !columns[*column].1.is_nullable())
                .collect(),
            partition: partition.collect(),
        })
    }

    /// The `add` of a new file. Refuses a file with a NULL where the table has none.
    pub(crate) fn action(&self, file: &WrittenFile, now_ms: i64) -> Result<Map<String, Value>> {
        let failed = |detail: String| Error::Write {
            table: self.table.clone(),
            detail,
            source: None,
        };
        for index in &self.not_null {
            let nulls = file.columns.get(*index).and_then(|column| column.nulls);
            if nulls.is_some_and(|nulls| nulls > 0) {
                return Err(failed(format!(
                    "{} has a NULL in a column that is NOT NULL",
                    file.location
                )));
            }
        }
        if file.partition.len() != self.partition.len() {
            let (found, expect) = (file.partition.len(), self.partition.len());
            return Err(failed(format!(
                "{} has {found} partition values, not {expect}",
                file.location
            )));
        }
        let mut values = Texts::new();
        for (column, value) in self.partition.iter().zip(&file.partition) {
            let text = metrics::partition_text(value).map_err(|error| failed(format!("{}: {error}", column.name)))?;
            if text.is_none() && !column.nullable {
                return Err(failed(format!(
                    "{} is NULL, which the table does not allow",
                    column.name
                )));
            }
            values.insert(column.physical.clone(), text);
        }
        let path = relative(&self.root, &file.location);
        let path = path.ok_or_else(|| failed(format!("{} lies outside of the table", file.location)))?;
        let stats = metrics::stats(file, &self.stats);
        Ok(actions::add(&path, &values, file.size_bytes, now_ms, &stats))
    }
}

/// The path of a file in the folder `root` as the log writes it; `None` for a file elsewhere.
fn relative(root: &str, location: &str) -> Option<String> {
    let path = location.strip_prefix(root)?.strip_prefix('/')?;
    Some(utf8_percent_encode(path, ENCODED).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_and_encoded() {
        let check = |location: &str, expect: Option<&str>| {
            assert_eq!(relative("s3://b/t", location).as_deref(), expect, "{location}");
        };
        check("s3://b/t/a.parquet", Some("a.parquet"));
        check("s3://b/t/k=a b%ü/a.parquet", Some("k=a%20b%25%C3%BC/a.parquet"));
        check("s3://b/table/a.parquet", None);
    }
}
