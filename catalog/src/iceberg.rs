//! What Iceberg asks of a reader and a writer.
//!
//! A table is a metadata file (JSON) that names a snapshot; a snapshot is a manifest list; a manifest lists data files
//! with their partition values and column bounds. Columns are known by field id, in the metadata and in the files.
//! Source: the Iceberg table specification, versions 1 to 3. The `iceberg` crate serves as a library of that
//! specification; its Arrow version is not ours, so no Arrow type crosses this module's border.

mod alter;
mod avro;
pub(crate) mod cache;
pub(crate) mod commit;
pub(crate) mod deletes;
mod inspect;
pub(crate) mod maintain;
mod manifest;
pub(crate) mod metadata;
mod metrics;
mod prune;
mod read;
pub(crate) mod schema;
mod transform;
mod values;

pub(crate) use alter::{alter, alter_together};
pub(crate) use metadata::locate;
pub(crate) use read::IcebergSnapshot;
