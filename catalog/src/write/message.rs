//! Targets and written files on the wire between coordinator and executors.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion_proto::protobuf;
use parquet::basic::Compression;
use prost::Message;
use proto::PartitionTransform;
use proto::write_output::Output;
use roaring::RoaringTreemap;

use super::target::{PartitionField, SortField, Transform, WriteTarget};
use super::{WrittenColumn, WrittenFile};

/// The message of a target.
pub(crate) fn target_to_proto(target: &WriteTarget) -> Result<proto::WriteTarget> {
    let partition = target.partition.iter().map(|field| {
        let (transform, parameter) = transform_to_proto(field.transform);
        Ok(proto::PartitionField {
            column: position(field.column)?,
            transform: transform.into(),
            parameter,
            name: field.name.clone(),
        })
    });
    let sort_order = target.sort_order.iter().map(|field| {
        Ok(proto::SortField {
            column: position(field.column)?,
            descending: field.descending,
            nulls_first: field.nulls_first,
        })
    });
    Ok(proto::WriteTarget {
        table: target.table.clone(),
        data_folder: target.data_folder.clone(),
        table_schema: schema_to_proto(&target.table_schema)?,
        file_schema: schema_to_proto(&target.file_schema)?,
        file_columns: positions(&target.file_columns)?,
        partition: partition.collect::<Result<_>>()?,
        spec_id: target.spec_id,
        sort_order: sort_order.collect::<Result<_>>()?,
        sort_order_id: target.sort_order_id,
        file_bytes_target: target.file_bytes_target,
        file_rows_max: target.file_rows_max as u64,
        row_group_bytes: target.row_group_bytes,
        compression: compression_text(target.compression),
        bloom_columns: positions(&target.bloom_columns)?,
    })
}

/// The codec as Parquet's own parser reads it, with its level.
fn compression_text(compression: Compression) -> String {
    match compression {
        Compression::ZSTD(level) => format!("zstd({})", level.compression_level()),
        Compression::GZIP(level) => format!("gzip({})", level.compression_level()),
        Compression::BROTLI(level) => format!("brotli({})", level.compression_level()),
        plain => plain.to_string(),
    }
}

/// The inverse of [`target_to_proto`].
pub(crate) fn target_from_proto(target: &proto::WriteTarget) -> Result<WriteTarget> {
    let table_schema = schema_from_proto(&target.table_schema)?;
    let file_schema = schema_from_proto(&target.file_schema)?;
    let (columns, file_columns) = (table_schema.fields().len(), file_schema.fields().len());
    let within = |position: u32, end: usize| {
        let position = usize::try_from(position).map_err(external)?;
        match position < end {
            true => Ok(position),
            false => Err(malformed(format!("it names column {position} of {end}"))),
        }
    };
    let partition = target.partition.iter().map(|field| {
        Ok(PartitionField {
            column: within(field.column, columns)?,
            transform: transform_from_proto(field)?,
            name: field.name.clone(),
        })
    });
    let sort_order = target.sort_order.iter().map(|field| {
        Ok(SortField {
            column: within(field.column, columns)?,
            descending: field.descending,
            nulls_first: field.nulls_first,
        })
    });
    let of_table = target.file_columns.iter().map(|column| within(*column, columns));
    let bloom = target.bloom_columns.iter().map(|column| within(*column, file_columns));
    Ok(WriteTarget {
        table: target.table.clone(),
        data_folder: target.data_folder.clone(),
        file_columns: of_table.collect::<Result<_>>()?,
        partition: partition.collect::<Result<_>>()?,
        spec_id: target.spec_id,
        sort_order: sort_order.collect::<Result<_>>()?,
        sort_order_id: target.sort_order_id,
        file_bytes_target: target.file_bytes_target,
        file_rows_max: usize::try_from(target.file_rows_max).map_err(external)?,
        row_group_bytes: target.row_group_bytes,
        compression: target.compression.parse().map_err(external)?,
        bloom_columns: bloom.collect::<Result<_>>()?,
        table_schema,
        file_schema,
    })
}

fn transform_to_proto(transform: Transform) -> (PartitionTransform, u32) {
    match transform {
        Transform::Identity => (PartitionTransform::Identity, 0),
        Transform::Bucket(buckets) => (PartitionTransform::Bucket, buckets),
        Transform::Truncate(width) => (PartitionTransform::Truncate, width),
        Transform::Year => (PartitionTransform::Year, 0),
        Transform::Month => (PartitionTransform::Month, 0),
        Transform::Day => (PartitionTransform::Day, 0),
        Transform::Hour => (PartitionTransform::Hour, 0),
        Transform::Void => (PartitionTransform::Void, 0),
    }
}

fn transform_from_proto(field: &proto::PartitionField) -> Result<Transform> {
    Ok(match field.transform() {
        PartitionTransform::Identity => Transform::Identity,
        PartitionTransform::Bucket => Transform::Bucket(field.parameter),
        PartitionTransform::Truncate => Transform::Truncate(field.parameter),
        PartitionTransform::Year => Transform::Year,
        PartitionTransform::Month => Transform::Month,
        PartitionTransform::Day => Transform::Day,
        PartitionTransform::Hour => Transform::Hour,
        PartitionTransform::Void => Transform::Void,
        PartitionTransform::Unspecified => return Err(malformed("it has a partition transform of no kind".to_owned())),
    })
}

/// The message of a written file.
pub(crate) fn file_to_proto(file: &WrittenFile) -> Result<proto::WrittenFile> {
    let columns = file.columns.iter().map(|column| {
        Ok(proto::WrittenColumn {
            size_bytes: column.size_bytes,
            values: column.values,
            nulls: column.nulls,
            nans: column.nans,
            min: column.min.as_ref().map(scalar_to_proto).transpose()?,
            max: column.max.as_ref().map(scalar_to_proto).transpose()?,
        })
    });
    Ok(proto::WrittenFile {
        location: file.location.clone(),
        size_bytes: file.size_bytes,
        rows: file.rows,
        row_group_offsets: file.row_group_offsets.clone(),
        columns: columns.collect::<Result<_>>()?,
        partition: file.partition.iter().map(scalar_to_proto).collect::<Result<_>>()?,
        spec_id: file.spec_id,
    })
}

/// The inverse of [`file_to_proto`].
pub(crate) fn file_from_proto(file: proto::WrittenFile) -> Result<WrittenFile> {
    let columns = file.columns.into_iter().map(|column| {
        Ok(WrittenColumn {
            size_bytes: column.size_bytes,
            values: column.values,
            nulls: column.nulls,
            nans: column.nans,
            min: column.min.as_deref().map(scalar_from_proto).transpose()?,
            max: column.max.as_deref().map(scalar_from_proto).transpose()?,
        })
    });
    let partition = file.partition.iter().map(|value| scalar_from_proto(value));
    Ok(WrittenFile {
        location: file.location,
        size_bytes: file.size_bytes,
        rows: file.rows,
        row_group_offsets: file.row_group_offsets,
        columns: columns.collect::<Result<_>>()?,
        partition: partition.collect::<Result<_>>()?,
        spec_id: file.spec_id,
    })
}

/// One row of a writer's output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WriteOutput {
    /// A complete data file.
    File(WrittenFile),
    /// Rows of one data file that are to be deleted.
    Deleted {
        /// The file's location as the table's metadata write it.
        file: String,
        /// Their positions.
        positions: RoaringTreemap,
        /// How many of them have a new version among the written rows.
        updated: u64,
    },
}

impl WriteOutput {
    /// The row's bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let output = match self {
            WriteOutput::File(file) => Output::File(file_to_proto(file)?),
            WriteOutput::Deleted {
                file,
                positions,
                updated,
            } => {
                let mut bytes = Vec::with_capacity(positions.serialized_size());
                positions.serialize_into(&mut bytes)?;
                Output::Deleted(proto::DeletedRows {
                    file: file.clone(),
                    positions: bytes,
                    updated: *updated,
                })
            }
        };
        Ok(proto::WriteOutput { output: Some(output) }.encode_to_vec())
    }

    /// The inverse of [`WriteOutput::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let output = proto::WriteOutput::decode(bytes).map_err(external)?.output;
        Ok(
            match output.ok_or_else(|| malformed("a writer gave an empty row".to_owned()))? {
                Output::File(file) => WriteOutput::File(file_from_proto(file)?),
                Output::Deleted(deleted) => WriteOutput::Deleted {
                    file: deleted.file,
                    positions: RoaringTreemap::deserialize_from(deleted.positions.as_slice())?,
                    updated: deleted.updated,
                },
            },
        )
    }
}

fn schema_to_proto(schema: &SchemaRef) -> Result<Vec<u8>> {
    let schema: protobuf::Schema = schema.as_ref().try_into()?;
    Ok(schema.encode_to_vec())
}

fn schema_from_proto(bytes: &[u8]) -> Result<SchemaRef> {
    let schema = protobuf::Schema::decode(bytes).map_err(external)?;
    Ok(Arc::new(Schema::try_from(&schema)?))
}

fn scalar_to_proto(value: &ScalarValue) -> Result<Vec<u8>> {
    let value: protobuf::ScalarValue = value.try_into()?;
    Ok(value.encode_to_vec())
}

fn scalar_from_proto(bytes: &[u8]) -> Result<ScalarValue> {
    let value = protobuf::ScalarValue::decode(bytes).map_err(external)?;
    Ok(ScalarValue::try_from(&value)?)
}

fn positions(columns: &[usize]) -> Result<Vec<u32>> {
    columns.iter().map(|column| position(*column)).collect()
}

fn position(column: usize) -> Result<u32> {
    u32::try_from(column).map_err(external)
}

fn malformed(detail: String) -> DataFusionError {
    DataFusionError::Plan(format!("a message about a write is malformed: {detail}"))
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
