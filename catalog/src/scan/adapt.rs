//! A data file's columns to the table's columns: by name for Delta, by field id for Iceberg, all the way down.
//!
//! A column whose type is the table's stays a plain column, one that was promoted becomes a cast, one that the file does
//! not have becomes a literal: file statistics, page indexes, bloom filters and row filters see through all three.
//! Everything else is a [`RestructureExpr`], and so is a floating point number that is compared. A column that cannot be read right is refused when a query asks for it.
//! Source: the Iceberg table specification, "Schema Evolution", "Column Projection" and "Default values"; the Delta
//! protocol, "Column Mapping" and "Type Widening".

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::functions::core::get_field;
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::physical_expr::expressions::{CastExpr, Column, IsNotNullExpr, IsNullExpr, Literal, lit};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};
use proto::ColumnMatch;

mod leaf;
mod matching;
mod reading;
mod restructure;

pub(crate) use matching::field_id;
use matching::{MappedField, Matching, has_ids, has_only_a_name, is_virtual, parse_name_mapping};
use reading::{Planner, Reading};
use restructure::{RestructureExpr, sources};

use crate::error::Error;
use crate::scan::row_metadata::is_position;
use crate::snapshot::ColumnMapping;

/// Makes one adapter per data file.
#[derive(Debug)]
pub(crate) struct LakeExprAdapterFactory {
    table: Arc<str>,
    columns: Arc<ColumnMapping>,
    /// The name mapping, or what is wrong with it.
    name_mapping: Option<Result<Arc<[MappedField]>, String>>,
}

impl LakeExprAdapterFactory {
    /// `table` is the table's name, for messages.
    pub(crate) fn new(table: &str, columns: Arc<ColumnMapping>) -> Self {
        let mapping = columns.name_mapping.as_deref().map(parse_name_mapping);
        Self {
            table: table.into(),
            columns,
            name_mapping: mapping.map(|mapping| mapping.map(Arc::from)),
        }
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn columns(&self) -> &Arc<ColumnMapping> {
        &self.columns
    }

    fn finder(&self, file: &Fields) -> Result<Finder, Error> {
        match self.columns.column_match {
            ColumnMatch::Name => Ok(Finder::Names),
            ColumnMatch::FieldId if has_ids(file) => self.positions(file).map(Finder::Ids),
            ColumnMatch::FieldId => match &self.name_mapping {
                None => Ok(Finder::Positions),
                Some(Ok(mapping)) => Ok(Finder::Mapped(Arc::clone(mapping))),
                Some(Err(detail)) => Err(Error::Corrupt {
                    table: self.table.to_string(),
                    file: "the property schema.name-mapping.default".to_owned(),
                    detail: detail.clone(),
                }),
            },
            ColumnMatch::Unspecified => Err(Error::Unsupported {
                table: self.table.to_string(),
                feature: "an unknown way to match columns".to_owned(),
            }),
        }
    }

    /// Where the file has the column of each id.
    fn positions(&self, file: &Fields) -> Result<HashMap<i32, usize>, Error> {
        let mut positions = HashMap::with_capacity(file.len());
        for (at, field) in file.iter().enumerate() {
            if let Some(id) = field_id(field)
                && positions.insert(id, at).is_some()
            {
                let detail = format!("another column has its field id {id} too");
                return Err(reading::corrupt(&self.table, field.name(), detail));
            }
        }
        Ok(positions)
    }
}

impl PhysicalExprAdapterFactory for LakeExprAdapterFactory {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        Ok(Arc::new(LakeExprAdapter {
            name: Arc::clone(&self.table),
            columns: Arc::clone(&self.columns),
            finder: self.finder(file.fields())?,
            table,
            file,
        }))
    }
}

/// How the top-level columns of one file are found.
#[derive(Debug)]
enum Finder {
    /// By their own field ids, each at a position.
    Ids(HashMap<i32, usize>),
    Mapped(Arc<[MappedField]>),
    Positions,
    Names,
}

/// Turns expressions over the table's columns into expressions over one file's.
#[derive(Debug)]
struct LakeExprAdapter {
    name: Arc<str>,
    columns: Arc<ColumnMapping>,
    finder: Finder,
    table: SchemaRef,
    file: SchemaRef,
}

/// What a file has for one of the table's columns.
enum Found {
    /// The column at this position, and what has to be done to it.
    At(usize, Reading),
    /// Nothing: every row has this value.
    Value(ScalarValue),
}

impl PhysicalExprAdapter for LakeExprAdapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.column(column);
        }
        // What replaces a node is over the file's columns: it is not entered again.
        let rewritten = expr.transform_down(|expr| {
            if let Some(column) = asked_for_null(&expr) {
                let column = self.column(column)?;
                let asked = Arc::clone(&expr).with_new_children(vec![column])?;
                return Ok(Transformed::new(asked, true, TreeNodeRecursion::Jump));
            }
            if let Some(access) = Access::of(&expr)
                && let Some(field) = self.access(&access)?
            {
                return Ok(Transformed::new(field, true, TreeNodeRecursion::Jump));
            }
            match expr.downcast_ref::<Column>() {
                Some(column) => Ok(Transformed::new(self.compared(column)?, true, TreeNodeRecursion::Jump)),
                None => Ok(Transformed::no(expr)),
            }
        });
        rewritten.data()
    }
}

impl LakeExprAdapter {
    /// The table's column.
    fn column(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let field = self.field(column)?;
        Ok(match self.find(field)? {
            Found::Value(value) | Found::At(_, Reading::Constant(value)) => literal(value, field),
            Found::At(at, reading) => {
                let column = self.file_column(at);
                match reading {
                    Reading::Same => Arc::new(column),
                    Reading::Cast(cast) if cast.prunable => Arc::new(CastExpr::new_with_target_field(
                        Arc::new(column),
                        Arc::clone(field),
                        None,
                    )),
                    other => self.restructure(column, Vec::new(), other, field),
                }
            }
        })
    }

    /// The table's column inside a larger expression. File statistics leave NaN out, which compares beyond every number:
    /// what hides the column of a floating point type from them keeps its rows.
    fn compared(&self, column: &Column) -> Result<Arc<dyn PhysicalExpr>> {
        let field = self.field(column)?;
        if !field.data_type().is_floating() {
            return self.column(column);
        }
        Ok(match self.find(field)? {
            Found::Value(value) | Found::At(_, Reading::Constant(value)) => literal(value, field),
            Found::At(at, reading) => self.restructure(self.file_column(at), Vec::new(), reading, field),
        })
    }

    /// A field inside a struct, so that only what it needs is read of the file; `None` where the whole column is
    /// needed.
    fn access(&self, access: &Access<'_>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
        let field = self.field(access.column)?;
        let (at, mut reading) = match self.find(field)? {
            Found::At(at, reading) => (at, reading),
            Found::Value(value) if value.is_null() => return Ok(Some(access.null()?)),
            Found::Value(_) => return Ok(None),
        };
        let (mut field, mut path, mut keys) = (Arc::clone(field), Vec::new(), access.keys.as_slice());
        while let ([key, rest @ ..], DataType::Struct(fields)) = (keys, field.data_type())
            && let Some((index, inner)) = fields.find(key)
        {
            reading = match reading {
                Reading::Same => {
                    path.push(inner.name().clone());
                    Reading::Same
                }
                Reading::Struct(_, mut children) if index < children.len() => {
                    let child = children.swap_remove(index);
                    path.extend(child.file);
                    child.reading
                }
                Reading::Constant(value) if value.is_null() => return Ok(Some(access.null()?)),
                _ => return Ok(None),
            };
            // A NULL struct has NULL fields.
            let inner = Arc::new(inner.as_ref().clone().with_nullable(true));
            (field, keys) = (inner, rest);
        }
        if keys.len() == access.keys.len() {
            return Ok(None);
        }
        let column = self.file_column(at);
        let restructured = match reading {
            Reading::Constant(value) if value.is_null() => return Ok(Some(access.null()?)),
            // Keys of a map come after.
            reading if !keys.is_empty() => self.restructure(column, path, reading, &field),
            Reading::Same if !field.data_type().is_floating() => {
                return self.get_field(Arc::new(column), &path).map(Some);
            }
            Reading::Cast(cast) if cast.prunable && !field.data_type().is_floating() => {
                let inner = self.get_field(Arc::new(column), &path)?;
                return Ok(Some(Arc::new(CastExpr::new_with_target_field(inner, field, None))));
            }
            reading => return Ok(Some(self.restructure(column, path, reading, &field))),
        };
        self.get_field(restructured, keys).map(Some)
    }

    fn field(&self, column: &Column) -> Result<&FieldRef> {
        let at = self.table.index_of(column.name())?;
        Ok(&self.table.fields()[at])
    }

    fn find(&self, field: &Field) -> Result<Found, Error> {
        let (planner, path) = (self.planner(), field.name());
        let files = self.file.fields();
        if is_virtual(field) {
            let made_up = files.iter().rposition(|file| file.as_ref() == field);
            let at = made_up.ok_or_else(|| planner.corrupt(path, "the reader does not make it up"))?;
            return Ok(Found::At(at, Reading::Same));
        }
        if is_position(field) {
            let made_up = files.iter().rposition(|file| is_virtual(file));
            let at = made_up.ok_or_else(|| planner.corrupt(path, "the reader does not count rows"))?;
            return Ok(Found::At(at, Reading::Same));
        }
        if has_only_a_name(field) {
            return Ok(
                match Matching::Name
                    .find(field, files)
                    .map_err(|detail| planner.corrupt(path, detail))?
                {
                    Some((at, matching)) => Found::At(at, planner.read(field, &files[at], matching, path)?),
                    None => Found::Value(planner.missing(field, path)?),
                },
            );
        }
        let found = match &self.finder {
            Finder::Ids(positions) => {
                let id = field_id(field).ok_or_else(|| planner.corrupt(path, "the table gives it no field id"))?;
                Ok(positions.get(&id).map(|at| (*at, Matching::Id)))
            }
            Finder::Mapped(mapping) => Matching::Mapped(mapping).find(field, files),
            Finder::Positions => Matching::Position.find(field, files),
            Finder::Names => Matching::Name.find(field, files),
        };
        match found.map_err(|detail| planner.corrupt(path, detail))? {
            Some((at, matching)) => Ok(Found::At(at, planner.read(field, &files[at], matching, path)?)),
            None => Ok(Found::Value(planner.missing(field, path)?)),
        }
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            table: &self.name,
            columns: &self.columns,
        }
    }

    fn file_column(&self, at: usize) -> Column {
        Column::new(self.file.field(at).name(), at)
    }

    fn restructure(
        &self,
        column: Column,
        path: Vec<String>,
        reading: Reading,
        field: &FieldRef,
    ) -> Arc<dyn PhysicalExpr> {
        let file = self.file.field(column.index()).data_type();
        Arc::new(RestructureExpr {
            sources: sources(column, file, &path, &reading),
            path,
            reading,
            field: Arc::clone(field),
            table: Arc::clone(&self.name),
        })
    }

    fn get_field(&self, inside: Arc<dyn PhysicalExpr>, path: &[impl AsRef<str>]) -> Result<Arc<dyn PhysicalExpr>> {
        let mut args = vec![inside];
        args.extend(path.iter().map(|name| lit(name.as_ref())));
        let config = Arc::new(ConfigOptions::default());
        Ok(Arc::new(ScalarFunctionExpr::try_new(
            get_field(),
            args,
            &self.file,
            config,
        )?))
    }
}

/// The column of which `expr` asks whether it is NULL.
fn asked_for_null(expr: &Arc<dyn PhysicalExpr>) -> Option<&Column> {
    let null = expr.downcast_ref::<IsNullExpr>().map(IsNullExpr::arg);
    let asked = null.or_else(|| expr.downcast_ref::<IsNotNullExpr>().map(IsNotNullExpr::arg));
    asked?.downcast_ref::<Column>()
}

/// `get_field(column, 'key', ..)`, however deeply nested in itself.
struct Access<'a> {
    column: &'a Column,
    keys: Vec<&'a str>,
    data_type: &'a DataType,
}

impl<'a> Access<'a> {
    /// `expr` where it is one.
    fn of(expr: &'a Arc<dyn PhysicalExpr>) -> Option<Self> {
        let get_field = ScalarFunctionExpr::try_downcast_func::<GetFieldFunc>(expr.as_ref())?;
        let (inside, names) = get_field.args().split_first()?;
        let (column, mut keys) = match inside.downcast_ref::<Column>() {
            Some(column) => (column, Vec::new()),
            None => Self::of(inside).map(|inner| (inner.column, inner.keys))?,
        };
        for name in names {
            keys.push(name.downcast_ref::<Literal>()?.value().try_as_str().flatten()?);
        }
        let data_type = get_field.return_type();
        Some(Self {
            column,
            keys,
            data_type,
        })
    }

    fn null(&self) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(lit(ScalarValue::try_new_null(self.data_type)?))
    }
}

/// The same value in every row of the table's column.
fn literal(value: ScalarValue, field: &Field) -> Arc<dyn PhysicalExpr> {
    let metadata = (!field.metadata().is_empty()).then(|| FieldMetadata::from(field));
    Arc::new(Literal::new_with_metadata(value, metadata))
}

#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod matching_tests;
#[cfg(test)]
mod tests;
