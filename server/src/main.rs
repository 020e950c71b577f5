//! The binary `lakewing`: arguments in, one role run, an exit code out.

use std::error::Error as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;

use clap::Parser;
use server::app::App;
use server::cli::{self, Cli, Command};
use server::config::Config;
use server::error::{Error, Result};
use server::shutdown::{Signals, Told, end_at_once};
use server::{auth, client, demo, telemetry};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Batches are large and live briefly, and what is freed must not count against the limit of a pod for long: this
/// allocator's threads give it back to the machine, in the time that `.cargo/config.toml` says.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The conventional exit code for a wrong configuration, `EX_USAGE`.
const EXIT_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let Err(error) = run(&Cli::parse()) else {
        return ExitCode::SUCCESS;
    };
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    match causes.filter_map(|cause| cause.downcast_ref::<io::Error>()).next() {
        Some(system) => eprintln!("lakewing: {error}: {system}"),
        None => eprintln!("lakewing: {error}"),
    }
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    match error {
        Error::Config { .. } | Error::Catalog(catalog::Error::Config { .. }) => ExitCode::from(EXIT_CONFIGURATION),
        _ => ExitCode::FAILURE,
    }
}

fn run(cli: &Cli) -> Result<()> {
    telemetry::start(cli.log_filter())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let failed = |source| Error::Io {
        action: "start threads".to_owned(),
        source,
    };
    runtime.map_err(failed)?.block_on(async {
        match &cli.command {
            Command::Serve(arguments) => serve(arguments).await,
            Command::Executor(arguments) => execute(arguments).await,
            Command::Sql(arguments) => client::run(arguments).await,
            Command::HashPassword(arguments) => auth::password::run(arguments),
            Command::Demo(arguments) => demo::run(arguments).await,
        }
    })
}

async fn serve(arguments: &cli::Serve) -> Result<()> {
    let config = Config::load(arguments.config.as_deref(), arguments.flags())?;
    let mut signals = Signals::listen()?;
    let app = App::start(config).await?;
    eprintln!("ready: {}", app.url());
    signals.received().await;
    signals.insist(app.shutdown()).await;
    Ok(())
}

async fn execute(arguments: &cli::Executor) -> Result<()> {
    let (config, storage) = Config::load_executor(arguments.config.as_deref(), arguments.listen)?;
    let mut signals = Signals::listen()?;
    let executor = executor::Executor::bind(&config, catalog::Stores::new(&storage)?).await?;
    let stop = CancellationToken::new();
    if arguments.until_stdin_ends {
        tell_parent(executor.local_addr(), &stop)?;
    } else {
        eprintln!("ready: executor on {}", executor.local_addr());
    }
    let (duty, draining) = watch::channel(false);
    let mut serving = pin!(executor.serve(draining));
    loop {
        let stops = *duty.borrow();
        let now = tokio::select! {
            ended = &mut serving => return Ok(ended?),
            told = signals.next() => match told {
                Told::Stop if stops => end_at_once(),
                told => told == Told::Stop,
            },
            // Nobody is left to take it back.
            () = stop.cancelled(), if !stops => true,
        };
        duty.send_replace(now);
    }
}

/// Prints where an executor listens, for the process that started it, and begins `stop` when that process ends or closes
/// the input. The wait has a thread of its own, which the end of this process ends.
fn tell_parent(address: SocketAddr, stop: &CancellationToken) -> Result<()> {
    let failed = |source| Error::Io {
        action: "talk to the process that started this one".to_owned(),
        source,
    };
    let mut output = io::stdout();
    writeln!(output, "ready: executor on {address}")
        .and_then(|()| output.flush())
        .map_err(failed)?;
    let stop = stop.clone();
    let wait = move || {
        // An error is an end too.
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        stop.cancel();
    };
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(wait)
        .map(drop)
        .map_err(failed)
}
