//! Checkpoints: the state of a version in one file, so that readers need not read every commit.

use std::sync::Arc;

use delta_kernel::Snapshot;

use crate::delta::log::Log;
use crate::delta::read::DeltaSnapshot;
use crate::error::Result;

/// Commits between two checkpoints where the table does not say.
const INTERVAL_DEFAULT: u64 = 10;

/// Writes the checkpoint that is due at `version`, which was just committed. The commit stands without it: a failure is
/// logged, and a later commit writes one.
pub(crate) async fn when_due(base: &DeltaSnapshot, version: u64) {
    let interval = base
        .property("delta.checkpointInterval")
        .and_then(|text| text.parse().ok());
    if !version.is_multiple_of(interval.unwrap_or(INTERVAL_DEFAULT).max(1)) || version == 0 {
        return;
    }
    if let Err(error) = write(&base.log, version).await {
        tracing::warn!(table = base.log.table, version, %error, "a checkpoint cannot be written");
    }
}

/// Writes the checkpoint of `version` and points `_last_checkpoint` to it. Nothing happens where there is one.
pub(crate) async fn write(log: &Log, version: u64) -> Result<()> {
    let (url, engine) = (log.root_url.clone(), log.engine());
    let write = move || {
        let snapshot = Snapshot::builder_for(url.as_str()).at_version(version).build(&engine)?;
        Arc::clone(&snapshot).checkpoint(&engine, None).map(|_| ())
    };
    log.blocking(write).await
}
