//! Executors that the server starts when queries want them, and ends when they have nothing to do.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use harness::{Cell, Client, Lake, LakeBuilder, demo, rows, same_rows};
use tonic::Code;

const QUERY: &str = "SELECT l_returnflag, l_shipmode, sum(l_quantity), count(*), max(l_comment) FROM lineitem \
                     GROUP BY l_returnflag, l_shipmode ORDER BY 1, 2";
/// Work for minutes, and no row.
const LONG: &str = "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_orderkey * b.l_orderkey <> -1";
const QUICK: &str = "tasks_per_executor = 1\nround = \"300ms\"\ncool_down = \"500ms\"\nidle_timeout = \"2s\"";
/// Nothing is small enough for the server itself.
const NOTHING_HERE: &str = "local_scan_bytes_max = 0";

/// One row of `system.executors`.
struct Shown {
    name: String,
    set: String,
    state: String,
    reason: String,
}

async fn executors(client: &mut Client) -> Result<Vec<Shown>> {
    let shown = client
        .query("SELECT name, executor_set, state, reason FROM system.executors ORDER BY name")
        .await?;
    let text = |cell: &Cell| match cell {
        Cell::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let rows = rows(&shown)?.into_iter().map(|row| Shown {
        name: text(&row[0]),
        set: text(&row[1]),
        state: text(&row[2]),
        reason: text(&row[3]),
    });
    Ok(rows.collect())
}

/// Waits until there are `count` executors, and says who there is where it takes too long.
async fn until(client: &mut Client, count: usize, patience: Duration) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let there = executors(client).await?;
        if there.len() == count {
            return Ok(began.elapsed());
        }
        let listed: Vec<_> = there.iter().map(|one| (&one.name, &one.state, &one.reason)).collect();
        ensure!(
            began.elapsed() < patience,
            "{count} executors were expected: {listed:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn data() -> Result<tempfile::TempDir> {
    let data = tempfile::tempdir()?;
    demo(0.01, &["--data-dir", &data.path().display().to_string()]).await?;
    Ok(data)
}

fn over(builder: LakeBuilder, data: &Path) -> LakeBuilder {
    builder
        .data(data)
        .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"")
}

/// What a server without executors answers.
async fn expected(data: &Path) -> Result<Vec<Vec<Cell>>> {
    let lake = over(Lake::embedded(), data).start().await?;
    rows(&lake.client().await?.query(QUERY).await?)
}

/// The children of a process.
fn children(parent: u32) -> Result<Vec<u32>> {
    let listed = Command::new("ps")
        .args(["-o", "pid=", "--ppid", &parent.to_string()])
        .output()?;
    let listed = String::from_utf8(listed.stdout)?;
    listed.split_whitespace().map(|id| Ok(id.parse()?)).collect()
}

fn is_there(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // A zombie has ended.
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_none_doubles_executors_and_idleness_ends_them() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let sets = format!("[[executor.sets]]\nmax = 4\n{QUICK}");
    let lake = over(Lake::started(&sets), data.path())
        .executor(NOTHING_HERE)
        .log("warn,executor=info")
        .start()
        .await?;
    let mut observer = lake.client().await?;
    until(&mut observer, 0, Duration::ZERO).await?;
    let clients = try_join_all((0..30).map(|_| Client::connect(lake.address()))).await?;
    let asking = try_join_all(clients.into_iter().map(async |mut client| {
        let answer = client.query(QUERY).await?;
        same_rows("a query of the burst", &expected, &rows(&answer)?, true)
    }));
    let watching = async {
        let mut most = 0;
        let began = Instant::now();
        while most < 4 {
            most = most.max(executors(&mut observer).await?.len());
            ensure!(most <= 4, "{most} executors, and 4 may be");
            ensure!(began.elapsed() < Duration::from_secs(60), "at most {most} executors");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    tokio::try_join!(asking, watching)?;
    let printed = lake.server.output();
    for round in ["there=0 start=1", "there=1 start=2", "there=3 start=1"] {
        ensure!(printed.contains(round), "no round {round} in the log");
    }
    until(&mut observer, 0, Duration::from_secs(30)).await?;
    ensure!(children(lake.server.id())?.is_empty(), "processes are left over");
    ensure!(
        lake.server.output().contains("nothing to do for 2s"),
        "the log does not say why"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_query_at_none_does_not_wait() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let lake = over(Lake::started("[[executor.sets]]\nmax = 2"), data.path())
        .start()
        .await?;
    let mut client = lake.client().await?;
    same_rows("a small query", &expected, &rows(&client.query(QUERY).await?)?, true)?;
    ensure!(
        executors(&mut client).await?.is_empty(),
        "an executor was started for it"
    );
    ensure!(children(lake.server.id())?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_executor_is_replaced_and_none_outlives_its_server() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let sets = format!("[[executor.sets]]\nmin = 2\nmax = 2\n{QUICK}");
    let lake = over(Lake::started(&sets), data.path())
        .executor(NOTHING_HERE)
        .start()
        .await?;
    let mut client = lake.client().await?;
    until(&mut client, 2, Duration::from_secs(30)).await?;
    client.query(QUERY).await?;
    let before: BTreeSet<_> = executors(&mut client).await?.into_iter().map(|one| one.name).collect();
    let victim = *children(lake.server.id())?.first().context("no executor process")?;
    let mut others = try_join_all((0..4).map(|_| lake.client())).await?;
    let asking = try_join_all(others.iter_mut().map(async |client| {
        for _ in 0..5 {
            same_rows("a query", &expected, &rows(&client.query(QUERY).await?)?, true)?;
        }
        Ok(())
    }));
    let killing = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let killed = Command::new("kill").args(["-9", &victim.to_string()]).status()?;
        ensure!(killed.success(), "it ended by itself");
        Ok(())
    };
    tokio::try_join!(asking, killing)?;
    let began = Instant::now();
    loop {
        let now: BTreeSet<_> = executors(&mut client).await?.into_iter().map(|one| one.name).collect();
        if now.len() == 2 && now != before {
            break;
        }
        ensure!(began.elapsed() < Duration::from_secs(30), "{before:?} became {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left = children(lake.server.id())?;
    ensure!(!left.is_empty());
    lake.server.kill()?;
    let began = Instant::now();
    while left.iter().any(|process| is_there(*process)) {
        ensure!(
            began.elapsed() < Duration::from_secs(20),
            "executors outlive their server: {left:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_hears_why() -> Result<()> {
    let data = data().await?;
    let sets = format!("[[executor.sets]]\nstart_timeout = \"3s\"\n{QUICK}");
    let lake = over(Lake::started_from("/bin/false", &sets), data.path())
        .executor(NOTHING_HERE)
        .start()
        .await?;
    let mut client = lake.client().await?;
    let began = Instant::now();
    let status = client.failure(QUERY).await?;
    ensure!(status.code() == Code::Unavailable, "{status}");
    let why = "no executor of set default is there: an executor process ended before it was ready: exit status: 1";
    ensure!(status.message().contains(why), "{status}");
    let waited = began.elapsed();
    ensure!((3..10).contains(&waited.as_secs()), "it waited {waited:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_run_on_the_set_they_ask_for() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let set = |name: &str| format!("[[executor.sets]]\nname = \"{name}\"\nmax = 1\n{QUICK}\n");
    let lake = over(Lake::started(&(set("safe") + &set("spot"))), data.path())
        .section("[[queries.groups]]\nname = \"etl\"\nusers = [\"etl-*\"]\nexecutor_set = \"spot\"")
        .section("[auth]\nmode = \"basic\"\nusers = { etl-1 = \"x\", anyone = \"x\" }")
        .executor(NOTHING_HERE)
        .start()
        .await?;
    let mut observer = lake.client().await?;
    observer.login("anyone", "x").await?;
    let check = async |user: &str, asked: Option<&str>, expect: &str| -> Result<()> {
        let mut client = lake.client().await?;
        client.login(user, "x").await?;
        if let Some(asked) = asked {
            client.query(&format!("SET executor_set = '{asked}'")).await?;
        }
        same_rows(user, &expected, &rows(&client.query(QUERY).await?)?, true)?;
        let there = executors(&mut client).await?;
        ensure!(
            there.iter().any(|one| one.set == expect) && there.iter().all(|one| one.set == expect),
            "{user} who asked for {asked:?} did not get {expect}"
        );
        until(&mut client, 0, Duration::from_secs(30)).await.map(drop)
    };
    check("anyone", None, "safe").await?;
    check("etl-1", None, "spot").await?;
    check("etl-1", Some("safe"), "safe").await?;
    observer.query("SET executor_set = 'gone'").await?;
    let status = observer.failure(QUERY).await?;
    ensure!(status.code() == Code::InvalidArgument, "{status}");
    ensure!(status.message().contains("the sets are safe, spot"), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_works_is_not_ended() -> Result<()> {
    let data = data().await?;
    let sets = format!("[[executor.sets]]\nmax = 1\n{QUICK}");
    let lake = over(Lake::started(&sets), data.path())
        .executor(NOTHING_HERE)
        .start()
        .await?;
    let (mut client, mut observer) = (lake.client().await?, lake.client().await?);
    let began = Instant::now();
    let watching = async {
        until(&mut observer, 1, Duration::from_secs(30)).await?;
        // Longer than it may idle.
        let seen = Instant::now();
        while seen.elapsed() < Duration::from_secs(5) {
            let there = executors(&mut observer).await?;
            ensure!(
                there.len() == 1 && there[0].state != "draining",
                "it was ended while it worked"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    tokio::select! {
        answer = client.query(LONG) => ensure!(false, "the long query ended after {:?}: {answer:?}", began.elapsed()),
        watched = watching => watched?,
    }
    drop(client);
    until(&mut observer, 0, Duration::from_secs(30)).await?;
    Ok(())
}
