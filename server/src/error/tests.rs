//! What a client is told, for every way an error can be wrapped.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::parser::DFParser;

use super::*;

fn check(error: impl Into<Error>, code: Code, message: &str) {
    let error = error.into();
    let shown = format!("{error:?}");
    let status = Status::from(error);
    assert_eq!((status.code(), status.message()), (code, message), "{shown}");
}

fn missing() -> catalog::Error {
    let hint = Some("did you mean \"orders\"?".to_owned());
    catalog::Error::NotFound {
        what: "table",
        name: "lake.sales.order".to_owned(),
        hint,
    }
}

const MISSING: &str = "table \"lake.sales.order\" does not exist\nhint: did you mean \"orders\"?";

#[test]
fn the_lakes_errors_survive_every_wrapping() {
    check(missing(), Code::NotFound, MISSING);
    let external = || DataFusionError::from(missing());
    check(external(), Code::NotFound, MISSING);
    check(external().context("planning"), Code::NotFound, MISSING);
    check(DataFusionError::Shared(Arc::new(external())), Code::NotFound, MISSING);
    check(DataFusionError::Collection(vec![external()]), Code::NotFound, MISSING);
    let arrow = || ArrowError::ExternalError(Box::new(external()));
    check(DataFusionError::from(arrow()), Code::NotFound, MISSING);
    let parquet = ParquetError::External(Box::new(arrow()));
    check(
        DataFusionError::ParquetError(Box::new(parquet)).context("reading"),
        Code::NotFound,
        MISSING,
    );
    check(
        DataFusionError::IoError(std::io::Error::other(external())),
        Code::NotFound,
        MISSING,
    );
}

#[test]
fn syntax_errors_keep_their_position() {
    let error = DFParser::parse_sql("select 1\n  from t t t").unwrap_err();
    let status = Status::from(Error::from(error));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("syntax error: "), "{status}");
    assert!(status.message().contains("Line: 2, Column: "), "{status}");
}

#[test]
fn the_engines_own_errors_have_a_kind() {
    let datafusion = |error: DataFusionError, code, message: &str| check(error, code, message);
    datafusion(
        DataFusionError::Plan("no such function".into()),
        Code::InvalidArgument,
        "no such function",
    );
    datafusion(
        DataFusionError::NotImplemented("PIVOT".into()),
        Code::Unimplemented,
        "PIVOT",
    );
    datafusion(
        DataFusionError::ResourcesExhausted("memory".into()),
        Code::ResourceExhausted,
        "memory",
    );
    datafusion(DataFusionError::Internal("bad".into()), Code::Internal, "bad");
    datafusion(
        ArrowError::DivideByZero.into(),
        Code::InvalidArgument,
        "Divide by zero error",
    );
    let eof = ParquetError::EOF("footer".to_owned());
    datafusion(
        DataFusionError::from(eof),
        Code::Internal,
        "a data file cannot be read: EOF: footer",
    );
}

#[test]
fn object_stores_are_named_in_plain_words() {
    let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let generic = object_store::Error::Generic {
        store: "S3",
        source: Box::new(refused),
    };
    let message = "the object store cannot be reached: connection refused\n\
                   hint: check the storage profile's endpoint and that the store runs";
    check(DataFusionError::from(generic), Code::Unavailable, message);
    let source = Box::new(std::io::Error::from(std::io::ErrorKind::NotFound));
    let gone = object_store::Error::NotFound {
        path: "a/b.parquet".to_owned(),
        source,
    };
    check(
        DataFusionError::from(gone),
        Code::NotFound,
        "object \"a/b.parquet\" does not exist",
    );
}

#[test]
fn every_kind_has_its_code() {
    let codes = (0..=11).map(|kind| code(ErrorKind::try_from(kind).unwrap()));
    let expected = [
        Code::Internal,
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::Aborted,
        Code::Unimplemented,
        Code::ResourceExhausted,
        Code::Unavailable,
        Code::Cancelled,
        Code::Internal,
    ];
    assert!(codes.eq(expected));
}

#[test]
fn messages_fit_into_a_header() {
    for text in [
        "x".repeat(100_000),
        " ".repeat(100_000),
        "ü".repeat(100_000),
        "\u{1F980}".repeat(100_000),
    ] {
        let status = Status::from(Error::statement(text));
        let encoded_bytes: usize = status
            .message()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { 1 } else { 3 * c.len_utf8() })
            .sum();
        assert!(encoded_bytes <= MESSAGE_BYTES_MAX + 16, "{encoded_bytes}");
        assert!(status.message().ends_with(" ..."));
    }
    assert_eq!(bounded("short".to_owned()), "short");
}

#[test]
fn every_error_has_a_state() {
    let check = |error: Error, expect: &str| {
        let shown = format!("{error:?}");
        let status = Status::from(error);
        let state = status.metadata().get("x-lakewing-sqlstate").unwrap();
        assert_eq!(state.to_str().unwrap(), expect, "{shown}");
    };
    check(missing().into(), "42P01");
    check(DataFusionError::from(missing()).context("planning").into(), "42P01");
    let namespace = catalog::Error::NotFound {
        what: "namespace",
        name: "lake.shop".to_owned(),
        hint: None,
    };
    check(namespace.into(), "3F000");
    check(DFParser::parse_sql("selec 1").unwrap_err().into(), "42601");
    check(DataFusionError::from(ArrowError::DivideByZero).into(), "22012");
    check(
        DataFusionError::from(ArrowError::CastError("x".to_owned())).into(),
        "22P02",
    );
    check(DataFusionError::Plan("Invalid function 'x'".to_owned()).into(), "42883");
    check(DataFusionError::ResourcesExhausted("memory".to_owned()).into(), "53000");
    check(Error::unsupported("MERGE", ""), "0A000");
    check(Error::unauthenticated("who"), "28000");
    check(Error::request("nonsense"), "08P01");
    check(Error::Panic, "XX000");
    let located = Error::from(DFParser::parse_sql("selec 1").unwrap_err()).located("selec 1");
    assert!(
        located.to_string().ends_with("line 1, column 1:\n  selec 1\n  ^"),
        "{located}"
    );
    check(located, "42601");
}
