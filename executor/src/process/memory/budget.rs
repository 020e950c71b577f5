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

    /// What all that can spill may hold together with the rest: a quarter is left for those that cannot, such as the merge
    /// of what was spilled, or they would fail beside memory that others could give back, and an eighth for who begins.
    fn spillable_bytes_max(&self) -> usize {
        self.bytes_max / 8 * 5
    }

    /// What `consumer`, which holds `held` already, may make the query hold altogether.
    fn bytes_max_for(&self, consumer: &MemoryConsumer, held: usize) -> usize {
        match consumer {
            // Nothing to give back yet: it gets what there is.
            _ if held == 0 => self.bytes_max,
            _ if consumer.can_spill() => self.spillable_bytes_max(),
            // At its end the build side of a join is copied into one batch, which is not counted.
            _ if consumer.name().starts_with("HashJoinInput") => self.bytes_max / 3 * 2,
            // A merge reads as many runs at once as it gets memory for: the last would get none.
            _ if is_merge(consumer) && held >= self.merge_bytes() => self.bytes_max / 8 * 6,
            _ if is_merge(consumer) => self.bytes_max / 8 * 7,
            _ => self.bytes_max,
        }
    }

    /// A merge's part of what is left beside sorts.
    fn merge_bytes(&self) -> usize {
        self.bytes_max / 4 / self.sorts.load(Ordering::Relaxed).max(1)
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
        // Others may hold more than they may: some rows cannot be refused.
        if additional == 0 {
            return Ok(());
        }
        let sort_bytes_max = self.sort_bytes_max();
        let held_already = reservation.size();
        // A sort that holds nothing has nothing to spill: it gets what there is.
        if is_sort(reservation.consumer())
            && held_already > 0
            && held_already.saturating_add(additional) > sort_bytes_max
        {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "a sort may hold {} of the memory of its query, holds {} and needs {} more",
                human_readable_size(sort_bytes_max),
                human_readable_size(held_already),
                human_readable_size(additional),
            )));
        }
        let bytes_max = self.bytes_max_for(reservation.consumer(), held_already);
        let held = self.held.fetch_add(additional, Ordering::Relaxed);
        let granted = match held.checked_add(additional) {
            Some(bytes) if bytes <= bytes_max => self.process.try_grow(reservation, additional),
            _ => Err(DataFusionError::ResourcesExhausted(format!(
                "the query holds {} of the {} of memory it may on one machine, and {} needs {} more",
                human_readable_size(held),
                human_readable_size(bytes_max),
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

/// Whether a consumer merges what a sort has spilled.
fn is_merge(consumer: &MemoryConsumer) -> bool {
    consumer.name().starts_with("ExternalSorterMerge")
}

/// Whether a consumer collects the rows of a sort; it can spill them.
fn is_sort(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && consumer.name().starts_with("ExternalSorter")
}
