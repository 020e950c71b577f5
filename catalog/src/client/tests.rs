//! What every catalog client promises, over the catalogs that need no service.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures::stream;
use iceberg::TableUpdate;
use sqlx::Connection;

use super::*;
use crate::config::{Config, Secret};
use crate::iceberg::commit::land::now;
use crate::lakehouse::Lakehouse;
use crate::view::{DIALECT, ViewText};
use crate::write::create_table;

/// The catalogs `lake` (SQLite) and `delta` (folders) in one folder.
fn lakehouse(folder: &Path) -> Lakehouse {
    let url = |name: &str| Url::from_directory_path(folder.join(name)).unwrap();
    let uri = Secret::new(format!("sqlite://{}", folder.join("catalog.db").display()));
    let catalogs = BTreeMap::from([
        (
            "lake".to_owned(),
            CatalogConfig::IcebergSql {
                uri,
                name: None,
                warehouse: url("lake"),
                default_format: TableFormat::Iceberg,
            },
        ),
        ("delta".to_owned(), CatalogConfig::Delta { root: url("delta") }),
    ]);
    Lakehouse::new(
        &Config {
            catalogs,
            storage: Vec::new(),
        },
        Stores::new(&[]).unwrap(),
    )
    .unwrap()
}

fn new_table() -> NewTable {
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ];
    NewTable {
        file_rows_max: 2,
        ..NewTable::new(Arc::new(Schema::new(fields)))
    }
}

fn rows(new: &NewTable, ids: std::ops::Range<i64>) -> SendableRecordBatchStream {
    let names = StringArray::from_iter(ids.clone().map(|id| (id % 2 == 0).then(|| format!("name {id}"))));
    let columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(names)];
    let batch = RecordBatch::try_new(Arc::clone(&new.schema), columns).unwrap();
    Box::pin(RecordBatchStreamAdapter::new(
        Arc::clone(&new.schema),
        stream::iter([Ok(batch)]),
    ))
}

/// The number of objects below a folder.
fn objects(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { objects(&path) } else { 1 }).sum()
}

async fn sum_of_ids(lakehouse: &Lakehouse, name: &TableName) -> (usize, i64) {
    let table = lakehouse.table(name).await.unwrap();
    let batches = SessionContext::new()
        .read_table(Arc::new(table))
        .unwrap()
        .collect()
        .await
        .unwrap();
    let ids = batches
        .iter()
        .flat_map(|batch| batch["id"].as_primitive::<Int64Type>().values());
    (batches.iter().map(RecordBatch::num_rows).sum(), ids.sum())
}

async fn contract(catalog: &str) {
    let folder = tempfile::tempdir().unwrap();
    let lakehouse = lakehouse(folder.path());
    let client = lakehouse.client(catalog).unwrap();
    let name = |table: &str| TableName::new(catalog, "sales", table);
    assert!(client.list_namespaces().await.unwrap().is_empty());
    assert!(client.load(&name("orders")).await.unwrap().is_none());

    client.create_namespace("sales", &[]).await.unwrap();
    let new = new_table();
    assert_eq!(
        create_table(&lakehouse, &name("orders"), &new, rows(&new, 0..5))
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        create_table(&lakehouse, &name("empty"), &new, rows(&new, 0..0))
            .await
            .unwrap(),
        0
    );
    assert_eq!(client.list_namespaces().await.unwrap(), ["sales"]);
    assert_eq!(client.list_tables("sales").await.unwrap(), ["empty", "orders"]);
    assert_eq!(sum_of_ids(&lakehouse, &name("orders")).await, (5, 10));
    assert_eq!(sum_of_ids(&lakehouse, &name("empty")).await, (0, 0));

    let before = objects(folder.path());
    let error = create_table(&lakehouse, &name("orders"), &new, rows(&new, 0..5))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { what: "table", .. }), "{error}");
    let broken = stream::iter([Err(DataFusionError::Execution("no more rows".to_owned()))]);
    let broken = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&new.schema), broken));
    let error = create_table(&lakehouse, &name("broken"), &new, broken)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    for bad in ["../orders", "", "a/b", "_delta_log"] {
        let error = create_table(&lakehouse, &name(bad), &new, rows(&new, 0..5))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::InvalidName { .. }), "{bad}: {error}");
        assert!(client.load(&name(bad)).await.unwrap().is_none(), "{bad}");
    }
    assert_eq!(objects(folder.path()), before);
}

#[tokio::test]
async fn a_sqlite_catalog_keeps_the_contract() {
    contract("lake").await;
}

#[tokio::test]
async fn a_sqlite_catalog_knows_its_namespaces() {
    let folder = tempfile::tempdir().unwrap();
    let lakehouse = lakehouse(folder.path());
    let client = lakehouse.client("lake").unwrap();
    client.create_namespace("sales", &[]).await.unwrap();
    assert!(client.list_tables("sales").await.unwrap().is_empty());
    let error = client.create_namespace("sales", &[]).await.unwrap_err();
    assert!(
        matches!(error, Error::AlreadyExists { what: "namespace", .. }),
        "{error}"
    );
    let error = client.list_tables("sale").await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "namespace", .. }), "{error}");
    let error = client
        .stage(&TableName::new("lake", "sale", "t"), &new_table())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "namespace", .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_the_contract() {
    contract("delta").await;
}

/// Whoever commits first has created the table; the others' files are gone.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_creators_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let lakehouse = lakehouse(folder.path());
    lakehouse
        .client("lake")
        .unwrap()
        .create_namespace("sales", &[])
        .await
        .unwrap();
    let new = new_table();
    for catalog in ["lake", "delta"] {
        let name = TableName::new(catalog, "sales", "orders");
        let create = |_| create_table(&lakehouse, &name, &new, rows(&new, 0..5));
        let outcomes = futures::future::join_all((0..8).map(create)).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7), "{lost:?}");
        assert!(
            lost.iter().all(|lost| matches!(lost, Err(Error::AlreadyExists { .. }))),
            "{lost:?}"
        );
        assert_eq!(sum_of_ids(&lakehouse, &name).await, (5, 10));
        // Three data files, and what the format adds: two manifests and the metadata, or the first commit.
        assert_eq!(
            objects(&folder.path().join(catalog)),
            if catalog == "lake" { 6 } else { 4 }
        );
    }
}

/// A catalog of Java's first layout has no column that tells views from tables; a later one has views.
#[tokio::test]
async fn several_tables_change_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let lakehouse = lakehouse(folder.path());
    let client = lakehouse.client("lake").unwrap();
    client.create_namespace("sales", &[]).await.unwrap();
    let names = ["a", "b"].map(|table| TableName::new("lake", "sales", table));
    for name in &names {
        let new = new_table();
        create_table(&lakehouse, name, &new, rows(&new, 0..5)).await.unwrap();
    }
    let marked = async |name: &TableName, mark: &str| {
        let now = now(&lakehouse, name).await.unwrap();
        TableCommit {
            base: now.metadata,
            base_location: now.location,
            requirements: Vec::new(),
            updates: vec![TableUpdate::SetProperties {
                updates: HashMap::from([("mark".to_owned(), mark.to_owned())]),
            }],
        }
    };
    let marks = async || {
        let mut marks = Vec::new();
        for name in &names {
            marks.push(lakehouse.table(name).await.unwrap().snapshot().property("mark"));
        }
        marks
    };
    let [a, b] = &names;
    let first = (marked(a, "1").await, marked(b, "1").await);
    client.commit_all(&[(a, &first.0), (b, &first.1)]).await.unwrap();
    assert_eq!(marks().await, [Some("1".to_owned()), Some("1".to_owned())]);

    let before = objects(folder.path());
    let second = marked(a, "2").await;
    let error = client.commit_all(&[(a, &second), (b, &first.1)]).await.unwrap_err();
    assert!(
        matches!(&error, Error::Conflict { table } if *table == b.to_string()),
        "{error:?}"
    );
    assert_eq!(marks().await, [Some("1".to_owned()), Some("1".to_owned())]);
    assert_eq!(objects(folder.path()), before, "files are left behind");
}

#[tokio::test]
async fn other_layouts_of_a_sql_catalog_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let uri = format!("sqlite://{}?mode=rwc", folder.path().join("catalog.db").display());
    let mut database = sqlx::SqliteConnection::connect(&uri).await.unwrap();
    let key = "PRIMARY KEY (catalog_name, table_namespace, table_name)";
    let first = format!(
        "CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, \
         table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), \
         previous_metadata_location VARCHAR(1000), {key}); \
         CREATE TABLE iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, \
         namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255), property_value VARCHAR(1000)); \
         INSERT INTO iceberg_tables VALUES ('lake', 'a.b', 't', 'file:///t.metadata.json', NULL), \
         ('other', 'x', 't', 'file:///t.metadata.json', NULL)"
    );
    sqlx::raw_sql(&first).execute(&mut database).await.unwrap();
    let first = lakehouse(folder.path());
    assert_eq!(first.list_namespaces("lake").await.unwrap(), ["a.b"]);
    let name = TableName::new("lake", "a.b", "t");
    let found = first.client("lake").unwrap().load(&name).await.unwrap();
    assert!(matches!(found, Some(TableLocation::Iceberg { metadata_location, .. })
        if metadata_location == "file:///t.metadata.json"));
    let new = new_table();
    let added = TableName::new("lake", "a.b", "added");
    create_table(&first, &added, &new, rows(&new, 0..3)).await.unwrap();
    assert_eq!(sum_of_ids(&first, &added).await, (3, 3));

    let second = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5); \
         INSERT INTO iceberg_tables VALUES ('lake', 'a.b', 'v', 'file:///v.metadata.json', NULL, 'VIEW')";
    sqlx::raw_sql(second).execute(&mut database).await.unwrap();
    let second = lakehouse(folder.path());
    assert_eq!(second.list_tables("lake", "a.b").await.unwrap(), ["added", "t"]);
    assert_eq!(second.list_views("lake", "a.b").await.unwrap(), ["v"]);
    let view = TableName::new("lake", "a.b", "v");
    let error = create_table(&second, &view, &new, rows(&new, 0..3)).await.unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { what: "view", .. }), "{error}");
    assert_eq!(first.list_tables("lake", "a.b").await.unwrap(), ["added", "t"]);
}

fn new_view(sql: &str, columns: &[&str]) -> NewView {
    let field = |name: &&str| Field::new(*name, DataType::Int64, true);
    NewView {
        sql: sql.to_owned(),
        default_catalog: "lake".to_owned(),
        default_namespace: "sales".to_owned(),
        schema: Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())),
        query_columns: columns.iter().map(|name| name.to_string()).collect(),
        comment: Some(format!("of {sql}")),
        properties: vec![("k".to_owned(), "v".to_owned())],
    }
}

/// The first view or Delta table of an old layout makes it a new one, for every client that is connected.
#[tokio::test(flavor = "multi_thread")]
async fn old_layouts_become_new_ones() {
    for is_view in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("sqlite://{}?mode=rwc", folder.path().join("catalog.db").display());
        let mut database = sqlx::SqliteConnection::connect(&uri).await.unwrap();
        let layout = "CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, \
             table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), \
             previous_metadata_location VARCHAR(1000), PRIMARY KEY (catalog_name, table_namespace, table_name)); \
             CREATE TABLE iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, \
             namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255), property_value VARCHAR(1000)); \
             INSERT INTO iceberg_tables VALUES ('lake', 'sales', 't', 'file:///t.metadata.json', NULL)";
        sqlx::raw_sql(layout).execute(&mut database).await.unwrap();
        let (one, other) = (lakehouse(folder.path()), lakehouse(folder.path()));
        assert_eq!(other.list_tables("lake", "sales").await.unwrap(), ["t"]);
        let name = TableName::new("lake", "sales", "added");
        if is_view {
            let client = one.client("lake").unwrap();
            client
                .create_view(&name, &new_view("SELECT 1 AS a", &["a"]), false)
                .await
                .unwrap();
        } else {
            let new = NewTable {
                format: Some(TableFormat::Delta),
                ..new_table()
            };
            create_table(&one, &name, &new, rows(&new, 0..3)).await.unwrap();
        }
        let (tables, views) = match is_view {
            true => (vec!["t"], vec!["added"]),
            false => (vec!["added", "t"], vec![]),
        };
        for lake in [&one, &other] {
            assert_eq!(lake.list_tables("lake", "sales").await.unwrap(), tables);
            assert_eq!(lake.list_views("lake", "sales").await.unwrap(), views);
        }
        let types = sqlx::query("SELECT table_name FROM iceberg_tables WHERE iceberg_type IN ('VIEW', 'DELTA')");
        assert_eq!(types.fetch_all(&mut database).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn views_keep_their_history() {
    let folder = tempfile::tempdir().unwrap();
    let lakehouse = lakehouse(folder.path());
    let client = lakehouse.client("lake").unwrap();
    client.create_namespace("sales", &[]).await.unwrap();
    let name = TableName::new("lake", "sales", "v");
    let view = async || match client.load(&name).await.unwrap() {
        Some(TableLocation::View(view)) => *view,
        other => panic!("{other:?}"),
    };
    client
        .create_view(&name, &new_view("SELECT 1 AS a", &["a"]), true)
        .await
        .unwrap();
    let first = view().await;
    assert_eq!(
        first.texts,
        [ViewText {
            dialect: DIALECT.to_owned(),
            sql: "SELECT 1 AS a".to_owned()
        }]
    );
    assert_eq!((first.version, first.comment.as_deref()), (1, Some("of SELECT 1 AS a")));
    assert_eq!(first.default_catalog.as_deref(), Some("lake"));
    assert_eq!(first.default_namespace, "sales");
    assert_eq!(first.query_columns, Some(vec!["a".to_owned()]));
    let error = client
        .create_view(&name, &new_view("SELECT 2 AS b", &["b"]), false)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { what: "view", .. }), "{error}");
    let second = NewView {
        comment: None,
        ..new_view("SELECT 2 AS b", &["b"])
    };
    client.create_view(&name, &second, true).await.unwrap();
    let second = view().await;
    assert_eq!(
        (second.id, second.version, second.comment.as_deref()),
        (first.id, 2, None)
    );
    assert_eq!(second.schema.field(0).name(), "b");
    let other = TableName::new("lake", "sales", "w");
    client.rename_view(&name, &other).await.unwrap();
    assert_eq!(client.list_views("sales").await.unwrap(), ["w"]);
    let error = client.drop_table(&other, false).await.unwrap_err();
    assert!(error.to_string().contains("is a view"), "{error}");
    assert!(matches!(
        client.drop_namespace("sales").await,
        Err(Error::InvalidName { .. })
    ));
    client.drop_view(&other).await.unwrap();
    let error = client.drop_view(&other).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "view", .. }), "{error}");
    let folder = TableName::new("delta", "sales", "v");
    let view = new_view("SELECT 1 AS a", &["a"]);
    let refused = lakehouse.client("delta").unwrap().create_view(&folder, &view, true);
    assert!(matches!(refused.await, Err(Error::Unsupported { .. })));
}

#[test]
fn configured_folders_are_decoded() {
    let check = |url: &str, expect: &str| assert_eq!(folder_of(&Url::parse(url).unwrap()).unwrap(), expect);
    check("s3://bucket", "s3://bucket");
    check("s3://bucket/a b/", "s3://bucket/a b");
    check("file:///data/%C3%BC", "file:///data/ü");
    check("file:///", "file://");
}

#[test]
fn names_stay_in_their_folder() {
    let check = |name: &str, expect: bool| assert_eq!(check_new(name).is_ok(), expect, "{name}");
    check("orders", true);
    check("a.b", true);
    check("Ümläut 1", true);
    for bad in ["", ".", "..", "../x", "a/b", "a\\b", "_delta_log", ".hidden", "a\nb"] {
        check(bad, false);
    }
}
