//! Damaged files of small tables: each read ends in the right rows or in an error that names what is damaged, and the
//! server lives on.
//!
//! Pages of Parquet files, JSON and Avro carry no checksum that could tell a flipped bit: there, only crashes and hangs
//! can be ruled out. Truncated, missing and wrongly measured files must never pass as complete.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use catalog::{Config, Lakehouse, PathFormat, StorageProfile, Stores};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use harness::tables::delta::{statistics, struct_json};
use harness::tables::{Changes, DeltaTable, FIELD_ID, FileLayout, IcebergFile, IcebergTable, write_parquet};
use harness::{Lake, Random, rows};
use serde_json::json;

/// Rows of every data file.
const ROWS: i32 = 40;
const PATIENCE: Duration = Duration::from_secs(30);
const FLIPS: usize = 24;

/// A table that a test may damage.
struct Sample {
    format: PathFormat,
    folder: PathBuf,
}

fn batch(first: i32) -> Result<RecordBatch> {
    let field = |name: &str, id: i32, data_type| {
        Field::new(name, data_type, true).with_metadata([(FIELD_ID.to_owned(), id.to_string())].into())
    };
    let schema = Schema::new(vec![field("id", 1, DataType::Int32), field("name", 2, DataType::Utf8)]);
    let ids = first..first + ROWS;
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(
        ids.clone().map(|id| format!("name {id}")),
    ));
    let ids: ArrayRef = Arc::new(Int32Array::from_iter_values(ids));
    Ok(RecordBatch::try_new(Arc::new(schema), vec![ids, names])?)
}

fn layout() -> FileLayout {
    FileLayout {
        row_group_rows: 16,
        page_rows: 8,
        compressed: false,
        ..FileLayout::default()
    }
}

/// A table of two data files with equality deletes, and position deletes (version 2) or deletion vectors (version 3).
/// `damage` may falsify what the metadata says of a file.
fn iceberg(folder: &Path, version: u8, damage: &dyn Fn(&mut IcebergFile)) -> Result<Sample> {
    let mut table = IcebergTable::new(folder, version, batch(0)?.schema());
    let mut files = Vec::new();
    for first in [0, 100] {
        let path = table.new_path("data.parquet");
        let written = write_parquet(&path, &[batch(first)?], &layout())?;
        files.push(table.data_file(&written, Vec::new())?);
    }
    commit(&mut table, files.clone(), damage)?;
    let deletes = if version > 2 {
        let positions: BTreeSet<u64> = (3..17).collect();
        table.deletion_vectors(&[(&files[0], &positions)], false)?
    } else {
        let rows: Vec<_> = (3..17).map(|position| (files[0].path.clone(), position)).collect();
        vec![table.position_deletes(&files[0], &rows, &layout())?]
    };
    commit(&mut table, deletes, damage)?;
    let keys = batch(120)?.slice(0, 5).project(&[0])?;
    let deletes = table.equality_deletes(Vec::new(), &keys, &layout())?;
    commit(&mut table, vec![deletes], damage)?;
    Ok(Sample {
        format: PathFormat::Iceberg,
        folder: folder.to_owned(),
    })
}

fn commit(table: &mut IcebergTable, mut add: Vec<IcebergFile>, damage: &dyn Fn(&mut IcebergFile)) -> Result<()> {
    add.iter_mut().for_each(damage);
    table.commit(Changes {
        add,
        ..Changes::default()
    })
}

/// A table of two data files, one with a deletion vector, with a checkpoint before its last version.
fn delta(folder: &Path, damage: &dyn Fn(&mut serde_json::Value)) -> Result<Sample> {
    let mut table = DeltaTable::new(folder, struct_json(batch(0)?.schema().fields())?);
    let add = |table: &mut DeltaTable, first: i32| -> Result<serde_json::Value> {
        let name = table.new_name("data");
        let written = write_parquet(&folder.join(&name), &[batch(first)?], &layout())?;
        let mut add = DeltaTable::add(&name, &written, &json!({}), Some(statistics(&written)));
        damage(&mut add);
        Ok(add)
    };
    let first = add(&mut table, 0)?;
    let path = first["path"].as_str().context("a path")?.to_owned();
    let mut deleted = first.clone();
    table.commit(&[], vec![first])?;
    deleted["deletionVector"] = table.deletion_vector(&(3..17).collect(), false, false)?;
    damage(&mut deleted);
    table.commit(&[path], vec![deleted])?;
    table.checkpoint()?;
    let second = add(&mut table, 100)?;
    table.commit(&[], vec![second])?;
    Ok(Sample {
        format: PathFormat::Delta,
        folder: folder.to_owned(),
    })
}

impl Sample {
    /// What a new process reads: rows with their number, or the error's text.
    async fn read(&self, sql: &str) -> Result<Result<BTreeMap<String, usize>, String>> {
        let (location, format) = (self.folder.display().to_string(), self.format);
        let sql = sql.to_owned();
        let read = async move {
            let stores = Stores::new(&[StorageProfile::new("file:///")])?;
            let lakehouse = Lakehouse::new(&Config::default(), Arc::clone(&stores))?;
            let table = lakehouse.table_at(format, &location).await?;
            let runtime = RuntimeEnvBuilder::new()
                .with_object_store_registry(stores)
                .build_arc()?;
            let context = SessionContext::new_with_config_rt(SessionConfig::new().with_target_partitions(2), runtime);
            context.register_table("t", Arc::new(table))?;
            let batches = context.sql(&sql).await?.collect().await?;
            let mut counts = BTreeMap::new();
            for row in rows(&batches)? {
                *counts.entry(format!("{row:?}")).or_default() += 1;
            }
            anyhow::Ok(counts)
        };
        let read = tokio::time::timeout(PATIENCE, read).await.context("the read hangs")?;
        Ok(read.map_err(|error| format!("{error:#}")))
    }

    /// The files below the table's folder.
    fn files(&self) -> Result<Vec<PathBuf>> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    walk(&path, found)?
                } else {
                    found.push(path)
                }
            }
            Ok(())
        }
        let mut found = Vec::new();
        walk(&self.folder, &mut found)?;
        found.sort();
        Ok(found)
    }

    /// Whether a damaged file can be told from a whole one.
    fn is_checked(&self, file: &Path, length: usize, bytes: &[u8]) -> bool {
        let name = file.display().to_string();
        // The newest commit of a log ends where its file ends: whole lines may be gone without a trace.
        let is_log = name.contains("_delta_log") && name.ends_with(".json");
        !is_log || length > 0 && bytes[length - 1] != b'\n' && bytes[length] != b'\n'
    }
}

/// Fails unless the read gave the right rows or an error that names the file, or its table's log.
fn right_or_named(
    found: &Result<BTreeMap<String, usize>, String>,
    expect: &BTreeMap<String, usize>,
    file: &Path,
) -> Result<()> {
    let name = file.file_name().context("a file has a name")?.to_string_lossy();
    let named = |error: &str| error.contains(&*name) || error.contains("_delta_log") || error.contains("Delta log");
    match found {
        Ok(rows) => ensure!(
            rows == expect,
            "{} rows of {} passed as complete",
            rows.len(),
            expect.len()
        ),
        Err(error) => ensure!(named(error), "the error does not name {name}: {error}"),
    }
    Ok(())
}

fn samples(folder: &Path) -> Result<Vec<Sample>> {
    Ok(vec![
        iceberg(&folder.join("v2"), 2, &|_| {})?,
        iceberg(&folder.join("v3"), 3, &|_| {})?,
        delta(&folder.join("delta"), &|_| {})?,
    ])
}

/// Reads after each way to damage each file of each table; all failures at once.
async fn after_each(damages: impl Fn(&Sample, &Path, &[u8]) -> Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    let mut refused = 0;
    for sample in samples(folder.path())? {
        let expect = sample.read("SELECT * FROM t").await?;
        let expect = expect.map_err(anyhow::Error::msg)?;
        for file in sample.files()? {
            let whole = fs::read(&file)?;
            for (damage, bytes) in damages(&sample, &file, &whole) {
                match bytes {
                    Some(bytes) => fs::write(&file, bytes)?,
                    None => fs::remove_file(&file)?,
                }
                let found = sample.read("SELECT * FROM t").await?;
                refused += usize::from(found.is_err());
                if let Err(error) = right_or_named(&found, &expect, &file) {
                    wrong.push(format!("{} {damage}: {error}", file.display()));
                }
            }
            fs::write(&file, whole)?;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 0, "no damage was noticed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_files() -> Result<()> {
    after_each(|sample, file, whole| {
        let length = whole.len();
        let mut lengths = vec![0, 1, 4, 8, length / 4, length / 2, length - length / 8];
        lengths.extend([length.saturating_sub(9), length.saturating_sub(4), length - 1]);
        lengths.retain(|length| *length < whole.len() && sample.is_checked(file, *length, whole));
        let cut = |length: usize| (format!("cut to {length}"), Some(whole[..length].to_vec()));
        lengths.into_iter().map(cut).collect()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_files() -> Result<()> {
    after_each(|_, file, _| {
        // Without its newest commit or metadata file and hint, a table is whole at an older version.
        let name = file.display().to_string();
        let newest = name.ends_with("02.json") || name.ends_with("v3.metadata.json");
        if newest {
            Vec::new()
        } else {
            vec![("missing".to_owned(), None)]
        }
    })
    .await
}

/// Deletion vectors have checksums: every flipped bit is noticed, or hit bytes that nothing reads.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_of_deletion_vectors() -> Result<()> {
    after_each(|_, file, whole| {
        let name = file.display().to_string();
        if !name.ends_with(".puffin") && !name.ends_with(".bin") {
            return Vec::new();
        }
        let flip = |bit: usize| {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            (format!("bit {bit} flipped"), Some(flipped))
        };
        (0..whole.len() * 8).step_by(5).map(flip).collect()
    })
    .await
}

/// Elsewhere a flipped bit may change a value unseen; it must not end the process or the answer.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_anywhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut random = Random::new(11);
    for sample in samples(folder.path())? {
        for file in sample.files()? {
            let whole = fs::read(&file)?;
            for _ in 0..FLIPS {
                let bit = random.below(whole.len() * 8);
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                fs::write(&file, flipped)?;
                let read = sample.read("SELECT * FROM t").await;
                read.with_context(|| format!("{} with bit {bit} flipped", file.display()))?
                    .ok();
            }
            fs::write(&file, whole)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lengths_in_the_metadata() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut wrong = Vec::new();
    let mut check = async |sample: Sample, expect: &BTreeMap<String, usize>, damage: String| -> Result<()> {
        match sample.read("SELECT * FROM t").await? {
            Ok(found) if found != *expect => wrong.push(format!("{damage}: {} rows of {}", found.len(), expect.len())),
            Ok(_) => {}
            // Every file of a table lies below its folder.
            Err(error) if error.contains(".p") || error.contains(".bin") || error.contains("elta log") => {}
            Err(error) => wrong.push(format!("{damage}: the error names no file: {error}")),
        }
        Ok(())
    };
    let mut whole = Vec::new();
    for sample in samples(folder.path())? {
        whole.push(sample.read("SELECT * FROM t").await?.map_err(anyhow::Error::msg)?);
    }
    let wrong_sizes: [fn(u64) -> u64; 5] = [
        |_| 0,
        |size| size - 1,
        |size| size / 2,
        |size| size + 1,
        |size| size + 5000,
    ];
    for (number, resize) in wrong_sizes.into_iter().enumerate() {
        for (version, expect) in [(2, &whole[0]), (3, &whole[1])] {
            for content in 0..3 {
                let at = folder.path().join(format!("{version}-{content}-{number}"));
                let sample = iceberg(&at, version, &|file| {
                    if file.content == content {
                        file.size_bytes = resize(file.size_bytes);
                    }
                })?;
                check(sample, expect, format!("size {number} of content {content}")).await?;
            }
        }
        for blob in 0..2 {
            let at = folder.path().join(format!("blob-{blob}-{number}"));
            let sample = iceberg(&at, 3, &|file| {
                file.blob = file.blob.map(|(offset, length)| match blob {
                    0 => (resize(offset), length),
                    _ => (offset, resize(length)),
                });
            })?;
            check(sample, &whole[1], format!("place {number} of a blob")).await?;
        }
        for path in ["/size", "/deletionVector/sizeInBytes", "/deletionVector/offset"] {
            let at = folder.path().join(format!("delta{}-{number}", path.replace('/', "-")));
            let sample = delta(&at, &|add| {
                if let Some(value) = add.pointer_mut(path) {
                    *value = json!(resize(value.as_u64().unwrap_or_default()));
                }
            })?;
            check(sample, &whole[2], format!("{path} {number}")).await?;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// One damage of every file through a server, which answers as before when the file is whole again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_outlives_damage() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let section = format!("[[storage]]\nprefix = \"file://{}\"\n", folder.path().display());
    let lake = Lake::executors(2).section(&section).start().await?;
    let mut client = lake.client().await?;
    for sample in samples(folder.path())? {
        let format = match sample.format {
            PathFormat::Iceberg => "iceberg",
            PathFormat::Delta => "delta",
        };
        let sql = format!(
            "SELECT count(*), sum(id) FROM {format}.\"file://{}\"",
            sample.folder.display()
        );
        let expect = rows(&client.query(&sql).await?)?;
        for file in sample.files()? {
            let whole = fs::read(&file)?;
            fs::write(&file, &whole[..whole.len() / 2])?;
            let answer = tokio::time::timeout(PATIENCE, client.query(&sql)).await;
            if let Ok(found) = answer.with_context(|| format!("{} cut: a hang", file.display()))? {
                let found = rows(&found)?;
                let is_log = file.display().to_string().contains("_delta_log");
                if found != expect && !is_log {
                    bail!("{} cut: {found:?} instead of {expect:?}", file.display());
                }
            }
            fs::write(&file, whole)?;
            assert_eq!(
                rows(&client.query(&sql).await?)?,
                expect,
                "{} whole again",
                file.display()
            );
        }
    }
    Ok(())
}
