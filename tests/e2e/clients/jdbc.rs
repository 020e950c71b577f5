//! The Arrow Flight SQL JDBC driver.

use anyhow::{Context, Result};
use harness::{Lake, java};
use serde_json::{Map, Value, json};

use super::{LINEITEM_ROWS, demo_lake, list};

/// Methods of the driver that do nothing but throw.
const NOT_IN_THE_DRIVER: [&str; 10] = [
    "deletesAreDetected/1",
    "insertsAreDetected/1",
    "othersDeletesAreVisible/1",
    "othersInsertsAreVisible/1",
    "othersUpdatesAreVisible/1",
    "ownDeletesAreVisible/1",
    "ownInsertsAreVisible/1",
    "ownUpdatesAreVisible/1",
    "supportsResultSetHoldability/1",
    "updatesAreDetected/1",
];

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_listings() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = run("Jdbc", &lake).await?;

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

/// Every method of `DatabaseMetaData`, for names, for patterns and for what does not exist. Those that fail are the ones
/// that the driver has not implemented; they ask the server nothing.
#[tokio::test(flavor = "multi_thread")]
async fn every_getter_of_the_metadata_answers() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = run("JdbcMetadata", &lake).await?;
    for sweep in ["named", "all", "none"] {
        let fails = answer[sweep]["fails"].as_object().context("no failures")?;
        let names: Vec<_> = fails.keys().map(String::as_str).collect();
        assert_eq!(names, NOT_IN_THE_DRIVER, "{sweep}: {fails:?}");
        assert!(
            fails
                .values()
                .all(|error| error == "java.lang.RuntimeException: todo: implement this method"),
            "{sweep}: {fails:?}"
        );
        assert_eq!(answer[sweep]["says"].as_object().map(Map::len), Some(167), "{sweep}");
    }
    let says = |sweep: &str, getter: &str| answer[sweep]["says"][getter].clone();
    for (getter, expect) in [
        ("getDatabaseProductName/0", json!("Lakewing")),
        ("getDefaultTransactionIsolation/0", json!(0)),
        ("getSearchStringEscape/0", json!("\\")),
        ("isReadOnly/0", json!(false)),
        ("supportsFullOuterJoins/0", json!(true)),
        ("supportsTransactions/0", json!(false)),
        ("supportsConvert/0", json!(true)),
        (
            "getTables/4",
            json!([[
                "lake",
                "tpch",
                "nation",
                "BASE TABLE",
                null,
                null,
                null,
                null,
                null,
                null
            ]]),
        ),
    ] {
        assert_eq!(says("named", getter), expect, "{getter}");
    }
    assert_eq!(list(&says("named", "getColumns/4"))?.len(), 4);
    assert_eq!(list(&says("all", "getTables/4"))?.len(), 17);
    assert_eq!(list(&says("all", "getColumns/4"))?.len(), 2 * 61 + 14);
    for getter in ["getTables/4", "getColumns/4", "getSchemas/2", "getPrimaryKeys/3"] {
        assert_eq!(says("none", getter), json!([]), "{getter}");
    }
    let columns = json!([
        ["id", "INTEGER", "4", "10", "0", "YES"],
        ["a_boolean", "BOOLEAN", "16", null, null, "YES"],
        ["a_tinyint", "TINYINT", "-6", "3", "0", "YES"],
        ["a_smallint", "SMALLINT", "5", "5", "0", "YES"],
        ["an_integer", "INTEGER", "4", "10", "0", "YES"],
        ["a_bigint", "BIGINT", "-5", "19", "0", "YES"],
        ["a_real", "REAL", "6", "7", null, "YES"],
        ["a_double", "DOUBLE", "8", "15", null, "YES"],
        ["a_decimal", "DECIMAL", "3", "22", "2", "YES"],
        ["a_text", "VARCHAR", "12", "65536", null, "YES"],
        ["a_binary", "VARBINARY", "-3", "65536", null, "YES"],
        ["a_date", "DATE", "91", "10", "0", "YES"],
        ["a_timestamp", "TIMESTAMP", "93", "26", "6", "YES"],
        ["a_moment", "TIMESTAMP WITH TIME ZONE", "2014", "26", "6", "YES"],
    ]);
    assert_eq!(answer["columns"], columns);
    let described = list(&answer["result"])?.iter().map(|column| column[2].to_string());
    let listed = list(&columns)?.iter().filter_map(|column| column[2].as_str());
    assert!(described.eq(listed), "{}", answer["result"]);
    assert_eq!(answer["connection"]["valid"], json!(true));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_go_both_ways() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = run("JdbcTypes", &lake).await?;
    let wrong = answer.as_object().context("no answer")?;
    assert_eq!(wrong.len(), 15);
    assert!(wrong.values().all(|wrong| wrong == &json!([])), "{answer:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_ten_thousand_rows_is_one_commit() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = run("JdbcBatch", &lake).await?;
    for (catalog, commits) in [("lake", "1"), ("delta", "2")] {
        let of = |what: &str| &answer[format!("{catalog} {what}")];
        let sums = json!([["10000", "7500", "49995000", "499950.00", "2026-01-01", "name 9999"]]);
        assert_eq!(of("sums"), &sums, "{catalog}");
        assert_eq!(of("commits"), &json!([[commits]]), "{catalog}");
        assert_eq!(of("sent"), &json!(true), "{catalog}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_connect_and_browse() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let answer = run("JdbcBrowse", &lake).await?;
    let (dbeaver, tableau) = (&answer["dbeaver"], &answer["tableau"]);
    for (seen, expect) in [
        ("server", json!("Lakewing by Arrow Flight SQL JDBC Driver Core")),
        ("quote", json!("\"\\.")),
        ("terms", json!("catalog schema procedure")),
        ("keywords", json!(true)),
        ("functions", json!(true)),
        ("usage", json!(true)),
        ("transactions", json!(false)),
        ("table types", json!([["BASE TABLE"], ["LOCAL TEMPORARY"], ["VIEW"]])),
        ("none", json!([])),
        ("rows", json!(3)),
        ("count", json!([true, [["25"]], false, -1])),
        ("nothing", json!(["n_nationkey", "n_name", "n_regionkey", "n_comment"])),
    ] {
        assert_eq!(dbeaver[seen], expect, "{seen}");
    }
    for catalog in ["lake", "delta"] {
        let tables = &dbeaver["tree"][catalog]["tpch"];
        assert_eq!(tables.as_object().map(Map::len), Some(8), "{catalog}: {tables}");
        assert_eq!(tables["region"], json!(["r_regionkey", "r_name", "r_comment"]));
    }
    for (seen, expect) in [
        ("table types", json!([["BASE TABLE"], ["LOCAL TEMPORARY"], ["VIEW"]])),
        ("entry level", json!(true)),
        ("outer joins", json!(true)),
        ("isolation", json!(0)),
        ("tables", json!(8)),
        ("keys", json!(0)),
        ("temporary table", json!("created")),
        // Columns and rows of each generated query.
        (
            "queries",
            json!([[1, 1], [4, 0], [2, 25], [2, 5], [2, 7], [4, 1], [3, 1], [1, 2], [1, 3]]),
        ),
    ] {
        assert_eq!(tableau[seen], expect, "{seen}");
    }
    assert_eq!(answer["pooled"], json!(true));
    Ok(())
}

async fn run(program: &str, lake: &Lake) -> Result<Value> {
    let url = format!("jdbc:arrow-flight-sql://{}?useEncryption=false", lake.address());
    java(program, "jdbc", &[&url]).await
}
