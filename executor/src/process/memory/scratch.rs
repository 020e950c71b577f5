//! The folder of one process for data that does not fit into memory. It goes with the process; what a process left that
//! was killed, the next one in the same place removes.

use std::fs::{self, File};
use std::io::Result;
use std::path::{Path, PathBuf};

use uuid::Uuid;

const PREFIX: &str = "lakewing-scratch-";
/// A file that is locked as long as the process lives.
const LOCK: &str = "lock";

/// A folder that is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A new one below `base`, which is made where there is none.
    pub(super) fn new(base: &Path) -> Result<Self> {
        fs::create_dir_all(base)?;
        remove_abandoned(base);
        let folder = base.join(format!("{PREFIX}{}", Uuid::now_v7()));
        // Complete before others see it: a folder without a locked file counts as abandoned.
        let hidden = base.join(format!(".{PREFIX}{}", Uuid::now_v7()));
        fs::create_dir(&hidden)?;
        let lock = File::create(hidden.join(LOCK))?;
        lock.lock()?;
        fs::rename(&hidden, &folder)?;
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "the scratch folder stays");
        }
    }
}

fn remove_abandoned(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for folder in entries.flatten().map(|entry| entry.path()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // Without the lock nobody may tell, and a folder of a living process must stay.
        let Ok(lock) = File::open(folder.join(LOCK)) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            tracing::info!(folder = %folder.display(), "removes what a killed process left");
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove what a killed process left");
            }
        }
    }
}
