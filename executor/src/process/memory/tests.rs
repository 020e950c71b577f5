//! Which limits a process has, what a query may hold, and what a process leaves behind.

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};

use super::*;

fn limits(spill_dir: Option<std::path::PathBuf>) -> MemoryLimits {
    MemoryLimits {
        memory_bytes_max: Some(1000),
        query_memory_bytes_max: Some(600),
        spill_dir,
        spill_bytes_max: 1 << 30,
    }
}

fn start(limits: &MemoryLimits) -> Result<Arc<Memory>> {
    Memory::start(limits, Stores::new(&[]).unwrap())
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let memory = start(&limits(Some(spill.clone()))).unwrap();
    let env = memory.runtime();
    assert!(matches!(env.memory_pool.memory_limit(), MemoryLimit::Finite(bytes) if bytes == 1000));
    assert_eq!(env.disk_manager.max_temp_directory_size(), 1 << 30);
    assert!(
        env.disk_manager
            .temp_dir_paths()
            .iter()
            .all(|path| path.starts_with(&spill))
    );
}

#[test]
fn a_query_has_a_budget_that_its_tasks_share() {
    let memory = start(&limits(None)).unwrap();
    let (one, two) = (memory.of_task("a", None), memory.of_task("a", None));
    let (first, second) = (reservation(&one, "one"), reservation(&two, "HashJoinInput"));
    first.try_grow(400).unwrap();
    let error = second.try_grow(300).unwrap_err();
    assert!(matches!(error, DataFusionError::ResourcesExhausted(_)), "{error}");
    for part in ["400.0 B", "600.0 B", "HashJoinInput", "300.0 B"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    second.try_grow(200).unwrap();

    let other = reservation(&memory.of_task("b", None), "other");
    other.try_grow(500).unwrap_err();
    other.try_grow(400).unwrap();
    drop((first, second, one, two));
    assert_eq!(memory.runtime().memory_pool.reserved(), 400);
    other.try_grow(200).unwrap();
    other.try_grow(1).unwrap_err();
    other.grow(1);
    other.try_grow(0).unwrap();
    drop(other);
    assert_eq!(memory.runtime().memory_pool.reserved(), 0);

    let small = reservation(&memory.of_query(Some(10)), "small");
    small.try_grow(11).unwrap_err();
    let wide = reservation(&memory.of_query(Some(10_000)), "wide");
    wide.try_grow(601).unwrap_err();
}

/// A sort that begins needs its first rows in memory: what others may hold together, spilling or merging, leaves room.
#[test]
fn sorts_and_merges_leave_something_for_who_comes_last() {
    let memory = start(&limits(None)).unwrap();
    let env = memory.of_query(None);
    let spilling = |name: &str| {
        let consumer = MemoryConsumer::new(name).with_can_spill(true);
        consumer.register(&env.memory_pool)
    };
    let fill = |reservation: &datafusion::execution::memory_pool::MemoryReservation| {
        while reservation.try_grow(5).is_ok() {}
    };
    let (one, two, other) = (
        spilling("ExternalSorter[0]"),
        spilling("ExternalSorter[1]"),
        spilling("rows"),
    );
    let merges = [
        reservation(&env, "ExternalSorterMerge[0]"),
        reservation(&env, "ExternalSorterMerge[1]"),
    ];
    fill(&one);
    fill(&two);
    fill(&other);
    merges.iter().for_each(fill);
    let last = spilling("ExternalSorter[2]");
    last.try_grow(600 / 8).unwrap();
}

fn reservation(env: &RuntimeEnv, name: &str) -> datafusion::execution::memory_pool::MemoryReservation {
    MemoryConsumer::new(name).register(&env.memory_pool)
}

#[test]
fn scratch_folders_go_with_their_process_and_those_of_killed_ones_with_the_next() {
    let base = tempfile::tempdir().unwrap();
    let folders = || fs::read_dir(base.path()).unwrap().count();
    let living = Scratch::new(base.path()).unwrap();
    let killed = Scratch::new(base.path()).unwrap();
    fs::write(killed.folder().join("data"), "rows").unwrap();
    let folder = killed.folder().to_owned();
    // As a killed process: its files stay, its locks do not.
    let kept = base.path().join("kept");
    fs::rename(&folder, &kept).unwrap();
    drop(killed);
    fs::rename(&kept, &folder).unwrap();
    assert_eq!(folders(), 2);
    let next = Scratch::new(base.path()).unwrap();
    assert!(!folder.exists() && living.folder().exists() && next.folder().exists());
    drop((living, next));
    assert_eq!(folders(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = start(&limits(Some(file.path().join("below")))).unwrap_err();
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
    assert_eq!(
        group_limit("4:memory:/nowhere/at/all\n0::/nowhere/at/all\n9:cpu:/\n"),
        group_limit("4:memory:/\n0::/\n")
    );
    let gib = |count: u64| count << 30;
    assert_eq!(share(gib(1)), gib(1) - (512 << 20));
    assert_eq!(share(gib(1) / 2), gib(1) / 2 / 100 * 40);
    assert_eq!(share(gib(8)), gib(8) / 100 * 60);
    assert!((gib(1)..gib(2)).contains(&(share(gib(2)) + (512 << 20))));
    assert!(default_bytes() > 1 << 20);
}
