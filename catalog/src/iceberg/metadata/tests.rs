//! Metadata that the crate would refuse, mended, and what it forgets, kept.

use serde_json::json;

use super::*;

pub(super) fn whole() -> Value {
    json!({
        "format-version": 3, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": "file:///t",
        "last-sequence-number": 2, "last-updated-ms": 2, "last-column-id": 2,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": [
            {"id": 1, "name": "a", "type": "timestamp_ns", "required": false, "initial-default": "2020-01-01T00:00:00"},
        ]}],
        "current-schema-id": 0, "partition-specs": [{"spec-id": 0, "fields": []}], "default-spec-id": 0,
        "last-partition-id": 999, "sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0,
        "current-snapshot-id": 9_876_543_210_123_456_789_u64,
        "snapshots": [{
            "snapshot-id": 9_876_543_210_123_456_789_u64, "parent-snapshot-id": 5, "sequence-number": 2,
            "timestamp-ms": 2, "manifest-list": "file:///l", "summary": {"operation": "append"},
            "first-row-id": 10, "added-rows": 5,
        }],
        "refs": {
            "main": {"snapshot-id": 9_876_543_210_123_456_789_u64, "type": "branch"},
            "tag": {"snapshot-id": 9_876_543_210_123_456_789_u64, "type": "tag"},
        },
    })
}

fn parse(json: &Value) -> Metadata {
    Metadata::parse(json.to_string().as_bytes()).unwrap()
}

#[test]
fn unsigned_snapshot_ids_are_signed() {
    let metadata = parse(&whole());
    let id = 9_876_543_210_123_456_789_u64.cast_signed();
    assert_eq!(metadata.table.current_snapshot_id(), Some(id));
    let refs = metadata.refs();
    assert_eq!(refs["main"].snapshot_id, id);
    assert!(refs["main"].is_branch() && !refs["tag"].is_branch());
}

#[test]
fn a_missing_next_row_id_is_the_first_that_is_free() {
    assert_eq!(parse(&whole()).table.next_row_id(), 15);
}

#[test]
fn refs_are_known_of_metadata_that_a_catalog_sent() {
    let mut json = whole();
    assert!(
        Metadata::of_catalog(parse(&json).table.as_ref().clone()).is_none(),
        "its default would be lost"
    );
    json["schemas"][0]["fields"][0]["type"] = json!("timestamp");
    let metadata = Metadata::of_catalog(parse(&json).table.as_ref().clone()).unwrap();
    assert_eq!(metadata.refs().into_keys().collect::<Vec<_>>(), ["main", "tag"]);
}

#[test]
fn defaults_are_kept_as_they_are_written() {
    let defaults = parse(&whole()).initial_defaults;
    assert_eq!(defaults[&(1, "timestamp_ns".to_owned())], json!("2020-01-01T00:00:00"));
}

#[test]
fn version_1_snapshots_name_their_manifests() {
    let json = json!({
        "format-version": 1, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": "file:///t",
        "last-updated-ms": 1, "last-column-id": 1, "partition-spec": [], "current-snapshot-id": 1,
        "schema": {"type": "struct", "fields": [{"id": 1, "name": "a", "type": "int", "required": false}]},
        "snapshots": [{"snapshot-id": 1, "timestamp-ms": 1, "manifests": ["file:///m"]}],
    });
    let metadata = parse(&json);
    assert_eq!(metadata.inline_manifests[&1], ["file:///m"]);
    assert_eq!(metadata.refs().into_keys().collect::<Vec<_>>(), ["main"]);
}

#[test]
fn gzip_is_unpacked_and_damage_is_told() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(whole().to_string().as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    assert!(Metadata::parse(&packed).is_ok());
    assert!(Metadata::parse(&packed[..40]).is_err());
    for damaged in ["", "[]", "{}", "{\"a\": 1}\n{\"a\": 2}", "{\"format-version\": 9}"] {
        assert!(Metadata::parse(damaged.as_bytes()).is_err(), "{damaged}");
    }
}

#[test]
fn types_that_are_not_read_are_named() {
    let check = |of: Value, expect: &str| {
        let mut json = whole();
        json["schemas"][0]["fields"][0]["type"] = of;
        match Metadata::parse(json.to_string().as_bytes()) {
            Err(Defect::Unsupported(feature)) => assert_eq!(feature, expect),
            other => panic!("{other:?}"),
        }
    };
    check(json!("variant"), "the column a of the type variant");
    check(
        json!("geometry(OGC:CRS84)"),
        "the column a of the type geometry(OGC:CRS84)",
    );
    let list = json!({"type": "list", "element-id": 9, "element": "unknown", "element-required": false});
    check(list, "the column element of the type unknown");
}
