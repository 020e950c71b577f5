//! The binary `lakewing`: arguments in, one role run, an exit code out.

use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use server::app::App;
use server::cli::{self, Cli, Command};
use server::config::{Config, Flags};
use server::error::Error;
use server::shutdown::Signals;
use server::{client, demo, telemetry};
use tokio_util::sync::CancellationToken;

/// The conventional exit code for a wrong configuration, `EX_USAGE`.
const EXIT_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let Err(error) = run(&Cli::parse()) else {
        return ExitCode::SUCCESS;
    };
    let Some(known) = error.downcast_ref::<Error>() else {
        eprintln!("lakewing: {error:#}");
        return ExitCode::FAILURE;
    };
    match error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(system) => eprintln!("lakewing: {known}: {system}"),
        None => eprintln!("lakewing: {known}"),
    }
    if let Some(hint) = known.hint() {
        eprintln!("hint: {hint}");
    }
    match known {
        Error::Config { .. } | Error::Catalog(catalog::Error::Config { .. }) => ExitCode::from(EXIT_CONFIGURATION),
        _ => ExitCode::FAILURE,
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    telemetry::start(&cli.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        match &cli.command {
            Command::Serve(arguments) => serve(arguments).await,
            Command::Executor(arguments) => execute(arguments).await,
            Command::Sql(arguments) => Ok(client::run(arguments).await?),
            Command::Demo(arguments) => Ok(demo::run(arguments).await?),
        }
    })
}

async fn serve(arguments: &cli::Serve) -> anyhow::Result<()> {
    let flags = Flags {
        listen: arguments.listen,
        data_dir: arguments.data_dir.clone(),
    };
    let config = Config::load(arguments.config.as_deref(), flags)?;
    let mut signals = Signals::listen().context("cannot receive stop signals")?;
    let app = App::start(config).await?;
    eprintln!("ready: {}", app.url());
    signals.received().await;
    signals.insist(app.shutdown()).await;
    Ok(())
}

async fn execute(arguments: &cli::Executor) -> anyhow::Result<()> {
    let (config, storage) = Config::load_executor(arguments.config.as_deref(), arguments.listen)?;
    let mut signals = Signals::listen().context("cannot receive stop signals")?;
    let executor = executor::Executor::bind(&config, catalog::Stores::new(&storage)?)
        .await
        .map_err(Error::from)?;
    eprintln!("ready: executor on {}", executor.local_addr());
    let stop = CancellationToken::new();
    let mut serving = pin!(executor.serve(stop.clone().cancelled_owned()));
    tokio::select! {
        ended = &mut serving => return Ok(ended.map_err(Error::from)?),
        () = signals.received() => stop.cancel(),
    }
    Ok(signals.insist(serving).await.map_err(Error::from)?)
}
