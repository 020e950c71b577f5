//! The columns of files that describe themselves: every file is asked, and all answers must go together.

use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::catalog::Session;
use datafusion::datasource::file_format::FileFormat;
use datafusion::error::DataFusionError;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;

use super::FileKind;
use super::listing::Listing;
use crate::error::{Error, Result, innermost};

/// Files that are asked at once.
const CONCURRENCY: usize = 16;

/// The columns of all files together, in the order in which they first appear.
///
/// A column that a Parquet or JSON file lacks is NULL in it. CSV files are read by position, so their first lines must
/// be equal. Types of CSV and JSON files come from their first thousand rows, and are the common one of all files.
pub(super) async fn read(
    kind: FileKind,
    format: &dyn FileFormat,
    state: &dyn Session,
    location: &str,
    listing: &Listing,
) -> Result<Schema> {
    let schemas = stream::iter(&listing.objects).map(|object| async move {
        let schema = format
            .infer_schema(state, &listing.store, std::slice::from_ref(object))
            .await;
        match schema {
            Ok(schema) => Ok((object, schema)),
            Err(error) => Err(unreadable(location, listing, object, error)),
        }
    });
    let merged: Vec<FieldRef> = schemas
        .boxed()
        .buffered(CONCURRENCY)
        .try_fold(Vec::new(), |merged, (object, schema)| async move {
            merge(kind, merged, schema.fields()).map_err(|detail| Error::Unsupported {
                table: location.to_owned(),
                feature: format!("the same columns in every file: {} {detail}", object.location),
            })
        })
        .await?;
    let fields: Vec<Field> = merged.into_iter().map(|field| known_type(&field)).collect();
    if fields.is_empty() {
        return Err(Error::Corrupt {
            table: location.to_owned(),
            file: "every file of it".to_owned(),
            detail: "there is no column in it".to_owned(),
        });
    }
    Ok(Schema::new(fields))
}

/// Adds the columns of one file to those of the files before it; says what is wrong with them.
fn merge(kind: FileKind, mut merged: Vec<FieldRef>, fields: &[FieldRef]) -> Result<Vec<FieldRef>, String> {
    if merged.is_empty() {
        return Ok(fields.to_vec());
    }
    // A file without a byte has no first line, and no row.
    if fields.is_empty() {
        return Ok(merged);
    }
    if kind == FileKind::Csv {
        let names = |fields: &[FieldRef]| fields.iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        if names(&merged) != names(fields) {
            return Err(format!(
                "has ({}), others have ({})",
                names(fields).join(", "),
                names(&merged).join(", ")
            ));
        }
    }
    for field in fields {
        match merged.iter_mut().find(|known| known.name() == field.name()) {
            None => merged.push(FieldRef::new(field.as_ref().clone().with_nullable(true))),
            Some(known) => {
                let data_type = common_type(kind, known.data_type(), field.data_type()).ok_or_else(|| {
                    format!(
                        "has {} in the column \"{}\", others have {}",
                        field.data_type(),
                        field.name(),
                        known.data_type()
                    )
                })?;
                let nullable = known.is_nullable() || field.is_nullable();
                *known = FieldRef::new(known.as_ref().clone().with_data_type(data_type).with_nullable(nullable));
            }
        }
    }
    // A column that this file lacks is NULL in it.
    for known in &mut merged {
        if !fields.iter().any(|field| field.name() == known.name()) {
            *known = FieldRef::new(known.as_ref().clone().with_nullable(true));
        }
    }
    Ok(merged)
}

/// The type that takes the values of both. Parquet files say their types, and must agree; others let them be guessed.
fn common_type(kind: FileKind, one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType::{Boolean, Date32, Float64, Int64, Null, Timestamp, Utf8};
    match (one, other) {
        (one, other) if one == other => Some(one.clone()),
        (Null, other) | (other, Null) => Some(other.clone()),
        _ if kind == FileKind::Parquet => None,
        (Int64, Float64) | (Float64, Int64) => Some(Float64),
        (
            Boolean | Date32 | Float64 | Int64 | Timestamp(..) | Utf8,
            Boolean | Date32 | Float64 | Int64 | Timestamp(..) | Utf8,
        ) => Some(Utf8),
        _ => None,
    }
}

/// A column without any value is text.
fn known_type(field: &Field) -> Field {
    match field.data_type() {
        DataType::Null => field.clone().with_data_type(DataType::Utf8),
        _ => field.clone(),
    }
}

/// The error for one file: what the store said, or that the file is damaged.
fn unreadable(location: &str, listing: &Listing, object: &ObjectMeta, error: DataFusionError) -> Error {
    use object_store::Error as Refusal;
    let url = format!("{}{}", listing.store_url, object.location);
    let path = object.location.to_string();
    match refusal(&error) {
        Some(Refusal::NotFound { .. }) => {
            let source = error.into();
            Error::storage(url, Refusal::NotFound { path, source })
        }
        Some(Refusal::PermissionDenied { .. } | Refusal::Unauthenticated { .. }) => {
            let source = error.into();
            Error::storage(url, Refusal::PermissionDenied { path, source })
        }
        Some(_) => {
            let (store, source) = ("object store", error.into());
            Error::storage(url, Refusal::Generic { store, source })
        }
        None => Error::Corrupt {
            table: location.to_owned(),
            file: url,
            detail: innermost(&error),
        },
    }
}

/// What the store said, however deep it is wrapped.
fn refusal(error: &DataFusionError) -> Option<&object_store::Error> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(refusal) = current.downcast_ref() {
            return Some(refusal);
        }
        cause = current.source();
    }
    None
}
