//! Forms of statements that are planned as others: WITH before a change, UPDATE with FROM, DELETE with USING, and rows
//! that replace partitions.

use anyhow::{Result, ensure};
use harness::{Client, Lake, LakeBuilder, python};
use serde_json::json;

use super::{CATALOGS, texts, update};

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_statements_in_one_process() -> Result<()> {
    forms(Lake::embedded()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_statements_on_three_executors() -> Result<()> {
    forms(Lake::processes(3)).await
}

/// A table with the columns id, country and city, as this server and others read it.
struct Places<'a> {
    client: &'a mut Client,
    data: &'a std::path::Path,
    table: String,
    readers: &'a [&'a str],
}

impl Places<'_> {
    /// Runs a statement about `{t}`, after which the table has the rows, `id country city`.
    async fn run(&mut self, sql: &str, changed: i64, rows: &[&str]) -> Result<()> {
        let sql = sql.replace("{t}", &self.table);
        let count = update(self.client, &sql).await?;
        ensure!(count == changed, "{sql}: {count} rows instead of {changed}");
        let mut expect: Vec<Vec<_>> = rows
            .iter()
            .map(|row| row.split(' ').map(str::to_owned).collect())
            .collect();
        expect.sort();
        let mut own = texts(self.client, &format!("SELECT id, country, city FROM {}", self.table)).await?;
        own.sort();
        ensure!(own == expect, "{sql}: {own:?} instead of {expect:?}");
        Ok(())
    }

    /// The rows, as this server reads them, are what the others read.
    async fn others_agree(&mut self) -> Result<()> {
        let mut expect = texts(self.client, &format!("SELECT id, country, city FROM {}", self.table)).await?;
        expect.sort();
        let (_, name) = self.table.split_once('.').unwrap_or_default();
        let columns = ["id", "country", "city"];
        let request = json!({"data": self.data, "table": name, "columns": columns, "readers": self.readers});
        let others = python("written.py", request).await?;
        for reader in self.readers {
            ensure!(others[reader] == json!(expect), "{reader} reads {}", others[reader]);
        }
        Ok(())
    }

    async fn refuses(&mut self, sql: &str, words: &str) -> Result<()> {
        let failure = self.client.failure(&sql.replace("{t}", &self.table)).await?;
        ensure!(failure.message().contains(words), "{sql}: {failure:?}");
        Ok(())
    }
}

async fn forms(lake: LakeBuilder) -> Result<()> {
    let data = tempfile::tempdir()?;
    let lake = lake.data(data.path()).start().await?;
    let mut client = lake.client().await?;
    for (catalog, readers) in CATALOGS {
        update(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.shop")).await?;
        let table = format!("{catalog}.shop.places");
        let columns = "id bigint, country varchar, city varchar";
        let sql = format!("CREATE TABLE {table} ({columns}) PARTITIONED BY (country)");
        update(&mut client, &sql).await?;
        let mut places = Places {
            client: &mut client,
            data: data.path(),
            table,
            readers,
        };
        changes(&mut places).await?;
        places.others_agree().await?;
        partitions(&mut places).await?;
        places.others_agree().await?;
        partitions_of_every_type(&mut client, catalog).await?;
    }
    Ok(())
}

/// Values of every type are found again among those of the files: a partition that is replaced keeps none of its rows.
async fn partitions_of_every_type(client: &mut Client, catalog: &str) -> Result<()> {
    for (number, (data_type, a, b)) in [
        ("date", "DATE '2024-01-01'", "DATE '2024-01-02'"),
        ("int", "1", "2"),
        ("bigint", "1", "2"),
        ("decimal(10, 2)", "1.5", "2.5"),
        ("boolean", "true", "false"),
        ("double", "1.25", "2.5"),
        (
            "timestamp",
            "TIMESTAMP '2024-01-01 01:02:03'",
            "TIMESTAMP '2024-01-02 00:00:00'",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("{catalog}.shop.by_type_{number}");
        let create = format!("CREATE TABLE {table} (id int, k {data_type}) PARTITIONED BY (k)");
        update(client, &create).await?;
        update(
            client,
            &format!("INSERT INTO {table} VALUES (1, {a}), (2, {b}), (3, NULL)"),
        )
        .await?;
        let sql = format!("INSERT OVERWRITE {table} PARTITION (k) VALUES (4, {a}), (5, NULL)");
        ensure!(update(client, &sql).await? == 2, "{sql}");
        let rows = texts(client, &format!("SELECT id FROM {table} ORDER BY id")).await?;
        ensure!(rows == [["2"], ["4"], ["5"]], "{data_type} in {catalog}: {rows:?}");
    }
    Ok(())
}

async fn changes(places: &mut Places<'_>) -> Result<()> {
    let first = "INSERT INTO {t} (id, city) PARTITION (country = 'NL') VALUES (1, 'Delft'), (2, 'Gouda'), (3, 'Breda')";
    places
        .run(first, 3, &["1 NL Delft", "2 NL Gouda", "3 NL Breda"])
        .await?;
    let sql = "WITH s AS (SELECT 1 AS id UNION ALL SELECT 2) UPDATE {t} SET country = 'BE' \
               WHERE id IN (SELECT id FROM s WHERE id > 1)";
    places.run(sql, 1, &["1 NL Delft", "2 BE Gouda", "3 NL Breda"]).await?;
    let sql = "UPDATE {t} AS t SET city = s.city, country = u.country FROM (VALUES (1, 'Dinant'), (9, 'Nowhere')) AS \
               s (id, city) JOIN (SELECT 'BE' AS country) AS u ON true WHERE t.id = s.id";
    places.run(sql, 1, &["1 BE Dinant", "2 BE Gouda", "3 NL Breda"]).await?;
    let sql = "UPDATE {t} AS t SET city = s.city FROM (VALUES (1, 'a'), (1, 'b')) AS s (id, city) WHERE t.id = s.id";
    places.refuses(sql, "more than one row").await?;
    let sql = "DELETE FROM {t} AS t USING (VALUES (2), (2), (9)) AS s (id) WHERE t.id = s.id";
    places.run(sql, 1, &["1 BE Dinant", "3 NL Breda"]).await?;
    let sql = "WITH s AS (SELECT 3 AS id), r AS (SELECT id, 'Ede' AS city FROM s UNION ALL SELECT 4, 'Epe') \
               MERGE INTO {t} AS t USING r ON t.id = r.id WHEN MATCHED THEN UPDATE SET city = r.city \
               WHEN NOT MATCHED THEN INSERT (id, country, city) VALUES (r.id, 'NL', r.city)";
    places.run(sql, 2, &["1 BE Dinant", "3 NL Ede", "4 NL Epe"]).await?;
    let sql = "WITH s AS (SELECT 4 AS id) DELETE FROM {t} WHERE EXISTS (SELECT 1 FROM s WHERE s.id = {t}.id)";
    places.run(sql, 1, &["1 BE Dinant", "3 NL Ede"]).await
}

async fn partitions(places: &mut Places<'_>) -> Result<()> {
    let sql = "INSERT OVERWRITE {t} PARTITION (country) VALUES (5, 'NL', 'Edam'), (6, 'DE', 'Kleve'), (7, NULL, 'Sea')";
    places
        .run(sql, 3, &["1 BE Dinant", "5 NL Edam", "6 DE Kleve", "7 NULL Sea"])
        .await?;
    let sql = "INSERT OVERWRITE {t} PARTITION (country) SELECT id + 1, country, city FROM {t} WHERE country IS NULL";
    places
        .run(sql, 1, &["1 BE Dinant", "5 NL Edam", "6 DE Kleve", "8 NULL Sea"])
        .await?;
    let sql = "INSERT OVERWRITE {t} (city, id) PARTITION (country = 'NL') SELECT 'Urk', 9";
    places
        .run(sql, 1, &["1 BE Dinant", "9 NL Urk", "6 DE Kleve", "8 NULL Sea"])
        .await?;
    let sql = "INSERT OVERWRITE {t} (city, id) PARTITION (country = 'DE') SELECT 'x', 1 WHERE false";
    places.run(sql, 0, &["1 BE Dinant", "9 NL Urk", "8 NULL Sea"]).await?;
    let sql = "INSERT OVERWRITE {t} PARTITION (country) SELECT * FROM {t} WHERE false";
    places.run(sql, 0, &["1 BE Dinant", "9 NL Urk", "8 NULL Sea"]).await?;
    places
        .refuses(
            "INSERT OVERWRITE {t} PARTITION (city) SELECT * FROM {t}",
            "not partitioned by",
        )
        .await?;
    places
        .refuses(
            "INSERT OVERWRITE {t} PARTITION (nowhere) SELECT * FROM {t}",
            "not partitioned by",
        )
        .await
}
