//! Processes that share a limit of memory, which the kernel enforces, as it does for the containers of a pod.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

/// A control group, of version 1 or 2. Dropping it takes it away, where its processes have ended.
pub struct MemoryGroup {
    folder: PathBuf,
    is_v2: bool,
}

impl MemoryGroup {
    /// A new group of at most `bytes`; nothing, and a notice, where this machine lets nobody make one.
    pub fn new(bytes: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "lakewing-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let made = [("/sys/fs/cgroup/memory", false), ("/sys/fs/cgroup", true)]
            .into_iter()
            .find_map(|(root, is_v2)| {
                let group = Self {
                    folder: Path::new(root).join(&name),
                    is_v2,
                };
                std::fs::create_dir(&group.folder).ok()?;
                let limit = if is_v2 { "memory.max" } else { "memory.limit_in_bytes" };
                std::fs::write(group.folder.join(limit), bytes.to_string()).ok()?;
                Some(group)
            });
        if made.is_none() {
            eprintln!("SKIPPED: this machine lets nobody make a control group with a limit of memory");
        }
        made
    }

    /// `command`, run inside.
    pub fn run(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        inside.args(["-c", &enter, "sh"]);
        inside.arg(command.get_program()).args(command.get_args());
        inside
    }

    /// The most that its processes have held, with the files that the kernel caches for them, in megabytes.
    pub fn peak_mb(&self) -> Result<f64> {
        let file = if self.is_v2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        let bytes: f64 = self.read(file)?.trim().parse()?;
        Ok(bytes / 1e6)
    }

    /// How many processes the kernel has killed for want of memory.
    pub fn killed(&self) -> Result<u64> {
        let file = if self.is_v2 {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        let text = self.read(file)?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("no count of killed processes")?.trim().parse()?)
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.folder.join(file);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // It stays where a process is left in it.
        std::fs::remove_dir(&self.folder).ok();
    }
}
