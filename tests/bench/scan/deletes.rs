//! The benchmark's tables with every tenth row deleted at random: the same data files, under metadata of their own.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::datatypes::SchemaRef;
use catalog::{Config, Lakehouse, PathFormat, Stores};
use datafusion::prelude::{SessionConfig, SessionContext};
use harness::tables::{Changes, DeltaTable, FileLayout, IcebergTable, WrittenFile, delta};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use super::{TABLES, parquet_files};

/// How rows are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deletes {
    IcebergPositions,
    IcebergVectors,
    DeltaVectors,
}

/// A session over tables of the data files below `folder`.
pub(super) async fn lake(folder: &Path, kind: Deletes, config: SessionConfig) -> Result<SessionContext> {
    let root = folder.join(format!("{kind:?}"));
    let prefix = format!("file://{}", root.display());
    let config_value: Config = serde_json::from_value(json!({"storage": [{"prefix": prefix}]}))?;
    let lakehouse = Lakehouse::new(&config_value, Stores::new(&config_value.storage)?)?;
    let context = SessionContext::new_with_config(config);
    for table in TABLES {
        let files = parquet_files(&folder.join("lake/tpch").join(table))?;
        let location = root.join(table);
        let format = match kind {
            Deletes::IcebergPositions | Deletes::IcebergVectors => {
                iceberg(&location, &files, kind == Deletes::IcebergVectors)?;
                PathFormat::Iceberg
            }
            Deletes::DeltaVectors => {
                delta_table(&location, &files)?;
                PathFormat::Delta
            }
        };
        let provider = lakehouse.table_at(format, &format!("{prefix}/{table}")).await?;
        context.register_table(table, Arc::new(provider))?;
    }
    let counted = context
        .sql("SELECT count(*), min(l_orderkey) FROM lineitem")
        .await?
        .collect()
        .await?;
    ensure!(
        counted.iter().any(|batch| batch.num_rows() > 0),
        "lineitem cannot be counted"
    );
    Ok(context)
}

fn iceberg(location: &Path, files: &[PathBuf], as_vectors: bool) -> Result<()> {
    let (schema, written) = linked(&location.join("data"), files)?;
    let mut table = IcebergTable::new(location, if as_vectors { 3 } else { 2 }, schema);
    let mut changes = Changes::default();
    for file in &written {
        changes.add.push(table.data_file(file, Vec::new())?);
    }
    let data = changes.add.clone();
    table.commit(changes)?;
    let mut changes = Changes::default();
    for file in &data {
        let positions = tenth(file.rows);
        if as_vectors {
            if !positions.is_empty() {
                changes
                    .add
                    .extend(table.deletion_vectors(&[(file, &positions)], false)?);
            }
        } else if !positions.is_empty() {
            let rows: Vec<(String, u64)> = positions.iter().map(|row| (file.path.clone(), *row)).collect();
            changes
                .add
                .push(table.position_deletes(file, &rows, &FileLayout::default())?);
        }
    }
    table.commit(changes)
}

fn delta_table(location: &Path, files: &[PathBuf]) -> Result<()> {
    let (schema, written) = linked(location, files)?;
    let mut table = DeltaTable::new(location, delta::struct_json(schema.fields())?);
    let mut added = Vec::new();
    for file in &written {
        let name = file
            .path
            .file_name()
            .context("a file without a name")?
            .to_string_lossy()
            .into_owned();
        let mut add = DeltaTable::add(&name, file, &json!({}), Some(json!({"numRecords": file.rows})));
        let positions = tenth(file.rows);
        if !positions.is_empty() {
            add["deletionVector"] = table.deletion_vector(&positions, false, false)?;
        }
        added.push(add);
    }
    table.commit(&[], added)
}

/// The files under new names in `folder`, and their schema.
fn linked(folder: &Path, files: &[PathBuf]) -> Result<(SchemaRef, Vec<WrittenFile>)> {
    std::fs::create_dir_all(folder)?;
    let mut written = Vec::with_capacity(files.len());
    let mut schema = None;
    for (number, file) in files.iter().enumerate() {
        let path = folder.join(format!("{number:05}.parquet"));
        std::fs::hard_link(file, &path)?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?;
        schema.get_or_insert(Arc::clone(builder.schema()));
        written.push(WrittenFile {
            size_bytes: std::fs::metadata(&path)?.len(),
            rows: u64::try_from(builder.metadata().file_metadata().num_rows())?,
            columns: Vec::new(),
            path,
        });
    }
    Ok((schema.context("a table without files")?, written))
}

/// About a tenth of a file's rows, spread without order; tables of a few rows keep them all.
fn tenth(rows: u64) -> BTreeSet<u64> {
    let chosen = |row: &u64| {
        // The finaliser of SplitMix64.
        let mut hash = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (hash ^ (hash >> 31)).is_multiple_of(10)
    };
    match rows {
        0..1000 => BTreeSet::new(),
        _ => (0..rows).filter(chosen).collect(),
    }
}
