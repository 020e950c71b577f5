//! What keeps tables small, by the format that each has.

use super::Lakehouse;
use crate::client::{TableLocation, other_kind};
use crate::error::Result;
use crate::iceberg;
use crate::name::TableName;
use crate::write::maintenance::{Maintained, Maintenance};

impl Lakehouse {
    /// Does it to the table of that name. What is interrupted can be repeated.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::Error::Unsupported) where the table's format does not have it, or where it would
    /// delete what may be in use.
    pub async fn maintain(&self, name: &TableName, what: &Maintenance) -> Result<Maintained> {
        match self.client(&name.catalog)?.load(name).await? {
            None => Err(self.no_such_table(name).await),
            Some(TableLocation::View(_)) => Err(other_kind(name, "view")),
            Some(TableLocation::Iceberg { .. }) => Box::pin(iceberg::maintain::maintain(self, name, what)).await,
            Some(TableLocation::Delta { root }) => {
                let newest = self.delta_table(name, &root).await?;
                Box::pin(newest.maintain(what)).await
            }
        }
    }

    /// Keeps sketches of a snapshot's columns, as the aggregate [`theta_sketch`](crate::theta_sketch) makes them. The
    /// columns are those of [`sketched_columns`](crate::TableSnapshot::sketched_columns), in any order.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::Error::Conflict) where the snapshot is no longer the table's.
    pub async fn keep_sketches(
        &self,
        name: &TableName,
        snapshot_id: i64,
        sketches: &[(String, Vec<u8>)],
    ) -> Result<Maintained> {
        let counts = Box::pin(iceberg::maintain::keep_sketches(self, name, snapshot_id, sketches)).await?;
        Ok(Maintained::DistinctValues(counts))
    }
}
