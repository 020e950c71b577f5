//! Executors as processes of their own: how they end, are lost, come back and are shared.

mod burst;
mod chaos;
mod credentials;
mod discovery;
mod ending;
mod metrics;
mod scaling;
mod shutdown;
