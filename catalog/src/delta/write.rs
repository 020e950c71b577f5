//! What a writer asks of a version of a Delta table: how its files look, and how rows leave it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::table_features::ColumnMappingMode;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use super::DeltaSnapshot;
use super::columns::{COLUMN_ID, PARQUET_FIELD_ID, PHYSICAL_NAME};
use super::commit::constraints;
use super::commit::create::DEFAULT;
use crate::error::Result;
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::write::change::{Change, Committed, Operation};
use crate::write::target::{PartitionField, RowChange, Transform, WriteDefault, WriteTarget};

impl DeltaSnapshot {
    /// How rows become data files of this table.
    pub(crate) fn write_target(&self) -> Result<WriteTarget> {
        self.check_columns()?;
        let (file_schema, file_columns) = self.file_columns()?;
        let mut target = WriteTarget::new(self.log.table.clone(), self.root(), Arc::clone(self.schema()));
        target.file_schema = file_schema;
        target.file_columns = file_columns;
        target.partition = self
            .version
            .columns
            .partition_columns
            .iter()
            .map(|column| PartitionField {
                column: *column,
                transform: Transform::Identity,
                name: self.schema().field(*column).name().clone(),
            })
            .collect();
        set_layout(&mut target, |key| self.property(key)).map_err(|property| self.log.unsupported(property))?;
        Ok(target)
    }

    /// The columns of new data files, under their names there, and the position of each in the table. Partition
    /// columns are not in the files.
    pub(crate) fn file_columns(&self) -> Result<(SchemaRef, Vec<usize>)> {
        let logical: Schema = self
            .version
            .kernel
            .schema()
            .as_ref()
            .try_into_arrow()
            .map_err(|error: arrow::error::ArrowError| self.log.corrupt(error.to_string()))?;
        let mode = self.version.kernel.table_configuration().column_mapping_mode();
        let partition = &self.version.columns.partition_columns;
        let columns: Vec<usize> = (0..logical.fields().len())
            .filter(|column| !partition.contains(column))
            .collect();
        let fields = columns.iter().map(|column| {
            let field = physical(logical.field(*column), mode);
            let data_type = self.schema().field(*column).data_type();
            // Texts are taken as plans have them; what is nested is written as the table names it.
            match data_type.is_nested() {
                true => field,
                false => field.with_data_type(data_type.clone()),
            }
        });
        Ok((Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns))
    }

    /// Whether rows have ids that they keep wherever they are moved.
    pub(crate) fn tracks_rows(&self) -> bool {
        self.property("delta.enableRowTracking").as_deref() == Some("true")
    }

    /// How rows leave this table.
    pub(crate) fn row_change(&self, _operation: Operation) -> Result<RowChange> {
        self.check_protocol()?;
        Ok(match self.has_vectors() {
            true => RowChange::MergeOnRead,
            false => RowChange::CopyOnWrite,
        })
    }

    /// Names and texts of the table's constraints; [`DeltaSnapshot::write_target`] has refused what is none of ours.
    pub(crate) fn constraints(&self) -> Vec<(String, String)> {
        constraints::of(self).unwrap_or_default()
    }

    /// The value of a column in new rows that give none.
    pub(crate) fn write_default(&self, index: usize) -> Result<WriteDefault> {
        let schema = self.schema_json()?;
        let default = &schema["fields"][index]["metadata"][DEFAULT];
        Ok(match default.as_str() {
            Some(text) => WriteDefault::Sql(text.to_owned()),
            None => WriteDefault::Value(
                self.schema()
                    .field(index)
                    .data_type()
                    .try_into()
                    .map_err(|error: datafusion::error::DataFusionError| self.log.corrupt(error.to_string()))?,
            ),
        })
    }

    /// Commits `change` as the next version.
    pub(crate) async fn commit(
        self: &Arc<Self>,
        _lakehouse: &Lakehouse,
        _name: &TableName,
        change: Change,
    ) -> Result<Committed> {
        super::commit::commit(self, &change).await
    }

    /// The folder of the table, without a slash at its end.
    pub(crate) fn root(&self) -> String {
        format!("{}{}", self.log.root.store_url, self.log.root.path)
    }
}

/// The field as data files have it: under its physical name, with its id, and so the fields inside it.
fn physical(field: &Field, mode: ColumnMappingMode) -> Field {
    let metadata = field.metadata();
    let mapped = |key: &str| match mode {
        ColumnMappingMode::None => None,
        ColumnMappingMode::Id | ColumnMappingMode::Name => metadata.get(key),
    };
    let id = mapped(COLUMN_ID).map(|id| (PARQUET_FIELD_ID.to_owned(), id.clone()));
    Field::new(
        mapped(PHYSICAL_NAME).unwrap_or(field.name()),
        physical_type(field.data_type(), mode),
        field.is_nullable(),
    )
    .with_metadata(id.into_iter().collect::<HashMap<_, _>>())
}

fn physical_type(column: &DataType, mode: ColumnMappingMode) -> DataType {
    let inner = |field: &FieldRef| Arc::new(physical(field, mode));
    match column {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        other => other.clone(),
    }
}

/// Gives data files the size and the compression that the table's properties ask for. The error is a property that cannot
/// be followed.
pub(super) fn set_layout(target: &mut WriteTarget, property: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    let set = |key: &str, set: &mut dyn FnMut(&str) -> Option<()>| match property(key) {
        Some(value) => set(&value).ok_or_else(|| format!("the property {key} = {value}")),
        None => Ok(()),
    };
    set("delta.targetFileSize", &mut |size| {
        target.file_bytes_target = bytes(size)?;
        Some(())
    })?;
    set("delta.parquet.compression.codec", &mut |codec| {
        target.compression = compression(codec)?;
        Some(())
    })
}

/// A size such as `134217728`, `128mb` or `1g`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = match text[digits.len()..].trim() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|size| *size > 0)
}

fn compression(codec: &str) -> Option<Compression> {
    Some(match codec.to_ascii_lowercase().as_str() {
        "none" | "uncompressed" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        "gzip" => Compression::GZIP(GzipLevel::default()),
        "brotli" => Compression::BROTLI(BrotliLevel::default()),
        "lz4" => Compression::LZ4,
        "lz4_raw" => Compression::LZ4_RAW,
        "zstd" => Compression::ZSTD(ZstdLevel::default()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::commit::create::stage;
    use crate::write::NewTable;

    #[test]
    fn a_new_table_is_written_as_its_properties_ask() {
        let target = |properties: &[(&str, &str)]| {
            let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
            let mut new = NewTable::new(schema);
            let properties = properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            new.properties = properties.collect();
            stage(&TableName::new("delta", "s", "t"), &new, "memory:///t".to_owned()).map(|(target, _)| target)
        };
        let asked = [
            ("delta.targetFileSize", "16mb"),
            ("delta.parquet.compression.codec", "snappy"),
        ];
        let target_of = target(&asked).unwrap();
        assert_eq!(target_of.file_bytes_target, 16 << 20);
        assert_eq!(target_of.compression, Compression::SNAPPY);
        let refusal = target(&[("delta.targetFileSize", "much")]).unwrap_err().to_string();
        assert!(refusal.contains("delta.targetFileSize = much"), "{refusal}");
    }

    #[test]
    fn sizes_have_units() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(bytes(text), expect, "{text}");
        check("134217728", Some(128 << 20));
        check("128 MB", Some(128 << 20));
        check("1g", Some(1 << 30));
        check("0", None);
        check("1tib", None);
        check("mb", None);
    }
}
