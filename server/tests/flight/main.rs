//! The Flight SQL door, from outside: a real server on a socket, asked by the Flight SQL client of arrow-rs, and by
//! hand where that client would hide a mistake.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod ending;
mod fuzz;
mod house;
mod identity;
mod metadata;
mod options;
mod polling;
mod prepared;
mod protocol;
mod query;
mod session;
