//! The parts of a lake scan and their messages.

use std::collections::{BTreeMap, HashMap};

use arrow::compute::SortOptions;
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::error::{DataFusionError, Result};
use datafusion_proto::protobuf;
use object_store::path::Path;
use prost::Message;
use proto::delete_source::Source;
use proto::{DeletionVector, InlineVector, LakeScan, PositionDeletes, PrunedCounts};

use super::{external, refused};
use crate::scan::deletes::{DeleteSource, RowDeletes, VectorFrame};
use crate::scan::source::SortKey;
use crate::snapshot::{ColumnMapping, Pruned};

/// Values of columns by field id, each as `datafusion_common.ScalarValue`.
pub(super) fn defaults_to_proto(defaults: &BTreeMap<i32, ScalarValue>) -> Result<HashMap<i32, Vec<u8>>> {
    let one = |(id, value): (&i32, &ScalarValue)| {
        let value: protobuf::ScalarValue = value.try_into()?;
        Ok((*id, value.encode_to_vec()))
    };
    defaults.iter().map(one).collect()
}

/// The mapping of a scan.
pub(super) fn columns_from_proto(scan: &LakeScan) -> Result<ColumnMapping> {
    let one = |(id, value): (&i32, &Vec<u8>)| {
        let value = protobuf::ScalarValue::decode(value.as_slice()).map_err(external)?;
        Ok((*id, ScalarValue::try_from(&value)?))
    };
    Ok(ColumnMapping {
        column_match: scan.column_match(),
        name_mapping: scan.name_mapping.clone(),
        defaults: scan.defaults.iter().map(one).collect::<Result<_>>()?,
    })
}

pub(super) fn deletes_to_proto(deletes: &RowDeletes) -> proto::RowDeletes {
    let one = |source: &DeleteSource| proto::DeleteSource {
        source: Some(source_to_proto(source)),
    };
    proto::RowDeletes {
        data_file: deletes.data_file.clone(),
        sources: deletes.sources.iter().map(one).collect(),
    }
}

fn source_to_proto(source: &DeleteSource) -> Source {
    match source {
        DeleteSource::Positions {
            store_url,
            path,
            size_bytes,
        } => Source::Positions(PositionDeletes {
            store_url: store_url.to_string(),
            path: path.to_string(),
            size_bytes: *size_bytes,
        }),
        DeleteSource::Vector {
            store_url,
            path,
            offset,
            size_bytes,
            cardinality,
            frame,
        } => {
            let frame = match frame {
                VectorFrame::Puffin => proto::VectorFrame::Puffin,
                VectorFrame::Delta => proto::VectorFrame::Delta,
            };
            Source::Vector(DeletionVector {
                store_url: store_url.to_string(),
                path: path.to_string(),
                offset: *offset,
                size_bytes: *size_bytes,
                cardinality: *cardinality,
                frame: frame.into(),
            })
        }
        DeleteSource::Inline { bitmap, cardinality } => Source::Inline(InlineVector {
            bitmap: bitmap.clone(),
            cardinality: *cardinality,
        }),
    }
}

pub(super) fn deletes_from_proto(deletes: proto::RowDeletes) -> Result<RowDeletes> {
    Ok(RowDeletes {
        data_file: deletes.data_file,
        sources: deletes
            .sources
            .into_iter()
            .map(source_from_proto)
            .collect::<Result<_>>()?,
    })
}

fn source_from_proto(source: proto::DeleteSource) -> Result<DeleteSource> {
    let unknown = || refused("a lake scan has row deletes of an unknown kind".to_owned());
    Ok(match source.source.ok_or_else(unknown)? {
        Source::Positions(file) => DeleteSource::Positions {
            store_url: ObjectStoreUrl::parse(file.store_url)?,
            path: path(&file.path)?,
            size_bytes: file.size_bytes,
        },
        Source::Vector(vector) => DeleteSource::Vector {
            frame: match vector.frame() {
                proto::VectorFrame::Puffin => VectorFrame::Puffin,
                proto::VectorFrame::Delta => VectorFrame::Delta,
                proto::VectorFrame::Unspecified => return Err(unknown()),
            },
            store_url: ObjectStoreUrl::parse(vector.store_url)?,
            path: path(&vector.path)?,
            offset: vector.offset,
            size_bytes: vector.size_bytes,
            cardinality: vector.cardinality,
        },
        Source::Inline(vector) => DeleteSource::Inline {
            bitmap: vector.bitmap,
            cardinality: vector.cardinality,
        },
    })
}

fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))
}

pub(super) fn pruned_to_proto(pruned: Pruned) -> PrunedCounts {
    PrunedCounts {
        manifests_total: pruned.manifests_total,
        manifests_read: pruned.manifests_read,
        files_total: pruned.files_total,
        files_read: pruned.files_read,
    }
}

pub(super) fn pruned_from_proto(pruned: PrunedCounts) -> Pruned {
    Pruned {
        manifests_total: pruned.manifests_total,
        manifests_read: pruned.manifests_read,
        files_total: pruned.files_total,
        files_read: pruned.files_read,
    }
}

pub(super) fn sort_key_to_proto(key: &SortKey) -> proto::SortKey {
    proto::SortKey {
        column: key.column.clone(),
        descending: key.options.descending,
        nulls_first: key.options.nulls_first,
    }
}

pub(super) fn sort_key_from_proto(key: proto::SortKey) -> SortKey {
    SortKey {
        column: key.column,
        options: SortOptions::new(key.descending, key.nulls_first),
    }
}
