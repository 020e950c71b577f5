//! What has become of the queries of this process: counts for the metrics, of fixed size.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::registry::Ending;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    ended: Family<[(&'static str, &'static str); 1], Counter>,
    rows: Counter,
    seconds: Histogram,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            rows: Counter::default(),
            // From a millisecond to half an hour.
            seconds: Histogram::new(exponential_buckets(0.001, 4.0, 11)),
        }
    }
}

impl Tally {
    /// A query has ended after `seconds`, with so many rows: `outcome`, where its run came to one.
    pub(super) fn count(&self, outcome: Option<&'static str>, ending: Option<&Ending>, rows: u64, seconds: f64) {
        let outcome = outcome.unwrap_or(match ending {
            Some(Ending::TimedOut(_)) => "timed out",
            Some(_) => "cancelled",
            None => "failed",
        });
        self.ended.get_or_create(&[("outcome", outcome)]).inc();
        self.rows.inc_by(rows);
        self.seconds.observe(seconds);
    }

    /// Shows the counts in `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let ended = "Queries and writes that have ended, by how";
        registry.register("queries_ended", ended, self.ended.clone());
        let rows = "Rows that readers of queries got";
        registry.register("rows_returned", rows, self.rows.clone());
        let seconds = "How long queries took, from their arrival to their last row";
        registry.register_with_unit("query_duration", seconds, Unit::Seconds, self.seconds.clone());
    }
}
