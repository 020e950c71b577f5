//! The table `delta.typed.every`: row 1 has a value of every type that a table can have, row 2 has NULLs.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use harness::tables::{DeltaTable, FileLayout, delta, write_parquet};
use serde_json::json;

/// Writes the table into `folder`.
pub(super) fn write(folder: &Path) -> Result<()> {
    let decimal = Decimal128Array::from(vec![Some(1_234_567_890_123_456_789_012_i128), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2]))),
        ("a_boolean", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("a_tinyint", Arc::new(Int8Array::from(vec![Some(-5), None]))),
        ("a_smallint", Arc::new(Int16Array::from(vec![Some(-300), None]))),
        ("an_integer", Arc::new(Int32Array::from(vec![Some(-70_000), None]))),
        (
            "a_bigint",
            Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None])),
        ),
        ("a_real", Arc::new(Float32Array::from(vec![Some(1.5), None]))),
        ("a_double", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
        ("a_decimal", Arc::new(decimal.with_precision_and_scale(22, 2)?)),
        (
            "a_text",
            Arc::new(StringArray::from(vec![Some("h\u{e9}llo \"\u{6f22}\" '"), None])),
        ),
        (
            "a_binary",
            Arc::new(BinaryArray::from_opt_vec(vec![Some(&[0, 255, 16]), None])),
        ),
        // 1969-07-20
        ("a_date", Arc::new(Date32Array::from(vec![Some(-165), None]))),
        // 2024-07-01 02:30:00.789
        (
            "a_timestamp",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_719_801_000_789_000), None])),
        ),
        (
            "a_moment",
            // 2024-02-29T23:34:56.789Z
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1_709_249_696_789_000), None]).with_timezone("UTC")),
        ),
    ];
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?;
    let mut table = DeltaTable::new(folder, delta::struct_json(batch.schema().fields())?);
    table.features.insert("timestampNtz".to_owned());
    std::fs::create_dir_all(folder)?;
    let file = write_parquet(&folder.join("1.parquet"), &[batch], &FileLayout::default())?;
    let add = DeltaTable::add("1.parquet", &file, &json!({}), None);
    table.commit(&[], vec![add])
}
