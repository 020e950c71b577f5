//! Random Delta tables.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use catalog::PathFormat;
use datafusion::common::ScalarValue;
use harness::tables::delta::{partition_text, statistics, struct_json};
use harness::tables::{DeltaTable, write_parquet};
use serde_json::{Map, Value as Json, json};

use crate::evolution::Rules;
use crate::model::{Node, Row, Style, columns, fields};
use crate::table::{Maker, Table, grouped};

struct LiveFile {
    /// As in the log.
    path: String,
    rows: Vec<Row>,
    gone: BTreeSet<u64>,
}

struct Delta<'a> {
    maker: Maker<'a>,
    table: DeltaTable,
    files: Vec<LiveFile>,
    mapping: Mapping,
    /// Field ids of the partition columns.
    partition_ids: Vec<i32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mapping {
    None,
    Name,
    Id,
}

pub(crate) fn table(mut maker: Maker<'_>, folder: &Path) -> Result<Table> {
    maker.met("delta");
    let mapping = if maker.chance(30, "delta mapped by name") {
        maker.met("delta mapped by name");
        Mapping::Name
    } else if maker.chance(30, "delta mapped by id") {
        maker.met("delta mapped by id");
        Mapping::Id
    } else {
        Mapping::None
    };
    let mut table = DeltaTable::new(folder, Json::Null);
    if mapping != Mapping::None {
        let mode = if mapping == Mapping::Name { "name" } else { "id" };
        table.features.insert("columnMapping".to_owned());
        table
            .configuration
            .insert("delta.columnMapping.mode".to_owned(), mode.to_owned());
    }
    let mut delta = Delta {
        maker,
        table,
        files: Vec::new(),
        mapping,
        partition_ids: Vec::new(),
    };
    let rules = delta.rules();
    delta.maker.first_schema(&rules);
    delta.choose_partitions();
    delta.describe()?;
    delta.append()?;
    for _ in 0..delta.maker.random.below(7) {
        delta.next_commit()?;
        if delta.maker.chance(25, "delta checkpoint") {
            delta.table.checkpoint()?;
            delta.maker.met("delta checkpoint");
        }
    }
    delta.finish()
}

impl Delta<'_> {
    fn finish(self) -> Result<Table> {
        let live = self.files.into_iter().map(|file| {
            let rows = file.rows.into_iter().enumerate();
            rows.filter(|(position, _)| !file.gone.contains(&(*position as u64)))
                .map(|(_, row)| row)
                .collect()
        });
        let live = live.collect();
        Ok(Table::finished(self.maker, PathFormat::Delta, &self.table.folder, live))
    }

    fn rules(&self) -> Rules {
        let mapped = self.mapping != Mapping::None;
        let mut keep = self.partition_ids.clone();
        // Data files have at least one column.
        keep.extend(
            self.maker
                .nodes
                .iter()
                .map(|node| node.id)
                .find(|id| !keep.contains(id)),
        );
        Rules {
            iceberg: false,
            only_add: !mapped,
            defaults: false,
            promote: false,
            reuse_names: mapped,
            mapped,
            keep,
        }
    }

    fn choose_partitions(&mut self) {
        let usable = |data_type: &DataType| {
            matches!(
                data_type,
                DataType::Boolean
                    | DataType::Int32
                    | DataType::Int64
                    | DataType::Utf8
                    | DataType::Date32
                    | DataType::Decimal128(..)
                    | DataType::Timestamp(..)
            )
        };
        if !self.maker.chance(50, "partitioned") {
            return;
        }
        let usable = self
            .maker
            .nodes
            .iter()
            .filter(|node| node.leaf_type().is_some_and(usable));
        self.partition_ids = usable.map(|node| node.id).take(2).collect();
        if self.partition_ids.len() == self.maker.nodes.len() {
            self.partition_ids.clear();
        }
        if !self.partition_ids.is_empty() {
            self.maker.met("partitioned");
        }
    }

    fn partition_nodes(&self) -> Vec<Node> {
        let is_partition = |node: &&Node| self.partition_ids.contains(&node.id);
        self.maker.nodes.iter().filter(is_partition).cloned().collect()
    }

    /// Makes the schema the table's.
    fn describe(&mut self) -> Result<()> {
        let style = if self.mapping == Mapping::None {
            Style::Logical
        } else {
            Style::Described
        };
        self.table.schema = struct_json(&fields(&self.maker.nodes, style))?;
        self.table.partition_columns = self.partition_nodes().into_iter().map(|node| node.name).collect();
        if self.mapping != Mapping::None {
            let key = "delta.columnMapping.maxColumnId".to_owned();
            self.table.configuration.insert(key, self.maker.ids.to_string());
        }
        if self.table.schema.to_string().contains("timestamp_ntz") {
            self.table.features.insert("timestampNtz".to_owned());
        }
        Ok(())
    }

    fn next_commit(&mut self) -> Result<()> {
        match self.maker.random.below(10) {
            0..=2 => {
                let rules = self.rules();
                self.maker.evolve(&rules);
                self.describe()?;
                self.append()
            }
            3..=6 if self.maker.coverage.allows("deletion vector") => self.delete(),
            7 if self.files.len() > 1 && self.maker.coverage.allows("file removed") => {
                let gone = self.files.swap_remove(self.maker.random.below(self.files.len()));
                self.maker.met("file removed");
                self.table.commit(&[gone.path], Vec::new())
            }
            _ => self.append(),
        }
    }

    fn append(&mut self) -> Result<()> {
        let partition_nodes = self.partition_nodes();
        let rows = self.maker.new_rows();
        self.maker.met("append");
        self.maker.step(&format!("{} rows", rows.len()));
        let key = |row: &Row| {
            partition_nodes
                .iter()
                .map(|node| node.scalar(row))
                .collect::<Result<Vec<_>>>()
        };
        let rows = rows.into_iter().map(|row| Ok((key(&row)?, row)));
        let mut adds = Vec::new();
        for (partition, rows) in grouped(rows.collect::<Result<_>>()?) {
            let add = self.data_file(&partition_nodes, &partition, &rows)?;
            let path = add["path"].as_str().context("an add action has a path")?.to_owned();
            adds.push(add);
            self.files.push(LiveFile {
                path,
                rows,
                gone: BTreeSet::new(),
            });
        }
        self.table.commit(&[], adds)
    }

    fn data_file(&mut self, partition_nodes: &[Node], partition: &[ScalarValue], rows: &[Row]) -> Result<Json> {
        let mut nodes = self.maker.nodes.clone();
        nodes.retain(|node| !self.partition_ids.contains(&node.id));
        let style = Style::File {
            ids: self.mapping != Mapping::None,
        };
        let schema = Arc::new(Schema::new(fields(&nodes, style)));
        let batch = RecordBatch::try_new(schema, columns(&nodes, rows.iter(), style)?)?;
        let name = self.table.new_name(if self.maker.random.percent(20) {
            "p=ü %41+"
        } else {
            "part"
        });
        let layout = self.maker.layout();
        let file = write_parquet(&self.table.folder.join(&name), &[batch], &layout)?;
        let mut values = Map::new();
        for (node, value) in partition_nodes.iter().zip(partition) {
            values.insert(node.physical.clone(), json!(partition_text(value)?));
        }
        let known = match self.maker.random.below(6) {
            0 if self.maker.coverage.allows("delta without statistics") => {
                self.maker.met("delta without statistics");
                None
            }
            1 => Some(json!({ "numRecords": file.rows })),
            _ => Some(statistics(&file)),
        };
        Ok(DeltaTable::add(&name, &file, &Json::Object(values), known))
    }

    fn delete(&mut self) -> Result<()> {
        let index = self.maker.random.below(self.files.len());
        let percent = [5, 30, 100][self.maker.random.below(3)];
        let rows = self.files[index].rows.len();
        let mut positions: BTreeSet<u64> = (0..rows as u64)
            .filter(|_| self.maker.random.percent(percent))
            .collect();
        positions.insert(self.maker.random.below(rows) as u64);
        if !self.files[index].gone.is_empty() {
            self.maker.met("deletion vector replaced");
        }
        let file = &mut self.files[index];
        file.gone.extend(positions);
        let in_log = self.maker.chance(50, "deletion vector in the log");
        let vector = self
            .table
            .deletion_vector(&file.gone, in_log, self.maker.random.percent(50))?;
        let mut add = self.table.live(&file.path)?.clone();
        add["deletionVector"] = vector;
        if let Some(text) = add["stats"].as_str() {
            let mut known: Json = serde_json::from_str(text)?;
            known["tightBounds"] = json!(false);
            add["stats"] = json!(known.to_string());
        } else {
            // A deletion vector needs the number of rows.
            add["stats"] = json!(json!({ "numRecords": file.rows.len() }).to_string());
        }
        let path = file.path.clone();
        self.maker.met("deletion vector");
        if in_log {
            self.maker.met("deletion vector in the log");
        }
        self.table.commit(&[path], vec![add])
    }
}
