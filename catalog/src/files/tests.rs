//! Folders of files as tables: what belongs to them, which columns they have, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::prelude::{SessionConfig, SessionContext};
use proto::ErrorKind;
use tempfile::TempDir;

use super::*;
use crate::{Config, Lakehouse, StorageProfile};

struct House {
    folder: TempDir,
    lakehouse: Lakehouse,
    session: SessionContext,
}

impl House {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        for (name, text) in files {
            write(&data.join(name), text.as_bytes());
        }
        let storage = vec![StorageProfile::new(format!("file://{}", data.display()))];
        let stores = Stores::new(&storage).unwrap();
        let config = Config {
            storage,
            ..Config::default()
        };
        let runtime = RuntimeEnvBuilder::new().with_object_store_registry(Arc::clone(&stores) as _);
        Self {
            lakehouse: Lakehouse::new(&config, stores).unwrap(),
            session: SessionContext::new_with_config_rt(
                SessionConfig::new().with_target_partitions(3),
                runtime.build_arc().unwrap(),
            ),
            folder,
        }
    }

    fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        write(
            &self.folder.path().join("data").join(name),
            &writer.into_inner().unwrap(),
        );
    }

    async fn open(&self, kind: FileKind, name: &str) -> Result<FilesTable> {
        let location = format!("file://{}/{name}", self.folder.path().display());
        self.lakehouse.files_at(kind, &location, &self.session.state()).await
    }

    /// The rows of `SELECT columns FROM files ORDER BY ALL`, one text each.
    async fn rows(&self, kind: FileKind, name: &str, columns: &str) -> Vec<String> {
        let table = self.open(kind, name).await.unwrap();
        self.session.deregister_table("t").unwrap();
        self.session.register_table("t", Arc::new(table)).unwrap();
        let sql = format!("SELECT {columns} FROM t");
        let rows = self.session.sql(&sql).await.unwrap().collect().await.unwrap();
        let text = pretty_format_batches(&rows).unwrap().to_string();
        let mut rows: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .skip(1)
            .map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        rows.sort();
        rows
    }

    async fn refused(&self, kind: FileKind, name: &str) -> (ErrorKind, String) {
        let error = self.open(kind, name).await.unwrap_err();
        (error.kind(), error.to_string())
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_folder_is_all_its_files_of_the_kind() {
    let house = House::new(&[
        ("t/a.csv", "id,name\n1,one\n2,\"two\nlines\"\n"),
        ("t/deep/b.CSV", "id,name\n3,\n"),
        ("t/empty.csv", ""),
        ("t/_SUCCESS", "x"),
        ("t/.hidden.csv", "x,y,z\n"),
        ("t/notes.txt", "id,name\n9,txt\n"),
        ("u/c.csv", "id,name\n4,four\n"),
    ]);
    let check = async |name: &str, expect: &[&str]| {
        let rows = house.rows(FileKind::Csv, name, "id, replace(name, chr(10), '/')").await;
        assert_eq!(rows, expect, "{name}");
    };
    check("data/t", &["1 one", "2 two/lines", "3 "]).await;
    check("data/t/", &["1 one", "2 two/lines", "3 "]).await;
    check("data/t/a.csv", &["1 one", "2 two/lines"]).await;
    check("data/t/notes.txt", &["9 txt"]).await;
    check("data/t/*.txt", &["9 txt"]).await;
    check("data/*/?.csv", &["1 one", "2 two/lines", "4 four"]).await;
    check("data/**/[bc].[Cc]*", &["3 ", "4 four"]).await;
}

#[tokio::test]
async fn names_of_folders_are_columns() {
    let house = House::new(&[
        ("t/year=2025/day=2025-12-31/city=a%20b/1.json", "{\"id\": 1}\n"),
        (
            "t/year=2026/day=2026-01-01/city=__HIVE_DEFAULT_PARTITION__/1.json",
            "{\"id\": 2, \"more\": [1]}\n{\"id\": 3}",
        ),
        ("u/p=1/1.json", "{\"id\": 2}\n"),
        ("u/2.json", "{\"id\": 2}\n"),
        ("v/id=1/1.json", "{\"id\": 2}\n"),
    ]);
    let rows = house
        .rows(FileKind::Json, "data/t", "id, more, year + 1, day, city")
        .await;
    assert_eq!(
        rows,
        [
            "1  2026 2025-12-31 a b",
            "2 [1] 2027 2026-01-01 ",
            "3  2027 2026-01-01 "
        ]
    );
    let rows = house.rows(FileKind::Json, "data/t/year=2026", "count(day)").await;
    assert_eq!(rows, ["2"]);
    let (kind, message) = house.refused(FileKind::Json, "data/u").await;
    assert_eq!(kind, ErrorKind::Unsupported, "{message}");
    assert!(message.contains("has (p), others have ()"), "{message}");
    let (_, message) = house.refused(FileKind::Json, "data/v").await;
    assert!(message.contains("one source for the column \"id\""), "{message}");
}

#[tokio::test]
async fn columns_are_those_of_all_files() {
    let house = House::new(&[
        ("csv/1.csv", "a,b\n1,x\n"),
        ("csv/2.csv", "a,b\n1.5,2026-01-01\n"),
        ("order/1.csv", "a,b\n1,2\n"),
        ("order/2.csv", "b,a\n1,2\n"),
    ]);
    assert_eq!(
        house.rows(FileKind::Csv, "data/csv", "a, b").await,
        ["1.0 x", "1.5 2026-01-01"]
    );
    let (_, message) = house.refused(FileKind::Csv, "data/order").await;
    assert!(
        message.contains("order/2.csv has (b, a), others have (a, b)"),
        "{message}"
    );

    let id = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let name: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    house.parquet("p/1.parquet", vec![("id", id())]);
    house.parquet("p/2.parquet", vec![("name", name), ("id", id())]);
    assert_eq!(house.rows(FileKind::Parquet, "data/p", "id, name").await, ["1 ", "1 x"]);
    house.parquet("p/3.parquet", vec![("id", Arc::new(Int32Array::from(vec![2])))]);
    let (kind, message) = house.refused(FileKind::Parquet, "data/p").await;
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(
        message.contains("p/3.parquet has Int32 in the column \"id\""),
        "{message}"
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let house = House::new(&[
        ("p/bad.parquet", "PAR1, or is it"),
        ("p/x.txt", ""),
        ("none/x.txt", ""),
        ("z.csv.gz", "x"),
    ]);
    write(&house.folder.path().join("secret.csv"), b"a\n1\n");
    let check = async |kind: FileKind, name: &str, expect: ErrorKind, text: &str| {
        let (kind, message) = house.refused(kind, name).await;
        assert_eq!(kind, expect, "{name}: {message}");
        assert!(message.contains(text), "{name}: {message}");
    };
    check(
        FileKind::Parquet,
        "data/p",
        ErrorKind::Internal,
        "p/bad.parquet is damaged",
    )
    .await;
    check(
        FileKind::Parquet,
        "data/none",
        ErrorKind::NotFound,
        "data/none\" does not exist",
    )
    .await;
    check(
        FileKind::Csv,
        "data/z.csv.gz",
        ErrorKind::Unsupported,
        "compressed files such as",
    )
    .await;
    check(FileKind::Csv, "data/missing.csv", ErrorKind::NotFound, "missing.csv").await;
    for outside in [
        "secret.csv",
        "data/../secret.csv",
        "*.csv",
        "data*/x.csv",
        "data/*/../../secret.csv",
    ] {
        check(FileKind::Csv, outside, ErrorKind::InvalidInput, "no storage profile").await;
    }
}

#[tokio::test]
async fn a_file_that_vanishes_fails_the_query_by_name() {
    let house = House::new(&[("t/a.csv", "id\n1\n"), ("t/b.csv", "id\n2\n")]);
    let table = house.open(FileKind::Csv, "data/t").await.unwrap();
    house.session.register_table("t", Arc::new(table)).unwrap();
    fs::remove_file(house.folder.path().join("data/t/b.csv")).unwrap();
    let rows = house.session.sql("SELECT * FROM t").await.unwrap().collect().await;
    let error = rows.unwrap_err().to_string();
    assert!(error.contains("t/b.csv"), "{error}");
}
