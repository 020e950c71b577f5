//! Which texts are queries, commands or refused, and how parameters are counted.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn query(sql: &str) -> (String, usize) {
    match Statement::parse(sql).unwrap() {
        Statement::Query { query, parameters, .. } => (query.to_string(), parameters),
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn the_parser_decides_what_a_statement_is() {
    for sql in [
        "SELECT 1",
        "/* {\"app\": \"dbt\"} */ select 1;",
        "-- insert into t\nSELECT 1",
        "SELECT 'INSERT INTO t'",
        "(select 1) union all (select 2)",
        "WITH insert_ AS (SELECT 1) SELECT * FROM insert_",
        "VALUES (1), (2)",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE VERBOSE SELECT 1",
        "DESCRIBE lake.tpch.orders",
        "DESCRIBE SELECT 1",
        "SHOW COLUMNS FROM t",
        "/* x */ EXECUTE p(1)",
        "EXPLAIN EXECUTE p(1)",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "EXPLAIN UPDATE t SET x = 1",
    ] {
        let statement = Statement::parse(sql).unwrap();
        assert!(matches!(statement, Statement::Query { .. }), "{sql}: {statement:?}");
        assert!(!statement.is_update(), "{sql}");
    }
    for sql in ["SHOW TABLES", "show catalogs", "SHOW FUNCTIONS", "SHOW time_zone"] {
        assert!(!Statement::parse(sql).unwrap().is_update(), "{sql}");
    }
    for sql in [
        "SET time_zone = 'UTC'",
        "/* x */ set batch_size to 10",
        "RESET time_zone",
        "USE lake.tpch",
        "/* SELECT */ PREPARE p (INT) AS SELECT ?",
        "-- x\nCREATE OR REPLACE TEMP VIEW v AS SELECT 1",
        "DROP VIEW v",
        "DEALLOCATE ALL",
        "DISCARD ALL",
    ] {
        assert!(Statement::parse(sql).unwrap().is_update(), "{sql}");
    }
}

#[test]
fn writes_are_refused_by_name_however_they_are_wrapped() {
    let check = |sql: &str, expect: &str| {
        let error = Statement::parse(sql).unwrap_err();
        assert_eq!(error.to_string(), expect, "{sql}");
        assert_eq!(error.kind(), proto::ErrorKind::Unsupported, "{sql}");
    };
    check("EXPLAIN CREATE SCHEMA s", "CREATE SCHEMA is not supported");
    check(
        "UPDATE t SET x = 1 FROM a, b",
        "UPDATE ... FROM with several tables is not supported: join them, as in a JOIN b ON ...",
    );
    check("SELECT 1 INTO t", "SELECT INTO is not supported: use CREATE TABLE AS");
    check(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'x'",
        "CREATE EXTERNAL TABLE is not supported: use CREATE TABLE",
    );
    check(
        "COPY t TO 'x.parquet'",
        "COPY is not supported: use INSERT and CREATE TABLE AS",
    );
    check("BEGIN", "BEGIN is not supported: every statement stands alone");
    check("COMMIT", "COMMIT is not supported: every statement stands alone");
    check("SHOW CREATE TABLE t", "SHOW CREATE is not supported");
}

#[test]
fn a_call_takes_one_statement() {
    let check = |sql: &str, expect: &str| {
        assert_eq!(Statement::parse(sql).unwrap_err().to_string(), expect, "{sql}");
    };
    check("", "the statement is empty");
    check(" ; -- nothing", "the statement is empty");
    check("select 1; select 2", "a call takes one statement, and this one has 2");
    assert!(Statement::parse("select 1;;").is_ok());
}

#[test]
fn parameters_are_numbered_in_the_order_of_the_text() {
    let check = |sql: &str, expect: &str, count: usize| {
        assert_eq!(query(sql), (expect.to_owned(), count), "{sql}");
    };
    check("SELECT ? + ?", "SELECT $1 + $2", 2);
    check("SELECT $2, $1, $2", "SELECT $2, $1, $2", 2);
    check("SELECT '?', \"?\" FROM t -- ?", "SELECT '?', \"?\" FROM t", 0);
    check(
        "SELECT a FROM t WHERE b = ? LIMIT ? OFFSET ?",
        "SELECT a FROM t WHERE b = $1 LIMIT $2 OFFSET $3",
        3,
    );
    check(
        "WITH x AS (SELECT ? AS a) SELECT a FROM x WHERE a > ?",
        "WITH x AS (SELECT $1 AS a) SELECT a FROM x WHERE a > $2",
        2,
    );
    for refused in [
        "SELECT ? + $1",
        "SELECT $0",
        "SELECT $name",
        "SELECT ?7",
        "SELECT $1001",
        "SELECT $18446744073709551616",
    ] {
        assert_eq!(
            Statement::parse(refused).unwrap_err().kind(),
            proto::ErrorKind::InvalidInput,
            "{refused}"
        );
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let check = |depth: usize, expect: &str| {
        let sql = format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(Statement::parse(&sql).unwrap_err().to_string(), expect);
    };
    check(100, "the statement is nested too deeply");
    check(100_000, "the statement chains more than 1000 operators or brackets");
}

#[test]
fn syntax_errors_have_a_position() {
    for sql in ["SELEC 1", "SELECT 1 FROM", "SELECT 'abc", "SELECT 1 1 1"] {
        let error = Statement::parse(sql).unwrap_err().to_string();
        assert!(
            error.starts_with("syntax error: ") && error.contains("Line: 1"),
            "{sql}: {error}"
        );
    }
}

#[test]
fn statements_that_write_are_found_behind_comments_and_names() {
    let check = |sql: &str, expect: &str, parameters: usize| match Statement::parse(sql).unwrap() {
        Statement::Write {
            statement,
            parameters: found,
            ..
        } => assert_eq!((statement.to_string().as_str(), found), (expect, parameters), "{sql}"),
        other => panic!("{sql}: {other:?}"),
    };
    check(
        "/* {\"app\": \"dbt\"} */ INSERT INTO t VALUES (?)",
        "INSERT INTO t VALUES ($1)",
        1,
    );
    check(
        "WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        0,
    );
    check(
        "WITH x AS (SELECT 1) INSERT INTO t WITH y AS (SELECT 2) SELECT * FROM y",
        "INSERT INTO t WITH x AS (SELECT 1), y AS (SELECT 2) SELECT * FROM y",
        0,
    );
    check("DELETE FROM t WHERE a = $2", "DELETE FROM t WHERE a = $2", 2);
    check("CREATE TABLE t AS SELECT ? AS a", "SELECT $1 AS a", 1);
    assert!(Statement::parse("INSERT INTO t SELECT 1").unwrap().is_update());
    let error = Statement::parse("UPDATE t SET a = 1, A = 2").unwrap_err();
    assert_eq!(error.to_string(), "the column \"a\" is set twice");
}
