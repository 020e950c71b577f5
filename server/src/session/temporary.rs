//! Temporary tables: tables of the lake in a schema of their own, under names that only their session knows. They go with
//! the session, and a day after they were made in any case, whatever became of the server that made them.

use std::time::{Duration, SystemTime};

use catalog::TableName;
use uuid::Uuid;

/// The schema that they lie in, in the catalog that was the session's.
pub(crate) const TEMPORARY_SCHEMA: &str = "lakewing_temporary";
/// How long one of them lives at most.
pub(crate) const TEMPORARY_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Servers whose clocks differ by less agree about what is a temporary table.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// A name that no other table has. It begins with the time, in seconds since the epoch.
pub(crate) fn temporary_name(catalog: &str) -> TableName {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    let table = format!("{seconds}_{}", Uuid::new_v4().simple());
    TableName::new(catalog, TEMPORARY_SCHEMA, table)
}

/// How old a temporary table is; nothing for any other table.
pub(crate) fn temporary_age(name: &TableName) -> Option<Duration> {
    if name.namespace != TEMPORARY_SCHEMA {
        return None;
    }
    let (seconds, id) = name.table.split_once('_')?;
    Uuid::try_parse(id).ok()?;
    let made = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
    match made.duration_since(SystemTime::now()) {
        Ok(ahead) if ahead > SKEW => None,
        Ok(_) => Some(Duration::ZERO),
        Err(past) => Some(past.duration()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_age_stands_in_the_name() {
        let name = temporary_name("lake");
        assert_ne!(name, temporary_name("lake"));
        assert!(temporary_age(&name).unwrap() < Duration::from_secs(60));
        let id = Uuid::new_v4().simple();
        let of = |namespace: &str, table: String| temporary_age(&TableName::new("lake", namespace, table));
        assert!(of(TEMPORARY_SCHEMA, format!("100000_{id}")).unwrap() > TEMPORARY_LIFE);
        assert_eq!(of("default", format!("100000_{id}")), None);
        assert_eq!(of(TEMPORARY_SCHEMA, "orders".to_owned()), None);
        assert_eq!(of(TEMPORARY_SCHEMA, "100000_orders".to_owned()), None);
        assert_eq!(of(TEMPORARY_SCHEMA, format!("{}_{id}", u64::MAX)), None);
        assert_eq!(of(TEMPORARY_SCHEMA, format!("99999999999_{id}")), None);
    }
}
