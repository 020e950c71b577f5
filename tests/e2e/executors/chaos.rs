//! Executors that are killed, stopped, cut off, drained and started again while clients ask TPC-H queries and make tables:
//! every answer is right, every table that was promised is whole, hardly any client hears of it, and nothing is left behind.
//!
//! The seed is printed. `LAKEWING_CHAOS_SEED` repeats a run, `LAKEWING_CHAOS_SECONDS` makes it longer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow_flight::error::FlightError;
use futures::future::try_join_all;
use harness::{Cell, Client, Lake, Process, Random, demo, rows, same_rows, workspace};
use tonic::Code;

const SCALE: f64 = 0.02;
const EXECUTORS: usize = 4;
const CLIENTS: usize = 3;
const CATALOGS: [&str; 2] = ["lake", "delta"];
/// Tables take the rows whose key has one remainder by this.
const REMAINDERS: usize = 7;
const SECONDS: u64 = 40;
const SEED: u64 = 20_261_122;

/// What became of the statements of one client.
#[derive(Default)]
struct Outcomes {
    right: usize,
    /// Failed with a status that says that the same statement may succeed later.
    unavailable: Vec<String>,
    /// Tables that were promised, with the remainder that their keys have.
    made: Vec<(String, usize)>,
    /// Tables of which it was not said whether they were made.
    doubtful: Vec<(String, usize)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_survive_their_executors() -> Result<()> {
    let seed = number("LAKEWING_CHAOS_SEED", SEED);
    let seconds = Duration::from_secs(number("LAKEWING_CHAOS_SECONDS", SECONDS));
    eprintln!("LAKEWING_CHAOS_SEED={seed}, for {seconds:?}");
    let (data, scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let folder = data.path().to_str().context("a path that is no text")?;
    demo(SCALE, &["--data-dir", folder]).await?;
    let expected = answers(data.path()).await?;
    let mut lake = Lake::processes(EXECUTORS)
        .proxied()
        .data(data.path())
        .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"")
        .executor(&format!(
            "target_partitions = 2\nlost_after = \"2s\"\nkeep_alive = \"2s\"\nconnect_timeout = \"2s\"\n\
             executors_wait = \"20s\"\nspill_dir = {:?}",
            scratch.path()
        ))
        .start()
        .await?;
    let over = AtomicBool::new(false);
    let address = lake.address();
    let mut client = lake.client().await?;
    for catalog in CATALOGS {
        client.query(&format!("CREATE SCHEMA {catalog}.made")).await?;
    }
    let asking = (0..CLIENTS).map(|client| ask(address, seed + client as u64, &expected, &over));
    let asking = async { tokio::try_join!(try_join_all(asking), make(address, &over)) };
    let breaking = async {
        let broken = break_executors(&mut lake, seed, seconds).await;
        over.store(true, Ordering::Relaxed);
        broken
    };
    let (asked, broken) = tokio::join!(asking, breaking);
    let broken = broken?;
    let (mut asked, maker) = asked?;
    whole(&lake, &maker).await?;
    let made = maker.made.len();
    asked.push(maker);
    let right: usize = asked.iter().map(|outcomes| outcomes.right).sum();
    let unavailable: Vec<_> = asked.iter().flat_map(|outcomes| &outcomes.unavailable).collect();
    eprintln!(
        "{right} statements right, {made} of them made a table, {} failed, after {broken}",
        unavailable.len()
    );
    ensure!(
        right > 20 && made > 5,
        "only {right} statements were right, and {made} made a table"
    );
    ensure!(
        unavailable.len() * 99 <= right,
        "{} of {} statements failed: {unavailable:#?}",
        unavailable.len(),
        right + unavailable.len()
    );
    nothing_is_left(&lake, scratch.path(), &expected).await
}

/// A number in the environment.
#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// The queries, and what one process without executors answers.
async fn answers(data: &Path) -> Result<Vec<(String, Vec<Vec<Cell>>)>> {
    let lake = Lake::embedded()
        .data(data)
        .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"")
        .start()
        .await?;
    let mut client = lake.client().await?;
    let mut answers = Vec::new();
    for number in 1..=22 {
        let sql = std::fs::read_to_string(workspace().join(format!("tests/tpch/q{number:02}.sql")))?;
        let answer = rows(&client.query(&sql).await?)?;
        answers.push((sql, answer));
    }
    Ok(answers)
}

/// One client, until it is over. Fails where an answer is wrong, or an error is none that a client may repeat.
async fn ask(
    address: std::net::SocketAddr,
    seed: u64,
    expected: &[(String, Vec<Vec<Cell>>)],
    over: &AtomicBool,
) -> Result<Outcomes> {
    let mut random = Random::new(seed);
    let mut client = Client::connect(address).await?;
    let mut outcomes = Outcomes::default();
    while !over.load(Ordering::Relaxed) {
        let number = random.below(expected.len());
        let (sql, answer) = &expected[number];
        let what = format!("query {}", number + 1);
        match tokio::time::timeout(Duration::from_secs(120), client.query(sql)).await {
            Err(_) => bail!("{what} hangs"),
            Ok(Ok(batches)) => {
                same_rows(&what, answer, &rows(&batches)?, true)?;
                outcomes.right += 1;
            }
            Ok(Err(error)) => match error.downcast_ref::<FlightError>() {
                Some(FlightError::Tonic(status)) if status.code() == Code::Unavailable => {
                    outcomes.unavailable.push(format!("{what}: {}", status.message()));
                }
                _ => return Err(error.context(what)),
            },
        }
    }
    Ok(outcomes)
}

/// One client that makes tables until it is over, and adds to each what it has already.
async fn make(address: std::net::SocketAddr, over: &AtomicBool) -> Result<Outcomes> {
    let mut client = Client::connect(address).await?;
    let mut outcomes = Outcomes::default();
    for number in 0.. {
        if over.load(Ordering::Relaxed) {
            break;
        }
        let (table, remainder) = (format!("{}.made.t{number}", CATALOGS[number % 2]), number % REMAINDERS);
        let sql = format!("CREATE TABLE {table} AS {}", source(remainder));
        let made = tokio::time::timeout(Duration::from_secs(120), client.query(&sql)).await;
        let Ok(made) = made else {
            bail!("{sql} hangs");
        };
        match made {
            Ok(_) => {
                outcomes.right += 1;
                outcomes.made.push((table, remainder));
            }
            Err(error) => match error.downcast_ref::<FlightError>() {
                Some(FlightError::Tonic(status)) if status.code() == Code::Unavailable => {
                    outcomes.unavailable.push(format!("{table}: {}", status.message()));
                    outcomes.doubtful.push((table, remainder));
                }
                _ => return Err(error.context(sql)),
            },
        }
    }
    Ok(outcomes)
}

fn source(remainder: usize) -> String {
    format!(
        "SELECT l_orderkey, l_linenumber, l_quantity, l_comment FROM delta.tpch.lineitem \
         JOIN delta.tpch.orders ON l_orderkey = o_orderkey WHERE l_orderkey % {REMAINDERS} = {remainder}"
    )
}

/// Each table that was promised has its rows once; one in doubt has them or is not there.
async fn whole(lake: &Lake, maker: &Outcomes) -> Result<()> {
    let mut client = lake.client().await?;
    let summary = |from: &str| {
        format!(
            "SELECT count(*), count(DISTINCT (l_orderkey, l_linenumber)), sum(l_quantity), min(l_comment) FROM {from}"
        )
    };
    for (table, remainder) in maker.made.iter().chain(&maker.doubtful) {
        let expected = rows(&client.query(&summary(&format!("({})", source(*remainder)))).await?)?;
        match client.query(&summary(table)).await {
            Ok(batches) => same_rows(table, &expected, &rows(&batches)?, true)?,
            Err(error) => {
                let promised = maker.made.iter().any(|(made, _)| made == table);
                let is_absent = format!("{error:#}").contains("does not exist");
                ensure!(is_absent && !promised, "{table}, promised: {promised}: {error:#}");
            }
        }
    }
    Ok(())
}

/// Does harm to one executor after another; all work again when it returns. What it did.
async fn break_executors(lake: &mut Lake, seed: u64, long: Duration) -> Result<String> {
    let mut random = Random::new(seed ^ 0x5eed);
    let (mut killed, mut stopped, mut cut, mut drained) = (0, 0, 0, 0);
    let began = Instant::now();
    while began.elapsed() < long {
        pause(&mut random, 500, 1500).await;
        let index = random.below(EXECUTORS);
        match random.below(4) {
            0 => {
                let victim = lake.executors.remove(index);
                victim.kill()?;
                pause(&mut random, 0, 1500).await;
                let next = lake.start_executor(index).await?;
                lake.executors.insert(index, next);
                killed += 1;
            }
            1 => {
                lake.executors[index].signal("STOP")?;
                pause(&mut random, 500, 5000).await;
                lake.executors[index].signal("CONT")?;
                stopped += 1;
            }
            2 => {
                lake.proxies[index].cut();
                pause(&mut random, 500, 5000).await;
                lake.proxies[index].mend();
                cut += 1;
            }
            _ => {
                let victim = lake.executors.remove(index);
                let status = victim.terminate().await?;
                ensure!(status.success(), "a drained executor ended with {status}");
                pause(&mut random, 0, 500).await;
                let next = lake.start_executor(index).await?;
                lake.executors.insert(index, next);
                drained += 1;
            }
        }
    }
    Ok(format!(
        "{killed} executors were killed, {stopped} stopped, {cut} cut off and {drained} drained"
    ))
}

async fn pause(random: &mut Random, least: usize, most: usize) {
    let milliseconds = least + random.below(most - least);
    tokio::time::sleep(Duration::from_millis(milliseconds as u64)).await;
}

/// Nobody computes any more, the scratch folders hold nothing, those of killed executors are gone, and all executors
/// answer.
async fn nothing_is_left(lake: &Lake, scratch: &Path, expected: &[(String, Vec<Vec<Cell>>)]) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut client = lake.client().await?;
    for (number, (sql, answer)) in expected.iter().enumerate() {
        let what = format!("query {} afterwards", number + 1);
        same_rows(&what, answer, &rows(&client.query(sql).await?)?, true)?;
    }
    let began = Instant::now();
    loop {
        let before = lake
            .executors
            .iter()
            .map(Process::cpu_seconds)
            .collect::<Result<Vec<_>>>()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = lake
            .executors
            .iter()
            .map(Process::cpu_seconds)
            .collect::<Result<Vec<_>>>()?;
        let most = before
            .iter()
            .zip(&after)
            .map(|(before, after)| after - before)
            .fold(0.0, f64::max);
        if most <= 0.05 {
            break;
        }
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "an executor still works: {before:?}, then {after:?}"
        );
    }
    for executor in &lake.executors {
        let megabytes = executor.resident_mb()?;
        ensure!(megabytes < 1500.0, "an executor occupies {megabytes} MB");
    }
    let folders = std::fs::read_dir(scratch)?.collect::<std::io::Result<Vec<_>>>()?;
    // The server has one too.
    ensure!(folders.len() == EXECUTORS + 1, "{folders:?}");
    for folder in folders {
        let files = files(&folder.path())?;
        ensure!(files == ["lock"], "{folder:?} holds {files:?}");
    }
    Ok(())
}

/// The names of all files below `folder`.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => names.extend(files(&entry.path())?),
            false => names.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    Ok(names)
}
