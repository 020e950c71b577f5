//! Random types and values, rich in what goes wrong: NULLs, NaN and zeros, extremes, long and non-ASCII text.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use harness::Random;

use crate::model::{Kind, Node, Row, Value, timestamp};

/// Long common prefixes, so that cut bounds matter.
const TEXTS: [&str; 14] = [
    "a",
    "b",
    "Zürich",
    "żółć gęślą jaźń",
    "東京都千代田区丸の内一丁目九番一号",
    "prefix-0123456789-a",
    "prefix-0123456789-b",
    "prefix-0123456789",
    "🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀",
    "100%_sure",
    "it's",
    "a b+c=d%20/e",
    "\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}\u{10ffff}",
    "NULL",
];

/// A random leaf type; `iceberg` has some that Delta has not.
pub(crate) fn leaf_type(random: &mut Random, iceberg: bool) -> DataType {
    match random.below(if iceberg { 14 } else { 12 }) {
        0 => DataType::Boolean,
        1 | 2 => DataType::Int32,
        3 => DataType::Int64,
        4 => DataType::Float32,
        5 => DataType::Float64,
        6 => DataType::Decimal128(9, 2),
        7 => DataType::Decimal128(if random.percent(50) { 18 } else { 30 }, 4),
        8 => DataType::Date32,
        9 => timestamp(random.percent(50)),
        10 => DataType::Utf8,
        11 => DataType::Binary,
        12 => DataType::Time64(TimeUnit::Microsecond),
        _ => DataType::FixedSizeBinary(5),
    }
}

/// A random type of at most this depth. Ids come from `ids`.
pub(crate) fn kind(random: &mut Random, iceberg: bool, depth: usize, ids: &mut i32) -> Kind {
    if depth == 0 || random.percent(70) {
        return Kind::Leaf(leaf_type(random, iceberg));
    }
    let mut node = |random: &mut Random, name: &str, leaf: bool| {
        *ids += 1;
        let id = *ids;
        let kind = if leaf {
            Kind::Leaf([DataType::Utf8, DataType::Int32, DataType::Int64][random.below(3)].clone())
        } else {
            kind(random, iceberg, depth - 1, ids)
        };
        Node {
            id,
            name: name.to_owned(),
            physical: name.to_owned(),
            kind,
            default: None,
        }
    };
    match random.below(4) {
        0 | 1 => {
            let names = ["x", "y", "Z z"];
            let count = 1 + random.below(names.len());
            Kind::Struct(names[..count].iter().map(|name| node(random, name, false)).collect())
        }
        2 => Kind::List(Box::new(node(random, "element", false))),
        _ => Kind::Map(
            Box::new(node(random, "key", true)),
            Box::new(node(random, "value", false)),
        ),
    }
}

/// A random value of the type, now and then NULL.
pub(crate) fn value(random: &mut Random, node: &Node) -> Value {
    if random.percent(15) {
        return Value::Null;
    }
    match &node.kind {
        Kind::Leaf(data_type) => Value::Leaf(scalar(random, data_type)),
        Kind::Struct(nodes) => Value::Struct(row(random, nodes)),
        Kind::List(item) => Value::List((0..random.below(4)).map(|_| value(random, item)).collect()),
        Kind::Map(key, item) => {
            let mut entries: Vec<(Value, Value)> = Vec::new();
            for _ in 0..random.below(4) {
                let Some(data_type) = key.leaf_type() else { continue };
                let key = Value::Leaf(scalar(random, data_type));
                if entries.iter().all(|(other, _)| *other != key) {
                    entries.push((key, value(random, item)));
                }
            }
            Value::Map(entries)
        }
    }
}

pub(crate) fn row(random: &mut Random, nodes: &[Node]) -> Row {
    nodes.iter().map(|node| (node.id, value(random, node))).collect()
}

/// A random value but NULL. Values repeat, so that filters, groups and partitions have something to find.
pub(crate) fn scalar(random: &mut Random, data_type: &DataType) -> ScalarValue {
    let small = random.below(7) as i64 - 2;
    let rare = random.percent(6);
    match data_type {
        DataType::Boolean => ScalarValue::Boolean(Some(random.percent(50))),
        DataType::Int32 if rare => ScalarValue::Int32(Some(if random.percent(50) { i32::MIN } else { i32::MAX })),
        DataType::Int32 => ScalarValue::Int32(Some(small as i32)),
        DataType::Int64 if rare => ScalarValue::Int64(Some(if random.percent(50) { i64::MIN } else { i64::MAX })),
        DataType::Int64 => ScalarValue::Int64(Some(small * 1_000_000_007)),
        DataType::Float32 => ScalarValue::Float32(Some(float(random) as f32)),
        DataType::Float64 => ScalarValue::Float64(Some(float(random))),
        DataType::Decimal128(precision, scale) => {
            let nines = 10_i128.pow(u32::from(*precision)) - 1;
            let value = if rare { nines } else { i128::from(small) * 125 };
            ScalarValue::Decimal128(
                Some(if random.percent(30) { -value } else { value }),
                *precision,
                *scale,
            )
        }
        DataType::Date32 => ScalarValue::Date32(Some(if rare { -141_000 } else { small as i32 * 40 })),
        DataType::Time64(_) => ScalarValue::Time64Microsecond(Some((small + 2) * 3_600_000_001)),
        DataType::Timestamp(_, zone) => {
            let micros = if rare {
                -12_219_292_800_000_001
            } else {
                small * 86_399_999_999 + random.below(3) as i64
            };
            ScalarValue::TimestampMicrosecond(Some(micros), zone.clone())
        }
        DataType::Utf8 => ScalarValue::Utf8(Some(TEXTS[random.below(TEXTS.len())].to_owned())),
        DataType::FixedSizeBinary(length) => {
            ScalarValue::FixedSizeBinary(*length, Some(vec![random.below(3) as u8 * 127; *length as usize]))
        }
        _ => {
            let length = if random.percent(30) { 20 } else { random.below(3) };
            let byte = [0, 1, 0x7f, 0xff][random.below(4)];
            let mut bytes = vec![byte; length];
            bytes.extend([random.below(3) as u8]);
            ScalarValue::Binary(Some(bytes))
        }
    }
}

fn float(random: &mut Random) -> f64 {
    let values = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1.5,
        -2.25,
        1e30,
        3.0,
        4.0,
    ];
    values[random.below(values.len())]
}

pub(crate) fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float32(Some(number)) => number.is_nan(),
        ScalarValue::Float64(Some(number)) => number.is_nan(),
        _ => false,
    }
}

/// Replaces NaN by NULL, at every level.
pub(crate) fn without_nan(value: &mut Value) {
    match value {
        Value::Null => {}
        Value::Leaf(scalar) => {
            if is_nan(scalar) {
                *value = Value::Null;
            }
        }
        Value::Struct(row) => row.values_mut().for_each(without_nan),
        Value::List(items) => items.iter_mut().for_each(without_nan),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| without_nan(value)),
    }
}
