//! The ways the lake can fail, and the kind each of them has for the client.

use datafusion::error::DataFusionError;
use proto::ErrorKind;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a catalog, a table or a store did not answer.
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
    /// A catalog, namespace or table that does not exist.
    #[error("{what} \"{name}\" does not exist")]
    NotFound {
        /// `catalog`, `namespace` or `table`.
        what: &'static str,
        /// Its full name.
        name: String,
        /// What to do, such as the name that was probably meant.
        hint: Option<String>,
    },
    /// It exists already.
    #[error("{what} \"{name}\" already exists")]
    AlreadyExists {
        /// `namespace` or `table`.
        what: &'static str,
        /// Its full name.
        name: String,
    },
    /// A name or location that is not allowed.
    #[error("{detail}")]
    InvalidName {
        /// What is wrong and what is allowed.
        detail: String,
    },
    /// The table needs something that is not built: never read around it.
    #[error("table \"{table}\" needs {feature}, which is not supported")]
    Unsupported {
        /// The table's name.
        table: String,
        /// The feature, by its name in the table format's specification.
        feature: String,
    },
    /// A metadata, log or data file that breaks its format.
    #[error("table \"{table}\": {file} is damaged: {detail}")]
    Corrupt {
        /// The table's name.
        table: String,
        /// The file, or the part of it.
        file: String,
        /// What was found.
        detail: String,
    },
    /// An object store that does not answer, or refuses.
    #[error("cannot read {url}: {reason}")]
    Storage {
        /// The object's URL.
        url: String,
        /// The reason in plain words.
        reason: String,
        /// The store's own error.
        #[source]
        source: object_store::Error,
    },
    /// A catalog service that cannot be reached or that fails.
    #[error("catalog \"{catalog}\" does not answer: {detail}")]
    CatalogUnavailable {
        /// The catalog's name.
        catalog: String,
        /// What was tried and what came back.
        detail: String,
        /// The cause.
        #[source]
        source: Option<Source>,
    },
    /// A catalog service that refuses our credentials.
    #[error("catalog \"{catalog}\" refuses the configured credentials: {detail}")]
    CatalogDenied {
        /// The catalog's name.
        catalog: String,
        /// What it said.
        detail: String,
    },
    /// A catalog service that answers with something other than the protocol allows.
    #[error("catalog \"{catalog}\": {detail}")]
    CatalogProtocol {
        /// The catalog's name.
        catalog: String,
        /// What was asked and what came back.
        detail: String,
    },
    /// Another commit to the same table won.
    #[error("table \"{table}\" was changed by someone else at the same time")]
    Conflict {
        /// The table's name.
        table: String,
    },
    /// The answer to a commit was lost: it may or may not have happened.
    #[error("it is not known whether the commit to table \"{table}\" took place: {detail}")]
    CommitUnknown {
        /// The table's name.
        table: String,
        /// What came back.
        detail: String,
    },
    /// A row that the table does not allow.
    #[error("cannot write table \"{table}\": {detail}")]
    Violation {
        /// The table's name.
        table: String,
        /// The rule, and what breaks it.
        detail: String,
    },
    /// Rows that cannot be written as the table wants them.
    #[error("cannot write table \"{table}\": {detail}")]
    Write {
        /// The table's name.
        table: String,
        /// What is wrong.
        detail: String,
        /// The cause.
        #[source]
        source: Option<Source>,
    },
}

impl Error {
    /// The kind that decides the client's status code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Config { .. } | Error::InvalidName { .. } | Error::Violation { .. } => ErrorKind::InvalidInput,
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            Error::Unsupported { .. } => ErrorKind::Unsupported,
            Error::Corrupt { .. } | Error::CatalogProtocol { .. } | Error::Write { .. } => ErrorKind::Internal,
            Error::Storage { source, .. } => storage_kind(source),
            Error::CatalogUnavailable { .. } => ErrorKind::Unavailable,
            Error::CatalogDenied { .. } => ErrorKind::PermissionDenied,
            Error::Conflict { .. } => ErrorKind::Conflict,
            Error::CommitUnknown { .. } => ErrorKind::Internal,
        }
    }

    /// What the reader of the message can do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::NotFound { hint, .. } => hint.as_deref(),
            Error::Storage { source, .. } => storage_hint(source),
            Error::CatalogUnavailable { .. } => Some("check the catalog's uri and that the service runs"),
            Error::CatalogDenied { .. } => Some("check the catalog's credential or token and its rights"),
            Error::CommitUnknown { .. } => Some("look at the table before you repeat the statement"),
            _ => None,
        }
    }

    /// A store's error about the object at `url`, in plain words.
    pub fn storage(url: impl Into<String>, source: object_store::Error) -> Self {
        let reason = match &source {
            object_store::Error::NotFound { .. } => "it does not exist".to_owned(),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                "the store refuses the configured credentials".to_owned()
            }
            other => innermost(other),
        };
        Error::Storage {
            url: url.into(),
            reason,
            source,
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

fn storage_kind(source: &object_store::Error) -> ErrorKind {
    match source {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ErrorKind::PermissionDenied
        }
        object_store::Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        object_store::Error::Generic { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    }
}

fn storage_hint(source: &object_store::Error) -> Option<&'static str> {
    match source {
        object_store::Error::Generic { .. } => Some("check the storage profile's endpoint and that the store runs"),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Some("check the storage profile's access key and its rights")
        }
        _ => None,
    }
}

/// The message of the deepest cause: the layers above it repeat one another.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
