//! Delete files that are damaged, and positions as row selections.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use bytes::Bytes;
use datafusion::datasource::physical_plan::parquet::RowGroupAccess;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;

use super::rows::DeletedRows;
use super::selection::{RowsToRead, rows_to_read};
use super::{DeleteSource, VectorFrame};
use crate::scan::source::fixture::{DATA_FILE, Lake, bitmap, data_file, framed};

/// A vector of three rows whose blob went through `damage` is refused.
async fn check(damage: impl Fn(&mut Vec<u8>), expect: &str) {
    for frame in [VectorFrame::Puffin, VectorFrame::Delta] {
        let mut lake = Lake::new().await;
        let rows = [1, 5, 900];
        let mut blob = framed(&rows);
        damage(&mut blob);
        let source = lake.vector(frame, &rows, blob).await;
        lake.set_deletes(vec![source]);
        let error = lake.error().await;
        assert!(error.contains("memory://deletes/vector.bin"), "{error}");
        assert!(error.contains(expect), "{frame:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_vector_is_refused() {
    check(|blob| blob[4] ^= 1, "its magic number is wrong").await;
    check(|blob| blob[20] ^= 1, "its checksum is wrong").await;
    check(|blob| *blob.last_mut().unwrap() ^= 1, "its checksum is wrong").await;
    check(|blob| blob[3] += 1, "its length field says").await;
    check(|blob| blob.truncate(blob.len() - 4), "its length field says").await;
    check(
        |blob| *blob = framed(&[1, 5]),
        "it deletes 2 rows where the metadata says 3",
    )
    .await;
    check(
        |blob| *blob = framed(&[1, 5, 1000]),
        "it deletes row 1000 of a data file with 1000 rows",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_in_a_truncated_file_is_refused() {
    for frame in [VectorFrame::Puffin, VectorFrame::Delta] {
        let mut lake = Lake::new().await;
        let source = lake.vector(frame, &[1], framed(&[1])).await;
        lake.set_deletes(vec![source]);
        for length in [0, 3, 8, 20] {
            let path = Path::from("vector.bin");
            let bytes = lake.deletes.get(&path).await.unwrap().bytes().await.unwrap();
            lake.deletes
                .put(&path, bytes.slice(..length.min(bytes.len())).into())
                .await
                .unwrap();
            let error = lake.error().await;
            assert!(error.contains("memory://deletes/vector.bin"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_of_a_delta_file_is_refused() {
    let mut lake = Lake::new().await;
    let source = lake.vector(VectorFrame::Delta, &[1], framed(&[1])).await;
    lake.set_deletes(vec![source]);
    let path = Path::from("vector.bin");
    let mut bytes = lake.deletes.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[0] = 2;
    lake.deletes.put(&path, bytes.into()).await.unwrap();
    let error = lake.error().await;
    assert!(error.contains("version"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_inline_vector_is_refused() {
    for (bitmap, cardinality) in [
        (bitmap(&[1, 2]), 3),
        (bitmap(&[1])[..9].to_vec(), 1),
        (bitmap(&[1000]), 1),
    ] {
        let lake = Lake::with_deletes(vec![DeleteSource::Inline { bitmap, cardinality }]).await;
        let error = lake.error().await;
        assert!(
            error.contains("a deletion vector in the metadata is damaged"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_position_delete_file_is_refused() {
    let mut lake = Lake::new().await;
    let source = lake.positions("deletes.parquet", &[(DATA_FILE, -1)]).await;
    lake.set_deletes(vec![source.clone()]);
    let error = lake.error().await;
    assert!(
        error.contains("deletes.parquet is damaged: it has a negative position"),
        "{error}"
    );

    lake.cache = Default::default();
    lake.deletes
        .put(&Path::from("deletes.parquet"), data_file(0..10).into())
        .await
        .unwrap();
    let error = lake.error().await;
    assert!(
        error.contains("deletes.parquet is damaged: it has no column file_path"),
        "{error}"
    );

    lake.deletes.delete(&Path::from("deletes.parquet")).await.unwrap();
    let error = lake.error().await;
    assert!(
        error.contains("cannot read memory://deletes/deletes.parquet: it does not exist"),
        "{error}"
    );
}

#[test]
fn only_long_runs_are_skipped() {
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(4_000));
    let batch = RecordBatch::try_from_iter([("id", rows)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let footer = ParquetMetaDataReader::new()
        .parse_and_finish(&Bytes::from(bytes))
        .unwrap();
    let mut deleted: RoaringTreemap = (10..20).chain(1_000..2_024).chain(3_000..8_000).collect();
    deleted.extend(
        (8_000..12_000)
            .filter(|row| row % 2 == 1)
            .chain(12_001..13_024)
            .chain(15_000..18_000),
    );
    let RowsToRead { plan, within } = rows_to_read(&DeletedRows::new(deleted), footer.row_groups(), None).unwrap();
    assert_eq!(within, 0..20_000);
    let selected = |access: &RowGroupAccess| match access {
        RowGroupAccess::Skip => "skip".to_owned(),
        RowGroupAccess::Scan => "scan".to_owned(),
        RowGroupAccess::Selection(selection) => {
            let parts = selection.iter().map(|part| match part.skip {
                true => format!("-{}", part.row_count),
                false => format!("+{}", part.row_count),
            });
            parts.collect::<Vec<_>>().join(" ")
        }
    };
    let accesses: Vec<String> = plan.inner().iter().map(selected).collect();
    assert_eq!(
        accesses,
        ["+1000 -1024 +976 -1000", "skip", "scan", "+3000 -1000", "-2000 +2000"]
    );
}
