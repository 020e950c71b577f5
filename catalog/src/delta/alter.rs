//! ALTER TABLE of a Delta table: another `metaData` action, and the protocol that it needs.
//!
//! Files stay as they are: what would have to change them is refused by its name. Columns are renamed and dropped under
//! column mapping alone, where files know them by names of their own.

mod columns;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::common::ScalarValue;
use serde_json::{Map, Value, json};

use self::columns::Columns;
use super::commit::actions::Draft;
use super::commit::conflict::Stake;
use super::commit::create::{COMMENT, DEFAULT, MAX_COLUMN_ID};
use super::commit::{protocol, publish};
use super::read::DeltaSnapshot;
use crate::error::{Error, Result};
use crate::snapshot::FileRequest;
use crate::write::alter::Alteration;
use crate::write::change::{Operation, Reads};

/// The property that says by what files know their columns.
const MAPPING: &str = "delta.columnMapping.mode";
const CONSTRAINT: &str = "delta.constraints.";
/// Properties that bind files and rows that exist: a new table has them from its first version on.
const FROM_THE_START: [&str; 3] = [
    "delta.enableInCommitTimestamps",
    "delta.enableRowTracking",
    MAX_COLUMN_ID,
];

/// A table's metadata while it is altered.
#[derive(Debug)]
struct Altered<'a> {
    base: &'a Arc<DeltaSnapshot>,
    columns: Columns,
    properties: BTreeMap<String, String>,
    description: Option<String>,
    /// Columns of the table that become NOT NULL.
    tightened: Vec<String>,
}

/// Alters the table as one commit. [`Error::Conflict`] where another writer altered it meanwhile.
pub(crate) async fn alter(base: &Arc<DeltaSnapshot>, alterations: &[Alteration]) -> Result<()> {
    base.check_protocol()?;
    let configuration = base.version.kernel.table_configuration();
    let metadata =
        serde_json::to_value(configuration.metadata()).map_err(|error| base.log.corrupt(error.to_string()))?;
    let properties: BTreeMap<String, String> = base
        .version
        .kernel
        .metadata_configuration()
        .clone()
        .into_iter()
        .collect();
    let mapped = properties.get(MAPPING).is_some_and(|mode| mode != "none");
    let last_id = properties.get(MAX_COLUMN_ID).and_then(|id| id.parse().ok());
    let mut altered = Altered {
        base,
        columns: Columns::new(
            base.schema_json()?,
            configuration.metadata().partition_columns().to_vec(),
            mapped.then_some(last_id.unwrap_or(0)),
        ),
        properties,
        description: configuration.metadata().description().map(str::to_owned),
        tightened: Vec::new(),
    };
    for alteration in alterations {
        altered.apply(alteration)?;
    }
    for column in &altered.tightened {
        has_no_null(base, column).await?;
    }
    let Some(draft) = altered.draft(metadata, alterations)? else {
        return Ok(());
    };
    let reads = match altered.tightened.is_empty() {
        true => Reads::Nothing,
        false => Reads::Rows(None),
    };
    let stake = Stake {
        operation: Operation::Update,
        reads: &reads,
        touched: HashSet::new(),
    };
    publish(base, &draft, &stake).await.map(|_| ())
}

impl Altered<'_> {
    fn apply(&mut self, alteration: &Alteration) -> Result<()> {
        let unsupported = |feature: String| self.base.log.unsupported(feature);
        match alteration {
            Alteration::AddColumn { default: Some(_), .. } => Err(unsupported(
                "a default for rows that exist, which Delta tables have not,".to_owned(),
            )),
            Alteration::AddColumn {
                parent,
                field,
                comment,
                position,
                if_not_exists,
                ..
            } => self
                .columns
                .add(parent, field, comment.as_deref(), position, *if_not_exists)
                .map_err(|error| error.of(self.base)),
            Alteration::DropColumn { column, if_exists } => {
                self.is_free(column)?;
                self.columns
                    .remove(column, *if_exists)
                    .map_err(|error| error.of(self.base))
            }
            Alteration::RenameColumn { column, to } => {
                self.is_free(column)?;
                self.columns.rename(column, to).map_err(|error| error.of(self.base))
            }
            Alteration::MoveColumn { column, position } => self
                .columns
                .reorder(column, position)
                .map_err(|error| error.of(self.base)),
            Alteration::WidenColumn { column, to } => {
                if !self.base.is_set("delta.enableTypeWidening") {
                    let feature = "type widening, which its property delta.enableTypeWidening leaves off,";
                    return Err(unsupported(feature.to_owned()));
                }
                self.is_free(column)?;
                self.columns.widen(column, to).map_err(|error| error.of(self.base))
            }
            Alteration::SetNullable { column, nullable } => {
                if !*nullable {
                    match column.as_slice() {
                        [name] => self.tightened.push(name.clone()),
                        _ => return Err(unsupported("NOT NULL of a nested column".to_owned())),
                    }
                }
                let set = json!(nullable);
                self.columns
                    .set(column, |field| field["nullable"] = set)
                    .map_err(|error| error.of(self.base))
            }
            Alteration::SetDefault { column, value } => {
                let text = match value {
                    Some(value) => Some(literal(value).ok_or_else(|| unsupported(format!("the default {value}")))?),
                    None => None,
                };
                self.columns
                    .set_metadata(column, DEFAULT, text)
                    .map_err(|error| error.of(self.base))
            }
            Alteration::CommentColumn { column, comment } => self
                .columns
                .set_metadata(column, COMMENT, comment.clone())
                .map_err(|error| error.of(self.base)),
            Alteration::CommentTable { comment } => {
                self.description.clone_from(comment);
                Ok(())
            }
            Alteration::SetProperties { properties } => properties
                .iter()
                .try_for_each(|(key, value)| self.set_property(key, value)),
            Alteration::UnsetProperties { keys, if_exists } => {
                keys.iter().try_for_each(|key| self.unset_property(key, *if_exists))
            }
            Alteration::DropConstraint { name, if_exists } => {
                let key = self.properties.keys().find(|key| {
                    key.strip_prefix(CONSTRAINT)
                        .is_some_and(|known| known.eq_ignore_ascii_case(name))
                });
                match key.cloned() {
                    Some(key) => {
                        self.properties.remove(&key);
                        Ok(())
                    }
                    None if *if_exists => Ok(()),
                    None => Err(missing("constraint", name)),
                }
            }
            other => Err(unsupported(format!(
                "{}, which Delta tables have not,",
                other.feature()
            ))),
        }
    }

    fn set_property(&mut self, key: &str, value: &str) -> Result<()> {
        let unsupported = |feature: String| Err(self.base.log.unsupported(feature));
        let old = self.properties.get(key).map(String::as_str);
        if key == COMMENT {
            self.description = Some(value.to_owned());
            return Ok(());
        }
        if old == Some(value) {
            return Ok(());
        }
        if key.starts_with(CONSTRAINT) {
            return unsupported("a constraint over rows that exist".to_owned());
        }
        if FROM_THE_START.contains(&key) {
            return unsupported(format!("the property {key} set on a table that exists"));
        }
        if key == MAPPING {
            match (old.unwrap_or("none"), value) {
                ("none", "none") => {}
                ("none", "name") => self.columns.map_by_name(),
                (old, new) => return unsupported(format!("the column mapping {new} in the place of {old}")),
            }
        }
        self.properties.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    fn unset_property(&mut self, key: &str, if_exists: bool) -> Result<()> {
        if key == COMMENT {
            self.description = None;
            return Ok(());
        }
        if key == MAPPING || key.starts_with(CONSTRAINT) || FROM_THE_START.contains(&key) {
            return Err(self.base.log.unsupported(format!("the property {key} taken away")));
        }
        match self.properties.remove(key) {
            None if !if_exists => Err(missing("property", key)),
            _ => Ok(()),
        }
    }

    /// Refuses a change of a column that a constraint, a generated column or the clustering depends on.
    fn is_free(&self, column: &[String]) -> Result<()> {
        let name = column.first().map(|name| name.to_lowercase()).unwrap_or_default();
        let refused = |by: &str| {
            Err(self
                .base
                .log
                .unsupported(format!("a change of the column {name}, which {by} uses,")))
        };
        let checks = self.properties.iter().filter(|(key, _)| key.starts_with(CONSTRAINT));
        if let Some((key, _)) = checks.into_iter().find(|(_, text)| text.to_lowercase().contains(&name)) {
            return refused(key);
        }
        if self
            .columns
            .expressions()
            .any(|text| text.to_lowercase().contains(&name))
        {
            return refused("an expression");
        }
        match self
            .base
            .supports(&delta_kernel::table_features::TableFeature::ClusteredTable)
        {
            true => refused("the clustering perhaps"),
            false => Ok(()),
        }
    }

    /// The commit; `None` where nothing changes.
    fn draft(&mut self, mut metadata: Value, alterations: &[Alteration]) -> Result<Option<Draft>> {
        let before = metadata.clone();
        if let Some(last) = self.columns.last_id() {
            self.properties.insert(MAX_COLUMN_ID.to_owned(), last.to_string());
        }
        let schema = self.columns.schema();
        let features: BTreeSet<_> =
            protocol::demanded(&mut self.properties, schema).map_err(|feature| self.base.log.unsupported(feature))?;
        let same_schema = self.base.schema_json()? == *schema;
        if !same_schema {
            metadata["schemaString"] = json!(schema.to_string());
        }
        metadata["partitionColumns"] = json!(self.columns.partition());
        metadata["configuration"] = json!(self.properties);
        metadata["description"] = json!(self.description);
        let configuration = self.base.version.kernel.table_configuration();
        let protocol = protocol::upgraded(configuration.protocol(), &features);
        if before == metadata && protocol.is_none() {
            return Ok(None);
        }
        let mut draft = Draft {
            info: Map::from_iter([
                ("operation".to_owned(), json!(operation(alterations))),
                ("operationParameters".to_owned(), json!({})),
                ("isBlindAppend".to_owned(), json!(false)),
            ]),
            ..Draft::default()
        };
        draft
            .lines
            .extend(protocol.map(|protocol| json!({ "protocol": protocol })));
        draft.lines.push(json!({ "metaData": metadata }));
        Ok(Some(draft))
    }
}

/// What the history calls it.
fn operation(alterations: &[Alteration]) -> &'static str {
    match alterations {
        [Alteration::AddColumn { .. }, ..] => "ADD COLUMNS",
        [Alteration::DropColumn { .. }, ..] => "DROP COLUMNS",
        [Alteration::RenameColumn { .. }, ..] => "RENAME COLUMN",
        [Alteration::SetProperties { .. } | Alteration::CommentTable { .. }, ..] => "SET TBLPROPERTIES",
        [Alteration::UnsetProperties { .. }, ..] => "UNSET TBLPROPERTIES",
        [Alteration::DropConstraint { .. }, ..] => "DROP CONSTRAINT",
        _ => "CHANGE COLUMN",
    }
}

/// Makes sure that no row of the table has a NULL in the column, by what the log says of its files.
async fn has_no_null(base: &Arc<DeltaSnapshot>, column: &str) -> Result<()> {
    let schema = base.schema();
    let index = schema
        .fields()
        .iter()
        .position(|field| field.name().eq_ignore_ascii_case(column));
    let index = index.ok_or_else(|| missing("column", column))?;
    let request = FileRequest {
        wanted: &[index],
        predicate: None,
        only: None,
        with_origin: false,
    };
    let list = Arc::clone(base).files(request).await?;
    let constant = list
        .sets
        .first()
        .and_then(|set| set.constant_columns.iter().position(|known| *known == index));
    let known = list.sets.iter().flat_map(|set| &set.files).all(|file| match constant {
        Some(position) => file.constants.get(position).is_some_and(|value| !value.is_null()),
        None => file.columns[index].nulls == Some(0),
    });
    match known {
        true => Ok(()),
        false => Err(Error::Write {
            table: base.log.table.clone(),
            detail: format!(
                "{column} cannot be NOT NULL: it has a NULL, or the statistics of its files do not rule that out"
            ),
            source: None,
        }),
    }
}

/// A value in Spark's SQL; `None` for types that are not spelled there as here.
pub(crate) fn literal(value: &ScalarValue) -> Option<String> {
    if value.is_null() {
        return Some("NULL".to_owned());
    }
    Some(match value {
        ScalarValue::Boolean(_)
        | ScalarValue::Int8(_)
        | ScalarValue::Int16(_)
        | ScalarValue::Int32(_)
        | ScalarValue::Int64(_)
        | ScalarValue::Decimal128(..) => value.to_string(),
        ScalarValue::Float32(Some(number)) if number.is_finite() => format!("{number:?}"),
        ScalarValue::Float64(Some(number)) if number.is_finite() => format!("{number:?}"),
        // A backslash escapes in one dialect and not in the other, and so does a doubled quote.
        ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)) => {
            (!text.contains(['\'', '\\'])).then(|| format!("'{text}'"))?
        }
        ScalarValue::Date32(_) => format!("DATE '{value}'"),
        _ => return None,
    })
}

fn missing(what: &'static str, name: &str) -> Error {
    Error::NotFound {
        what,
        name: name.to_owned(),
        hint: None,
    }
}

#[cfg(test)]
mod tests;
