//! Running a plan: how, where, and on how many processes.
//!
//! The doors are [`Engines`] (a logical plan in, record batches out), [`Executor`] (the process at the far end) and
//! their configuration. This crate knows nothing of SQL text, users or sessions, and never calls a catalog.

pub mod cause;
mod cluster;
mod config;
mod engine;
mod error;
mod functions;
mod process;
pub mod results;
mod scale;

pub use cluster::{ExecutorInfo, SetInfo};
pub use config::{Config, ExecutorConfig, KubernetesConfig, Mode, PodConfig, ResultsConfig, SetConfig, TlsConfig};
pub use engine::direct::{Delivery, Door, Fetch, Offer};
pub use engine::{AdaptiveTasks, Engines, Execution, ExecutorSet, Limits, Part, Progress};
pub use error::{Error, Result};
pub use process::Executor;
pub use process::memory::MemoryUse;
