//! A random table: made by commits, with the rows it must have at the end.

use std::path::Path;

use anyhow::Result;
use catalog::PathFormat;
use datafusion::common::ScalarValue;
use harness::Random;
use harness::tables::FileLayout;

use crate::coverage::Coverage;
use crate::evolution::{self, Rules};
use crate::model::{Node, Row, Value};
use crate::{delta, iceberg, values};

/// A table on disk and its rows.
pub(crate) struct Table {
    pub(crate) format: PathFormat,
    pub(crate) location: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rows: Vec<Row>,
    /// Live data files.
    pub(crate) files: usize,
    steps: Vec<String>,
}

/// What every kind of table is made of.
pub(crate) struct Maker<'a> {
    pub(crate) random: &'a mut Random,
    pub(crate) coverage: &'a mut Coverage,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ids: i32,
    pub(crate) steps: Vec<String>,
}

impl Table {
    pub(crate) fn random(random: &mut Random, folder: &Path, coverage: &mut Coverage) -> Result<Self> {
        let is_delta = coverage.allows("delta") && random.percent(35);
        // The kernel takes a percent sign in the folder of a Delta table for an escape.
        let folder = folder.join(if is_delta { "table ü +=1" } else { "table ü%41 +=1" });
        let maker = Maker {
            random,
            coverage,
            nodes: Vec::new(),
            ids: 0,
            steps: Vec::new(),
        };
        if is_delta {
            delta::table(maker, &folder)
        } else {
            iceberg::table(maker, &folder)
        }
    }

    pub(crate) fn finished(maker: Maker<'_>, format: PathFormat, folder: &Path, files: Vec<Vec<Row>>) -> Self {
        Self {
            format,
            location: folder.display().to_string(),
            nodes: maker.nodes,
            files: files.len(),
            rows: files.into_iter().flatten().collect(),
            steps: maker.steps,
        }
    }

    /// What the table went through.
    pub(crate) fn story(&self) -> String {
        self.steps.join("; ")
    }
}

impl Maker<'_> {
    /// Notes a step, and that a case had a feature.
    pub(crate) fn met(&mut self, feature: &'static str) {
        self.coverage.met(feature);
        self.step(feature);
    }

    pub(crate) fn step(&mut self, step: &str) {
        self.steps.push(step.to_owned());
    }

    /// True in `percent` of a hundred cases, where tables may have the feature.
    pub(crate) fn chance(&mut self, percent: usize, feature: &str) -> bool {
        self.random.percent(percent) && self.coverage.allows(feature)
    }

    /// Starts with two to six columns.
    pub(crate) fn first_schema(&mut self, rules: &Rules) {
        for _ in 0..2 + self.random.below(5) {
            let mut node = evolution::new_node(self.random, &mut self.ids, rules);
            node.default = None;
            if self.nodes.iter().all(|other| other.name != node.name) {
                self.nodes.push(node);
            }
        }
    }

    /// Changes the schema once or twice; true where it changed.
    pub(crate) fn evolve(&mut self, rules: &Rules) -> bool {
        let mut changed = false;
        for _ in 0..1 + self.random.below(2) {
            let mut nodes = self.nodes.clone();
            let feature = evolution::change(self.random, &mut nodes, &mut self.ids, rules);
            if let Some(feature) = feature
                && self.coverage.allows(feature)
            {
                self.nodes = nodes;
                self.met(feature);
                changed = true;
            }
        }
        changed
    }

    pub(crate) fn new_rows(&mut self) -> Vec<Row> {
        let count = 1 + self.random.below(40);
        let mut rows: Vec<Row> = (0..count).map(|_| values::row(self.random, &self.nodes)).collect();
        let is_nan = |value: &Value| matches!(value, Value::Leaf(scalar) if values::is_nan(scalar));
        if rows.iter().any(|row| row.values().any(is_nan)) {
            if self.coverage.allows("NaN") {
                self.coverage.met("NaN");
            } else {
                rows.iter_mut()
                    .flat_map(|row| row.values_mut())
                    .for_each(values::without_nan);
            }
        }
        rows
    }

    pub(crate) fn layout(&mut self) -> FileLayout {
        let random = &mut *self.random;
        FileLayout {
            row_group_rows: [1, 3, 7, 20, 200][random.below(5)],
            page_rows: 1 + random.below(9),
            dictionary: random.percent(50),
            bloom_filters: random.percent(20),
            page_index: random.percent(70),
            compressed: random.percent(30),
        }
    }
}

/// The rows of one partition each, with its values.
pub(crate) fn grouped(rows: Vec<(Vec<ScalarValue>, Row)>) -> Vec<(Vec<ScalarValue>, Vec<Row>)> {
    const PARTITIONS_MAX: usize = 6;
    let mut groups: Vec<(Vec<ScalarValue>, Vec<Row>)> = Vec::new();
    for (key, row) in rows {
        match groups.iter().position(|(other, _)| *other == key) {
            Some(index) => groups[index].1.push(row),
            None if groups.len() < PARTITIONS_MAX => groups.push((key, vec![row])),
            None => {}
        }
    }
    groups
}
