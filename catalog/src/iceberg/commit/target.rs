//! How rows become data files of an Iceberg table: what the table's metadata and properties say of new files.

use std::collections::HashMap;

use arrow::datatypes::SchemaRef;
use iceberg::spec::{NullOrder, SortDirection, TableMetadata, Transform as IcebergTransform};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use super::data_folder;
use crate::error::{Error, Result};
use crate::scan::adapt::field_id;
use crate::write::target::{PartitionField, SortField, Transform, WriteTarget};

/// Followed by a column's name: whether the column has a bloom filter.
const BLOOM: &str = "write.parquet.bloom-filter-enabled.column.";

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
