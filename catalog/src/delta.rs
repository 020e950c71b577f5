//! What Delta asks of a reader and a writer.
//!
//! A table is a folder with a log of JSON commits and Parquet checkpoints; replaying the log gives the live data files
//! with their partition values and column bounds. Columns are known by name; partition columns are not in the files.
//! Source: the Delta transaction log protocol. `delta_kernel` replays the log; it works in threads of its own
//! ([`log::blocking`]), since its calls block.

pub(crate) mod commit;
pub(crate) mod log;
mod metrics;
pub(crate) mod read;

pub(crate) use read::DeltaSnapshot;
