//! Unmodified drivers: Python's ADBC and Java's JDBC connect, query, bind parameters and browse.

use anyhow::{Context, Result};
use harness::{Lake, demo, java, python};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows of TPC-H `lineitem` at scale 0.01, as the specification's generator makes them.
const LINEITEM_ROWS: u64 = 60_175;
const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];

#[tokio::test(flavor = "multi_thread")]
async fn adbc() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = python("adbc.py", json!({"uri": format!("grpc://{}", lake.address())})).await?;

    let europe = [
        [json!(6), json!("FRANCE")],
        [json!(7), json!("GERMANY")],
        [json!(19), json!("ROMANIA")],
    ];
    assert_eq!(
        answer["execute"].as_array().map(|rows| &rows[..3]),
        Some(&europe.map(Value::from)[..])
    );
    assert_eq!(answer["execute"].as_array().map(Vec::len), Some(5));
    assert_eq!(answer["lineitem_rows"], json!(LINEITEM_ROWS));
    assert_eq!(answer["lineitem_columns"].as_array().map(Vec::len), Some(16));
    assert_eq!(answer["lineitem_quantity"], json!("1536127.00"));
    assert_eq!(answer["empty"], json!([0, ["n_name"]]));
    assert_eq!(
        answer["parameters"],
        json!([["ALGERIA"], ["INDIA"], [], ["UNITED STATES"]])
    );
    assert!(
        answer["failure"].as_str().is_some_and(|text| text.contains("nations")),
        "{}",
        answer["failure"]
    );
    for catalog in ["lake", "delta"] {
        let tables = &answer["objects"][catalog]["tpch"];
        for table in TABLES {
            assert!(
                !tables[table].is_null(),
                "{catalog}.tpch.{table} is missing in {tables}"
            );
        }
        assert_eq!(
            tables["region"],
            json!(["BASE TABLE", ["r_regionkey", "r_name", "r_comment"]])
        );
    }
    assert_eq!(answer["filtered"], json!(["part", "partsupp"]));
    assert_eq!(answer["table_schema"][1][0], json!("n_name"));
    assert!(
        list(&answer["table_types"])?.contains(&json!("BASE TABLE")),
        "{}",
        answer["table_types"]
    );
    assert_eq!(answer["vendor"], json!("Lakewing"));
    assert_eq!(answer["default_connection"], json!([[5]]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jdbc() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let url = format!("jdbc:arrow-flight-sql://{}?useEncryption=false", lake.address());
    let answer = java("Jdbc.java", "jdbc", &[&url]).await?;

    assert_eq!(
        list(&answer["statement"])?[..2],
        [json!(["6", "FRANCE"]), json!(["7", "GERMANY"])]
    );
    assert_eq!(list(&answer["statement"])?.len(), 5);
    let values = [
        "true",
        "1",
        "2",
        "3",
        "9007199254740993",
        "1.5",
        "2.25",
        "12345678901234567890.12",
        "text",
        "2024-02-29",
        "2024-02-29 12:34:56.789",
    ];
    let mut values: Vec<Value> = values.map(Value::from).to_vec();
    values.push(Value::Null);
    assert_eq!(answer["values"], json!([values]));
    let types = list(&answer["types"])?
        .iter()
        .map(|column| column[1].clone())
        .collect::<Vec<_>>();
    assert_eq!(
        types,
        [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "FLOAT",
            "DOUBLE",
            "DECIMAL",
            "VARCHAR",
            "DATE",
            "TIMESTAMP",
            "INTEGER"
        ]
    );
    assert_eq!(answer["lineitem_rows"], json!(LINEITEM_ROWS));
    assert_eq!(
        answer["prepared"],
        json!([[["ALGERIA"]], [["INDIA"]], [], [["UNITED STATES"]]])
    );
    assert!(
        answer["failure"].as_str().is_some_and(|text| text.contains("nations")),
        "{}",
        answer["failure"]
    );
    jdbc_metadata(&answer)
}

/// What `DatabaseMetaData` says.
fn jdbc_metadata(answer: &Value) -> Result<()> {
    assert_eq!(answer["product"], json!("Lakewing"));
    assert_eq!(answer["quote"], json!("\""));
    let catalogs = list(&answer["catalogs"])?;
    assert!(
        catalogs.contains(&json!(["lake"])) && catalogs.contains(&json!(["delta"])),
        "{catalogs:?}"
    );
    assert_eq!(answer["schemas"], json!([["lake", "tpch"]]));
    let part = |name: &str| json!(["delta", "tpch", name, "BASE TABLE"]);
    assert_eq!(answer["tables"], json!([part("part"), part("partsupp")]));
    assert!(
        list(&answer["table_types"])?.contains(&json!(["BASE TABLE"])),
        "{}",
        answer["table_types"]
    );
    let columns = list(&answer["columns"])?
        .iter()
        .map(|column| column[0].clone())
        .collect::<Vec<_>>();
    assert_eq!(columns, ["n_nationkey", "n_name", "n_regionkey", "n_comment"]);
    assert_eq!(answer["primary_keys"], json!([]));
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

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}
