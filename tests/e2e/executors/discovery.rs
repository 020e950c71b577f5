//! Executors behind one name, as behind a headless service: all addresses of the name work, those that are added later
//! too, and those that are taken away get no new queries.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Client, Lake, Process, free_port, lakewing, rows};

const NAME: &str = "executors.test";

#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_several_addresses() -> Result<()> {
    let own_names = Command::new("unshare")
        .args(["--map-root-user", "--mount", "true"])
        .status();
    if !own_names.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this machine lets nobody make a mount namespace");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let (hosts, port) = (folder.path().join("hosts"), free_port()?);
    let mut executors = Vec::new();
    for host in 1..=3 {
        let mut command = Command::new(lakewing()?);
        command.args([
            "executor",
            "--log",
            "warn",
            "--listen",
            &format!("127.0.0.{host}:{port}"),
        ]);
        let mut executor = Process::start(&format!("executor-{host}"), command, folder.path())?;
        executor.prints("ready: executor on ").await?;
        executors.push(executor);
    }
    name(&hosts, &[1, 2])?;
    let lake = Lake::named(NAME, port).hosts(&hosts).split_files().start().await?;
    let mut client = lake.client().await?;
    for sql in [
        "CREATE SCHEMA lake.s",
        "CREATE TABLE lake.s.t AS SELECT value FROM range(0, 1000000)",
    ] {
        client.query(sql).await.context(sql)?;
    }
    work(&mut client, &[1, 2], port, &executors).await?;
    name(&hosts, &[2, 3])?;
    work(&mut client, &[2, 3], port, &executors).await
}

/// Gives the name the addresses 127.0.0.HOST.
fn name(file: &Path, hosts: &[usize]) -> Result<()> {
    let lines = hosts.iter().map(|host| format!("127.0.0.{host} {NAME}\n"));
    let text = format!("127.0.0.1 localhost\n{}", lines.collect::<String>());
    std::fs::write(file, text).context("the file of names")
}

/// Waits until the executors of the server are these, and sees that they, and no others, work for a query.
async fn work(client: &mut Client, hosts: &[usize], port: u16, executors: &[Process]) -> Result<()> {
    let ready = "SELECT address FROM system.executors WHERE state = 'ready' ORDER BY address";
    let expected: Vec<_> = hosts
        .iter()
        .map(|host| format!("http://127.0.0.{host}:{port}"))
        .collect();
    let began = Instant::now();
    loop {
        let shown = format!("{:?}", rows(&client.query(ready).await?)?);
        let found = shown.matches("http://").count();
        if found == expected.len() && expected.iter().all(|address| shown.contains(address)) {
            break;
        }
        ensure!(began.elapsed() < Duration::from_secs(20), "{shown}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let seconds = || executors.iter().map(Process::cpu_seconds).collect::<Result<Vec<_>>>();
    let before = seconds()?;
    let distinct = "SELECT count(DISTINCT value % 500000) FROM lake.s.t";
    for _ in 0..4 {
        let answer = rows(&client.query(distinct).await?)?;
        ensure!(format!("{answer:?}").contains("500000"), "{answer:?}");
    }
    let after = seconds()?;
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        let (worked, expected) = (after - before > 0.05, hosts.contains(&(index + 1)));
        ensure!(
            worked == expected,
            "executor {} used {:.2} s, and {hosts:?} were to work",
            index + 1,
            after - before
        );
    }
    Ok(())
}
