//! Python's ADBC driver, and the data frame libraries above it.

use anyhow::Result;
use harness::{Lake, python};
use serde_json::{Value, json};

use super::{LINEITEM_ROWS, demo_lake, list};

const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_listings() -> Result<()> {
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

/// Plans that Ibis made give what the same questions in SQL give; one of DuckDB's that breaks the rules is refused.
#[tokio::test(flavor = "multi_thread")]
async fn substrait_plans_of_other_engines() -> Result<()> {
    let (demo, data) = demo_lake().await?;
    for catalog in ["lake", "delta"] {
        let place = format!("default_catalog = {catalog:?}\ndefault_namespace = \"tpch\"");
        let lake = Lake::embedded().data(data.path()).setting(&place).start().await?;
        let answer = python(
            "adbc_substrait.py",
            json!({"uri": format!("grpc://{}", lake.address())}),
        )
        .await?;
        for (plan, columns) in [
            (
                "flags.ibis",
                json!([
                    "l_returnflag",
                    "l_linestatus",
                    "quantity",
                    "discounts",
                    "largest",
                    "rows"
                ]),
            ),
            ("nations.ibis", json!(["n_name", "customers", "balance"])),
        ] {
            let asked = &answer[plan];
            assert_eq!(asked["columns"], columns, "{catalog}: {asked}");
            assert!(!list(&asked["sql"])?.is_empty(), "{catalog}: {asked}");
            assert_eq!(asked["prepared"], asked["sql"], "{catalog} {plan}");
            assert_eq!(asked["at_once"], asked["sql"], "{catalog} {plan}");
        }
        for (refused, reason) in [
            ("cut", "the Substrait plan cannot be read"),
            (
                "q6.duckdb",
                "INVALID_ARGUMENT: [FlightSQL] Named schema must contain names for all fields",
            ),
        ] {
            let text = answer[refused].as_str().unwrap_or_default();
            assert!(text.contains(reason), "{refused}: {text}");
        }
    }
    let elsewhere = python(
        "adbc_substrait.py",
        json!({"uri": format!("grpc://{}", demo.address())}),
    )
    .await?;
    let failure = elsewhere["nations.ibis"].as_str().unwrap_or_default();
    assert!(failure.contains("customer"), "{elsewhere}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_listed_at_every_depth() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = python("adbc_objects.py", json!({"uri": format!("grpc://{}", lake.address())})).await?;
    assert_eq!(
        answer["depths"],
        json!({"catalogs": 2, "db_schemas": 3, "tables": 17, "columns": 136, "all": 136})
    );
    for (filter, expect) in [
        // The driver compares catalogs itself, as patterns.
        ("catalog pattern", json!(["lake.tpch"])),
        ("catalog", json!(["lake.tpch"])),
        ("no catalog", json!([])),
        ("schema", json!(["delta.typed"])),
        ("table", json!(["lake.tpch.part", "lake.tpch.partsupp"])),
        ("escape", json!([])),
        ("escaped", json!(["delta.typed"])),
        (
            "column",
            json!([
                "delta.typed.every.a_boolean",
                "delta.typed.every.a_bigint",
                "delta.typed.every.a_binary"
            ]),
        ),
        ("type", json!([])),
        ("types", json!(["delta.typed.every"])),
    ] {
        assert_eq!(answer["filters"][filter], expect, "{filter}");
    }
    let columns = [
        ("id", "int32", "INTEGER"),
        ("a_boolean", "bool", "BOOLEAN"),
        ("a_tinyint", "int8", "TINYINT"),
        ("a_smallint", "int16", "SMALLINT"),
        ("an_integer", "int32", "INTEGER"),
        ("a_bigint", "int64", "BIGINT"),
        ("a_real", "float", "REAL"),
        ("a_double", "double", "DOUBLE"),
        ("a_decimal", "decimal128(22, 2)", "DECIMAL"),
        ("a_text", "string", "VARCHAR"),
        ("a_binary", "binary", "VARBINARY"),
        ("a_date", "date32[day]", "DATE"),
        ("a_timestamp", "timestamp[us]", "TIMESTAMP"),
        ("a_moment", "timestamp[us, tz=UTC]", "TIMESTAMP WITH TIME ZONE"),
    ];
    assert_eq!(
        answer["schema"],
        json!(columns.map(|(name, arrow, _)| json!([name, arrow, true])))
    );
    assert_eq!(answer["types"], json!(columns.map(|(_, _, sql)| sql)));
    assert_eq!(answer["no table"], json!("NOT_FOUND"));
    assert_eq!(answer["table types"], json!(["BASE TABLE", "LOCAL TEMPORARY", "VIEW"]));
    assert_eq!(
        answer["info"],
        json!({"vendor_name": "Lakewing", "vendor_arrow_version": "1.5"})
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_statements_partitions_and_frames() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let wrong = python("adbc_values.py", json!({"uri": format!("grpc://{}", lake.address())})).await?;
    assert_eq!(wrong, json!({}), "{wrong:#}");
    Ok(())
}
