//! Which limits a process has.

use datafusion::execution::memory_pool::MemoryLimit;

use super::*;

fn limits(spill_dir: Option<std::path::PathBuf>) -> MemoryLimits {
    MemoryLimits {
        memory_bytes_max: Some(1 << 20),
        spill_dir,
        spill_bytes_max: 1 << 30,
    }
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let env = runtime_env(&limits(Some(spill.clone())), Stores::new(&[]).unwrap()).unwrap();
    assert!(matches!(env.memory_pool.memory_limit(), MemoryLimit::Finite(bytes) if bytes == 1 << 20));
    assert_eq!(env.disk_manager.max_temp_directory_size(), 1 << 30);
    assert!(
        env.disk_manager
            .temp_dir_paths()
            .iter()
            .all(|path| path.starts_with(&spill))
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = runtime_env(&limits(Some(file.path().join("below"))), Stores::new(&[]).unwrap()).unwrap_err();
    assert!(
        error.to_string().contains(&file.path().display().to_string()),
        "{error}"
    );
}

#[test]
fn the_machines_memory_is_read() {
    assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2048 * 1024));
    assert_eq!(mem_total("MemTotal: much"), None);
    assert_eq!(group_limit("12:cpu:/a\n"), None);
    assert!(default_bytes() > 1 << 20);
}
