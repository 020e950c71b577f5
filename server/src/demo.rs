//! `lakewing demo`: a lake with the same TPC-H data in both formats, a query over each, and a server to connect to.
//!
//! Needs nothing but a folder. Everything but the making of the data goes through the doors that users have: the data
//! through the lake's write API, the queries through Flight SQL.

mod columns;
mod load;
mod progress;
mod sample;
mod tpch;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};

use executor::Mode;

use crate::app::App;
use crate::auth;
use crate::cli;
use crate::client::{Login, Target};
use crate::config::{Config, Flags};
use crate::error::{Error, Result};
use crate::shutdown::Signals;

/// The catalogs that get the data: Iceberg, Delta.
const CATALOGS: [&str; 2] = ["lake", "delta"];
/// The namespace in each of them.
const NAMESPACE: &str = "tpch";

/// Makes the data if it is not there, queries it, and serves it until a stop signal, or not at all with `--exit`.
pub async fn run(arguments: &cli::Demo) -> Result<()> {
    let config = config(arguments)?;
    let login = login(&config)?;
    let mut signals = Signals::listen()?;
    let app = App::start(config).await?;
    let done = tokio::select! {
        shown = show(&app, arguments, login) => shown.map(|()| arguments.exit),
        () = signals.received() => Ok(true),
    };
    if let Ok(false) = done {
        signals.received().await;
    }
    signals.insist(app.shutdown()).await;
    done.map(drop)
}

/// Reads `--scale`.
pub(crate) fn parse_scale(text: &str) -> std::result::Result<f64, String> {
    let (min, max) = (tpch::SCALE_MIN, tpch::SCALE_MAX);
    match text.parse() {
        Ok(scale) if (min..=max).contains(&scale) => Ok(scale),
        _ => Err(format!("a scale is a number between {min} and {max}")),
    }
}

fn config(arguments: &cli::Demo) -> Result<Config> {
    let flags = Flags {
        listen: arguments.listen,
        data_dir: arguments.data_dir.clone(),
    };
    let mut config = Config::load(arguments.config.as_deref(), flags)?;
    let lake = config.lake()?;
    if let Some(missing) = CATALOGS.iter().find(|name| !lake.catalogs.contains_key(**name)) {
        let detail = "the demo writes to the catalogs lake (Iceberg) and delta: configure both, or none";
        return Err(Error::config(format!("catalogs.{missing}"), detail));
    }
    if config.tls.is_some() {
        return Err(Error::config(
            "tls",
            "the demo serves plain connections only: leave this section out",
        ));
    }
    if let Some(count) = arguments.executors {
        config.executor.mode = Mode::InProcess { count: count.into() };
    }
    Ok(config)
}

/// Someone who may ask the sample queries.
fn login(config: &Config) -> Result<Login> {
    if config.auth.mode == auth::Mode::Anonymous {
        return Ok(Login::None);
    }
    let mut users = config.auth.users.iter();
    match users.find(|(_, password)| !password.expose().starts_with('$')) {
        Some((user, password)) => Ok(Login::Password(user.clone(), password.clone())),
        None => Err(Error::config(
            "auth.users",
            "the demo logs in itself: it needs a password that is no hash",
        )),
    }
}

async fn show(app: &App, arguments: &cli::Demo, login: Login) -> Result<()> {
    load::load(app.lakehouse(), arguments.scale).await?;
    let address = reachable(app.address());
    let user = match &login {
        Login::Password(user, _) => Some(user.clone()),
        Login::None | Login::Token(_) => None,
    };
    let target = Target {
        url: format!("grpc://{address}"),
        login,
        ca: None,
        certificate: None,
    };
    say(&format!(
        "\nSample query, over each format:\n\n{}\n",
        sample::sql("<catalog>")
    ))?;
    for catalog in CATALOGS {
        say(&sample::answer(&target, catalog).await?)?;
    }
    if !arguments.exit {
        say(&welcome(address, user.as_deref()))?;
    }
    Ok(())
}

/// How to connect from elsewhere.
fn welcome(address: SocketAddr, user: Option<&str>) -> String {
    let jdbc_user = user.map(|user| format!("&user={user}")).unwrap_or_default();
    let adbc_login = match user {
        Some(user) => format!(", db_kwargs={{\"username\": \"{user}\", \"password\": \"...\"}}"),
        None => String::new(),
    };
    let port = address.port();
    format!(
        "\
JDBC    jdbc:arrow-flight-sql://{address}?useEncryption=false{jdbc_user}
ADBC    (Python: pip install adbc-driver-flightsql pyarrow)

    from adbc_driver_flightsql import dbapi
    with dbapi.connect(\"grpc://{address}\"{adbc_login}) as connection, connection.cursor() as cursor:
        cursor.execute(\"SELECT count(*) FROM lake.tpch.orders\")
        print(cursor.fetch_arrow_table())

dbt     (pip install ./dbt, in a checkout; dbt/README.md has more)

    cd dbt/examples/tpch && LAKEWING_PORT={port} dbt build --profiles-dir .

Serving on {address}; Ctrl-C stops.
"
    )
}

/// `address` as a client on this machine names it.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip().is_unspecified() {
        true => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        false => address,
    }
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|source| Error::Io {
        action: "write to standard output".to_owned(),
        source,
    })
}
