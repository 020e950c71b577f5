//! Row-level deletes of random Iceberg tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use harness::tables::{Changes, IcebergFile, Transform};

use super::Iceberg;
use crate::model::{Node, Row, Style, fields};

impl Iceberg<'_> {
    /// Positions of a file, some of them deleted already.
    fn some_positions(&mut self, index: usize) -> BTreeSet<u64> {
        let percent = [5, 30, 100][self.maker.random.below(3)];
        let rows = self.files[index].rows.len() as u64;
        let mut positions: BTreeSet<u64> = (0..rows).filter(|_| self.maker.random.percent(percent)).collect();
        positions.insert(self.maker.random.below(rows as usize) as u64);
        positions
    }

    pub(super) fn position_deletes(&mut self, changes: &mut Changes) -> Result<()> {
        if !self.maker.coverage.allows("position deletes") || self.files.is_empty() {
            return Ok(());
        }
        let first = self.maker.random.below(self.files.len());
        let of = self.files[first].file.clone();
        let several = self.maker.chance(50, "position deletes of several files");
        let mut rows: Vec<(String, u64)> = Vec::new();
        for index in 0..self.files.len() {
            let file = &self.files[index].file;
            let together = file.spec_id == of.spec_id && file.partition == of.partition;
            if index != first && !(several && together) {
                continue;
            }
            let path = file.path.clone();
            if index != first {
                self.maker.met("position deletes of several files");
            }
            let positions = self.some_positions(index);
            rows.extend(positions.iter().map(|position| (path.clone(), *position)));
            let file = &mut self.files[index];
            file.gone.extend(&positions);
            file.named.extend(&positions);
        }
        if self.maker.chance(30, "dangling position deletes") {
            rows.push((format!("{}-gone", of.path), 3));
            rows.push(rows[0].clone());
            self.maker.met("dangling position deletes");
        }
        let layout = self.maker.layout();
        changes.add.push(self.table.position_deletes(&of, &rows, &layout)?);
        self.maker.met("position deletes");
        Ok(())
    }

    pub(super) fn deletion_vectors(&mut self, changes: &mut Changes) -> Result<()> {
        if !self.maker.coverage.allows("deletion vector") || self.files.is_empty() {
            return Ok(());
        }
        let count = 1 + self.maker.random.below(2);
        let mut chosen = BTreeSet::new();
        for _ in 0..count {
            chosen.insert(self.maker.random.below(self.files.len()));
        }
        let mut vectors = Vec::new();
        for index in &chosen {
            let mut positions = self.some_positions(*index);
            let file = &mut self.files[*index];
            positions.extend(&file.named);
            if !file.named.is_empty() {
                self.maker.met("deletion vector over position deletes");
            }
            if let Some((old, before)) = file.vector.take() {
                positions.extend(before);
                changes.remove.push((old.path.clone(), old.blob));
                self.maker.met("deletion vector replaced");
            }
            file.gone.extend(&positions);
            vectors.push((*index, positions));
        }
        let runs = self.maker.random.percent(50);
        let named: Vec<_> = vectors
            .iter()
            .map(|(index, set)| (&self.files[*index].file, set))
            .collect();
        let written = self.table.deletion_vectors(&named, runs)?;
        for ((index, positions), file) in vectors.into_iter().zip(written) {
            changes.add.push(file.clone());
            self.files[index].vector = Some((file, positions));
        }
        self.maker.met("deletion vector");
        Ok(())
    }

    pub(super) fn equality_deletes(&mut self, changes: &mut Changes) -> Result<()> {
        let columns = self.equality_columns();
        let spec = self.table.spec()?.clone();
        let everywhere = spec.fields.is_empty();
        let of_spec: Vec<usize> = (0..self.files.len())
            .filter(|index| everywhere || self.files[*index].file.spec_id == spec.id)
            .collect();
        let void = !everywhere && spec.fields.iter().all(|field| field.transform == Transform::Void);
        let Some(index) = self.maker.random.one(&of_spec).copied() else {
            return Ok(());
        };
        if columns.is_empty() || void || !self.maker.coverage.allows("equality deletes") {
            return Ok(());
        }
        let wanted = self.some_keys(&columns, index)?;
        let with_null = wanted.iter().flatten().any(ScalarValue::is_null);
        if with_null && !self.maker.coverage.allows("equality deletes with NULL") {
            return Ok(());
        }
        let schema = Arc::new(Schema::new(fields(&columns, Style::File { ids: true })));
        let array =
            |column: usize| ScalarValue::iter_to_array(wanted.iter().map(|key: &Vec<ScalarValue>| key[column].clone()));
        let arrays = (0..columns.len()).map(array).collect::<Result<_, _>>()?;
        let batch = RecordBatch::try_new(schema, arrays)?;
        let layout = self.maker.layout();
        let partition = self.files[index].file.partition.clone();
        let scoped = if everywhere { Vec::new() } else { partition.clone() };
        changes.add.push(self.table.equality_deletes(scoped, &batch, &layout)?);
        for file in &mut self.files {
            let in_scope = everywhere || same_partition(&file.file, spec.id, &partition)?;
            // Files of this commit have a greater number than the commit before.
            if !in_scope || file.sequence > self.table.sequence {
                continue;
            }
            for (position, row) in file.rows.iter().enumerate() {
                if wanted.contains(&key(&columns, row)?) {
                    file.gone.insert(position as u64);
                }
            }
        }
        self.equality_ids.extend(columns.iter().map(|node| node.id));
        self.maker.met("equality deletes");
        let names: Vec<&String> = columns.iter().map(|node| &node.name).collect();
        self.maker.step(&format!("on {names:?}"));
        if columns.len() > 1 {
            self.maker.met("equality deletes on two columns");
        }
        if with_null {
            self.maker.met("equality deletes with NULL");
        }
        self.maker.met(if everywhere {
            "equality deletes everywhere"
        } else {
            "equality deletes in a partition"
        });
        Ok(())
    }

    /// Up to four keys of rows of that file.
    fn some_keys(&mut self, columns: &[Node], index: usize) -> Result<Vec<Vec<ScalarValue>>> {
        let rows = &self.files[index].rows;
        let mut wanted: Vec<Vec<ScalarValue>> = Vec::new();
        for _ in 0..1 + self.maker.random.below(4) {
            let found = key(columns, &rows[self.maker.random.below(rows.len())])?;
            if !wanted.contains(&found) {
                wanted.push(found);
            }
        }
        Ok(wanted)
    }

    fn equality_columns(&mut self) -> Vec<Node> {
        let comparable = |node: &&Node| {
            node.leaf_type().is_some_and(|data_type| {
                !data_type.is_floating() && !matches!(data_type, DataType::FixedSizeBinary(_) | DataType::Time64(_))
            })
        };
        let mut candidates: Vec<Node> = self.maker.nodes.iter().filter(comparable).cloned().collect();
        let count = 1 + self.maker.random.below(2);
        while candidates.len() > count {
            candidates.remove(self.maker.random.below(candidates.len()));
        }
        candidates.sort_by_key(|node| node.id);
        candidates
    }
}

/// The row's values of these columns.
fn key(columns: &[Node], row: &Row) -> Result<Vec<ScalarValue>> {
    columns.iter().map(|node| node.scalar(row)).collect()
}

/// Partition values stay equal when their column is promoted.
fn same_partition(file: &IcebergFile, spec_id: i32, partition: &[ScalarValue]) -> Result<bool> {
    if file.spec_id != spec_id {
        return Ok(false);
    }
    for (one, other) in file.partition.iter().zip(partition) {
        if one.cast_to(&other.data_type())? != *other && other.cast_to(&one.data_type())? != *one {
            return Ok(false);
        }
    }
    Ok(true)
}
