//! Commits to Iceberg tables: a change becomes a snapshot, and the catalog's pointer moves to it.
//!
//! ```text
//! Change ──► touched ──► conflict ──► producer ──► CatalogClient::commit
//!               ▲        (may it land?)               │ lost to another commit, or not known
//!               └─────────── the table now ◄──────────┘
//! ```
//! A new table goes another way: [`create`] makes its metadata, and its first snapshot with the same producer.

mod conflict;
pub(crate) mod create;
mod deletes;
pub(crate) mod land;
mod manifests;
mod merging;
mod producer;
pub(crate) mod purge;
mod replace;
mod summary;
pub(crate) mod target;
mod touched;

use iceberg::spec::TableMetadata;
use uuid::Uuid;

pub(crate) use self::create::{FirstVersion, metadata, stage, table_schema};
pub(crate) use self::land::TableCommit;
pub(crate) use self::replace::{Replacement, replace, stage_replacement};
use super::metrics;
use crate::error::Error;

/// A positive id out of a random one.
fn snapshot_id(commit: Uuid) -> i64 {
    let (high, low) = commit.as_u64_pair();
    ((high ^ low) & (u64::MAX >> 1)).cast_signed()
}

/// Where the table's metadata go.
pub(crate) fn metadata_folder(metadata: &TableMetadata) -> String {
    folder(metadata, &["write.metadata.path"], "metadata")
}

/// Where the table's data and delete files go.
pub(crate) fn data_folder(metadata: &TableMetadata) -> String {
    folder(
        metadata,
        &[
            "write.data.path",
            "write.object-storage.path",
            "write.folder-storage.path",
        ],
        "data",
    )
}

/// The folder that a property names, else the one of that name in the table's location. No slash is at its end.
fn folder(metadata: &TableMetadata, properties: &[&str], name: &str) -> String {
    let named = properties.iter().find_map(|key| metadata.properties().get(*key));
    match named {
        Some(folder) => folder.trim_end_matches('/').to_owned(),
        None => format!("{}/{name}", metadata.location().trim_end_matches('/')),
    }
}

fn failed(table: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    Error::Write {
        table: table.to_string(),
        detail: error.to_string(),
        source: None,
    }
}

#[cfg(test)]
mod faults;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
