//! A query whose rows go to the spool instead of to a client that waits: it runs by itself, tells how far it is, and
//! ends when nobody wants it any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use datafusion::error::DataFusionError;
use futures::{Stream, StreamExt};
use proto::{StoredQuery, StoredState};
use tokio::time::MissedTickBehavior;
use tracing::warn;
use uuid::Uuid;

use super::registry::{Ending, RunningQuery};
use super::spool::Spool;
use crate::error::{Error, Result};

/// A part is written when it has so many bytes, compressed.
const PART_BYTES: usize = 4 * 1024 * 1024;
/// Drivers open all endpoints at once.
const ENDPOINTS_MAX: usize = 16;
/// How often progress is told, and asked whether anybody wants it.
const TELL_INTERVAL: Duration = Duration::from_millis(500);
/// A state is written at least so often, so that others see that somebody lives.
const ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// A query that loses executors again and again is run again so often.
const RESTARTS_MAX: usize = 3;

/// Writes the rows of one query.
pub(crate) struct Storing {
    spool: Arc<Spool>,
    id: Uuid,
    state: StoredQuery,
    schema: SchemaRef,
    parts: u32,
    /// Parts of the endpoint that is not complete yet.
    open_parts: u32,
    buffer: StreamWriter<Vec<u8>>,
    told: Instant,
    restarts: usize,
}

impl Storing {
    /// Begins with a state that says so and a lease. `state` has the user, the schema and the order.
    pub(crate) async fn begin(spool: Arc<Spool>, id: Uuid, mut state: StoredQuery, schema: SchemaRef) -> Result<Self> {
        state.set_state(StoredState::Running);
        spool.lease(id, spool.lifetime()).await?;
        spool.write_state(id, &state).await?;
        Ok(Self {
            spool,
            id,
            state,
            parts: 0,
            open_parts: 0,
            buffer: buffer(&schema)?,
            schema,
            told: Instant::now(),
            restarts: 0,
        })
    }

    /// Stores `rows`, those of `query`, to their end; then how it ended. Where executors were lost before anybody could
    /// have seen a part of the result, comes back empty, for the same query to be run again.
    pub(crate) async fn store(
        mut self,
        query: &RunningQuery,
        rows: impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send,
    ) -> Option<Self> {
        let stored = self.take(query, std::pin::pin!(rows)).await;
        let unseen = self.state.endpoint_chunks.is_empty() && query.ending().is_none();
        match (stored, buffer(&self.schema)) {
            (Err(error), Ok(empty)) if unseen && self.restarts < RESTARTS_MAX && error.is_about_executors() => {
                warn!(query_id = %self.id, %error, "a query whose result is stored is run again");
                self.buffer = empty;
                (self.state.rows, self.state.bytes) = (0, 0);
                self.restarts += 1;
                Some(self)
            }
            (stored, _) => {
                self.finish(stored).await;
                None
            }
        }
    }

    /// Says that the query failed before its first row.
    pub(crate) async fn fail(self, error: Error) {
        self.finish(Err(error)).await;
    }

    async fn take(
        &mut self,
        query: &RunningQuery,
        mut rows: std::pin::Pin<&mut (impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send)>,
    ) -> Result<()> {
        let mut ticks = tokio::time::interval(TELL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => self.tell(query).await?,
                batch = rows.next() => match batch {
                    Some(batch) => self.add(&batch?).await?,
                    None => return self.close(true).await,
                },
            }
        }
    }

    async fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.buffer.write(batch).map_err(DataFusionError::from)?;
        self.state.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
        if self.buffer.get_ref().len() >= PART_BYTES {
            self.close(false).await?;
        }
        Ok(())
    }

    /// Writes the part that is in the buffer. Endpoints double in size, so that the first one is there early and their
    /// number is bounded.
    async fn close(&mut self, last: bool) -> Result<()> {
        let full = std::mem::replace(&mut self.buffer, buffer(&self.schema)?);
        let part: Bytes = full.into_inner().map_err(DataFusionError::from)?.into();
        self.state.bytes += i64::try_from(part.len()).unwrap_or(i64::MAX);
        self.spool.write_part(self.id, self.parts, part).await?;
        self.parts += 1;
        self.open_parts += 1;
        let complete = self.state.endpoint_chunks.len();
        let full_endpoint = complete + 1 < ENDPOINTS_MAX && self.open_parts >= 1 << complete;
        if last || full_endpoint {
            self.state.endpoint_chunks.push(self.open_parts);
            self.open_parts = 0;
            if !last {
                self.write().await?;
            }
        }
        Ok(())
    }

    async fn tell(&mut self, query: &RunningQuery) -> Result<()> {
        if self.spool.is_unwanted(self.id).await {
            query.end(Ending::Abandoned);
        }
        let progress = query.progress().max(self.state.progress);
        if progress > self.state.progress || self.told.elapsed() > ALIVE_INTERVAL {
            self.state.progress = progress;
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        self.told = Instant::now();
        self.spool.write_state(self.id, &self.state).await
    }

    async fn finish(mut self, stored: Result<()>) {
        match stored {
            Ok(()) => {
                self.state.progress = 1.0;
                self.state.set_state(StoredState::Complete);
            }
            Err(error) => {
                self.state.set_error_kind(error.kind());
                self.state.error_message = error.to_string();
                self.state.set_state(StoredState::Failed);
            }
        }
        if let Err(error) = self.write().await {
            warn!(query_id = %self.id, %error, "the end of a stored query cannot be told");
        }
    }
}

/// The rows of one part.
pub(crate) fn read_part(part: &Bytes) -> Result<Vec<RecordBatch>, DataFusionError> {
    let reader = StreamReader::try_new(std::io::Cursor::new(part), None)?;
    Ok(reader.collect::<Result<_, _>>()?)
}

fn buffer(schema: &SchemaRef) -> Result<StreamWriter<Vec<u8>>> {
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME));
    let options = options.map_err(DataFusionError::from)?;
    let writer = StreamWriter::try_new_with_options(Vec::new(), schema, options);
    Ok(writer.map_err(DataFusionError::from)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use catalog::Stores;
    use futures::stream;

    use super::*;
    use crate::query::{Origin, Registry, spool};

    fn batch(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn lost() -> DataFusionError {
        DataFusionError::External(Box::new(executor::Error::Unreachable {
            address: "http://a:1".to_owned(),
            reason: "gone".to_owned(),
        }))
    }

    async fn begin(folder: &tempfile::TempDir) -> (Storing, Arc<Spool>, Uuid) {
        let stores = Stores::new(&[]).unwrap();
        let spool = Arc::new(Spool::new(&spool::Config::default(), folder.path(), &stores).unwrap());
        let id = Uuid::now_v7();
        let storing = Storing::begin(Arc::clone(&spool), id, StoredQuery::default(), batch(0).schema());
        (storing.await.unwrap(), spool, id)
    }

    #[tokio::test]
    async fn what_nobody_has_seen_is_stored_again() {
        let folder = tempfile::tempdir().unwrap();
        let (storing, spool, id) = begin(&folder).await;
        let origin = Origin {
            id,
            session_id: None,
            tags: Vec::new(),
        };
        let query = Registry::default()
            .begin(origin, "a", "SELECT 1", None)
            .unwrap()
            .share();
        let storing = storing.store(&query, stream::iter([Ok(batch(5)), Err(lost())])).await;
        let storing = storing.unwrap().store(&query, stream::iter([Ok(batch(3))])).await;
        assert!(storing.is_none());
        let state = spool.read_state(id).await.unwrap();
        assert_eq!((state.state(), state.rows), (StoredState::Complete, 3));
        let part = spool.read_part(id, 0).await.unwrap();
        assert_eq!(read_part(&part).unwrap(), [batch(3)]);
    }

    #[tokio::test]
    async fn what_fails_by_itself_or_was_seen_is_not() {
        let check = async |rows: Vec<Result<RecordBatch, DataFusionError>>| {
            let folder = tempfile::tempdir().unwrap();
            let (storing, spool, id) = begin(&folder).await;
            let origin = Origin {
                id,
                session_id: None,
                tags: Vec::new(),
            };
            let query = Registry::default()
                .begin(origin, "a", "SELECT 1", None)
                .unwrap()
                .share();
            assert!(storing.store(&query, stream::iter(rows)).await.is_none());
            assert_eq!(spool.read_state(id).await.unwrap().state(), StoredState::Failed);
        };
        check(vec![Err(DataFusionError::ResourcesExhausted("no".to_owned()))]).await;
        let numbers = |seed: u64| {
            // Numbers that do not compress, more than one part holds.
            let mut number = seed;
            let values = std::iter::repeat_with(move || {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                i64::from_ne_bytes(number.to_ne_bytes())
            });
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values.take(1 << 20)));
            RecordBatch::try_from_iter([("n", column)]).unwrap()
        };
        check(vec![Ok(numbers(1)), Err(lost())]).await;
    }
}
