//! Iceberg manifests and manifest lists as Avro files, for the format versions 1 to 3.

use anyhow::{Context, Result, bail};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use serde_json::{Value, json};

use super::avro::{Encoder, container};
use super::iceberg::{Entry, IcebergFile, Manifest, PartitionSpec, Status};

/// Iceberg's single-value serialization, which also `bucket` hashes; `None` for NULL.
pub(super) fn value_bytes(value: &ScalarValue) -> Option<Vec<u8>> {
    Some(match value {
        ScalarValue::Boolean(v) => vec![u8::from((*v)?)],
        ScalarValue::Int32(v) | ScalarValue::Date32(v) => (*v)?.to_le_bytes().to_vec(),
        ScalarValue::Int64(v)
        | ScalarValue::Time64Microsecond(v)
        | ScalarValue::TimestampMicrosecond(v, _)
        | ScalarValue::TimestampNanosecond(v, _) => (*v)?.to_le_bytes().to_vec(),
        ScalarValue::Float32(v) => (*v)?.to_le_bytes().to_vec(),
        ScalarValue::Float64(v) => (*v)?.to_le_bytes().to_vec(),
        ScalarValue::Decimal128(v, _, _) => decimal_bytes((*v)?),
        ScalarValue::Utf8(v) => v.as_ref()?.as_bytes().to_vec(),
        ScalarValue::Binary(v) | ScalarValue::FixedSizeBinary(_, v) => v.clone()?,
        _ => return None,
    })
}

/// The shortest two's complement, big-endian.
fn decimal_bytes(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let fill = if value < 0 { 0xff } else { 0 };
    let redundant = |index: &usize| bytes[*index] == fill && (bytes[index + 1] ^ fill) & 0x80 == 0;
    let skip = (0..15).take_while(redundant).count();
    bytes[skip..].to_vec()
}

/// The Avro type of a partition value.
fn avro_type(data_type: &DataType, name: &str) -> Result<Value> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Date32 => json!({ "type": "int", "logicalType": "date" }),
        DataType::Time64(_) => json!({ "type": "long", "logicalType": "time-micros" }),
        DataType::Timestamp(_, zone) => {
            json!({ "type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": zone.is_some() })
        }
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("bytes"),
        DataType::Decimal128(precision, scale) => json!({
            "type": "fixed", "name": format!("decimal_{name}"), "size": 16,
            "logicalType": "decimal", "precision": precision, "scale": scale,
        }),
        other => bail!("no partition values of type {other}"),
    })
}

fn encode_partition_value(to: &mut Encoder, value: &ScalarValue) {
    match value {
        ScalarValue::Boolean(Some(v)) => to.boolean(*v),
        ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => to.long(i64::from(*v)),
        ScalarValue::Int64(Some(v))
        | ScalarValue::Time64Microsecond(Some(v))
        | ScalarValue::TimestampMicrosecond(Some(v), _) => to.long(*v),
        ScalarValue::Decimal128(Some(v), _, _) => to.fixed(&v.to_be_bytes()),
        other => to.bytes(&value_bytes(other).unwrap_or_default()),
    };
}

/// The type in `types` with a field id, optional where asked for.
fn field(name: &str, id: i32, optional: bool, avro: Value) -> Value {
    if optional {
        json!({ "name": name, "type": ["null", avro], "default": null, "field-id": id })
    } else {
        json!({ "name": name, "type": avro, "field-id": id })
    }
}

fn pairs(key: i32, value: i32, avro: &str) -> Value {
    let fields = [
        field("key", key, false, json!("int")),
        field("value", value, false, json!(avro)),
    ];
    json!({
        "type": "array", "logicalType": "map",
        "items": { "type": "record", "name": format!("k{key}_v{value}"), "fields": fields },
    })
}

fn entry_schema(version: u8, spec: &PartitionSpec) -> Result<Value> {
    let partition = spec.fields.iter().map(|part| {
        let avro = avro_type(&part.data_type, &part.name)?;
        Ok(field(&part.name, part.field_id, true, avro))
    });
    let partition = json!({ "type": "record", "name": "r102", "fields": partition.collect::<Result<Vec<_>>>()? });
    let mut file = Vec::new();
    if version > 1 {
        file.push(field("content", 134, false, json!("int")));
    }
    file.extend([
        field("file_path", 100, false, json!("string")),
        field("file_format", 101, false, json!("string")),
        field("partition", 102, false, partition),
        field("record_count", 103, false, json!("long")),
        field("file_size_in_bytes", 104, false, json!("long")),
    ]);
    if version == 1 {
        file.push(field("block_size_in_bytes", 105, false, json!("long")));
    }
    file.extend([
        field("null_value_counts", 110, true, pairs(121, 122, "long")),
        field("nan_value_counts", 137, true, pairs(138, 139, "long")),
        field("lower_bounds", 125, true, pairs(126, 127, "bytes")),
        field("upper_bounds", 128, true, pairs(129, 130, "bytes")),
    ]);
    if version > 1 {
        let ids = json!({ "type": "array", "items": "int", "element-id": 136 });
        file.push(field("equality_ids", 135, true, ids));
        file.push(field("referenced_data_file", 143, true, json!("string")));
    }
    if version > 2 {
        file.push(field("first_row_id", 142, true, json!("long")));
        file.push(field("content_offset", 144, true, json!("long")));
        file.push(field("content_size_in_bytes", 145, true, json!("long")));
    }
    let file = json!({ "type": "record", "name": "r2", "fields": file });
    let mut fields = vec![field("status", 0, false, json!("int"))];
    fields.push(field("snapshot_id", 1, version > 1, json!("long")));
    if version > 1 {
        fields.push(field("sequence_number", 3, true, json!("long")));
        fields.push(field("file_sequence_number", 4, true, json!("long")));
    }
    fields.push(field("data_file", 2, false, file));
    Ok(json!({ "type": "record", "name": "manifest_entry", "fields": fields }))
}

fn encode_entry(to: &mut Encoder, version: u8, entry: &Entry) {
    to.long(entry.status as i64);
    // Added entries inherit their sequence number.
    let sequence = (entry.status != Status::Added).then_some(entry.sequence);
    if version == 1 {
        to.long(entry.snapshot_id);
    } else {
        to.optional(Some(entry.snapshot_id), |to, id| {
            to.long(id);
        });
        for _ in 0..2 {
            to.optional(sequence, |to, sequence| {
                to.long(sequence);
            });
        }
    }
    encode_file(to, version, &entry.file);
}

fn encode_file(to: &mut Encoder, version: u8, file: &IcebergFile) {
    if version > 1 {
        to.long(i64::from(file.content));
    }
    let format = if file.blob.is_some() { "PUFFIN" } else { "PARQUET" };
    to.bytes(file.path.as_bytes()).bytes(format.as_bytes());
    for value in &file.partition {
        to.optional((!value.is_null()).then_some(value), encode_partition_value);
    }
    to.long(file.rows as i64).long(file.size_bytes as i64);
    if version == 1 {
        to.long(64 << 20);
    }
    let known = || file.columns.iter().filter_map(|column| Some((column.id()?, column)));
    let counts = |to: &mut Encoder, counts: Vec<(i32, u64)>| {
        to.optional((!counts.is_empty()).then_some(counts), |to, counts| {
            to.array(&counts, |to, (id, count)| {
                to.long(i64::from(*id)).long(*count as i64);
            });
        });
    };
    counts(to, known().map(|(id, column)| (id, column.nulls)).collect());
    counts(
        to,
        known().filter_map(|(id, column)| Some((id, column.nans?))).collect(),
    );
    for upper in [false, true] {
        let bounds = known().filter_map(|(id, column)| {
            let bound = if upper { &column.upper } else { &column.lower };
            Some((id, cut(bound.as_ref()?, upper)?))
        });
        let bounds: Vec<_> = bounds.collect();
        to.optional((!bounds.is_empty()).then_some(bounds), |to, bounds| {
            to.array(&bounds, |to, (id, bound)| {
                to.long(i64::from(*id)).bytes(bound);
            });
        });
    }
    if version > 1 {
        let ids = (!file.equality_ids.is_empty()).then_some(&file.equality_ids);
        to.optional(ids, |to, ids| {
            to.array(ids, |to, id| {
                to.long(i64::from(*id));
            });
        });
        to.optional(file.referenced.as_ref(), |to, path| {
            to.bytes(path.as_bytes());
        });
    }
    if version > 2 {
        let long = |to: &mut Encoder, value: u64| {
            to.long(value as i64);
        };
        to.optional(None, long);
        to.optional(file.blob.map(|(offset, _)| offset), long);
        to.optional(file.blob.map(|(_, length)| length), long);
    }
}

/// A bound as writers store it: text and binary are cut to 16, and upper bounds raised; without a bound if they cannot.
fn cut(bound: &ScalarValue, upper: bool) -> Option<Vec<u8>> {
    const LENGTH: usize = 16;
    let mut to_raise = upper;
    match bound {
        // Paths of position deletes are kept whole.
        ScalarValue::Utf8(Some(text)) if text.chars().count() > LENGTH && !text.starts_with('/') => {
            let mut cut: Vec<char> = text.chars().take(LENGTH).collect();
            while to_raise {
                let last = cut.pop()?;
                let next = if last == '\u{d7ff}' {
                    Some('\u{e000}')
                } else {
                    char::from_u32(last as u32 + 1)
                };
                if let Some(next) = next {
                    cut.push(next);
                    to_raise = false;
                }
            }
            Some(cut.into_iter().collect::<String>().into_bytes())
        }
        ScalarValue::Binary(Some(bytes)) if bytes.len() > LENGTH => {
            let mut cut = bytes[..LENGTH].to_vec();
            while to_raise {
                if let Some(next) = cut.pop()?.checked_add(1) {
                    cut.push(next);
                    to_raise = false;
                }
            }
            Some(cut)
        }
        other => value_bytes(other),
    }
}

/// The manifest as an Avro file. `schema` has every column of the partition spec.
pub(super) fn manifest(version: u8, schema: &Value, spec: &PartitionSpec, manifest: &Manifest) -> Result<Vec<u8>> {
    let mut records = Encoder::default();
    for entry in &manifest.entries {
        encode_entry(&mut records, version, entry);
    }
    let content = if manifest.deletes { "deletes" } else { "data" };
    let metadata = [
        ("schema", schema.to_string()),
        ("schema-id", schema["schema-id"].to_string()),
        ("partition-spec", spec.json()["fields"].to_string()),
        ("partition-spec-id", spec.id.to_string()),
        ("format-version", version.to_string()),
        ("content", content.to_owned()),
    ];
    let schema = entry_schema(version, spec)?;
    Ok(container(&schema, &metadata, &records, manifest.entries.len()))
}

fn list_schema(version: u8) -> Value {
    let summary = json!({ "type": "record", "name": "r508", "fields": [
        field("contains_null", 509, false, json!("boolean")),
        field("contains_nan", 518, true, json!("boolean")),
        field("lower_bound", 510, true, json!("bytes")),
        field("upper_bound", 511, true, json!("bytes")),
    ]});
    let long = || json!("long");
    let mut fields = vec![
        field("manifest_path", 500, false, json!("string")),
        field("manifest_length", 501, false, long()),
        field("partition_spec_id", 502, false, json!("int")),
    ];
    if version > 1 {
        fields.push(field("content", 517, false, json!("int")));
        fields.push(field("sequence_number", 515, false, long()));
        fields.push(field("min_sequence_number", 516, false, long()));
    }
    fields.push(field("added_snapshot_id", 503, false, long()));
    let part = if version > 1 { "" } else { "data_" };
    for (kind, id) in [("added", 504), ("existing", 505), ("deleted", 506)] {
        fields.push(field(
            &format!("{kind}_{part}files_count"),
            id,
            version == 1,
            json!("int"),
        ));
    }
    for (kind, id) in [("added", 512), ("existing", 513), ("deleted", 514)] {
        fields.push(field(&format!("{kind}_rows_count"), id, version == 1, long()));
    }
    fields.push(field(
        "partitions",
        507,
        true,
        json!({ "type": "array", "items": summary, "element-id": 508 }),
    ));
    if version > 2 {
        fields.push(field("first_row_id", 520, true, long()));
    }
    json!({ "type": "record", "name": "manifest_file", "fields": fields })
}

/// The manifest list as an Avro file. Manifests with more rows than named are numbered from `first_row_id`.
pub(super) fn manifest_list(version: u8, snapshot_id: i64, sequence: i64, manifests: &[Manifest]) -> Vec<u8> {
    let mut records = Encoder::default();
    for manifest in manifests {
        encode_list_entry(&mut records, version, manifest);
    }
    let mut metadata = vec![
        ("snapshot-id", snapshot_id.to_string()),
        ("format-version", version.to_string()),
    ];
    if version > 1 {
        metadata.push(("sequence-number", sequence.to_string()));
    }
    container(&list_schema(version), &metadata, &records, manifests.len())
}

fn encode_list_entry(to: &mut Encoder, version: u8, manifest: &Manifest) {
    to.bytes(manifest.path.as_bytes())
        .long(manifest.length as i64)
        .long(i64::from(manifest.spec_id));
    if version > 1 {
        let live = manifest.entries.iter().filter(|entry| entry.status != Status::Deleted);
        let least = live.map(|entry| entry.sequence).min();
        to.long(i64::from(manifest.deletes))
            .long(manifest.sequence)
            .long(least.unwrap_or(manifest.sequence));
    }
    to.long(manifest.snapshot_id);
    let statuses = [Status::Added, Status::Existing, Status::Deleted];
    let entries = |status| manifest.entries.iter().filter(move |entry| entry.status == status);
    let counts = statuses.map(|status| entries(status).count() as i64);
    let rows = statuses.map(|status| entries(status).map(|entry| entry.file.rows as i64).sum());
    for number in counts.into_iter().chain(rows) {
        if version == 1 {
            to.optional(Some(number), |to, number| {
                to.long(number);
            });
        } else {
            to.long(number);
        }
    }
    let width = manifest.entries.first().map_or(0, |entry| entry.file.partition.len());
    let summaries: Vec<usize> = (0..width).collect();
    to.optional(Some(summaries), |to, summaries| {
        to.array(&summaries, |to, position| encode_summary(to, manifest, *position));
    });
    if version > 2 {
        let first = (!manifest.deletes).then_some(manifest.first_row_id);
        to.optional(first, |to, first| {
            to.long(first as i64);
        });
    }
}

fn encode_summary(to: &mut Encoder, manifest: &Manifest, position: usize) {
    let live = manifest.entries.iter().filter(|entry| entry.status != Status::Deleted);
    let values: Vec<&ScalarValue> = live.map(|entry| &entry.file.partition[position]).collect();
    to.boolean(values.iter().any(|value| value.is_null()));
    to.optional(Some(false), |to, nan| {
        to.boolean(nan);
    });
    let known = || values.iter().filter(|value| !value.is_null());
    let order = |a: &&&ScalarValue, b: &&&ScalarValue| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    for bound in [known().min_by(order), known().max_by(order)] {
        to.optional(bound.and_then(|bound| value_bytes(bound)), |to, bound| {
            to.bytes(&bound);
        });
    }
}

impl PartitionSpec {
    /// The specification's JSON form.
    pub(super) fn json(&self) -> Value {
        let fields = self.fields.iter().map(|field| {
            json!({
                "source-id": field.source_id, "field-id": field.field_id,
                "name": field.name, "transform": field.transform.to_string(),
            })
        });
        json!({ "spec-id": self.id, "fields": fields.collect::<Vec<_>>() })
    }
}

/// An error for a manifest that is not there.
pub(super) fn known<T>(found: Option<T>, what: &str) -> Result<T> {
    found.with_context(|| format!("the table has no {what}"))
}
