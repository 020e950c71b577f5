//! Apache Superset over its REST API, and SQLAlchemy by itself, both through the dialect of `flightsql-dbapi`.

use anyhow::{Context, Result};
use harness::{Lake, Superset, demo, python, python_of};
use serde_json::json;
use tempfile::TempDir;

const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];

#[tokio::test(flavor = "multi_thread")]
async fn superset_browses_and_draws_a_chart() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let superset = Superset::start().await?;
    let addresses = json!({"superset": superset.uri, "lake": lake.address().to_string()});
    let answer = python("superset.py", addresses).await?;
    assert_eq!(answer["connection"], json!("OK"));
    assert_eq!(answer["schemas"], json!(["tpch"]));
    assert_eq!(answer["tables"], json!(TABLES));
    let columns = [
        ["n_nationkey", "BIGINT"],
        ["n_name", "TEXT"],
        ["n_regionkey", "BIGINT"],
        ["n_comment", "TEXT"],
    ];
    assert_eq!(answer["columns"], json!(columns));
    let regions = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
    assert_eq!(
        answer["lab"],
        json!(regions.map(|name| json!({"r_name": name, "nations": 5})))
    );
    assert_eq!(answer["times"], json!(["o_orderdate"]));

    let mut client = lake.client().await?;
    let sql = "SELECT o_orderpriority, count(*) FROM lake.tpch.orders WHERE o_orderstatus IN ('F', 'O') \
               AND o_orderdate >= DATE '1995-01-01' AND o_orderdate < DATE '1996-01-01' GROUP BY 1 ORDER BY 1";
    let expect = harness::rows(&client.query(sql).await?)?;
    let rows = answer["chart"]["rows"]
        .as_array()
        .with_context(|| answer["chart"].to_string())?;
    let charted = rows.iter().map(|row| {
        let text = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
        [text("o_orderpriority"), text("count")]
            .map(harness::Cell::Text)
            .to_vec()
    });
    assert_eq!(charted.collect::<Vec<_>>(), expect);
    assert_eq!(rows.len(), 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_reflects() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let address = json!({"lake": lake.address().to_string()});
    let answer = python_of("superset", "sqlalchemy_reflection.py", address).await?;
    let expect = json!({
        "schemas": ["tpch", "tpch"],
        "tables": TABLES,
        "views": [],
        "keys": [[], []],
        "indexes": [],
        "exists": [true, false],
        "columns": [
            ["n_nationkey", "BIGINT", false],
            ["n_name", "TEXT", false],
            ["n_regionkey", "BIGINT", false],
            ["n_comment", "TEXT", false],
        ],
        "query": [["AFRICA", 4], ["AMERICA", 5], ["ASIA", 5]],
        "value": 42,
    });
    for (seen, expect) in expect.as_object().into_iter().flatten() {
        assert_eq!(&answer[seen], expect, "{seen}");
    }
    Ok(())
}

async fn demo_lake() -> Result<(Lake, TempDir)> {
    let data = tempfile::tempdir()?;
    demo(
        0.01,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    Ok((Lake::embedded().data(data.path()).start().await?, data))
}
