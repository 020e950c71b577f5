//! New Delta tables, and tables that take the place of others.
//!
//! A new table is the first commit of its log, an object that must not exist yet: the store decides who created the
//! table. A table that is replaced keeps its log and its id, so that its history stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use chrono::Utc;
use delta_kernel::table_features::TableFeature;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::actions::{self, Draft, Ground};
use super::added::{Added, PartitionColumn};
use super::conflict::Stake;
use super::live::{self, Wanted};
use super::put::{self, Outcome};
use super::schema::{self, Ids};
use super::{protocol, publish};
use crate::delta::alter::literal;
use crate::delta::log::Log;
use crate::delta::metrics;
use crate::delta::read::DeltaSnapshot;
use crate::delta::write::set_layout;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::change::{Operation, Reads};
use crate::write::target::{PartitionField, Transform, WriteTarget};
use crate::write::{NewTable, WrittenFile};

/// The property with the greatest field id.
pub(crate) const MAX_COLUMN_ID: &str = "delta.columnMapping.maxColumnId";
/// The property that describes a table; it is a member of its own in the log.
pub(crate) const COMMENT: &str = "comment";

/// The key of a column's default, a SQL text.
pub(crate) const DEFAULT: &str = "CURRENT_DEFAULT";

/// A table that is to be: everything of its first commit but the files.
#[derive(Debug)]
pub(crate) struct NewLog {
    /// The features that it needs.
    features: BTreeSet<&'static str>,
    metadata: Value,
    added: Added,
    timed: bool,
    numbered: bool,
}

/// The table `new` in the folder `root`: how its rows become files, and its log. Refuses what Delta has not.
pub(crate) fn stage(name: &TableName, new: &NewTable, root: String) -> Result<(WriteTarget, NewLog)> {
    let unsupported = |feature: String| Error::Unsupported {
        table: name.to_string(),
        feature,
    };
    if !new.sort_order.is_empty() {
        return Err(unsupported("a sort order, which Delta tables have not,".to_owned()));
    }
    if new
        .location
        .as_deref()
        .is_some_and(|location| location.trim_end_matches('/') != root)
    {
        return Err(unsupported(format!(
            "another location than {root}: its catalog is a folder of tables,"
        )));
    }
    let file_field = |field: &Arc<Field>| {
        schema::file_field(field).map_err(|found| unsupported(format!("the type {found} (column {})", field.name())))
    };
    let fields: Vec<Field> = new.schema.fields().iter().map(file_field).collect::<Result<_>>()?;
    let partition = partition_columns(new, &fields).map_err(&unsupported)?;
    let mut properties: BTreeMap<String, String> = new.properties.iter().cloned().collect();
    let description = properties.remove(COMMENT);
    let mapped = match properties.get("delta.columnMapping.mode").map(String::as_str) {
        None | Some("none") => false,
        Some("name" | "id") => true,
        Some(other) => return Err(unsupported(format!("the column mapping mode {other}"))),
    };
    let mut ids = Ids(mapped.then_some(0));
    let json = fields_json(new, &fields, &mut ids).map_err(&unsupported)?;
    if let Some(last) = ids.0 {
        properties.insert(MAX_COLUMN_ID.to_owned(), last.to_string());
    }
    let columns = json!({ "type": "struct", "fields": json });
    let features = protocol::demanded(&mut properties, &columns).map_err(&unsupported)?;
    let on = |key: &str| {
        properties
            .get(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    };
    let (timed, numbered) = (on("delta.enableInCommitTimestamps"), features.contains("rowTracking"));
    if on("delta.enableRowTracking") {
        for part in ["RowId", "RowCommitVersion"] {
            let key = format!("delta.rowTracking.materialized{part}ColumnName");
            properties.insert(key, format!("_row-{}-col-{}", part.to_lowercase(), Uuid::new_v4()));
        }
    }
    let files = Files::new(&fields, &json, &partition);
    let metadata = json!({
        "id": Uuid::new_v4(),
        "description": description,
        "format": { "provider": "parquet", "options": {} },
        "schemaString": columns.to_string(),
        "partitionColumns": partition.iter().map(|column| fields[*column].name()).collect::<Vec<_>>(),
        "configuration": properties,
        "createdTime": Utc::now().timestamp_millis(),
    });
    let added = files.added(name, &root, &properties);
    let mut target = files.target(name, root, fields, new.file_rows_max);
    set_layout(&mut target, |key| properties.get(key).cloned()).map_err(&unsupported)?;
    Ok((
        target,
        NewLog {
            features,
            metadata,
            added,
            timed,
            numbered,
        },
    ))
}

/// The schema's fields; the error is what Delta has not.
fn fields_json(new: &NewTable, fields: &[Field], ids: &mut Ids) -> Result<Vec<Value>, String> {
    let mut json = Vec::with_capacity(fields.len());
    for (index, (field, given)) in fields.iter().zip(new.schema.fields()).enumerate() {
        let mut column = schema::field_json(field, schema::comment(given), ids);
        if let Some(value) = new.defaults.get(&index) {
            let text = literal(value).ok_or_else(|| format!("the default {value} (column {})", field.name()))?;
            column["metadata"][DEFAULT] = json!(text);
        }
        json.push(column);
    }
    Ok(json)
}

/// The partition columns of a new table, by position; the error is what Delta has not.
fn partition_columns(new: &NewTable, fields: &[Field]) -> Result<Vec<usize>, String> {
    let mut columns = Vec::with_capacity(new.partition.len());
    for (column, transform, _) in &new.partition {
        let field = fields
            .get(*column)
            .ok_or_else(|| format!("a column {column} to partition by"))?;
        if *transform != Transform::Identity {
            return Err(format!(
                "the partition transform {transform:?} of {}, which Delta tables have not,",
                field.name()
            ));
        }
        if field.data_type().is_nested() || matches!(field.data_type(), DataType::BinaryView) {
            return Err(format!(
                "partitions by the column {} of type {}",
                field.name(),
                field.data_type()
            ));
        }
        if columns.contains(column) {
            return Err(format!("partitions by the column {} twice", field.name()));
        }
        columns.push(*column);
    }
    match columns.len() == fields.len() && !fields.is_empty() {
        true => Err("a column beside those that it is partitioned by".to_owned()),
        false => Ok(columns),
    }
}

/// The data files of a new table.
struct Files {
    /// Positions in the table.
    columns: Vec<usize>,
    names: Vec<String>,
    fields: Vec<Field>,
    partition: Vec<(usize, PartitionColumn)>,
}

impl Files {
    fn new(fields: &[Field], json: &[Value], partition: &[usize]) -> Self {
        let columns: Vec<usize> = (0..fields.len()).filter(|column| !partition.contains(column)).collect();
        let physical = |column: usize| schema::physical_field(&fields[column], &json[column]);
        let partition = partition.iter().map(|column| {
            let column_of = PartitionColumn {
                name: fields[*column].name().clone(),
                physical: physical(*column).name().clone(),
                nullable: fields[*column].is_nullable(),
            };
            (*column, column_of)
        });
        Self {
            names: columns.iter().map(|column| fields[*column].name().clone()).collect(),
            fields: columns.iter().map(|column| physical(*column)).collect(),
            partition: partition.collect(),
            columns,
        }
    }

    fn added(&self, name: &TableName, root: &str, properties: &BTreeMap<String, String>) -> Added {
        let columns: Vec<_> = self.names.iter().map(String::as_str).zip(&self.fields).collect();
        let property = |key: &str| properties.get(key).map(String::as_str);
        let partition = self.partition.iter().map(|(_, column)| PartitionColumn {
            name: column.name.clone(),
            physical: column.physical.clone(),
            nullable: column.nullable,
        });
        Added {
            table: name.to_string(),
            root: root.to_owned(),
            stats: metrics::wanted(
                &columns,
                property("delta.dataSkippingNumIndexedCols"),
                property("delta.dataSkippingStatsColumns"),
                &[],
            ),
            not_null: (0..columns.len())
                .filter(|column| !self.fields[*column].is_nullable())
                .collect(),
            partition: partition.collect(),
        }
    }

    fn target(self, name: &TableName, root: String, fields: Vec<Field>, file_rows_max: usize) -> WriteTarget {
        let mut target = WriteTarget::new(name.to_string(), root, Arc::new(Schema::new(fields)));
        target.file_schema = Arc::new(Schema::new(self.fields));
        target.file_columns = self.columns;
        target.file_rows_max = file_rows_max;
        let partition = self.partition.into_iter().map(|(column, field)| PartitionField {
            column,
            transform: Transform::Identity,
            name: field.name,
        });
        target.partition = partition.collect();
        target
    }
}

/// Creates the table with all of `files`.
pub(crate) async fn create(stores: &Stores, name: &TableName, new: &NewLog, files: &[WrittenFile]) -> Result<()> {
    let log = Log::new(stores, &name.to_string(), &new.added.root)?;
    put::probe(&log, stores).await?;
    let now_ms = Utc::now().timestamp_millis();
    let mut draft = new.draft("CREATE TABLE", files, now_ms)?;
    draft
        .lines
        .push(json!({ "protocol": protocol::new_table(&new.features) }));
    draft.lines.push(json!({ "metaData": new.metadata }));
    let ground = Ground {
        version: 0,
        timestamp: new.timed.then_some(i64::MIN),
        row_id: new.numbered.then_some(-1),
    };
    let id = Uuid::new_v4().to_string();
    let bytes = draft
        .bytes(ground, now_ms, &id)
        .map_err(|feature| log.unsupported(feature))?;
    match put::commit(&log, 0, bytes.into(), &id).await? {
        Outcome::Committed => Ok(()),
        Outcome::Taken => Err(Error::AlreadyExists {
            what: "table",
            name: name.to_string(),
        }),
    }
}

/// Puts the table with all of `files` in the place of `base`: its rows, columns and properties go, its id and history
/// stay. A commit of another writer since `base` is a conflict.
pub(crate) async fn replace(base: &Arc<DeltaSnapshot>, new: &NewLog, files: &[WrittenFile]) -> Result<u64> {
    base.check_protocol()?;
    if base.is_set("delta.appendOnly") {
        let feature = "a statement that only appends (its property delta.appendOnly is true)";
        return Err(base.log.unsupported(feature.to_owned()));
    }
    let configuration = base.version.kernel.table_configuration();
    let switched = new.timed != base.is_set("delta.enableInCommitTimestamps")
        || (new.numbered && !base.supports(&TableFeature::RowTracking));
    if switched {
        let feature = "in-commit timestamps or row tracking switched by CREATE OR REPLACE: drop and create it,";
        return Err(base.log.unsupported(feature.to_owned()));
    }
    let now_ms = Utc::now().timestamp_millis();
    let mut draft = new.draft("CREATE OR REPLACE TABLE", files, now_ms)?;
    let mut metadata = new.metadata.clone();
    metadata["id"] = json!(configuration.metadata().id());
    if let Some(protocol) = protocol::upgraded(configuration.protocol(), &new.features) {
        draft.lines.push(json!({ "protocol": protocol }));
    }
    draft.lines.push(json!({ "metaData": metadata }));
    if base.supports(&TableFeature::ClusteredTable) {
        let gone =
            json!({ "domain": "delta.clustering", "configuration": "{\"clusteringColumns\":[]}", "removed": false });
        draft.lines.push(json!({ "domainMetadata": gone }));
    }
    for file in live::find(&base.log, &base.version.kernel, Wanted::All).await?.values() {
        draft.lines.push(actions::remove(file, now_ms, true));
    }
    // Whatever others did meanwhile would have to go as well.
    let stake = Stake {
        operation: Operation::Overwrite,
        reads: &Reads::Rows(None),
        touched: BTreeSet::new().into_iter().collect(),
    };
    publish(base, &draft, &stake).await
}

impl NewLog {
    /// The table's folder.
    pub(crate) fn root(&self) -> &str {
        &self.added.root
    }

    /// The location of the commit that [`create`] makes.
    pub(crate) fn first_commit(&self) -> String {
        format!("{}/_delta_log/{:020}.json", self.added.root, 0)
    }

    fn draft(&self, operation: &str, files: &[WrittenFile], now_ms: i64) -> Result<Draft> {
        let adds = files
            .iter()
            .map(|file| Ok((self.added.action(file, now_ms)?, Some(file.rows))));
        let rows: u64 = files.iter().map(|file| file.rows).sum();
        let operation = if files.is_empty() {
            operation.to_owned()
        } else {
            format!("{operation} AS SELECT")
        };
        let info = Map::from_iter([
            ("operation".to_owned(), json!(operation)),
            ("operationParameters".to_owned(), json!({})),
            ("isBlindAppend".to_owned(), json!(false)),
            (
                "operationMetrics".to_owned(),
                json!({ "numFiles": files.len().to_string(), "numOutputRows": rows.to_string() }),
            ),
        ]);
        Ok(Draft {
            info,
            lines: Vec::new(),
            adds: adds.collect::<Result<_>>()?,
        })
    }
}
