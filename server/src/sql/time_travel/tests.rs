//! Which point in time a text means, and in which zone.
#![allow(clippy::unwrap_used, reason = "tests")]

use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;
use crate::sql::parse::Statement;

fn as_of(zone: &str, clause: &str) -> Result<AsOf> {
    let mut config = SessionConfig::new();
    config.options_mut().execution.time_zone = Some(zone.to_owned());
    let mut state = SessionContext::new_with_config(config).state();
    state.mark_start_execution();
    let Statement::Query { versions, .. } = Statement::parse(&format!("SELECT * FROM t FOR TIMESTAMP AS OF {clause}"))?
    else {
        panic!("{clause}")
    };
    super::as_of(&state, &versions[0].version)
}

#[test]
fn texts_without_a_zone_are_in_that_of_the_session() {
    let check = |zone: &str, clause: &str, seconds: i64| {
        let expect = AsOf::Timestamp(seconds * 1_000_000);
        assert_eq!(as_of(zone, clause).unwrap(), expect, "{zone}: {clause}");
    };
    for clause in [
        "'2026-01-01 00:00:00'",
        "'2026-01-01'",
        "TIMESTAMP '2026-01-01 00:00:00'",
        "DATE '2026-01-01'",
        "CAST('2026-01-01' AS timestamp)",
        "TIMESTAMP '2025-12-31 00:00:00' + INTERVAL '1 day'",
        "to_timestamp('2026-01-01T00:00:00')",
    ] {
        check("UTC", clause, 1_767_225_600);
    }
    check("Europe/Berlin", "'2026-01-01 00:00:00'", 1_767_222_000);
    check("Europe/Berlin", "TIMESTAMP '2026-01-01 00:00:00'", 1_767_222_000);
    check("Europe/Berlin", "DATE '2026-01-01'", 1_767_222_000);
    check("Europe/Berlin", "'2026-01-01 00:00:00Z'", 1_767_225_600);
    check("+02:00", "TIMESTAMP '2026-01-01 00:00:00+00:00'", 1_767_225_600);
}

#[test]
fn now_is_the_start_of_the_statement() {
    let microseconds = |clause: &str| match as_of("Europe/Berlin", clause).unwrap() {
        AsOf::Timestamp(microseconds) => microseconds,
        other => panic!("{other:?}"),
    };
    let day = 24 * 3600 * 1_000_000;
    let difference = microseconds("now()") - microseconds("now() - INTERVAL '1 day'");
    assert!((difference - day).abs() < 60_000_000, "{difference}");
}

#[test]
fn what_is_no_point_in_time_is_refused() {
    for clause in ["'soon'", "7", "true", "NULL", "'2026-02-30'"] {
        let error = as_of("UTC", clause).unwrap_err().to_string();
        assert!(error.contains("is no point in time"), "{clause}: {error}");
    }
}
