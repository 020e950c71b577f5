//! The front door: the Flight SQL server, the client that asks it, and the demo.
//!
//! [`app::App`] is a running server; [`config::Config`] is what it is told. The binary `lakewing` chooses by
//! [`cli::Cli`] which role a process has.

pub mod access;
pub mod app;
pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod demo;
pub mod error;
mod flight;
pub mod query;
pub mod session;
pub mod shutdown;
mod sql;
pub mod telemetry;
pub mod tls;
