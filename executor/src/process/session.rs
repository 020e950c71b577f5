//! The session of one task: the core DataFusion settings of the coordinator's session, as one field of text.
//!
//! The engine's library sends extensions of the settings, never the settings themselves: without [`TaskSettings`] every
//! executor would run with the defaults of its own machine.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use datafusion::common::extensions_options;
use datafusion::config::{ConfigEntry, ConfigExtension, ConfigField, ConfigOptions};
use datafusion::error::DataFusionError;
use url::form_urlencoded;

use crate::error::{Error, Result};

/// The text must fit into the headers of a request, beside others.
const TEXT_BYTES_MAX: usize = 32 << 10;
/// The namespace of all core settings.
const CORE: &str = "datafusion.";
/// Settings whose default depends on the machine: they are sent even where they have it.
const MACHINE_DEPENDENT: [&str; 2] = [
    "datafusion.execution.target_partitions",
    "datafusion.execution.planning_concurrency",
];

extensions_options! {
    /// Every core setting that differs from its default, on its way to the executors.
    pub(crate) struct TaskSettings {
        /// `key=value` pairs in the encoding of web forms, which is visible ASCII. Empty: nothing was sent.
        pub(crate) text: String, default = String::new()
        /// The query's id among all coordinators.
        pub(crate) query: String, default = String::new()
        /// Bytes that the query's tasks on one executor may hold together; 0: the executor decides.
        pub(crate) memory_bytes_max: u64, default = 0
    }
}

impl ConfigExtension for TaskSettings {
    const PREFIX: &'static str = "lakewing_task";
}

impl TaskSettings {
    /// The settings of a session.
    ///
    /// # Errors
    /// [`Error::Settings`] where they are too long, or one is unset that has a value by default.
    pub(crate) fn of(options: &ConfigOptions) -> Result<Self> {
        let defaults: HashMap<String, Option<String>> = ConfigOptions::default()
            .entries()
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect();
        let changed = |entry: &ConfigEntry| {
            entry.key.starts_with(CORE)
                && (MACHINE_DEPENDENT.contains(&entry.key.as_str()) || defaults.get(&entry.key) != Some(&entry.value))
        };
        let mut text = form_urlencoded::Serializer::new(String::new());
        for entry in options.entries().into_iter().filter(changed) {
            match entry.value {
                Some(value) => text.append_pair(&entry.key, &value),
                None => return Err(settings(format!("{} cannot be left without a value", entry.key))),
            };
        }
        let text = text.finish();
        if text.len() > TEXT_BYTES_MAX {
            return Err(settings(format!(
                "they take {} bytes, more than {TEXT_BYTES_MAX}",
                text.len()
            )));
        }
        Ok(Self {
            text,
            query: String::new(),
            memory_bytes_max: 0,
        })
    }

    /// Makes `options` equal to those of [`TaskSettings::of`], provided they have their defaults.
    ///
    /// # Errors
    /// [`Error::Settings`] where nothing was sent; DataFusion's error where a value does not suit its key.
    pub(crate) fn apply(&self, options: &mut ConfigOptions) -> Result<(), DataFusionError> {
        if self.text.is_empty() {
            return Err(settings("a plan arrived without them".to_owned()).into());
        }
        for (key, value) in form_urlencoded::parse(self.text.as_bytes()) {
            // The inherent `set` changes other settings along with some.
            ConfigField::set(options, key.strip_prefix(CORE).unwrap_or(&key), &value)?;
        }
        Ok(())
    }
}

fn settings(detail: String) -> Error {
    Error::Settings { detail }
}
