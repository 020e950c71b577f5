//! Two Lakewing processes and another engine change one table at the same time: appends, deletes, updates, MERGE and
//! OPTIMIZE, from a seed. Each writer changes rows of its own, so that the table must hold what every writer's own
//! serial history makes of them, whatever the order of their commits. A statement that fails has changed nothing.
//!
//! Twenty seconds, or as many as LAKEWING_MIXED_SECONDS says.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use harness::{Client, Lake, Postgres, Random, python};
use serde_json::{Value, json};

use super::{texts, update};

/// Writers in each Lakewing process.
const WRITERS: usize = 2;
const SEED: u64 = 0x5eed_0007;
/// Ids of one writer begin with its number times this.
const IDS: u64 = 1_000_000;

/// The rows of one writer: the id and `v`.
type Rows = BTreeMap<u64, i64>;

/// What a writer has seen.
#[derive(Debug, Default)]
struct Ledger {
    rows: Rows,
    acknowledged: usize,
    conflicts: usize,
    optimized: usize,
}

#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
fn duration() -> Duration {
    let seconds = std::env::var("LAKEWING_MIXED_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(20))
}

async fn writer(mut client: Client, table: &str, number: u64, until: Instant) -> Result<Ledger> {
    let mut random = Random::new(SEED ^ (number << 32));
    let mut ledger = Ledger::default();
    let mut next = (number + 1) * IDS;
    while Instant::now() < until {
        let ids: Vec<u64> = ledger.rows.keys().copied().collect();
        let mut after = ledger.rows.clone();
        let pick = |random: &mut Random| random.one(&ids).copied();
        let (sql, changed) = match (random.below(10), pick(&mut random)) {
            (0, _) => (format!("OPTIMIZE {table}"), None),
            (1 | 2, Some(id)) => {
                after.remove(&id);
                (format!("DELETE FROM {table} WHERE id = {id}"), Some(1))
            }
            (3 | 4, Some(id)) => {
                let above = ids.iter().filter(|known| **known >= id).count() as i64;
                after.range_mut(id..).for_each(|(_, v)| *v += 1);
                let sql = format!("UPDATE {table} SET v = v + 1 WHERE writer = {number} AND id >= {id}");
                (sql, Some(above))
            }
            (5 | 6, Some(id)) => {
                after.entry(id).and_modify(|v| *v *= 2);
                after.insert(next, 7);
                let sql = format!(
                    "MERGE INTO {table} AS t USING (VALUES ({id}), ({next})) AS s (id) ON t.id = s.id \
                     WHEN MATCHED THEN UPDATE SET v = t.v * 2 \
                     WHEN NOT MATCHED THEN INSERT (id, writer, v) VALUES (s.id, {number}, 7)"
                );
                next += 1;
                (sql, Some(2))
            }
            _ => {
                let count = random.below(4) as u64 + 1;
                let values: Vec<String> = (next..next + count).map(|id| format!("({id}, {number}, 1)")).collect();
                after.extend((next..next + count).map(|id| (id, 1)));
                next += count;
                (
                    format!("INSERT INTO {table} VALUES {}", values.join(", ")),
                    Some(count as i64),
                )
            }
        };
        match update(&mut client, &sql).await {
            Ok(rows) => {
                ensure!(changed.is_none_or(|changed| changed == rows), "{sql}: {rows} rows");
                ledger.optimized += usize::from(changed.is_none());
                ledger.acknowledged += 1;
                ledger.rows = after;
            }
            // Overtaken too often: nothing of it took place.
            Err(error) if format!("{error:#}").contains("changed by someone else") => ledger.conflicts += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(ledger)
}

/// Writers of both processes and the other engine, and what the table holds in the end, as everybody sees it.
async fn mixed(lakes: [&Lake; 2], table: &str, other: Value) -> Result<()> {
    let length = duration();
    let until = Instant::now() + length;
    let mut writers = Vec::new();
    for (process, lake) in lakes.iter().enumerate() {
        for number in 0..WRITERS {
            let client = lake.client().await?;
            writers.push(writer(client, table, (process * WRITERS + number) as u64, until));
        }
    }
    let mut request = other;
    request["seed"] = json!(SEED);
    request["seconds"] = json!(length.as_secs());
    request["first"] = json!(100 * IDS);
    let (ledgers, others) = tokio::try_join!(try_join_all(writers), python("mixed_writer.py", request))?;
    let mut expect: Rows = Rows::new();
    for ledger in &ledgers {
        expect.extend(&ledger.rows);
    }
    for (id, v) in others["rows"].as_object().context("no rows")? {
        expect.insert(id.parse()?, v.as_i64().context("no number")?);
    }
    for lake in lakes {
        let mut client = lake.client().await?;
        let found = texts(&mut client, &format!("SELECT id, v FROM {table} ORDER BY id")).await?;
        let mut rows = Rows::new();
        for row in &found {
            let [id, v] = row.as_slice() else { continue };
            ensure!(
                rows.insert(id.parse()?, v.parse()?).is_none(),
                "{table}: the row {id} is there twice"
            );
        }
        let wrong: Vec<_> = expect
            .iter()
            .filter(|(id, v)| rows.get(*id) != Some(*v))
            .take(5)
            .collect();
        let extra: Vec<_> = rows.keys().filter(|id| !expect.contains_key(*id)).take(5).collect();
        ensure!(
            wrong.is_empty() && extra.is_empty(),
            "{table} (seed {SEED:#x}): lost or wrong {wrong:?}, too many {extra:?}"
        );
    }
    let acknowledged: usize = ledgers.iter().map(|ledger| ledger.acknowledged).sum();
    let conflicts: usize = ledgers.iter().map(|ledger| ledger.conflicts).sum();
    let optimized: usize = ledgers.iter().map(|ledger| ledger.optimized).sum();
    eprintln!(
        "{table}: {acknowledged} statements ({optimized} OPTIMIZE) and {conflicts} given up, {} rows, another engine with {} rows, overtaken {}",
        expect.len(),
        others["rows"].as_object().map_or(0, |rows| rows.len()),
        others["overtaken"]
    );
    ensure!(
        acknowledged > 0 && optimized > 0 && !expect.is_empty(),
        "nothing happened"
    );
    Ok(())
}

async fn two(section: &str) -> Result<[Lake; 2]> {
    let start = || Lake::embedded().section(section).start();
    Ok([start().await?, start().await?])
}

async fn create(lake: &Lake, table: &str, rest: &str) -> Result<()> {
    let mut client = lake.client().await?;
    let (schema, _) = table.rsplit_once('.').context("a name with its schema")?;
    update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
    update(
        &mut client,
        &format!("CREATE TABLE {table} (id BIGINT, writer BIGINT, v BIGINT) {rest}"),
    )
    .await?;
    Ok(())
}

async fn of_iceberg(mode: &str) -> Result<()> {
    let (postgres, data) = (Postgres::start().await?, tempfile::tempdir()?);
    let section = format!(
        "[catalogs.pg]\ntype = \"iceberg-sql\"\nuri = \"postgresql://{}\"\nwarehouse = \"file://{}\"\n",
        postgres.authority,
        data.path().display()
    );
    let lakes = two(&section).await?;
    let keys = ["delete", "update", "merge"].map(|what| format!("'write.{what}.mode' = '{mode}'"));
    create(&lakes[0], "pg.mixed.t", &format!("TBLPROPERTIES ({})", keys.join(", "))).await?;
    let uri = format!("postgresql+psycopg2://{}", postgres.authority);
    let catalog = json!({"type": "sql", "uri": uri, "name": "pg"});
    mixed(
        [&lakes[0], &lakes[1]],
        "pg.mixed.t",
        json!({"catalog": catalog, "table": "mixed.t"}),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_with_pyiceberg() -> Result<()> {
    of_iceberg("copy-on-write").await
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_merge_on_read_with_pyiceberg() -> Result<()> {
    of_iceberg("merge-on-read").await
}

async fn of_delta(rest: &str, folder: &Path) -> Result<()> {
    let section = format!(
        "[catalogs.d]\ntype = \"delta\"\nroot = \"file://{}\"\n",
        folder.display()
    );
    let lakes = two(&section).await?;
    create(&lakes[0], "d.mixed.t", rest).await?;
    let request = json!({"folder": folder.join("mixed/t")});
    mixed([&lakes[0], &lakes[1]], "d.mixed.t", request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_with_deltalake() -> Result<()> {
    of_delta("", tempfile::tempdir()?.path()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_vectors_with_deltalake() -> Result<()> {
    let properties = "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')";
    of_delta(properties, tempfile::tempdir()?.path()).await
}
