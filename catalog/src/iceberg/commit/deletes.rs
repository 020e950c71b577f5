//! Rows deleted by position as files: Parquet files of positions for format version 2, deletion vectors in a Puffin
//! file for version 3.
//!
//! Source: the Iceberg specification, "Row-level Deletes"; the Puffin specification, "File structure" and
//! "`deletion-vector-v1` blob type".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Struct};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;

use crate::write::puffin::{BlobKind, PuffinFile};
use crate::write::vector;

/// Name and reserved field id of the data file's location.
const FILE_PATH: (&str, i32) = ("file_path", 2_147_483_546);
/// Name and reserved field id of the row's position.
const POS: (&str, i32) = ("pos", 2_147_483_545);
/// Rows encoded at once.
const BATCH_ROWS: usize = 64 * 1024;

/// The rows that are deleted from one data file.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    /// The data file's location as the metadata write it.
    pub(super) file: String,
    pub(super) positions: RoaringTreemap,
    /// The partition of the data file, which the deletes share.
    pub(super) partition: Struct,
    pub(super) spec_id: i32,
}

/// A position delete file for the data files of one partition, which `deletes` names in ascending order.
pub(super) fn position_file(location: &str, deletes: &[Positions]) -> Result<(DataFile, Bytes), String> {
    let bytes = encode_positions(deletes).map_err(|error| error.to_string())?;
    let (Some(first), Some(last)) = (deletes.first(), deletes.last()) else {
        return Err("a position delete file without positions".to_owned());
    };
    let rows = deletes.iter().map(|delete| delete.positions.len()).sum();
    let count = |number: u64| HashMap::from([(FILE_PATH.1, number), (POS.1, number)]);
    let position = |position: Option<u64>| i64::try_from(position.unwrap_or(0)).map_err(|error| error.to_string());
    let least = position(deletes.iter().filter_map(|delete| delete.positions.min()).min())?;
    let greatest = position(deletes.iter().filter_map(|delete| delete.positions.max()).max())?;
    // Bounds of locations are whole, since equal ones say which file is meant.
    let bounds =
        |path: &str, position| HashMap::from([(FILE_PATH.1, Datum::string(path)), (POS.1, Datum::long(position))]);
    let file = DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(location.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(first.partition.clone())
        .partition_spec_id(first.spec_id)
        .record_count(rows)
        .file_size_in_bytes(u64::try_from(bytes.len()).map_err(|error| error.to_string())?)
        .value_counts(count(rows))
        .null_value_counts(count(0))
        .lower_bounds(bounds(&first.file, least))
        .upper_bounds(bounds(&last.file, greatest))
        .referenced_data_file((deletes.len() == 1).then(|| first.file.clone()))
        .build()
        .map_err(|error| error.to_string())?;
    Ok((file, bytes))
}

fn encode_positions(deletes: &[Positions]) -> Result<Bytes, ParquetError> {
    let field = |(name, id): (&str, i32), data_type| {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, data_type, false).with_metadata(metadata)
    };
    let schema = Arc::new(Schema::new(vec![
        field(FILE_PATH, DataType::Utf8),
        field(POS, DataType::Int64),
    ]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema), options)?;
    for delete in deletes {
        let mut rest = delete.positions.iter().peekable();
        while rest.peek().is_some() {
            let positions = rest.by_ref().take(BATCH_ROWS).map(i64::try_from);
            let positions: Int64Array = positions
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| ParquetError::General(error.to_string()))?
                .into();
            let paths = StringArray::from_iter_values(std::iter::repeat_n(&delete.file, positions.values().len()));
            let columns: Vec<ArrayRef> = vec![Arc::new(paths), Arc::new(positions)];
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
        }
    }
    Ok(writer.into_inner()?.into())
}

/// One Puffin file with a deletion vector for each of `deletes`, and an entry for each of them.
pub(super) fn vector_file(location: &str, deletes: &[Positions]) -> Result<(Vec<DataFile>, Bytes), String> {
    let mut file = PuffinFile::new();
    let mut places = Vec::with_capacity(deletes.len());
    for delete in deletes {
        let blob = vector::encode(&delete.positions)?;
        let cardinality = delete.positions.len();
        let kind = BlobKind {
            blob_type: "deletion-vector-v1",
            field: POS.1,
            snapshot: (-1, -1),
            properties: BTreeMap::from([
                ("referenced-data-file", delete.file.clone()),
                ("cardinality", cardinality.to_string()),
            ]),
        };
        places.push((file.add(kind, &blob), blob.len(), cardinality));
    }
    let (file, _) = file.finish()?;
    let size = u64::try_from(file.len()).map_err(|error| error.to_string())?;
    let mut entries = Vec::with_capacity(deletes.len());
    for (delete, (offset, length, cardinality)) in deletes.iter().zip(places) {
        let place = |bytes: usize| i64::try_from(bytes).map_err(|error| error.to_string());
        let entry = DataFileBuilder::default()
            .content(DataContentType::PositionDeletes)
            .file_path(location.to_owned())
            .file_format(DataFileFormat::Puffin)
            .partition(delete.partition.clone())
            .partition_spec_id(delete.spec_id)
            .record_count(cardinality)
            .file_size_in_bytes(size)
            .referenced_data_file(Some(delete.file.clone()))
            .content_offset(Some(place(offset)?))
            .content_size_in_bytes(Some(place(length)?))
            .build();
        entries.push(entry.map_err(|error| error.to_string())?);
    }
    Ok((entries, file.into()))
}
