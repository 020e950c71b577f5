//! The kernel over our object stores: where a table's log lies, how it is replayed, and what its errors mean.

use std::sync::Arc;

use datafusion::common::runtime::SpawnedTask;
use delta_kernel::KernelError;
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use percent_encoding::percent_decode_str;
use tokio::runtime::Handle;
use url::Url;

use crate::error::{Error, Result};
use crate::stores::{Location, Stores};

/// The kernel's engine over one object store.
pub(crate) type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// Where one Delta table lies.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    /// The table's name, for messages.
    pub(crate) table: String,
    /// The folder that holds `_delta_log`.
    pub(crate) root: Location,
    /// The same folder as the kernel names it: percent-encoded, with a slash at its end.
    pub(crate) root_url: Url,
}

impl Log {
    /// The log of the table in the folder `location`.
    pub(crate) fn new(stores: &Stores, table: &str, location: &str) -> Result<Self> {
        let root = stores.locate(location)?;
        let bad_url = |detail: String| Error::InvalidName {
            detail: format!("location \"{location}\": {detail}"),
        };
        let mut root_url = Url::parse(root.store_url.as_str()).map_err(|error| bad_url(error.to_string()))?;
        root_url
            .path_segments_mut()
            .map_err(|()| bad_url("is no folder".to_owned()))?
            .pop_if_empty()
            .extend(root.path.as_ref().split('/'))
            .push("");
        Ok(Self {
            table: table.to_owned(),
            root,
            root_url,
        })
    }

    /// A kernel engine whose I/O runs on the current runtime.
    pub(crate) fn engine(&self) -> Engine {
        let executor = Arc::new(TokioMultiThreadExecutor::new(Handle::current()));
        DefaultEngineBuilder::new(Arc::clone(&self.root.store))
            .with_task_executor(executor)
            .build()
    }

    /// The folder of the log.
    pub(crate) fn folder(&self) -> object_store::path::Path {
        self.root.path.clone().join("_delta_log")
    }

    /// Runs blocking kernel calls off the async threads. A panic over damaged files reports damage.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> Result<T, KernelError> + Send + 'static,
    ) -> Result<T> {
        match SpawnedTask::spawn_blocking(call).await {
            Ok(done) => done.map_err(|error| self.error(error)),
            Err(panic) => Err(self.corrupt(panic.to_string())),
        }
    }

    /// A kernel error about this table as ours.
    pub(crate) fn error(&self, error: KernelError) -> Error {
        match error {
            KernelError::Backtraced { source, .. } => self.error(*source),
            KernelError::ObjectStore(source) => Error::storage(self.root_url.as_str(), source),
            KernelError::MissingMetadataAndProtocol => {
                self.corrupt("its first commits are gone, and no checkpoint stands for them".to_owned())
            }
            KernelError::EmptyLog => Error::NotFound {
                what: "Delta table",
                name: self.table.clone(),
                hint: Some(format!("{} has no commit in _delta_log", self.root_url)),
            },
            KernelError::Unsupported(feature) => self.unsupported(feature),
            KernelError::MaxCatalogVersion(_) => {
                self.unsupported("commits that its catalog manages (the reader feature catalogManaged)".to_owned())
            }
            KernelError::FileNotFound(file) => self.corrupt_file(file, "it does not exist".to_owned()),
            KernelError::MissingVersion(version) => self.corrupt_file(
                format!("the commit {version:020}.json of its Delta log"),
                "it does not exist".to_owned(),
            ),
            other => self.corrupt(other.to_string()),
        }
    }

    /// The error for something that this reader does not do.
    pub(crate) fn unsupported(&self, feature: String) -> Error {
        Error::Unsupported {
            table: self.table.clone(),
            feature,
        }
    }

    /// The error for a log that breaks the protocol.
    pub(crate) fn corrupt(&self, detail: String) -> Error {
        self.corrupt_file("its Delta log".to_owned(), detail)
    }

    fn corrupt_file(&self, file: String, detail: String) -> Error {
        Error::Corrupt {
            table: self.table.clone(),
            file,
            detail,
        }
    }
}

/// A path of the log, or a URL, without percent-encoding.
pub(crate) fn decoded(path: &str) -> Result<String, String> {
    let decoded = percent_decode_str(path).decode_utf8();
    decoded
        .map(|path| path.into_owned())
        .map_err(|_| "is no UTF-8 when it is decoded".to_owned())
}
