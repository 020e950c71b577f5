//! MERGE, case by case, with rows that were worked out by hand.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use harness::{Client, Lake};

use super::{new_table, texts, update};

/// The target before every case: id, name, amount.
const TARGET: &str = "(1, 'a', 10, NULL), (2, 'b', 20, NULL), (3, NULL, 30, NULL), (4, 'd', NULL, NULL)";

/// What is merged, the clauses, the number of rows that are told, and the rows afterwards as `id name amount`.
struct Case {
    source: &'static str,
    on: &'static str,
    clauses: &'static str,
    count: i64,
    expect: &'static [&'static str],
}

const ALL: [&str; 4] = ["1 a 10.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL"];
const BY_ID: &str = "t.id = s.id";

const CASES: [Case; 21] = [
    Case {
        source: "(1, 'x', 1)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN UPDATE SET name = s.name",
        count: 1,
        expect: &["1 x 10.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(9, 'x', 1)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN UPDATE SET name = s.name",
        count: 0,
        expect: &ALL,
    },
    Case {
        source: "(1, 'x', 1), (9, 'n', 9)",
        on: BY_ID,
        clauses: "WHEN NOT MATCHED THEN INSERT (id, name, amount) VALUES (s.id, s.name, s.amount)",
        count: 1,
        expect: &["1 a 10.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL", "9 n 9.00"],
    },
    Case {
        source: "(1, 'x', 1), (9, 'n', 9)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN UPDATE SET amount = t.amount + s.amount WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
        count: 2,
        expect: &["1 a 11.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL", "9 NULL NULL"],
    },
    Case {
        source: "(1, 'x', 1), (2, 'y', 2)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN DELETE",
        count: 2,
        expect: &["3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1), (2, 'y', 2)",
        on: BY_ID,
        clauses: "WHEN MATCHED AND s.amount > 1 THEN DELETE",
        count: 1,
        expect: &["1 a 10.00", "3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1), (2, 'y', 2)",
        on: BY_ID,
        clauses: "WHEN MATCHED AND t.amount = 10 THEN DELETE WHEN MATCHED THEN UPDATE SET name = s.name",
        count: 2,
        expect: &["2 y 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    // The first clause that fits counts, whatever follows.
    Case {
        source: "(1, 'x', 1)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN UPDATE SET name = 'first' WHEN MATCHED THEN DELETE",
        count: 1,
        expect: &["1 first 10.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1), (2, 'y', 2)",
        on: BY_ID,
        clauses: "WHEN NOT MATCHED BY SOURCE THEN DELETE",
        count: 2,
        expect: &["1 a 10.00", "2 b 20.00"],
    },
    Case {
        source: "(1, 'x', 1)",
        on: BY_ID,
        clauses: "WHEN NOT MATCHED BY SOURCE AND t.amount > 20 THEN UPDATE SET name = 'alone'",
        count: 1,
        expect: &["1 a 10.00", "2 b 20.00", "3 alone 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1), (9, 'n', 9)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN UPDATE SET name = s.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name) \
                  WHEN NOT MATCHED BY SOURCE THEN DELETE",
        count: 5,
        expect: &["1 x 10.00", "9 n NULL"],
    },
    // NULL equals nothing.
    Case {
        source: "(CAST(NULL AS bigint), 'x', 1)",
        on: BY_ID,
        clauses: "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (name) VALUES (s.name)",
        count: 1,
        expect: &["1 a 10.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL", "NULL x NULL"],
    },
    Case {
        source: "(3, 'b', 1)",
        on: "t.name = s.name",
        clauses: "WHEN MATCHED THEN UPDATE SET id = 22",
        count: 1,
        expect: &["1 a 10.00", "22 b 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    // A condition that is neither true nor false does not hold.
    Case {
        source: "(3, 'x', 1), (4, 'y', 2)",
        on: BY_ID,
        clauses: "WHEN MATCHED AND t.name <> 'z' THEN DELETE",
        count: 1,
        expect: &["1 a 10.00", "2 b 20.00", "3 NULL 30.00"],
    },
    Case {
        source: "(9, 'n', 9), (9, 'm', 8)",
        on: BY_ID,
        clauses: "WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)",
        count: 2,
        expect: &[
            "1 a 10.00",
            "2 b 20.00",
            "3 NULL 30.00",
            "4 d NULL",
            "9 m NULL",
            "9 n NULL",
        ],
    },
    // Two source rows for one target row, of which one clause wants one.
    Case {
        source: "(1, 'x', 1), (1, 'y', 2)",
        on: BY_ID,
        clauses: "WHEN MATCHED AND s.amount = 2 THEN UPDATE SET name = s.name",
        count: 1,
        expect: &["1 y 10.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1)",
        on: "t.id = s.id AND t.amount > 10",
        clauses: "WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, 'new')",
        count: 1,
        expect: &["1 a 10.00", "1 new NULL", "2 b 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1)",
        on: "false",
        clauses: "WHEN MATCHED THEN DELETE WHEN NOT MATCHED BY SOURCE AND t.id = 4 THEN DELETE \
                  WHEN NOT MATCHED THEN INSERT (id) VALUES (7)",
        count: 2,
        expect: &["1 a 10.00", "2 b 20.00", "3 NULL 30.00", "7 NULL NULL"],
    },
    Case {
        source: "(2, 'x', 1)",
        on: "t.id < s.id",
        clauses: "WHEN MATCHED THEN UPDATE SET amount = 0",
        count: 1,
        expect: &["1 a 0.00", "2 b 20.00", "3 NULL 30.00", "4 d NULL"],
    },
    Case {
        source: "(1, 'x', 1), (2, 'y', 2), (3, 'z', 3), (4, 'w', 4)",
        on: BY_ID,
        clauses: "WHEN MATCHED AND t.id = 1 THEN UPDATE SET name = NULL, amount = NULL \
                  WHEN MATCHED AND t.id = 2 THEN DELETE WHEN MATCHED AND t.id = 3 THEN UPDATE SET amount = s.amount",
        count: 3,
        expect: &["1 NULL NULL", "3 NULL 3.00", "4 d NULL"],
    },
    // Both sides have these names: of a new row only the source can be meant, of one without a source only the target.
    Case {
        source: "(1, 'x', 1), (7, 'seven', 7)",
        on: BY_ID,
        clauses: "WHEN NOT MATCHED AND id = 7 THEN INSERT (id, name, amount) VALUES (id, name, amount) \
                  WHEN NOT MATCHED BY SOURCE AND id = 2 THEN UPDATE SET amount = amount + 1",
        count: 2,
        expect: &["1 a 10.00", "2 b 21.00", "3 NULL 30.00", "4 d NULL", "7 seven 7.00"],
    },
];

/// Clauses that name a column of neither side, of both, or of the side that has no row.
const REFUSED: [(&str, &str); 4] = [
    ("WHEN MATCHED THEN UPDATE SET amount = amount + 1", "ambiguous"),
    (
        "WHEN NOT MATCHED THEN INSERT (id) VALUES (t.id)",
        "has no row in this clause",
    ),
    (
        "WHEN NOT MATCHED BY SOURCE AND s.id = 1 THEN DELETE",
        "has no row in this clause",
    ),
    ("WHEN NOT MATCHED THEN INSERT (id) VALUES (nothing)", "nothing"),
];

#[tokio::test(flavor = "multi_thread")]
async fn merges_in_one_process() -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let mut client = lake.client().await?;
    for (name, catalog, change) in [
        ("copied", "lake", None),
        (
            "marked",
            "lake",
            Some("'write.merge.mode' = 'merge-on-read', 'write.delete.mode' = 'merge-on-read'"),
        ),
        // Deletion vectors, and rows with ids.
        ("third", "lake", Some("'format-version' = '3'")),
        ("copied", "delta", None),
        ("marked", "delta", Some("'delta.enableDeletionVectors' = 'true'")),
    ] {
        let table = new_table(&mut client, catalog, name).await?;
        if let Some(properties) = change {
            update(
                &mut client,
                &format!("ALTER TABLE {table} SET TBLPROPERTIES ({properties})"),
            )
            .await?;
        }
        cases(&mut client, &table).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_on_executors() -> Result<()> {
    let lake = Lake::executors(2).start().await?;
    let mut client = lake.client().await?;
    for catalog in ["lake", "delta"] {
        let table = new_table(&mut client, catalog, "merged").await?;
        cases(&mut client, &table).await?;
    }
    Ok(())
}

async fn cases(client: &mut Client, table: &str) -> Result<()> {
    let merge = |source: &str, on: &str, clauses: &str| {
        format!(
            "MERGE INTO {table} AS t USING (SELECT * FROM (VALUES {source}) AS v (id, name, amount)) AS s ON {on} {clauses}"
        )
    };
    for case in &CASES {
        update(client, &format!("INSERT OVERWRITE {table} VALUES {TARGET}")).await?;
        let sql = merge(case.source, case.on, case.clauses);
        let count = update(client, &sql).await?;
        let mut found: Vec<String> = texts(client, &format!("SELECT id, name, amount FROM {table}"))
            .await?
            .into_iter()
            .map(|row| row.join(" "))
            .collect();
        found.sort();
        ensure!(found == case.expect, "{sql}: {found:?} instead of {:?}", case.expect);
        ensure!(count == case.count, "{sql}: {count} rows instead of {}", case.count);
    }
    for (clauses, expect) in REFUSED {
        let failure = client.failure(&merge("(1, 'x', 1)", BY_ID, clauses)).await?;
        ensure!(failure.message().contains(expect), "{clauses}: {failure:?}");
    }
    let twice = merge(
        "(1, 'x', 1), (1, 'y', 2)",
        BY_ID,
        "WHEN MATCHED THEN UPDATE SET name = s.name",
    );
    let failure = client.failure(&twice).await?;
    ensure!(failure.message().contains("more than one row"), "{failure:?}");
    Ok(())
}

/// The rows' ids and the commits that last changed them, by the rows' own ids.
async fn lineage(client: &mut Client, table: &str) -> Result<BTreeMap<i64, (i64, i64)>> {
    let sql = format!("SELECT id, _row_id, _last_updated_sequence_number FROM {table}$rows");
    let rows = texts(client, &sql).await?;
    let rows = rows.iter().map(|row| {
        let number = |at: usize| -> Result<i64> { Ok(row[at].parse()?) };
        Ok((number(0)?, (number(1)?, number(2)?)))
    });
    rows.collect()
}

/// A change of a table, the rows that it changes, the one that it deletes and the one that it adds.
struct Step {
    sql: String,
    changed: Vec<i64>,
    gone: Option<i64>,
    new: Option<i64>,
}

fn steps(table: &str) -> Vec<Step> {
    let step = |sql: &str, changed: &[i64], gone, new| Step {
        sql: sql.replace("TABLE", table),
        changed: changed.to_vec(),
        gone,
        new,
    };
    vec![
        step(
            "UPDATE TABLE SET name = upper(name) WHERE id % 2 = 0",
            &[2, 4, 6],
            None,
            None,
        ),
        step(
            "MERGE INTO TABLE USING (VALUES (1, 'm'), (5, 'gone'), (50, 'new')) AS s(i, n) ON id = i \
             WHEN MATCHED AND n = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET name = n \
             WHEN NOT MATCHED THEN INSERT VALUES (i, n)",
            &[1],
            Some(5),
            Some(50),
        ),
        step("DELETE FROM TABLE WHERE id = 3", &[], Some(3), None),
        step(
            "UPDATE TABLE SET name = 'again' WHERE id IN (2, 50)",
            &[2, 50],
            None,
            None,
        ),
        step(
            "MERGE INTO TABLE USING (VALUES (6)) AS s(i) ON id = i WHEN MATCHED THEN DELETE",
            &[],
            Some(6),
            None,
        ),
    ]
}

/// Rows that are changed stay the same rows, and those beside them do not change.
#[tokio::test(flavor = "multi_thread")]
async fn changed_rows_keep_their_ids() -> Result<()> {
    let lake = Lake::processes(2).start().await?;
    let mut client = lake.client().await?;
    let copies = "'write.update.mode' = 'copy-on-write', 'write.merge.mode' = 'copy-on-write', \
                  'write.delete.mode' = 'copy-on-write'";
    let vectors = "'delta.enableDeletionVectors' = 'true'";
    for (table, properties) in [
        ("lake.s.merged", "'format-version' = '3'".to_owned()),
        ("lake.s.copied", format!("'format-version' = '3', {copies}")),
        ("delta.s.copied", "'delta.enableRowTracking' = 'true'".to_owned()),
        (
            "delta.s.merged",
            format!("'delta.enableRowTracking' = 'true', {vectors}"),
        ),
    ] {
        let schema = table.rsplit_once('.').map_or("", |(schema, _)| schema);
        update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {schema}")).await?;
        let made = format!("CREATE TABLE {table} (id BIGINT, name STRING) TBLPROPERTIES ({properties})");
        update(&mut client, &made).await?;
        for rows in ["(1, 'a'), (2, 'b'), (3, 'c')", "(4, 'd'), (5, 'e'), (6, 'f')"] {
            ensure!(update(&mut client, &format!("INSERT INTO {table} VALUES {rows}")).await? == 3);
        }
        let mut before = lineage(&mut client, table).await?;
        let mut seen: BTreeSet<i64> = before.values().map(|(id, _)| *id).collect();
        ensure!(before.len() == 6 && seen.len() == 6, "{table}: {before:?}");
        for step in steps(table) {
            let sql = &step.sql;
            update(&mut client, sql).await?;
            let after = lineage(&mut client, table).await?;
            for (id, (row, commit)) in &after {
                match before.get(id) {
                    Some((old, last)) if step.changed.contains(id) => {
                        ensure!(row == old && commit > last, "{sql}: {id} is {row}, {commit}");
                    }
                    Some(same) => ensure!((*row, *commit) == *same, "{sql}: {id} is {row}, {commit}"),
                    None => ensure!(step.new == Some(*id) && seen.insert(*row), "{sql}: {id} is {row}"),
                }
            }
            let expect = before.len() + usize::from(step.new.is_some()) - usize::from(step.gone.is_some());
            ensure!(after.len() == expect, "{sql}: {after:?}");
            before = after;
        }
        let rows = texts(&mut client, &format!("SELECT id, name FROM {table} ORDER BY id")).await?;
        let expect = [["1", "m"], ["2", "again"], ["4", "D"], ["50", "again"]];
        ensure!(rows == expect, "{table}: {rows:?}");
    }
    Ok(())
}
