//! What planning costs as tables grow: a query with a selective partition predicate, and one without any, over 1,000 to
//! 100,000 data files that exist in the metadata only. Cold means a new lakehouse; warm, the same one again.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Config, Lakehouse, PathFormat, Stores};
use datafusion::common::ScalarValue;
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use harness::tables::{
    Changes, ColumnStatistics, DeltaTable, FIELD_ID, IcebergTable, PartitionField, PartitionSpec, Transform,
    WrittenFile, delta,
};
use serde_json::{Map, Value, json};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
/// Every table has this many partitions, each written by a commit of its own.
const PARTITIONS: usize = 100;
const ROWS: u64 = 1_000_000;
/// Warm planning is repeated, and its least time taken.
const RUNS: usize = 5;

/// Prints times in milliseconds and the growth of the resident set; `plan_cold_ms_100k` and `plan_warm_ms_100k` are those
/// of the selective query over Iceberg.
pub(crate) async fn run(as_json: bool) -> Result<()> {
    let mut result = Map::new();
    println!("format   files   query      cold ms   warm ms   grown MB");
    for files in SIZES {
        for (name, format) in [("iceberg", PathFormat::Iceberg), ("delta", PathFormat::Delta)] {
            let folder = tempfile::tempdir()?;
            match format {
                PathFormat::Iceberg => iceberg(folder.path(), files)?,
                PathFormat::Delta => delta_table(folder.path(), files)?,
            }
            for (query, filter) in [("selective", " WHERE part = 42"), ("all", "")] {
                let measured = measure(folder.path(), format, filter, files).await?;
                let [cold, warm, grown] = measured;
                println!("{name:8} {files:6}  {query:9} {cold:8.1}  {warm:8.1}  {grown:8.1}");
                if query == "selective" {
                    let prefix = if name == "iceberg" { "" } else { "delta_" };
                    let size = format!("{}k", files / 1000);
                    result.insert(format!("{prefix}plan_cold_ms_{size}"), json!(cold));
                    result.insert(format!("{prefix}plan_warm_ms_{size}"), json!(warm));
                }
            }
        }
    }
    if as_json {
        println!("{}", Value::Object(result));
    }
    Ok(())
}

async fn measure(folder: &Path, format: PathFormat, filter: &str, files: usize) -> Result<[f64; 3]> {
    let location = format!("file://{}", folder.display());
    let config: Config = serde_json::from_value(json!({"storage": [{"prefix": location}]}))?;
    let lakehouse = Lakehouse::new(&config, Stores::new(&config.storage)?)?;
    let before = resident_mb()?;
    let sql = format!("SELECT * FROM t{filter}");
    let cold = plan(&lakehouse, format, &location, &sql, files).await?;
    let grown = resident_mb()? - before;
    let mut warm = f64::INFINITY;
    for _ in 0..RUNS {
        warm = warm.min(plan(&lakehouse, format, &location, &sql, files).await?);
    }
    Ok([cold, warm, grown])
}

/// Milliseconds from the table's name to its physical plan.
async fn plan(lakehouse: &Lakehouse, format: PathFormat, location: &str, sql: &str, files: usize) -> Result<f64> {
    let context = SessionContext::new_with_config(SessionConfig::new());
    let began = Instant::now();
    let table = lakehouse.table_at(format, location).await?;
    context.register_table("t", Arc::new(table))?;
    let plan = context.sql(sql).await?.create_physical_plan().await?;
    let took = began.elapsed().as_secs_f64() * 1e3;
    let expected = if sql.contains("WHERE") {
        files / PARTITIONS
    } else {
        files
    };
    let shown = displayable(plan.as_ref()).indent(false).to_string();
    ensure!(
        shown.contains(&format!("files={expected}/")),
        "not {expected} files are planned: {shown:.1000}"
    );
    Ok(took)
}

fn schema() -> SchemaRef {
    let field = |id: i32, name: &str, data_type: DataType| {
        let metadata = [(FIELD_ID.to_owned(), id.to_string())].into();
        Field::new(name, data_type, true).with_metadata(metadata)
    };
    let mut fields = vec![field(1, "part", DataType::Int32), field(2, "id", DataType::Int64)];
    fields.extend((3..=10).map(|id| field(id, &format!("c{id}"), DataType::Int64)));
    Arc::new(Schema::new(fields))
}

/// The metadata of the `number`-th file.
fn file(folder: &Path, number: usize) -> Result<WrittenFile> {
    let first = i64::try_from(number)? * 1_000_000;
    let schema = schema();
    let columns = schema.fields()[1..].iter().map(|field| ColumnStatistics {
        field: field.as_ref().clone(),
        lower: Some(ScalarValue::Int64(Some(first))),
        upper: Some(ScalarValue::Int64(Some(first + 999_999))),
        nulls: 0,
        nans: None,
    });
    Ok(WrittenFile {
        path: folder.join(format!("data/{number:06}.parquet")),
        size_bytes: 100 << 20,
        rows: ROWS,
        columns: columns.collect(),
    })
}

fn iceberg(folder: &Path, files: usize) -> Result<()> {
    let mut table = IcebergTable::new(folder, 2, schema());
    let by_part = PartitionField {
        source_id: 1,
        field_id: 1000,
        name: "part".to_owned(),
        transform: Transform::Identity,
        data_type: DataType::Int32,
    };
    table.specs = vec![PartitionSpec {
        id: 0,
        fields: vec![by_part],
    }];
    for part in 0..PARTITIONS {
        let mut changes = Changes::default();
        for number in 0..files / PARTITIONS {
            let written = file(folder, part * files + number)?;
            let value = ScalarValue::Int32(Some(i32::try_from(part)?));
            changes.add.push(table.data_file(&written, vec![value])?);
        }
        table.commit(changes)?;
    }
    Ok(())
}

fn delta_table(folder: &Path, files: usize) -> Result<()> {
    let mut table = DeltaTable::new(folder, delta::struct_json(schema().fields())?);
    table.partition_columns = vec!["part".to_owned()];
    for part in 0..PARTITIONS {
        let mut added = Vec::new();
        for number in 0..files / PARTITIONS {
            let written = file(folder, part * files + number)?;
            let name = written
                .path
                .file_name()
                .context("a file without a name")?
                .to_string_lossy()
                .into_owned();
            let partition = json!({"part": part.to_string()});
            added.push(DeltaTable::add(
                &name,
                &written,
                &partition,
                Some(delta::statistics(&written)),
            ));
        }
        table.commit(&[], added)?;
    }
    table.checkpoint()
}

fn resident_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.context("no VmRSS")?.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}
