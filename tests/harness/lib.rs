//! The house seen from outside: Lakewing processes in three sizes, the real parts beside them, and a Flight SQL client.
//!
//! Nothing here looks into the crates: a test sees what a user sees.

mod answer;
mod client;
mod data;
mod lake;
mod minio;
mod parts;
mod postgres;
mod process;
mod proxy;
mod random;
mod rest_catalog;
mod slow_catalog;
mod slow_reader;
mod superset;
pub mod tables;

pub use answer::{Cell, rows, same_rows};
pub use client::Client;
pub use data::{demo, tpch_parquet};
pub use lake::{Lake, LakeBuilder};
pub use minio::{Minio, WebIdentity, certificate};
pub use parts::chart::{chart, helm, least_values, render, utf8};
pub use parts::cluster::{Cluster, Release};
pub use parts::node::Node;
pub use parts::{build_lakewing, java, lakewing, part, python, python_of, spark, workspace};
pub use postgres::Postgres;
pub use process::{MemoryGroup, Process, free_port};
pub use proxy::Proxy;
pub use random::Random;
pub use rest_catalog::{LendingCatalog, RestCatalog};
pub use slow_catalog::SlowCatalog;
pub use slow_reader::{Sample, read_slowly};
pub use superset::Superset;
