//! Fills the demo's catalogs with the tables they do not have yet.
//!
//! A table appears with all of its rows or not at all, and remembers its scale: what an interrupted run finished, the
//! next one keeps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use catalog::write::{NewTable, create_table};
use catalog::{Lakehouse, TableName};
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;
use futures::future::try_join_all;

use super::progress::Progress;
use super::tpch::{Generator, Table};
use super::{CATALOGS, NAMESPACE};
use crate::error::{Error, Result};

/// The table property that holds the scale.
const SCALE_PROPERTY: &str = "lakewing.tpch.scale";
/// A table is cut into this many files, so that it can be read in parallel, unless they would become small or large.
const FILES: u64 = 8;
const FILE_ROWS_MIN: usize = 50_000;
const FILE_ROWS_MAX: usize = 2_000_000;

/// Makes every missing table of `scale` and shows how far it is.
/// Fails where a table holds data of another scale, or is not the demo's.
pub(super) async fn load(lakehouse: &Lakehouse, scale: f64) -> Result<()> {
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for catalog in CATALOGS {
        for name in missing_tables(lakehouse, catalog, scale).await? {
            missing.entry(name).or_default().push(catalog);
        }
    }
    if missing.is_empty() {
        Progress::say(&format!("the TPC-H tables of scale {scale} are there"));
        return Ok(());
    }
    Progress::say(&format!("making TPC-H data of scale {scale}"));
    let generator = SpawnedTask::spawn_blocking(move || Generator::new(scale));
    let generator = generator
        .join()
        .await
        .map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))?;
    for table in Table::ALL {
        if let Some(catalogs) = missing.get(table.name()) {
            make(lakehouse, &generator, table, catalogs).await?;
        }
    }
    Ok(())
}

/// The names of the tables that `catalog` does not have; creates the namespace when it does not have that either.
async fn missing_tables(lakehouse: &Lakehouse, catalog: &str, scale: f64) -> Result<Vec<&'static str>> {
    let names = Table::ALL.map(Table::name);
    if !lakehouse
        .list_namespaces(catalog)
        .await?
        .iter()
        .any(|namespace| namespace == NAMESPACE)
    {
        lakehouse.client(catalog)?.create_namespace(NAMESPACE, &[]).await?;
        return Ok(names.to_vec());
    }
    let existing = lakehouse.list_tables(catalog, NAMESPACE).await?;
    let (existing, missing) = names
        .into_iter()
        .partition(|name| existing.iter().any(|table| table == name));
    let existing: Vec<&str> = existing;
    for name in existing {
        check_scale(lakehouse, &TableName::new(catalog, NAMESPACE, name), scale).await?;
    }
    Ok(missing)
}

async fn check_scale(lakehouse: &Lakehouse, name: &TableName, scale: f64) -> Result<()> {
    let found = lakehouse.table(name).await?.snapshot().property(SCALE_PROPERTY);
    match found {
        Some(found) if found.parse() == Ok(scale) => Ok(()),
        Some(found) => Err(Error::config(
            "--scale",
            format!("{name} holds data of scale {found}: ask for that, remove it, or choose another --data-dir"),
        )),
        None => Err(Error::config(
            "--data-dir",
            format!("{name} was not made by the demo: remove it, or choose another --data-dir"),
        )),
    }
}

/// Makes one table in all `catalogs` at the same time, each from its own run of the generator.
async fn make(lakehouse: &Lakehouse, generator: &Generator, table: Table, catalogs: &[&str]) -> Result<()> {
    let expected = table.rows_expected(generator.scale()) * catalogs.len() as u64;
    let done = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let creations = catalogs
        .iter()
        .map(|catalog| create(lakehouse, generator, table, catalog, Arc::clone(&done)));
    let progress = Progress::new(table.name(), expected, Arc::clone(&done));
    let rows = progress.watch(try_join_all(creations)).await?;
    let rows = rows.first().copied().unwrap_or_default();
    progress.finish(&format!(
        "{rows} rows in {}, {:.1} s",
        catalogs.join(" and "),
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

async fn create(
    lakehouse: &Lakehouse,
    generator: &Generator,
    table: Table,
    catalog: &str,
    done: Arc<AtomicU64>,
) -> Result<u64> {
    let schema = table.schema()?;
    let rows_expected = table.rows_expected(generator.scale());
    // A little more than an even share: the number of line items is a little more than expected.
    let file_rows = (rows_expected + rows_expected / 100).div_ceil(FILES);
    let file_rows = usize::try_from(file_rows).unwrap_or(FILE_ROWS_MAX);
    let new = NewTable {
        properties: vec![(SCALE_PROPERTY.to_owned(), generator.scale().to_string())],
        file_rows_max: file_rows.clamp(FILE_ROWS_MIN, FILE_ROWS_MAX),
        ..NewTable::new(Arc::clone(&schema))
    };
    let rows = generator.rows(table)?.inspect_ok(move |batch| {
        done.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
    });
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
    Ok(create_table(lakehouse, &TableName::new(catalog, NAMESPACE, table.name()), &new, rows).await?)
}
