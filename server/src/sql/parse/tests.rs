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
    let insert = "INSERT is not supported: this server reads tables and does not write them";
    check("INSERT INTO t VALUES (1)", insert);
    check("/* select */ INSERT INTO t SELECT 1", insert);
    check("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", insert);
    check("EXPLAIN INSERT INTO t VALUES (1)", insert);
    check("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", insert);
    check(
        "UPDATE t SET a = 1",
        "UPDATE is not supported: this server reads tables and does not write them",
    );
    check(
        "DELETE FROM t",
        "DELETE is not supported: this server reads tables and does not write them",
    );
    check(
        "TRUNCATE TABLE t",
        "TRUNCATE is not supported: this server reads tables and does not write them",
    );
    check(
        "SELECT * INTO t FROM u",
        "SELECT INTO is not supported: this server reads tables and does not write them",
    );
    check(
        "CREATE INDEX i ON t (a)",
        "CREATE INDEX is not supported: this server reads tables and does not write them",
    );
    check(
        "DROP INDEX i",
        "DROP INDEX is not supported: this server reads tables and does not write them",
    );
    check(
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE EXTERNAL TABLE is not supported: this server reads tables and does not write them",
    );
    check(
        "COPY t TO '/tmp/x.parquet'",
        "COPY is not supported: this server reads tables and does not write them",
    );
    check("BEGIN", "BEGIN is not supported: every statement stands alone");
    check("COMMIT", "COMMIT is not supported: every statement stands alone");
    check(
        "CREATE VIEW v AS SELECT 1",
        "CREATE VIEW is not supported: this server keeps no views; a session keeps those of CREATE TEMPORARY VIEW",
    );
    check("SET ROLE admin", "SET ROLE is not supported");
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
