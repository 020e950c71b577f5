//! Columns from the names of folders, as Hive writes them: `year=2026/month=1/a.parquet`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use object_store::path::Path;
use percent_encoding::percent_decode_str;

use super::listing::{Listing, below};
use crate::error::{Error, Result};

/// How Hive spells NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns that the folders give.
pub(super) struct Partitions {
    /// BIGINT or DATE where every value is one, else text.
    pub(super) columns: Vec<FieldRef>,
    /// For every file of the listing, one value for each column.
    pub(super) values: Vec<Vec<ScalarValue>>,
}

/// Reads them from the folders between that of the listing and each file, which must all have the same names.
pub(super) fn read(location: &str, listing: &Listing) -> Result<Partitions> {
    let texts: Vec<_> = listing
        .objects
        .iter()
        .map(|object| pairs(&listing.folder, &object.location))
        .collect();
    let names = |pairs: &[(String, Option<String>)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let columns = texts.first().map(|first| names(first)).unwrap_or_default();
    for (object, pairs) in listing.objects.iter().zip(&texts) {
        if names(pairs) != columns {
            let feature = format!(
                "the same partition folders for every file: {} has ({}), others have ({})",
                object.location,
                names(pairs).join(", "),
                columns.join(", ")
            );
            let table = location.to_owned();
            return Err(Error::Unsupported { table, feature });
        }
    }
    let types: Vec<DataType> = (0..columns.len())
        .map(|index| common_type(texts.iter().filter_map(|pairs| pairs[index].1.as_deref())))
        .collect();
    let value = |((_, text), data_type): (&(String, Option<String>), &DataType)| value(text.as_deref(), data_type);
    let values = texts
        .iter()
        .map(|pairs| pairs.iter().zip(&types).map(value).collect())
        .collect::<Result<_>>()?;
    let columns = columns
        .into_iter()
        .zip(types)
        .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
        .collect();
    Ok(Partitions { columns, values })
}

/// `name=value` of each folder, from the outside in.
fn pairs(folder: &Path, object: &Path) -> Vec<(String, Option<String>)> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => text.to_owned(),
    };
    let name = below(folder, object).unwrap_or_default();
    let folders = name.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders
        .split('/')
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (decoded(name), (value != NULL).then(|| decoded(value))))
        .collect()
}

/// The narrowest type that gives every text back as it is.
fn common_type<'a>(texts: impl Iterator<Item = &'a str> + Clone) -> DataType {
    let all_are = |data_type: DataType| {
        let is_one = |text: &str| {
            let value = ScalarValue::try_from_string(text.to_owned(), &data_type);
            value.is_ok_and(|value| value.to_string() == text)
        };
        let is_common = texts.clone().next().is_some() && texts.clone().all(is_one);
        is_common.then_some(data_type)
    };
    all_are(DataType::Int64)
        .or_else(|| all_are(DataType::Date32))
        .unwrap_or(DataType::Utf8)
}

fn value(text: Option<&str>, data_type: &DataType) -> Result<ScalarValue> {
    let value = match text {
        Some(text) => ScalarValue::try_from_string(text.to_owned(), data_type),
        None => ScalarValue::try_from(data_type),
    };
    value.map_err(|error| Error::InvalidName {
        detail: format!("a partition folder has no {data_type}: {error}"),
    })
}
