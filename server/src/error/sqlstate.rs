//! SQLSTATE, the five characters by which programs tell errors apart: those of the SQL standard and, where it has none,
//! of PostgreSQL.

use proto::ErrorKind;

pub(super) const DIVISION_BY_ZERO: &str = "22012";
pub(super) const OUT_OF_RANGE: &str = "22003";
pub(super) const WRONG_TEXT: &str = "22P02";
pub(super) const NO_CATALOG: &str = "3D000";
pub(super) const NO_NAMESPACE: &str = "3F000";
pub(super) const SYNTAX: &str = "42601";
pub(super) const AMBIGUOUS_COLUMN: &str = "42702";
pub(super) const NO_COLUMN: &str = "42703";
pub(super) const NO_FUNCTION: &str = "42883";
pub(super) const NO_TABLE: &str = "42P01";
pub(super) const PROTOCOL: &str = "08P01";
pub(super) const CLOSED: &str = "26000";
pub(super) const DAMAGED: &str = "XX001";

/// What is said of an error of which no more is known than its kind.
pub(super) fn of(kind: ErrorKind) -> &'static str {
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
