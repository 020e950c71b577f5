//! Scans with deleted rows, against an answer worked out by hand.

use std::collections::BTreeSet;

use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::fixture::{DATA_FILE, Lake, ROWS, Run, bitmap, framed, runs, value};
use super::*;
use crate::scan::deletes::{DeleteSource, VectorFrame};

/// The rows of the first file that each test deletes.
fn deleted_rows() -> [Vec<u64>; 5] {
    [
        vec![],
        vec![0, 1, 2, 49, 50, 199, 200, 399, 400, 999],
        // Two whole row groups and an edge on both sides.
        (199..601).collect(),
        (0..1000).filter(|row| row % 3 != 1).collect(),
        (0..1000).collect(),
    ]
}

async fn check(lake: &Lake, deleted: &[u64]) {
    let deleted: BTreeSet<i64> = deleted.iter().map(|row| *row as i64).collect();
    let live: Vec<i64> = (0..2 * ROWS).filter(|id| !deleted.contains(id)).collect();
    let matching = |keep: &dyn Fn(i64) -> bool| live.iter().copied().filter(|id| keep(*id)).collect::<Vec<_>>();
    let count = |keep: &dyn Fn(i64) -> bool| vec![matching(keep).len() as i64];
    let mut by_value = live.clone();
    by_value.sort_by_key(|id| (value(*id), *id));
    let last: Vec<i64> = live.iter().rev().take(7).copied().collect();
    let limited = |limit: i64, keep: &dyn Fn(i64) -> bool| vec![count(keep)[0].min(limit)];
    let queries = [
        ("SELECT id FROM t ORDER BY id", live.clone()),
        ("SELECT count(*) FROM t", count(&|_| true)),
        (
            "SELECT id FROM t WHERE v < 100 ORDER BY id",
            matching(&|id| value(id) < 100),
        ),
        (
            "SELECT id FROM t WHERE id >= 149 AND id < 652 ORDER BY id",
            matching(&|id| (149..652).contains(&id)),
        ),
        (
            "SELECT count(*) FROM t WHERE id >= 200 AND id < 400",
            count(&|id| (200..400).contains(&id)),
        ),
        (
            "SELECT count(s) FROM t WHERE s = 'row 250' OR v = 7",
            count(&|id| id == 250 || value(id) == 7),
        ),
        ("SELECT id FROM t ORDER BY id DESC LIMIT 7", last),
        (
            "SELECT id FROM t ORDER BY id LIMIT 7",
            live.iter().take(7).copied().collect(),
        ),
        (
            "SELECT id FROM t ORDER BY v, id LIMIT 9",
            by_value.into_iter().take(9).collect(),
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM t LIMIT 1300)",
            limited(1300, &|_| true),
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM t WHERE id >= 200 AND id < 1000 LIMIT 150)",
            limited(150, &|id| (200..1000).contains(&id)),
        ),
        (
            "SELECT t.id FROM t JOIN (VALUES (1), (198), (399), (600), (1500)) k(id) ON t.id = k.id ORDER BY 1",
            matching(&|id| [1, 198, 399, 600, 1500].contains(&id)),
        ),
    ];
    for run in runs() {
        for (sql, expect) in &queries {
            assert_eq!(&lake.query(sql, run).await.unwrap(), expect, "{sql} {run:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_position_delete_file_are_gone() {
    for deleted in deleted_rows() {
        let mut lake = Lake::new().await;
        // The file is for others, too; a row that does not exist and a row that is named twice are legal.
        let mut rows = vec![
            ("s3://data/table/0.parquet", 3),
            ("s3://data/table/b.parquet", 4),
            (DATA_FILE, 5000),
        ];
        rows.extend(deleted.iter().map(|row| (DATA_FILE, *row as i64)));
        rows.extend(deleted.first().map(|row| (DATA_FILE, *row as i64)));
        let source = lake.positions("deletes.parquet", &rows).await;
        lake.set_deletes(vec![source]);
        check(&lake, &deleted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_several_delete_files_are_gone() {
    let mut lake = Lake::new().await;
    let mut sources = Vec::new();
    for part in 0..3 {
        let rows: Vec<_> = (part * 150..part * 150 + 200).map(|row| (DATA_FILE, row)).collect();
        sources.push(lake.positions(&format!("{part}.parquet"), &rows).await);
    }
    let (inline, rest) = (bitmap(&[700, 701]), (700..702));
    sources.push(DeleteSource::Inline {
        bitmap: inline,
        cardinality: 2,
    });
    lake.set_deletes(sources);
    check(&lake, &(0..500).chain(rest).collect::<Vec<u64>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_puffin_vector_are_gone() {
    for deleted in deleted_rows() {
        let mut lake = Lake::new().await;
        let source = lake.vector(VectorFrame::Puffin, &deleted, framed(&deleted)).await;
        lake.set_deletes(vec![source]);
        check(&lake, &deleted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_delta_vector_are_gone() {
    for deleted in deleted_rows() {
        let mut lake = Lake::new().await;
        let source = lake.vector(VectorFrame::Delta, &deleted, framed(&deleted)).await;
        lake.set_deletes(vec![source]);
        check(&lake, &deleted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_an_inline_vector_are_gone() {
    for deleted in deleted_rows() {
        let cardinality = deleted.len() as u64;
        let bitmap = bitmap(&deleted);
        let lake = Lake::with_deletes(vec![DeleteSource::Inline { bitmap, cardinality }]).await;
        check(&lake, &deleted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_size_in_the_metadata_loses_no_row() {
    for (shift, deleted) in [(-9000, vec![]), (-5, vec![3, 4]), (3, vec![]), (4_000_000, vec![5])] {
        let mut lake = Lake::new().await;
        if !deleted.is_empty() {
            let rows: Vec<_> = deleted.iter().map(|row| (DATA_FILE, *row as i64)).collect();
            let mut source = lake.positions("deletes.parquet", &rows).await;
            if let DeleteSource::Positions { size_bytes, .. } = &mut source {
                *size_bytes = size_bytes.saturating_add_signed(shift);
            }
            lake.set_deletes(vec![source]);
        }
        for file in &mut lake.files {
            file.object_meta.size = file.object_meta.size.saturating_add_signed(shift);
        }
        check(&lake, &deleted).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_a_size_is_read() {
    let mut lake = Lake::new().await;
    lake.files[1] = data_file(lake.files[1].path().clone(), 0);
    check(&lake, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_file_is_an_error_that_names_it() {
    for with_deletes in [false, true] {
        let mut lake = Lake::new().await;
        if with_deletes {
            let source = lake.positions("deletes.parquet", &[(DATA_FILE, 1)]).await;
            lake.set_deletes(vec![source]);
        }
        let path = Path::from("table/a.parquet");
        let bytes = lake.data.get(&path).await.unwrap().bytes().await.unwrap();
        for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
            lake.data.put(&path, bytes.slice(..length).into()).await.unwrap();
            let error = lake.error().await;
            assert!(error.contains("memory://data/table/a.parquet"), "{length}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_damaged_pages_is_an_error_that_names_it() {
    let lake = Lake::new().await;
    let path = Path::from("table/b.parquet");
    let mut bytes = lake.data.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[4..2000].fill(0xFF);
    lake.data.put(&path, bytes.into()).await.unwrap();
    let error = lake.error().await;
    assert!(error.contains("memory://data/table/b.parquet is damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_fails_is_no_damage() {
    let lake = Lake::new().await;
    for run in runs() {
        let error = lake
            .query("SELECT id FROM t WHERE 1 / (id - 5) > 3", run)
            .await
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains("ivide") && !error.contains("damaged"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delete_files_are_read_once() {
    let mut lake = Lake::new().await;
    let rows: Vec<_> = (0..500).map(|row| (DATA_FILE, row)).collect();
    let vector = lake.vector(VectorFrame::Delta, &[800], framed(&[800])).await;
    lake.set_deletes(vec![lake.positions("deletes.parquet", &rows).await, vector]);
    let run = Run {
        partitions: 13,
        pushdown_filters: true,
        wire: false,
    };
    assert_eq!(lake.query("SELECT count(*) FROM t", run).await.unwrap(), [1499]);
    let requests = lake.deletes.requests();
    // A footer, three row groups, a vector.
    assert!(requests <= 5, "{requests} requests");
    assert_eq!(lake.query("SELECT count(s) FROM t", run).await.unwrap(), [1499]);
    assert_eq!(lake.deletes.requests(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_cost_no_request_for_the_data() {
    let requests = async |lake: &Lake| {
        let run = Run {
            partitions: 1,
            pushdown_filters: false,
            wire: false,
        };
        lake.query("SELECT count(v) FROM t", run).await.unwrap();
        lake.data.requests()
    };
    let plain = requests(&Lake::new().await).await;
    let mut lake = Lake::new().await;
    let source = lake
        .positions("deletes.parquet", &[(DATA_FILE, 1), (DATA_FILE, 700)])
        .await;
    lake.set_deletes(vec![source]);
    assert_eq!(requests(&lake).await, plain);
}

#[tokio::test]
async fn plans_show_what_was_dropped() {
    let lake = Lake::new().await;
    let run = Run {
        partitions: 1,
        pushdown_filters: false,
        wire: false,
    };
    let context = lake.context(run);
    let runtime = context.runtime_env();
    let access = Access {
        runtime: &runtime,
        store_url: &ObjectStoreUrl::parse("memory://data").unwrap(),
        deletes: &lake.cache,
    };
    let columns = Arc::new(ColumnMapping::by(proto::ColumnMatch::Name));
    let source =
        LakeParquetSource::try_new(ParquetSource::new(fixture::schema()), "lake.s.t", columns, access).unwrap();
    let shown = |source: LakeParquetSource| {
        struct Shown(LakeParquetSource);
        impl fmt::Display for Shown {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_extra(DisplayFormatType::Default, f)
            }
        }
        Shown(source).to_string()
    };
    assert_eq!(shown(source.clone()), ", table=lake.s.t");
    let pruned = Pruned {
        manifests_total: 10,
        manifests_read: 3,
        files_total: 1000,
        files_read: 5,
    };
    assert_eq!(
        shown(source.with_pruned(pruned)),
        ", table=lake.s.t, manifests=3/10, files=5/1000"
    );
}
