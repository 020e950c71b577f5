//! KILL QUERY and SHOW QUERIES: what a user can do about queries that run. Neither knows other users' queries.

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use uuid::Uuid;

use super::show::quoted;
use crate::error::{Error, Result};
use crate::query::RunningQuery;

/// A longer statement is cut where it is shown.
const SQL_CHARS_MAX: usize = 1000;

/// The id in `KILL QUERY 'id'`; nothing for statements that do not begin with KILL.
pub(super) fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Uuid>> {
    let mut tokens = tokens
        .iter()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    let mut word =
        |expect: &str| matches!(tokens.next(), Some(Token::Word(word)) if word.value.eq_ignore_ascii_case(expect));
    if !word("kill") {
        return Ok(None);
    }
    let wrong = || Error::Statement {
        detail: "KILL takes QUERY and the id of a query, in quotes".to_owned(),
        hint: Some("SHOW QUERIES lists the ids of your queries".to_owned()),
    };
    if !word("query") {
        return Err(wrong());
    }
    let id = match tokens.next() {
        Some(Token::SingleQuotedString(id)) => id.parse().map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    let mut rest = tokens.filter(|token| !matches!(token, Token::SemiColon | Token::EOF));
    match rest.next() {
        None => Ok(Some(id)),
        Some(_) => Err(wrong()),
    }
}

/// The query that answers SHOW QUERIES.
pub(super) fn show(queries: &[Arc<RunningQuery>]) -> String {
    let row = |query: &Arc<RunningQuery>| {
        let elapsed = i64::try_from(query.elapsed().as_millis()).unwrap_or(i64::MAX);
        let began: chrono::DateTime<chrono::Utc> = query.began.into();
        format!(
            "({}, {}, {}, TIMESTAMP '{}', {elapsed}, {}, CAST({} AS DOUBLE), {}, {})",
            quoted(&query.origin.id.to_string()),
            quoted(&query.user),
            quoted(query.state()),
            began.format("%Y-%m-%d %H:%M:%S%.3f"),
            query.rows(),
            query.progress(),
            quoted(&query.sql.chars().take(SQL_CHARS_MAX).collect::<String>()),
            query.queue_position(),
        )
    };
    let columns = "query_id, user_name, state, began_at, elapsed_ms, row_count, progress, statement, queue_position";
    let none = "(SELECT '' AS query_id, '' AS user_name, '' AS state, TIMESTAMP '1970-01-01' AS began_at, \
                0 AS elapsed_ms, 0 AS row_count, CAST(0 AS DOUBLE) AS progress, '' AS statement, 0 AS queue_position)";
    match queries {
        [] => format!("SELECT * FROM {none} AS q WHERE false"),
        queries => {
            let rows = queries.iter().map(row).collect::<Vec<_>>().join(", ");
            format!("SELECT * FROM (VALUES {rows}) AS q({columns}) ORDER BY query_id")
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::sql::parse::Statement;

    use super::*;

    #[test]
    fn a_query_is_killed_by_its_id() {
        let id = Uuid::now_v7();
        for sql in [
            format!("KILL QUERY '{id}'"),
            format!("/* hm */ kill query '{id}';"),
            format!("\n-- x\nKill Query '{id}'"),
        ] {
            assert!(
                matches!(Statement::parse(&sql), Ok(Statement::Kill(found)) if found == id),
                "{sql}"
            );
        }
        for sql in ["KILL 7", "KILL QUERY 7", "KILL QUERY 'x'", "KILL QUERY", "KILL"] {
            let error = Statement::parse(sql).unwrap_err();
            assert!(error.hint().unwrap().contains("SHOW QUERIES"), "{sql}: {error}");
        }
        assert!(Statement::parse(&format!("KILL QUERY '{id}' NOW")).is_err());
        assert!(!matches!(
            Statement::parse("SELECT kill FROM query"),
            Ok(Statement::Kill(_))
        ));
    }

    #[test]
    fn no_queries_are_a_query_too() {
        assert!(matches!(Statement::parse(&show(&[])), Ok(Statement::Query { .. })));
    }
}
