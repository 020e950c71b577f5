//! Avro to manifest lists and manifests.
//!
//! Fields are known by the ids that the specification gives them, and by name where a writer left the ids out.

use std::collections::HashMap;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, Int64Array, Int64Builder, StringBuilder,
};
use arrow::compute::filter;

use super::{
    Content, DeleteEntry, Entry, FieldSummary, Format, Manifest, ManifestFile, Metrics, Number, PartitionColumn,
};
use crate::iceberg::avro::{Container, Cursor, Field, Kind, Result};

/// The field ids of the specification, by name, for files without ids.
const IDS: [(&str, i32); 42] = [
    ("status", 0),
    ("snapshot_id", 1),
    ("data_file", 2),
    ("sequence_number", 3),
    ("file_path", 100),
    ("file_format", 101),
    ("partition", 102),
    ("record_count", 103),
    ("file_size_in_bytes", 104),
    ("null_value_counts", 110),
    ("lower_bounds", 125),
    ("upper_bounds", 128),
    ("key_metadata", 131),
    ("content", 134),
    ("equality_ids", 135),
    ("nan_value_counts", 137),
    ("referenced_data_file", 143),
    ("content_offset", 144),
    ("content_size_in_bytes", 145),
    ("manifest_path", 500),
    ("manifest_length", 501),
    ("partition_spec_id", 502),
    ("added_snapshot_id", 503),
    ("added_files_count", 504),
    ("added_data_files_count", 504),
    ("existing_files_count", 505),
    ("existing_data_files_count", 505),
    ("deleted_files_count", 506),
    ("deleted_data_files_count", 506),
    ("partitions", 507),
    ("contains_null", 509),
    ("lower_bound", 510),
    ("upper_bound", 511),
    ("contains_nan", 518),
    ("value_counts", 109),
    ("column_sizes", 108),
    ("split_offsets", 132),
    ("sort_order_id", 140),
    ("first_row_id", 142),
    ("added_rows_count", 512),
    ("existing_rows_count", 513),
    ("deleted_rows_count", 514),
];

fn id_of(field: &Field) -> i32 {
    let by_name = || IDS.iter().find(|(name, _)| *name == field.name).map(|(_, id)| *id);
    field.id.or_else(by_name).unwrap_or(-1)
}

/// Parses a manifest list of any format version.
pub(crate) fn list(bytes: &[u8]) -> Result<Vec<ManifestFile>> {
    let container = Container::open(bytes)?;
    let mut list = Vec::new();
    container.records(|fields, cursor| {
        list.push(manifest_file(fields, cursor)?);
        Ok(())
    })?;
    Ok(list)
}

fn manifest_file(fields: &[Field], cursor: &mut Cursor<'_>) -> Result<ManifestFile> {
    let mut file = ManifestFile::default();
    let mut path = None;
    for field in fields {
        let kind = &field.kind;
        // Format versions 2 and 3 share one name for two numbers: that of entries has the id 3, of lists 515.
        match (id_of(field), field.name.as_str()) {
            (500, _) => path = cursor.text(kind)?.map(str::to_owned),
            (501, _) => file.length = cursor.integer(kind)?.unwrap_or(0),
            (502, _) => file.spec_id = int(cursor.integer(kind)?.unwrap_or(0))?,
            (517, _) | (134, "content") => file.deletes = cursor.integer(kind)? == Some(1),
            (515, _) | (3, "sequence_number") => file.sequence = cursor.integer(kind)?.unwrap_or(0),
            (503, _) => file.added_snapshot_id = cursor.integer(kind)?,
            (504, _) => file.files[0] = cursor.integer(kind)?,
            (505, _) => file.files[1] = cursor.integer(kind)?,
            (506, _) => file.files[2] = cursor.integer(kind)?,
            (507, _) => file.partitions = summaries(kind, cursor)?,
            (520, _) | (142, "first_row_id") => file.first_row_id = cursor.integer(kind)?,
            (519, _) | (131, "key_metadata") => file.encrypted = cursor.bytes(kind)?.is_some_and(|key| !key.is_empty()),
            _ => cursor.skip(kind)?,
        }
    }
    file.path = path.ok_or("a manifest has no path")?;
    Ok(file)
}

fn summaries(kind: &Kind, cursor: &mut Cursor<'_>) -> Result<Option<Vec<FieldSummary>>> {
    let mut summaries = Vec::new();
    let mut is_present = true;
    cursor.items(kind, |cursor, item| {
        let Some(fields) = cursor.record(item)? else {
            is_present = false;
            return Ok(());
        };
        // Where the writer says nothing, everything is possible.
        let mut summary = FieldSummary {
            contains_null: true,
            ..FieldSummary::default()
        };
        for field in fields {
            let bytes = |cursor: &mut Cursor<'_>| Ok::<_, String>(cursor.bytes(&field.kind)?.map(<[u8]>::to_vec));
            match id_of(field) {
                509 => summary.contains_null = cursor.boolean(&field.kind)?.unwrap_or(true),
                518 => summary.contains_nan = cursor.boolean(&field.kind)?,
                510 => summary.lower = bytes(cursor)?,
                511 => summary.upper = bytes(cursor)?,
                _ => cursor.skip(&field.kind)?,
            }
        }
        summaries.push(summary);
        Ok(())
    })?;
    Ok((is_present && !summaries.is_empty()).then_some(summaries))
}

/// Parses a manifest of any format version, without its deleted entries.
pub(crate) fn manifest(bytes: &[u8]) -> Result<Manifest> {
    let container = Container::open(bytes)?;
    let mut rows = Rows::default();
    container.records(|fields, cursor| rows.entry(fields, cursor))?;
    rows.finish()
}

/// The partition spec that a manifest names in its header, for manifests that no list describes.
pub(crate) fn spec_id(bytes: &[u8]) -> Result<i32> {
    let container = Container::open(bytes)?;
    let Some(text) = container.metadata.get("partition-spec-id") else {
        return Ok(0);
    };
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    text.parse()
        .map_err(|_| format!("the partition spec id {text} is no number"))
}

/// Entries that are being read, deleted ones included.
#[derive(Default)]
struct Rows {
    paths: StringBuilder,
    entries: Vec<Entry>,
    live: Vec<bool>,
    partition: Vec<PartitionBuilder>,
    lower: Columns<BinaryBuilder>,
    upper: Columns<BinaryBuilder>,
    nulls: Columns<Int64Builder>,
    deletes: Vec<DeleteEntry>,
}

struct PartitionBuilder {
    id: Option<i32>,
    name: String,
    number: Number,
    values: BinaryBuilder,
}

impl Rows {
    fn entry(&mut self, fields: &[Field], cursor: &mut Cursor<'_>) -> Result<()> {
        let (mut status, mut snapshot_id, mut sequence, mut file) = (None, None, None, None);
        for field in fields {
            match id_of(field) {
                0 => status = cursor.integer(&field.kind)?,
                1 => snapshot_id = cursor.integer(&field.kind)?,
                3 => sequence = cursor.integer(&field.kind)?,
                2 => {
                    let fields = cursor.record(&field.kind)?.ok_or("an entry has no file")?;
                    file = Some(self.file(fields, cursor)?);
                }
                _ => cursor.skip(&field.kind)?,
            }
        }
        let status = status.ok_or("an entry has no status")?;
        if !(0..=2).contains(&status) {
            return Err(format!("an entry has the status {status}"));
        }
        let file = file.ok_or("an entry has no file")?;
        self.live.push(status != 2);
        self.entries.push(Entry {
            added: status == 1,
            sequence,
            snapshot_id,
            ..file
        });
        Ok(())
    }

    /// The file of the next entry, whose number is that of the entries so far.
    fn file(&mut self, fields: &[Field], cursor: &mut Cursor<'_>) -> Result<Entry> {
        let row = self.entries.len();
        let mut entry = Entry {
            added: false,
            sequence: None,
            snapshot_id: None,
            content: Content::Data,
            format: Format::Unknown,
            encrypted: false,
            rows: 0,
            size_bytes: 0,
            first_row_id: None,
        };
        let mut delete = DeleteEntry::default();
        let (mut path, mut rows, mut size) = (None, None, None);
        for field in fields {
            let kind = &field.kind;
            match id_of(field) {
                100 => path = cursor.text(kind)?,
                101 => entry.format = cursor.text(kind)?.map_or(Format::Unknown, format),
                102 => self.partition(kind, row, cursor)?,
                103 => rows = cursor.integer(kind)?,
                104 => size = cursor.integer(kind)?,
                110 => numbers(&mut self.nulls, kind, row, cursor)?,
                125 => bounds(&mut self.lower, kind, row, cursor)?,
                128 => bounds(&mut self.upper, kind, row, cursor)?,
                131 => entry.encrypted = cursor.bytes(kind)?.is_some_and(|key| !key.is_empty()),
                134 => entry.content = content(cursor.integer(kind)?.unwrap_or(0))?,
                135 => cursor.items(kind, |cursor, item| {
                    delete
                        .equality_ids
                        .push(int(cursor.integer(item)?.ok_or("an equality id is null")?)?);
                    Ok(())
                })?,
                142 => entry.first_row_id = cursor.integer(kind)?,
                143 => delete.referenced_data_file = cursor.text(kind)?.map(str::to_owned),
                144 => delete.content_offset = cursor.integer(kind)?,
                145 => delete.content_size = cursor.integer(kind)?,
                _ => cursor.skip(kind)?,
            }
        }
        let path = path.ok_or("an entry has no file path")?;
        let count = |number: Option<i64>, what: &str| {
            let number = number.ok_or_else(|| format!("{path} has no {what}"))?;
            u64::try_from(number).map_err(|_| format!("{path} has the {what} {number}"))
        };
        entry.rows = count(rows, "record count")?;
        entry.size_bytes = count(size, "size")?;
        self.paths.append_value(path);
        if entry.content != Content::Data {
            self.deletes.resize_with(row, DeleteEntry::default);
            self.deletes.push(delete);
        }
        Ok(entry)
    }

    fn partition(&mut self, kind: &Kind, row: usize, cursor: &mut Cursor<'_>) -> Result<()> {
        let Some(fields) = cursor.record(kind)? else {
            return Ok(());
        };
        if self.partition.is_empty() {
            self.partition = fields.iter().map(PartitionBuilder::new).collect();
        }
        for (field, column) in fields.iter().zip(&mut self.partition) {
            let value = cursor.single_value(&field.kind)?;
            column.values.pad(row);
            column.values.append_option(value);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Manifest> {
        let rows = self.entries.len();
        let live = BooleanArray::from(self.live);
        let all = live.true_count() == rows;
        let keep = |array: ArrayRef| match all {
            true => Ok(array),
            false => filter(&array, &live).map_err(|error| error.to_string()),
        };
        let mut partition = Vec::with_capacity(self.partition.len());
        for mut column in self.partition {
            let values = keep(column.values.padded(rows))?;
            partition.push(PartitionColumn {
                id: column.id,
                name: column.name,
                number: column.number,
                values: typed::<BinaryArray>(&values)?,
            });
        }
        let mut metrics: HashMap<i32, Metrics> = HashMap::new();
        for (id, array) in self.lower.finish(rows) {
            metrics.entry(id).or_default().lower = Some(typed(&keep(array)?)?);
        }
        for (id, array) in self.upper.finish(rows) {
            metrics.entry(id).or_default().upper = Some(typed(&keep(array)?)?);
        }
        for (id, array) in self.nulls.finish(rows) {
            metrics.entry(id).or_default().nulls = Some(typed(&keep(array)?)?);
        }
        let paths = keep(std::sync::Arc::new(self.paths.finish()))?;
        let is_live = |row: &usize| live.value(*row);
        let deletes = match self.deletes.is_empty() {
            true => Vec::new(),
            false => {
                self.deletes.resize_with(rows, DeleteEntry::default);
                let numbered = self.deletes.into_iter().enumerate();
                numbered
                    .filter(|(row, _)| is_live(row))
                    .map(|(_, entry)| entry)
                    .collect()
            }
        };
        let mut entries: Vec<Entry> = (0..rows).filter(is_live).map(|row| self.entries[row]).collect();
        entries.shrink_to_fit();
        Ok(Manifest {
            paths: typed(&paths)?,
            entries,
            partition,
            metrics,
            deletes,
        })
    }
}

impl PartitionBuilder {
    fn new(field: &Field) -> Self {
        let number = match field.kind.present() {
            Kind::Int | Kind::Long => Number::Integer,
            Kind::Float | Kind::Double => Number::Float,
            Kind::Bytes { decimal: true } | Kind::Fixed { decimal: true, .. } => Number::Decimal,
            _ => Number::None,
        };
        Self {
            id: field.id,
            name: field.name.clone(),
            number,
            values: BinaryBuilder::small(),
        }
    }
}

/// A builder that is filled up with NULL for the rows that had nothing to say.
trait Pad {
    fn small() -> Self;
    fn pad(&mut self, rows: usize);
    fn padded(&mut self, rows: usize) -> ArrayRef;
}

impl Pad for BinaryBuilder {
    fn small() -> Self {
        BinaryBuilder::with_capacity(16, 128)
    }

    fn pad(&mut self, rows: usize) {
        let have = arrow::array::ArrayBuilder::len(self);
        (have..rows).for_each(|_| self.append_null());
    }

    fn padded(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        std::sync::Arc::new(self.finish())
    }
}

impl Pad for Int64Builder {
    fn small() -> Self {
        Int64Builder::with_capacity(16)
    }

    fn pad(&mut self, rows: usize) {
        let have = arrow::array::ArrayBuilder::len(self);
        (have..rows).for_each(|_| self.append_null());
    }

    fn padded(&mut self, rows: usize) -> ArrayRef {
        self.pad(rows);
        std::sync::Arc::new(self.finish())
    }
}

/// Builders by field id. Entries name their columns in one order, so that the next is mostly the one after the last.
#[derive(Default)]
struct Columns<B> {
    builders: Vec<(i32, B)>,
    by_id: HashMap<i32, usize>,
    next: usize,
}

impl<B: Pad> Columns<B> {
    fn of(&mut self, id: i32) -> &mut B {
        let expected = self.builders.get(self.next).is_some_and(|(other, _)| *other == id);
        let position = match expected {
            true => self.next,
            false => *self.by_id.entry(id).or_insert_with(|| {
                self.builders.push((id, B::small()));
                self.builders.len() - 1
            }),
        };
        self.next = position + 1;
        &mut self.builders[position].1
    }

    fn finish(&mut self, rows: usize) -> Vec<(i32, ArrayRef)> {
        let builders = std::mem::take(&mut self.builders);
        builders
            .into_iter()
            .map(|(id, mut builder)| (id, builder.padded(rows)))
            .collect()
    }
}

/// The items of a map from field ids: records of a key and a value.
fn pairs(
    kind: &Kind,
    cursor: &mut Cursor<'_>,
    mut pair: impl FnMut(&mut Cursor<'_>, i32, &Kind) -> Result<()>,
) -> Result<()> {
    cursor.items(kind, |cursor, item| {
        let Some([key, value]) = cursor.record(item)? else {
            return Err("an item of a map is no pair".to_owned());
        };
        let id = int(cursor.integer(&key.kind)?.ok_or("a field id is null")?)?;
        pair(cursor, id, &value.kind)
    })
}

fn numbers(columns: &mut Columns<Int64Builder>, kind: &Kind, row: usize, cursor: &mut Cursor<'_>) -> Result<()> {
    columns.next = 0;
    pairs(kind, cursor, |cursor, id, kind| {
        let builder = columns.of(id);
        let value = cursor.integer(kind)?;
        builder.pad(row);
        // A key that comes twice keeps its first value; a negative count says nothing.
        if arrow::array::ArrayBuilder::len(builder) == row {
            builder.append_option(value.filter(|count| *count >= 0));
        }
        Ok(())
    })
}

fn bounds(columns: &mut Columns<BinaryBuilder>, kind: &Kind, row: usize, cursor: &mut Cursor<'_>) -> Result<()> {
    columns.next = 0;
    pairs(kind, cursor, |cursor, id, kind| {
        let builder = columns.of(id);
        let value = cursor.bytes(kind)?;
        builder.pad(row);
        if arrow::array::ArrayBuilder::len(builder) == row {
            builder.append_option(value);
        }
        Ok(())
    })
}

fn typed<A: Array + Clone + 'static>(array: &ArrayRef) -> Result<A> {
    let typed = array.as_any().downcast_ref::<A>();
    typed.cloned().ok_or_else(|| "an array changed its type".to_owned())
}

fn int(value: i64) -> Result<i32> {
    i32::try_from(value).map_err(|_| format!("the id {value} is out of range"))
}

fn content(number: i64) -> Result<Content> {
    match number {
        0 => Ok(Content::Data),
        1 => Ok(Content::PositionDeletes),
        2 => Ok(Content::EqualityDeletes),
        other => Err(format!("a file has the unknown content {other}")),
    }
}

fn format(name: &str) -> Format {
    match name.to_ascii_uppercase().as_str() {
        "PARQUET" => Format::Parquet,
        "AVRO" => Format::Avro,
        "ORC" => Format::Orc,
        "PUFFIN" => Format::Puffin,
        _ => Format::Unknown,
    }
}

/// The array of counts as DataFusion's pruning reads it, NULL where nothing is known.
pub(crate) fn counts(array: &Int64Array) -> arrow::array::UInt64Array {
    array.iter().map(|count| u64::try_from(count?).ok()).collect()
}
