//! What is wrong with a configuration, in one line: the key's path, what was expected, where the value was set.
//!
//! Never shows a value: any of them may be a secret that stands under the wrong key.

use figment::error::{Actual, Kind};

use crate::error::Error;

/// The complaint about `error`. `variables` are the environment, of which those that begin with `prefix` were read;
/// `source` names where the rest was read.
pub(super) fn describe(error: &figment::Error, prefix: &str, source: &str, variables: &[(String, String)]) -> Error {
    let mut path = error.path.clone();
    let detail = match &error.kind {
        Kind::UnknownField(field, known) => {
            path.push(field.clone());
            format!("is no known key; known here: {}", known.join(", "))
        }
        Kind::MissingField(field) => {
            path.push(field.to_string());
            "is missing".to_owned()
        }
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        Kind::InvalidType(actual, expected) => format!("must be {expected}, not {}", kind_of(actual)),
        Kind::InvalidValue(_, expected) => format!("must be {expected}"),
        Kind::Message(message) => one_line(message),
        other => one_line(&other.to_string()),
    };
    let variable = format!("{prefix}{}", path.join("__").to_uppercase());
    let origin = match variables.iter().find(|(name, _)| name.to_uppercase() == variable) {
        Some((name, _)) => format!("environment variable {name}"),
        None => source.to_owned(),
    };
    let key = if path.is_empty() {
        "configuration".to_owned()
    } else {
        path.join(".")
    };
    Error::config(key, format!("{detail} ({origin})"))
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "a string",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "this",
    }
}

/// A syntax error quotes the offending line between its first line, the place, and its last, the reason.
fn one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        [first, .., last] => format!("{first}: {last}"),
        _ => message.trim().to_owned(),
    }
}
