//! The expression that makes the table's column of a file's where no cast can: structs, lists and maps whose fields
//! were added, dropped, renamed, moved or promoted, and defaults below the top.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, ListArray, MapArray, RecordBatch, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::error::ArrowError;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::functions::core::get_field;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::reading::{Child, Reading, corrupt};

/// Reads the field at `path` inside a file's column as the table's `field`.
///
/// Its children are what the Parquet scan decodes for it. A scan decides before it knows any file which filters it
/// applies itself, and drops those that it then cannot apply to a file; it can apply none that names a whole struct.
/// So a struct is named by accesses to the fields wanted of it, `get_field(column, ..)`, each with the type of a leaf,
/// that are never evaluated: this expression takes the column out of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RestructureExpr {
    /// The children, from [`sources`].
    pub(super) sources: Vec<Arc<dyn PhysicalExpr>>,
    /// Names of the file's struct fields, from the column downwards.
    pub(super) path: Vec<String>,
    /// What has to be done to the values at the path.
    pub(super) reading: Reading,
    /// The result.
    pub(super) field: FieldRef,
    /// The table's name, for messages.
    pub(super) table: Arc<str>,
}

impl RestructureExpr {
    /// The file's column, under the struct accesses that stand for it.
    fn column(&self) -> Option<&Arc<dyn PhysicalExpr>> {
        let source = self.sources.first()?;
        match source.downcast_ref::<ScalarFunctionExpr>() {
            Some(access) => access.args().first(),
            None => Some(source),
        }
    }

    fn restructure(&self, column: ArrayRef) -> Result<ArrayRef, ArrowError> {
        let mut array = column;
        for name in &self.path {
            let parent = as_struct(&array)?;
            array = masked(child(parent, name)?, parent.nulls())?;
        }
        apply(&self.reading, &array)
    }
}

/// What the scan has to decode of `column`, whose type in the file is `file`, for `reading` at `path`.
pub(super) fn sources(
    column: Column,
    file: &DataType,
    path: &[String],
    reading: &Reading,
) -> Vec<Arc<dyn PhysicalExpr>> {
    let column: Arc<dyn PhysicalExpr> = Arc::new(column);
    let mut inside = Some(file);
    for name in path {
        inside = match inside {
            Some(DataType::Struct(fields)) => fields.find(name).map(|(_, field)| field.data_type()),
            _ => None,
        };
    }
    let paths = inside.map_or_else(|| vec![Vec::new()], |inside| reading.paths(inside));
    let sources = paths.iter().map(|below| source(&column, path.iter().chain(below)));
    sources.collect()
}

/// What stands for the field at `path` of `column` among the children of a [`RestructureExpr`].
fn source<'a>(column: &Arc<dyn PhysicalExpr>, path: impl Iterator<Item = &'a String>) -> Arc<dyn PhysicalExpr> {
    let mut args = vec![Arc::clone(column)];
    args.extend(path.map(|name| lit(name.as_str())));
    if args.len() == 1 {
        return Arc::clone(column);
    }
    let leaf = Arc::new(Field::new("leaf", DataType::Boolean, true));
    let config = Arc::new(ConfigOptions::default());
    Arc::new(ScalarFunctionExpr::new("get_field", get_field(), args, leaf, config))
}

impl fmt::Display for RestructureExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restructure({} AS {}", self.field.name(), self.field.data_type())?;
        for source in &self.sources {
            write!(f, ", {source}")?;
        }
        f.write_str(")")
    }
}

impl PhysicalExpr for RestructureExpr {
    fn data_type(&self, _input_schema: &Schema) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn nullable(&self, _input_schema: &Schema) -> Result<bool> {
        Ok(self.field.is_nullable())
    }

    fn return_field(&self, _input_schema: &Schema) -> Result<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let wrong = |detail: String| corrupt(&self.table, self.field.name(), detail);
        let column = self
            .column()
            .ok_or_else(|| wrong("nothing is read for it".to_owned()))?;
        let column = column.evaluate(batch)?.into_array(batch.num_rows())?;
        let array = self.restructure(column).map_err(|error| wrong(error.to_string()))?;
        Ok(ColumnarValue::Array(array))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.sources.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self {
            sources: children,
            ..self.as_ref().clone()
        }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The file's `array` as the table's.
fn apply(reading: &Reading, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match reading {
        Reading::Same => Arc::clone(array),
        Reading::Cast(cast) => cast.apply(array)?,
        Reading::Constant(value) => {
            let values = value.to_array_of_size(array.len())?;
            masked(&values, array.nulls())?
        }
        Reading::Struct(fields, children) => {
            let file = as_struct(array)?;
            let child = |wanted: &Child| match &wanted.file {
                Some(name) => apply(&wanted.reading, child(file, name)?),
                None => apply(&wanted.reading, array),
            };
            let columns = children.iter().map(child).collect::<Result<Vec<_>, _>>()?;
            let nulls = file.nulls().cloned();
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                nulls,
                file.len(),
            )?)
        }
        Reading::List(item, reading) => {
            let (offsets, values) = list(array)?;
            let values = apply(reading, &values)?;
            Arc::new(ListArray::try_new(
                Arc::clone(item),
                offsets,
                values,
                array.nulls().cloned(),
            )?)
        }
        Reading::Map(entries, sorted, readings) => {
            let file = array.as_map_opt().ok_or_else(|| unexpected(array, "map"))?;
            let [key, value] = readings.as_ref();
            let columns = vec![apply(key, file.keys())?, apply(value, file.values())?];
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(unexpected(array, "map of the table's kind"));
            };
            let rows = StructArray::try_new(fields.clone(), columns, None)?;
            let (offsets, nulls) = (file.offsets().clone(), file.nulls().cloned());
            Arc::new(MapArray::try_new(Arc::clone(entries), offsets, rows, nulls, *sorted)?)
        }
    })
}

/// Offsets and elements of any kind of list.
fn list(array: &ArrayRef) -> Result<(OffsetBuffer<i32>, ArrayRef), ArrowError> {
    if let Some(list) = array.as_list_opt::<i32>() {
        return Ok((list.offsets().clone(), Arc::clone(list.values())));
    }
    let too_long = |_| ArrowError::OffsetOverflowError(array.len());
    if let Some(list) = array.as_list_opt::<i64>() {
        let offsets = list.offsets().iter().map(|offset| i32::try_from(*offset));
        let offsets = offsets.collect::<Result<Vec<_>, _>>().map_err(too_long)?;
        return Ok((OffsetBuffer::new(offsets.into()), Arc::clone(list.values())));
    }
    let fixed: &FixedSizeListArray = array
        .as_fixed_size_list_opt()
        .ok_or_else(|| unexpected(array, "list"))?;
    let length = usize::try_from(fixed.value_length()).map_err(too_long)?;
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(length, fixed.len()));
    Ok((offsets, Arc::clone(fixed.values())))
}

/// `values`, NULL also where `parent` is.
fn masked(values: &ArrayRef, parent: Option<&NullBuffer>) -> Result<ArrayRef, ArrowError> {
    match parent {
        Some(nulls) if nulls.null_count() > 0 => nullif(values, &BooleanArray::new(!nulls.inner(), None)),
        _ => Ok(Arc::clone(values)),
    }
}

fn as_struct(array: &ArrayRef) -> Result<&StructArray, ArrowError> {
    array.as_struct_opt().ok_or_else(|| unexpected(array, "struct"))
}

/// A field of a struct, which may have been decoded without those that nobody wants.
fn child<'a>(parent: &'a StructArray, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("the field {name} was not read"));
    parent.column_by_name(name).ok_or_else(missing)
}

fn unexpected(array: &ArrayRef, wanted: &str) -> ArrowError {
    ArrowError::SchemaError(format!("a {wanted} was expected, not {}", array.data_type()))
}
