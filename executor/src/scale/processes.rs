//! Executors as processes on this machine: started from the server's own program, told to end by the end of their
//! standard input. So none outlives its server, however that ends.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use url::Url;
use uuid::Uuid;

use super::fleet::Fleet;
use crate::config::Config;
use crate::error::{Error, Result};

/// What an executor prints on its standard output, and nothing else, before its address.
const READY: &str = "ready: executor on ";
/// A process that says nothing for so long has failed to start.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Beyond its own grace period, a process gets so long to end.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// The processes that were started.
#[derive(Debug)]
pub(super) struct Processes {
    fleet: Arc<Fleet>,
    program: PathBuf,
    file: Option<PathBuf>,
    scheme: &'static str,
    grace: Duration,
    stops: Mutex<HashMap<String, CancellationToken>>,
    tasks: TaskTracker,
}

impl Processes {
    /// Executors of `program`, or of the program that runs, with the configuration of this server.
    pub(super) fn new(program: Option<&Path>, config: &Config, fleet: Arc<Fleet>) -> Result<Arc<Self>> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe().map_err(|error| Error::Config {
                key: "mode.program".to_owned(),
                detail: format!("must be given, since the running program has no name: {error}"),
            })?,
        };
        Ok(Arc::new(Self {
            fleet,
            program,
            file: config.file.clone(),
            scheme: if config.tls.is_some() { "https" } else { "http" },
            grace: config.grace,
            stops: Mutex::default(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Starts one for `set`.
    pub(super) fn start(self: &Arc<Self>, set: &Arc<str>, reason: &str) {
        let name = format!("{set}-{}", &Uuid::new_v4().simple().to_string()[..8]);
        self.fleet.started(&name, set, reason);
        let stop = CancellationToken::new();
        self.stops().insert(name.clone(), stop.clone());
        let (processes, set) = (Arc::clone(self), Arc::clone(set));
        self.tasks.spawn(async move {
            if let Err(why) = processes.keep(&name, stop).await {
                warn!(executor = name, why, "an executor process failed");
                processes.fleet.failed(&set, &why);
            }
            processes.stops().remove(&name);
            processes.fleet.ended(&name);
        });
    }

    /// Lets `name` finish what it has and end.
    pub(super) fn stop(&self, name: &str, reason: &str) {
        self.fleet.leaves(name, reason);
        if let Some(stop) = self.stops().get(name) {
            stop.cancel();
        }
    }

    /// Ends all of them and waits for that.
    pub(super) async fn shutdown(&self) {
        for (name, stop) in self.stops().iter() {
            self.fleet.leaves(name, "the server stops");
            stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The life of one process; why it failed, if it ended before it was told to.
    async fn keep(&self, name: &str, stop: CancellationToken) -> std::result::Result<(), String> {
        let mut child = self.spawn()?;
        let input = child.stdin.take();
        let mut lines = match child.stdout.take() {
            Some(output) => BufReader::new(output).lines(),
            None => return Err("its output cannot be read".to_owned()),
        };
        let ready = tokio::select! {
            line = lines.next_line() => line,
            () = stop.cancelled() => Ok(None),
            () = tokio::time::sleep(READY_TIMEOUT) => {
                return Err(format!("an executor process was not ready within {READY_TIMEOUT:?}"));
            }
        };
        let line = ready.ok().flatten().unwrap_or_default();
        let Some(address) = line.strip_prefix(READY).and_then(|address| self.address(address)) else {
            drop(input);
            let status = self.end(&mut child).await;
            return match stop.is_cancelled() {
                true => Ok(()),
                false => Err(format!("an executor process ended before it was ready: {status}")),
            };
        };
        info!(executor = name, %address, "an executor process listens");
        self.fleet.listens(name, address);
        tokio::select! {
            status = child.wait() => match status {
                // It is replaced at once where it is still wanted: that it worked shows that starting does.
                Ok(status) => warn!(executor = name, %status, "an executor process ended by itself"),
                Err(error) => warn!(executor = name, %error, "an executor process is lost"),
            },
            () = stop.cancelled() => {
                drop(input);
                self.end(&mut child).await;
            }
        }
        Ok(())
    }

    fn spawn(&self) -> std::result::Result<Child, String> {
        let mut command = Command::new(&self.program);
        command.args(["executor", "--until-stdin-ends", "--listen", "127.0.0.1:0"]);
        if let Some(file) = &self.file {
            command.arg("--config").arg(file);
        }
        // In a group of its own, what a terminal sends to the server is the server's business.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let failed = |error| format!("{} cannot be started: {error}", self.program.display());
        command.spawn().map_err(failed)
    }

    /// Waits for the end of a process that was told to, and makes it where it takes too long.
    async fn end(&self, child: &mut Child) -> String {
        let shown = |status: std::io::Result<ExitStatus>| match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        match tokio::time::timeout(self.grace + KILL_AFTER, child.wait()).await {
            Ok(status) => shown(status),
            Err(_) => {
                if let Err(error) = child.start_kill() {
                    warn!(%error, "an executor process cannot be killed");
                }
                shown(child.wait().await)
            }
        }
    }

    fn address(&self, address: &str) -> Option<Url> {
        Url::parse(&format!("{}://{address}", self.scheme)).ok()
    }

    fn stops(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
