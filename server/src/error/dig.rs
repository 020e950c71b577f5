//! Finds, below the wrappings of DataFusion, Arrow and Parquet, the error that a reader can act on.

use std::error::Error as StdError;

use arrow::error::ArrowError;
use arrow_flight::error::FlightError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;
use proto::ErrorKind;

use super::sqlstate;

/// The kind of the innermost error we know.
pub(super) fn kind(error: &(dyn StdError + 'static)) -> ErrorKind {
    Cause::of(error).kind
}

/// Its message.
pub(super) fn message(error: &(dyn StdError + 'static)) -> String {
    Cause::of(error).message
}

/// What can be done about it, where that is known.
pub(super) fn hint(error: &(dyn StdError + 'static)) -> Option<String> {
    Cause::of(error).hint
}

/// Its SQLSTATE.
pub(super) fn state(error: &(dyn StdError + 'static)) -> &'static str {
    Cause::of(error).state
}

struct Cause {
    kind: ErrorKind,
    state: &'static str,
    message: String,
    hint: Option<String>,
}

impl Cause {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        if let Some(error) = error.downcast_ref::<catalog::Error>() {
            return Self::lake(error);
        }
        if let Some(error) = error.downcast_ref::<super::Error>() {
            return Self {
                kind: error.kind(),
                state: error.sqlstate(),
                message: error.to_string(),
                hint: error.hint(),
            };
        }
        if let Some(error) = error.downcast_ref::<DataFusionError>() {
            return Self::datafusion(error);
        }
        if let Some(error) = error.downcast_ref::<ArrowError>() {
            return Self::arrow(error);
        }
        if let Some(error) = error.downcast_ref::<ParquetError>() {
            return Self::parquet(error);
        }
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return Self::store(error);
        }
        if let Some(error) = error.downcast_ref::<executor::Error>() {
            return Self::executor(error);
        }
        if let Some(FlightError::Arrow(error)) = error.downcast_ref::<FlightError>() {
            return Self::arrow(error);
        }
        match error.source() {
            Some(source) => Self::of(source),
            None => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::precise(kind, sqlstate::of(kind), message)
    }

    fn precise(kind: ErrorKind, state: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            state,
            message: message.into(),
            hint: None,
        }
    }

    fn lake(error: &catalog::Error) -> Self {
        Self {
            kind: error.kind(),
            state: lake_state(error),
            message: error.to_string(),
            hint: error.hint().map(str::to_owned),
        }
    }

    fn executor(error: &executor::Error) -> Self {
        match error {
            executor::Error::Query(inner) => Self::datafusion(inner),
            _ => Self {
                kind: error.kind(),
                state: sqlstate::of(error.kind()),
                message: error.to_string(),
                hint: error.hint().map(str::to_owned),
            },
        }
    }

    fn datafusion(error: &DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => Self::of(inner.as_ref()),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::datafusion(inner),
            DataFusionError::Shared(inner) => Self::datafusion(inner),
            DataFusionError::Collection(errors) => match errors.first() {
                Some(first) => Self::datafusion(first),
                None => Self::new(ErrorKind::Internal, "the engine failed without saying why"),
            },
            DataFusionError::ArrowError(inner, _) => Self::arrow(inner),
            DataFusionError::ParquetError(inner) => Self::parquet(inner),
            DataFusionError::ObjectStore(inner) => Self::store(inner),
            DataFusionError::SQL(inner, _) => Self::syntax(inner),
            DataFusionError::SchemaError(inner, _) => Self::schema(inner),
            DataFusionError::Plan(message) if message.starts_with("Invalid function") => {
                Self::precise(ErrorKind::InvalidInput, sqlstate::NO_FUNCTION, message)
            }
            DataFusionError::Plan(message)
            | DataFusionError::Configuration(message)
            | DataFusionError::Substrait(message)
            | DataFusionError::Execution(message) => Self::new(ErrorKind::InvalidInput, message),
            DataFusionError::NotImplemented(message) => Self::new(ErrorKind::Unsupported, message),
            DataFusionError::ResourcesExhausted(message) => Self::new(ErrorKind::ResourceExhausted, message),
            DataFusionError::ExecutionJoin(inner) if inner.is_cancelled() => {
                Self::new(ErrorKind::Cancelled, "the query was cancelled")
            }
            DataFusionError::ExecutionJoin(_) => Self::new(
                ErrorKind::Internal,
                "an operator failed unexpectedly: the server's log says more",
            ),
            DataFusionError::IoError(inner) => Self::io(inner),
            DataFusionError::Internal(message) | DataFusionError::Ffi(message) => {
                Self::new(ErrorKind::Internal, message)
            }
        }
    }

    fn arrow(error: &ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => Self::of(inner.as_ref()),
            ArrowError::DivideByZero => Self::value(sqlstate::DIVISION_BY_ZERO, error),
            ArrowError::ArithmeticOverflow(_) => Self::value(sqlstate::OUT_OF_RANGE, error),
            ArrowError::CastError(_) | ArrowError::ParseError(_) => Self::value(sqlstate::WRONG_TEXT, error),
            ArrowError::ComputeError(_) | ArrowError::InvalidArgumentError(_) => {
                Self::new(ErrorKind::InvalidInput, error.to_string())
            }
            ArrowError::NotYetImplemented(message) => Self::new(ErrorKind::Unsupported, message),
            ArrowError::MemoryError(message) => Self::new(ErrorKind::ResourceExhausted, message),
            ArrowError::IoError(_, inner) => Self::io(inner),
            _ => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }

    fn value(state: &'static str, error: &ArrowError) -> Self {
        Self::precise(ErrorKind::InvalidInput, state, error.to_string())
    }

    fn parquet(error: &ParquetError) -> Self {
        match error {
            ParquetError::External(inner) => Self::of(inner.as_ref()),
            _ => Self::new(ErrorKind::Internal, format!("a data file cannot be read: {error}")),
        }
    }

    fn store(error: &object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => {
                Self::new(ErrorKind::NotFound, format!("object \"{path}\" does not exist"))
            }
            object_store::Error::PermissionDenied { path, .. } | object_store::Error::Unauthenticated { path, .. } => {
                let message = format!("the object store refuses the configured credentials for \"{path}\"");
                Self::new(ErrorKind::PermissionDenied, message)
            }
            object_store::Error::Generic { source, .. } => {
                let message = format!("the object store cannot be reached: {}", innermost(source.as_ref()));
                let hint = "check the storage profile's endpoint and that the store runs";
                Self {
                    hint: Some(hint.to_owned()),
                    ..Self::new(ErrorKind::Unavailable, message)
                }
            }
            _ => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }

    fn syntax(error: &ParserError) -> Self {
        let message = match error {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
                format!("syntax error: {message}")
            }
            ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_owned(),
        };
        Self::precise(ErrorKind::InvalidInput, sqlstate::SYNTAX, message)
    }

    fn schema(error: &SchemaError) -> Self {
        let state = match error {
            SchemaError::FieldNotFound { .. } => sqlstate::NO_COLUMN,
            SchemaError::AmbiguousReference { .. } => sqlstate::AMBIGUOUS_COLUMN,
            _ => sqlstate::of(ErrorKind::InvalidInput),
        };
        Self::precise(ErrorKind::InvalidInput, state, error.to_string())
    }

    fn io(error: &std::io::Error) -> Self {
        match error.get_ref() {
            Some(inner) => Self::of(inner),
            None => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }
}

/// The SQLSTATE of an error of the lake.
pub(super) fn lake_state(error: &catalog::Error) -> &'static str {
    match error {
        catalog::Error::NotFound { what, .. } => sqlstate::missing(what),
        catalog::Error::Corrupt { .. } => sqlstate::DAMAGED,
        other => sqlstate::of(other.kind()),
    }
}

/// The message of the deepest cause: the layers above it repeat one another.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
