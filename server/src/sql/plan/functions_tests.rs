//! What stands in the place of calls.

use datafusion::prelude::SessionContext;

use super::*;
use crate::sql::ddl::function::{Argument, FunctionKind};

fn functions(state: &SessionState) -> Functions {
    let mut functions = HashMap::new();
    let argument = |name: &str, default: Option<&str>| Argument {
        name: name.to_owned(),
        sql_type: "INT".to_owned(),
        default: default.map(str::to_owned),
    };
    for (name, arguments, text) in [
        ("twice", vec![argument("x", None)], "SELECT x + x"),
        ("add", vec![argument("x", None), argument("y", Some("1"))], "x + y"),
        ("total", vec![argument("x", None)], "power(sum(x), 2)"),
        ("four", Vec::new(), "4"),
    ] {
        let kind = match name {
            "total" => FunctionKind::Aggregate,
            _ => FunctionKind::Scalar,
        };
        let ready = Ready {
            name: TableName::new("lake", "shop", name),
            types: arguments.iter().map(|_| DataType::Int(None)).collect(),
            defaults: arguments
                .iter()
                .map(|argument| argument.default.as_deref().map(|text| body(text).unwrap()))
                .collect(),
            returns: DataType::BigInt(None),
            body: body(text).unwrap(),
            function: Function {
                kind,
                arguments,
                returns: "BIGINT".to_owned(),
                volatility: None,
                body: text.to_owned(),
                catalog: "lake".to_owned(),
                namespace: "shop".to_owned(),
                comment: None,
            },
        };
        functions.insert(vec!["shop".to_owned(), name.to_owned()], ready);
    }
    assert!(!is_built_in(state, "twice") && is_built_in(state, "sum") && is_built_in(state, "unnest"));
    functions
}

fn expanded(sql: &str) -> Result<String> {
    let state = SessionContext::new().state();
    let Statement::Query { query, .. } = Statement::parse(sql)? else {
        panic!("{sql} is no query");
    };
    let Parsed::Statement(mut statement) = *query else {
        panic!("{sql} is no query");
    };
    write_out(statement.as_mut(), &functions(&state), &state)?;
    Ok(statement.to_string())
}

#[test]
fn bodies_stand_in_the_place_of_calls() {
    let check = |sql: &str, expect: &str| assert_eq!(expanded(sql).unwrap(), expect, "{sql}");
    check(
        "SELECT shop.twice(a) AS b FROM t",
        "SELECT CAST(CAST(a AS INT) + CAST(a AS INT) AS BIGINT) AS b FROM t",
    );
    check("SELECT 1 WHERE shop.four() = x", "SELECT 1 WHERE CAST(4 AS BIGINT) = x");
    // An argument that is a column of the same name is that column.
    check(
        "SELECT 1 WHERE shop.add(y, x) > 0",
        "SELECT 1 WHERE CAST(CAST(y AS INT) + CAST(x AS INT) AS BIGINT) > 0",
    );
    check(
        "SELECT 1 WHERE SHOP.Add(Y => 2, x => shop.four()) > 0",
        "SELECT 1 WHERE CAST(CAST(CAST(4 AS BIGINT) AS INT) + CAST(2 AS INT) AS BIGINT) > 0",
    );
    check(
        "SELECT 1 WHERE shop.add(a) > 0",
        "SELECT 1 WHERE CAST(CAST(a AS INT) + CAST(1 AS INT) AS BIGINT) > 0",
    );
    check("SELECT twice(a) AS b FROM t", "SELECT twice(a) AS b FROM t");
}

#[test]
fn columns_are_called_as_they_were_written() {
    let check = |sql: &str, expect: &str| assert_eq!(expanded(sql).unwrap(), expect, "{sql}");
    check("SELECT shop.four()", "SELECT CAST(4 AS BIGINT) AS \"four()\"");
    check(
        "SELECT a, 1 + shop.four() FROM t",
        "SELECT a, 1 + CAST(4 AS BIGINT) AS \"1 + shop.four()\" FROM t",
    );
    check(
        "SELECT shop.total(a) FROM t",
        "SELECT CAST(power(sum(CAST(a AS INT)), 2) AS BIGINT) AS \"total(a)\" FROM t",
    );
}

#[test]
fn calls_that_do_not_fit_are_refused() {
    let check = |sql: &str, says: &str| {
        let error = expanded(sql).unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
    };
    check("SELECT shop.twice()", "takes (x INT)");
    check("SELECT shop.add(1, 2, 3)", "takes (x INT, y INT DEFAULT 1)");
    check("SELECT shop.add(1, z => 2)", "takes (x INT");
    check("SELECT shop.add(1, x => 2)", "takes (x INT");
    check(
        "SELECT shop.total(DISTINCT a) FROM t",
        "aggregate function lake.shop.total",
    );
    check("SELECT shop.twice(a) OVER () FROM t", "scalar function lake.shop.twice");
    // Two copies of the argument would be two numbers.
    check("SELECT shop.twice(random())", "its argument x more than once");
    assert!(expanded("SELECT shop.add(random())").is_ok());
    let nested = (0..12).fold("1".to_owned(), |inner, _| format!("shop.twice({inner})"));
    check(&format!("SELECT {nested}"), "too large");
}

#[test]
fn a_body_is_an_expression_of_its_arguments() {
    assert_eq!(body(" select x + 1; ").unwrap().to_string(), "x + 1");
    assert_eq!(body("x + 1 -- more").unwrap().to_string(), "x + 1");
    let refused = |text: &str| {
        let error = body(text).unwrap_err();
        assert_eq!(error.kind(), proto::ErrorKind::InvalidInput, "{text}: {error}");
    };
    refused("SELECT x FROM t");
    refused("SELECT x, y");
    refused("SELECT x LIMIT 1");
    refused("SELECT x WHERE x > 1");
    refused("x, y");
    refused("SELECT ?");
    let check = |text: &str, says: &str| {
        let error = check_names(&body(text).unwrap(), &["x", "Y"]).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    };
    check_names(&body("X + \"Y\" + extract(year FROM x)").unwrap(), &["x", "Y"]).unwrap();
    check("x + y", "names y");
    check("x.a", "names x.a");
    check("(SELECT max(x) FROM t)", "a query");
    check("EXISTS (SELECT 1)", "a query");
}
