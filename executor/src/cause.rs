//! Finds, below the wrappings of DataFusion, Arrow and Parquet, the error that a reader can act on.

pub mod sqlstate;

use std::error::Error as StdError;

use arrow_flight::error::FlightError;
use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::object_store;
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;
use proto::ErrorKind;

use crate::error::Error;

/// What a reader can act on of an error.
#[derive(Debug, Clone)]
pub struct Cause {
    /// What decides the client's status code.
    pub kind: ErrorKind,
    /// The SQLSTATE.
    pub state: &'static str,
    /// The message.
    pub message: String,
    /// What can be done about it, where that is known.
    pub hint: Option<String>,
}

/// What errors of a crate above mean that travel inside those of the engine.
pub type Own = fn(&(dyn StdError + 'static)) -> Option<Cause>;

impl Cause {
    /// The innermost cause of `error` that we know, or that is one's `own`.
    pub fn of(error: &(dyn StdError + 'static), own: Own) -> Self {
        if let Some(cause) = own(error) {
            return cause;
        }
        if let Some(error) = error.downcast_ref::<catalog::Error>() {
            return Self::lake(error);
        }
        if let Some(error) = error.downcast_ref::<DataFusionError>() {
            return Self::datafusion(error, own);
        }
        if let Some(error) = error.downcast_ref::<ArrowError>() {
            return Self::arrow(error, own);
        }
        if let Some(error) = error.downcast_ref::<ParquetError>() {
            return Self::parquet(error, own);
        }
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return Self::store(error);
        }
        if let Some(error) = error.downcast_ref::<Error>() {
            return Self::executor(error, own);
        }
        if let Some(FlightError::Arrow(error)) = error.downcast_ref::<FlightError>() {
            return Self::arrow(error, own);
        }
        match error.source() {
            Some(source) => Self::of(source, own),
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

    fn executor(error: &Error, own: Own) -> Self {
        match error {
            Error::Query(inner) => Self::datafusion(inner, own),
            Error::Delivery { cause } => cause.as_ref().clone(),
            _ => Self {
                kind: error.kind(),
                state: sqlstate::of(error.kind()),
                message: error.to_string(),
                hint: error.hint().map(str::to_owned),
            },
        }
    }

    fn datafusion(error: &DataFusionError, own: Own) -> Self {
        match error {
            DataFusionError::External(inner) => Self::of(inner.as_ref(), own),
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => Self::datafusion(inner, own),
            DataFusionError::Shared(inner) => Self::datafusion(inner, own),
            DataFusionError::Collection(errors) => match errors.first() {
                Some(first) => Self::datafusion(first, own),
                None => Self::new(ErrorKind::Internal, "the engine failed without saying why"),
            },
            DataFusionError::ArrowError(inner, _) => Self::arrow(inner, own),
            DataFusionError::ParquetError(inner) => Self::parquet(inner, own),
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
            DataFusionError::IoError(inner) => Self::io(inner, own),
            DataFusionError::Internal(message) | DataFusionError::Ffi(message) => {
                Self::new(ErrorKind::Internal, message)
            }
        }
    }

    fn arrow(error: &ArrowError, own: Own) -> Self {
        match error {
            ArrowError::ExternalError(inner) => Self::of(inner.as_ref(), own),
            ArrowError::DivideByZero => Self::value(sqlstate::DIVISION_BY_ZERO, error),
            ArrowError::ArithmeticOverflow(_) => Self::value(sqlstate::OUT_OF_RANGE, error),
            ArrowError::CastError(_) | ArrowError::ParseError(_) => Self::value(sqlstate::WRONG_TEXT, error),
            ArrowError::ComputeError(_) | ArrowError::InvalidArgumentError(_) => {
                Self::new(ErrorKind::InvalidInput, error.to_string())
            }
            ArrowError::NotYetImplemented(message) => Self::new(ErrorKind::Unsupported, message),
            ArrowError::MemoryError(message) => Self::new(ErrorKind::ResourceExhausted, message),
            ArrowError::IoError(_, inner) => Self::io(inner, own),
            _ => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }

    fn value(state: &'static str, error: &ArrowError) -> Self {
        Self::precise(ErrorKind::InvalidInput, state, error.to_string())
    }

    fn parquet(error: &ParquetError, own: Own) -> Self {
        match error {
            ParquetError::External(inner) => Self::of(inner.as_ref(), own),
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

    fn io(error: &std::io::Error, own: Own) -> Self {
        match error.get_ref() {
            Some(inner) => Self::of(inner, own),
            None => Self::new(ErrorKind::Internal, error.to_string()),
        }
    }
}

/// The SQLSTATE of an error of the lake.
pub fn lake_state(error: &catalog::Error) -> &'static str {
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
