//! Write, audit, publish: changes of a branch that nobody sees who does not ask for it, until the main branch moves to
//! it. And COPY INTO, which loads files in one commit.

use anyhow::{Result, ensure};
use harness::{Client, Lake, Minio, RestCatalog};
use serde_json::json;
use tonic::Code;

use super::{CATALOGS, holds, new_table, texts, update};

#[tokio::test(flavor = "multi_thread")]
async fn write_audit_publish() -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let (catalog, readers) = CATALOGS[0];
    let t = new_table(&mut client, catalog, "audited").await?;
    let of = (t.as_str(), readers);
    update(
        &mut client,
        &format!("INSERT INTO {t} VALUES (1, 'one', 1, NULL), (2, 'two', 2, NULL)"),
    )
    .await?;
    update(&mut client, &format!("ALTER TABLE {t} CREATE BRANCH audit")).await?;
    let branch = format!("{t} FOR VERSION AS OF 'audit'");
    for (sql, rows) in [
        (
            format!("INSERT INTO {branch} (id, name) VALUES (3, 'three'), (4, 'four')"),
            2,
        ),
        (
            format!("UPDATE {branch} SET name = upper(name) WHERE audited.id < 3"),
            2,
        ),
        (format!("DELETE FROM {branch} WHERE audited.id = 4"), 1),
        (
            format!(
                "MERGE INTO {branch} AS x USING (SELECT id + 4 AS id, name FROM {t}) AS s ON x.id = s.id \
                 WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
            ),
            2,
        ),
    ] {
        let changed = update(&mut client, &sql).await?;
        ensure!(changed == rows, "{sql}: {changed}");
    }
    let one = ["1", "one", "1.00", "NULL"];
    let two = ["2", "two", "2.00", "NULL"];
    holds(&mut client, data.path(), of, &[one, two]).await?;
    // Columns are those of all branches, and one of them has a NULL there.
    let tighten = format!("ALTER TABLE {t} ALTER COLUMN amount SET NOT NULL");
    let failure = client.failure(&tighten).await?;
    ensure!(failure.message().contains("may hold NULL in amount"), "{failure:?}");
    let audited = texts(&mut client, &format!("SELECT id, name FROM {branch} ORDER BY id")).await?;
    let expect = [["1", "ONE"], ["2", "TWO"], ["3", "three"], ["5", "one"], ["6", "two"]];
    ensure!(audited == expect, "{audited:?}");

    update(&mut client, &format!("ALTER TABLE {t} FAST FORWARD main TO audit")).await?;
    let published = [
        ["1", "ONE", "1.00", "NULL"],
        ["2", "TWO", "2.00", "NULL"],
        ["3", "three", "NULL", "NULL"],
        ["5", "one", "NULL", "NULL"],
        ["6", "two", "NULL", "NULL"],
    ];
    holds(&mut client, data.path(), of, &published).await?;
    // A change of the main branch and one of the branch are two histories: publishing would lose one of them.
    update(&mut client, &format!("INSERT INTO {branch} (id) VALUES (7)")).await?;
    update(&mut client, &format!("INSERT INTO {t} (id) VALUES (8)")).await?;
    let failure = client
        .failure(&format!("ALTER TABLE {t} FAST FORWARD main TO audit"))
        .await?;
    ensure!(failure.message().contains("does not descend"), "{failure:?}");
    update(&mut client, &format!("ALTER TABLE {t} CREATE TAG fixed")).await?;
    let failure = client
        .failure(&format!("INSERT INTO {t} FOR VERSION AS OF 'fixed' (id) VALUES (9)"))
        .await?;
    ensure!(
        failure.code() == Code::Unimplemented && failure.message().contains("head of a branch"),
        "{failure:?}"
    );
    let nobody = format!("INSERT INTO {t} FOR VERSION AS OF 'nobody' (id) VALUES (9)");
    let failure = client.failure(&nobody).await?;
    ensure!(failure.code() == Code::NotFound, "{failure:?}");
    Ok(())
}

/// What a session on the branch `run` does to tables of the schema `s`, whose `t` holds the ids 1 and 2, and what others see.
async fn session_on_a_branch(s: &str, on_branch: &mut Client, other: &mut Client) -> Result<()> {
    let ids = |table: &str| format!("SELECT id FROM {s}.{table} ORDER BY id");
    on_branch.query("SET branch = 'run'").await?;
    ensure!(
        texts(on_branch, &ids("t")).await? == [["1"], ["2"]],
        "without the branch main is read"
    );
    update(on_branch, &format!("INSERT INTO {s}.t VALUES (3), (4)")).await?;
    update(on_branch, &format!("DELETE FROM {s}.t WHERE id = 1")).await?;
    update(on_branch, &format!("UPDATE {s}.t SET id = 5 WHERE id = 4")).await?;
    update(on_branch, &format!("CREATE TABLE {s}.fresh AS SELECT id FROM {s}.t")).await?;
    update(on_branch, &format!("INSERT INTO {s}.fresh VALUES (6)")).await?;
    let twice = format!("INSERT OVERWRITE {s}.fresh SELECT DISTINCT id * 10 AS id FROM {s}.fresh");
    update(on_branch, &twice).await?;
    // What is all on the branch may go as it came.
    for sql in ["CREATE TABLE @.tmp AS SELECT id FROM @.t", "DROP TABLE @.tmp PURGE"] {
        update(on_branch, &sql.replace('@', s)).await?;
    }
    ensure!(texts(on_branch, &ids("t")).await? == [["2"], ["3"], ["5"]]);
    ensure!(
        texts(on_branch, &ids("v")).await? == [["2"], ["3"], ["5"]],
        "also through a view"
    );
    ensure!(texts(on_branch, &ids("fresh")).await? == [["20"], ["30"], ["50"], ["60"]]);
    ensure!(texts(other, &ids("t")).await? == [["1"], ["2"]]);
    ensure!(texts(other, &ids("v")).await? == [["1"], ["2"]]);
    ensure!(texts(other, &ids("fresh")).await?.is_empty());

    for (sql, why) in [
        ("DROP TABLE @.t", "dropping"),
        ("ALTER TABLE @.t ADD COLUMN name STRING", "altering"),
        ("ALTER TABLE @.t RENAME TO u", "altering"),
        ("CREATE OR REPLACE TABLE @.t (id BIGINT)", "replacing"),
        (
            "CREATE OR REPLACE TABLE @.t AS SELECT 1 AS id",
            "INSERT OVERWRITE replaces its rows there",
        ),
        ("CREATE OR REPLACE VIEW @.v AS SELECT 1 AS id", "changing the view"),
        ("DROP VIEW @.v", "dropping the view"),
    ] {
        let failure = on_branch.failure(&sql.replace('@', s)).await?;
        ensure!(failure.message().contains(why), "{sql}: {failure:?}");
    }
    // The same view changes nothing.
    let same = format!("CREATE OR REPLACE VIEW {s}.v AS SELECT * FROM {s}.t");
    on_branch.query(&same).await?;
    published(s, on_branch, other).await
}

/// How the session publishes what it did.
async fn published(s: &str, on_branch: &mut Client, other: &mut Client) -> Result<()> {
    let ids = |table: &str| format!("SELECT id FROM {s}.{table} ORDER BY id");
    // All tables of the schema or none: one of them has gone on meanwhile.
    let publish = format!("ALTER SCHEMA {s} FAST FORWARD main TO run");
    update(other, &format!("CREATE TABLE {s}.late AS SELECT 1 AS id")).await?;
    update(on_branch, &format!("INSERT INTO {s}.late VALUES (2)")).await?;
    update(other, &format!("INSERT INTO {s}.late VALUES (3)")).await?;
    let failure = on_branch.failure(&publish).await?;
    ensure!(
        failure.message().contains("late: run does not descend from main"),
        "{failure:?}"
    );
    ensure!(texts(other, &ids("t")).await? == [["1"], ["2"]]);
    on_branch
        .query(&format!("ALTER TABLE {s}.late DROP BRANCH run"))
        .await?;
    on_branch.query(&publish).await?;
    ensure!(texts(other, &ids("t")).await? == [["2"], ["3"], ["5"]]);
    let ended = format!("ALTER SCHEMA {s} DROP BRANCH run");
    on_branch.query(&ended).await?;
    let failure = on_branch.failure(&ended).await?;
    ensure!(
        failure.code() == Code::NotFound && failure.message().contains("no table of the schema shop has it"),
        "{failure:?}"
    );
    on_branch.query(&ended.replace("BRANCH", "BRANCH IF EXISTS")).await?;
    ensure!(texts(other, &ids("fresh")).await? == [["20"], ["30"], ["50"], ["60"]]);
    on_branch.query("RESET branch").await?;
    update(on_branch, &format!("DELETE FROM {s}.t WHERE id > 2")).await?;
    ensure!(texts(other, &ids("t")).await? == [["2"]]);
    Ok(())
}

/// A session on a branch, in the catalog `c` of the lake.
async fn sessions_on_a_branch(lake: &Lake, c: &str) -> Result<(Client, Client)> {
    let s = format!("{c}.shop");
    let (mut on_branch, mut other) = (lake.client().await?, lake.client().await?);
    on_branch.login("auditor", "").await?;
    for sql in [
        "CREATE SCHEMA IF NOT EXISTS @",
        "CREATE TABLE @.t (id BIGINT)",
        "INSERT INTO @.t VALUES (1), (2)",
    ] {
        other.query(&sql.replace('@', &s)).await?;
    }
    let view = format!("CREATE VIEW {s}.v AS SELECT * FROM {s}.t");
    on_branch.query(&view).await?;
    session_on_a_branch(&s, &mut on_branch, &mut other).await?;
    Ok((on_branch, other))
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_write_to_a_branch() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let (mut on_branch, mut other) = sessions_on_a_branch(&lake, "lake").await?;
    // A Delta table has no branches: it is read, and not written to.
    let t = new_table(&mut other, CATALOGS[1].0, "plain").await?;
    update(&mut other, &format!("INSERT INTO {t} (id) VALUES (1)")).await?;
    on_branch.query("SET branch = 'run'").await?;
    ensure!(texts(&mut on_branch, &format!("SELECT id FROM {t}")).await? == [["1"]]);
    for sql in [
        format!("INSERT INTO {t} (id) VALUES (2)"),
        format!("DELETE FROM {t}"),
        format!("TRUNCATE TABLE {t}"),
        format!("CREATE TABLE {t}2 AS SELECT 1 AS id"),
    ] {
        let failure = on_branch.failure(&sql).await?;
        ensure!(failure.message().contains("branch"), "{sql}: {failure:?}");
    }
    ensure!(texts(&mut other, &format!("SELECT id FROM {t}")).await? == [["1"]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_of_a_rest_catalog() -> Result<()> {
    let minio = Minio::start().await?;
    let rest = RestCatalog::start(&minio).await?;
    let lake = Lake::embedded()
        .section(&rest.section())
        .section(&minio.storage())
        .start()
        .await?;
    sessions_on_a_branch(&lake, "rest").await?;
    let mut client = lake.client().await?;
    for sql in [
        "CREATE SCHEMA rest.b",
        "CREATE TABLE rest.b.t (id BIGINT)",
        "INSERT INTO rest.b.t VALUES (1)",
        "ALTER TABLE rest.b.t CREATE BRANCH dev",
        "INSERT INTO rest.b.t FOR VERSION AS OF 'dev' VALUES (2)",
        "INSERT INTO rest.b.t FOR VERSION AS OF 'dev' VALUES (3)",
    ] {
        client.query(sql).await.map_err(|error| error.context(sql))?;
    }
    let count = "SELECT count(*) FROM rest.b.t";
    ensure!(texts(&mut client, count).await? == [["1"]]);
    ensure!(texts(&mut client, &format!("{count} FOR VERSION AS OF 'dev'")).await? == [["3"]]);
    client.query("ALTER TABLE rest.b.t FAST FORWARD main TO dev").await?;
    ensure!(texts(&mut client, count).await? == [["3"]]);
    client.query("OPTIMIZE rest.b.t").await?;
    client.query("ALTER TABLE rest.b.t EXECUTE optimize_manifests").await?;
    client.login("maintainer", "").await?;
    client.query("SET retention_check = 'off'").await?;
    client.query("ALTER TABLE rest.b.t DROP BRANCH dev").await?;
    client
        .query("ALTER TABLE rest.b.t EXECUTE expire_snapshots(retention_threshold => '0s')")
        .await?;
    client
        .query("ALTER TABLE rest.b.t EXECUTE remove_orphan_files(retention_threshold => '0s')")
        .await?;
    ensure!(texts(&mut client, "SELECT count(*), sum(id) FROM rest.b.t").await? == [["3", "6"]]);
    ensure!(texts(&mut client, "SELECT count(*) FROM rest.b.t$snapshots").await? == [["1"]]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_in_one_commit() -> Result<()> {
    let data = tempfile::tempdir()?;
    let files = tempfile::tempdir()?;
    std::fs::write(
        files.path().join("a.csv"),
        "day,id,name\n2026-01-01,1,one\n2026-01-02,2,\n",
    )?;
    std::fs::write(files.path().join("b.csv"), "day,id,name\n2026-01-03,3,three\n")?;
    let line = |id: u64| json!({"id": id, "amount": 1.5, "name": "json"}).to_string();
    std::fs::write(files.path().join("c.jsonl"), format!("{}\n{}\n", line(4), line(5)))?;
    let storage = format!("[[storage]]\nprefix = \"file://{}\"\n", files.path().display());
    let lake = Lake::embedded().data(data.path()).section(&storage).start().await?;
    let mut client = lake.client().await?;
    for (catalog, readers) in CATALOGS {
        let t = new_table(&mut client, catalog, "copied").await?;
        let history = format!("SELECT count(*) FROM {t}$history");
        let before = texts(&mut client, &history).await?;
        let location = format!("file://{}", files.path().display());
        let rows = update(
            &mut client,
            &format!("COPY INTO {t} FROM '{location}/*.csv' FILEFORMAT = CSV"),
        )
        .await?;
        ensure!(rows == 3, "{rows}");
        let after = texts(&mut client, &history).await?;
        let number = |rows: Vec<Vec<String>>| rows.concat().concat().parse::<u64>();
        ensure!(number(after)? == number(before)? + 1);
        let rows = update(
            &mut client,
            &format!("COPY INTO {t} FROM '{location}/c.jsonl' FILEFORMAT = JSON"),
        )
        .await?;
        ensure!(rows == 2, "{rows}");
        let expect = [
            ["1", "one", "NULL", "2026-01-01"],
            ["2", "NULL", "NULL", "2026-01-02"],
            ["3", "three", "NULL", "2026-01-03"],
            ["4", "json", "1.50", "NULL"],
            ["5", "json", "1.50", "NULL"],
        ];
        holds(&mut client, data.path(), (&t, readers), &expect).await?;
        // The table's own files, as plain Parquet files, into another table.
        let folder = data.path().join(match catalog {
            "lake" => "lake/shop/copied/data",
            _ => "delta/shop/copied",
        });
        let copy = new_table(&mut client, catalog, "again").await?;
        let sql = format!(
            "COPY INTO {copy} FROM 'file://{}' FILEFORMAT = PARQUET",
            folder.display()
        );
        ensure!(update(&mut client, &sql).await? == 5, "{sql}");
        holds(&mut client, data.path(), (&copy, readers), &expect).await?;
        std::fs::write(files.path().join("bad.csv"), "id,nonsense\n9,x\n")?;
        let failure = client
            .failure(&format!("COPY INTO {t} FROM '{location}/bad.csv' FILEFORMAT = CSV"))
            .await?;
        ensure!(failure.message().contains("no column \"nonsense\""), "{failure:?}");
        std::fs::write(files.path().join("bad.csv"), "id,amount\n9,many\n")?;
        let failure = client
            .failure(&format!("COPY INTO {t} FROM '{location}/bad.csv' FILEFORMAT = CSV"))
            .await?;
        ensure!(failure.code() == Code::InvalidArgument, "{failure:?}");
        std::fs::remove_file(files.path().join("bad.csv"))?;
        holds(&mut client, data.path(), (&t, readers), &expect).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_are_explained() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    for (catalog, _) in CATALOGS {
        let t = new_table(&mut client, catalog, "explained").await?;
        update(&mut client, &format!("INSERT INTO {t} (id) VALUES (1)")).await?;
        for sql in [
            format!("INSERT INTO {t} SELECT * FROM {t}"),
            format!("UPDATE {t} SET id = 2 WHERE id = 1"),
            format!("DELETE FROM {t} WHERE id = 1"),
            format!("MERGE INTO {t} AS x USING {t} AS y ON x.id = y.id WHEN MATCHED THEN DELETE"),
        ] {
            let plan = texts(&mut client, &format!("EXPLAIN {sql}")).await?;
            let plan = plan.concat().join("\n");
            ensure!(plan.contains("LakeWriteExec: table="), "{sql}: {plan}");
            let failure = client.failure(&format!("EXPLAIN ANALYZE {sql}")).await?;
            ensure!(failure.code() == Code::Unimplemented, "{failure:?}");
        }
        ensure!(texts(&mut client, &format!("SELECT id FROM {t}")).await? == [["1"]]);
    }
    Ok(())
}
