//! A store that is overloaded, that shuts the writer out, and a disk that is full: the statement says what is wrong, the
//! table holds what it held, and what is left behind maintenance finds.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Client, Lake, Minio, Proxy};
use tonic::Code;

use super::{texts, update};

const OVERLOADED: &str = "503 Slow Down";
const SHUT_OUT: &str = "403 Access Denied";
/// Rows of a statement that takes longer than the time until the fault.
const MANY: u64 = 3_000_000;

/// A lake on S3 behind a proxy.
struct Faulty {
    lake: Lake,
    proxy: Proxy,
    _minio: Minio,
    _folder: tempfile::TempDir,
}

impl Faulty {
    async fn start() -> Result<Self> {
        let (minio, folder) = (Minio::start().await?, tempfile::tempdir()?);
        let server = minio.endpoint.trim_start_matches("http://").parse()?;
        let proxy = Proxy::start(vec![server]).await?;
        let storage = minio
            .storage()
            .replace(&minio.endpoint, &format!("http://{}", proxy.address()));
        let section = format!(
            "{storage}retries_max = 2\nrequest_timeout = \"5s\"\n\
             [catalogs.ice]\ntype = \"iceberg-sql\"\nuri = \"sqlite://{}\"\nwarehouse = \"s3://lake/ice\"\n\
             [catalogs.del]\ntype = \"delta\"\nroot = \"s3://lake/del\"\n",
            folder.path().join("catalog.db").display()
        );
        Ok(Self {
            lake: Lake::embedded().section(&section).start().await?,
            proxy,
            _minio: minio,
            _folder: folder,
        })
    }

    async fn client(&self) -> Result<Client> {
        let mut client = self.lake.client().await?;
        client.login("maintainer", "").await?;
        client.query("SET retention_check = 'off'").await?;
        Ok(client)
    }
}

async fn create(client: &mut Client, catalog: &str) -> Result<String> {
    let table = format!("{catalog}.faults.t");
    update(client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.faults")).await?;
    update(client, &format!("CREATE TABLE {table} (id BIGINT, text STRING)")).await?;
    update(client, &format!("INSERT INTO {table} VALUES (0, 'first')")).await?;
    Ok(table)
}

async fn ids(client: &mut Client, table: &str) -> Result<BTreeSet<u64>> {
    let rows = texts(client, &format!("SELECT id FROM {table}")).await?;
    let mut ids = BTreeSet::new();
    for row in rows.iter().flatten() {
        ensure!(ids.insert(row.parse()?), "{table}: the row {row} is there twice");
    }
    Ok(ids)
}

/// Nothing is left that maintenance would not find, and it takes nothing that is needed.
async fn clean(client: &mut Client, table: &str) -> Result<()> {
    let before = ids(client, table).await?;
    let (find, remove) = match table.starts_with("ice.") {
        true => (
            format!("ALTER TABLE {table} EXECUTE remove_orphan_files(retention_threshold => '0s', dry_run => true)"),
            format!("ALTER TABLE {table} EXECUTE remove_orphan_files(retention_threshold => '0s')"),
        ),
        false => (
            format!("VACUUM {table} RETAIN 0 HOURS DRY RUN"),
            format!("VACUUM {table} RETAIN 0 HOURS"),
        ),
    };
    // Objects of this second are not older than now.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let found = texts(client, &find).await?;
    eprintln!("{table}: {} files were left behind", found.len());
    client.query(&remove).await?;
    let left = texts(client, &find).await?;
    ensure!(left.is_empty(), "{table}: {left:?}");
    ensure!(ids(client, table).await? == before, "{table}: maintenance took a row");
    Ok(())
}

/// Statements while the store is overloaded again and again: each took place, or did not, and says which.
#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_store() -> Result<()> {
    let faulty = Faulty::start().await?;
    let mut client = faulty.client().await?;
    for catalog in ["ice", "del"] {
        let table = create(&mut client, catalog).await?;
        let (mut sure, mut perhaps) = (BTreeSet::from([0]), BTreeSet::new());
        let storms = async {
            for round in 0..6 {
                tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
                faulty.proxy.set_answer(Some(OVERLOADED));
                tokio::time::sleep(Duration::from_millis(100 + 400 * (round % 3))).await;
                faulty.proxy.set_answer(None);
            }
        };
        let mut writer = faulty.client().await?;
        let mut failed = 0;
        let writes = async {
            for id in 1..60 {
                match update(&mut writer, &format!("INSERT INTO {table} VALUES ({id}, 'x')")).await {
                    Ok(_) => drop(sure.insert(id)),
                    Err(error) => {
                        failed += 1;
                        let text = format!("{error:#}");
                        // Only one that is not known may have taken place.
                        if text.contains("it is not known") {
                            perhaps.insert(id);
                        } else {
                            ensure!(!text.contains("panic"), "{text}");
                        }
                    }
                }
            }
            Ok(())
        };
        let ((), written) = tokio::join!(storms, writes);
        written?;
        let found = ids(&mut client, &table).await?;
        let lost: Vec<_> = sure.difference(&found).collect();
        let extra: Vec<_> = found
            .iter()
            .filter(|id| !sure.contains(id) && !perhaps.contains(id))
            .collect();
        eprintln!("{table}: {failed} statements failed, {} are not known", perhaps.len());
        ensure!(
            lost.is_empty() && extra.is_empty(),
            "{table}: lost {lost:?}, too many {extra:?}"
        );
        clean(&mut client, &table).await?;
    }
    Ok(())
}

/// In the middle of a statement the writer is shut out.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_revoked() -> Result<()> {
    let faulty = Faulty::start().await?;
    let mut client = faulty.client().await?;
    for catalog in ["ice", "del"] {
        let table = create(&mut client, catalog).await?;
        let sql = format!(
            "INSERT INTO {table} SELECT i, repeat(md5(cast(i AS varchar)), 8) FROM generate_series(1, {MANY}) AS g(i)"
        );
        let mut writer = faulty.client().await?;
        let write = async { writer.failure(&sql).await };
        let revoke = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            faulty.proxy.set_answer(Some(SHUT_OUT));
        };
        let (failure, ()) = tokio::join!(write, revoke);
        let failure = failure?;
        ensure!(
            failure.code() == Code::PermissionDenied
                && failure.message().contains("refuses the configured credentials"),
            "{failure:?}"
        );
        faulty.proxy.set_answer(None);
        ensure!(
            ids(&mut client, &table).await? == BTreeSet::from([0]),
            "{table} has changed"
        );
        clean(&mut client, &table).await?;
        update(&mut client, &format!("INSERT INTO {table} VALUES (1, 'again')")).await?;
        ensure!(ids(&mut client, &table).await?.len() == 2);
    }
    Ok(())
}

/// A small disk; nothing where it cannot be had.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(megabytes: u32) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Ok(Some(Self(folder))),
            _ => {
                eprintln!("a disk of {megabytes} MB cannot be mounted here: the test is skipped");
                Ok(None)
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).output().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() -> Result<()> {
    let Some(disk) = Disk::mount(48)? else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let section = format!(
        "[catalogs.ice]\ntype = \"iceberg-sql\"\nuri = \"sqlite://{}\"\nwarehouse = \"file://{}/ice\"\n\
         [catalogs.del]\ntype = \"delta\"\nroot = \"file://{}/del\"\n",
        folder.path().join("catalog.db").display(),
        disk.path().display(),
        disk.path().display()
    );
    let lake = Lake::embedded().section(&section).start().await?;
    let mut client = lake.client().await?;
    client.login("maintainer", "").await?;
    client.query("SET retention_check = 'off'").await?;
    for catalog in ["ice", "del"] {
        let table = create(&mut client, catalog).await?;
        let rows = "SELECT i, repeat(md5(cast(i AS varchar)), 4) FROM generate_series(1, 4000000) AS g(i)";
        let failure = client.failure(&format!("INSERT INTO {table} {rows}")).await?;
        ensure!(
            failure.message().to_lowercase().contains("no space left"),
            "{failure:?}"
        );
        ensure!(
            ids(&mut client, &table).await? == BTreeSet::from([0]),
            "{table} has changed"
        );
        clean(&mut client, &table).await?;
        // What the failed statement had written is gone, so that there is room again.
        let fits = format!("INSERT INTO {table} SELECT i, 'x' FROM generate_series(1, 100000) AS g(i)");
        ensure!(update(&mut client, &fits).await.context("after the disk was full")? == 100_000);
        ensure!(ids(&mut client, &table).await?.len() == 100_001);
    }
    Ok(())
}
