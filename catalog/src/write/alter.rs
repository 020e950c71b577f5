//! What ALTER TABLE and COMMENT ON ask of a table, in the terms of neither format.

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;

use super::target::Transform;

/// A column, or a field nested in one: the names from the outside in. The parts of lists and maps are called
/// `element`, `key` and `value`.
pub type ColumnPath = Vec<String>;

/// One change of a table that leaves its rows alone. Columns keep their identity: what was written under a column's old
/// name or place is read under the new one.
#[derive(Debug, Clone, PartialEq)]
pub enum Alteration {
    /// A new column, NULL or its default in the rows that exist.
    AddColumn {
        /// Where it is nested; empty for a column of the table.
        parent: ColumnPath,
        /// Its name, type and nullability. A column that is NOT NULL needs a default.
        field: FieldRef,
        /// Its description.
        comment: Option<String>,
        /// Its value in rows that have none.
        default: Option<ScalarValue>,
        /// Its place among its neighbours.
        position: Position,
        /// No error where a column of the name exists; nothing happens then.
        if_not_exists: bool,
    },
    /// The column and its values go; the files keep them, unread.
    DropColumn {
        /// The column.
        column: ColumnPath,
        /// No error where there is no such column.
        if_exists: bool,
    },
    /// Another name for a column.
    RenameColumn {
        /// The column.
        column: ColumnPath,
        /// Its new name.
        to: String,
    },
    /// Another place among its neighbours.
    MoveColumn {
        /// The column.
        column: ColumnPath,
        /// The place.
        position: Position,
    },
    /// A type that holds every value of the old one.
    WidenColumn {
        /// The column.
        column: ColumnPath,
        /// The new type.
        to: DataType,
    },
    /// Rows need a value (`false`), or may go without (`true`).
    SetNullable {
        /// The column.
        column: ColumnPath,
        /// Whether NULL is allowed.
        nullable: bool,
    },
    /// The value of new rows that give none; `None` takes it away.
    SetDefault {
        /// The column.
        column: ColumnPath,
        /// The value.
        value: Option<ScalarValue>,
    },
    /// A description; `None` takes it away.
    CommentColumn {
        /// The column.
        column: ColumnPath,
        /// The text.
        comment: Option<String>,
    },
    /// The table's description; `None` takes it away.
    CommentTable {
        /// The text.
        comment: Option<String>,
    },
    /// Properties in the format's own vocabulary.
    SetProperties {
        /// Keys and values.
        properties: Vec<(String, String)>,
    },
    /// Properties that go.
    UnsetProperties {
        /// Their keys.
        keys: Vec<String>,
        /// No error where one of them is not set.
        if_exists: bool,
    },
    /// New files are divided by one more field.
    AddPartitionField {
        /// The field.
        field: NewPartitionField,
    },
    /// New files are no longer divided by a field.
    DropPartitionField {
        /// The field, by its name or by what it is made of.
        field: PartitionFieldRef,
    },
    /// One field takes the place of another.
    ReplacePartitionField {
        /// The field that goes.
        old: PartitionFieldRef,
        /// The field that comes.
        new: NewPartitionField,
    },
    /// The order of rows in new files; empty for none.
    SetSortOrder {
        /// Its keys, most significant first.
        keys: Vec<SortKey>,
    },
    /// Where new files go.
    SetLocation {
        /// The folder's URL.
        location: String,
    },
    /// A branch or tag at a version.
    CreateRef {
        /// Its name.
        name: String,
        /// True for a branch, false for a tag.
        branch: bool,
        /// The version; the newest where it is not told.
        version: Option<i64>,
        /// What happens where one of that name exists.
        existing: Existing,
    },
    /// A branch or tag goes.
    DropRef {
        /// Its name.
        name: String,
        /// True for a branch, false for a tag.
        branch: bool,
        /// No error where there is none.
        if_exists: bool,
    },
    /// A branch moves forward to the head of another, which descends from it.
    FastForward {
        /// The branch that moves.
        branch: String,
        /// The branch that it reaches.
        to: String,
    },
    /// A condition that every row fulfils from now on.
    AddConstraint {
        /// Its name.
        name: String,
        /// SQL over the table's columns.
        expression: String,
    },
    /// A condition goes.
    DropConstraint {
        /// Its name.
        name: String,
        /// No error where there is none.
        if_exists: bool,
    },
}

/// A place among the columns of a table or the fields of a struct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// Behind all others.
    Last,
    /// Before all others.
    First,
    /// Behind the neighbour of that name.
    After(String),
}

/// What CREATE does where something of the name exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// An error.
    Refuse,
    /// Nothing.
    Keep,
    /// The new one takes its place.
    Replace,
}

/// A partition field that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartitionField {
    /// The source column.
    pub column: ColumnPath,
    /// What becomes of its values.
    pub transform: Transform,
    /// The field's name; the format's own where it is not told.
    pub name: Option<String>,
}

/// A partition field that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionFieldRef {
    /// By name; the name of a column means its identity.
    Name(String),
    /// By its source column and transform.
    Source(ColumnPath, Transform),
}

/// One key of a sort order, by the column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The column.
    pub column: ColumnPath,
    /// What becomes of its values.
    pub transform: Transform,
    /// From the greatest to the least.
    pub descending: bool,
    /// Where NULLs stand.
    pub nulls_first: bool,
}

impl Alteration {
    /// What it does, for messages: `a feature that a table needs`.
    pub fn feature(&self) -> &'static str {
        match self {
            Self::AddColumn { .. } => "ADD COLUMN",
            Self::DropColumn { .. } => "DROP COLUMN",
            Self::RenameColumn { .. } => "RENAME COLUMN",
            Self::MoveColumn { .. } => "ALTER COLUMN ... FIRST or AFTER",
            Self::WidenColumn { .. } => "ALTER COLUMN ... TYPE",
            Self::SetNullable { nullable: true, .. } => "ALTER COLUMN ... DROP NOT NULL",
            Self::SetNullable { .. } => "ALTER COLUMN ... SET NOT NULL",
            Self::SetDefault { .. } => "ALTER COLUMN ... DEFAULT",
            Self::CommentColumn { .. } | Self::CommentTable { .. } => "COMMENT",
            Self::SetProperties { .. } => "SET TBLPROPERTIES",
            Self::UnsetProperties { .. } => "UNSET TBLPROPERTIES",
            Self::AddPartitionField { .. } => "ADD PARTITION FIELD",
            Self::DropPartitionField { .. } => "DROP PARTITION FIELD",
            Self::ReplacePartitionField { .. } => "REPLACE PARTITION FIELD",
            Self::SetSortOrder { .. } => "WRITE ORDERED BY",
            Self::SetLocation { .. } => "SET LOCATION",
            Self::CreateRef { .. } => "CREATE BRANCH or TAG",
            Self::DropRef { .. } => "DROP BRANCH or TAG",
            Self::FastForward { .. } => "FAST FORWARD",
            Self::AddConstraint { .. } => "ADD CONSTRAINT",
            Self::DropConstraint { .. } => "DROP CONSTRAINT",
        }
    }
}
