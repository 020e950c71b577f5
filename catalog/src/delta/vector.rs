//! The log's word on a file's deletion vector, as [`RowDeletes`].
//!
//! Source: the Delta protocol, "Deletion Vectors". A vector in a file of its own is left to whoever reads the data
//! file; one in the log is decoded here, so that nobody else needs its base85.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::Engine;
use delta_kernel::KernelError;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};

use super::log::Log;
use crate::error::{Error, Result};
use crate::scan::deletes::{DeleteSource, RowDeletes, VectorFrame};
use crate::stores::Stores;

/// Where the first vector of a file begins: behind the byte of the file's version.
const FIRST_OFFSET: i32 = 1;

/// The `deletionVector` column of a batch of files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors<'a> {
    column: &'a StructArray,
}

impl<'a> Vectors<'a> {
    /// `None` where the column is not the struct that the protocol describes.
    pub(crate) fn new(column: &'a ArrayRef) -> Option<Self> {
        Some(Self {
            column: column.as_struct_opt()?,
        })
    }

    /// True where the file of that row has a deletion vector.
    pub(crate) fn is_present(self, row: usize) -> bool {
        self.column.is_valid(row) && self.text("storageType", row).is_some()
    }

    /// The descriptor of that row; `None` where the file has no deletion vector.
    pub(crate) fn descriptor(self, row: usize) -> Result<Option<DeletionVectorDescriptor>, KernelError> {
        if !self.is_present(row) {
            return Ok(None);
        }
        let absent = |field: &str| KernelError::deletion_vector(format!("a deletion vector has no {field}"));
        let storage_type: DeletionVectorStorageType = self
            .text("storageType", row)
            .ok_or_else(|| absent("storageType"))?
            .parse()?;
        let path = self
            .text("pathOrInlineDv", row)
            .ok_or_else(|| absent("pathOrInlineDv"))?;
        let size = self.number("sizeInBytes", row).ok_or_else(|| absent("sizeInBytes"))?;
        let cardinality = self.column.column_by_name("cardinality");
        let cardinality = cardinality.and_then(|values| {
            let values = values.as_primitive_opt::<Int64Type>()?;
            values.is_valid(row).then(|| values.value(row))
        });
        let cardinality = cardinality.ok_or_else(|| absent("cardinality"))?;
        DeletionVectorDescriptor::try_new(storage_type, path, self.number("offset", row), size, cardinality).map(Some)
    }

    /// The id that tells the vector from every other of the table, as the kernel forms it.
    pub(crate) fn unique_id(self, row: usize) -> Option<String> {
        let (storage_type, path) = (self.text("storageType", row)?, self.text("pathOrInlineDv", row)?);
        Some(match self.number("offset", row) {
            Some(offset) => format!("{storage_type}{path}@{offset}"),
            None => format!("{storage_type}{path}"),
        })
    }

    fn text(self, field: &str, row: usize) -> Option<&'a str> {
        let values = self.column.column_by_name(field)?.as_string_opt::<i32>()?;
        values.is_valid(row).then(|| values.value(row))
    }

    fn number(self, field: &str, row: usize) -> Option<i32> {
        let values = self.column.column_by_name(field)?.as_primitive_opt::<Int32Type>()?;
        values.is_valid(row).then(|| values.value(row))
    }
}

/// What `vector` deletes from `data_file`.
fn row_deletes(log: &Log, stores: &Stores, data_file: &str, vector: &DeletionVectorDescriptor) -> Result<RowDeletes> {
    let corrupt = |detail: String| Error::Corrupt {
        table: log.table.clone(),
        file: format!("the deletion vector of {data_file}"),
        detail,
    };
    let unsigned = |value: i64| u64::try_from(value).map_err(|error| corrupt(error.to_string()));
    let cardinality = unsigned(vector.cardinality)?;
    let file = vector
        .absolute_path(&log.root_url)
        .map_err(|error| corrupt(error.to_string()))?;
    let source = match file {
        Some(url) => {
            let at = stores.locate(&super::log::decoded(url.as_str()).map_err(corrupt)?)?;
            DeleteSource::Vector {
                store_url: at.store_url,
                path: at.path,
                offset: unsigned(vector.offset.unwrap_or(FIRST_OFFSET).into())?,
                size_bytes: unsigned(vector.size_in_bytes.into())?,
                cardinality,
                frame: VectorFrame::Delta,
            }
        }
        None => {
            // An inline vector is decoded from its text: the storage handler is not asked for anything.
            let bitmap = vector
                .read(log.engine().storage_handler(), &log.root_url)
                .map_err(|error| corrupt(error.to_string()))?;
            if bitmap.len() != cardinality {
                let detail = format!("it deletes {} rows, not {cardinality} as the log says", bitmap.len());
                return Err(corrupt(detail));
            }
            let mut bytes = Vec::with_capacity(bitmap.serialized_size());
            bitmap
                .serialize_into(&mut bytes)
                .map_err(|error| corrupt(error.to_string()))?;
            DeleteSource::Inline {
                bitmap: bytes,
                cardinality,
            }
        }
    };
    Ok(RowDeletes {
        data_file: data_file.to_owned(),
        sources: vec![source],
    })
}

/// What is deleted by position from the file of that row, which the log calls `data_file`.
pub(crate) fn of_row(
    log: &Log,
    stores: &Stores,
    data_file: &str,
    vectors: Vectors<'_>,
    row: usize,
) -> Result<Option<Arc<RowDeletes>>> {
    let descriptor = vectors
        .descriptor(row)
        .map_err(|error| log.corrupt(format!("the deletion vector of {data_file}: {error}")))?;
    descriptor
        .map(|vector| row_deletes(log, stores, data_file, &vector).map(Arc::new))
        .transpose()
}

#[cfg(test)]
mod tests;
