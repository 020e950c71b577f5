//! ALTER TABLE, in the words of Spark, Trino and the standard.

use std::sync::Arc;

use catalog::write::alter::{Alteration, Existing, NewPartitionField, PartitionFieldRef, Position};
use catalog::write::target::Transform;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::create::{ColumnDefinition, partition_field, property, property_key, sort_key, transformed};
use super::cursor::{Cursor, Path};
use crate::error::{Error, Result};

/// What ALTER TABLE does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// Changes of the table itself, in one commit.
    Alter(Vec<Alteration>),
    /// A value of a column's type, which only the table tells: the column and the text, or none.
    Default(Path, Option<datafusion::common::ScalarValue>),
    /// Another name, as it was written.
    Rename(Path),
}

/// What stands behind ALTER TABLE and the table's name.
pub(super) fn parse(cursor: &mut Cursor) -> Result<Change> {
    if cursor.words("RENAME TO") {
        return Ok(Change::Rename(cursor.path()?));
    }
    if cursor.any(&["ALTER", "CHANGE"]) {
        cursor.words("COLUMN");
        return alter_column(cursor);
    }
    let mut changes = Vec::new();
    if cursor.words("ADD PARTITION FIELD") {
        changes.push(Alteration::AddPartitionField {
            field: partition_field(cursor)?,
        });
    } else if cursor.words("DROP PARTITION FIELD") {
        let field = partition_ref(transformed(cursor)?);
        changes.push(Alteration::DropPartitionField { field });
    } else if cursor.words("REPLACE PARTITION FIELD") {
        let old = partition_ref(transformed(cursor)?);
        cursor.expect("WITH")?;
        let new: NewPartitionField = partition_field(cursor)?;
        changes.push(Alteration::ReplacePartitionField { old, new });
    } else if cursor.words("ADD CONSTRAINT") {
        let name = cursor.name()?;
        cursor.expect("CHECK")?;
        let expression = cursor.expression()?;
        changes.push(Alteration::AddConstraint { name, expression });
    } else if cursor.words("DROP CONSTRAINT") {
        let if_exists = cursor.words("IF EXISTS");
        let name = cursor.name()?;
        changes.push(Alteration::DropConstraint { name, if_exists });
    } else if let Some(change) = reference(cursor)? {
        changes.push(change);
    } else if cursor.words("ADD") {
        changes = add_columns(cursor)?;
    } else if cursor.words("DROP") {
        changes = drop_columns(cursor)?;
    } else if cursor.words("RENAME COLUMN") {
        let column = cursor.path()?;
        cursor.expect("TO")?;
        let to = cursor.name()?;
        changes.push(Alteration::RenameColumn { column, to });
    } else if cursor.any(&["SET TBLPROPERTIES", "SET PROPERTIES"]) {
        let properties = cursor.list(property)?;
        changes.push(Alteration::SetProperties { properties });
    } else if cursor.words("UNSET TBLPROPERTIES") {
        let if_exists = cursor.words("IF EXISTS");
        let keys = cursor.list(property_key)?;
        changes.push(Alteration::UnsetProperties { keys, if_exists });
    } else if cursor.words("SET LOCATION") {
        let location = cursor.text()?;
        changes.push(Alteration::SetLocation { location });
    } else if cursor.any(&["WRITE ORDERED BY", "WRITE LOCALLY ORDERED BY"]) {
        let mut keys = vec![sort_key(cursor)?];
        while cursor.token(&Token::Comma) {
            keys.push(sort_key(cursor)?);
        }
        changes.push(Alteration::SetSortOrder { keys });
    } else if cursor.words("WRITE UNORDERED") {
        changes.push(Alteration::SetSortOrder { keys: Vec::new() });
    } else {
        return Err(cursor.wanted("ADD, DROP, RENAME, ALTER COLUMN, SET, UNSET, WRITE, CREATE BRANCH or FAST FORWARD"));
    }
    Ok(Change::Alter(changes))
}

fn partition_ref((column, transform): (Path, Transform)) -> PartitionFieldRef {
    match (column.as_slice(), transform) {
        ([name], Transform::Identity) => PartitionFieldRef::Name(name.clone()),
        _ => PartitionFieldRef::Source(column, transform),
    }
}

/// What stands behind ALTER SCHEMA and its name: a change of a branch of its tables.
pub(super) fn of_branch(cursor: &mut Cursor) -> Result<Alteration> {
    match reference(cursor)? {
        Some(change @ (Alteration::FastForward { .. } | Alteration::DropRef { branch: true, .. })) => Ok(change),
        _ => Err(cursor.wanted("FAST FORWARD main TO branch, or DROP BRANCH branch")),
    }
}

/// Changes of branches and tags.
fn reference(cursor: &mut Cursor) -> Result<Option<Alteration>> {
    if cursor.any(&["FAST FORWARD BRANCH", "FAST FORWARD"]) {
        let branch = cursor.name()?;
        cursor.expect("TO")?;
        let to = cursor.name()?;
        return Ok(Some(Alteration::FastForward { branch, to }));
    }
    for (kind, branch) in [("BRANCH", true), ("TAG", false)] {
        let or_replace = cursor.words(&format!("CREATE OR REPLACE {kind}"));
        if or_replace || cursor.words(&format!("CREATE {kind}")) {
            let existing = match (or_replace, cursor.words("IF NOT EXISTS")) {
                (true, false) => Existing::Replace,
                (false, true) => Existing::Keep,
                (false, false) => Existing::Refuse,
                (true, true) => return Err(Error::statement("CREATE takes OR REPLACE or IF NOT EXISTS, not both")),
            };
            let name = cursor.name()?;
            let version = match cursor.words("AS OF VERSION") {
                true => Some(cursor.number()?),
                false => None,
            };
            return Ok(Some(Alteration::CreateRef {
                name,
                branch,
                version,
                existing,
            }));
        }
        if cursor.words(&format!("DROP {kind}")) {
            let if_exists = cursor.words("IF EXISTS");
            let name = cursor.name()?;
            return Ok(Some(Alteration::DropRef {
                name,
                branch,
                if_exists,
            }));
        }
    }
    Ok(None)
}

/// `[COLUMN] [IF NOT EXISTS] path type ...`, or several in brackets.
fn add_columns(cursor: &mut Cursor) -> Result<Vec<Alteration>> {
    cursor.any(&["COLUMNS", "COLUMN"]);
    let if_not_exists = cursor.words("IF NOT EXISTS");
    if cursor.token(&Token::LParen) {
        let mut added = Vec::new();
        loop {
            added.push(add_column(cursor, if_not_exists)?);
            if !cursor.token(&Token::Comma) {
                cursor.expect_token(&Token::RParen)?;
                return Ok(added);
            }
        }
    }
    let mut added = vec![add_column(cursor, if_not_exists)?];
    while cursor.token(&Token::Comma) {
        cursor.any(&["ADD COLUMN", "ADD"]);
        added.push(add_column(cursor, if_not_exists)?);
    }
    Ok(added)
}

fn add_column(cursor: &mut Cursor, if_not_exists: bool) -> Result<Alteration> {
    let mut parent = cursor.path()?;
    let name = parent.pop().unwrap_or_default();
    let column = ColumnDefinition::parse(&name, cursor)?;
    Ok(Alteration::AddColumn {
        parent,
        field: Arc::new(column.field),
        comment: column.comment,
        default: column.default,
        position: position(cursor)?.unwrap_or(Position::Last),
        if_not_exists,
    })
}

fn position(cursor: &mut Cursor) -> Result<Option<Position>> {
    if cursor.words("FIRST") {
        return Ok(Some(Position::First));
    }
    match cursor.words("AFTER") {
        // Of a nested neighbour the last name is enough.
        true => Ok(cursor.path()?.pop().map(Position::After)),
        false => Ok(None),
    }
}

fn drop_columns(cursor: &mut Cursor) -> Result<Vec<Alteration>> {
    cursor.any(&["COLUMNS", "COLUMN"]);
    let if_exists = cursor.words("IF EXISTS");
    let drop = |column| Alteration::DropColumn { column, if_exists };
    if cursor.token(&Token::LParen) {
        let mut dropped = vec![drop(cursor.path()?)];
        while cursor.token(&Token::Comma) {
            dropped.push(drop(cursor.path()?));
        }
        cursor.expect_token(&Token::RParen)?;
        return Ok(dropped);
    }
    Ok(vec![drop(cursor.path()?)])
}

fn alter_column(cursor: &mut Cursor) -> Result<Change> {
    let column = cursor.path()?;
    let change = if cursor.any(&["SET DATA TYPE", "TYPE"]) {
        let to = cursor.field("type", true)?.data_type().clone();
        Alteration::WidenColumn { column, to }
    } else if cursor.words("SET NOT NULL") {
        Alteration::SetNullable {
            column,
            nullable: false,
        }
    } else if cursor.words("DROP NOT NULL") {
        Alteration::SetNullable { column, nullable: true }
    } else if cursor.words("SET DEFAULT") {
        return Ok(Change::Default(column, cursor.constant()?));
    } else if cursor.words("DROP DEFAULT") {
        return Ok(Change::Default(column, None));
    } else if cursor.words("COMMENT") {
        Alteration::CommentColumn {
            column,
            comment: cursor.text_or_null()?,
        }
    } else if let Some(position) = position(cursor)? {
        Alteration::MoveColumn { column, position }
    } else {
        return Err(cursor.wanted("TYPE, SET, DROP NOT NULL, DROP DEFAULT, COMMENT, FIRST or AFTER"));
    };
    Ok(Change::Alter(vec![change]))
}
