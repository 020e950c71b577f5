//! A Delta table in a folder: its log, written as JSON, and checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::json::ReaderBuilder;
use datafusion::common::ScalarValue;
use serde_json::{Map, Value, json};

use super::{FileLayout, WrittenFile, bitmap, write_parquet};

/// A table. It becomes readable, and changes for readers, by [`DeltaTable::commit`].
#[derive(Debug)]
pub struct DeltaTable {
    /// The table's folder.
    pub folder: PathBuf,
    /// The `schemaString`, as JSON; see [`struct_json`].
    pub schema: Value,
    /// Names of the partition columns.
    pub partition_columns: Vec<String>,
    /// Table properties.
    pub configuration: BTreeMap<String, String>,
    /// Reader features; none means the protocol 1, 2.
    pub features: BTreeSet<String>,
    /// The last version; `None` before the first commit.
    pub version: Option<u64>,
    live: BTreeMap<String, Value>,
    files: u32,
    described: Option<(Value, Value)>,
}

impl DeltaTable {
    /// A table without a version, in a folder that need not exist.
    pub fn new(folder: &Path, schema: Value) -> Self {
        Self {
            folder: folder.to_owned(),
            schema,
            partition_columns: Vec::new(),
            configuration: BTreeMap::new(),
            features: BTreeSet::new(),
            version: None,
            live: BTreeMap::new(),
            files: 0,
            described: None,
        }
    }

    /// A name for a new data file, relative to the table's folder and not yet percent-encoded.
    pub fn new_name(&mut self, name: &str) -> String {
        self.files += 1;
        format!("{:05}-{name}.parquet", self.files)
    }

    /// An `add` action for a data file. `statistics` is left out where absent.
    pub fn add(name: &str, file: &WrittenFile, partition: &Value, statistics: Option<Value>) -> Value {
        let mut add = json!({
            "path": percent_encoded(name), "partitionValues": partition, "size": file.size_bytes,
            "modificationTime": 1_700_000_000_000_i64, "dataChange": true,
        });
        if let Some(statistics) = statistics {
            add["stats"] = json!(statistics.to_string());
        }
        add
    }

    /// A descriptor of these positions, kept in the log or in a file of its own.
    pub fn deletion_vector(&mut self, positions: &BTreeSet<u64>, in_log: bool, runs: bool) -> Result<Value> {
        self.features.insert("deletionVectors".to_owned());
        let bitmap = bitmap::roaring(positions, runs);
        if in_log {
            let (text, length) = bitmap::inline(&bitmap);
            return Ok(json!({
                "storageType": "i", "pathOrInlineDv": text, "sizeInBytes": length, "cardinality": positions.len(),
            }));
        }
        self.files += 1;
        let mut id = [7_u8; 16];
        id[12..].copy_from_slice(&self.files.to_be_bytes());
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
        let mut file = vec![1_u8];
        file.extend(bitmap::framed(&bitmap));
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join(format!("deletion_vector_{uuid}.bin")), file)?;
        Ok(json!({
            "storageType": "u", "pathOrInlineDv": bitmap::z85(&id), "offset": 1,
            "sizeInBytes": bitmap.len() + 4, "cardinality": positions.len(),
        }))
    }

    /// The live `add` action of that path.
    pub fn live(&self, path: &str) -> Result<&Value> {
        self.live.get(path).with_context(|| format!("{path} is no live file"))
    }

    /// Removes the paths, adds the files, and makes that and changes of the public fields the next version.
    pub fn commit(&mut self, remove: &[String], add: Vec<Value>) -> Result<()> {
        let mut actions = vec![json!({ "commitInfo": { "operation": "TEST", "timestamp": 1_700_000_000_000_i64 } })];
        let described = (self.protocol(), self.metadata());
        if self.described.as_ref() != Some(&described) {
            actions.push(json!({ "protocol": described.0 }));
            actions.push(json!({ "metaData": described.1 }));
            self.described = Some(described);
        }
        for path in remove {
            let old = self
                .live
                .remove(path)
                .with_context(|| format!("{path} is no live file"))?;
            let mut action = json!({ "path": path, "deletionTimestamp": 1_700_000_000_000_i64, "dataChange": true });
            if let Some(vector) = old.get("deletionVector") {
                action["deletionVector"] = vector.clone();
            }
            actions.push(json!({ "remove": action }));
        }
        for action in add {
            let path = action["path"]
                .as_str()
                .context("an add action without a path")?
                .to_owned();
            actions.push(json!({ "add": action }));
            self.live.insert(path, action);
        }
        let version = self.version.map_or(0, |version| version + 1);
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        let log = self.folder.join("_delta_log");
        fs::create_dir_all(&log)?;
        fs::write(log.join(format!("{version:020}.json")), lines.join("\n"))?;
        self.version = Some(version);
        Ok(())
    }

    /// Writes a checkpoint of the last version, and the hint at it.
    pub fn checkpoint(&self) -> Result<()> {
        let version = self.version.context("a table without a version")?;
        let mut actions = vec![
            json!({ "protocol": self.protocol() }),
            json!({ "metaData": self.metadata() }),
        ];
        actions.extend(self.live.values().map(|add| json!({ "add": add })));
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        let lines = lines.join("\n");
        let builder = ReaderBuilder::new(Arc::new(checkpoint_schema())).with_batch_size(actions.len());
        let mut reader = builder.build(lines.as_bytes())?;
        let batch = reader.next().context("no action")??;
        let log = self.folder.join("_delta_log");
        let layout = FileLayout {
            compressed: false,
            ..FileLayout::default()
        };
        write_parquet(
            &log.join(format!("{version:020}.checkpoint.parquet")),
            &[batch],
            &layout,
        )?;
        let hint = json!({ "version": version, "size": actions.len() });
        Ok(fs::write(log.join("_last_checkpoint"), hint.to_string())?)
    }

    fn protocol(&self) -> Value {
        if self.features.is_empty() {
            return json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        }
        json!({
            "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": self.features, "writerFeatures": self.features,
        })
    }

    fn metadata(&self) -> Value {
        json!({
            "id": "00000000-0000-4000-8000-000000000002", "format": { "provider": "parquet", "options": {} },
            "schemaString": self.schema.to_string(), "partitionColumns": self.partition_columns,
            "configuration": self.configuration, "createdTime": 1_700_000_000_000_i64,
        })
    }
}

/// What a checkpoint has of every action that this writer makes.
fn checkpoint_schema() -> Schema {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let text = |name: &str| field(name, DataType::Utf8);
    let long = |name: &str| field(name, DataType::Int64);
    let int = |name: &str| field(name, DataType::Int32);
    let texts = |name: &str| field(name, DataType::List(Arc::new(text("element"))));
    let map = |name: &str| {
        let entries = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        let entries = Field::new("key_value", DataType::Struct(entries), false);
        field(name, DataType::Map(Arc::new(entries), false))
    };
    let group = |name: &str, fields: Vec<Field>| field(name, DataType::Struct(fields.into()));
    let vector = vec![
        text("storageType"),
        text("pathOrInlineDv"),
        int("offset"),
        int("sizeInBytes"),
        long("cardinality"),
    ];
    Schema::new(vec![
        group(
            "protocol",
            vec![
                int("minReaderVersion"),
                int("minWriterVersion"),
                texts("readerFeatures"),
                texts("writerFeatures"),
            ],
        ),
        group(
            "metaData",
            vec![
                text("id"),
                group("format", vec![text("provider"), map("options")]),
                text("schemaString"),
                texts("partitionColumns"),
                map("configuration"),
                long("createdTime"),
            ],
        ),
        group(
            "add",
            vec![
                text("path"),
                map("partitionValues"),
                long("size"),
                long("modificationTime"),
                field("dataChange", DataType::Boolean),
                text("stats"),
                group("deletionVector", vector),
            ],
        ),
    ])
}

/// The statistics of a file, of the columns that JSON can tell exactly enough.
pub fn statistics(file: &WrittenFile) -> Value {
    let (mut lower, mut upper, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in &file.columns {
        let name = column.field.name();
        nulls.insert(name.clone(), json!(column.nulls));
        if column.nans.is_some_and(|nans| nans > 0) {
            continue;
        }
        if let (Some(least), Some(greatest)) = (&column.lower, &column.upper)
            && let (Some(least), Some(greatest)) = (bound_json(least), bound_json(greatest))
        {
            lower.insert(name.clone(), least);
            upper.insert(name.clone(), greatest);
        }
    }
    json!({ "numRecords": file.rows, "minValues": lower, "maxValues": upper, "nullCount": nulls })
}

/// A bound as JSON; `None` where text would have to be cut and for types without bounds.
fn bound_json(value: &ScalarValue) -> Option<Value> {
    match value {
        ScalarValue::Int32(Some(v)) => Some(json!(v)),
        ScalarValue::Int64(Some(v)) => Some(json!(v)),
        ScalarValue::Float32(Some(v)) if v.is_finite() => Some(json!(v)),
        ScalarValue::Float64(Some(v)) if v.is_finite() => Some(json!(v)),
        ScalarValue::Utf8(Some(v)) if v.len() <= 32 => Some(json!(v)),
        ScalarValue::Date32(Some(_)) => Some(json!(partition_text(value).ok()??)),
        // Writers cut timestamps to milliseconds.
        ScalarValue::TimestampMicrosecond(Some(v), zone) => {
            let cut = ScalarValue::TimestampMicrosecond(Some(v.div_euclid(1000) * 1000), zone.clone());
            Some(json!(partition_text(&cut).ok()??))
        }
        _ => None,
    }
}

/// A partition value as the log writes it; `None` for NULL.
pub fn partition_text(value: &ScalarValue) -> Result<Option<String>> {
    if value.is_null() {
        return Ok(None);
    }
    Ok(Some(match value {
        ScalarValue::Utf8(_)
        | ScalarValue::Boolean(_)
        | ScalarValue::Int32(_)
        | ScalarValue::Int64(_)
        | ScalarValue::Float64(_)
        | ScalarValue::Decimal128(..)
        | ScalarValue::Date32(_) => value.cast_to(&DataType::Utf8)?.to_string(),
        ScalarValue::TimestampMicrosecond(Some(_), zone) => {
            let plain = value.cast_to(&DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None))?;
            let text = plain.cast_to(&DataType::Utf8)?.to_string();
            match zone {
                Some(_) => format!("{text}Z"),
                None => text.replace('T', " "),
            }
        }
        other => bail!("{other:?} is no partition value"),
    }))
}

/// The JSON of a struct of these fields. Whatever metadata a field has comes along, numbers as numbers.
pub fn struct_json(fields: &Fields) -> Result<Value> {
    let fields = fields.iter().map(|field| {
        let metadata = field.metadata().iter().filter(|(key, _)| key.starts_with("delta."));
        let metadata = metadata.map(|(key, value)| {
            let number = value.parse::<i64>().map(|number| json!(number));
            (key.clone(), number.unwrap_or_else(|_| json!(value)))
        });
        let data_type = type_json(field.data_type())?;
        let metadata: Map<String, Value> = metadata.collect();
        Ok(json!({ "name": field.name(), "type": data_type, "nullable": true, "metadata": metadata }))
    });
    Ok(json!({ "type": "struct", "fields": fields.collect::<Result<Vec<_>>>()? }))
}

fn type_json(data_type: &DataType) -> Result<Value> {
    Ok(match data_type {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 => json!("byte"),
        DataType::Int16 => json!("short"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) => json!(format!("decimal({precision},{scale})")),
        DataType::Date32 => json!("date"),
        DataType::Timestamp(_, Some(_)) => json!("timestamp"),
        DataType::Timestamp(_, None) => json!("timestamp_ntz"),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("binary"),
        DataType::Struct(fields) => struct_json(fields)?,
        DataType::List(item) => {
            json!({ "type": "array", "elementType": type_json(item.data_type())?, "containsNull": true })
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => json!({
                "type": "map", "keyType": type_json(fields[0].data_type())?,
                "valueType": type_json(fields[1].data_type())?, "valueContainsNull": true,
            }),
            other => bail!("a map of {other}"),
        },
        other => bail!("{other} is no type of Delta"),
    })
}

fn percent_encoded(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./=".contains(byte);
    name.bytes()
        .map(|byte| {
            if plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
