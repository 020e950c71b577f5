//! A server process of a test: started with a log, waited for with a deadline, killed when dropped.

mod memory_group;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use memory_group::MemoryGroup;

/// A port of 127.0.0.1 that nobody listens on now, below those that the system gives to outgoing connections, and never
/// the same twice in this process.
pub fn free_port() -> Result<u16> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 100 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(20_000 + number % 12_000)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}

/// A running server. What it printed is printed again when it is dropped, so that a failed test shows it.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in `folder/NAME.log`.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// Waits, as [`Process::ready`] does, until it has printed a line that holds `text`; returns what follows in it.
    pub async fn prints(&mut self, text: &str) -> Result<String> {
        let log = self.log.clone();
        let find = || {
            let printed = std::fs::read_to_string(&log).ok()?;
            let (line, _) = printed.split_once(text)?.1.split_once('\n')?;
            Some(line.to_owned())
        };
        self.ready(async || find().is_some()).await?;
        find().context("a log became shorter")
    }

    /// Waits until `is_ready`, at most a minute; fails at once when the process ends.
    pub async fn ready(&mut self, is_ready: impl AsyncFn() -> bool) -> Result<()> {
        self.ready_within(Duration::from_secs(60), is_ready).await
    }

    /// As [`Process::ready`], at most so long.
    pub async fn ready_within(&mut self, patience: Duration, is_ready: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        while !is_ready().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready: {}", self.name, self.output());
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after {patience:?}: {}",
                self.name,
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// What the process has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it occupies, in megabytes.
    pub fn resident_mb(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = line.context("no VmRSS")?.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024.0 / 1e6)
    }

    /// The seconds that it has computed on all cores, in hundredths.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let (_, fields) = status.rsplit_once(')').context("no name in stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(str::parse::<f64>).collect::<Result<Vec<_>, _>>()?;
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status()?;
        ensure!(sent.success(), "{} is not there any more", self.name);
        Ok(())
    }

    /// Ends it with SIGKILL: it can do nothing about it.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end with SIGTERM and waits at most half a minute.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "{} still runs 30 s after SIGTERM: {}",
                self.name,
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // An error means that it ended in between.
            self.child.kill().ok();
            self.child.wait().ok();
            eprintln!("--- {} printed:\n{}", self.name, self.output());
        }
    }
}
