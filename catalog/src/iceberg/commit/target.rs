//! What a writer asks of a version of an Iceberg table: how its files look, how rows leave it, and the commit of a change.

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use iceberg::spec::{FormatVersion, Literal, NullOrder, SortDirection, TableMetadata, Transform as IcebergTransform};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use super::super::{IcebergSnapshot, schema};
use super::{data_folder, land};
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::scan::adapt::field_id;
use crate::write::change::{Change, Committed, Operation};
use crate::write::target::{PartitionField, RowChange, SortField, Transform, WriteDefault, WriteTarget};

/// Followed by a column's name: whether the column has a bloom filter.
const BLOOM: &str = "write.parquet.bloom-filter-enabled.column.";

impl IcebergSnapshot {
    /// How rows become data files of this table.
    pub(crate) fn write_target(&self) -> Result<WriteTarget> {
        if self.branch.is_none() {
            return Err(self.unsupported("writing to a version that is not the head of a branch"));
        }
        of(&self.table, &self.metadata.table, self.schema())
    }

    /// Whether rows have ids that they keep wherever they are moved.
    pub(crate) fn tracks_rows(&self) -> bool {
        self.metadata.table.format_version() >= FormatVersion::V3
    }

    /// How rows leave this table: as its properties say; where they say nothing, by deletion vectors where the format has
    /// them, and by copying where it has not.
    pub(crate) fn row_change(&self, operation: Operation) -> Result<RowChange> {
        let metadata = &self.metadata.table;
        let key = match operation {
            Operation::Update => "write.update.mode",
            Operation::Merge => "write.merge.mode",
            Operation::Append | Operation::Overwrite | Operation::Delete | Operation::Rewrite => "write.delete.mode",
        };
        match metadata.properties().get(key).map(String::as_str) {
            _ if metadata.format_version() == FormatVersion::V1 => Ok(RowChange::CopyOnWrite),
            None if self.tracks_rows() => Ok(RowChange::MergeOnRead),
            None | Some("copy-on-write") => Ok(RowChange::CopyOnWrite),
            Some("merge-on-read") => Ok(RowChange::MergeOnRead),
            Some(other) => Err(self.unsupported(&format!("the property {key} = {other}"))),
        }
    }

    /// The value of a column in new rows that give none.
    pub(crate) fn write_default(&self, index: usize) -> Result<WriteDefault> {
        let schema = self.metadata.table.current_schema();
        let (Some(field), Some(column)) = (
            schema.as_struct().fields().get(index),
            self.schema().fields().get(index),
        ) else {
            return Err(self.unsupported(&format!("the column {index}")));
        };
        let refused = || self.unsupported(&format!("the default of the column {}", field.name));
        let value = match &field.write_default {
            Some(Literal::Primitive(literal)) => {
                schema::literal_scalar(literal, column.data_type()).ok_or_else(refused)?
            }
            Some(_) => return Err(refused()),
            // The crate forgets defaults that it cannot read.
            None if self.metadata.forgets_default(field) => return Err(refused()),
            None => ScalarValue::try_from(column.data_type()).map_err(|_| refused())?,
        };
        Ok(WriteDefault::Value(value))
    }

    /// Commits `change` as the next version of its branch.
    pub(crate) async fn commit(&self, lakehouse: &Lakehouse, name: &TableName, change: Change) -> Result<Committed> {
        Box::pin(land::land(self, lakehouse, name, &change)).await
    }
}

/// How rows become files of the table that has these metadata; `columns` is its current schema as plans see it.
pub(crate) fn of(table: &str, metadata: &TableMetadata, columns: &SchemaRef) -> Result<WriteTarget> {
    let unsupported = |feature: String| Error::Unsupported {
        table: table.to_owned(),
        feature,
    };
    let properties = metadata.properties();
    let property = |key: &str| properties.get(key).map(String::as_str);
    if let Some(format) = property("write.format.default")
        && !format.eq_ignore_ascii_case("parquet")
    {
        return Err(unsupported(format!("writing data files of the format {format}")));
    }
    if let Some(provider) = property("write.location-provider.impl") {
        return Err(unsupported(format!("the location provider {provider}")));
    }
    let mut target = WriteTarget::new(table, data_folder(metadata), SchemaRef::clone(columns));
    let position = |id: i32| columns.fields().iter().position(|field| field_id(field) == Some(id));
    let spec = metadata.default_partition_spec();
    target.spec_id = spec.spec_id();
    for field in spec.fields() {
        let transform = own_transform(field.transform).ok_or_else(|| {
            unsupported(format!(
                "the partition transform {} (field {})",
                field.transform, field.name
            ))
        })?;
        let column = position(field.source_id);
        let column =
            column.ok_or_else(|| unsupported(format!("the partition field {} of a nested column", field.name)))?;
        target.partition.push(PartitionField {
            column,
            transform,
            name: field.name.clone(),
        });
    }
    let order = metadata.default_sort_order();
    let keys = order.fields.iter().map(|key| {
        Some(SortField {
            column: position(key.source_id).filter(|_| key.transform == IcebergTransform::Identity)?,
            descending: key.direction == SortDirection::Descending,
            nulls_first: key.null_order == NullOrder::First,
        })
    });
    // An order that cannot be kept whole is not claimed: files without one may have any.
    if let Some(keys) = keys.collect::<Option<Vec<_>>>()
        && !keys.is_empty()
        && let Ok(id) = i32::try_from(order.order_id)
    {
        (target.sort_order, target.sort_order_id) = (keys, id);
    }
    let number = |key: &str| {
        let parse = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let value = |text| parse(text).ok_or_else(|| unsupported(format!("the property {key} = {text}")));
        property(key).map(value).transpose()
    };
    if let Some(bytes) = number("write.target-file-size-bytes")? {
        target.file_bytes_target = bytes;
    }
    if let Some(bytes) = number("write.parquet.row-group-size-bytes")? {
        target.row_group_bytes = bytes;
    }
    if let Some(codec) = property("write.parquet.compression-codec") {
        target.compression = compression(codec, property("write.parquet.compression-level"))
            .ok_or_else(|| unsupported(format!("the compression {codec} at its level")))?;
    }
    target.bloom_columns = bloom_columns(properties, columns);
    Ok(target)
}

fn bloom_columns(properties: &HashMap<String, String>, columns: &SchemaRef) -> Vec<usize> {
    let enabled = properties
        .iter()
        .filter(|(_, value)| value.eq_ignore_ascii_case("true"));
    let names = enabled.filter_map(|(key, _)| key.strip_prefix(BLOOM));
    let mut columns: Vec<usize> = names.filter_map(|name| columns.index_of(name).ok()).collect();
    columns.sort_unstable();
    columns
}

fn compression(codec: &str, level: Option<&str>) -> Option<Compression> {
    let level = level.map(str::parse::<i32>).transpose().ok()?;
    let unsigned = || level.map(u32::try_from).transpose().ok();
    Some(match codec.to_ascii_lowercase().as_str() {
        "zstd" => Compression::ZSTD(match level {
            Some(level) => ZstdLevel::try_new(level).ok()?,
            None => ZstdLevel::default(),
        }),
        "gzip" => Compression::GZIP(match unsigned()? {
            Some(level) => GzipLevel::try_new(level).ok()?,
            None => GzipLevel::default(),
        }),
        "brotli" => Compression::BROTLI(match unsigned()? {
            Some(level) => BrotliLevel::try_new(level).ok()?,
            None => BrotliLevel::default(),
        }),
        "snappy" => Compression::SNAPPY,
        "lz4" => Compression::LZ4_RAW,
        "uncompressed" | "none" => Compression::UNCOMPRESSED,
        _ => return None,
    })
}

/// The crate's name of a transform.
pub(crate) fn iceberg_transform(transform: Transform) -> IcebergTransform {
    match transform {
        Transform::Identity => IcebergTransform::Identity,
        Transform::Bucket(buckets) => IcebergTransform::Bucket(buckets),
        Transform::Truncate(width) => IcebergTransform::Truncate(width),
        Transform::Year => IcebergTransform::Year,
        Transform::Month => IcebergTransform::Month,
        Transform::Day => IcebergTransform::Day,
        Transform::Hour => IcebergTransform::Hour,
        Transform::Void => IcebergTransform::Void,
    }
}

fn own_transform(transform: IcebergTransform) -> Option<Transform> {
    Some(match transform {
        IcebergTransform::Identity => Transform::Identity,
        IcebergTransform::Bucket(buckets) => Transform::Bucket(buckets),
        IcebergTransform::Truncate(width) => Transform::Truncate(width),
        IcebergTransform::Year => Transform::Year,
        IcebergTransform::Month => Transform::Month,
        IcebergTransform::Day => Transform::Day,
        IcebergTransform::Hour => Transform::Hour,
        IcebergTransform::Void => Transform::Void,
        IcebergTransform::Unknown => return None,
    })
}

/// The name that a partition field gets where none is given, as other engines name it.
pub(crate) fn field_name(column: &str, transform: Transform) -> String {
    match transform {
        Transform::Identity => column.to_owned(),
        Transform::Bucket(_) => format!("{column}_bucket"),
        Transform::Truncate(_) => format!("{column}_trunc"),
        Transform::Year => format!("{column}_year"),
        Transform::Month => format!("{column}_month"),
        Transform::Day => format!("{column}_day"),
        Transform::Hour => format!("{column}_hour"),
        Transform::Void => format!("{column}_null"),
    }
}
