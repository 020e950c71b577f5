//! OPTIMIZE, expired snapshots, orphan files, manifests, VACUUM and checkpoints: the rows stay what they are, whoever
//! reads them, and nothing goes that is still needed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use harness::{Client, Lake, LakeBuilder, python};
use serde_json::json;
use tonic::Code;

use super::{CATALOGS, holds, new_table, texts, update};

/// Statements that write one small file each.
const FILES: usize = 12;
const DAY: u64 = 24 * 60 * 60;

/// What a statement tells, by name.
async fn told(client: &mut Client, sql: &str) -> Result<Vec<(String, u64)>> {
    let rows = texts(client, sql).await?;
    let row = |row: Vec<String>| match row.as_slice() {
        [name, value] => Ok((name.clone(), value.parse()?)),
        other => anyhow::bail!("{sql}: {other:?}"),
    };
    rows.into_iter().map(row).collect()
}

fn of(told: &[(String, u64)], name: &str) -> Result<u64> {
    let found = told.iter().find(|(known, _)| known == name);
    Ok(found.with_context(|| format!("no {name} in {told:?}"))?.1)
}

async fn number(client: &mut Client, sql: &str) -> Result<u64> {
    let rows = texts(client, sql).await?;
    Ok(rows.first().and_then(|row| row.first()).context("no row")?.parse()?)
}

async fn fill(client: &mut Client, table: &str) -> Result<Vec<[String; 4]>> {
    let mut rows = Vec::new();
    for id in 0..FILES {
        let day = id % 2 + 1;
        let sql = format!("INSERT INTO {table} VALUES ({id}, 'n{id}', {id}.5, '2026-01-0{day}')");
        ensure!(update(client, &sql).await? == 1, "{sql}");
        rows.push([
            id.to_string(),
            format!("n{id}"),
            format!("{id}.50"),
            format!("2026-01-0{day}"),
        ]);
    }
    Ok(rows)
}

fn borrowed(rows: &[[String; 4]]) -> Vec<[&str; 4]> {
    rows.iter().map(|row| row.each_ref().map(String::as_str)).collect()
}

async fn small_files(lake: LakeBuilder) -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = lake.data(data.path()).start().await?;
    let mut client = lake.client().await?;
    for (catalog, readers) in CATALOGS {
        let table = new_table(&mut client, catalog, "small").await?;
        let mode = match catalog {
            "lake" => "'write.delete.mode' = 'merge-on-read'",
            _ => "'delta.enableDeletionVectors' = 'false'",
        };
        update(&mut client, &format!("ALTER TABLE {table} SET TBLPROPERTIES ({mode})")).await?;
        let mut rows = fill(&mut client, &table).await?;
        ensure!(update(&mut client, &format!("DELETE FROM {table} WHERE id = 3")).await? == 1);
        rows.retain(|row| row[0] != "3");
        let expect = borrowed(&rows);
        let of_table = (table.as_str(), readers);
        holds(&mut client, data.path(), of_table, &expect).await?;
        let before = number(&mut client, &format!("SELECT count(*) FROM {table}$history")).await?;
        let done = told(&mut client, &format!("OPTIMIZE {table}")).await?;
        ensure!(of(&done, "rewritten_data_files_count")? >= FILES as u64 - 1, "{done:?}");
        ensure!(of(&done, "added_data_files_count")? == 1, "{done:?}");
        let files = number(&mut client, &format!("SELECT count(*) FROM {table}$files")).await?;
        ensure!(files <= 2, "{table}: {files} files");
        holds(&mut client, data.path(), of_table, &expect).await?;
        let after = number(&mut client, &format!("SELECT count(*) FROM {table}$history")).await?;
        ensure!(after == before + 1, "{table}: {before} versions became {after}");
        // A table of one file has nothing to gain.
        let again = told(&mut client, &format!("OPTIMIZE {table}")).await?;
        ensure!(of(&again, "rewritten_data_files_count")? == 0, "{again:?}");
        let same = number(&mut client, &format!("SELECT count(*) FROM {table}$history")).await?;
        ensure!(same == after, "{table}: nothing to do is no commit");
        // What was is still read as it was.
        let old = format!("SELECT count(*) FROM {table} FOR TIMESTAMP AS OF now()");
        ensure!(number(&mut client, &old).await? == rows.len() as u64);
        // Writes go on.
        ensure!(update(&mut client, &format!("UPDATE {table} SET name = 'x' WHERE id < 2")).await? == 2);
        let changed = number(&mut client, &format!("SELECT count(*) FROM {table} WHERE name = 'x'")).await?;
        ensure!(changed == 2, "{changed}");
    }
    Ok(())
}

/// Numbers of distinct values are counted, and kept where other engines find them.
#[tokio::test(flavor = "multi_thread")]
async fn analyze_counts_distinct_values() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::processes(2).data(data.path()).start().await?;
    let mut client = lake.client().await?;
    update(&mut client, "CREATE SCHEMA lake.shop").await?;
    let table = "lake.shop.counted";
    update(
        &mut client,
        &format!("CREATE TABLE {table} (id BIGINT, word STRING, price DECIMAL(12, 2), nested STRUCT<x INT>)"),
    )
    .await?;
    ensure!(
        texts(&mut client, &format!("ANALYZE {table}")).await?.is_empty(),
        "no row, no count"
    );
    for part in 0..4 {
        let rows = format!(
            "SELECT i, 'w' || (i % 100), CAST(i % 7 AS DECIMAL(12, 2)), NULL FROM generate_series({}, {}) AS g(i)",
            part * 5_000 + 1,
            (part + 1) * 5_000
        );
        update(&mut client, &format!("INSERT INTO {table} {rows}")).await?;
    }
    // Small numbers are counted exactly; of 20,000 the sketch keeps 4096, and says so within a few percent.
    let check = |told: &[(String, u64)], names: &[&str]| {
        ensure!(
            told.iter().map(|(name, _)| name.as_str()).eq(names.iter().copied()),
            "{told:?}"
        );
        for (name, count) in told {
            let expect = match name.as_str() {
                "id" => 19_000..=21_000,
                "word" => 100..=100,
                _ => 7..=7,
            };
            ensure!(expect.contains(count), "{name}: {count}");
        }
        Ok(())
    };
    let some = format!("ANALYZE TABLE {table} COMPUTE STATISTICS FOR COLUMNS word");
    check(&told(&mut client, &some).await?, &["word"])?;
    // What is known stays known.
    let more = format!("ANALYZE TABLE {table} COMPUTE STATISTICS FOR COLUMNS price");
    check(&told(&mut client, &more).await?, &["price", "word"])?;
    check(
        &told(&mut client, &format!("ANALYZE {table}")).await?,
        &["id", "price", "word"],
    )?;
    analyze_is_refused(&mut client, table).await
}

/// What has no numbers of distinct values is refused by name.
async fn analyze_is_refused(client: &mut Client, table: &str) -> Result<()> {
    update(client, "CREATE SCHEMA delta.shop").await?;
    update(client, "CREATE TABLE delta.shop.plain (id BIGINT)").await?;
    let columns = format!("ANALYZE TABLE {table} COMPUTE STATISTICS FOR COLUMNS");
    for (sql, code, words) in [
        (format!("{columns} nested"), Code::Unimplemented, "nested"),
        (format!("{columns} wrod"), Code::NotFound, "wrod"),
        ("ANALYZE lake.shop.nothing".to_owned(), Code::NotFound, "nothing"),
        ("ANALYZE delta.shop.plain".to_owned(), Code::Unimplemented, "Delta"),
    ] {
        let failure = client.failure(&sql).await?;
        let is_told = failure.code() == code && failure.message().contains(words);
        ensure!(is_told, "{sql}: {failure:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_in_one_process() -> Result<()> {
    small_files(Lake::embedded()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn optimize_on_two_executors() -> Result<()> {
    small_files(Lake::processes(2)).await
}

/// Of a partitioned table that part alone which is asked for; rows keep their order and their partitions.
#[tokio::test(flavor = "multi_thread")]
async fn optimize_a_part_of_a_table() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    for (catalog, readers) in CATALOGS {
        let table = format!("{catalog}.shop.parts");
        update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.shop")).await?;
        let columns = "id BIGINT, name STRING, amount DECIMAL(10, 2), day DATE";
        let sorted = if catalog == "lake" { " SORTED BY (id DESC)" } else { "" };
        update(
            &mut client,
            &format!("CREATE TABLE {table} ({columns}) PARTITIONED BY (day){sorted}"),
        )
        .await?;
        let rows = fill(&mut client, &table).await?;
        let expect = borrowed(&rows);
        let done = told(&mut client, &format!("OPTIMIZE {table} WHERE day = DATE '2026-01-01'")).await?;
        ensure!(of(&done, "rewritten_data_files_count")? == FILES as u64 / 2, "{done:?}");
        ensure!(of(&done, "added_data_files_count")? == 1, "{done:?}");
        holds(&mut client, data.path(), (&table, readers), &expect).await?;
        if catalog == "lake" {
            let ids = texts(
                &mut client,
                &format!("SELECT id FROM {table}$rows WHERE day = DATE '2026-01-01' ORDER BY _file, _pos"),
            )
            .await?;
            let ids: Vec<u64> = ids.iter().flatten().map(|id| id.parse()).collect::<Result<_, _>>()?;
            ensure!(ids.is_sorted_by(|a, b| a > b), "the table's order: {ids:?}");
        }
        let done = told(&mut client, &format!("OPTIMIZE {table}")).await?;
        ensure!(of(&done, "rewritten_data_files_count")? == FILES as u64 / 2, "{done:?}");
        holds(&mut client, data.path(), (&table, readers), &expect).await?;
        let failure = client
            .failure(&format!("OPTIMIZE {table} WHERE id IN (SELECT 1)"))
            .await?;
        ensure!(failure.code() == Code::Unimplemented, "{failure:?}");
    }
    Ok(())
}

/// Rows that have ids keep them, and say when they were last changed.
#[tokio::test(flavor = "multi_thread")]
async fn optimize_keeps_the_ids_of_rows() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    for (catalog, property) in [
        ("lake", "'format-version' = '3'"),
        ("delta", "'delta.enableRowTracking' = 'true'"),
    ] {
        let table = format!("{catalog}.shop.ids");
        update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.shop")).await?;
        let columns = "id BIGINT, name STRING, amount DECIMAL(10, 2), day DATE";
        update(
            &mut client,
            &format!("CREATE TABLE {table} ({columns}) TBLPROPERTIES ({property})"),
        )
        .await?;
        let rows = fill(&mut client, &table).await?;
        let ids = format!("SELECT id, _row_id, _last_updated_sequence_number FROM {table}$rows ORDER BY id");
        let before = texts(&mut client, &ids).await?;
        ensure!(before.iter().all(|row| row[1] != "NULL"), "{before:?}");
        let done = told(&mut client, &format!("OPTIMIZE {table}")).await?;
        ensure!(of(&done, "rewritten_data_files_count")? == FILES as u64, "{done:?}");
        let after = texts(&mut client, &ids).await?;
        ensure!(before == after, "{table}: {before:?} became {after:?}");
        // A second move takes them along too, beside rows that have none of their own yet.
        update(
            &mut client,
            &format!("INSERT INTO {table} VALUES (100, 'late', 1, NULL)"),
        )
        .await?;
        let before = texts(&mut client, &ids).await?;
        told(&mut client, &format!("OPTIMIZE {table}")).await?;
        ensure!(texts(&mut client, &ids).await? == before, "{table}: {before:?}");
        let distinct = number(
            &mut client,
            &format!("SELECT count(DISTINCT _row_id) FROM {table}$rows"),
        )
        .await?;
        ensure!(distinct == rows.len() as u64 + 1, "{distinct}");
    }
    Ok(())
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files_below(&path)?),
            false => drop(found.insert(path)),
        }
    }
    Ok(found)
}

/// Makes every file below a folder look as if it had been written so many days ago.
fn age(folder: &Path, days: u64) -> Result<()> {
    let then = SystemTime::now() - Duration::from_secs(days * DAY);
    for file in files_below(folder)? {
        std::fs::File::options().append(true).open(file)?.set_modified(then)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_expire_and_orphans_go() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let (catalog, readers) = CATALOGS[0];
    let table = new_table(&mut client, catalog, "old").await?;
    fill(&mut client, &table).await?;
    update(&mut client, &format!("ALTER TABLE {table} CREATE TAG first_rows")).await?;
    ensure!(update(&mut client, &format!("DELETE FROM {table} WHERE id > 0")).await? == FILES as i64 - 1);
    update(&mut client, &format!("INSERT INTO {table} VALUES (50, 'new', 1, NULL)")).await?;
    let expect = [["0", "n0", "0.50", "2026-01-01"], ["50", "new", "1.00", "NULL"]];
    holds(&mut client, data.path(), (&table, readers), &expect).await?;

    // What is young stays, and less than seven days is refused.
    let nothing = told(&mut client, &format!("ALTER TABLE {table} EXECUTE expire_snapshots")).await?;
    ensure!(nothing.iter().all(|(_, count)| *count == 0), "{nothing:?}");
    let now = format!("ALTER TABLE {table} EXECUTE expire_snapshots(retention_threshold => '0s')");
    let failure = client.failure(&now).await?;
    ensure!(
        failure.code() == Code::Unimplemented && failure.message().contains("less than 7 days"),
        "{failure:?}"
    );
    let folder = data.path().join("lake/shop/old");
    let mut client = session(&lake).await?;
    let done = told(&mut client, &now).await?;
    ensure!(of(&done, "expired_snapshots_count")? > 5, "{done:?}");
    let snapshots = number(&mut client, &format!("SELECT count(*) FROM {table}$snapshots")).await?;
    ensure!(snapshots == 2, "the head and the tag: {snapshots}");
    holds(&mut client, data.path(), (&table, readers), &expect).await?;
    let tagged = number(
        &mut client,
        &format!("SELECT count(*) FROM {table} FOR VERSION AS OF 'first_rows'"),
    )
    .await?;
    ensure!(tagged == FILES as u64, "{tagged}");

    // Without the tag the files that only it has go too.
    update(&mut client, &format!("ALTER TABLE {table} DROP TAG first_rows")).await?;
    let done = told(&mut client, &now).await?;
    ensure!(of(&done, "expired_snapshots_count")? == 1, "{done:?}");
    // The file of the row that is left is that of the head too.
    ensure!(of(&done, "deleted_data_files_count")? == FILES as u64 - 1, "{done:?}");
    holds(&mut client, data.path(), (&table, readers), &expect).await?;

    // Files that nothing names: old ones are found, young ones and those of the table stay.
    std::fs::write(folder.join("data/left-behind.parquet"), b"half a file")?;
    std::fs::write(folder.join("metadata/left-behind.avro"), b"half a file")?;
    age(&folder, 10)?;
    std::fs::write(folder.join("data/under-way.parquet"), b"half a file")?;
    let dry = format!("ALTER TABLE {table} EXECUTE remove_orphan_files(dry_run => true)");
    let named: Vec<String> = texts(&mut client, &dry).await?.into_iter().flatten().collect();
    let left: Vec<&String> = named.iter().filter(|path| path.contains("left-behind")).collect();
    ensure!(
        left.len() == 2 && !named.iter().any(|path| path.contains("under-way")),
        "{named:?}"
    );
    let before = files_below(&folder)?;
    let done = told(&mut client, &format!("ALTER TABLE {table} EXECUTE remove_orphan_files")).await?;
    ensure!(
        of(&done, "deleted_files_count")? == named.len() as u64,
        "{done:?} {named:?}"
    );
    let after = files_below(&folder)?;
    ensure!(before.len() - after.len() == named.len(), "{before:?} {after:?}");
    ensure!(
        !after.iter().any(|file| file.ends_with("left-behind.parquet")),
        "{after:?}"
    );
    holds(&mut client, data.path(), (&table, readers), &expect).await?;
    // PyIceberg finds every file that its metadata name.
    let request = json!({"data": data.path(), "table": "shop.old"});
    let referenced = python("referenced.py", request).await?;
    ensure!(referenced["missing"] == json!([]), "{referenced}");
    Ok(())
}

/// A connection whose session allows less retention than is safe.
async fn session(lake: &Lake) -> Result<Client> {
    let mut client = lake.client().await?;
    client.login("maintainer", "").await?;
    client.query("SET retention_check = 'off'").await?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_become_few() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let (catalog, readers) = CATALOGS[0];
    let table = new_table(&mut client, catalog, "manifests").await?;
    let rows = fill(&mut client, &table).await?;
    let count = format!("SELECT count(*) FROM {table}$manifests");
    ensure!(number(&mut client, &count).await? == FILES as u64);
    let done = told(&mut client, &format!("ALTER TABLE {table} EXECUTE optimize_manifests")).await?;
    ensure!(of(&done, "rewritten_manifests_count")? == FILES as u64, "{done:?}");
    ensure!(of(&done, "added_manifests_count")? == 1, "{done:?}");
    ensure!(number(&mut client, &count).await? == 1);
    holds(&mut client, data.path(), (&table, readers), &borrowed(&rows)).await?;
    let again = told(&mut client, &format!("ALTER TABLE {table} EXECUTE optimize_manifests")).await?;
    ensure!(of(&again, "rewritten_manifests_count")? == 0, "{again:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn vacuum_keeps_what_versions_need() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = session(&lake).await?;
    let (catalog, readers) = CATALOGS[1];
    let table = new_table(&mut client, catalog, "vacuum").await?;
    let rows = fill(&mut client, &table).await?;
    told(&mut client, &format!("OPTIMIZE {table}")).await?;
    let folder = data.path().join("delta/shop/vacuum");
    std::fs::write(folder.join("left-behind.parquet"), b"half a file")?;
    let dry = texts(&mut client, &format!("VACUUM {table} DRY RUN")).await?;
    ensure!(dry.is_empty(), "all of it is young: {dry:?}");

    // Old objects go unless a version of the last seven days has them: the commits are young.
    age(&folder, 10)?;
    for commit in files_below(&folder.join("_delta_log"))? {
        std::fs::File::options()
            .append(true)
            .open(commit)?
            .set_modified(SystemTime::now())?;
    }
    let mut dry = texts(&mut client, &format!("VACUUM {table} DRY RUN")).await?;
    dry.retain(|row| !row[0].ends_with("left-behind.parquet"));
    ensure!(dry.is_empty(), "every version is younger than the retention: {dry:?}");

    // deltalake names the same files.
    let everything = format!("VACUUM {table} RETAIN 0 HOURS DRY RUN");
    let own: BTreeSet<String> = texts(&mut client, &everything)
        .await?
        .into_iter()
        .flatten()
        .filter_map(|path| path.rsplit('/').next().map(str::to_owned))
        .collect();
    let request = json!({"folder": folder});
    let others: BTreeSet<String> = serde_json::from_value(python("vacuumed.py", request).await?)?;
    ensure!(own == others && own.len() == FILES + 1, "{own:?} instead of {others:?}");
    let mut strict = lake.client().await?;
    let failure = strict.failure(&format!("VACUUM {table} RETAIN 0 HOURS")).await?;
    ensure!(failure.message().contains("less than 7 days"), "{failure:?}");
    let done = told(&mut client, &format!("VACUUM {table} RETAIN 0 HOURS")).await?;
    ensure!(of(&done, "deleted_files_count")? == own.len() as u64, "{done:?}");
    holds(&mut client, data.path(), (&table, readers), &borrowed(&rows)).await?;
    let parquet = files_below(&folder)?;
    let parquet = parquet.iter().filter(|file| file.parent() == Some(&folder)).count();
    ensure!(parquet == 1, "one file is left: {parquet}");

    // Deletion vectors of the newest version stay.
    update(
        &mut client,
        &format!("ALTER TABLE {table} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')"),
    )
    .await?;
    ensure!(update(&mut client, &format!("DELETE FROM {table} WHERE id = 1")).await? == 1);
    ensure!(update(&mut client, &format!("DELETE FROM {table} WHERE id = 2")).await? == 1);
    let done = told(&mut client, &format!("VACUUM {table} RETAIN 0 HOURS")).await?;
    ensure!(of(&done, "deleted_files_count")? == 1, "the first vector: {done:?}");
    ensure!(number(&mut client, &format!("SELECT count(*) FROM {table}")).await? == FILES as u64 - 2);
    let done = told(&mut client, &format!("ALTER TABLE {table} EXECUTE checkpoint")).await?;
    let version = of(&done, "checkpoint_version")?;
    let checkpoint = folder.join(format!("_delta_log/{version:020}.checkpoint.parquet"));
    ensure!(checkpoint.exists(), "{} does not exist", checkpoint.display());
    ensure!(number(&mut client, &format!("SELECT count(*) FROM {table}")).await? == FILES as u64 - 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_of_the_other_format_is_refused() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    for (catalog, refused) in [
        ("lake", vec!["VACUUM {}", "ALTER TABLE {} EXECUTE checkpoint"]),
        (
            "delta",
            vec![
                "ANALYZE TABLE {} COMPUTE STATISTICS",
                "ALTER TABLE {} EXECUTE expire_snapshots",
                "ALTER TABLE {} EXECUTE remove_orphan_files",
                "ALTER TABLE {} EXECUTE optimize_manifests",
                "OPTIMIZE {} ZORDER BY (id)",
            ],
        ),
    ] {
        let table = new_table(&mut client, catalog, "refused").await?;
        for sql in refused {
            let failure = client.failure(&sql.replace("{}", &table)).await?;
            ensure!(failure.code() == Code::Unimplemented, "{sql}: {failure:?}");
        }
    }
    Ok(())
}
