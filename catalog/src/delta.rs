//! What Delta asks of a reader and a writer.
//!
//! A table is a folder with a log of JSON commits and Parquet checkpoints; replaying the log gives the live data files
//! with their partition values and column bounds. Columns are known by name or, under column mapping, by physical name
//! or field id; partition columns are not in the files. Source: the Delta transaction log protocol. `delta_kernel`
//! replays the log; it works in threads of its own ([`log::Log::blocking`]), since its calls block.

pub(crate) mod alter;
pub(crate) mod cache;
mod columns;
pub(crate) mod commit;
mod files;
#[cfg(test)]
mod fixture;
mod inspect;
pub(crate) mod log;
pub(crate) mod maintain;
mod metrics;
pub(crate) mod read;
mod replay;
mod statistics;
mod vector;
mod write;

pub(crate) use cache::DeltaCache;
pub(crate) use read::DeltaSnapshot;
