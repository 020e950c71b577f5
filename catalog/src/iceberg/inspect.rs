//! The metadata tables of an Iceberg table, with the column names that other engines give them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, BooleanBuilder, Int32Array, Int32Builder, Int64Array, ListBuilder, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StructBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use iceberg::spec::{Datum, Literal, PartitionField, SnapshotRef, SnapshotRetention};
use serde_json::{Map, Value};

use super::IcebergSnapshot;
use super::cache::LoadedManifest;
use super::manifest::{Content, FieldSummary, ManifestFile};
use crate::error::{Error, Result};
use crate::system_table::MetadataTable;

type Columns = Vec<(&'static str, ArrayRef)>;

impl IcebergSnapshot {
    /// The rows of one metadata table. Snapshots, history, refs and properties are the table's; manifests, files and
    /// partitions this snapshot's.
    pub(crate) async fn inspect(&self, what: MetadataTable) -> Result<RecordBatch> {
        let columns = match what {
            MetadataTable::Snapshots => self.snapshots(),
            MetadataTable::History => self.history(),
            MetadataTable::Refs => self.refs(),
            MetadataTable::Properties => self.properties(),
            MetadataTable::Manifests => {
                let (mut manifests, deletes) = self.live_manifests().await?;
                manifests.extend(deletes);
                self.manifests_columns(&manifests)?
            }
            MetadataTable::Files => self.files_columns(&self.loaded().await?),
            MetadataTable::Partitions => self.partitions_columns(&self.loaded().await?),
        };
        let columns = columns.into_iter().map(|(name, values)| (name, values, true));
        RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| self.damaged(error.to_string()))
    }

    async fn loaded(&self) -> Result<Vec<LoadedManifest>> {
        let (mut manifests, deletes) = self.live_manifests().await?;
        manifests.extend(deletes);
        self.manifests.load(&self.table, manifests).await
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Corrupt {
            table: self.table.clone(),
            file: "the table metadata".to_owned(),
            detail,
        }
    }

    /// Every snapshot of the table, the oldest first.
    fn snapshots(&self) -> Columns {
        let mut snapshots: Vec<&SnapshotRef> = self.metadata.table.snapshots().collect();
        snapshots.sort_by_key(|snapshot| {
            (
                snapshot.sequence_number(),
                snapshot.timestamp_ms(),
                snapshot.snapshot_id(),
            )
        });
        let mut summaries = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for snapshot in &snapshots {
            let summary: BTreeMap<_, _> = snapshot.summary().additional_properties.iter().collect();
            for (key, value) in summary {
                summaries.keys().append_value(key);
                summaries.values().append_value(value);
            }
            // Keys and values have equal lengths, so that this cannot fail.
            let _is_appended = summaries.append(true).is_ok();
        }
        let all = || snapshots.iter();
        vec![
            ("committed_at", utc(all().map(|snapshot| Some(snapshot.timestamp_ms())))),
            ("snapshot_id", longs(all().map(|snapshot| Some(snapshot.snapshot_id())))),
            ("parent_id", longs(all().map(|snapshot| snapshot.parent_snapshot_id()))),
            (
                "operation",
                texts(all().map(|snapshot| Some(snapshot.summary().operation.as_str()))),
            ),
            (
                "manifest_list",
                texts(all().map(|snapshot| Some(snapshot.manifest_list()).filter(|list| !list.is_empty()))),
            ),
            ("summary", Arc::new(summaries.finish())),
        ]
    }

    /// Which snapshot was current from when on.
    fn history(&self) -> Columns {
        let metadata = &self.metadata.table;
        let mut ancestors = HashSet::new();
        let mut next = metadata.current_snapshot_id();
        while let Some(id) = next {
            // A chain that bites its tail ends.
            next = ancestors
                .insert(id)
                .then(|| metadata.snapshot_by_id(id)?.parent_snapshot_id())
                .flatten();
        }
        let log = || metadata.history().iter();
        let parent = |id: i64| metadata.snapshot_by_id(id)?.parent_snapshot_id();
        let is_ancestor = log().map(|entry| Some(ancestors.contains(&entry.snapshot_id)));
        vec![
            ("made_current_at", utc(log().map(|entry| Some(entry.timestamp_ms())))),
            ("snapshot_id", longs(log().map(|entry| Some(entry.snapshot_id)))),
            ("parent_id", longs(log().map(|entry| parent(entry.snapshot_id)))),
            ("is_current_ancestor", Arc::new(is_ancestor.collect::<BooleanArray>())),
        ]
    }

    fn refs(&self) -> Columns {
        let refs = self.metadata.refs();
        let kept = |reference: &iceberg::spec::SnapshotReference| match &reference.retention {
            SnapshotRetention::Branch {
                min_snapshots_to_keep,
                max_snapshot_age_ms,
                max_ref_age_ms,
            } => (*max_ref_age_ms, *min_snapshots_to_keep, *max_snapshot_age_ms),
            SnapshotRetention::Tag { max_ref_age_ms } => (*max_ref_age_ms, None, None),
        };
        let all = || refs.values();
        let kind = |is_branch: bool| if is_branch { "BRANCH" } else { "TAG" };
        let least: Int32Array = all().map(|reference| kept(reference).1).collect();
        vec![
            ("name", texts(refs.keys().map(|name| Some(name.as_str())))),
            ("type", texts(all().map(|reference| Some(kind(reference.is_branch()))))),
            ("snapshot_id", longs(all().map(|reference| Some(reference.snapshot_id)))),
            (
                "max_reference_age_in_ms",
                longs(all().map(|reference| kept(reference).0)),
            ),
            ("min_snapshots_to_keep", Arc::new(least)),
            (
                "max_snapshot_age_in_ms",
                longs(all().map(|reference| kept(reference).2)),
            ),
        ]
    }

    fn properties(&self) -> Columns {
        let properties: BTreeMap<_, _> = self.metadata.table.properties().iter().collect();
        vec![
            ("key", texts(properties.keys().map(|key| Some(key.as_str())))),
            ("value", texts(properties.values().map(|value| Some(value.as_str())))),
        ]
    }

    fn manifests_columns(&self, manifests: &[ManifestFile]) -> Result<Columns> {
        let all = || manifests.iter();
        let number = |wanted: bool, status: usize| {
            all().map(move |manifest| match manifest.deletes == wanted {
                true => manifest.files[status],
                false => Some(0),
            })
        };
        Ok(vec![
            ("content", ints(all().map(|manifest| Some(i32::from(manifest.deletes))))),
            ("path", texts(all().map(|manifest| Some(manifest.path.as_str())))),
            ("length", longs(all().map(|manifest| Some(manifest.length)))),
            ("partition_spec_id", ints(all().map(|manifest| Some(manifest.spec_id)))),
            (
                "added_snapshot_id",
                longs(all().map(|manifest| manifest.added_snapshot_id)),
            ),
            ("added_data_files_count", longs(number(false, 0))),
            ("existing_data_files_count", longs(number(false, 1))),
            ("deleted_data_files_count", longs(number(false, 2))),
            ("added_delete_files_count", longs(number(true, 0))),
            ("existing_delete_files_count", longs(number(true, 1))),
            ("deleted_delete_files_count", longs(number(true, 2))),
            ("partition_summaries", self.summaries(manifests)?),
        ])
    }

    /// Bounds of the partition values of each manifest, as texts.
    fn summaries(&self, manifests: &[ManifestFile]) -> Result<ArrayRef> {
        let fields = vec![
            Field::new("contains_null", DataType::Boolean, true),
            Field::new("contains_nan", DataType::Boolean, true),
            Field::new("lower_bound", DataType::Utf8, true),
            Field::new("upper_bound", DataType::Utf8, true),
        ];
        let mut lists = ListBuilder::new(StructBuilder::from_fields(fields, manifests.len()));
        let broken = || self.damaged("a partition summary has no place".to_owned());
        for manifest in manifests {
            let spec = self.metadata.table.partition_spec_by_id(manifest.spec_id);
            let spec_fields = spec.map_or(&[][..], |spec| spec.fields());
            for (position, summary) in manifest.partitions.iter().flatten().enumerate() {
                let FieldSummary {
                    contains_null,
                    contains_nan,
                    lower,
                    upper,
                } = summary;
                let text = |bytes: &Option<Vec<u8>>| {
                    let bytes = bytes.as_deref()?;
                    Some(
                        spec_fields
                            .get(position)
                            .map_or_else(|| hex(bytes), |field| self.human(field, bytes)),
                    )
                };
                let row = lists.values();
                row.field_builder::<BooleanBuilder>(0)
                    .ok_or_else(broken)?
                    .append_value(*contains_null);
                row.field_builder::<BooleanBuilder>(1)
                    .ok_or_else(broken)?
                    .append_option(*contains_nan);
                row.field_builder::<StringBuilder>(2)
                    .ok_or_else(broken)?
                    .append_option(text(lower));
                row.field_builder::<StringBuilder>(3)
                    .ok_or_else(broken)?
                    .append_option(text(upper));
                row.append(true);
            }
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    }

    /// Live data and delete files. A partition is a JSON object of texts by the names of the partition fields.
    fn files_columns(&self, manifests: &[LoadedManifest]) -> Columns {
        let files = || {
            manifests
                .iter()
                .flat_map(|manifest| (0..manifest.entries.len()).map(move |row| (manifest, row)))
        };
        let entries = || files().map(|(manifest, row)| &manifest.entries.entries[row]);
        let deletes = || files().map(|(manifest, row)| manifest.entries.deletes.get(row));
        let mut equality_ids = ListBuilder::new(Int32Builder::new());
        for delete in deletes() {
            let ids = delete.map_or(&[][..], |delete| &delete.equality_ids);
            equality_ids.values().append_slice(ids);
            equality_ids.append(!ids.is_empty());
        }
        let partitions: StringArray = files()
            .map(|(manifest, row)| Some(self.partition(manifest, row)))
            .collect();
        vec![
            ("content", ints(entries().map(|entry| Some(number_of(entry.content))))),
            (
                "file_path",
                texts(files().map(|(manifest, row)| Some(manifest.entries.paths.value(row)))),
            ),
            ("file_format", texts(entries().map(|entry| Some(entry.format.name())))),
            (
                "spec_id",
                ints(files().map(|(manifest, _)| Some(manifest.file.spec_id))),
            ),
            ("partition", Arc::new(partitions)),
            (
                "record_count",
                longs(entries().map(|entry| i64::try_from(entry.rows).ok())),
            ),
            (
                "file_size_in_bytes",
                longs(entries().map(|entry| i64::try_from(entry.size_bytes).ok())),
            ),
            ("equality_ids", Arc::new(equality_ids.finish())),
            (
                "referenced_data_file",
                texts(deletes().map(|delete| delete?.referenced_data_file.as_deref())),
            ),
            ("content_offset", longs(deletes().map(|delete| delete?.content_offset))),
            (
                "content_size_in_bytes",
                longs(deletes().map(|delete| delete?.content_size)),
            ),
        ]
    }

    /// Counts and sizes of the live files of each partition.
    fn partitions_columns(&self, manifests: &[LoadedManifest]) -> Columns {
        let mut partitions: BTreeMap<(i32, String), Totals> = BTreeMap::new();
        for manifest in manifests {
            for (row, entry) in manifest.entries.entries.iter().enumerate() {
                let key = (manifest.file.spec_id, self.partition(manifest, row));
                let totals = partitions.entry(key).or_default();
                let [rows, files] = match entry.content {
                    Content::Data => {
                        totals.bytes = totals.bytes.saturating_add(entry.size_bytes);
                        &mut totals.data
                    }
                    Content::PositionDeletes => &mut totals.position_deletes,
                    Content::EqualityDeletes => &mut totals.equality_deletes,
                };
                *rows = rows.saturating_add(entry.rows);
                *files = files.saturating_add(1);
                let snapshot_id = entry.snapshot_id.or(manifest.file.added_snapshot_id);
                let snapshot = snapshot_id.and_then(|id| self.metadata.table.snapshot_by_id(id));
                let updated = snapshot.map(|snapshot| (snapshot.timestamp_ms(), snapshot.snapshot_id()));
                totals.updated = totals.updated.max(updated);
            }
        }
        let number = |of: fn(&Totals) -> u64| longs(partitions.values().map(|totals| i64::try_from(of(totals)).ok()));
        let updated = || partitions.values().map(|totals| totals.updated);
        vec![
            (
                "partition",
                texts(partitions.keys().map(|(_, partition)| Some(partition.as_str()))),
            ),
            ("spec_id", ints(partitions.keys().map(|(spec_id, _)| Some(*spec_id)))),
            ("record_count", number(|totals| totals.data[0])),
            ("file_count", number(|totals| totals.data[1])),
            ("total_data_file_size_in_bytes", number(|totals| totals.bytes)),
            (
                "position_delete_record_count",
                number(|totals| totals.position_deletes[0]),
            ),
            (
                "position_delete_file_count",
                number(|totals| totals.position_deletes[1]),
            ),
            (
                "equality_delete_record_count",
                number(|totals| totals.equality_deletes[0]),
            ),
            (
                "equality_delete_file_count",
                number(|totals| totals.equality_deletes[1]),
            ),
            ("last_updated_at", utc(updated().map(|updated| Some(updated?.0)))),
            (
                "last_updated_snapshot_id",
                longs(updated().map(|updated| Some(updated?.1))),
            ),
        ]
    }

    /// The partition of a file as a JSON object.
    fn partition(&self, manifest: &LoadedManifest, row: usize) -> String {
        let spec = self.metadata.table.partition_spec_by_id(manifest.file.spec_id);
        let fields = spec.map_or(&[][..], |spec| spec.fields());
        let values = fields.iter().map(|field| {
            let values = manifest.entries.partition_values(field.field_id, &field.name);
            let bytes = values
                .filter(|values| values.is_valid(row))
                .map(|values| values.value(row));
            let value = bytes.map_or(Value::Null, |bytes| Value::from(self.human(field, bytes)));
            (field.name.clone(), value)
        });
        Value::Object(values.collect::<Map<String, Value>>()).to_string()
    }

    /// A partition value as the specification shows it to people; its bytes where its type is not known any more.
    fn human(&self, field: &PartitionField, bytes: &[u8]) -> String {
        let text = || {
            let mut schemas = self.metadata.table.schemas_iter();
            let source = schemas.find_map(|schema| schema.field_by_id(field.source_id))?;
            let result = field.transform.result_type(&source.field_type).ok()?;
            let datum = Datum::try_from_bytes(bytes, result.as_primitive_type()?.clone()).ok()?;
            let literal = Literal::Primitive(datum.literal().clone());
            Some(field.transform.to_human_string(&result, Some(&literal)))
        };
        text().unwrap_or_else(|| hex(bytes))
    }
}

/// Sums over the files of one partition: rows and files.
#[derive(Debug, Default)]
struct Totals {
    data: [u64; 2],
    bytes: u64,
    position_deletes: [u64; 2],
    equality_deletes: [u64; 2],
    /// When the newest file came, in milliseconds since the epoch, and with which snapshot.
    updated: Option<(i64, i64)>,
}

fn number_of(content: Content) -> i32 {
    match content {
        Content::Data => 0,
        Content::PositionDeletes => 1,
        Content::EqualityDeletes => 2,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

fn ints(values: impl Iterator<Item = Option<i32>>) -> ArrayRef {
    Arc::new(values.collect::<Int32Array>())
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

/// Milliseconds since the epoch as timestamps.
fn utc(millis: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let micros = millis.map(|millis| millis?.checked_mul(1_000));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

#[cfg(test)]
mod tests;
