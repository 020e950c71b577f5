//! The lake: names, snapshots, scans and commits over Iceberg and Delta tables.
//!
//! The doors are [`Lakehouse`] (names to tables), [`LakeTable`] (a table pinned to one snapshot, as DataFusion reads
//! it), [`LakeCodec`] (the scan on the wire), [`Stores`] (URLs to object stores) and [`mod@write`]. This crate knows
//! nothing of SQL text, sessions, users or executors.

pub mod client;
pub mod config;
mod delta;
mod error;
mod files;
mod iceberg;
mod lakehouse;
mod name;
mod scan;
mod snapshot;
mod stores;
mod system_table;
mod table;
pub mod view;
pub mod write;

pub use config::{CatalogConfig, Config, Secret, StorageProfile};
pub use error::{Error, Result};
pub use files::{FileKind, FilesTable};
pub use iceberg::maintain::theta_sketch;
pub use lakehouse::{Lakehouse, PathFormat, Relation};
pub use name::TableName;
pub use scan::codec::LakeCodec;
pub use snapshot::{AsOf, Column, Comments, DataFile, TableSnapshot};
pub use stores::{CacheUse, Loan, LoansInUse, Stores};
pub use system_table::{MetadataTable, SystemTable};
pub use table::LakeTable;
