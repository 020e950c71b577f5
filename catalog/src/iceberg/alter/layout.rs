//! Changes of how new files are laid out: partition specs and sort orders.

use iceberg::spec::{
    FormatVersion, NullOrder, SortDirection, SortField, SortOrder, TableMetadata, Transform, UnboundPartitionField,
    UnboundPartitionSpec,
};

use super::super::commit::target;
use super::columns::{Columns, invalid};
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::write::alter::{Alteration, NewPartitionField, PartitionFieldRef, SortKey};

/// The default spec with a field more or less. In format version 1 a field stays, and has no values from then on.
pub(super) fn partition_spec(
    name: &TableName,
    metadata: &TableMetadata,
    alteration: &Alteration,
) -> Result<UnboundPartitionSpec> {
    let spec = metadata.default_partition_spec().as_ref().clone().into_unbound();
    let mut fields = spec.fields().to_vec();
    let columns = Columns::of(name, metadata);
    let mut drop = |field: &PartitionFieldRef| -> Result<()> {
        let found = match field {
            PartitionFieldRef::Name(wanted) => fields.iter().position(|field| field.name == *wanted),
            PartitionFieldRef::Source(column, transform) => {
                let (source, transform) = (columns.get(column)?.id, target::iceberg_transform(*transform));
                fields
                    .iter()
                    .position(|field| field.source_id == source && field.transform == transform)
            }
        };
        let Some(index) = found.filter(|index| fields[*index].transform != Transform::Void) else {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            return Err(Error::NotFound {
                what: "partition field",
                name: format!("{field:?}"),
                hint: Some(format!("the table has the partition fields {}", names.join(", "))),
            });
        };
        match metadata.format_version() {
            FormatVersion::V1 => fields[index].transform = Transform::Void,
            FormatVersion::V2 | FormatVersion::V3 => {
                fields.remove(index);
            }
        }
        Ok(())
    };
    let new = match alteration {
        Alteration::AddPartitionField { field } => Some(field),
        Alteration::DropPartitionField { field } => {
            drop(field)?;
            None
        }
        Alteration::ReplacePartitionField { old, new } => {
            drop(old)?;
            Some(new)
        }
        _ => None,
    };
    if let Some(NewPartitionField {
        column,
        transform,
        name: field_name,
    }) = new
    {
        let source = columns.get(column)?;
        let field = UnboundPartitionField::builder()
            .source_id(source.id)
            .name(
                field_name
                    .clone()
                    .unwrap_or_else(|| target::field_name(&column.join("_"), *transform)),
            )
            .transform(target::iceberg_transform(*transform))
            .build();
        let same =
            |other: &UnboundPartitionField| other.source_id == field.source_id && other.transform == field.transform;
        if fields.iter().any(|other| same(other) || other.name == field.name) {
            return Err(Error::AlreadyExists {
                what: "partition field",
                name: field.name,
            });
        }
        fields.push(field);
    }
    let builder = UnboundPartitionSpec::builder().add_partition_fields(fields);
    Ok(builder.map_err(|error| invalid(error.message().to_owned()))?.build())
}

/// The sort order of these keys.
pub(super) fn sort_order(name: &TableName, metadata: &TableMetadata, keys: &[SortKey]) -> Result<SortOrder> {
    if keys.is_empty() {
        return Ok(SortOrder::unsorted_order());
    }
    let columns = Columns::of(name, metadata);
    let mut fields = Vec::with_capacity(keys.len());
    for key in keys {
        let field = SortField::builder()
            .source_id(columns.get(&key.column)?.id)
            .transform(target::iceberg_transform(key.transform))
            .direction(match key.descending {
                true => SortDirection::Descending,
                false => SortDirection::Ascending,
            })
            .null_order(match key.nulls_first {
                true => NullOrder::First,
                false => NullOrder::Last,
            });
        fields.push(field.build());
    }
    let mut builder = SortOrder::builder();
    builder.with_fields(fields);
    let order = builder.build(metadata.current_schema());
    order.map_err(|error| invalid(error.message().to_owned()))
}
