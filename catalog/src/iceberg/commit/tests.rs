//! Commits to real tables, read back row by row.

use datafusion::prelude::{col, lit};
use iceberg::spec::{DataFileFormat, ManifestContentType};
use uuid::Uuid;

use super::super::alter;
use super::fixture::{House, added, columns, is_conflict, reading, rows};
use super::*;
use crate::snapshot::AsOf;
use crate::write::NewTable;
use crate::write::change::{Change, Operation, Reads};
use crate::write::target::Transform;
use datafusion::common::ScalarValue;

#[test]
fn snapshot_ids_are_positive() {
    for _ in 0..1_000 {
        assert!(snapshot_id(Uuid::new_v4()) >= 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_are_read_in_every_format_version() {
    for version in 1..=3 {
        let house = House::of(version, &[]).await;
        for ids in [[1, 2, 3], [4, 5, 6], [7, 8, 9]] {
            house.append(&ids).await;
        }
        assert_eq!(house.ids().await, (1..=9).collect::<Vec<_>>(), "version {version}");
        let metadata = house.metadata().await;
        assert_eq!(metadata["format-version"], version);
        assert_eq!(metadata["snapshots"].as_array().unwrap().len(), 3);
        let check = async |key: &str, expect: &str| {
            assert_eq!(
                house.summary(key).await.as_deref(),
                Some(expect),
                "{key}, version {version}"
            );
        };
        check("total-records", "9").await;
        check("total-data-files", "3").await;
        check("added-records", "3").await;
        check("added-data-files", "1").await;
        check("total-delete-files", "0").await;
        if version > 1 {
            assert_eq!(metadata["last-sequence-number"], 3);
            let sequences: Vec<i64> = house
                .manifests()
                .await
                .iter()
                .map(|(file, _)| file.sequence_number)
                .collect();
            assert_eq!(sequences, [3, 2, 1]);
        }
        if version == 3 {
            assert_eq!(metadata["next-row-id"], 9);
            let first: Vec<_> = house
                .manifests()
                .await
                .iter()
                .map(|(file, _)| file.first_row_id)
                .collect();
            assert_eq!(first, [Some(6), Some(3), Some(0)]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_leave_and_their_manifests_say_so() {
    for version in 1..=3 {
        let house = House::of(version, &[]).await;
        let first = house.append(&[1, 2]).await;
        let second = house.append(&[3, 4]).await;
        let change = Change {
            operation: Operation::Overwrite,
            added: vec![house.file(&[5], Vec::new()).await],
            removed: vec![first.clone()],
            ..added(Vec::new())
        };
        house.commit(&house.snapshot().await, change).await.unwrap();
        assert_eq!(house.ids().await, [3, 4, 5]);
        assert_eq!(house.summary("deleted-records").await.as_deref(), Some("2"));
        assert_eq!(house.summary("total-records").await.as_deref(), Some("3"));
        let manifests = house.manifests().await;
        assert_eq!(manifests.len(), 3);
        let gone = manifests.iter().flat_map(|(_, manifest)| manifest.entries());
        let gone: Vec<&str> = gone
            .filter(|entry| !entry.is_alive())
            .map(|entry| entry.file_path())
            .collect();
        assert_eq!(gone, [first.as_str()], "version {version}");
        // A manifest without a live file is not carried on.
        let change = Change {
            operation: Operation::Delete,
            removed: vec![second],
            ..added(Vec::new())
        };
        house.commit(&house.snapshot().await, change).await.unwrap();
        assert_eq!(house.ids().await, [5]);
        assert_eq!(house.manifests().await.len(), 2);
        assert_eq!(
            house.ids_as_of(&AsOf::Version(first_snapshot(&house).await)).await,
            [1, 2]
        );
    }
}

async fn first_snapshot(house: &House) -> i64 {
    house.metadata().await["snapshot-log"][0]["snapshot-id"]
        .as_i64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_deleted_by_position_files_in_version_2() {
    for (granularity, files) in [("partition", 1), ("file", 2)] {
        let house = House::of(2, &[("write.delete.granularity", granularity)]).await;
        let (one, two) = (house.append(&[1, 2, 3]).await, house.append(&[4, 5, 6]).await);
        let change = Change {
            deleted: vec![rows(&one, &[0, 2]), rows(&two, &[1])],
            ..reading(Operation::Delete)
        };
        house.commit(&house.snapshot().await, change).await.unwrap();
        assert_eq!(house.ids().await, [2, 4, 6]);
        assert_eq!(
            house.summary("added-delete-files").await,
            Some(files.to_string()),
            "{granularity}"
        );
        assert_eq!(house.summary("total-position-deletes").await.as_deref(), Some("3"));
        // More rows of the same file: the earlier deletes stay.
        let change = Change {
            deleted: vec![rows(&two, &[0])],
            ..reading(Operation::Delete)
        };
        house.commit(&house.snapshot().await, change).await.unwrap();
        assert_eq!(house.ids().await, [2, 6]);
        assert_eq!(house.summary("total-position-deletes").await.as_deref(), Some("4"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_file_has_one_deletion_vector_in_version_3() {
    let house = House::of(3, &[]).await;
    let (one, two) = (house.append(&[1, 2, 3]).await, house.append(&[4, 5, 6]).await);
    for (deleted, left) in [
        (vec![rows(&one, &[0]), rows(&two, &[0])], vec![2, 3, 5, 6]),
        (vec![rows(&one, &[2])], vec![2, 5, 6]),
    ] {
        let change = Change {
            deleted,
            ..reading(Operation::Delete)
        };
        house.commit(&house.snapshot().await, change).await.unwrap();
        assert_eq!(house.ids().await, left);
    }
    let manifests = house.manifests().await;
    let live = manifests
        .iter()
        .filter(|(file, _)| file.content == ManifestContentType::Deletes);
    let live = live
        .flat_map(|(_, manifest)| manifest.entries())
        .filter(|entry| entry.is_alive());
    let mut vectors: Vec<_> = live
        .map(|entry| (entry.data_file().referenced_data_file().unwrap(), entry.record_count()))
        .collect();
    vectors.sort();
    let mut expect = vec![(one.clone(), 2), (two, 1)];
    expect.sort();
    assert_eq!(vectors, expect);
    assert_eq!(house.summary("removed-dvs").await.as_deref(), Some("1"));
    assert_eq!(house.summary("total-position-deletes").await.as_deref(), Some("3"));
    assert_eq!(house.summary("total-delete-files").await.as_deref(), Some("2"));
    // The vector goes with its data file.
    let change = Change {
        removed: vec![one],
        ..reading(Operation::Delete)
    };
    house.commit(&house.snapshot().await, change).await.unwrap();
    assert_eq!(house.ids().await, [5, 6]);
    assert_eq!(house.summary("total-delete-files").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_takes_the_place_of_position_files_after_an_upgrade() {
    let house = House::of(2, &[("write.delete.granularity", "file")]).await;
    let one = house.append(&[1, 2, 3]).await;
    let change = Change {
        deleted: vec![rows(&one, &[0])],
        ..reading(Operation::Delete)
    };
    house.commit(&house.snapshot().await, change).await.unwrap();
    let upgrade = crate::write::alter::Alteration::SetProperties {
        properties: vec![("format-version".to_owned(), "3".to_owned())],
    };
    alter(&house.lakehouse, &house.name, &[upgrade]).await.unwrap();
    let change = Change {
        deleted: vec![rows(&one, &[1])],
        ..reading(Operation::Delete)
    };
    house.commit(&house.snapshot().await, change).await.unwrap();
    assert_eq!(house.ids().await, [3]);
    let manifests = house.manifests().await;
    let live = manifests
        .iter()
        .filter(|(file, _)| file.content == ManifestContentType::Deletes);
    let live = live
        .flat_map(|(_, manifest)| manifest.entries())
        .filter(|entry| entry.is_alive());
    let live: Vec<_> = live.map(|entry| (entry.file_format(), entry.record_count())).collect();
    assert_eq!(live, [(DataFileFormat::Puffin, 2)]);
    // Rows from before the upgrade have ids from the first commit after it.
    assert_eq!(house.metadata().await["next-row-id"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_appends_at_once_are_fifty_snapshots() {
    let house = std::sync::Arc::new(House::of(2, &[]).await);
    let base = house.snapshot().await;
    let appends = (0..50_i64).map(|id| {
        let (house, base) = (std::sync::Arc::clone(&house), base.clone());
        datafusion::common::runtime::SpawnedTask::spawn(async move {
            let file = house.file(&[id], Vec::new()).await;
            house.commit(&base, added(vec![file])).await.unwrap();
        })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.unwrap();
    }
    assert_eq!(house.ids().await, (0..50).collect::<Vec<_>>());
    let metadata = house.metadata().await;
    assert_eq!(metadata["snapshots"].as_array().unwrap().len(), 50);
    assert_eq!(house.summary("total-records").await.as_deref(), Some("50"));
    // What commits that came too late wrote is gone: a list and a manifest for each snapshot stay.
    let folder = format!(
        "{}/metadata",
        metadata["location"].as_str().unwrap().trim_start_matches("file://")
    );
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
    let avro = files.filter(|name| name.to_string_lossy().ends_with(".avro"));
    assert_eq!(avro.count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_manifests_are_merged_and_row_ids_stay() {
    let house = House::of(3, &[("commit.manifest.min-count-to-merge", "3")]).await;
    for id in 1..=3 {
        house.append(&[id, id + 10]).await;
    }
    assert_eq!(house.manifests().await.len(), 3);
    house.append(&[4]).await;
    let manifests = house.manifests().await;
    assert_eq!(manifests.len(), 2);
    let mut first: Vec<_> = manifests
        .iter()
        .flat_map(|(_, manifest)| manifest.entries())
        .map(|entry| (entry.record_count(), entry.data_file().first_row_id()))
        .collect();
    first.sort();
    assert_eq!(first, [(1, None), (2, Some(0)), (2, Some(2)), (2, Some(4))]);
    assert_eq!(house.ids().await, [1, 2, 3, 4, 11, 12, 13]);
    assert_eq!(house.summary("total-data-files").await.as_deref(), Some("4"));
}

/// A change that was computed from one version, after another commit.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
async fn conflicts_are_found_and_others_land() {
    #[derive(Debug, Clone, Copy)]
    enum First {
        Appends(i64),
        DeletesRow,
        DeletesOther,
        Removes,
    }
    use First::{Appends, DeletesOther, DeletesRow, Removes};
    let check =
        async |version: u8, isolation: &str, first: First, second: fn(&str) -> Change, expect: Option<&[i64]>| {
            let properties = ["delete", "update", "merge"].map(|of| format!("write.{of}.isolation-level"));
            let properties: Vec<_> = properties.iter().map(|key| (key.as_str(), isolation)).collect();
            let house = House::of(version, &properties).await;
            let (one, two) = (house.append(&[1, 2, 3]).await, house.append(&[4, 5]).await);
            let base = house.snapshot().await;
            let other = match first {
                Appends(id) => added(vec![house.file(&[id], Vec::new()).await]),
                DeletesRow => Change {
                    deleted: vec![rows(&one, &[0])],
                    ..reading(Operation::Delete)
                },
                DeletesOther => Change {
                    deleted: vec![rows(&two, &[0])],
                    ..reading(Operation::Delete)
                },
                Removes => Change {
                    removed: vec![one.clone()],
                    ..reading(Operation::Delete)
                },
            };
            house.commit(&base, other).await.unwrap();
            let mut change = second(&one);
            if matches!(
                change.operation,
                Operation::Update | Operation::Rewrite | Operation::Append | Operation::Overwrite
            ) {
                change.added = vec![house.file(&[2], Vec::new()).await];
            }
            let context = format!("version {version}, {isolation}, {first:?}, {change:?}");
            let outcome = house.commit(&base, change).await;
            match expect {
                None => assert!(is_conflict(&outcome), "{context}: {outcome:?}"),
                Some(ids) => {
                    outcome.unwrap_or_else(|error| panic!("{context}: {error}"));
                    assert_eq!(house.ids().await, ids, "{context}");
                }
            }
        };
    let delete: fn(&str) -> Change = |one| Change {
        deleted: vec![rows(one, &[1])],
        reads: Reads::Rows(Some(col("id").eq(lit(2_i64)))),
        ..reading(Operation::Delete)
    };
    let update: fn(&str) -> Change = |one| Change {
        operation: Operation::Update,
        ..Change {
            deleted: vec![rows(one, &[1])],
            reads: Reads::Rows(Some(col("id").eq(lit(2_i64)))),
            ..reading(Operation::Update)
        }
    };
    let compact: fn(&str) -> Change = |one| Change {
        removed: vec![one.to_owned()],
        reads: Reads::Nothing,
        ..reading(Operation::Rewrite)
    };
    let overwrite: fn(&str) -> Change = |one| Change {
        removed: vec![one.to_owned()],
        ..Change {
            operation: Operation::Overwrite,
            ..added(Vec::new())
        }
    };
    let append: fn(&str) -> Change = |_| added(Vec::new());
    for version in [2, 3] {
        for isolation in ["serializable", "snapshot"] {
            check(version, isolation, Appends(9), delete, Some(&[1, 3, 4, 5, 9])).await;
            check(version, isolation, DeletesRow, delete, Some(&[3, 4, 5])).await;
            check(version, isolation, Removes, delete, None).await;
            check(version, isolation, Appends(9), update, Some(&[1, 2, 3, 4, 5, 9])).await;
            check(version, isolation, DeletesRow, update, None).await;
            check(version, isolation, DeletesOther, update, Some(&[1, 2, 3, 5])).await;
            check(version, isolation, Removes, update, None).await;
            check(version, isolation, DeletesRow, compact, None).await;
            check(version, isolation, Removes, compact, None).await;
            check(version, isolation, Appends(9), compact, Some(&[2, 4, 5, 9])).await;
            check(version, isolation, DeletesRow, overwrite, Some(&[2, 4, 5])).await;
            check(version, isolation, Removes, overwrite, None).await;
            check(version, isolation, Removes, append, Some(&[2, 4, 5])).await;
        }
        // The row that joined matches what was read.
        check(version, "serializable", Appends(2), delete, None).await;
        check(version, "snapshot", Appends(2), delete, Some(&[1, 2, 3, 4, 5])).await;
        check(version, "serializable", Appends(2), update, None).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_files_keep_their_values() {
    for version in 1..=3 {
        let house = House::with(&NewTable {
            properties: vec![("format-version".to_owned(), version.to_string())],
            partition: vec![(0, Transform::Bucket(4), None), (1, Transform::Identity, None)],
            ..NewTable::new(columns())
        })
        .await;
        let text = |text: &str| ScalarValue::Utf8View(Some(text.to_owned()));
        let partition = |bucket: i32, name| vec![ScalarValue::Int32(Some(bucket)), text(name)];
        let files = vec![
            house.file(&[1], partition(0, "n1")).await,
            house
                .file(&[2], vec![ScalarValue::Int32(None), ScalarValue::Utf8View(None)])
                .await,
        ];
        house.commit(&house.snapshot().await, added(files)).await.unwrap();
        let manifests = house.manifests().await;
        assert_eq!(manifests.len(), 1);
        let partitions = manifests[0].0.partitions.as_ref().unwrap();
        assert_eq!(
            partitions[1].lower_bound.as_ref().map(|bytes| bytes.to_vec()),
            Some(b"n1".to_vec()),
            "version {version}"
        );
        assert!(partitions[0].contains_null);
    }
}
