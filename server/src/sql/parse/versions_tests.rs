//! Which spellings name which version, and what is left alone or refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::sql::parse::Statement;

fn parse(sql: &str) -> Result<(String, Vec<VersionedTable>)> {
    match Statement::parse(sql)? {
        Statement::Query { query, versions, .. } => Ok((query.to_string(), versions)),
        other => panic!("{sql}: {other:?}"),
    }
}

/// What stands for the table in the statement, and its version.
fn check(sql: &str, expect: &str, table: &str, version: &Version) {
    let (query, versions) = parse(sql).unwrap();
    assert_eq!(query, expect, "{sql}");
    let found: Vec<_> = versions.iter().map(|v| (v.table.as_str(), &v.version)).collect();
    assert_eq!(found, [(table, version)], "{sql}");
}

#[test]
fn every_spelling_names_a_version() {
    let expect = r#"SELECT * FROM "t FOR VERSION AS OF 7" AS "t""#;
    for clause in [
        "FOR VERSION AS OF 7",
        "for version as of 7",
        "FOR SYSTEM_VERSION AS OF 7",
        "VERSION AS OF 7",
        "SYSTEM_VERSION\n AS /* */ OF 7",
    ] {
        check(&format!("SELECT * FROM t {clause}"), expect, "t", &Version::Number(7));
    }
    check(
        "SELECT x.a FROM lake.ns.T FOR VERSION AS OF 'o''clock' x WHERE x.a = 1",
        r#"SELECT x.a FROM lake.ns."t FOR VERSION AS OF 'o''clock'" x WHERE x.a = 1"#,
        "t",
        &Version::Ref("o'clock".to_owned()),
    );
    check(
        r#"SELECT * FROM delta."file:///T" VERSION AS OF -1 AS x, u"#,
        r#"SELECT * FROM delta."file:///T FOR VERSION AS OF -1" AS x, u"#,
        "file:///T",
        &Version::Number(-1),
    );
}

#[test]
fn points_in_time_are_expressions() {
    for (clause, text) in [
        ("FOR TIMESTAMP AS OF '2026-01-01'", "'2026-01-01'"),
        (
            "TIMESTAMP AS OF TIMESTAMP '2026-01-01 00:00:00'",
            "TIMESTAMP '2026-01-01 00:00:00'",
        ),
        (
            "FOR SYSTEM_TIME AS OF now() - INTERVAL '1 day'",
            "now() - INTERVAL '1 day'",
        ),
    ] {
        for tail in [" AS x", " x", " JOIN u ON true", " WHERE a = 1", ""] {
            let (query, versions) = parse(&format!("SELECT * FROM t {clause}{tail}")).unwrap();
            assert!(query.contains(tail), "{clause}{tail}: {query}");
            assert_eq!(versions[0].name, format!("t FOR TIMESTAMP AS OF {text}"));
        }
    }
}

#[test]
fn versions_of_one_table_are_kept_apart() {
    let (query, versions) = parse(
        "WITH c AS (SELECT * FROM t FOR VERSION AS OF 1) SELECT * FROM c JOIN t VERSION AS OF 2 USING (a) \
         WHERE a IN (SELECT a FROM t FOR VERSION AS OF 1) AND a > (SELECT max(a) FROM t)",
    )
    .unwrap();
    assert_eq!(versions.len(), 2, "{query}");
    assert!(query.contains("max(a) FROM t)"), "{query}");
    let (query, versions) = parse("EXPLAIN ANALYZE SELECT * FROM t FOR VERSION AS OF 3").unwrap();
    assert_eq!(versions.len(), 1, "{query}");
}

#[test]
fn other_uses_of_the_words_are_left_alone() {
    for sql in [
        "SELECT version AS of FROM t",
        "SELECT a, timestamp AS of FROM t",
        "SELECT (SELECT version AS of FROM t) FROM u",
        "SELECT t.version AS of FROM version AS of",
        "SELECT 'FOR VERSION AS OF 1'",
        "SELECT at.a FROM t at",
    ] {
        let (query, versions) = parse(sql).unwrap();
        assert_eq!((query.as_str(), versions.len()), (sql, 0));
    }
}

#[test]
fn only_tables_have_versions() {
    let check = |sql: &str, expect: &str| {
        let error = parse(sql).unwrap_err().to_string();
        assert!(error.contains(expect), "{sql}: {error}");
    };
    check(
        "WITH t AS (SELECT 1) SELECT * FROM t FOR VERSION AS OF 1",
        "behind \"t\", which is no table",
    );
    check(
        "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t VERSION AS OF 1) SELECT * FROM t",
        "which is no table",
    );
    check(
        "SELECT * FROM (SELECT 1) FOR VERSION AS OF 1",
        "FOR VERSION AS OF does not stand behind the name of a table",
    );
    check("SELECT * FROM f(1) FOR VERSION AS OF 1", "does not stand behind");
    check("SELECT * FROM f FOR VERSION AS OF 1 (2)", "which is no table");
    check(
        "SELECT * FROM information_schema.tables FOR VERSION AS OF 1",
        "which is no table",
    );
    check("SELECT * FROM t x FOR VERSION AS OF 1", "does not stand behind");
    check("DESCRIBE t FOR VERSION AS OF 1", "does not stand behind");
    assert!(parse("WITH t AS (SELECT * FROM t VERSION AS OF 1) SELECT * FROM t").is_ok());
    assert!(parse("WITH t AS (SELECT 1) SELECT * FROM ns.t VERSION AS OF 1").is_ok());
}

#[test]
fn what_is_no_version_is_refused_by_name() {
    let check = |clause: &str, expect: &str| {
        let sql = format!("SELECT * FROM t {clause}");
        let error = parse(&sql).unwrap_err().to_string();
        assert!(error.contains(expect), "{sql}: {error}");
    };
    check("FOR VERSION AS OF main", "in single quotes, and not main");
    check("FOR VERSION AS OF 1.5", "and not 1.5");
    check("FOR VERSION AS OF", "and not");
    check(
        "FOR VERSION AS OF ?",
        "a parameter behind FOR VERSION AS OF is not supported",
    );
    check(
        "FOR TIMESTAMP AS OF $1",
        "a parameter behind FOR TIMESTAMP AS OF is not supported",
    );
    check("TIMESTAMP AS OF t.a", "and not the column t.a");
    check("TIMESTAMP AS OF (SELECT max(a) FROM u)", "and not a query");
    check("PARTITION (a)", "PARTITION behind a table is not supported");
    check("TABLESAMPLE (10 PERCENT)", "TABLESAMPLE is not supported");
}

#[test]
fn a_version_and_a_table_of_its_name_are_not_mixed_up() {
    let sql = r#"SELECT * FROM t FOR VERSION AS OF 1 JOIN "t FOR VERSION AS OF 1" USING (a)"#;
    let error = parse(sql).unwrap_err().to_string();
    assert!(error.contains("in two statements"), "{error}");
}
