//! Which errors survive the way between processes, and their kinds.

use std::sync::Arc;

use super::*;

fn unreachable() -> Error {
    Error::Unreachable {
        address: "http://10.0.0.7:31417".to_owned(),
        reason: "connection refused".to_owned(),
    }
}

#[test]
fn an_error_about_an_executor_survives_the_way() {
    let refused = Error::Refused {
        address: "http://a:1".to_owned(),
        reason: "it runs version 2: not ours".to_owned(),
    };
    let draining = Error::Draining {
        address: "http://a:1".to_owned(),
    };
    for sent in [unreachable(), refused, draining] {
        let text = sent.to_string();
        let arrived = DataFusionError::Shared(Arc::new(sent.into_portable().context("stage 2")));
        let recognised = Error::recognise(&arrived).unwrap();
        assert_eq!(recognised.to_string(), text);
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
    assert!(Error::recognise(&DataFusionError::External(unreachable().to_string().into())).is_none());
    let full = std::io::Error::new(std::io::ErrorKind::StorageFull, unreachable().to_string());
    assert!(Error::recognise(&DataFusionError::IoError(full)).is_none());
    assert!(matches!(
        Error::recognise(&DataFusionError::from(unreachable())),
        Some(Error::Unreachable { .. })
    ));
}

#[test]
fn a_forgotten_task_is_forgotten_once() {
    let text = "Worker::execute_task timed-out while waiting for the plan to be set by the coordinator".to_owned();
    let error = Error::recognise(&DataFusionError::Execution(text)).unwrap();
    assert!(matches!(error, Error::Expired));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
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
