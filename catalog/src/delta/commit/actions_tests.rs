//! Actions, member by member.

use super::*;

#[test]
fn statistics_get_wide_bounds_and_stay_as_they_are() {
    let check = |stats: &str, expect: &str| assert_eq!(wide_bounds(stats), expect);
    check(
        r#"{"numRecords":3,"tightBounds":true,"minValues":{"a":0.10,"b":"x\",\"tightBounds\":true"}}"#,
        r#"{"numRecords":3,"minValues":{"a":0.10,"b":"x\",\"tightBounds\":true"},"tightBounds":false}"#,
    );
    check(
        r#" { "numRecords" : 12345678901234567890.125 } "#,
        r#"{"numRecords":12345678901234567890.125,"tightBounds":false}"#,
    );
    check("{}", r#"{"tightBounds":false}"#);
    check("nonsense", "nonsense");
}

fn lines(draft: &Draft, ground: Ground) -> Vec<Value> {
    let bytes = draft.bytes(ground, 100, "id-1").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn rows_are_numbered_and_timed_where_the_table_wants_it() {
    let file = |rows| (add("a", &Texts::new(), 1, 1, "{}"), Some(rows));
    let mut old = file(7);
    old.0.insert("baseRowId".to_owned(), json!(3));
    let draft = Draft {
        adds: vec![file(5), old, file(2)],
        ..Draft::default()
    };
    let plain = Ground {
        version: 4,
        timestamp: None,
        row_id: None,
    };
    let found = lines(&draft, plain);
    assert_eq!(found.len(), 4);
    assert_eq!(found[0]["commitInfo"].get("inCommitTimestamp"), None);
    assert_eq!(found[1]["add"].get("baseRowId"), None);
    let tracked = Ground {
        timestamp: Some(100),
        row_id: Some(9),
        ..plain
    };
    let found = lines(&draft, tracked);
    assert_eq!(found[0]["commitInfo"]["inCommitTimestamp"], 101);
    assert_eq!(found[0]["commitInfo"]["txnId"], "id-1");
    let ids: Vec<&Value> = found[1..4].iter().map(|line| &line["add"]["baseRowId"]).collect();
    assert_eq!(ids, [&json!(10), &json!(3), &json!(15)]);
    assert_eq!(found[3]["add"]["defaultRowCommitVersion"], 4);
    assert_eq!(
        found[4]["domainMetadata"]["configuration"],
        "{\"rowIdHighWaterMark\":16}"
    );
    let unknown = Draft {
        adds: vec![(add("a", &Texts::new(), 1, 1, "{}"), None)],
        ..Draft::default()
    };
    assert!(unknown.bytes(tracked, 1, "").is_err());
}
