//! The table `system.executors`, which SHOW EXECUTORS shows: the executors of this server and how they are.

use executor::ExecutorInfo;

use super::quoted;

/// The schema of the table, of names without a catalog.
pub(in crate::sql) const SCHEMA: &str = "system";
/// Its name there.
pub(in crate::sql) const TABLE: &str = "executors";

/// The query that gives its rows.
pub(in crate::sql) fn rows(executors: &[ExecutorInfo]) -> String {
    let row = |info: &ExecutorInfo| {
        let since: chrono::DateTime<chrono::Utc> = info.since.into();
        let address = info
            .address
            .as_ref()
            .map_or("CAST(NULL AS VARCHAR)".to_owned(), |address| {
                quoted(address.as_str().trim_end_matches('/'))
            });
        format!(
            "({}, {}, {}, TIMESTAMP '{}', {address}, {}, {})",
            quoted(&info.name),
            quoted(&info.set),
            quoted(info.state),
            since.format("%Y-%m-%d %H:%M:%S%.3f"),
            info.running_tasks,
            quoted(&info.reason),
        )
    };
    let none = "(SELECT '' AS name, '' AS executor_set, '' AS state, TIMESTAMP '1970-01-01' AS since, '' AS address, \
                0 AS running_tasks, '' AS reason)";
    match executors {
        [] => format!("SELECT * FROM {none} AS e WHERE false"),
        executors => {
            let rows = executors.iter().map(row).collect::<Vec<_>>().join(", ");
            format!(
                "SELECT * FROM (VALUES {rows}) AS e(name, executor_set, state, since, address, running_tasks, reason)"
            )
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::SystemTime;

    use crate::sql::parse::Statement;

    use super::*;

    #[test]
    fn executors_are_a_query() {
        let info = ExecutorInfo {
            name: "spot-1".to_owned(),
            set: "spot".to_owned(),
            state: "starting",
            since: SystemTime::UNIX_EPOCH,
            address: None,
            running_tasks: 0,
            reason: "it's on its way".to_owned(),
        };
        for executors in [vec![], vec![info.clone()], vec![info.clone(), info]] {
            let sql = rows(&executors);
            assert!(matches!(Statement::parse(&sql), Ok(Statement::Query { .. })), "{sql}");
        }
    }
}
