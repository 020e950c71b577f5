//! Commits whose answers are lost, before or after they took place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;

use super::super::alter;
use super::TableCommit;
use super::fixture::{House, added, reading, rows};
use crate::client::{CatalogClient, StagedTable, TableLocation};
use crate::name::TableName;
use crate::write::alter::{Alteration, Position};
use crate::write::change::{Change, Operation};
use crate::write::{NewTable, WrittenFile};
use crate::{Error, Result};

/// A catalog behind a bad line: of three commits one takes place and its answer is lost, one is lost itself.
#[derive(Debug)]
struct BadLine {
    catalog: Arc<dyn CatalogClient>,
    commits: AtomicUsize,
    /// Answers lost, and commits lost.
    lost: Arc<[AtomicUsize; 2]>,
}

#[async_trait]
impl CatalogClient for BadLine {
    async fn list_namespaces(&self) -> Result<Vec<String>> {
        self.catalog.list_namespaces().await
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<String>> {
        self.catalog.list_tables(namespace).await
    }

    async fn load(&self, name: &TableName) -> Result<Option<TableLocation>> {
        self.catalog.load(name).await
    }

    async fn create_namespace(&self, namespace: &str, properties: &[(String, String)]) -> Result<()> {
        self.catalog.create_namespace(namespace, properties).await
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<()> {
        self.catalog.drop_namespace(namespace).await
    }

    async fn stage(&self, name: &TableName, new: &NewTable) -> Result<StagedTable> {
        self.catalog.stage(name, new).await
    }

    async fn create(&self, name: &TableName, staged: StagedTable, files: &[WrittenFile]) -> Result<()> {
        self.catalog.create(name, staged, files).await
    }

    async fn commit(&self, name: &TableName, commit: &TableCommit) -> Result<()> {
        let lost = || Error::CommitUnknown {
            table: name.to_string(),
            detail: "the line is bad".to_owned(),
        };
        match self.commits.fetch_add(1, Ordering::Relaxed) % 3 {
            0 => {
                self.catalog.commit(name, commit).await?;
                self.lost[0].fetch_add(1, Ordering::Relaxed);
                Err(lost())
            }
            1 => {
                self.lost[1].fetch_add(1, Ordering::Relaxed);
                Err(lost())
            }
            _ => self.catalog.commit(name, commit).await,
        }
    }

    async fn drop_table(&self, name: &TableName, purge: bool) -> Result<()> {
        self.catalog.drop_table(name, purge).await
    }

    async fn rename_table(&self, from: &TableName, to: &TableName) -> Result<()> {
        self.catalog.rename_table(from, to).await
    }
}

/// A table behind a bad line, and what it lost.
async fn house(version: u8) -> (House, Arc<[AtomicUsize; 2]>) {
    let mut house = House::of(version, &[]).await;
    let lost = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&lost);
    let lakehouse = Arc::get_mut(&mut house.lakehouse).unwrap();
    lakehouse.replace_client("lake", |catalog| {
        Arc::new(BadLine {
            catalog,
            commits: AtomicUsize::new(0),
            lost: counted,
        })
    });
    (house, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_commit_is_lost_or_doubled() {
    for version in 1..=3 {
        let (house, lost) = house(version).await;
        let house = Arc::new(house);
        let base = house.snapshot().await;
        let appends = (0..12_i64).map(|id| {
            let (house, base) = (Arc::clone(&house), base.clone());
            datafusion::common::runtime::SpawnedTask::spawn(async move {
                let file = house.file(&[id], Vec::new()).await;
                house.commit(&base, added(vec![file])).await.unwrap();
            })
        });
        for append in appends.collect::<Vec<_>>() {
            append.await.unwrap();
        }
        assert!(lost.iter().all(|lost| lost.load(Ordering::Relaxed) > 0));
        assert_eq!(house.ids().await, (0..12).collect::<Vec<_>>(), "version {version}");
        let metadata = house.metadata().await;
        assert_eq!(metadata["snapshots"].as_array().unwrap().len(), 12);
        // Of every attempt that did not take place the manifests are gone.
        let folder = format!(
            "{}/metadata",
            metadata["location"].as_str().unwrap().trim_start_matches("file://")
        );
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
        assert_eq!(
            files.filter(|name| name.to_string_lossy().ends_with(".avro")).count(),
            24
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_and_columns_survive_a_bad_line() {
    let (house, _) = house(3).await;
    let file = house.append(&[1, 2, 3, 4]).await;
    for position in 0..3 {
        let change = Change {
            deleted: vec![rows(&file, &[position])],
            ..reading(Operation::Delete)
        };
        house.commit(&house.snapshot().await, change).await.unwrap();
    }
    assert_eq!(house.ids().await, [4]);
    assert_eq!(house.summary("total-position-deletes").await.as_deref(), Some("3"));
    // A change of columns that was lost itself is reported so, and one that took place is found.
    let mut reported = 0;
    for name in ["a", "b", "c", "d"] {
        let add = Alteration::AddColumn {
            parent: Vec::new(),
            field: Arc::new(Field::new(name, DataType::Int32, true)),
            comment: None,
            default: None,
            position: Position::Last,
            if_not_exists: false,
        };
        let outcome = alter(&house.lakehouse, &house.name, &[add]).await;
        let has_column = house.snapshot().await.schema().index_of(name).is_ok();
        match outcome {
            Ok(()) => assert!(has_column, "{name}"),
            Err(Error::CommitUnknown { .. }) => {
                assert!(!has_column, "{name}");
                reported += 1;
            }
            Err(error) => panic!("{name}: {error}"),
        }
    }
    assert!(reported < 3);
}
