//! Which errors survive the way between processes, and their kinds.

use std::sync::Arc;

use super::*;

fn unreachable() -> Error {
    Error::Unreachable {
        address: "http://10.0.0.7:31417".to_owned(),
        reason: "connection refused".to_owned(),
    }
}

/// What arrives of `error` after another process sent it on.
fn as_text(error: &Error) -> DataFusionError {
    DataFusionError::External(error.to_string().into())
}

#[test]
fn an_error_about_an_executor_survives_as_text() {
    let refused = Error::Refused {
        address: "http://a:1".to_owned(),
        reason: "it runs version 2: not ours".to_owned(),
    };
    for sent in [unreachable(), refused] {
        let arrived = DataFusionError::Shared(Arc::new(as_text(&sent).context("stage 2")));
        let recognised = Error::recognise(&arrived).unwrap();
        assert_eq!(recognised.to_string(), sent.to_string());
        assert_eq!(recognised.kind(), ErrorKind::Unavailable);
        assert!(recognised.hint().is_some());
    }
}

#[test]
fn other_text_is_left_alone() {
    for text in [
        "executor",
        "executor 7 was dismissed",
        "the executor http://a:1 is unreachable: no",
    ] {
        assert!(
            Error::recognise(&DataFusionError::External(text.into())).is_none(),
            "{text}"
        );
    }
    assert!(Error::recognise(&DataFusionError::Plan(unreachable().to_string())).is_none());
    assert!(Error::recognise(&DataFusionError::from(unreachable())).is_none());
}

#[test]
fn a_forgotten_task_is_a_limit() {
    let text = "Worker::execute_task timed-out while waiting for the plan to be set by the coordinator".to_owned();
    let error = Error::recognise(&DataFusionError::Execution(text)).unwrap();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
}

#[test]
fn a_query_has_the_kind_of_its_cause() {
    let lake = catalog::Error::AlreadyExists {
        what: "table",
        name: "t".to_owned(),
    };
    for (error, kind) in [
        (DataFusionError::from(unreachable()), ErrorKind::Unavailable),
        (DataFusionError::from(lake).context("commit"), ErrorKind::AlreadyExists),
        (
            DataFusionError::ResourcesExhausted(String::new()),
            ErrorKind::ResourceExhausted,
        ),
        (DataFusionError::NotImplemented(String::new()), ErrorKind::Unsupported),
        (DataFusionError::Plan(String::new()), ErrorKind::InvalidInput),
        (DataFusionError::from(ArrowError::DivideByZero), ErrorKind::InvalidInput),
        (DataFusionError::Internal(String::new()), ErrorKind::Internal),
    ] {
        assert_eq!(Error::Query(error).kind(), kind);
    }
}
