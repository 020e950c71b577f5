//! What one query may hold of a process' memory: a pool inside the pool of all. A query that wants more fails, or spills,
//! alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};

/// The memory of one query on one machine.
#[derive(Debug)]
pub(super) struct QueryPool {
    process: Arc<dyn MemoryPool>,
    held: AtomicUsize,
    bytes_max: usize,
    /// Sorts that have begun and not ended.
    sorts: AtomicUsize,
}

impl QueryPool {
    /// At most `bytes_max` of what `process` has.
    pub(super) fn new(process: Arc<dyn MemoryPool>, bytes_max: usize) -> Self {
        Self {
            process,
            held: AtomicUsize::new(0),
            bytes_max,
            sorts: AtomicUsize::new(0),
        }
    }

    /// What one sort may hold. Many run beside each other, and one that came first must not leave nothing for the others:
    /// a sort that has nothing to spill yet fails where it gets no memory. Half is for merging what was spilled.
    fn sort_bytes_max(&self) -> usize {
        match self.sorts.load(Ordering::Relaxed) {
            0 | 1 => self.bytes_max,
            sorts => self.bytes_max / 2 / sorts,
        }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "query"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if is_sort(consumer) {
            self.sorts.fetch_add(1, Ordering::Relaxed);
        }
        self.process.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if is_sort(consumer) {
            self.sorts.fetch_sub(1, Ordering::Relaxed);
        }
        self.process.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held.fetch_add(additional, Ordering::Relaxed);
        self.process.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.held.fetch_sub(shrink, Ordering::Relaxed);
        self.process.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<(), DataFusionError> {
        let sort_bytes_max = self.sort_bytes_max();
        let held_by_sort = reservation.size();
        // A sort that holds nothing has nothing to spill: it gets what there is.
        if is_sort(reservation.consumer())
            && held_by_sort > 0
            && held_by_sort.saturating_add(additional) > sort_bytes_max
        {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "a sort may hold {} of the memory of its query, holds {} and needs {} more",
                human_readable_size(sort_bytes_max),
                human_readable_size(held_by_sort),
                human_readable_size(additional),
            )));
        }
        let held = self.held.fetch_add(additional, Ordering::Relaxed);
        let granted = match held.checked_add(additional) {
            Some(bytes) if bytes <= self.bytes_max => self.process.try_grow(reservation, additional),
            _ => Err(DataFusionError::ResourcesExhausted(format!(
                "the query holds {} of the {} of memory it may on one machine, and {} needs {} more",
                human_readable_size(held),
                human_readable_size(self.bytes_max),
                reservation.consumer().name(),
                human_readable_size(additional),
            ))),
        };
        if granted.is_err() {
            self.held.fetch_sub(additional, Ordering::Relaxed);
        }
        granted
    }

    fn reserved(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.bytes_max)
    }
}

/// Whether a consumer collects the rows of a sort; it can spill them.
fn is_sort(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && consumer.name().starts_with("ExternalSorter")
}
