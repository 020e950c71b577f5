//! Older versions of a table, by number and by time.
//!
//! A version's time is its in-commit timestamp where the table has them, else the time of its commit's object, made
//! monotonic. A version can be read while a checkpoint or the first commit, and all commits from there to it, exist.
//! Source: the Delta protocol, "In-Commit Timestamps".

use std::sync::Arc;

use chrono::DateTime;
use delta_kernel::KernelError;
use delta_kernel::history_manager::error::{LogHistoryError, NearestTimestamp};
use delta_kernel::history_manager::{HistoryCommitType, get_earliest_commit, latest_version_as_of};

use crate::delta::cache::{DeltaCache, Version};
use crate::delta::log::Log;
use crate::error::{Error, Result};

/// The version of that number.
pub(crate) async fn of_number(log: &Log, cache: &DeltaCache, number: i64) -> Result<Arc<Version>> {
    let newest = cache.latest(log).await?;
    match u64::try_from(number) {
        Ok(wanted) if wanted == newest.number() => return Ok(newest),
        Ok(wanted) if wanted < newest.number() => match cache.older(log, wanted).await {
            Ok(version) => return Ok(version),
            // Where the log reaches back that far, the error is about something else.
            Err(error) if oldest(log, &newest).await.is_ok_and(|oldest| oldest <= wanted) => return Err(error),
            Err(_) => {}
        },
        _ => {}
    }
    let hint = match oldest(log, &newest).await {
        Ok(oldest) => format!("the versions {oldest} to {} can be read", newest.number()),
        Err(_) => format!("the version {} can be read", newest.number()),
    };
    Err(no_version(log, number.to_string(), hint))
}

/// The version that was the newest at a time, in microseconds since the epoch; after the last commit that is the
/// newest one.
pub(crate) async fn of_time(log: &Log, cache: &DeltaCache, micros: i64) -> Result<Arc<Version>> {
    let newest = cache.latest(log).await?;
    let (kernel, engine, wanted) = (Arc::clone(&newest.kernel), log.engine(), micros.div_euclid(1000));
    let search = move || match latest_version_as_of(&kernel, &engine, wanted, HistoryCommitType::Recreatable) {
        Ok(commit) => Ok(Ok(commit.version)),
        Err(error) => match error.without_backtrace() {
            KernelError::LogHistory(history) => match history.as_ref() {
                LogHistoryError::TimestampOutOfRange { nearest_timestamp, .. } => Ok(Err(*nearest_timestamp)),
                _ => Err(error),
            },
            _ => Err(error),
        },
    };
    match log.blocking(search).await? {
        Ok(version) if version == newest.number() => Ok(newest),
        Ok(version) => cache.older(log, version).await,
        Err(nearest) => {
            let hint = match nearest {
                NearestTimestamp::Earliest(millis) => {
                    format!(
                        "the oldest version that can be read is of {}",
                        time(millis.saturating_mul(1000))
                    )
                }
                _ => "no version is that old".to_owned(),
            };
            Err(no_version(log, time(micros), hint))
        }
    }
}

/// The version that was the newest at a time, in microseconds since the epoch, or the oldest that can be read.
pub(crate) async fn of_time_or_oldest(log: &Log, cache: &DeltaCache, micros: i64) -> Result<Arc<Version>> {
    match of_time(log, cache, micros).await {
        Err(Error::NotFound { .. }) => {
            let newest = cache.latest(log).await?;
            let oldest = oldest(log, &newest).await?;
            cache.older(log, oldest).await
        }
        found => found,
    }
}

async fn oldest(log: &Log, newest: &Version) -> Result<u64> {
    let (engine, folder) = (log.engine(), newest.kernel.log_segment().log_root.clone());
    log.blocking(move || get_earliest_commit(&engine, &folder, None, HistoryCommitType::Recreatable))
        .await
}

fn no_version(log: &Log, which: String, hint: String) -> Error {
    Error::NotFound {
        what: "version",
        name: format!("{which} of {}", log.table),
        hint: Some(hint),
    }
}

/// Microseconds since the epoch as people read them.
fn time(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string(),
        None => format!("{micros} microseconds since the epoch"),
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
