//! Tables as other engines write them: data files, row-level deletes, Iceberg metadata and Delta logs, made by hand from
//! the specifications, so that the reader under test shares no code with what wrote them.

mod avro;
pub mod bitmap;
pub mod delta;
pub mod iceberg;
mod iceberg_schema;
mod manifest;
mod parquet_file;
mod transform;

use arrow::datatypes::Field;

pub use delta::DeltaTable;
pub use iceberg::{Changes, IcebergFile, IcebergTable, PartitionField, PartitionSpec};
pub use parquet_file::{ColumnStatistics, FileLayout, WrittenFile, delete_positions_schema, write_parquet};
pub use transform::Transform;

/// The key under which Arrow fields carry Parquet's field id.
pub const FIELD_ID: &str = "PARQUET:field_id";
/// The key under which a field's Iceberg `initial-default` travels, as JSON.
pub const INITIAL_DEFAULT: &str = "initial-default";

/// The field id of a field.
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(FIELD_ID)?.parse().ok()
}
