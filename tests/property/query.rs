//! Random queries over a table of the model.

use std::fmt;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::functions_aggregate::expr_fn::{count, max, min, sum};
use datafusion::logical_expr::{Expr, lit};
use harness::Random;

use crate::model::{Kind, Node, Row, Value};
use crate::table::Table;
use crate::values;

/// A query of one of three shapes.
pub(crate) struct Query {
    filter: Option<Expr>,
    shape: Shape,
}

enum Shape {
    Rows { columns: Vec<Expr>, limit: Option<usize> },
    Count,
    Groups { keys: Vec<Expr>, aggregates: Vec<Expr> },
}

/// A leaf that a query can name, with its values.
struct Leaf {
    expr: Expr,
    data_type: DataType,
    values: Vec<ScalarValue>,
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |exprs: &[Expr]| exprs.iter().map(Expr::to_string).collect::<Vec<_>>().join(", ");
        match &self.shape {
            Shape::Rows { columns, limit } => write!(f, "SELECT {} LIMIT {limit:?}", list(columns))?,
            Shape::Count => write!(f, "SELECT count(*)")?,
            Shape::Groups { keys, aggregates } => write!(f, "SELECT {} GROUP BY {}", list(aggregates), list(keys))?,
        }
        self.filter.iter().try_for_each(|filter| write!(f, " WHERE {filter}"))
    }
}

impl Query {
    pub(crate) fn random(random: &mut Random, table: &Table) -> Self {
        let leaves = leaves(table);
        let filter = random.percent(75).then(|| filter(random, table, &leaves, 2));
        let shape = match random.below(4) {
            0 => Shape::Count,
            1 => groups(random, &leaves),
            _ => {
                let mut columns: Vec<Expr> = table.nodes.iter().map(column).collect();
                if random.percent(60) {
                    columns.retain(|_| random.percent(40));
                }
                if random.percent(30)
                    && let Some(leaf) = random.one(&leaves)
                {
                    columns = vec![leaf.expr.clone().alias("leaf")];
                }
                if columns.is_empty() {
                    columns.push(lit(1).alias("one"));
                }
                let limit = random.percent(20).then(|| random.below(20));
                Shape::Rows { columns, limit }
            }
        };
        Self { filter, shape }
    }

    /// The query over `table`.
    pub(crate) fn over(&self, table: DataFrame) -> Result<DataFrame> {
        let table = match &self.filter {
            Some(filter) => table.filter(filter.clone())?,
            None => table,
        };
        match &self.shape {
            Shape::Rows { columns, .. } => table.select(columns.clone()),
            Shape::Count => table.aggregate(vec![], vec![count(lit(1))]),
            Shape::Groups { keys, aggregates } => table.aggregate(keys.clone(), aggregates.clone()),
        }
    }

    /// How many rows of the answer are wanted, whichever.
    pub(crate) fn limit(&self) -> Option<usize> {
        match &self.shape {
            Shape::Rows { limit, .. } => *limit,
            _ => None,
        }
    }
}

fn column(node: &Node) -> Expr {
    Expr::Column(Column::new_unqualified(&node.name))
}

/// Every leaf outside of lists and maps.
fn leaves(table: &Table) -> Vec<Leaf> {
    fn walk(node: &Node, expr: Expr, rows: &[Row], found: &mut Vec<Leaf>) {
        match &node.kind {
            Kind::Leaf(data_type) => {
                let values = rows.iter().filter_map(|row| node.scalar(row).ok());
                found.push(Leaf {
                    expr,
                    data_type: data_type.clone(),
                    values: values.filter(|value| !value.is_null()).collect(),
                });
            }
            Kind::Struct(nodes) => {
                let rows = rows.iter().filter_map(|row| match node.get(row) {
                    Value::Struct(inner) => Some(inner),
                    _ => None,
                });
                let rows: Vec<Row> = rows.collect();
                for inner in nodes {
                    walk(inner, get_field(expr.clone(), inner.name.as_str()), &rows, found);
                }
            }
            Kind::List(_) | Kind::Map(..) => {}
        }
    }
    let mut found = Vec::new();
    for node in &table.nodes {
        walk(node, column(node), &table.rows, &mut found);
    }
    found
}

fn groups(random: &mut Random, leaves: &[Leaf]) -> Shape {
    let mut aggregates = vec![count(lit(1))];
    for leaf in leaves {
        if random.percent(50) {
            continue;
        }
        aggregates.push(match leaf.data_type {
            DataType::Int32 | DataType::Int64 if random.percent(40) => sum(leaf.expr.clone()),
            DataType::FixedSizeBinary(_) => count(leaf.expr.clone()),
            // DataFusion's least and greatest of a group with NaN depend on the order of its rows.
            ref float if float.is_floating() => count(leaf.expr.clone()),
            _ => match random.below(3) {
                0 => min(leaf.expr.clone()),
                1 => max(leaf.expr.clone()),
                _ => count(leaf.expr.clone()),
            },
        });
    }
    let groupable =
        |leaf: &&Leaf| !leaf.data_type.is_floating() && !matches!(leaf.data_type, DataType::FixedSizeBinary(_));
    let keys: Vec<Expr> = leaves.iter().filter(groupable).map(|leaf| leaf.expr.clone()).collect();
    let mut keys: Vec<Expr> = keys.into_iter().filter(|_| random.percent(25)).collect();
    keys.truncate(2);
    Shape::Groups { keys, aggregates }
}

fn filter(random: &mut Random, table: &Table, leaves: &[Leaf], depth: usize) -> Expr {
    if depth > 0 && random.percent(45) {
        let one = filter(random, table, leaves, depth - 1);
        return match random.below(5) {
            0 => Expr::Not(Box::new(one)),
            1 | 2 => one.and(filter(random, table, leaves, depth - 1)),
            _ => one.or(filter(random, table, leaves, depth - 1)),
        };
    }
    let whole_column = || table.nodes.first().map_or_else(|| lit(true), column);
    let Some(leaf) = random.one(leaves).filter(|_| !random.percent(5)) else {
        return random.one(&table.nodes).map_or_else(whole_column, column).is_not_null();
    };
    let expr = leaf.expr.clone();
    if matches!(leaf.data_type, DataType::FixedSizeBinary(_)) {
        return expr.is_null();
    }
    match random.below(12) {
        0 => expr.is_null(),
        1 => expr.is_not_null(),
        2 | 3 => {
            let list = (0..1 + random.below(4)).map(|_| literal(random, leaf)).collect();
            expr.in_list(list, random.percent(30))
        }
        4 | 5 => {
            let (low, high) = (literal(random, leaf), literal(random, leaf));
            expr.between(low, high)
        }
        6 if leaf.data_type == DataType::Utf8 => {
            let pattern = ["prefix-%", "a%", "Z%", "%b", "\u{10ffff}%", "100\\%%", "東京%"][random.below(7)];
            if random.percent(30) {
                expr.not_like(lit(pattern))
            } else {
                expr.like(lit(pattern))
            }
        }
        number => {
            let value = literal(random, leaf);
            match number {
                7 => expr.lt(value),
                8 => expr.lt_eq(value),
                9 => expr.gt(value),
                10 => expr.gt_eq(value),
                11 => expr.not_eq(value),
                _ => expr.eq(value),
            }
        }
    }
}

fn literal(random: &mut Random, leaf: &Leaf) -> Expr {
    let value = match random.one(&leaf.values) {
        Some(value) if random.percent(80) => value.clone(),
        _ => values::scalar(random, &leaf.data_type),
    };
    lit(value)
}
