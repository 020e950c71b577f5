//! The metadata tables of a small table, as text.

use arrow::util::pretty::pretty_format_batches;
use iceberg::spec::{DataContentType, Literal, Struct};
use serde_json::json;

use super::super::read::fixture::{Fixture, Part, file};
use super::*;
use crate::snapshot::AsOf;

async fn check(what: MetadataTable, expect: &[&str]) {
    let day = || Struct::from_iter([Some(Literal::date(19_782))]);
    let spec = json!([{"source-id": 5, "field-id": 1000, "name": "day", "transform": "identity"}]);
    let mut delete = file("d", day());
    delete
        .content(DataContentType::EqualityDeletes)
        .equality_ids(Some(vec![1]));
    let part = |deletes: bool, files| Part {
        spec_id: 0,
        sequence: 1,
        deletes,
        files,
    };
    let data = ["a", "b"].map(|name| file(name, day()).build().unwrap());
    let parts = vec![part(false, data.to_vec()), part(true, vec![delete.build().unwrap()])];
    let lake = Fixture::new(&[spec], parts).await;
    let batch = lake.at(&AsOf::Latest).unwrap().inspect(what).await.unwrap();
    let text = pretty_format_batches(&[batch]).unwrap().to_string().replace(' ', "");
    for line in expect {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn versions_are_listed() {
    let first = "|1970-01-01T00:00:01Z|6||append|";
    check(
        MetadataTable::Snapshots,
        &[
            "committed_at|snapshot_id|parent_id|operation|manifest_list|summary",
            first,
        ],
    )
    .await;
    let second = "|1970-01-01T00:00:02Z|7|6|true|";
    check(MetadataTable::History, &["|1970-01-01T00:00:01Z|6||true|", second]).await;
    check(
        MetadataTable::Refs,
        &["|first|TAG|6|", "|main|BRANCH|7|", "|old|BRANCH|6|"],
    )
    .await;
}

#[tokio::test]
async fn files_and_partitions_are_listed() {
    check(
        MetadataTable::Manifests,
        &["|2|0|0|0|0|0|", "|0|0|0|1|0|0|", "lower_bound:2024-02-29"],
    )
    .await;
    let partition = "{\"day\":\"2024-02-29\"}";
    let data = format!("|0|/data/a|PARQUET|0|{partition}|10|100|");
    let delete = format!("|2|/data/d|PARQUET|0|{partition}|10|100|[1]|");
    check(MetadataTable::Files, &[&data, &delete]).await;
    check(
        MetadataTable::Partitions,
        &[&format!("|{partition}|0|20|2|200|0|0|10|1|1970-01-01T00:00:02Z|7|")],
    )
    .await;
    check(MetadataTable::Properties, &["|key|value|"]).await;
}
