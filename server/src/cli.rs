//! The command line: what can be asked for, and the help that teaches it. Runs nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use catalog::Secret;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Flags;
use crate::{demo, telemetry};

/// SQL over Iceberg and Delta tables, served by Arrow Flight SQL.
///
/// `lakewing demo` needs nothing and shows everything; `lakewing serve --config FILE` is the server for your own lake.
#[derive(Debug, Parser)]
#[command(name = "lakewing", version, max_term_width = 100)]
pub struct Cli {
    /// What is logged on the error stream: a level, or levels by target such as `warn,server=debug`
    /// [default: warnings; for serve and executor also what they do]
    #[arg(long, global = true, env = "LAKEWING_LOG", value_name = "FILTER")]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The log filter that was asked for, or the role's own.
    pub fn log_filter(&self) -> &str {
        let default = match self.command {
            Command::Serve(_) | Command::Executor(_) => telemetry::FILTER_OF_SERVICES,
            Command::Sql(_) | Command::Demo(_) | Command::HashPassword(_) => telemetry::FILTER_OF_TOOLS,
        };
        self.log.as_deref().unwrap_or(default)
    }
}

/// The roles of the one binary.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve SQL to Flight SQL clients: JDBC, ADBC, `lakewing sql`
    Serve(Serve),
    /// Run parts of queries for the servers that list this process
    Executor(Executor),
    /// Run one statement and print its answer
    Sql(Sql),
    /// Read a password from standard input and print its hash, for `auth.users` and `auth.users_file`
    HashPassword(HashPassword),
    /// Make a small lake with TPC-H data in both formats, query it and serve it
    Demo(Demo),
}

/// `lakewing serve`.
#[derive(Debug, Args)]
#[command(after_long_help = SERVE_HELP)]
pub struct Serve {
    /// Configuration file; docs/configuration.md describes its keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where Flight SQL listens [default: 127.0.0.1:31415]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder of the embedded lake, used when no catalogs are configured [default: ./lakewing-data]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

impl Serve {
    /// What wins over the configuration.
    pub fn flags(&self) -> Flags {
        Flags {
            listen: self.listen,
            data_dir: self.data_dir.clone(),
        }
    }
}

/// `lakewing executor`.
#[derive(Debug, Args)]
#[command(after_long_help = EXECUTOR_HELP)]
pub struct Executor {
    /// Configuration file; docs/configuration.md describes its keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where servers and other executors reach this process; whoever reaches it can run anything, so keep it private
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:31417")]
    pub listen: SocketAddr,
    /// Ends, as after SIGTERM, when its standard input does; prints where it listens on standard output
    #[arg(long, hide = true)]
    pub until_stdin_ends: bool,
}

/// `lakewing sql`.
#[derive(Debug, Args)]
#[command(after_long_help = SQL_HELP)]
pub struct Sql {
    /// The statement; `-` reads it from standard input
    pub statement: String,
    /// The server to ask: grpc://HOST:PORT, or grpc+tls://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "grpc://127.0.0.1:31415")]
    pub url: String,
    /// Ask no server: open the lake in this process, as --config and --data-dir describe it
    #[arg(long, conflicts_with_all = ["url", "user", "ca", "token_env", "certificate"])]
    pub local: bool,
    /// User to log in as; without one nobody logs in
    #[arg(long)]
    pub user: Option<String>,
    /// The user's password; visible to other processes, so prefer --password-env
    #[arg(long, requires = "user", conflicts_with = "password_env", value_parser = secret)]
    pub password: Option<Secret>,
    /// Environment variable that holds the user's password
    #[arg(long, requires = "user", value_name = "VARIABLE")]
    pub password_env: Option<String>,
    /// Environment variable that holds a bearer token of your identity provider, instead of a user
    #[arg(long, value_name = "VARIABLE", conflicts_with = "user")]
    pub token_env: Option<String>,
    /// PEM file of the authority that vouches for the server [default: those of the operating system]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that says who you are, where the server asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// PEM file of that certificate's private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// How the answer is printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Most rows that a table shows; csv and json always print all
    #[arg(long, default_value_t = 1000, value_name = "ROWS")]
    pub rows_max: usize,
    /// Configuration file, for --local; docs/configuration.md describes its keys
    #[arg(long, value_name = "FILE", requires = "local")]
    pub config: Option<PathBuf>,
    /// Folder of the embedded lake, for --local [default: ./lakewing-data]
    #[arg(long, value_name = "FOLDER", requires = "local")]
    pub data_dir: Option<PathBuf>,
}

/// `lakewing hash-password`.
#[derive(Debug, Args)]
#[command(after_long_help = HASH_PASSWORD_HELP)]
pub struct HashPassword {
    /// Print the whole line of a users_file for this user
    #[arg(long)]
    pub user: Option<String>,
}

/// `lakewing demo`.
#[derive(Debug, Args)]
#[command(after_long_help = DEMO_HELP)]
pub struct Demo {
    /// TPC-H scale: 1 is 6 million line items
    #[arg(long, default_value_t = 0.1, value_parser = demo::parse_scale)]
    pub scale: f64,
    /// Folder of the lake that is made [default: ./lakewing-data]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file; docs/configuration.md describes its keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where Flight SQL listens [default: 127.0.0.1:31415]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Distribute queries over this many executors inside this process
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub executors: Option<u16>,
    /// Stop after the sample queries
    #[arg(long)]
    pub exit: bool,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people; the first rows only when there are many
    Table,
    /// Comma separated values under a line of names
    Csv,
    /// One array of objects
    Json,
}

/// A text that `Debug` does not show.
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

const SERVE_HELP: &str = "\
Every key of the configuration file can be set by an environment variable too: LAKEWING__, then the key's path in \
capitals with __ between its parts. Flags win over variables, variables over the file.

Examples:
  lakewing serve                                    the embedded lake in ./lakewing-data
  lakewing serve --config lake.toml                 your own catalogs and storage
  LAKEWING__SHUTDOWN_GRACE=5s lakewing serve        one key from the environment

A stop signal (SIGTERM, Ctrl-C) lets running queries finish for `shutdown_grace`; a second one ends at once.
Exit codes: 0 stopped as asked, 1 failed, 2 wrong flags, 64 wrong configuration.";

const EXECUTOR_HELP: &str = "\
Start as many as you like, and list them in the servers' configuration:

  [executor]
  mode = { type = \"static\", addresses = [\"http://10.0.0.1:31417\", \"http://10.0.0.2:31417\"] }

An executor reads tables with the same [[storage]] section as the servers, so give it the same file.";

const SQL_HELP: &str = "\
Examples:
  lakewing sql \"SELECT count(*) FROM lake.tpch.orders\"
  lakewing sql --local --format csv \"SELECT * FROM delta.tpch.nation\" > nation.csv
  lakewing sql --url grpc+tls://lake.example.org:31415 --user alice --password-env LAKE_PASSWORD - < report.sql

Exit codes: 0 answered, 1 refused or failed, 2 wrong flags, 64 wrong configuration.";

const HASH_PASSWORD_HELP: &str = "\
Examples:
  printf %s 'the password' | lakewing hash-password --user alice >> users     a line of a users_file
  lakewing hash-password < password-file                                      a value of auth.users

Then, in the configuration of the server, which sees changes of the file within seconds:

  [auth]
  mode = \"basic\"
  users_file = \"users\"

A hash does not tell the password, and checking it is slow on purpose. Put the password on no command line: others see
it there.";

const DEMO_HELP: &str = "\
Makes Iceberg tables lake.tpch.* and Delta tables delta.tpch.*, once: the next start finds them. With --config the \
catalogs named lake and delta of that file are used, so that the same data can lie on S3.

Examples:
  lakewing demo                                     make, query, then serve until Ctrl-C
  lakewing demo --scale 1 --data-dir ./sf1 --exit   bigger, elsewhere, stop after the queries
  lakewing demo --executors 3                       cut queries into stages over three executors";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Cli::try_parse_from(line.split_whitespace())
            .map(|cli| cli.command)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_has_help() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn sql_takes_one_server_or_none() {
        let Ok(Command::Sql(sql)) = parse("lakewing sql --format csv -") else {
            panic!()
        };
        assert_eq!(
            (sql.statement.as_str(), sql.format, sql.local),
            ("-", Format::Csv, false)
        );
        assert_eq!(sql.url, "grpc://127.0.0.1:31415");
        let refused = parse("lakewing sql --local --url grpc://a:1 x").unwrap_err();
        assert!(refused.contains("cannot be used with"), "{refused}");
        assert!(
            parse("lakewing sql --password secret x")
                .unwrap_err()
                .contains("--user")
        );
    }

    #[test]
    fn demo_refuses_scales_that_make_no_sense() {
        let Ok(Command::Demo(demo)) = parse("lakewing demo --scale 0.01 --executors 3 --exit") else {
            panic!()
        };
        assert_eq!((demo.scale, demo.executors, demo.exit), (0.01, Some(3), true));
        for scale in ["0", "-1", "nan", "inf", "1e9", "many"] {
            let refused = parse(&format!("lakewing demo --scale={scale}")).unwrap_err();
            assert!(refused.contains("between 0.001 and 1000"), "{scale}: {refused}");
        }
    }
}
