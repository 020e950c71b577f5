//! SQLSTATE, the five characters by which programs tell errors apart: those of the SQL standard and, where it has none,
//! of PostgreSQL.

use proto::ErrorKind;

/// A division by zero.
pub const DIVISION_BY_ZERO: &str = "22012";
/// A number that its type cannot hold.
pub const OUT_OF_RANGE: &str = "22003";
/// A text that is no value of a type.
pub const WRONG_TEXT: &str = "22P02";
/// A catalog that does not exist.
pub const NO_CATALOG: &str = "3D000";
/// A namespace that does not exist.
pub const NO_NAMESPACE: &str = "3F000";
/// A text that is no statement.
pub const SYNTAX: &str = "42601";
/// A name that several columns have.
pub const AMBIGUOUS_COLUMN: &str = "42702";
/// A column that does not exist.
pub const NO_COLUMN: &str = "42703";
/// A function that does not exist.
pub const NO_FUNCTION: &str = "42883";
/// A table that does not exist.
pub const NO_TABLE: &str = "42P01";
/// A message that the protocol does not know.
pub const PROTOCOL: &str = "08P01";
/// A statement, result or query that is not open.
pub const CLOSED: &str = "26000";
/// Data that contradicts itself.
pub const DAMAGED: &str = "XX001";

/// What is said of an error of which no more is known than its kind.
pub fn of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "42000",
        ErrorKind::NotFound => "42704",
        ErrorKind::AlreadyExists => "42710",
        ErrorKind::Unauthenticated => "28000",
        ErrorKind::PermissionDenied => "42501",
        ErrorKind::Conflict => "40001",
        ErrorKind::Unsupported => "0A000",
        ErrorKind::ResourceExhausted => "53000",
        ErrorKind::Unavailable => "57P03",
        ErrorKind::Cancelled | ErrorKind::DeadlineExceeded => "57014",
        ErrorKind::Internal | ErrorKind::Unspecified => "XX000",
    }
}

/// Of an error that the lake names by `what` does not exist.
pub(super) fn missing(what: &str) -> &'static str {
    match what {
        "catalog" => NO_CATALOG,
        "namespace" => NO_NAMESPACE,
        "table" | "metadata table" => NO_TABLE,
        "function" => NO_FUNCTION,
        _ => of(ErrorKind::NotFound),
    }
}

/// The one that another process has named.
pub(crate) fn known(state: &str) -> Option<&'static str> {
    let precise = [
        DIVISION_BY_ZERO,
        OUT_OF_RANGE,
        WRONG_TEXT,
        NO_CATALOG,
        NO_NAMESPACE,
        SYNTAX,
        AMBIGUOUS_COLUMN,
        NO_COLUMN,
        NO_FUNCTION,
        NO_TABLE,
        PROTOCOL,
        CLOSED,
        DAMAGED,
    ];
    precise.into_iter().find(|known| *known == state)
}
