//! CREATE TABLE: columns, partitions, order and properties, in the words of Spark, Trino and the standard.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::write::alter::{NewPartitionField, SortKey};
use catalog::write::target::{SortField, Transform};
use catalog::write::{NewTable, TableFormat};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, Path};
use crate::error::{Error, Result};

/// The metadata key of a field that holds a column's description.
const COMMENT: &str = "comment";

/// A table that is to be created.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateTable {
    /// Its name as it was written.
    pub(crate) name: Path,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    /// Whether it goes with the session.
    pub(crate) temporary: bool,
    /// What is said of it beside its name and rows.
    pub(crate) definition: TableDefinition,
    /// The query behind AS.
    pub(crate) query: Option<Vec<TokenWithSpan>>,
}

/// What CREATE TABLE says of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TableDefinition {
    /// None where the query behind AS has them.
    pub(crate) columns: Vec<ColumnDefinition>,
    pub(crate) partition: Vec<NewPartitionField>,
    pub(crate) sort_order: Vec<SortKey>,
    pub(crate) properties: Vec<(String, String)>,
    pub(crate) comment: Option<String>,
    pub(crate) location: Option<String>,
    /// Behind USING.
    pub(crate) format: Option<TableFormat>,
}

/// A column with what is said of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ColumnDefinition {
    pub(crate) field: Field,
    pub(crate) comment: Option<String>,
    /// As text, to be read as the column's type.
    pub(crate) default: Option<ScalarValue>,
}

impl ColumnDefinition {
    /// `name type [NOT NULL] [DEFAULT constant] [COMMENT 'text']`. The name has been read.
    pub(super) fn parse(name: &str, cursor: &mut Cursor) -> Result<Self> {
        let mut column = Self {
            field: cursor.field(name, true)?,
            comment: None,
            default: None,
        };
        loop {
            if cursor.words("NOT NULL") {
                column.field = column.field.with_nullable(false);
            } else if cursor.words("COMMENT") {
                column.comment = Some(cursor.text()?);
            } else if cursor.words("DEFAULT") {
                let value = cursor.constant()?;
                column.default = value.map(|value| typed(&value, &column.field)).transpose()?;
            } else if !cursor.words("NULL") {
                return Ok(column);
            }
        }
    }

    /// The field, its description in its metadata.
    pub(super) fn described(&self) -> Field {
        let mut metadata = self.field.metadata().clone();
        metadata.extend(self.comment.iter().map(|comment| (COMMENT.to_owned(), comment.clone())));
        self.field.clone().with_metadata(metadata)
    }
}

/// The text of a constant as a value of the column's type.
pub(super) fn typed(value: &ScalarValue, column: &Field) -> Result<ScalarValue> {
    value.cast_to(column.data_type()).map_err(|_| {
        let (name, data_type) = (column.name(), column.data_type());
        Error::statement(format!("the default {value} of {name} is no {data_type}"))
    })
}

impl CreateTable {
    /// `CREATE [OR REPLACE] [[LOCAL] TEMPORARY] TABLE`; nothing where the statement is another.
    pub(super) fn parse(cursor: &mut Cursor) -> Result<Option<Self>> {
        let replaces = cursor.any(&[
            "CREATE OR REPLACE TEMPORARY TABLE",
            "CREATE OR REPLACE TEMP TABLE",
            "CREATE OR REPLACE LOCAL TEMPORARY TABLE",
            "CREATE OR REPLACE LOCAL TEMP TABLE",
        ]);
        let is_new = [
            "CREATE TEMPORARY TABLE",
            "CREATE TEMP TABLE",
            "CREATE LOCAL TEMPORARY TABLE",
            "CREATE LOCAL TEMP TABLE",
        ];
        if replaces || cursor.any(&is_new) {
            return Self::behind(cursor, replaces, true).map(Some);
        }
        let replaces = cursor.words("CREATE OR REPLACE TABLE");
        match replaces || cursor.words("CREATE TABLE") {
            true => Self::behind(cursor, replaces, false).map(Some),
            false => Ok(None),
        }
    }

    /// What stands behind TABLE.
    fn behind(cursor: &mut Cursor, or_replace: bool, temporary: bool) -> Result<Self> {
        let if_not_exists = cursor.words("IF NOT EXISTS");
        if or_replace && if_not_exists {
            return Err(Error::statement("CREATE takes OR REPLACE or IF NOT EXISTS, not both"));
        }
        let mut table = Self {
            name: cursor.path()?,
            or_replace,
            if_not_exists,
            temporary,
            definition: TableDefinition::default(),
            query: None,
        };
        if cursor.token(&Token::LParen) {
            table.definition.columns(cursor)?;
        }
        while !table.clause(cursor)? {}
        Ok(table)
    }

    /// One clause; true where the statement ends.
    fn clause(&mut self, cursor: &mut Cursor) -> Result<bool> {
        let definition = &mut self.definition;
        if cursor.words("USING") {
            definition.format = Some(match cursor.name()?.as_str() {
                "iceberg" => TableFormat::Iceberg,
                "delta" => TableFormat::Delta,
                other => {
                    return Err(Error::unsupported(
                        format!("USING {other}"),
                        ": write USING iceberg or delta",
                    ));
                }
            });
        } else if cursor.any(&["PARTITIONED BY", "PARTITION BY"]) {
            definition.partition = cursor.list(partition_field)?;
        } else if cursor.any(&["SORTED BY", "ORDER BY", "WRITE ORDERED BY"]) {
            definition.sort_order = cursor.list(sort_key)?;
        } else if cursor.any(&["TBLPROPERTIES", "OPTIONS", "WITH"]) {
            definition.properties.extend(cursor.list(property)?);
        } else if cursor.words("COMMENT") {
            definition.comment = Some(cursor.text()?);
        } else if cursor.words("LOCATION") {
            definition.location = Some(cursor.text()?);
        } else if self.temporary && cursor.words("ON COMMIT PRESERVE ROWS") {
            // What every temporary table does: no transaction could end it.
        } else if cursor.words("AS") {
            self.query = Some(cursor.rest());
            return Ok(true);
        } else {
            cursor.end()?;
            return Ok(true);
        }
        Ok(false)
    }
}

impl TableDefinition {
    fn columns(&mut self, cursor: &mut Cursor) -> Result<()> {
        loop {
            let name = cursor.name()?;
            self.columns.push(ColumnDefinition::parse(&name, cursor)?);
            if !cursor.token(&Token::Comma) {
                return cursor.expect_token(&Token::RParen);
            }
        }
    }

    /// The table of these columns, whose types are the query's where it has one.
    pub(crate) fn new_table(&self, schema: SchemaRef) -> Result<NewTable> {
        let position = |path: &Path| {
            let [name] = path.as_slice() else {
                let detail = format!(
                    "{} is nested: a table is partitioned and sorted by its own columns",
                    path.join(".")
                );
                return Err(Error::statement(detail));
            };
            schema
                .index_of(name)
                .map_err(|_| Error::statement(format!("the table has no column {name}")))
        };
        let mut new = NewTable::new(Arc::clone(&schema));
        for field in &self.partition {
            let partition = (position(&field.column)?, field.transform, field.name.clone());
            new.partition.push(partition);
        }
        for key in &self.sort_order {
            if key.transform != Transform::Identity {
                return Err(Error::statement("a new table is sorted by its columns as they are"));
            }
            new.sort_order.push(SortField {
                column: position(&key.column)?,
                descending: key.descending,
                nulls_first: key.nulls_first,
            });
        }
        new.properties.clone_from(&self.properties);
        if let Some(comment) = &self.comment {
            new.properties.push((COMMENT.to_owned(), comment.clone()));
        }
        let defaults = self.columns.iter().enumerate();
        let defaults = defaults.filter_map(|(index, column)| Some((index, column.default.clone()?)));
        new.defaults = defaults.collect::<BTreeMap<_, _>>();
        new.location.clone_from(&self.location);
        new.format = self.format;
        Ok(new)
    }

    /// The columns as they were written.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        for (index, column) in self.columns.iter().enumerate() {
            let mut before = self.columns.iter().take(index);
            if before.any(|other| other.field.name().eq_ignore_ascii_case(column.field.name())) {
                return Err(Error::statement(format!(
                    "the column {} is named twice",
                    column.field.name()
                )));
            }
        }
        let fields = self.columns.iter().map(ColumnDefinition::described);
        Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
    }
}

/// `key = value`; the key in quotes, or a name with dots.
pub(super) fn property(cursor: &mut Cursor) -> Result<(String, String)> {
    let key = property_key(cursor)?;
    cursor.token(&Token::Eq);
    let value = match cursor.constant()? {
        Some(ScalarValue::Utf8(Some(value))) => value,
        _ => return Err(cursor.wanted("the value of a property")),
    };
    // Trino writes these with an underscore.
    let key = match key.as_str() {
        "format_version" => "format-version".to_owned(),
        _ => key,
    };
    Ok((key, value))
}

pub(super) fn property_key(cursor: &mut Cursor) -> Result<String> {
    match cursor.text() {
        Ok(key) => Ok(key),
        Err(_) => Ok(cursor.path()?.join(".")),
    }
}

/// `column`, `bucket(8, column)`, `day(column)` and so on, and a name behind AS.
pub(super) fn partition_field(cursor: &mut Cursor) -> Result<NewPartitionField> {
    let (column, transform) = transformed(cursor)?;
    let name = match cursor.words("AS") {
        true => Some(cursor.name()?),
        false => None,
    };
    Ok(NewPartitionField {
        column,
        transform,
        name,
    })
}

/// A column, and what becomes of its values.
pub(super) fn transformed(cursor: &mut Cursor) -> Result<(Path, Transform)> {
    let path = cursor.path()?;
    let [function] = path.as_slice() else {
        return Ok((path, Transform::Identity));
    };
    if !cursor.token(&Token::LParen) {
        return Ok((path, Transform::Identity));
    }
    let before: Option<u32> = cursor.number().ok();
    if before.is_some() {
        cursor.expect_token(&Token::Comma)?;
    }
    let column = cursor.path()?;
    let width = match before {
        None if cursor.token(&Token::Comma) => Some(cursor.number()?),
        before => before,
    };
    cursor.expect_token(&Token::RParen)?;
    let transform = match (function.as_str(), width) {
        ("bucket", Some(buckets)) if buckets > 0 => Transform::Bucket(buckets),
        ("truncate", Some(width)) if width > 0 => Transform::Truncate(width),
        ("identity", None) => Transform::Identity,
        ("year" | "years", None) => Transform::Year,
        ("month" | "months", None) => Transform::Month,
        ("day" | "days" | "date", None) => Transform::Day,
        ("hour" | "hours" | "date_hour", None) => Transform::Hour,
        _ => {
            return Err(Error::Statement {
                detail: format!("there is no partition transform {function} of these arguments"),
                hint: Some("write bucket(n, c), truncate(n, c), year(c), month(c), day(c), hour(c) or c".to_owned()),
            });
        }
    };
    Ok((column, transform))
}

/// `column [ASC | DESC] [NULLS FIRST | NULLS LAST]`. NULLs are first where the order ascends, last where it descends.
pub(super) fn sort_key(cursor: &mut Cursor) -> Result<SortKey> {
    let (column, transform) = transformed(cursor)?;
    let descending = cursor.words("DESC");
    if !descending {
        cursor.words("ASC");
    }
    let nulls_first = match cursor.words("NULLS") {
        true if cursor.words("FIRST") => true,
        true => {
            cursor.expect("LAST")?;
            false
        }
        false => !descending,
    };
    Ok(SortKey {
        column,
        transform,
        descending,
        nulls_first,
    })
}
