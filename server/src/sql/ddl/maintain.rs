//! OPTIMIZE, VACUUM, ANALYZE and ALTER TABLE ... EXECUTE, in the words of Spark, Delta and Trino, and what they tell.

use std::time::Duration;

use catalog::TableName;
use catalog::write::maintenance::{Maintained, Maintenance, Retention};
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, Path};
use crate::error::{Error, Result};
use crate::sql::parse::Statement;
use crate::sql::show::quoted;

/// A dry run names so many files; what it names shows what kind they are.
const FILES_TOLD_MAX: usize = 1000;

/// What keeps a table small.
#[derive(Debug)]
pub(crate) enum Maintain {
    /// `OPTIMIZE t [WHERE condition]`.
    Optimize {
        /// `DELETE FROM t [WHERE condition]`: what it is about, and not what is done.
        of: Box<Statement>,
        /// Whether there is a condition.
        is_filtered: bool,
    },
    /// `ANALYZE [TABLE] t [COMPUTE STATISTICS [FOR ALL COLUMNS | FOR COLUMNS a, b]]`.
    Analyze {
        /// The table.
        name: Path,
        /// The columns whose distinct values are counted; all of them where none is named.
        columns: Option<Vec<String>>,
    },
    /// The others.
    Table {
        /// The table.
        name: Path,
        /// What is done.
        what: Maintenance,
    },
}

/// The tokens of `DELETE FROM t [WHERE condition]`, where the statement is `OPTIMIZE t [WHERE condition]`.
pub(in crate::sql) fn optimized(tokens: &[TokenWithSpan]) -> Result<Option<Vec<TokenWithSpan>>> {
    let mut cursor = Cursor::new(tokens);
    if !cursor.any(&["OPTIMIZE TABLE", "OPTIMIZE"]) {
        return Ok(None);
    }
    let mut rest = cursor.rest();
    let is_word = |token: &TokenWithSpan, word: &str| matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word));
    if rest.iter().any(|token| is_word(token, "ZORDER")) {
        return Err(Error::unsupported(
            "OPTIMIZE ... ZORDER BY",
            ": rows are written in the order that ALTER TABLE ... WRITE ORDERED BY gives the table",
        ));
    }
    let span = rest
        .first()
        .map(|token| token.span)
        .unwrap_or_else(datafusion::sql::sqlparser::tokenizer::Span::empty);
    for word in ["FROM", "DELETE"] {
        let token = Token::make_keyword(word);
        rest.insert(0, TokenWithSpan { token, span });
    }
    Ok(Some(rest))
}

impl Maintain {
    /// OPTIMIZE, of what [`optimized`] made of it.
    pub(in crate::sql) fn optimize(of: Statement) -> Result<Self> {
        let wrong = || Error::statement("OPTIMIZE takes a table, and WHERE with a condition over its columns");
        let Statement::Write {
            statement,
            parameters: 0,
            versions,
            ..
        } = &of
        else {
            return Err(wrong());
        };
        let is_filtered = match statement.as_ref() {
            datafusion::sql::parser::Statement::Statement(inner) => match inner.as_ref() {
                ast::Statement::Delete(delete)
                    if delete.using.is_none() && delete.returning.is_none() && versions.is_empty() =>
                {
                    delete.selection.is_some()
                }
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        };
        Ok(Self::Optimize {
            of: Box::new(of),
            is_filtered,
        })
    }

    /// The statement, or nothing where it is none of these.
    pub(in crate::sql) fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Self>> {
        let mut cursor = Cursor::new(tokens);
        let (name, what) = if cursor.words("VACUUM") {
            cursor.words("TABLE");
            let name = cursor.path()?;
            (name, vacuum(&mut cursor)?)
        } else if cursor.any(&["ANALYZE TABLE", "ANALYZE"]) {
            let name = cursor.path()?;
            let columns = analyzed(&mut cursor)?;
            cursor.end()?;
            return Ok(Some(Self::Analyze { name, columns }));
        } else if cursor.words("ALTER TABLE") {
            let Ok(name) = cursor.path() else { return Ok(None) };
            if !cursor.words("EXECUTE") {
                return Ok(None);
            }
            (name, execute(&mut cursor)?)
        } else {
            return Ok(None);
        };
        cursor.end()?;
        Ok(Some(Self::Table { name, what }))
    }
}

/// What stands behind ANALYZE and the table's name.
fn analyzed(cursor: &mut Cursor) -> Result<Option<Vec<String>>> {
    if !cursor.words("COMPUTE STATISTICS") {
        return Ok(None);
    }
    if cursor.words("NOSCAN") {
        return Err(Error::unsupported(
            "NOSCAN",
            ": what needs no scan is written with every file",
        ));
    }
    if !cursor.words("FOR COLUMNS") {
        cursor.words("FOR ALL COLUMNS");
        return Ok(None);
    }
    let mut columns = vec![cursor.name()?];
    while cursor.token(&Token::Comma) {
        columns.push(cursor.name()?);
    }
    Ok(Some(columns))
}

/// A query for one row: a sketch of the distinct values of each column.
pub(crate) fn sketches(table: &TableName, version: i64, columns: &[String]) -> String {
    let ident = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let columns = columns
        .iter()
        .map(|column| format!("iceberg_theta_sketch({})", ident(column)));
    let columns: Vec<String> = columns.collect();
    let path = [&table.catalog, &table.namespace, &table.table].map(|part| ident(part));
    format!(
        "SELECT {} FROM {} FOR VERSION AS OF {version}",
        columns.join(", "),
        path.join(".")
    )
}

fn retention(age: Option<Duration>) -> Retention {
    Retention { age, unchecked: false }
}

/// What stands behind VACUUM and the table's name.
fn vacuum(cursor: &mut Cursor) -> Result<Maintenance> {
    let mut age = None;
    if cursor.words("RETAIN") {
        let hours: u64 = cursor.number()?;
        cursor.expect("HOURS")?;
        let seconds = hours.checked_mul(60 * 60);
        age = Some(Duration::from_secs(
            seconds.ok_or_else(|| Error::statement("RETAIN takes fewer hours"))?,
        ));
    }
    Ok(Maintenance::Vacuum {
        retention: retention(age),
        dry_run: cursor.words("DRY RUN"),
    })
}

/// What stands behind EXECUTE.
fn execute(cursor: &mut Cursor) -> Result<Maintenance> {
    let procedure = cursor.name()?;
    let mut age = None;
    let mut retain_last = None;
    let mut dry_run = false;
    let known: &[&str] = match procedure.as_str() {
        "expire_snapshots" => &["retention_threshold", "retain_last"],
        "remove_orphan_files" => &["retention_threshold", "dry_run"],
        "optimize_manifests" | "checkpoint" => &[],
        "optimize" => return Err(Error::unsupported("EXECUTE optimize", ": write OPTIMIZE t")),
        "vacuum" => return Err(Error::unsupported("EXECUTE vacuum", ": write VACUUM t")),
        other => {
            return Err(Error::Statement {
                detail: format!("there is no procedure {other}"),
                hint: Some(
                    "there are expire_snapshots, remove_orphan_files, optimize_manifests and checkpoint".to_owned(),
                ),
            });
        }
    };
    let has_arguments = cursor.is_token(&Token::LParen);
    if has_arguments && !cursor.empty_brackets() {
        for (argument, value) in cursor.list(argument)? {
            if !known.contains(&argument.as_str()) {
                let names = known.join(" and ");
                let takes = if names.is_empty() { "no argument" } else { &names };
                return Err(Error::statement(format!(
                    "{procedure} takes {takes}, and not {argument}"
                )));
            }
            let wrong = |wanted: &str| Error::statement(format!("{argument} is {wanted}, and not {value}"));
            match argument.as_str() {
                "retention_threshold" => age = Some(duration(&value).ok_or_else(|| wrong("a time such as '7d'"))?),
                "retain_last" => retain_last = Some(value.parse().map_err(|_| wrong("a number"))?),
                _ => dry_run = value.parse().map_err(|_| wrong("true or false"))?,
            }
        }
    }
    let retention = retention(age);
    Ok(match procedure.as_str() {
        "expire_snapshots" => Maintenance::ExpireSnapshots { retention, retain_last },
        "remove_orphan_files" => Maintenance::RemoveOrphanFiles { retention, dry_run },
        "optimize_manifests" => Maintenance::OptimizeManifests,
        _ => Maintenance::Checkpoint,
    })
}

/// `name => constant`, in lower case.
fn argument(cursor: &mut Cursor) -> Result<(String, String)> {
    let name = cursor.name()?;
    cursor.expect_token(&Token::RArrow)?;
    match cursor.constant()? {
        Some(value) => {
            let text = value.try_as_str().flatten().unwrap_or_default();
            Ok((name, text.to_lowercase()))
        }
        None => Err(Error::statement(format!("{name} takes a value"))),
    }
}

fn duration(text: &str) -> Option<Duration> {
    humantime_serde::re::humantime::parse_duration(text).ok()
}

/// A query that gives what was done.
pub(crate) fn told(maintained: &Maintained) -> String {
    let counted = |(name, count): (&str, u64)| format!("{}, CAST({count} AS BIGINT)", quoted(name));
    let (columns, nothing, rows): (&str, &str, Vec<String>) = match maintained {
        Maintained::WouldDelete(files) => {
            let mut rows: Vec<String> = files.iter().take(FILES_TOLD_MAX).map(|file| quoted(file)).collect();
            if files.len() > FILES_TOLD_MAX {
                rows.push(quoted(&format!("and {} more", files.len() - FILES_TOLD_MAX)));
            }
            ("path", "''", rows)
        }
        Maintained::Counts(counts) => {
            let counts = counts.iter().copied();
            (
                "metric_name, metric_value",
                "'', CAST(0 AS BIGINT)",
                counts.map(counted).collect(),
            )
        }
        Maintained::DistinctValues(columns) => {
            let columns = columns.iter().map(|(name, count)| (name.as_str(), *count));
            (
                "column_name, distinct_values_count",
                "'', CAST(0 AS BIGINT)",
                columns.map(counted).collect(),
            )
        }
    };
    match rows.is_empty() {
        true => format!("SELECT * FROM (VALUES ({nothing})) AS t ({columns}) WHERE false"),
        false => format!("SELECT * FROM (VALUES ({})) AS t ({columns})", rows.join("), (")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn check(sql: &str, expect: Maintenance) {
        match Statement::parse(sql).unwrap() {
            Statement::Maintain(Maintain::Table { name, what }) => {
                assert_eq!((name.join("."), what), ("s.t".to_owned(), expect), "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn hours(hours: u64) -> Retention {
        retention(Some(Duration::from_secs(hours * 3600)))
    }

    #[test]
    fn statements_of_one_table() {
        let vacuum = |retention, dry_run| Maintenance::Vacuum { retention, dry_run };
        check("VACUUM s.t", vacuum(retention(None), false));
        check("vacuum s.t retain 200 hours dry run;", vacuum(hours(200), true));
        check("VACUUM s.t DRY RUN", vacuum(retention(None), true));
        let expire = |retention, retain_last| Maintenance::ExpireSnapshots { retention, retain_last };
        check(
            "ALTER TABLE s.t EXECUTE expire_snapshots",
            expire(retention(None), None),
        );
        check(
            "ALTER TABLE s.t EXECUTE expire_snapshots(retention_threshold => '8d', retain_last => 3)",
            expire(hours(192), Some(3)),
        );
        check(
            "ALTER TABLE s.t EXECUTE remove_orphan_files(dry_run => true, retention_threshold => '12h')",
            Maintenance::RemoveOrphanFiles {
                retention: hours(12),
                dry_run: true,
            },
        );
        check(
            "ALTER TABLE s.t EXECUTE optimize_manifests()",
            Maintenance::OptimizeManifests,
        );
        check("ALTER TABLE s.t EXECUTE checkpoint", Maintenance::Checkpoint);
    }

    #[test]
    fn optimize_has_a_condition_or_none() {
        let check = |sql: &str, expect: Option<bool>| {
            let found = match Statement::parse(sql) {
                Ok(Statement::Maintain(Maintain::Optimize { is_filtered, .. })) => Some(is_filtered),
                Ok(other) => panic!("{sql}: {other:?}"),
                Err(_) => None,
            };
            assert_eq!(found, expect, "{sql}");
        };
        check("OPTIMIZE s.t", Some(false));
        check("optimize table s.t WHERE day = DATE '2026-01-01' AND x > 1", Some(true));
        check("OPTIMIZE s.t ZORDER BY (x)", None);
        check("OPTIMIZE s.t WHERE x = ?", None);
        check("OPTIMIZE s.t USING s.u WHERE t.x = u.x", None);
        check("OPTIMIZE", None);
    }

    #[test]
    fn analyze_names_columns_or_none() {
        let check = |sql: &str, expect: Option<&[&str]>| match Statement::parse(sql).unwrap() {
            Statement::Maintain(Maintain::Analyze { name, columns }) => {
                let expect = expect.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
                assert_eq!((name.join("."), columns), ("s.t".to_owned(), expect), "{sql}");
            }
            other => panic!("{sql}: {other:?}"),
        };
        check("ANALYZE s.t", None);
        check("analyze table s.t compute statistics", None);
        check("ANALYZE TABLE s.t COMPUTE STATISTICS FOR ALL COLUMNS;", None);
        check(
            "ANALYZE TABLE s.t COMPUTE STATISTICS FOR COLUMNS A, \"B c\"",
            Some(&["a", "B c"]),
        );
        let name = TableName::new("lake", "s", "t");
        assert_eq!(
            sketches(&name, 7, &["a".to_owned(), "B \"c".to_owned()]),
            "SELECT iceberg_theta_sketch(\"a\"), iceberg_theta_sketch(\"B \"\"c\") FROM \"lake\".\"s\".\"t\" \
             FOR VERSION AS OF 7"
        );
    }

    #[test]
    fn other_words_are_refused() {
        for sql in [
            "VACUUM s.t RETAIN 3 DAYS",
            "VACUUM s.t FULL",
            "ANALYZE TABLE s.t COMPUTE STATISTICS NOSCAN",
            "ANALYZE s.t COMPUTE STATISTICS FOR COLUMNS",
            "ANALYZE s.t PARTITION (a = 1) COMPUTE STATISTICS",
            "ALTER TABLE s.t EXECUTE optimize",
            "ALTER TABLE s.t EXECUTE explode",
            "ALTER TABLE s.t EXECUTE expire_snapshots(retention_threshold => 'soon')",
            "ALTER TABLE s.t EXECUTE expire_snapshots(dry_run => true)",
            "ALTER TABLE s.t EXECUTE optimize_manifests(dry_run => true)",
            "ALTER TABLE s.t EXECUTE expire_snapshots(retain_last => ?)",
        ] {
            assert!(Statement::parse(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn what_was_done_is_a_query() {
        let counts = Maintained::Counts(vec![("a_count", 1), ("b_count", 2)]);
        let expect = "SELECT * FROM (VALUES ('a_count', CAST(1 AS BIGINT)), ('b_count', CAST(2 AS BIGINT))) AS t \
                      (metric_name, metric_value)";
        assert_eq!(told(&counts), expect);
        let files = |files: &[&str]| Maintained::WouldDelete(files.iter().map(|file| (*file).to_owned()).collect());
        assert_eq!(
            told(&files(&["s3://b/o'k"])),
            "SELECT * FROM (VALUES ('s3://b/o''k')) AS t (path)"
        );
        assert_eq!(told(&files(&[])), "SELECT * FROM (VALUES ('')) AS t (path) WHERE false");
        assert_eq!(
            told(&Maintained::DistinctValues(Vec::new())),
            "SELECT * FROM (VALUES ('', CAST(0 AS BIGINT))) AS t (column_name, distinct_values_count) WHERE false"
        );
    }
}
