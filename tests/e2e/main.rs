//! Lakewing against real parts: the binary with real drivers, S3, catalogs and other engines' tables.

mod bad_input;
mod catalogs;
mod cli;
mod clients;
mod conformance;
mod corruption;
mod executors;
mod listing;
mod replicas;
mod slow_reader;
mod superset;
mod tpcds;
mod tpch;
mod versions;
mod writes;
