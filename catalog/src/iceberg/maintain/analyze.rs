//! What ANALYZE leaves behind: sketches of distinct values in a Puffin file, which the metadata name beside the snapshot
//! that they are of. No row changes, and no snapshot is added.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{BlobMetadata, StatisticsFile};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::super::IcebergSnapshot;
use super::super::commit::land::{Now, Pace, now};
use super::super::commit::{TableCommit, metadata_folder};
use super::super::read::distinct::{NDV, THETA, in_file};
use super::sketch::{estimate, is_sketched};
use crate::error::{Error, Result};
use crate::lakehouse::Lakehouse;
use crate::name::TableName;
use crate::scan::adapt::field_id;
use crate::write::puffin::{BlobKind, PuffinFile};
use crate::write::{delete_all, put};

impl IcebergSnapshot {
    /// The columns to be sketched: `wanted`, or all of a simple type, and those that are sketched already, since one file
    /// takes the place of another.
    pub(crate) fn sketched_columns(&self, wanted: Option<&[String]>) -> Result<Vec<String>> {
        let mut columns = BTreeSet::new();
        for name in wanted.unwrap_or_default() {
            let field = self.schema().field_with_name(name).map_err(|_| Error::NotFound {
                what: "column",
                name: format!("{}.{name}", self.table),
                hint: None,
            })?;
            if !is_sketched(field.data_type()) {
                return Err(self.unsupported(&format!(
                    "ANALYZE of the column {name} of type {}: only simple types have numbers of distinct values",
                    field.data_type()
                )));
            }
            columns.insert(name.as_str());
        }
        let known = self.id().and_then(|id| self.metadata.table.statistics_for_snapshot(id));
        let known = known.map(in_file).unwrap_or_default();
        let fields = self.schema().fields().iter();
        let fields = fields.filter(|field| is_sketched(field.data_type()));
        columns.extend(fields.filter_map(|field| {
            let is_known = field_id(field).is_some_and(|id| known.contains_key(&id));
            (wanted.is_none() || is_known).then_some(field.name().as_str())
        }));
        Ok(columns.into_iter().map(str::to_owned).collect())
    }
}

/// Keeps the sketches of that snapshot's columns. The estimates by column.
pub(crate) async fn keep_sketches(
    lakehouse: &Lakehouse,
    name: &TableName,
    snapshot_id: i64,
    sketches: &[(String, Vec<u8>)],
) -> Result<Vec<(String, u64)>> {
    let mut found = now(lakehouse, name).await?;
    let (location, bytes, statistics) = statistics(name, &found, snapshot_id, sketches)?;
    let counts = sketches.iter().map(|(column, sketch)| {
        let count = estimate(sketch).map_err(|detail| failed(name, detail))?;
        Ok((column.clone(), count))
    });
    let counts = counts.collect::<Result<Vec<_>>>()?;
    put(lakehouse.stores(), &location, bytes.into()).await?;
    let mut pace = Pace::of(&found.metadata.table);
    let outcome = loop {
        match attempt(lakehouse, name, &found, &statistics).await {
            Err(Error::Conflict { .. }) if pace.wait().await => match now(lakehouse, name).await {
                Ok(newer) => found = newer,
                Err(error) => break Err(error),
            },
            Err(Error::CommitUnknown { table, detail }) => {
                let newest = now(lakehouse, name).await;
                let took_place = newest.is_ok_and(|now| {
                    let landed = now.metadata.table.statistics_for_snapshot(snapshot_id);
                    landed.is_some_and(|landed| landed.statistics_path == location)
                });
                match took_place {
                    true => break Ok(()),
                    // The file stays: the table may name it yet.
                    false => return Err(Error::CommitUnknown { table, detail }),
                }
            }
            outcome => break outcome,
        }
    };
    match outcome {
        Ok(()) => Ok(counts),
        Err(error) => {
            delete_all(lakehouse.stores(), &[location]).await;
            Err(error)
        }
    }
}

/// The Puffin file, and what the metadata say of it.
fn statistics(
    name: &TableName,
    found: &Now,
    snapshot_id: i64,
    sketches: &[(String, Vec<u8>)],
) -> Result<(String, Vec<u8>, StatisticsFile)> {
    let metadata = &found.metadata.table;
    let snapshot = metadata.snapshot_by_id(snapshot_id).ok_or_else(|| conflict(name))?;
    let schema = snapshot
        .schema(metadata)
        .map_err(|error| failed(name, error.to_string()))?;
    let (mut file, mut blobs) = (PuffinFile::new(), Vec::with_capacity(sketches.len()));
    for (column, sketch) in sketches {
        let field = schema.field_id_by_name(column);
        let field = field.ok_or_else(|| failed(name, format!("the snapshot has no column {column}")))?;
        let count = estimate(sketch).map_err(|detail| failed(name, detail))?;
        let kind = BlobKind {
            blob_type: THETA,
            field,
            snapshot: (snapshot_id, snapshot.sequence_number()),
            properties: BTreeMap::from([(NDV, count.to_string())]),
        };
        file.add(kind, sketch);
        blobs.push(BlobMetadata {
            r#type: THETA.to_owned(),
            snapshot_id,
            sequence_number: snapshot.sequence_number(),
            fields: vec![field],
            properties: HashMap::from([(NDV.to_owned(), count.to_string())]),
        });
    }
    let (bytes, footer_bytes) = file.finish().map_err(|detail| failed(name, detail))?;
    let size = |bytes: usize| i64::try_from(bytes).map_err(|error| failed(name, error.to_string()));
    let location = format!("{}/{snapshot_id}-{}.stats", metadata_folder(metadata), Uuid::new_v4());
    let statistics = StatisticsFile {
        snapshot_id,
        statistics_path: location.clone(),
        file_size_in_bytes: size(bytes.len())?,
        file_footer_size_in_bytes: size(footer_bytes)?,
        key_metadata: None,
        blob_metadata: blobs,
    };
    Ok((location, bytes, statistics))
}

/// Asks the catalog to publish them with the table as it is now.
async fn attempt(lakehouse: &Lakehouse, name: &TableName, found: &Now, statistics: &StatisticsFile) -> Result<()> {
    let metadata = &found.metadata.table;
    // Expired meanwhile: nobody reads it any more.
    if metadata.snapshot_by_id(statistics.snapshot_id).is_none() {
        return Err(failed(name, "the snapshot has expired meanwhile".to_owned()));
    }
    let commit = TableCommit {
        base: Arc::clone(&found.metadata),
        base_location: found.location.clone(),
        requirements: vec![TableRequirement::UuidMatch { uuid: metadata.uuid() }],
        updates: vec![TableUpdate::SetStatistics {
            statistics: statistics.clone(),
        }],
    };
    lakehouse.client(&name.catalog)?.commit(name, &commit).await
}

fn conflict(name: &TableName) -> Error {
    Error::Conflict {
        table: name.to_string(),
    }
}

fn failed(name: &TableName, detail: String) -> Error {
    Error::Unsupported {
        table: name.to_string(),
        feature: format!("ANALYZE: {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::catalog::TableProvider;
    use datafusion::common::stats::Precision;
    use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
    use datafusion::prelude::SessionContext;
    use datasketches::hash::value::raw_bytes::from_vec;
    use datasketches::theta::ThetaSketchBuilder;

    use super::*;
    use crate::iceberg::commit::fixture::House;

    fn sketch(values: u32) -> Vec<u8> {
        let mut sketch = ThetaSketchBuilder::default().build().unwrap();
        (0..values).for_each(|value| sketch.update(from_vec(value.to_le_bytes().to_vec())));
        sketch.compact(true).serialize()
    }

    impl House {
        /// What plans are told of the numbers of distinct values.
        async fn distinct(&self) -> Vec<Precision<usize>> {
            let table = self.lakehouse.table(&self.name).await.unwrap();
            let scan = table
                .scan(&SessionContext::new().state(), None, &[], None)
                .await
                .unwrap();
            let statistics = StatisticsContext::new().compute(scan.as_ref(), &StatisticsArgs::new());
            let columns = statistics.unwrap().column_statistics.clone();
            columns.iter().map(|column| column.distinct_count).collect()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn estimates_hold_until_there_are_newer_ones() {
        for version in 1..=3 {
            let house = House::of(version, &[]).await;
            house.append(&[1, 2, 3]).await;
            assert_eq!(house.distinct().await, [Precision::Absent; 2]);
            let keep = async |sketches: &[(&str, u32)]| {
                let id = house.snapshot().await.version().unwrap();
                let sketches = sketches
                    .iter()
                    .map(|(column, values)| ((*column).to_owned(), sketch(*values)));
                let sketches: Vec<_> = sketches.collect();
                keep_sketches(&house.lakehouse, &house.name, id, &sketches)
                    .await
                    .unwrap()
            };
            let told = keep(&[("id", 50), ("name", 2)]).await;
            assert_eq!(told, [("id".to_owned(), 50), ("name".to_owned(), 2)]);
            // There are never more values than rows.
            assert_eq!(house.distinct().await, [Precision::Inexact(3), Precision::Inexact(2)]);
            house.append(&[4]).await;
            assert_eq!(house.distinct().await, [Precision::Inexact(4), Precision::Inexact(2)]);
            assert_eq!(house.ids().await, [1, 2, 3, 4]);
            keep(&[("name", 1)]).await;
            assert_eq!(house.distinct().await, [Precision::Absent, Precision::Inexact(1)]);
            let known = house
                .snapshot()
                .await
                .sketched_columns(Some(&["id".to_owned()]))
                .unwrap();
            assert_eq!(known, ["id", "name"]);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_kept_leaves_nothing_behind() {
        let house = House::of(2, &[]).await;
        house.append(&[1]).await;
        let before = house.metadata().await;
        let id = house.snapshot().await.version().unwrap();
        let keep = async |id, column: &str, sketch: Vec<u8>| {
            let sketches = [(column.to_owned(), sketch)];
            keep_sketches(&house.lakehouse, &house.name, id, &sketches)
                .await
                .unwrap_err()
        };
        assert!(keep(id, "nothing", sketch(1)).await.to_string().contains("nothing"));
        assert!(matches!(keep(id + 1, "id", sketch(1)).await, Error::Conflict { .. }));
        keep(id, "id", b"no sketch".to_vec()).await;
        assert_eq!(house.metadata().await, before);
    }
}
