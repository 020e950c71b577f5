//! Every setting that SET accepts, typed and documented. A name that is not in [`SETTINGS`] cannot be set: the
//! engine's other options decide over memory, files and correctness, and are not the user's.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use arrow::array::timezone::Tz;
use arrow::ipc::CompressionType;
use datafusion::prelude::SessionConfig;

use crate::error::{Error, Result, meant};

/// More rows per batch than this only cost memory.
const BATCH_SIZE_MAX: usize = 65_536;
const ADAPTIVE_TASKS: &str = "adaptive_tasks";
const BRANCH: &str = "branch";
const DIRECT_RESULTS: &str = "direct_results";
/// The branch that every table has.
const MAIN: &str = "main";
/// A longer name is no branch's.
const BRANCH_CHARS_MAX: usize = 128;
const EXECUTOR_SET: &str = "executor_set";
/// A longer name is no set's.
const EXECUTOR_SET_CHARS_MAX: usize = 32;
const RETENTION_CHECK: &str = "retention_check";
const STATEMENT_TIMEOUT: &str = "statement_timeout";

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in SET, SHOW and RESET.
    pub(crate) name: &'static str,
    /// Other names that clients use for it.
    aliases: &'static [&'static str],
    /// The engine's own name for it, which SET accepts too; none for what the engine does not know.
    option: Option<&'static str>,
    /// What holds where nothing was SET.
    pub(crate) default: &'static str,
    /// Meaning and effect.
    pub(crate) description: &'static str,
    /// Says what is wrong with a value.
    check: fn(&str) -> Result<(), String>,
}

/// All settings besides `catalog` and `schema`, by name.
pub(crate) static SETTINGS: &[Setting] = &[
    Setting {
        name: ADAPTIVE_TASKS,
        aliases: &[],
        option: None,
        default: "off",
        description: "whether each stage of a query gets its number of tasks by the rows that the stages below begin to give, and not by statistics alone; on or off",
        check: on_or_off,
    },
    Setting {
        name: "batch_size",
        aliases: &[],
        option: Some("datafusion.execution.batch_size"),
        default: "8192",
        description: "rows that operators pass on at once; fewer answer sooner, more run faster",
        check: batch_size,
    },
    Setting {
        name: BRANCH,
        aliases: &[],
        option: None,
        default: MAIN,
        description: "the branch of Iceberg tables that is read where they have it, and written to",
        check: branch,
    },
    Setting {
        name: DIRECT_RESULTS,
        aliases: &[],
        option: None,
        default: "off",
        description: "whether rows are fetched from executors that offer them, past the server, where the client can reach them; on or off",
        check: on_or_off,
    },
    Setting {
        name: EXECUTOR_SET,
        aliases: &["engine"],
        option: None,
        default: "",
        description: "the set of executors that queries run on; empty leaves it to the user's group",
        check: executor_set,
    },
    Setting {
        name: "result_compression",
        aliases: &[],
        option: None,
        default: "none",
        description: "how results are compressed on their way: none, lz4 or zstd",
        check: compression,
    },
    Setting {
        name: RETENTION_CHECK,
        aliases: &[],
        option: None,
        default: "on",
        description: "whether maintenance keeps what may still be in use: snapshots of 7 days, orphan files of 3; on or off",
        check: on_or_off,
    },
    Setting {
        name: STATEMENT_TIMEOUT,
        aliases: &["query_timeout"],
        option: None,
        default: "0",
        description: "how long a statement may run, such as 30s or 5min, a plain number in milliseconds; 0 is for ever",
        check: timeout,
    },
    Setting {
        name: "time_zone",
        aliases: &["timezone", "time.zone"],
        option: Some("datafusion.execution.time_zone"),
        default: "UTC",
        description: "the zone of current_date, and of timestamps that are cast to one with a zone",
        check: time_zone,
    },
];

impl Setting {
    /// The setting that SET, SHOW or RESET means by `name`.
    pub(crate) fn find(name: &str) -> Result<&'static Self> {
        let lower = name.to_lowercase();
        let found = SETTINGS.iter().find(|setting| {
            setting.name == lower || setting.option == Some(&*lower) || setting.aliases.contains(&&*lower)
        });
        found.ok_or_else(|| {
            let names = ["catalog", "schema"]
                .into_iter()
                .chain(SETTINGS.iter().map(|setting| setting.name));
            Error::Statement {
                detail: format!("there is no setting \"{name}\""),
                hint: Some(match meant(name, names.clone()) {
                    Some(known) => format!("did you mean {known}?"),
                    None => format!("the settings are {}", names.collect::<Vec<_>>().join(", ")),
                }),
            }
        })
    }
}

/// The settings of one session that differ from the defaults; every value has passed its check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    /// The value in force.
    pub(crate) fn get(&self, setting: &Setting) -> &str {
        self.0.get(setting.name).map_or(setting.default, String::as_str)
    }

    /// Sets a value that passes the setting's check.
    pub(crate) fn set(&mut self, setting: &Setting, value: &str) -> Result<()> {
        (setting.check)(value)
            .map_err(|detail| Error::statement(format!("\"{value}\" is no value of {}: {detail}", setting.name)))?;
        self.0.insert(setting.name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Back to the default.
    pub(crate) fn reset(&mut self, setting: &Setting) {
        self.0.remove(setting.name);
    }

    /// How long a statement may run, where that is limited.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        let value = self.0.get(STATEMENT_TIMEOUT)?;
        duration(value).filter(|limit| !limit.is_zero())
    }

    /// The set of executors that queries run on, where one was named.
    pub(crate) fn executor_set(&self) -> Option<&str> {
        let name = self.0.get(EXECUTOR_SET).map(String::as_str);
        name.filter(|name| !name.is_empty())
    }

    /// Whether the tasks of a stage are counted by the rows that come.
    pub(crate) fn adaptive_tasks(&self) -> bool {
        self.0.get(ADAPTIVE_TASKS).is_some_and(|value| value == "on")
    }

    /// Whether the client can fetch rows from executors.
    pub(crate) fn direct_results(&self) -> bool {
        self.0.get(DIRECT_RESULTS).is_some_and(|value| value == "on")
    }

    /// The branch that is read and written in the place of main, where one was named.
    pub(crate) fn branch(&self) -> Option<&str> {
        let name = self.0.get(BRANCH).map(String::as_str);
        name.filter(|name| *name != MAIN)
    }

    /// Whether maintenance refuses to delete what may still be in use.
    pub(crate) fn checks_retention(&self) -> bool {
        self.0.get(RETENTION_CHECK).is_none_or(|value| value != "off")
    }

    /// How results are compressed.
    pub(crate) fn result_compression(&self) -> Option<CompressionType> {
        match self.0.get("result_compression").map(String::as_str) {
            Some("lz4") => Some(CompressionType::LZ4_FRAME),
            Some("zstd") => Some(CompressionType::ZSTD),
            _ => None,
        }
    }

    /// Hands every setting, defaults too, to the engine.
    pub(super) fn apply(&self, config: &mut SessionConfig) -> Result<()> {
        for setting in SETTINGS {
            if let Some(option) = setting.option {
                config.options_mut().set(option, self.get(setting))?;
            }
        }
        Ok(())
    }
}

impl From<Settings> for HashMap<String, String> {
    fn from(settings: Settings) -> Self {
        settings.0.into_iter().collect()
    }
}

impl From<HashMap<String, String>> for Settings {
    fn from(settings: HashMap<String, String>) -> Self {
        Self(settings.into_iter().collect())
    }
}

fn batch_size(value: &str) -> Result<(), String> {
    match value.parse::<usize>() {
        Ok(1..=BATCH_SIZE_MAX) => Ok(()),
        _ => Err(format!("it is a number from 1 to {BATCH_SIZE_MAX}")),
    }
}

fn branch(value: &str) -> Result<(), String> {
    match value.chars().count() {
        1..=BRANCH_CHARS_MAX if !value.chars().any(char::is_control) => Ok(()),
        _ => Err(format!("it is a name of 1 to {BRANCH_CHARS_MAX} characters")),
    }
}

fn executor_set(value: &str) -> Result<(), String> {
    match value.len() <= EXECUTOR_SET_CHARS_MAX {
        true => Ok(()),
        false => Err(format!("no name of a set is longer than {EXECUTOR_SET_CHARS_MAX}")),
    }
}

fn compression(value: &str) -> Result<(), String> {
    match value {
        "none" | "lz4" | "zstd" => Ok(()),
        _ => Err("it is none, lz4 or zstd".to_owned()),
    }
}

fn on_or_off(value: &str) -> Result<(), String> {
    match value {
        "on" | "off" => Ok(()),
        _ => Err("it is on or off".to_owned()),
    }
}

fn timeout(value: &str) -> Result<(), String> {
    match duration(value) {
        Some(_) => Ok(()),
        None => Err("it is a number of milliseconds or a time such as 30s or 5min".to_owned()),
    }
}

/// Milliseconds, as PostgreSQL's clients write them, or a number with its unit.
fn duration(value: &str) -> Option<Duration> {
    match value.parse() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => humantime_serde::re::humantime::parse_duration(value).ok(),
    }
}

fn time_zone(value: &str) -> Result<(), String> {
    match value.parse::<Tz>() {
        Ok(_) => Ok(()),
        Err(_) => Err("it is a name such as Europe/Berlin or an offset such as +02:00".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn set(name: &str, value: &str) -> Result<SessionConfig> {
        let mut settings = Settings::default();
        settings.set(Setting::find(name)?, value)?;
        let mut config = SessionConfig::new();
        settings.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn values_reach_the_engine() {
        assert_eq!(set("batch_size", "1024").unwrap().batch_size(), 1024);
        assert_eq!(set("DataFusion.execution.batch_size", "7").unwrap().batch_size(), 7);
        for name in ["time_zone", "TimeZone", "datafusion.execution.time_zone"] {
            let config = set(name, "Europe/Berlin").unwrap();
            assert_eq!(config.options().execution.time_zone.as_deref(), Some("Europe/Berlin"));
        }
        assert!(set("time_zone", "+02:00").is_ok());
    }

    #[test]
    fn timeouts_are_milliseconds_or_have_a_unit() {
        let check = |value: &str, expect: Option<Duration>| {
            let mut settings = Settings::default();
            settings
                .set(Setting::find("statement_timeout").unwrap(), value)
                .unwrap();
            assert_eq!(settings.statement_timeout(), expect, "{value}");
        };
        check("0", None);
        check("1500", Some(Duration::from_millis(1500)));
        check("2s", Some(Duration::from_secs(2)));
        check("5min", Some(Duration::from_secs(300)));
        assert_eq!(Settings::default().statement_timeout(), None);
    }

    #[test]
    fn defaults_are_the_engines_own() {
        for setting in SETTINGS {
            assert_eq!((setting.check)(setting.default), Ok(()), "{}", setting.name);
        }
        let mut config = SessionConfig::new();
        Settings::default().apply(&mut config).unwrap();
        assert_eq!(config.batch_size(), SessionConfig::new().batch_size());
    }

    #[test]
    fn names_and_values_outside_the_list_are_refused() {
        let check = |name: &str, value: &str, expect: &str| {
            let error = set(name, value).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        };
        check(
            "datafusion.runtime.memory_limit",
            "1G",
            "there is no setting \"datafusion.runtime.memory_limit\"",
        );
        check("datafusion.optimizer.max_passes", "0", "there is no setting");
        check("batch_size", "0", "from 1 to 65536");
        check("batch_size", "many", "from 1 to 65536");
        check("time_zone", "Mars/Olympus", "such as Europe/Berlin");
        check("statement_timeout", "soon", "milliseconds");
        check("branch", "", "1 to 128 characters");
        check("result_compression", "gzip", "none, lz4 or zstd");
    }
}
