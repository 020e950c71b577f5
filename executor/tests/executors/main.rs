//! Plans on executors over real sockets, seen through the crate's doors.

#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod explain;
mod failure;
mod memory;
mod progress;
mod results;
mod retry;
mod shutdown;
mod support;
mod tls;
