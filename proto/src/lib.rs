//! The messages that cross a wire: plan nodes, Flight handles, kinds of failure. Messages only, no logic; the crate
//! knows neither who sends them nor how they travel.
//!
//! The meaning of every field stands in `lakewing/v1/*.proto`.

pub use generated::*;

mod generated {
    #![allow(missing_docs, clippy::all, reason = "generated; documented in the .proto files")]
    include!("generated/lakewing.v1.rs");
}
