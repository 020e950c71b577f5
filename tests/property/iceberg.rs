//! Random Iceberg tables.

mod deletes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use catalog::PathFormat;
use datafusion::common::ScalarValue;
use harness::tables::{Changes, IcebergFile, IcebergTable, PartitionField, PartitionSpec, Transform, write_parquet};
use serde_json::{Value as Json, json};

use crate::evolution::Rules;
use crate::model::{Kind, Node, Row, Style, columns, fields};
use crate::table::{Maker, Table, grouped};

/// A live data file and its rows.
struct LiveFile {
    file: IcebergFile,
    rows: Vec<Row>,
    sequence: i64,
    /// Positions of rows that are gone, whatever deleted them.
    gone: BTreeSet<u64>,
    /// Positions that position deletes name.
    named: BTreeSet<u64>,
    vector: Option<(IcebergFile, BTreeSet<u64>)>,
}

struct Iceberg<'a> {
    maker: Maker<'a>,
    table: IcebergTable,
    files: Vec<LiveFile>,
    /// Every name that a field had, where some files have no field ids.
    names: Option<BTreeMap<i32, BTreeSet<String>>>,
    equality_ids: BTreeSet<i32>,
}

pub(crate) fn table(mut maker: Maker<'_>, folder: &Path) -> Result<Table> {
    let versions: Vec<u8> = [("iceberg v1", 1), ("iceberg v2", 2), ("iceberg v3", 3)]
        .into_iter()
        .filter(|(feature, _)| maker.coverage.allows(feature))
        .map(|(_, version)| version)
        .collect();
    let version = *maker.random.one(&versions).context("no format version is allowed")?;
    maker.met(["iceberg v1", "iceberg v2", "iceberg v3"][usize::from(version) - 1]);
    let names = maker.chance(20, "name mapping").then(BTreeMap::new);
    let table = IcebergTable::new(folder, version, Arc::new(Schema::empty()));
    let mut iceberg = Iceberg {
        maker,
        table,
        files: Vec::new(),
        names,
        equality_ids: BTreeSet::new(),
    };
    let rules = iceberg.rules();
    iceberg.maker.first_schema(&rules);
    iceberg.table.schemas = vec![iceberg.schema()];
    if iceberg.names.is_some() {
        iceberg.maker.met("name mapping");
        iceberg.map_names();
    }
    if iceberg.maker.chance(60, "partitioned") {
        iceberg.new_spec("partitioned");
    }
    let mut changes = Changes::default();
    iceberg.append(&mut changes)?;
    iceberg.commit(changes)?;
    for _ in 0..2 + iceberg.maker.random.below(10) {
        iceberg.next_commit()?;
    }
    iceberg.finish()
}

impl Iceberg<'_> {
    fn finish(mut self) -> Result<Table> {
        let dropped = |id: &i32| self.maker.nodes.iter().all(|node| node.id != *id);
        if self.equality_ids.iter().any(dropped) {
            self.maker.met("equality deletes on a dropped column");
        }
        let live = self.files.into_iter().map(|file| {
            let rows = file.rows.into_iter().enumerate();
            rows.filter(|(position, _)| !file.gone.contains(&(*position as u64)))
                .map(|(_, row)| row)
                .collect()
        });
        let live = live.collect();
        Ok(Table::finished(
            self.maker,
            PathFormat::Iceberg,
            &self.table.folder,
            live,
        ))
    }

    fn rules(&self) -> Rules {
        let mut keep: Vec<i32> = self
            .table
            .specs
            .last()
            .into_iter()
            .flat_map(|spec| spec.fields.iter().map(|f| f.source_id))
            .collect();
        if self.names.is_some() {
            keep.extend(0..=self.maker.ids);
        }
        Rules {
            iceberg: true,
            only_add: false,
            defaults: self.table.version > 2 && self.maker.coverage.allows("add column with a default"),
            promote: true,
            reuse_names: self.names.is_none(),
            mapped: false,
            keep,
        }
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(fields(&self.maker.nodes, Style::Described)))
    }

    fn commit(&mut self, mut changes: Changes) -> Result<()> {
        if self.maker.chance(20, "merged manifests") {
            changes.merge_manifests = true;
            self.maker.met("merged manifests");
        }
        self.table.commit(changes)
    }

    fn next_commit(&mut self) -> Result<()> {
        let mut changes = Changes::default();
        match self.maker.random.below(12) {
            0 | 1 => self.append(&mut changes)?,
            2..=4 => {
                let rules = self.rules();
                if self.maker.evolve(&rules) {
                    let schema = self.schema();
                    self.table.schemas.push(schema);
                    self.map_names();
                }
                if self.maker.random.percent(70) {
                    self.append(&mut changes)?;
                }
            }
            5 if self.maker.coverage.allows("partition spec change") => {
                self.new_spec("partition spec change");
                self.append(&mut changes)?;
            }
            6 if self.maker.chance(40, "file removed") => self.remove_file(&mut changes),
            6 if self.table.version < 3 && self.maker.coverage.allows("iceberg upgrade") => {
                self.table.version += 1;
                self.maker.met("iceberg upgrade");
            }
            7 | 8
                if self.table.version == 2
                    && self.files.iter().any(|file| !file.named.is_empty())
                    && self.maker.chance(50, "iceberg upgrade") =>
            {
                self.table.version += 1;
                self.deletion_vectors(&mut changes)?;
            }
            7 | 8 if self.table.version == 2 => self.position_deletes(&mut changes)?,
            7 | 8 if self.table.version > 2 => self.deletion_vectors(&mut changes)?,
            9 | 10 if self.table.version > 1 && self.names.is_none() => self.equality_deletes(&mut changes)?,
            11 if self.table.version > 1 && self.names.is_none() && self.maker.coverage.allows("upsert") => {
                self.equality_deletes(&mut changes)?;
                if !changes.add.is_empty() {
                    self.maker.met("upsert");
                }
                self.append(&mut changes)?;
            }
            _ => self.append(&mut changes)?,
        }
        self.commit(changes)
    }

    /// Makes up a partition spec of up to two fields.
    fn new_spec(&mut self, feature: &'static str) {
        let last_id = self
            .table
            .specs
            .iter()
            .flat_map(|spec| spec.fields.iter().map(|field| field.field_id))
            .max();
        let mut next_id = last_id.unwrap_or(999);
        let mut spec = PartitionSpec {
            id: self.table.specs.len() as i32,
            fields: Vec::new(),
        };
        for node in self.maker.nodes.clone() {
            let Some(data_type) = node
                .leaf_type()
                .filter(|_| spec.fields.len() < 2 && self.maker.random.percent(60))
            else {
                continue;
            };
            let transforms = transforms(data_type, self.table.version);
            let Some(transform) = self.maker.random.one(&transforms).copied() else {
                continue;
            };
            next_id += 1;
            spec.fields.push(PartitionField {
                source_id: node.id,
                field_id: next_id,
                name: format!("part_{next_id}"),
                transform,
                data_type: transform.result_type(data_type),
            });
        }
        if spec.fields.is_empty() && self.table.specs.last().is_some_and(|old| old.fields.is_empty()) {
            return;
        }
        let described: Vec<String> = spec
            .fields
            .iter()
            .map(|f| format!("{}({})", f.transform, f.source_id))
            .collect();
        self.maker.met(feature);
        self.maker.step(&format!("{described:?}"));
        if self.files.is_empty() {
            spec.id = 0;
            self.table.specs.clear();
        }
        self.table.specs.push(spec);
    }

    fn partition(&self, row: &Row) -> Result<Vec<ScalarValue>> {
        let values = self.table.spec()?.fields.iter().map(|field| {
            let node = self.maker.nodes.iter().find(|node| node.id == field.source_id);
            field
                .transform
                .apply(&node.context("a partition column was dropped")?.scalar(row)?)
        });
        values.collect()
    }

    fn append(&mut self, changes: &mut Changes) -> Result<()> {
        let rows = self.maker.new_rows();
        self.maker.met("append");
        self.maker.step(&format!("{} rows", rows.len()));
        let rows = rows.into_iter().map(|row| Ok((self.partition(&row)?, row)));
        for (partition, rows) in grouped(rows.collect::<Result<_>>()?) {
            let layout = self.maker.layout();
            let nodes = self.file_nodes()?;
            let ids = self.names.is_none() || self.maker.random.percent(40);
            let style = Style::File { ids };
            let schema = Arc::new(Schema::new(fields(&nodes, style)));
            let batch = RecordBatch::try_new(schema, columns(&nodes, rows.iter(), style)?)?;
            let name = if self.maker.random.percent(20) {
                "ü %41+=.parquet"
            } else {
                "data.parquet"
            };
            let path = self.table.new_path(name);
            let mut written = write_parquet(&path, &[batch], &layout)?;
            if !ids {
                let by_name = |name: &str| nodes.iter().find(|node| node.physical == name);
                for column in &mut written.columns {
                    let node = by_name(column.field.name()).context("a column of the file")?;
                    column.field = node.field(Style::Described).as_ref().clone();
                }
            }
            match self.maker.random.below(8) {
                0 => written.columns.clear(),
                1 => written.columns.truncate(1),
                _ => {}
            }
            let file = self.table.data_file(&written, partition)?;
            changes.add.push(file.clone());
            self.files.push(LiveFile {
                file,
                rows,
                sequence: if self.table.version > 1 {
                    self.table.sequence + 1
                } else {
                    0
                },
                gone: BTreeSet::new(),
                named: BTreeSet::new(),
                vector: None,
            });
        }
        Ok(())
    }

    /// The columns of a data file: tables that were moved here leave identity partition columns out.
    fn file_nodes(&mut self) -> Result<Vec<Node>> {
        let identity: Vec<i32> = self
            .table
            .spec()?
            .fields
            .iter()
            .filter(|field| field.transform == Transform::Identity)
            .map(|field| field.source_id)
            .collect();
        let mut nodes = self.maker.nodes.clone();
        if identity.is_empty() || !self.maker.chance(30, "identity partition not in the file") {
            return Ok(nodes);
        }
        nodes.retain(|node| !identity.contains(&node.id));
        if nodes.is_empty() {
            return Ok(self.maker.nodes.clone());
        }
        self.maker.met("identity partition not in the file");
        Ok(nodes)
    }

    fn remove_file(&mut self, changes: &mut Changes) {
        if self.files.len() < 2 {
            return;
        }
        let gone = self.files.swap_remove(self.maker.random.below(self.files.len()));
        changes.remove.push((gone.file.path.clone(), None));
        if let Some((vector, _)) = gone.vector {
            changes.remove.push((vector.path.clone(), vector.blob));
        }
        self.maker.met("file removed");
    }

    /// Keeps the name mapping complete, where there is one.
    fn map_names(&mut self) {
        if let Some(names) = &mut self.names {
            note_names(&self.maker.nodes, names);
            let mapping = mapping_json(&self.maker.nodes, names);
            let key = "schema.name-mapping.default".to_owned();
            self.table.properties.insert(key, mapping.to_string());
        }
    }
}

fn transforms(data_type: &DataType, version: u8) -> Vec<Transform> {
    use Transform::{Bucket, Day, Hour, Identity, Month, Truncate, Void, Year};
    let mut transforms = match data_type {
        DataType::Int32 | DataType::Int64 | DataType::Decimal128(..) => vec![Identity, Bucket(3), Truncate(10)],
        DataType::Utf8 => vec![Identity, Bucket(3), Truncate(2)],
        DataType::Boolean => vec![Identity],
        DataType::Date32 => vec![Identity, Bucket(3), Year, Month, Day],
        DataType::Timestamp(..) => vec![Identity, Bucket(3), Year, Month, Day, Hour],
        DataType::Binary => vec![Bucket(3), Truncate(2)],
        _ => Vec::new(),
    };
    if version == 1 && !transforms.is_empty() {
        transforms.push(Void);
    }
    transforms
}

fn inner(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Leaf(_) => Vec::new(),
        Kind::Struct(nodes) => nodes.iter().collect(),
        Kind::List(item) => vec![item],
        Kind::Map(key, value) => vec![key, value],
    }
}

fn note_names<'a>(nodes: impl IntoIterator<Item = &'a Node>, names: &mut BTreeMap<i32, BTreeSet<String>>) {
    for node in nodes {
        names.entry(node.id).or_default().insert(node.name.clone());
        note_names(inner(node), names);
    }
}

fn mapping_json<'a>(nodes: impl IntoIterator<Item = &'a Node>, names: &BTreeMap<i32, BTreeSet<String>>) -> Json {
    let fields = nodes.into_iter().map(|node| {
        let mut field = json!({ "field-id": node.id, "names": names.get(&node.id) });
        if node.leaf_type().is_none() {
            field["fields"] = mapping_json(inner(node), names);
        }
        field
    });
    Json::Array(fields.collect())
}
