//! Random changes of a schema.

use arrow::datatypes::DataType;
use harness::Random;

use crate::model::{Kind, Node};
use crate::values;

/// What a table allows.
pub(crate) struct Rules {
    pub(crate) iceberg: bool,
    /// Only columns may be added, at the end.
    pub(crate) only_add: bool,
    /// Values for rows that are older than the column.
    pub(crate) defaults: bool,
    pub(crate) promote: bool,
    /// Names of dropped columns may come back, and names may be swapped.
    pub(crate) reuse_names: bool,
    /// Whether data files have other names than the table.
    pub(crate) mapped: bool,
    /// Columns that may not be dropped, by id.
    pub(crate) keep: Vec<i32>,
}

/// Changes something in `nodes`; the name of the feature, or `None` where the change was not possible.
pub(crate) fn change(random: &mut Random, nodes: &mut Vec<Node>, ids: &mut i32, rules: &Rules) -> Option<&'static str> {
    let nested = random.percent(40);
    if nested {
        let mut places = 0;
        containers(nodes, &mut |_| places += 1);
        let chosen = random.below(places);
        let (mut number, mut done) = (0, None);
        containers(nodes, &mut |inner| {
            if number == chosen {
                done = change_container(random, inner, ids, rules, true);
            }
            number += 1;
        });
        return done;
    }
    change_container(random, nodes, ids, rules, false)
}

/// Calls `visit` for the fields of every struct inside.
fn containers(nodes: &mut [Node], visit: &mut impl FnMut(&mut Vec<Node>)) {
    for node in nodes {
        let mut inner: Vec<&mut Node> = Vec::new();
        match &mut node.kind {
            Kind::Leaf(_) => {}
            Kind::Struct(fields) => {
                visit(fields);
                containers(fields, visit);
            }
            Kind::List(item) => inner.push(item),
            Kind::Map(_, value) => inner.push(value),
        }
        for node in inner {
            containers(std::slice::from_mut(node), visit);
        }
    }
}

fn change_container(
    random: &mut Random,
    nodes: &mut Vec<Node>,
    ids: &mut i32,
    rules: &Rules,
    nested: bool,
) -> Option<&'static str> {
    let choice = if rules.only_add { 0 } else { random.below(7) };
    let index = random.below(nodes.len());
    match choice {
        0 | 1 => return add(random, nodes, ids, rules, nested),
        2 if nodes.len() > 1 && !rules.keep.contains(&nodes[index].id) => {
            nodes.remove(index);
            return Some(if nested { "nested drop" } else { "drop column" });
        }
        3 => {
            *ids += 1;
            nodes[index].name = format!("renamed {ids}");
            rename_in_files(&mut nodes[index], rules);
            return Some(if nested { "nested rename" } else { "rename column" });
        }
        4 if rules.reuse_names && nodes.len() > 1 => {
            let other = (index + 1) % nodes.len();
            let name = std::mem::take(&mut nodes[index].name);
            nodes[index].name = std::mem::replace(&mut nodes[other].name, name);
            rename_in_files(&mut nodes[index], rules);
            rename_in_files(&mut nodes[other], rules);
            return Some("swap names");
        }
        5 if nodes.len() > 1 => {
            let node = nodes.remove(index);
            nodes.insert(random.below(nodes.len() + 1), node);
            return Some("move column");
        }
        6 if rules.promote => {
            for node in nodes.iter_mut() {
                if let Kind::Leaf(data_type) = &mut node.kind
                    && let Some(wider) = wider(data_type)
                {
                    *data_type = wider;
                    return Some("promote column");
                }
            }
        }
        _ => {}
    }
    None
}

/// Without a mapping, new files have the new name.
fn rename_in_files(node: &mut Node, rules: &Rules) {
    if !rules.mapped {
        node.physical.clone_from(&node.name);
    }
}

fn add(random: &mut Random, nodes: &mut Vec<Node>, ids: &mut i32, rules: &Rules, nested: bool) -> Option<&'static str> {
    let node = new_node(random, ids, rules);
    let with_default = node.default.is_some();
    let index = if rules.only_add {
        nodes.len()
    } else {
        random.below(nodes.len() + 1)
    };
    if nodes.iter().any(|other| other.name == node.name) {
        return None;
    }
    nodes.insert(index, node);
    Some(match (nested, with_default) {
        (_, true) => "add column with a default",
        (true, false) => "nested add",
        (false, false) => "add column",
    })
}

/// A new column with a name of its own, or one that a dropped column may have had.
pub(crate) fn new_node(random: &mut Random, ids: &mut i32, rules: &Rules) -> Node {
    *ids += 1;
    let id = *ids;
    let kind = values::kind(random, rules.iceberg, 2, ids);
    let name = if rules.reuse_names && random.percent(50) {
        ["a", "b", "x", "y"][random.below(4)].to_owned()
    } else {
        format!("column {id}")
    };
    let default = match &kind {
        Kind::Leaf(data_type) if rules.defaults && has_default(data_type) && random.percent(60) => {
            Some(values::scalar(random, data_type))
        }
        _ => None,
    };
    let mut node = Node {
        id,
        physical: name.clone(),
        name,
        kind,
        default,
    };
    if rules.mapped {
        map_names(&mut node);
    }
    node
}

/// Gives the field, and those inside, names of their own in data files.
fn map_names(node: &mut Node) {
    node.physical = format!("col-{}", node.id);
    match &mut node.kind {
        Kind::Leaf(_) => {}
        Kind::Struct(nodes) => nodes.iter_mut().for_each(map_names),
        Kind::List(item) => map_inner(item),
        Kind::Map(_, value) => map_inner(value),
    }
}

/// Elements of lists and maps keep their fixed names.
fn map_inner(node: &mut Node) {
    let name = node.physical.clone();
    map_names(node);
    node.physical = name;
}

fn has_default(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Boolean
            | DataType::Int32
            | DataType::Int64
            | DataType::Utf8
            | DataType::Date32
            | DataType::Decimal128(..)
    )
}

fn wider(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int32 => Some(DataType::Int64),
        DataType::Float32 => Some(DataType::Float64),
        DataType::Decimal128(precision, scale) if *precision < 30 => Some(DataType::Decimal128(precision + 8, *scale)),
        _ => None,
    }
}
