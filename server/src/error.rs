//! The ways a call can fail, and the one table from [`ErrorKind`] to gRPC codes. Errors of the lake and of the engine
//! travel through DataFusion inside its own errors: only this file digs them out again.

mod dig;
mod meant;
mod place;

use datafusion::error::DataFusionError;
use datafusion::object_store;
use executor::cause::{lake_state, sqlstate};
use executor::results::SQLSTATE_HEADER;
use proto::ErrorKind;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::query::Ending;

pub(crate) use meant::meant;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Drivers refuse header lists above 8 KiB, and gRPC sends messages percent-encoded in a header.
const MESSAGE_BYTES_MAX: usize = 6 * 1024;

/// Why a call, a statement or the start of the server failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself; `key` is the path of the offending key.
    #[error("{key}: {detail}")]
    Config {
        /// Path of the key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The server cannot start or its network fails.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: String,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A statement that can never work as it is written.
    #[error("{detail}")]
    Statement {
        /// What is wrong with it.
        detail: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// A statement or call that is understood and not offered.
    #[error("{what} is not supported{reason}")]
    Unsupported {
        /// Its name.
        what: String,
        /// Empty, or why, beginning with punctuation.
        reason: &'static str,
    },
    /// A message that breaks the protocol, or a handle that this server did not make.
    #[error("{detail}")]
    Request {
        /// What is wrong with it.
        detail: String,
    },
    /// No or wrong credentials.
    #[error("{detail}")]
    Unauthenticated {
        /// What is wrong with them.
        detail: String,
    },
    /// A handle of somebody else.
    #[error("this {what} belongs to another user")]
    Forbidden {
        /// What was used.
        what: &'static str,
    },
    /// Somebody whom the server knows and does not let in.
    #[error("{detail}")]
    Denied {
        /// Why not.
        detail: String,
    },
    /// A handle that was closed or has expired.
    #[error("this {what} is closed")]
    Closed {
        /// What was used.
        what: &'static str,
    },
    /// A server that this process asked as a client does not answer, or refuses.
    #[error("{detail}")]
    Remote {
        /// What it said, or why it did not answer.
        detail: String,
        /// What to do, where that is known.
        hint: Option<String>,
    },
    /// The lake does not answer as asked.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The engine cannot run the plan.
    #[error("{}", dig::cause(.0).message)]
    Executor(#[from] executor::Error),
    /// Planning or running a query failed.
    #[error("{}", dig::cause(.0).message)]
    Query(#[from] DataFusionError),
    /// A query that ended before its last row.
    #[error("{ending}")]
    Ended {
        /// Why.
        ending: Ending,
    },
    /// A query that no server runs, or that is another user's.
    #[error("no query {id} of yours runs")]
    NoQuery {
        /// Its id.
        id: Uuid,
    },
    /// As many queries run as may.
    #[error("{queries} queries run already, and more are refused: try again later")]
    Busy {
        /// How many.
        queries: usize,
    },
    /// A limit of the user's group.
    #[error("{detail}")]
    Limit {
        /// Which one.
        detail: String,
        /// What to do.
        hint: &'static str,
    },
    /// What outlives a call cannot be kept.
    #[error("cannot {action} in the spool {location}: {source}")]
    Spool {
        /// What was tried.
        action: &'static str,
        /// Where.
        location: String,
        /// The store's error.
        #[source]
        source: object_store::Error,
    },
    /// There is no room for one more result.
    #[error("the results of all clients take {bytes_max} bytes, as many as spool.bytes_max allows")]
    Full {
        /// How many that is.
        bytes_max: u64,
    },
    /// The server that ran a query ended before it.
    #[error("the server that ran this query is gone: run it again")]
    Lost,
    /// How a query failed whose result was to be stored.
    #[error("{message}")]
    Stored {
        /// What the client may do.
        kind: ErrorKind,
        /// What was said.
        message: String,
    },
    /// Another error, and where in the statement's text it is.
    #[error("{error}\n{excerpt}")]
    Located {
        /// What is wrong.
        error: Box<Error>,
        /// Line and column, and the line with a mark.
        excerpt: String,
    },
    /// Code that should not panic did.
    #[error("the query failed unexpectedly: the server's log says more")]
    Panic,
}

impl Error {
    pub(crate) fn config(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Error::Config {
            key: key.into(),
            detail: detail.into(),
        }
    }

    pub(crate) fn statement(detail: impl Into<String>) -> Self {
        Error::Statement {
            detail: detail.into(),
            hint: None,
        }
    }

    pub(crate) fn request(detail: impl Into<String>) -> Self {
        Error::Request { detail: detail.into() }
    }

    pub(crate) fn unauthenticated(detail: impl Into<String>) -> Self {
        Error::Unauthenticated { detail: detail.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>, reason: &'static str) -> Self {
        Error::Unsupported {
            what: what.into(),
            reason,
        }
    }

    /// The error with the place in `text` that it names, if it names one and is not located yet. `text` must be what
    /// the engine was given.
    pub(crate) fn located(self, text: &str) -> Self {
        let excerpt = match &self {
            Error::Query(error) => place::excerpt(error, text),
            _ => None,
        };
        match excerpt {
            Some(excerpt) => Error::Located {
                error: Box::new(self),
                excerpt,
            },
            None => self,
        }
    }

    /// Whether a query failed only because executors were lost, so that the same query may succeed on others.
    pub(crate) fn is_about_executors(&self) -> bool {
        let error = match self {
            Error::Executor(executor::Error::Query(error)) | Error::Query(error) => match error.find_root() {
                DataFusionError::External(inner) => inner.downcast_ref::<executor::Error>(),
                _ => None,
            },
            Error::Executor(error) => Some(error),
            _ => None,
        };
        error.is_some_and(executor::Error::is_transient)
    }

    /// The SQLSTATE of the error: five characters that programs can compare.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Error::Request { .. } => sqlstate::PROTOCOL,
            Error::Closed { .. } => sqlstate::CLOSED,
            Error::Catalog(error) => lake_state(error),
            Error::Executor(error) => dig::cause(error).state,
            Error::Query(error) => dig::cause(error).state,
            Error::Located { error, .. } => error.sqlstate(),
            other => sqlstate::of(other.kind()),
        }
    }

    /// The kind that decides the client's status code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Config { .. } | Error::Statement { .. } | Error::Request { .. } => ErrorKind::InvalidInput,
            Error::Io { .. } | Error::Panic => ErrorKind::Internal,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Remote { .. } => ErrorKind::Unavailable,
            Error::Unauthenticated { .. } => ErrorKind::Unauthenticated,
            Error::Forbidden { .. } | Error::Denied { .. } => ErrorKind::PermissionDenied,
            Error::Closed { .. } | Error::NoQuery { .. } => ErrorKind::NotFound,
            Error::Ended {
                ending: Ending::TimedOut(_),
            } => ErrorKind::DeadlineExceeded,
            Error::Ended {
                ending: Ending::ServerStops,
            } => ErrorKind::Unavailable,
            Error::Ended { .. } => ErrorKind::Cancelled,
            Error::Busy { .. } | Error::Full { .. } | Error::Limit { .. } => ErrorKind::ResourceExhausted,
            Error::Spool { .. } | Error::Lost => ErrorKind::Unavailable,
            Error::Stored { kind, .. } => *kind,
            Error::Located { error, .. } => error.kind(),
            Error::Catalog(error) => error.kind(),
            Error::Executor(error) => dig::cause(error).kind,
            Error::Query(error) => dig::cause(error).kind,
        }
    }

    /// What the reader of the message can do, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Statement { hint, .. } | Error::Remote { hint, .. } => hint.clone(),
            Error::Limit { hint, .. } => Some((*hint).to_owned()),
            Error::Located { error, .. } => error.hint(),
            Error::Catalog(error) => error.hint().map(str::to_owned),
            Error::Executor(error) => dig::cause(error).hint,
            Error::Query(error) => dig::cause(error).hint,
            _ => None,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = match error.hint() {
            Some(hint) => format!("{error}\nhint: {hint}"),
            None => error.to_string(),
        };
        let mut status = Status::new(code(error.kind()), bounded(message));
        let state = MetadataValue::from_static(error.sqlstate());
        status.metadata_mut().insert(SQLSTATE_HEADER, state);
        status
    }
}

/// The one table from kinds to gRPC codes.
fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidInput => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Internal | ErrorKind::Unspecified => Code::Internal,
    }
}

/// Cuts a message where its percent-encoded form would grow above [`MESSAGE_BYTES_MAX`].
fn bounded(mut message: String) -> String {
    let mut encoded_bytes = 0;
    let end = message.char_indices().find(|(_, character)| {
        encoded_bytes += if character.is_ascii_alphanumeric() {
            1
        } else {
            3 * character.len_utf8()
        };
        encoded_bytes > MESSAGE_BYTES_MAX
    });
    if let Some((end, _)) = end {
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

#[cfg(test)]
mod tests;
