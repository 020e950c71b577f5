//! `COPY INTO t FROM 'location' FILEFORMAT = PARQUET`: the rows of plain files join a table in one commit. Columns go by
//! their names.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, Path};
use crate::error::{Error, Result};

/// Where the rows go, and the tokens of the query that gives them.
pub(in crate::sql) struct Copy {
    pub(in crate::sql) into: Path,
    pub(in crate::sql) rows: Vec<TokenWithSpan>,
}

/// The statement, or nothing where it is another.
pub(in crate::sql) fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Copy>> {
    let mut cursor = Cursor::new(tokens);
    if !cursor.words("COPY INTO") {
        return Ok(None);
    }
    let into = cursor.path()?;
    cursor.expect("FROM")?;
    let location = cursor.text()?;
    cursor.expect("FILEFORMAT")?;
    cursor.expect_token(&Token::Eq)?;
    let format = cursor.name()?;
    if !["parquet", "csv", "json"].contains(&format.as_str()) {
        return Err(Error::unsupported(
            format!("FILEFORMAT = {}", format.to_uppercase()),
            ": files are PARQUET, CSV or JSON",
        ));
    }
    for option in ["FILES", "PATTERN", "FORMAT_OPTIONS", "COPY_OPTIONS", "VALIDATE"] {
        if cursor.words(option) {
            return Err(Error::unsupported(
                format!("COPY INTO with {option}"),
                ": a pattern may stand in the location, and INSERT INTO t SELECT ... reads files as it likes",
            ));
        }
    }
    cursor.end()?;
    let span = tokens
        .first()
        .map_or_else(datafusion::sql::sqlparser::tokenizer::Span::empty, |token| token.span);
    let rows = [
        Token::make_keyword("SELECT"),
        Token::Mul,
        Token::make_keyword("FROM"),
        Token::make_word(&format, Some('"')),
        Token::Period,
        Token::make_word(&location, Some('"')),
    ];
    let rows = rows.map(|token| TokenWithSpan { token, span }).to_vec();
    Ok(Some(Copy { into, rows }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::sql::parse::Statement;

    #[test]
    fn files_are_named_with_their_format() {
        let check = |sql: &str, expect: Option<(&str, &str)>| {
            let found = match Statement::parse(sql) {
                Ok(Statement::Write { copies, statement, .. }) => {
                    Some((copies.unwrap().join("."), statement.to_string()))
                }
                Ok(other) => panic!("{sql}: {other:?}"),
                Err(_) => None,
            };
            let expect = expect.map(|(into, query)| (into.to_owned(), query.to_owned()));
            assert_eq!(found, expect, "{sql}");
        };
        check(
            "COPY INTO s.t FROM 's3://b/in/*.csv' FILEFORMAT = CSV",
            Some(("s.t", "SELECT * FROM \"csv\".\"s3://b/in/*.csv\"")),
        );
        check(
            "COPY INTO t FROM 's3://b/in' fileformat = parquet;",
            Some(("t", "SELECT * FROM \"parquet\".\"s3://b/in\"")),
        );
        check("COPY INTO t FROM 's3://b/in'", None);
        check("COPY INTO t FROM 's3://b/in' FILEFORMAT = ORC", None);
        check(
            "COPY INTO t FROM 's3://b/in' FILEFORMAT = CSV FORMAT_OPTIONS ('header' = 'true')",
            None,
        );
        check("COPY INTO t FROM ? FILEFORMAT = CSV", None);
    }
}
