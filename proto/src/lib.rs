//! The messages that cross a wire: plan nodes, Flight handles, kinds of failure. Messages only, no logic; the crate
//! knows neither who sends them nor how they travel.
//!
//! The meaning of every field stands in `lakewing/v1/*.proto`.

pub use generated::*;

mod generated {
    #![allow(missing_docs, clippy::all, reason = "generated; documented in the .proto files")]
    include!("generated/lakewing.v1.rs");
}

// What is secret in them is not shown.

impl std::fmt::Debug for StorageLoan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageLoan")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LendRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LendRequest").field("loans", &self.loans).finish()
    }
}
