//! Random tables against a naive model: whatever a table went through, the lake reads the rows that the model holds.
//!
//! Every case follows from a seed. A failure prints it; `LAKEWING_PROPERTY_SEED=<seed>` runs that table alone, and
//! `LAKEWING_PROPERTY_TABLES=<count>` more or fewer of them. `LAKEWING_PROPERTY_WITHOUT=<feature>,...` leaves features
//! of [`coverage::FEATURES`] out of the tables, to see which of them a failure needs.

mod coverage;
mod delta;
mod evolution;
mod iceberg;
mod lake;
mod model;
mod query;
mod table;
mod values;

use std::panic::AssertUnwindSafe;

use anyhow::Result;
use futures::FutureExt;
use harness::Random;

use coverage::Coverage;
use table::Table;

/// Tables of one run, with ten queries each.
const TABLES: u64 = 200;
const QUERIES: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn the_lake_reads_what_the_model_holds() -> Result<()> {
    let alone = variable("LAKEWING_PROPERTY_SEED").and_then(|text| text.parse().ok());
    let count = variable("LAKEWING_PROPERTY_TABLES").and_then(|text| text.parse().ok());
    let without = variable("LAKEWING_PROPERTY_WITHOUT").unwrap_or_default();
    let mut coverage = Coverage::new(without.split(','));
    let seeds = match alone {
        Some(seed) => seed..seed + 1,
        None => 0..count.unwrap_or(TABLES),
    };
    let whole = alone.is_none() && count.is_none() && without.is_empty();
    let mut failures = Vec::new();
    for seed in seeds {
        let checked = AssertUnwindSafe(case(seed, &mut coverage)).catch_unwind().await;
        let checked = checked.unwrap_or_else(|_| Err(anyhow::anyhow!("a panic, printed above")));
        if let Err(error) = checked {
            let failure = format!("LAKEWING_PROPERTY_SEED={seed}: {error:#}");
            eprintln!("{failure}\n");
            failures.push(failure);
        }
    }
    eprintln!("{coverage}");
    assert!(
        failures.is_empty(),
        "{} tables are read wrong:\n{}",
        failures.len(),
        failures.join("\n")
    );
    if whole {
        coverage.complete();
    }
    Ok(())
}

/// One table from its seed, and queries on it. The error begins with what the table went through.
async fn case(seed: u64, coverage: &mut Coverage) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut random = Random::new(seed);
    let table = Table::random(&mut random, folder.path(), coverage)?;
    let story = table.story();
    let checked = async {
        let lake = lake::Opened::new(&table).await?;
        for number in 0..QUERIES {
            let query = query::Query::random(&mut random, &table);
            let described = format!("query {number}, {query}");
            let checked = lake.check(&query, &mut random, coverage).await;
            checked.map_err(|error| error.context(described))?;
        }
        anyhow::Ok(())
    };
    checked.await.map_err(|error| error.context(story))
}

#[allow(clippy::disallowed_methods, reason = "how a developer chooses cases")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
