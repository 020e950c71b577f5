//! Which files a filter keeps.

use serde_json::{Value, json};

use crate::delta::fixture::{Table, add, created, field, list, stats};

/// Statistics of the files `a`, `b`, .. of a table with one column `x` -> those that a filter keeps.
async fn check(kind: &str, files: &[Value], cases: &[(&str, &[&str])]) {
    let table = Table::new();
    let mut actions = created(&[field("x", kind, json!({}))], &[], json!({}), &[]);
    for (stats, name) in files.iter().zip("abcdef".chars()) {
        actions.push(add(&name.to_string(), json!({}), stats.clone()));
    }
    table.commit(0, &actions);
    for (filter, expect) in cases {
        assert_eq!(table.files(filter).await.unwrap(), *expect, "{filter}");
    }
    let snapshot = table.latest().await.unwrap();
    let pruned = list(&snapshot, cases[0].0).await.unwrap().pruned;
    assert_eq!(pruned.files_total, files.len() as u64);
    assert_eq!(pruned.files_read, cases[0].1.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_pruned_by_their_statistics() {
    let loose = json!({"numRecords": 3, "minValues": {"x": 0}, "maxValues": {"x": 9}, "nullCount": {"x": 0},
                       "tightBounds": false});
    let files = [
        stats(3, json!(1), json!(5), 0),
        stats(3, json!(6), json!(9), 1),
        json!({"numRecords": 2, "nullCount": {"x": 2}}),
        Value::Null,
        loose,
    ];
    let cases: [(&str, &[&str]); 5] = [
        ("x = 5", &["a", "d", "e"]),
        ("x > 9", &["d"]),
        ("x IS NULL", &["b", "c", "d"]),
        ("x IS NOT NULL", &["a", "b", "d", "e"]),
        ("x + x > 100", &["a", "b", "c", "d", "e"]),
    ];
    check("long", &files, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_that_are_no_bounds_keep_the_file() {
    let texts = [stats(1, json!("alpha"), json!("be\u{10ffff}"), 0)];
    check("string", &texts, &[("x = 'bee'", &["a"]), ("x = 'c'", &[])]).await;
    // Writers disagree about NaN, so floats bound nothing at either end.
    let doubles = [stats(2, json!(0.0), json!(1.0), 0)];
    check("double", &doubles, &[("x > 5.0", &["a"]), ("x < -1.0", &["a"])]).await;
    let times = [stats(
        1,
        json!("2020-01-01T00:00:00.123Z"),
        json!("2020-01-01T00:00:00.123Z"),
        0,
    )];
    let late = "x = TIMESTAMP '2020-01-01T00:00:00.123456Z'";
    check(
        "timestamp",
        &times,
        &[(late, &["a"]), ("x > TIMESTAMP '2020-01-01T00:00:00.124Z'", &[])],
    )
    .await;
    // One unreadable value costs bounds, never rows.
    let damaged = [
        stats(1, json!("no number"), json!(3), 0),
        stats(1, json!(7), json!(8), 0),
    ];
    check("long", &damaged, &[("x = 8", &["a", "b"])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_pruned_by_their_partition() {
    let table = Table::new();
    let fields = [field("x", "long", json!({})), field("p", "string", json!({}))];
    let mut actions = created(&fields, &["p"], json!({}), &[]);
    actions.push(add("a", json!({"p": "A"}), Value::Null));
    actions.push(add("n", json!({"p": null}), Value::Null));
    actions.push(add("s", json!({"p": "S"}), stats(1, json!(1), json!(1), 0)));
    table.commit(0, &actions);
    let check =
        async |filter: &str, expect: &[&str]| assert_eq!(table.files(filter).await.unwrap(), expect, "{filter}");
    check("p = 'A'", &["a"]).await;
    check("p IS NULL", &["n"]).await;
    check("p IS NOT NULL", &["a", "s"]).await;
    check("p <> 'A'", &["s"]).await;
    check("p = 'S' AND x = 2", &[]).await;
    check("x IS NULL", &["a", "n"]).await;
    check("p = 'A' OR x = 1", &["a", "n", "s"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_decoded_once() {
    let check = async |path: &str, expect: &str| {
        let table = Table::new();
        let mut actions = created(&[field("x", "long", json!({}))], &[], json!({}), &[]);
        actions.push(add(path, json!({}), Value::Null));
        table.commit(0, &actions);
        let list = list(&table.latest().await.unwrap(), "").await.unwrap();
        let expect = expect.replace("ROOT", table.location().trim_start_matches('/'));
        assert_eq!(list.sets[0].files[0].path.as_ref(), expect, "{path}");
    };
    check("x=A%252FA/f", "ROOT/x=A%2FA/f").await;
    check("a%20b/%C3%BC+=", "ROOT/a b/ü+=").await;
    check("file:///other/a%20b", "other/a b").await;
    check("/other/f", "other/f").await;
}
