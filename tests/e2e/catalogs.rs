//! Every kind of catalog, real: other engines read the tables that Lakewing wrote, and Lakewing reads theirs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow::datatypes::DataType;
use harness::{Cell, Client, Lake, Minio, Postgres, RestCatalog, demo, python, rows};
use serde_json::{Value, json};
use tonic::Code;

const SCALE: f64 = 0.01;

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_the_embedded_lake() -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(SCALE, &["--data-dir", text(data.path())?]).await?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let uri = format!("sqlite:///{}", data.path().join("catalog.db").display());
    let catalog = json!({"type": "sql", "uri": uri, "name": "lake"});
    for table in ["lineitem", "orders", "nation"] {
        let expected = summary(&mut client, &format!("lake.tpch.{table}")).await?;
        let request = json!({"catalog": catalog, "table": format!("tpch.{table}"), "do": "read"});
        assert_eq!(
            python("iceberg.py", request).await?,
            expected,
            "PyIceberg reads {table}"
        );

        let expected = summary(&mut client, &format!("delta.tpch.{table}")).await?;
        for reader in ["read", "duckdb"] {
            let uri = data.path().join("delta/tpch").join(table);
            let got = python("delta.py", json!({"uri": uri, "do": reader})).await?;
            assert_eq!(got, expected, "{reader} of {table}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_rest() -> Result<()> {
    let minio = Minio::start().await?;
    let rest = RestCatalog::start(&minio).await?;
    let mut catalog = pyiceberg_s3(&minio);
    catalog["name"] = json!("rest");
    catalog["type"] = json!("rest");
    catalog["uri"] = json!(rest.uri);
    catalog["credential"] = json!(RestCatalog::CREDENTIAL);
    let written = python(
        "iceberg.py",
        json!({"catalog": catalog, "table": "shop.orders", "do": "write"}),
    )
    .await?;

    let section = |name: &str, credential: &str| {
        let uri = &rest.uri;
        format!("[catalogs.{name}]\ntype = \"iceberg-rest\"\nuri = {uri:?}\ncredential = {credential:?}\n")
    };
    let lake = Lake::embedded()
        .section(&section("rest", RestCatalog::CREDENTIAL))
        .section(&section("denied", "lakewing:not-the-secret"))
        .section(&minio.storage())
        .start()
        .await?;
    let mut client = lake.client().await?;
    assert_eq!(summary(&mut client, "rest.shop.orders").await?, written);

    let failure = client.failure("SELECT * FROM denied.shop.orders").await?;
    assert_eq!(failure.code(), Code::PermissionDenied, "{failure:?}");
    assert!(failure.message().contains("denied"), "{failure:?}");
    assert!(!failure.message().contains("not-the-secret"), "{failure:?}");
    assert_eq!(summary(&mut client, "rest.shop.orders").await?, written);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_sql_on_postgres() -> Result<()> {
    let minio = Minio::start().await?;
    let postgres = Postgres::start().await?;
    let mut catalog = pyiceberg_s3(&minio);
    catalog["type"] = json!("sql");
    catalog["name"] = json!("shop");
    catalog["uri"] = json!(format!("postgresql+psycopg2://{}", postgres.authority));
    catalog["warehouse"] = json!("s3://lake/postgres");
    let written = python(
        "iceberg.py",
        json!({"catalog": catalog, "table": "shop.orders", "do": "write"}),
    )
    .await?;

    let section = format!(
        "[catalogs.shop]\ntype = \"iceberg-sql\"\nuri = \"postgresql://{}\"\nwarehouse = \"s3://lake/postgres\"\n",
        postgres.authority
    );
    let lake = Lake::embedded()
        .section(&section)
        .section(&minio.storage())
        .start()
        .await?;
    assert_eq!(summary(&mut lake.client().await?, "shop.shop.orders").await?, written);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_on_s3() -> Result<()> {
    let minio = Minio::start().await?;
    let storage = json!({
        "AWS_ENDPOINT_URL": minio.endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": Minio::ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": Minio::SECRET_KEY,
    });
    let request = json!({"uri": "s3://lake/delta/shop/orders", "storage": storage, "do": "write"});
    let written = python("delta.py", request).await?;

    let section = "[catalogs.files]\ntype = \"delta\"\nroot = \"s3://lake/delta\"\n";
    let lake = Lake::embedded()
        .section(section)
        .section(&minio.storage())
        .start()
        .await?;
    let mut client = lake.client().await?;
    assert_eq!(summary(&mut client, "files.shop.orders").await?, written);
    assert_eq!(
        summary(&mut client, "delta.\"s3://lake/delta/shop/orders\"").await?,
        written
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tables_are_not_loaded_at_start() -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(SCALE, &["--data-dir", text(data.path())?]).await?;
    python(
        "seed_catalog.py",
        json!({"file": data.path().join("catalog.db"), "tables": 10_000}),
    )
    .await?;

    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let lake = Lake::embedded().data(data.path()).start().await?;
        fastest = fastest.min(lake.ready_after);
        let mut client = lake.client().await?;
        let count = rows(&client.query("SELECT count(*) FROM lake.tpch.nation").await?)?;
        assert_eq!(count, [[Cell::Text("25".to_owned())]]);
        // The seeded tables are listed, and only the one that is asked for is opened.
        let failure = client.failure("SELECT * FROM lake.seeded.t7777").await?;
        assert!(failure.message().contains("t7777"), "{failure:?}");
    }
    ensure!(
        fastest < Duration::from_secs(1),
        "ready after {fastest:?} with 10,000 tables in the catalog"
    );
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

fn pyiceberg_s3(minio: &Minio) -> Value {
    json!({
        "s3.endpoint": minio.endpoint, "s3.region": "us-east-1",
        "s3.access-key-id": Minio::ACCESS_KEY, "s3.secret-access-key": Minio::SECRET_KEY,
    })
}

/// What `summary` of tests/clients/sample.py says of the same table.
async fn summary(client: &mut Client, table: &str) -> Result<Value> {
    let shape = client.query(&format!("SELECT * FROM {table} LIMIT 1")).await?;
    let schema = shape.first().context("an empty table")?.schema();
    let mut selected = vec!["count(*)".to_owned()];
    for field in schema.fields() {
        let name = field.name();
        selected.push(format!("count({name}), min({name}), max({name})"));
        let exact = field.data_type().is_integer() || matches!(field.data_type(), DataType::Decimal128(..));
        selected.push(if exact {
            format!("sum({name})")
        } else {
            format!("NULL AS no_sum_of_{name}")
        });
    }
    let answer = client
        .query(&format!("SELECT {} FROM {table}", selected.join(", ")))
        .await?;
    let [row] = &rows(&answer)?[..] else {
        anyhow::bail!("an aggregate without one row")
    };
    let mut values = row.iter().map(|cell| match cell {
        Cell::Null => Value::Null,
        Cell::Text(text) => json!(text),
        Cell::Float(number) => json!(format!("{number:?}")),
    });
    let count: i64 = values
        .next()
        .as_ref()
        .and_then(Value::as_str)
        .context("no count")?
        .parse()?;
    let columns = schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), values.by_ref().take(4).collect()));
    Ok(json!({"rows": count, "columns": columns.collect::<serde_json::Map<String, Value>>()}))
}
