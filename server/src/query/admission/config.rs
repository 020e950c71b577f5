//! How many queries run at once, and what those of each group of users may use.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};

/// Whoever is in no group of the configuration.
static OTHERS: LazyLock<Group> = LazyLock::new(Group::default);

/// Who runs when.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Queries that run at once on this server, default 100; more wait. Higher divides memory and executors among more,
    /// lower makes users wait beside idle machines.
    pub concurrency_max: usize,
    /// Users whose queries never wait. Default: none.
    pub admins: Vec<String>,
    /// Groups of users, each with a queue of its own; a query is in the first that names its user and one of its tags.
    /// What is in none is in a group with the defaults of all settings.
    pub groups: Vec<Group>,
}

/// Users who share a queue and limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Its name in messages.
    pub name: String,
    /// Its users: names, beginnings of names such as `etl-*`, or `*` for all.
    pub users: Vec<String>,
    /// Only queries with one of these tags: whole tags, or beginnings of them such as `app=dbt*`. Default: all queries. A
    /// client tells its tags in the header `x-lakewing-query-tags`, and nobody proves them.
    pub tags: Vec<String>,
    /// How often it has its turn while others wait too, default 1: a group with 2 begins twice as many queries as one
    /// with 1.
    pub weight: u32,
    /// Queries of the group that run at once. Default: no limit but that of the server.
    pub concurrency_max: Option<usize>,
    /// Queries of one of its users that run at once. Default: no limit.
    pub user_concurrency_max: Option<usize>,
    /// Queries that may wait, default 1000; more are refused. Higher makes clients wait that better came again.
    pub queue_max: usize,
    /// How long a query may wait, default 5 min; then it is refused.
    #[serde(with = "humantime_serde")]
    pub queue_timeout: Duration,
    /// Bytes that all running queries of the group may hold together on one machine, each counted with
    /// `query_memory_bytes_max`. Default: no limit.
    pub memory_bytes_max: Option<u64>,
    /// Bytes that one query may hold on one machine. Default: `executor.query_memory_bytes_max`.
    pub query_memory_bytes_max: Option<u64>,
    /// How long a statement may run, whatever `statement_timeout` says. Default: no limit.
    #[serde(with = "humantime_serde")]
    pub statement_timeout_max: Option<Duration>,
    /// Bytes of data files that a query may read, counted after pruning and before it begins. Default: no limit.
    pub scan_bytes_max: Option<u64>,
    /// Rows that a query may give. Default: no limit.
    pub rows_max: Option<u64>,
    /// The set of executors that their queries run on, unless the session says another. Default: the first set.
    pub executor_set: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            concurrency_max: 100,
            admins: Vec::new(),
            groups: Vec::new(),
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: "others".to_owned(),
            users: Vec::new(),
            tags: Vec::new(),
            weight: 1,
            concurrency_max: None,
            user_concurrency_max: None,
            queue_max: 1000,
            queue_timeout: Duration::from_secs(5 * 60),
            memory_bytes_max: None,
            query_memory_bytes_max: None,
            statement_timeout_max: None,
            scan_bytes_max: None,
            rows_max: None,
            executor_set: None,
        }
    }
}

impl Config {
    /// Checks what the types cannot. Does no I/O.
    pub fn validate(&self) -> Result<()> {
        let wrong = |key: String, detail: &str| Err(Error::config(key, detail));
        if self.concurrency_max == 0 {
            return wrong("queries.concurrency_max".to_owned(), "must be at least 1");
        }
        for (index, group) in self.groups.iter().enumerate() {
            let key = |name: &str| format!("queries.groups.{index}.{name}");
            if group.users.is_empty() {
                return wrong(key("users"), "must name somebody, or everybody with \"*\"");
            }
            if group.weight == 0 {
                return wrong(key("weight"), "must be at least 1");
            }
            for (name, limit) in [
                ("concurrency_max", group.concurrency_max),
                ("user_concurrency_max", group.user_concurrency_max),
            ] {
                if limit == Some(0) {
                    return wrong(key(name), "must be at least 1");
                }
            }
            match (group.memory_bytes_max, group.query_memory_bytes_max) {
                (Some(_), None) => {
                    return wrong(
                        key("query_memory_bytes_max"),
                        "is needed for memory_bytes_max to count with",
                    );
                }
                (_, Some(0)) => return wrong(key("query_memory_bytes_max"), "must be at least 1"),
                (Some(all), Some(one)) if all < one => {
                    return wrong(key("memory_bytes_max"), "must be at least query_memory_bytes_max");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The number of the group of a query with `tags` of `user`; one more than there are groups where none names it.
    pub(super) fn group_of(&self, user: &str, tags: &[String]) -> usize {
        let names = |pattern: &String, text: &str| match pattern.strip_suffix('*') {
            Some(beginning) => text.starts_with(beginning),
            None => pattern == text,
        };
        let group = self.groups.iter().position(|group| {
            let tagged = |tag: &String| group.tags.iter().any(|pattern| names(pattern, tag));
            group.users.iter().any(|pattern| names(pattern, user)) && (group.tags.is_empty() || tags.iter().any(tagged))
        });
        group.unwrap_or(self.groups.len())
    }

    pub(super) fn group(&self, index: usize) -> &Group {
        self.groups.get(index).unwrap_or(&OTHERS)
    }
}

impl Group {
    /// Queries of the group that may run at once.
    pub(super) fn places(&self) -> usize {
        let by_memory = match (self.memory_bytes_max, self.query_memory_bytes_max) {
            (Some(all), Some(one)) => usize::try_from(all / one.max(1)).unwrap_or(usize::MAX),
            _ => usize::MAX,
        };
        self.concurrency_max.unwrap_or(usize::MAX).min(by_memory)
    }
}
