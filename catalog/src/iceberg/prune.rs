//! Which manifests and which of their files can hold a row that a filter keeps: by the bounds of partition values in a
//! manifest list, and by partition values and column bounds in manifests.
//!
//! Everything is said about columns of the table, whatever partition spec a manifest has, so that one predicate serves
//! a table whose partitioning changed. Columns are arrays with one row for each manifest or file.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, UInt64Array};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use iceberg::spec::{PartitionSpec, TableMetadata, Transform, Type};

use super::cache::LoadedManifest;
use super::manifest::{FieldSummary, Manifest, ManifestFile, decode};
use super::transform::{buckets, keeps_null, may_wrap, outside_buckets, source_bounds};
use super::values::{End, integer, tighter, typed, unknown};
use crate::scan::adapt::field_id;
use crate::scan::prune::containers;

/// What pruning has to know of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    /// The columns as plans see them, with field ids.
    pub(crate) schema: &'a SchemaRef,
    /// The schema of the same columns in Iceberg's types.
    pub(crate) iceberg_schema: &'a iceberg::spec::Schema,
    /// For the partition specs.
    pub(crate) metadata: &'a TableMetadata,
}

/// A column of the table.
struct Wanted<'a> {
    id: i32,
    data_type: &'a DataType,
}

impl<'a> Table<'a> {
    fn wanted(&self, column: &Column) -> Option<Wanted<'a>> {
        let field = self.schema.field_with_name(&column.name).ok()?;
        Some(Wanted {
            id: field_id(field)?,
            data_type: field.data_type(),
        })
    }

    fn spec(&self, id: i32) -> Option<&'a PartitionSpec> {
        self.metadata.partition_spec_by_id(id).map(AsRef::as_ref)
    }

    fn source_type(&self, id: i32) -> Option<&'a Type> {
        Some(self.iceberg_schema.field_by_id(id)?.field_type.as_ref())
    }
}

/// The manifests that may name a file with a row for which `predicate` is true. Delete manifests too: a delete in a
/// partition applies to data files of that partition only.
pub(crate) fn manifests(
    table: Table<'_>,
    manifests: Vec<ManifestFile>,
    predicate: Option<&Arc<dyn PhysicalExpr>>,
) -> Vec<ManifestFile> {
    let statistics = Manifests {
        table,
        manifests: &manifests,
    };
    let Some(keep) = predicate.and_then(|predicate| containers(table.schema, predicate, &statistics)) else {
        return manifests;
    };
    let kept = manifests.into_iter().zip(keep);
    kept.filter_map(|(manifest, keep)| keep.then_some(manifest)).collect()
}

/// For every manifest, which of its entries may hold a row for which `predicate` is true.
pub(crate) fn entries(
    table: Table<'_>,
    manifests: &[LoadedManifest],
    predicate: Option<&Arc<dyn PhysicalExpr>>,
) -> Vec<Vec<usize>> {
    let statistics = Entries { table, manifests };
    let keep = predicate.and_then(|predicate| containers(table.schema, predicate, &statistics));
    let Some(keep) = keep else {
        return manifests
            .iter()
            .map(|manifest| (0..manifest.entries.len()).collect())
            .collect();
    };
    let mut keep = keep.into_iter();
    let of_one = |manifest: &LoadedManifest| {
        let keep = keep.by_ref().take(manifest.entries.len()).enumerate();
        keep.filter_map(|(row, keep)| keep.then_some(row)).collect()
    };
    manifests.iter().map(of_one).collect()
}

/// A manifest list as DataFusion's pruning reads it: one row for each manifest.
struct Manifests<'a> {
    table: Table<'a>,
    manifests: &'a [ManifestFile],
}

/// A field of one partition spec.
#[derive(Clone, Copy)]
struct SpecField {
    spec_id: i32,
    position: usize,
    /// Number of fields of the spec.
    width: usize,
    transform: Transform,
}

impl Manifests<'_> {
    /// The partition fields of any spec that come from the column.
    fn fields(&self, id: i32) -> Vec<SpecField> {
        let specs = self.table.metadata.partition_specs_iter();
        let fields = specs.flat_map(|spec| {
            let numbered = spec.fields().iter().enumerate();
            let of_column = numbered.filter(move |(_, field)| field.source_id == id);
            of_column.map(|(position, field)| SpecField {
                spec_id: spec.spec_id(),
                position,
                width: spec.fields().len(),
                transform: field.transform,
            })
        });
        fields.collect()
    }

    /// The summary of that field in every manifest of its spec. Summaries that do not fit the spec say nothing.
    fn summaries(&self, field: SpecField) -> impl Iterator<Item = Option<&FieldSummary>> {
        self.manifests.iter().map(move |manifest| {
            let summaries = manifest.partitions.as_deref()?;
            let fits = manifest.spec_id == field.spec_id && summaries.len() == field.width;
            fits.then(|| summaries.get(field.position))?
        })
    }

    fn bounds(&self, column: &Column, end: End) -> Option<ArrayRef> {
        let wanted = self.table.wanted(column)?;
        let mut bounds = unknown(wanted.data_type, self.manifests.len());
        for field in self.fields(wanted.id) {
            let values = self.summaries(field).map(|summary| {
                let summary = summary?;
                // Bounds leave NaN out, and NaN compares beyond every number.
                let may_be_nan = wanted.data_type.is_floating() && summary.contains_nan != Some(false);
                let bound = match end {
                    End::Lower => summary.lower.as_deref(),
                    End::Upper => summary.upper.as_deref(),
                };
                let greatest = summary.upper.as_deref();
                let wraps = greatest.is_none_or(|upper| may_wrap(field.transform, upper, wanted.data_type));
                bound.filter(|_| !(may_be_nan || end == End::Lower && wraps))
            });
            let values: BinaryArray = values.collect();
            if let Some(more) = source_bounds(field.transform, &values, wanted.data_type, end) {
                bounds = tighter(bounds, more, end);
            }
        }
        Some(bounds)
    }
}

impl PruningStatistics for Manifests<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Upper)
    }

    fn num_containers(&self) -> usize {
        self.manifests.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let wanted = self.table.wanted(column)?;
        let mut nulls = vec![None; self.manifests.len()];
        let fields = self.fields(wanted.id).into_iter();
        for field in fields.filter(|field| keeps_null(field.transform)) {
            for (nulls, summary) in nulls.iter_mut().zip(self.summaries(field)) {
                if summary.is_some_and(|summary| !summary.contains_null) {
                    *nulls = Some(0);
                }
            }
        }
        Some(Arc::new(UInt64Array::from(nulls)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, column: &Column, literals: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let wanted = self.table.wanted(column)?;
        let source = self.table.source_type(wanted.id)?;
        let mut known = vec![None; self.manifests.len()];
        for field in self.fields(wanted.id) {
            let Some(buckets) = buckets(field.transform, source, literals) else {
                continue;
            };
            let bound = |bytes: &Option<Vec<u8>>| integer(bytes.as_deref()?);
            for (known, summary) in known.iter_mut().zip(self.summaries(field)) {
                let bounds = summary.and_then(|summary| bound(&summary.lower).zip(bound(&summary.upper)));
                if let Some((lower, upper)) = bounds
                    && buckets.iter().all(|bucket| *bucket < lower || *bucket > upper)
                {
                    *known = Some(false);
                }
            }
        }
        Some(BooleanArray::from(known))
    }
}

/// Manifests as DataFusion's pruning reads them: one row for each entry.
struct Entries<'a> {
    table: Table<'a>,
    manifests: &'a [LoadedManifest],
}

impl Entries<'_> {
    /// The partition values from which something of the column follows.
    fn partitions<'m>(
        &'m self,
        manifest: &'m LoadedManifest,
        id: i32,
    ) -> impl Iterator<Item = (Transform, &'m BinaryArray)> {
        let fields = self
            .table
            .spec(manifest.file.spec_id)
            .map_or(&[][..], PartitionSpec::fields);
        let of_column = fields.iter().filter(move |field| field.source_id == id);
        of_column.filter_map(|field| {
            let values = manifest.entries.partition_values(field.field_id, &field.name)?;
            Some((field.transform, values))
        })
    }

    fn bounds(&self, column: &Column, end: End) -> Option<ArrayRef> {
        let wanted = self.table.wanted(column)?;
        let of_one = |manifest: &LoadedManifest| {
            let known = column_bounds(&manifest.entries, wanted.id, wanted.data_type, end, None);
            let mut bounds = known.unwrap_or_else(|| unknown(wanted.data_type, manifest.entries.len()));
            for (transform, values) in self.partitions(manifest, wanted.id) {
                if let Some(more) = source_bounds(transform, values, wanted.data_type, end) {
                    bounds = tighter(bounds, more, end);
                }
            }
            bounds
        };
        joined(&self.manifests.iter().map(of_one).collect::<Vec<_>>())
    }
}

impl PruningStatistics for Entries<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Lower)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, End::Upper)
    }

    fn num_containers(&self) -> usize {
        self.manifests.iter().map(|manifest| manifest.entries.len()).sum()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let wanted = self.table.wanted(column)?;
        let mut counts = Vec::with_capacity(self.num_containers());
        for manifest in self.manifests {
            let entries = &manifest.entries;
            let partition = self.partitions(manifest, wanted.id).find(|(t, _)| keeps_null(*t));
            let metrics = entries
                .metrics
                .get(&wanted.id)
                .and_then(|metrics| metrics.nulls.as_ref());
            match (partition, metrics) {
                (Some((_, values)), _) => {
                    counts.extend(
                        entries
                            .entries
                            .iter()
                            .enumerate()
                            .map(|(row, entry)| match values.is_null(row) {
                                true => Some(entry.rows),
                                false => Some(0),
                            }),
                    )
                }
                (None, Some(nulls)) => counts.extend(decode::counts(nulls).iter()),
                (None, None) => counts.extend(std::iter::repeat_n(None, entries.len())),
            }
        }
        Some(Arc::new(UInt64Array::from(counts)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let entries = self.manifests.iter().flat_map(|manifest| &manifest.entries.entries);
        Some(Arc::new(entries.map(|entry| Some(entry.rows)).collect::<UInt64Array>()))
    }

    fn contained(&self, column: &Column, literals: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let wanted = self.table.wanted(column)?;
        let source = self.table.source_type(wanted.id)?;
        let mut known = Vec::with_capacity(self.num_containers());
        for manifest in self.manifests {
            let mut partitions = self.partitions(manifest, wanted.id);
            let bucketed = partitions.find_map(|(t, values)| Some((buckets(t, source, literals)?, values)));
            match bucketed {
                Some((buckets, values)) => known.extend(outside_buckets(values, &buckets).iter()),
                None => known.extend(std::iter::repeat_n(None, manifest.entries.len())),
            }
        }
        Some(BooleanArray::from(known))
    }
}

/// The bounds of a column as the manifest's writer measured them, of all entries or of some; `None` where it has none.
pub(crate) fn column_bounds(
    manifest: &Manifest,
    id: i32,
    data_type: &DataType,
    end: End,
    rows: Option<&UInt64Array>,
) -> Option<ArrayRef> {
    // Bounds leave NaN out, which compares beyond every number, and writers differ in whether they count it.
    if data_type.is_floating() {
        return None;
    }
    let metrics = manifest.metrics.get(&id)?;
    let bounds = match end {
        End::Lower => metrics.lower.as_ref(),
        End::Upper => metrics.upper.as_ref(),
    }?;
    typed(&some_rows(bounds, rows)?, data_type)
}

fn some_rows<A: Array + Clone + 'static>(array: &A, rows: Option<&UInt64Array>) -> Option<A> {
    match rows {
        None => Some(array.clone()),
        Some(rows) => take(array, rows, None).ok()?.as_any().downcast_ref::<A>().cloned(),
    }
}

fn joined(arrays: &[ArrayRef]) -> Option<ArrayRef> {
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    concat(&arrays).ok()
}
