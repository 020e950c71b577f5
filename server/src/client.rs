//! `lakewing sql`: one statement to a Flight SQL server, its answer to standard output.
//!
//! Speaks to any server by URL; for `--local` it starts one inside this process that nobody else can log in to. Knows
//! nothing of how a statement is planned or run.

mod connection;
mod print;

use std::io::Read;
use std::path::Path;

use catalog::Secret;
use uuid::Uuid;

use crate::app::App;
use crate::auth;
use crate::cli;
use crate::config::{self, Config, Flags};
use crate::error::{Error, Result};

pub(crate) use connection::{Connection, Login, Target};
pub(crate) use print::table;

const LOCAL_USER: &str = "local";

/// Runs the statement that `arguments` name and prints its answer.
/// Fails with what the server says, or with what keeps it from answering.
pub async fn run(arguments: &cli::Sql) -> Result<()> {
    let statement = statement(&arguments.statement)?;
    if !arguments.local {
        return ask(&remote(arguments)?, &statement, arguments).await;
    }
    let (app, target) = local(arguments).await?;
    let answered = ask(&target, &statement, arguments).await;
    app.shutdown().await;
    answered
}

async fn ask(target: &Target, statement: &str, arguments: &cli::Sql) -> Result<()> {
    let mut connection = Connection::open(target).await?;
    let mut answer = connection.query(statement).await?;
    let mut printer = print::Printer::new(arguments.format, arguments.rows_max, answer.schema());
    let mut out = std::io::stdout().lock();
    while printer.wants_more()
        && let Some(batch) = answer.next().await?
    {
        if !print::pass_on(&mut out, &printer.batch(batch)?)? {
            return Ok(());
        }
    }
    print::pass_on(&mut out, &printer.end()?)?;
    Ok(())
}

fn remote(arguments: &cli::Sql) -> Result<Target> {
    let password = match (&arguments.password, &arguments.password_env) {
        (Some(password), _) => password.clone(),
        (None, Some(variable)) => config::secret_from_environment(variable)?,
        (None, None) => Secret::new(""),
    };
    let token = arguments
        .token_env
        .as_deref()
        .map(config::secret_from_environment)
        .transpose()?;
    let login = match (arguments.user.clone(), token) {
        (Some(user), _) => Login::Password(user, password),
        (None, Some(token)) => Login::Token(token),
        (None, None) => Login::None,
    };
    Ok(Target {
        url: arguments.url.clone(),
        login,
        ca: arguments.ca.clone(),
        certificate: arguments.certificate.clone().zip(arguments.key.clone()),
    })
}

/// A server on a free port of this machine, and the only login it takes: other users of the machine must not read the
/// lake through it.
async fn local(arguments: &cli::Sql) -> Result<(App, Target)> {
    let listen = Some(([127, 0, 0, 1], 0).into());
    let flags = Flags {
        listen,
        data_dir: arguments.data_dir.clone(),
    };
    let mut config = Config::load(arguments.config.as_deref().map(Path::new), flags)?;
    let password = Secret::new(Uuid::new_v4().to_string());
    config.tls = None;
    config.auth = auth::Config {
        mode: auth::Mode::Basic,
        users: [(LOCAL_USER.to_owned(), password.clone())].into(),
        ..auth::Config::default()
    };
    let app = App::start(config).await?;
    let target = Target {
        url: format!("grpc://{}", app.address()),
        login: Login::Password(LOCAL_USER.to_owned(), password),
        ca: None,
        certificate: None,
    };
    Ok((app, target))
}

fn statement(argument: &str) -> Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|source| Error::Io {
            action: "read the statement from standard input".to_owned(),
            source,
        })?;
    Ok(text)
}
