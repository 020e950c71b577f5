//! Commits on Delta tables, without SQL between: deltalake and DuckDB read what was committed value by value, and
//! deltalake commits beside us.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use arrow::array::TimestampMicrosecondArray;
use arrow::array::{ArrayRef, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use catalog::write::NewTable;
use catalog::write::change::{Change, DeletedRows, Operation, Reads};
use catalog::write::plan::{Collected, LakePlanner, LakeWrite};
use catalog::write::target::Transform;
use catalog::{Lakehouse, Stores, TableName};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use harness::python;
use serde_json::{Value, json};
use tempfile::TempDir;

const PARTS: [Option<&str>; 3] = [Some("plain"), Some("a b/%ü=?"), None];
/// Rows of `t` as every reader spells them alike.
const ROWS: &str = "SELECT id, name, CAST(amount AS VARCHAR) AS amount, CAST(day AS VARCHAR) AS day, \
                    CAST(CAST(\"at\" AS TIMESTAMP) AS VARCHAR) AS \"at\", part FROM t ORDER BY id";

/// A lake of one folder.
struct House {
    folder: TempDir,
    lakehouse: Lakehouse,
    context: SessionContext,
    writes: AtomicUsize,
}

impl House {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = format!("file://{}", folder.path().display());
        let config = json!({"catalogs": {"lake": {"type": "delta", "root": root}}, "storage": []});
        let stores = Stores::new(&[])?;
        let state = SessionStateBuilder::new_with_default_features()
            .with_query_planner(Arc::new(LakePlanner))
            .with_runtime_env(Arc::new(
                datafusion::execution::runtime_env::RuntimeEnvBuilder::new()
                    .with_object_store_registry(Arc::clone(&stores) as _)
                    .build()?,
            ))
            .build();
        Ok(Self {
            folder,
            lakehouse: Lakehouse::new(&serde_json::from_value(config)?, stores)?,
            context: SessionContext::new_with_state(state),
            writes: AtomicUsize::new(0),
        })
    }

    fn uri(&self, table: &str) -> String {
        self.folder.path().join("ns").join(table).display().to_string()
    }

    async fn create(&self, table: &str, properties: &[(&str, &str)], partitioned: bool) -> Result<()> {
        let schema = rows(0, 0)?.schema();
        let new = NewTable {
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            partition: if partitioned {
                vec![(5, Transform::Identity, None)]
            } else {
                Vec::new()
            },
            ..NewTable::new(schema)
        };
        let client = self.lakehouse.client("lake")?;
        let staged = client.stage(&name(table), &new).await?;
        Ok(client.create(&name(table), staged, &[]).await?)
    }

    /// The change that appends these rows.
    async fn appended(&self, table: &str, batch: RecordBatch) -> Result<Change> {
        let snapshot = self.lakehouse.table(&name(table)).await?.snapshot().clone();
        let source = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        let input = self.context.read_table(Arc::new(source))?.into_unoptimized_plan();
        let id = format!("write{}", self.writes.fetch_add(1, Ordering::Relaxed));
        let plan = LakeWrite::plan(input, snapshot.write_target()?, &id, false)?;
        let output = self.context.execute_logical_plan(plan).await?.collect().await?;
        let mut collected = Collected::default();
        for batch in &output {
            collected.add(table, batch)?;
        }
        Ok(Change {
            operation: Operation::Append,
            added: collected.finish().files,
            removed: Vec::new(),
            deleted: Vec::new(),
            reads: Reads::Nothing,
        })
    }

    async fn commit(&self, table: &str, change: Change) -> Result<i64> {
        let snapshot = self.lakehouse.table(&name(table)).await?.snapshot().clone();
        Ok(self.lakehouse.commit(&name(table), &snapshot, change).await?.version)
    }

    async fn append(&self, table: &str, first: i64, last: i64) -> Result<Change> {
        let change = self.appended(table, rows(first, last)?).await?;
        self.commit(table, change.clone()).await?;
        Ok(change)
    }

    /// The rows as Lakewing reads them.
    async fn read(&self, table: &str) -> Result<Vec<Vec<Option<String>>>> {
        let provider = self.lakehouse.table(&name(table)).await?;
        let frame = self.context.read_table(Arc::new(provider))?;
        let frame = frame.sort_by(vec![datafusion::prelude::col("id")])?;
        let batches = frame.collect().await?;
        let mut rows = Vec::new();
        for batch in &batches {
            let options = FormatOptions::new().with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.6f"));
            let columns = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().zip(&columns);
                rows.push(
                    cells
                        .map(|(values, text)| values.is_valid(row).then(|| text.value(row).to_string()))
                        .collect(),
                );
            }
        }
        Ok(rows)
    }

    /// The readers agree with the rows that have these ids.
    async fn check(&self, table: &str, ids: &[i64], readers: &[&str]) -> Result<()> {
        let expect = ids.iter().map(|id| expected(*id)).collect::<Result<Vec<_>>>()?;
        assert_eq!(self.read(table).await?, expect, "Lakewing reads {table}");
        for reader in readers {
            let request = json!({"uri": self.uri(table), "do": reader, "sql": ROWS});
            let found: Vec<Vec<Option<String>>> = serde_json::from_value(python("delta_rows.py", request).await?)?;
            let found: Vec<Vec<Option<String>>> = found.into_iter().map(normal).collect();
            assert_eq!(found, expect, "{reader} reads {table}");
        }
        Ok(())
    }
}

fn name(table: &str) -> TableName {
    TableName::new("lake", "ns", table)
}

fn part(id: i64) -> Option<&'static str> {
    PARTS[usize::try_from(id % 3).unwrap_or_default()]
}

/// As `delta_rows_writer.py` makes them.
fn rows(first: i64, last: i64) -> Result<RecordBatch> {
    const START: i64 = 1_704_067_200_000_000;
    let ids = first..last;
    let names = ids.clone().map(|id| (id % 10 != 9).then(|| format!("n{id}")));
    let amounts = Decimal128Array::from_iter_values(ids.clone().map(i128::from)).with_precision_and_scale(12, 2)?;
    let days = ids
        .clone()
        .map(|id| 19_723 + i32::try_from(id % 400).unwrap_or_default());
    let times = TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| START + id)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 6] = [
        ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
        ("name", Arc::new(names.collect::<StringArray>())),
        ("amount", Arc::new(amounts)),
        ("day", Arc::new(Date32Array::from_iter_values(days))),
        ("at", Arc::new(times)),
        ("part", Arc::new(ids.map(part).collect::<StringArray>())),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, values)| (name, values, true)),
    )?)
}

/// The texts of a row.
fn expected(id: i64) -> Result<Vec<Option<String>>> {
    let batch = rows(id, id + 1)?;
    let day = ArrayFormatter::try_new(batch.column(3), &FormatOptions::new())?
        .value(0)
        .to_string();
    Ok(vec![
        Some(id.to_string()),
        (id % 10 != 9).then(|| format!("n{id}")),
        Some(format!("{}.{:02}", id / 100, id % 100)),
        Some(day),
        Some(format!("2024-01-01 00:00:00.{id:06}")),
        part(id).map(str::to_owned),
    ])
}

/// Readers differ in how they spell times.
fn normal(mut row: Vec<Option<String>>) -> Vec<Option<String>> {
    if let Some(Some(time)) = row.get_mut(4) {
        let text = time.replace('T', " ");
        let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
        *time = format!("{seconds}.{fraction:0<6}");
    }
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_appends_and_removed_files() -> Result<()> {
    let house = House::new()?;
    for partitioned in [false, true] {
        let table = if partitioned { "parted" } else { "plain" };
        house.create(table, &[], partitioned).await?;
        house.append(table, 0, 30).await?;
        let second = house.append(table, 30, 50).await?;
        house
            .check(table, &(0..50).collect::<Vec<_>>(), &["deltalake", "duckdb"])
            .await?;
        let root = format!("file://{}/", house.uri(table));
        let gone = second
            .added
            .iter()
            .map(|file| file.location().trim_start_matches(&root).to_owned());
        let removed = Change {
            operation: Operation::Delete,
            added: Vec::new(),
            removed: gone.collect(),
            reads: Reads::Rows(None),
            ..second.clone()
        };
        house.commit(table, removed).await?;
        house
            .check(table, &(0..30).collect::<Vec<_>>(), &["deltalake", "duckdb"])
            .await?;
        // Past a checkpoint, and on after another writer.
        for first in 50..60 {
            house.append(table, first, first + 1).await?;
        }
        python(
            "delta_rows.py",
            json!({"uri": house.uri(table), "do": "append", "from": 60, "to": 70, "times": 1}),
        )
        .await?;
        house.append(table, 70, 80).await?;
        let ids: Vec<i64> = (0..30).chain(50..80).collect();
        house.check(table, &ids, &["deltalake", "duckdb"]).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_deletion_vectors_and_mapped_columns() -> Result<()> {
    let house = House::new()?;
    let vectors = ("delta.enableDeletionVectors", "true");
    for (table, properties) in [
        ("vectors", vec![vectors]),
        ("mapped", vec![vectors, ("delta.columnMapping.mode", "name")]),
        (
            "tracked",
            vec![
                vectors,
                ("delta.enableRowTracking", "true"),
                ("delta.enableInCommitTimestamps", "true"),
            ],
        ),
    ] {
        house.create(table, &properties, false).await?;
        let first = house.append(table, 0, 40).await?;
        let second = house.append(table, 40, 80).await?;
        let root = format!("file://{}/", house.uri(table));
        let file = |change: &Change| Some(change.added.first()?.location().trim_start_matches(&root).to_owned());
        let deleted = |file: String, positions: &[u64]| DeletedRows {
            file,
            positions: positions.iter().copied().collect(),
        };
        let (one, two) = (file(&first).context("no file")?, file(&second).context("no file")?);
        let delete = |deleted: Vec<DeletedRows>| Change {
            operation: Operation::Delete,
            added: Vec::new(),
            removed: Vec::new(),
            deleted,
            reads: Reads::Rows(None),
        };
        house
            .commit(table, delete(vec![deleted(one.clone(), &[0, 7]), deleted(two, &[39])]))
            .await?;
        house.commit(table, delete(vec![deleted(one, &[8, 39])])).await?;
        let ids: Vec<i64> = (0..80).filter(|id| ![0, 7, 8, 39, 79].contains(id)).collect();
        // deltalake's query engine has its own word on each of these features; DuckDB reads with the protocol's kernel.
        let readers: &[&str] = if table == "vectors" {
            &["deltalake", "duckdb"]
        } else {
            &["duckdb"]
        };
        house.check(table, &ids, readers).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_append_at_once() -> Result<()> {
    let house = House::new()?;
    house.create("shared", &[], false).await?;
    house.append("shared", 0, 10).await?;
    let others = python(
        "delta_rows.py",
        json!({"uri": house.uri("shared"), "do": "append", "from": 1000, "to": 1020, "times": 20}),
    );
    let ours = async {
        for first in 10..40 {
            house.append("shared", first, first + 1).await?;
        }
        anyhow::Ok(Value::Null)
    };
    let (others, ours) = tokio::join!(others, ours);
    others?;
    ours?;
    let ids: Vec<i64> = (0..40).chain(1000..1020).collect();
    house.check("shared", &ids, &["deltalake", "duckdb"]).await
}
