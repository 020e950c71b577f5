//! The ways running a plan can fail, and the kind each of them has for the client.
//!
//! Inside streams an [`Error`] travels as [`DataFusionError::External`]; between processes that keeps only its text, so
//! there it is an I/O error of a kind of its own ([`Error::into_portable`], [`Error::recognise`]).

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::object_store;
use proto::ErrorKind;

use crate::cause::Cause;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a plan, or a process that runs plans, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("{key}: {detail}")]
    Config {
        /// Path of the offending key.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// An executor's address cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The folder for spilled data cannot be used.
    #[error("cannot write spilled data to {folder}")]
    Spill {
        /// The configured folder.
        folder: String,
        /// The system's reason.
        #[source]
        source: DataFusionError,
    },
    /// An executor's server stopped by itself.
    #[error("the executor's server failed")]
    Serve {
        /// The transport's reason.
        #[source]
        source: tonic::transport::Error,
    },
    /// An executor that does not answer, or no longer.
    #[error("executor {address} is unreachable: {reason}")]
    Unreachable {
        /// Its address.
        address: String,
        /// What happened to the connection.
        reason: String,
    },
    /// An executor that does not work for this server, such as one of another version.
    #[error("executor {address} refuses to work: {reason}")]
    Refused {
        /// Its address.
        address: String,
        /// What it said.
        reason: String,
    },
    /// An executor that finishes what it has and then ends.
    #[error("executor {address} is about to end and takes no new tasks")]
    Draining {
        /// Its address.
        address: String,
    },
    /// The name of the executors stands for none.
    #[error("there is no executor to run the query on")]
    NoExecutors,
    /// Executors that are started when they are needed, and none came.
    #[error("no executor of set {set} is there: {reason}")]
    NotStarted {
        /// The set that the query asked for.
        set: String,
        /// Why none came.
        reason: String,
    },
    /// A query whose executors were lost one after another: it may be what ends them.
    #[error("the query was given up after it lost {} executors: {}", lost.len(), lost.join(", "))]
    GivenUp {
        /// Their addresses.
        lost: Vec<String>,
    },
    /// A query that would read more than it may.
    #[error("the query would read {bytes} bytes of data files, more than the {bytes_max} it may")]
    ScanTooLarge {
        /// The size of all files that are left after pruning.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// An executor that forgot its part of the query because nothing asked for its rows for ten minutes.
    #[error("an executor no longer holds its part of the query")]
    Expired,
    /// A task whose plan no executor accepts.
    #[error("the plan of one task is longer than {bytes_max} bytes")]
    PlanTooLarge {
        /// What executors accept.
        bytes_max: usize,
    },
    /// Session settings that executors cannot be told.
    #[error("the session's settings cannot reach the executors: {detail}")]
    Settings {
        /// What is wrong with them.
        detail: String,
    },
    /// A result that an executor handed out to a client, and did not bring to its end.
    #[error("{}", cause.message)]
    Delivery {
        /// What went wrong there.
        cause: Box<Cause>,
    },
    /// The plan itself failed.
    #[error(transparent)]
    Query(#[from] DataFusionError),
}

impl Error {
    /// The kind that decides the client's status code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Config { .. } | Error::Listen { .. } | Error::Settings { .. } => ErrorKind::InvalidInput,
            Error::Spill { .. } | Error::PlanTooLarge { .. } | Error::ScanTooLarge { .. } => {
                ErrorKind::ResourceExhausted
            }
            Error::Serve { .. } => ErrorKind::Internal,
            Error::Unreachable { .. }
            | Error::Refused { .. }
            | Error::Draining { .. }
            | Error::NoExecutors
            | Error::NotStarted { .. }
            | Error::GivenUp { .. }
            | Error::Expired => ErrorKind::Unavailable,
            Error::Delivery { cause } => cause.kind,
            Error::Query(error) => query_kind(error),
        }
    }

    /// Whether the same plan may succeed on other executors.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. } | Error::Refused { .. } | Error::Draining { .. } | Error::Expired
        )
    }

    /// What the reader of the message can do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::Listen { .. } => Some("choose another address, or stop what listens there"),
            Error::Spill { .. } => Some("set spill_dir to a folder that exists and can be written"),
            Error::Unreachable { .. } => {
                Some("check that the executor runs and can be reached, then run the query again")
            }
            Error::Refused { .. } => Some("run the same version of lakewing on the server and on every executor"),
            Error::Draining { .. } => Some("start another executor, then run the query again"),
            Error::NoExecutors => Some("start executors, or correct executor.mode.host"),
            Error::NotStarted { .. } => Some("SHOW EXECUTORS tells more; run the query again when the reason is gone"),
            Error::GivenUp { .. } => Some("see why these executors ended before you run the query again"),
            Error::ScanTooLarge { .. } => Some("filter on partition columns, name fewer tables, or raise the limit"),
            Error::Expired => Some(
                "run the query again; if it happens again a part of the query waits over ten minutes for another: join less data",
            ),
            Error::PlanTooLarge { .. } => Some("read fewer files at once, or compact the tables"),
            _ => None,
        }
    }

    /// This crate's error that `error` is, or stands for although it came from another process.
    pub(crate) fn recognise(error: &DataFusionError) -> Option<Self> {
        match error.find_root() {
            DataFusionError::External(inner) => inner.downcast_ref::<Error>().and_then(Error::of_executor),
            DataFusionError::IoError(inner) if inner.kind() == ABOUT_EXECUTORS => {
                let text = inner.to_string();
                Some(Self::from_text(&text).unwrap_or_else(|| Error::Unreachable {
                    address: "of another executor".to_owned(),
                    reason: text,
                }))
            }
            DataFusionError::Execution(text) if text.contains(PLAN_NOT_FOUND) => Some(Error::Expired),
            _ => None,
        }
    }

    /// This error in a form that keeps its kind on the way to another process.
    pub(crate) fn into_portable(self) -> DataFusionError {
        match self {
            Error::Query(error) => error,
            error => DataFusionError::IoError(std::io::Error::new(ABOUT_EXECUTORS, error.to_string())),
        }
    }

    /// A copy, where this is about executors.
    fn of_executor(&self) -> Option<Self> {
        match self {
            Error::Unreachable { address, reason } => Some(Error::Unreachable {
                address: address.clone(),
                reason: reason.clone(),
            }),
            Error::Refused { address, reason } => Some(Error::Refused {
                address: address.clone(),
                reason: reason.clone(),
            }),
            Error::Draining { address } => Some(Error::Draining {
                address: address.clone(),
            }),
            Error::NoExecutors => Some(Error::NoExecutors),
            Error::NotStarted { set, reason } => Some(Error::NotStarted {
                set: set.clone(),
                reason: reason.clone(),
            }),
            Error::GivenUp { lost } => Some(Error::GivenUp { lost: lost.clone() }),
            Error::Expired => Some(Error::Expired),
            _ => None,
        }
    }

    /// Reads back what `Display` wrote for an error about an executor.
    fn from_text(text: &str) -> Option<Self> {
        let (address, rest) = text.strip_prefix("executor ")?.split_once(' ')?;
        let address = address.to_owned();
        if let Some(reason) = rest.strip_prefix("is unreachable: ") {
            return Some(Error::Unreachable {
                address,
                reason: reason.to_owned(),
            });
        }
        if rest == "is about to end and takes no new tasks" {
            return Some(Error::Draining { address });
        }
        let reason = rest.strip_prefix("refuses to work: ")?;
        Some(Error::Refused {
            address,
            reason: reason.to_owned(),
        })
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        match error {
            Error::Query(error) => error,
            error => DataFusionError::External(Box::new(error)),
        }
    }
}

/// What errors about executors travel as: of the errors that keep their kind between processes, it is the one that no
/// file and no store gives.
const ABOUT_EXECUTORS: std::io::ErrorKind = std::io::ErrorKind::HostUnreachable;
/// Part of the engine's message for a task that it does not hold.
const PLAN_NOT_FOUND: &str = "timed-out while waiting for the plan";

pub(crate) fn query_kind(error: &DataFusionError) -> ErrorKind {
    match error.find_root() {
        DataFusionError::External(inner) => {
            let ours = inner.downcast_ref::<Error>().map(Error::kind);
            let lake = inner.downcast_ref::<catalog::Error>().map(catalog::Error::kind);
            ours.or(lake).unwrap_or(ErrorKind::Internal)
        }
        DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ObjectStore(error) => store_kind(error),
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => ErrorKind::InvalidInput,
        DataFusionError::ArrowError(error, _) => arrow_kind(error),
        _ => ErrorKind::Internal,
    }
}

fn store_kind(error: &object_store::Error) -> ErrorKind {
    match error {
        object_store::Error::Generic { .. } => ErrorKind::Unavailable,
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ErrorKind::PermissionDenied
        }
        _ => ErrorKind::Internal,
    }
}

/// Arrow's errors about values are the statement's; all others are ours or the data's.
fn arrow_kind(error: &ArrowError) -> ErrorKind {
    match error {
        ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::InvalidArgumentError(_) => ErrorKind::InvalidInput,
        ArrowError::NotYetImplemented(_) => ErrorKind::Unsupported,
        _ => ErrorKind::Internal,
    }
}
