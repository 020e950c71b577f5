//! Tables on disk to file lists: pruning, partition specs, deletes, time travel.

use datafusion::common::ScalarValue;
use iceberg::spec::{DataContentType, DataFile as File, DataFileFormat, Datum, Literal, Struct};
use serde_json::{Value, json};

use super::fixture::{Fixture, Part, bounds, file, names};
use super::*;
use crate::scan::deletes::{DeleteSource, VectorFrame};

fn tuple(values: &[Option<Literal>]) -> Struct {
    Struct::from_iter(values.iter().cloned())
}

fn part(spec_id: i32, sequence: i64, files: Vec<File>) -> Part {
    Part {
        spec_id,
        sequence,
        deletes: false,
        files,
    }
}

fn delete_part(spec_id: i32, sequence: i64, files: Vec<File>) -> Part {
    Part {
        deletes: true,
        ..part(spec_id, sequence, files)
    }
}

fn field(source: i32, id: i32, transform: &str) -> Value {
    json!({"source-id": source, "field-id": id, "name": format!("p{id}"), "transform": transform})
}

/// The files that scans with these filters read, of a table of one manifest per file.
async fn check_pruning(transform: Value, partitions: &[Option<Literal>], expect: &[(&str, &str)]) {
    let parts = partitions.iter().zip('a'..).map(|(value, name)| {
        let file = file(&name.to_string(), tuple(std::slice::from_ref(value)))
            .build()
            .unwrap();
        part(0, 1, vec![file])
    });
    let many = Fixture::new(&[json!([transform])], parts.collect()).await;
    let files = partitions.iter().zip('a'..);
    let files = files.map(|(value, name)| {
        file(&name.to_string(), tuple(std::slice::from_ref(value)))
            .build()
            .unwrap()
    });
    let one = Fixture::new(&[json!([transform])], vec![part(0, 1, files.collect())]).await;
    for (filter, expect) in expect {
        let list = one.files(Some(filter)).await.unwrap();
        assert_eq!(names(&list).concat(), *expect, "{filter} by partition values");
        let list = many.files(Some(filter)).await.unwrap();
        let got = names(&list).concat();
        assert!(
            expect.chars().all(|name| got.contains(name)),
            "{filter} by summaries: {got}"
        );
        assert_eq!(got, *expect, "{filter} by summaries and values");
    }
}

#[tokio::test]
async fn identity_partitions_are_constants_and_prune() {
    let values = [Some(Literal::long(-1)), Some(Literal::long(5)), None];
    check_pruning(
        field(1, 1000, "identity"),
        &values,
        &[
            ("id = 5", "b"),
            ("id < 0", "a"),
            ("id is null", "c"),
            ("id is not null", "ab"),
            ("id > 9", ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn times_prune_by_their_period() {
    // 1969-12-31, 2024-02-29 and NULL.
    let days = [Some(Literal::date(-1)), Some(Literal::date(19_782)), None];
    check_pruning(
        field(3, 1000, "day"),
        &days,
        &[
            ("at = '2024-02-29T23:59:59.999999Z'", "b"),
            ("at = '2024-03-01T00:00:00Z'", ""),
            ("at < '1970-01-01T00:00:00Z'", "a"),
            ("at < '1969-12-30T00:00:00Z'", ""),
            ("at is null", "c"),
        ],
    )
    .await;
    let months = [Some(Literal::int(-1)), Some(Literal::int(649)), None];
    check_pruning(
        field(5, 1000, "month"),
        &months,
        &[
            ("day = '2024-02-29'", "b"),
            ("day = '1969-12-01'", "a"),
            ("day = '2024-03-01'", ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn truncated_texts_prune_by_prefix() {
    let values = [
        Some(Literal::string("ab")),
        Some(Literal::string("z")),
        Some(Literal::string("\u{10ffff}")),
        None,
    ];
    check_pruning(
        field(2, 1000, "truncate[2]"),
        &values,
        &[
            ("name = 'abc'", "a"),
            ("name = 'ad'", ""),
            ("name > 'zz'", "bc"),
            ("name is null", "d"),
        ],
    )
    .await;
}

#[tokio::test]
async fn truncated_numbers_prune_by_width() {
    let values = [
        Some(Literal::long(-10)),
        Some(Literal::long(0)),
        Some(Literal::long(i64::MAX - 7)),
        None,
    ];
    check_pruning(
        field(1, 1000, "truncate[10]"),
        &values,
        &[
            // Truncating the least numbers comes out at the upper end.
            ("id = -1", "ac"),
            ("id = -11", "c"),
            ("id = 9", "bc"),
            ("id = 9223372036854775807", "c"),
        ],
    )
    .await;
}

#[tokio::test]
async fn buckets_prune_by_equality() {
    use iceberg::spec::Transform;
    let function = iceberg::transform::create_transform_function(&Transform::Bucket(4)).unwrap();
    let bucket = |id: i64| match function.transform_literal(&Datum::long(id)).unwrap().unwrap().literal() {
        iceberg::spec::PrimitiveLiteral::Int(bucket) => *bucket,
        _ => unreachable!("a bucket is a number"),
    };
    let values: Vec<Option<Literal>> = (0..4).map(|bucket| Some(Literal::int(bucket))).chain([None]).collect();
    for id in [0_i64, -5, 34, i64::MAX] {
        let expect = char::from(b'a' + u8::try_from(bucket(id)).unwrap()).to_string();
        check_pruning(
            field(1, 1000, "bucket[4]"),
            &values,
            &[
                (&format!("id = {id}"), &expect),
                (&format!("id <> {id}"), "abcd"),
                ("id is null", "e"),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn column_bounds_prune_and_travel() {
    let known = |name: &str, lower: i64, upper: i64| {
        let mut file = file(name, Struct::empty());
        file.lower_bounds(bounds(1, Datum::long(lower)))
            .upper_bounds(bounds(1, Datum::long(upper)));
        file.null_value_counts(std::collections::HashMap::from([(1, 0)]));
        file.build().unwrap()
    };
    let nan = |name: &str, nans: Option<u64>| {
        let mut file = file(name, Struct::empty());
        file.lower_bounds(bounds(4, Datum::double(0.0)))
            .upper_bounds(bounds(4, Datum::double(1.0)));
        file.nan_value_counts(nans.into_iter().map(|nans| (4, nans)).collect());
        file.build().unwrap()
    };
    let files = vec![
        known("a", 1, 5),
        known("b", 6, 9),
        nan("c", None),
        nan("d", Some(0)),
        nan("e", Some(1)),
    ];
    let lake = Fixture::new(&[json!([])], vec![part(0, 1, files)]).await;
    let check = async |filter: &str, expect: &str| {
        assert_eq!(
            names(&lake.files(Some(filter)).await.unwrap()).concat(),
            expect,
            "{filter}"
        );
    };
    check("id = 3", "acde").await;
    check("id > 5", "bcde").await;
    check("id is null", "cde").await;
    // Bounds of floating point columns leave NaN out.
    check("price > 2", "abcde").await;
    check("price = -0.0", "abcde").await;
    let list = lake.files(None).await.unwrap();
    let first = &list.sets[0].files[0];
    assert_eq!(first.columns[0].lower, Some(ScalarValue::Int64(Some(1))));
    assert_eq!(
        (first.columns[0].nulls, first.rows, first.size_bytes),
        (Some(0), Some(10), 100)
    );
    assert_eq!(list.pruned.files_total, 5);
}

#[tokio::test]
async fn every_partition_spec_has_its_own_constants() {
    let by_name = file("a", tuple(&[Some(Literal::string("x"))])).build().unwrap();
    let whole = file("b", Struct::empty()).build().unwrap();
    let by_day = file("c", tuple(&[Some(Literal::date(3))])).build().unwrap();
    let specs = [
        json!([field(2, 1000, "identity")]),
        json!([]),
        json!([field(5, 1001, "identity")]),
    ];
    let parts = vec![
        part(0, 1, vec![by_name]),
        part(1, 2, vec![whole]),
        part(2, 3, vec![by_day]),
    ];
    let lake = Fixture::new(&specs, parts).await;
    let list = lake.files(None).await.unwrap();
    let sets = list
        .sets
        .iter()
        .map(|set| (set.constant_columns.clone(), set.files[0].constants.clone()));
    let text = ScalarValue::Utf8View(Some("x".to_owned()));
    let expect = [
        (vec![], vec![]),
        (vec![1], vec![text]),
        (vec![4], vec![ScalarValue::Date32(Some(3))]),
    ];
    assert_eq!(sets.collect::<Vec<_>>(), expect);
    assert_eq!(names(&lake.files(Some("name = 'y'")).await.unwrap()).concat(), "bc");
    let sequences: Vec<i64> = list
        .sets
        .iter()
        .flat_map(|set| &set.files)
        .map(|file| file.sequence)
        .collect();
    assert_eq!(sequences, [2, 1, 3]);
}

fn positions(name: &str, partition: Struct, paths: Option<(&str, &str)>) -> File {
    let mut file = file(name, partition);
    file.content(DataContentType::PositionDeletes);
    if let Some((lower, upper)) = paths {
        file.lower_bounds(bounds(2_147_483_546, Datum::string(lower)));
        file.upper_bounds(bounds(2_147_483_546, Datum::string(upper)));
    }
    file.build().unwrap()
}

fn vector(data_file: &str, offset: i64) -> File {
    let mut file = file("v.puffin", tuple(&[Some(Literal::long(1))]));
    file.content(DataContentType::PositionDeletes)
        .file_format(DataFileFormat::Puffin)
        .record_count(3);
    file.referenced_data_file(Some(data_file.to_owned()));
    file.content_offset(Some(offset)).content_size_in_bytes(Some(40));
    file.build().unwrap()
}

/// Names of the delete files of each data file, `a1 b` for the sources 1 of a and none of b.
async fn check_deletes(parts: Vec<Part>, expect: &str) {
    let lake = Fixture::new(&[json!([field(1, 1000, "identity")]), json!([])], parts).await;
    let list = lake.files(None).await.unwrap();
    let files = list.sets.iter().flat_map(|set| &set.files).map(|file| {
        let sources = file
            .deletes
            .iter()
            .flat_map(|deletes| &deletes.sources)
            .map(|source| match source {
                DeleteSource::Positions { path, .. } => path.filename().unwrap().to_owned(),
                DeleteSource::Vector {
                    offset,
                    cardinality,
                    frame,
                    ..
                } => {
                    assert_eq!((*cardinality, *frame), (3, VectorFrame::Puffin));
                    format!("v{offset}")
                }
                DeleteSource::Inline { .. } => unreachable!("Iceberg has none"),
            });
        format!("{}{}", file.path.filename().unwrap(), sources.collect::<String>())
    });
    let mut files: Vec<String> = files.collect();
    files.sort();
    assert_eq!(files.join(" "), expect);
}

#[tokio::test]
async fn position_deletes_apply_to_older_files_of_their_partition() {
    let one = || tuple(&[Some(Literal::long(1))]);
    let two = || tuple(&[Some(Literal::long(2))]);
    let data = |name: &str, partition: Struct| file(name, partition).build().unwrap();
    check_deletes(
        vec![
            part(0, 1, vec![data("a", one()), data("b", two())]),
            part(0, 3, vec![data("c", one())]),
            part(1, 1, vec![data("d", Struct::empty())]),
            delete_part(0, 2, vec![positions("1", one(), None)]),
            delete_part(0, 3, vec![positions("2", one(), None)]),
            delete_part(1, 9, vec![positions("3", Struct::empty(), None)]),
        ],
        "a12 b c2 d3",
    )
    .await;
}

#[tokio::test]
async fn path_bounds_narrow_position_deletes() {
    let none = Struct::empty;
    let data = |name: &str| file(name, none()).build().unwrap();
    let cut = "/data/b.parqu";
    check_deletes(
        vec![
            part(1, 1, vec![data("a.parquet"), data("b.parquet"), data("c.parquet")]),
            delete_part(
                1,
                2,
                vec![
                    positions("1", none(), Some(("/data/a.parquet", "/data/a.parquet"))),
                    positions("2", none(), Some(("/data/b", "/data/z"))),
                    positions("3", none(), Some((cut, cut))),
                ],
            ),
        ],
        "a.parquet1 b.parquet23 c.parquet2",
    )
    .await;
}

#[tokio::test]
async fn a_vector_replaces_position_deletes() {
    let one = || tuple(&[Some(Literal::long(1))]);
    let data = |name: &str| file(name, one()).build().unwrap();
    let parts = |vectors: Vec<File>| {
        vec![
            part(0, 1, vec![data("a"), data("b")]),
            delete_part(0, 2, vec![positions("1", one(), None)]),
            delete_part(0, 3, vectors),
        ]
    };
    check_deletes(parts(vec![vector("/data/a", 4)]), "av4 b1").await;
    let twice = parts(vec![vector("/data/a", 4), vector("/data/a", 90)]);
    let lake = Fixture::new(&[json!([field(1, 1000, "identity")])], twice).await;
    let error = lake.files(None).await.unwrap_err().to_string();
    assert!(error.contains("/data/a has two deletion vectors"), "{error}");
}

#[tokio::test]
async fn equality_deletes_are_scoped_to_their_partition_unless_they_have_none() {
    let one = || tuple(&[Some(Literal::long(1))]);
    let two = || tuple(&[Some(Literal::long(2))]);
    let data = |name: &str, partition: Struct| file(name, partition).build().unwrap();
    let delete = |name: &str, partition: Struct, ids: &[i32]| {
        let mut file = file(name, partition);
        file.content(DataContentType::EqualityDeletes)
            .equality_ids(Some(ids.to_vec()));
        file.build().unwrap()
    };
    let parts = vec![
        part(0, 1, vec![data("a", one())]),
        part(0, 5, vec![data("b", two())]),
        delete_part(0, 2, vec![delete("1", one(), &[4, 2]), delete("2", two(), &[2])]),
        delete_part(1, 5, vec![delete("3", Struct::empty(), &[1])]),
        delete_part(1, 1, vec![delete("4", Struct::empty(), &[1])]),
    ];
    let lake = Fixture::new(&[json!([field(1, 1000, "identity")]), json!([])], parts).await;
    let list = lake.files(None).await.unwrap();
    let deletes = list.equality_deletes.iter().map(|delete| {
        let columns = delete.equality_columns.iter().map(|field| field.name().as_str());
        let columns: Vec<&str> = columns.collect();
        (
            delete.path.filename().unwrap(),
            delete.sequence,
            delete.table_partition,
            columns.join(","),
        )
    });
    let expect = [
        ("1", 2, Some(0), "name,price".to_owned()),
        ("3", 5, None, "id".to_owned()),
    ];
    assert_eq!(deletes.collect::<Vec<_>>(), expect);
    let partitions = list.sets[0]
        .files
        .iter()
        .map(|file| (file.sequence, file.table_partition));
    assert_eq!(partitions.collect::<Vec<_>>(), [(1, Some(0)), (5, None)]);
    // Where the scan reads one partition only, the deletes of others are not read.
    let list = lake.files(Some("id = 2")).await.unwrap();
    assert_eq!(
        (names(&list).concat(), list.equality_deletes.len()),
        ("b".to_owned(), 0)
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let check = async |spec: i32, data: File, expect: &str| {
        let parts = vec![
            Part {
                deletes: data.content_type() != DataContentType::Data,
                ..part(spec, 2, vec![data])
            },
            part(spec, 1, vec![file("a", Struct::empty()).build().unwrap()]),
        ];
        let lake = Fixture::new(&[json!([])], parts).await;
        let error = lake.files(None).await.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    let with = |format: DataFileFormat, content: DataContentType| {
        let mut file = file("x", Struct::empty());
        file.content(content).file_format(format).equality_ids(Some(vec![1]));
        file.build().unwrap()
    };
    check(
        0,
        with(DataFileFormat::Orc, DataContentType::Data),
        "data files of the format ORC",
    )
    .await;
    check(
        0,
        with(DataFileFormat::Avro, DataContentType::PositionDeletes),
        "position delete files of the format AVRO",
    )
    .await;
    check(
        0,
        with(DataFileFormat::Orc, DataContentType::EqualityDeletes),
        "equality delete files of the format ORC",
    )
    .await;
}

#[tokio::test]
async fn versions_of_the_past_have_their_columns() {
    let lake = Fixture::new(
        &[json!([])],
        vec![part(0, 1, vec![file("a", Struct::empty()).build().unwrap()])],
    )
    .await;
    let check = |as_of: AsOf, expect: Result<(i64, usize), &str>| match (lake.at(&as_of), expect) {
        (Ok(snapshot), Ok(expect)) => {
            assert_eq!(
                (snapshot.id().unwrap(), snapshot.schema().fields().len()),
                expect,
                "{as_of:?}"
            );
        }
        (Err(error), Err(expect)) => {
            let text = format!("{error}; {}", error.hint().unwrap_or_default());
            assert!(text.contains(expect), "{as_of:?}: {text}");
        }
        (got, expect) => panic!("{as_of:?}: {got:?}, not {expect:?}"),
    };
    check(AsOf::Latest, Ok((7, 5)));
    check(AsOf::Version(6), Ok((6, 1)));
    check(AsOf::Version(8), Err("its newest snapshots are 7, 6"));
    check(AsOf::Timestamp(1_999_999), Ok((6, 1)));
    check(AsOf::Timestamp(2_000_000), Ok((7, 5)));
    check(
        AsOf::Timestamp(999_999),
        Err("its oldest snapshot is of 1970-01-01T00:00:01"),
    );
    check(AsOf::Ref("old".to_owned()), Ok((6, 5)));
    check(AsOf::Ref("first".to_owned()), Ok((6, 1)));
    check(AsOf::Ref("new".to_owned()), Err("branches and tags first, main, old"));
}
