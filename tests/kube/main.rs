//! Executors as pods: a real API server, etcd and scheduler; a node of our own that runs pods as processes.

mod api_server;
mod burst;
mod chart;
mod losses;
mod refusals;
mod rights;
mod servers;
mod support;
