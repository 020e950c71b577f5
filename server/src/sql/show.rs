//! SHOW CATALOGS, SCHEMAS, TABLES, VIEWS, COLUMNS, FUNCTIONS and the session's settings: each is a query in disguise.

pub(super) mod executors;
pub(super) mod privileges;
pub(super) mod routines;

use std::sync::Arc;

use catalog::CacheUse;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    DescribeAlias, ShowCreateObject, ShowStatementFilter, ShowStatementFilterPosition, ShowStatementInParentType,
    ShowStatementOptions, Statement,
};

use super::command::settings;
use super::ddl::grant::Target;
use super::parse::{self, name_parts, refusal};
use super::queries;
use crate::access::Guard;
use crate::error::{Error, Result};
use crate::query::RunningQuery;
use crate::session::{Session, Setting, TEMPORARY_SCHEMA};

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Show {
    /// The catalogs.
    Catalogs { filter: Filter },
    /// The schemas of a catalog, by default the session's.
    Schemas { catalog: Option<String>, filter: Filter },
    /// The tables of a schema, by default the session's.
    Tables {
        catalog: Option<String>,
        schema: Option<String>,
        filter: Filter,
    },
    /// The views of a schema, by default the session's.
    Views {
        catalog: Option<String>,
        schema: Option<String>,
        filter: Filter,
    },
    /// The functions.
    Functions { filter: Filter },
    /// The user's running queries.
    Queries,
    /// Who may do what with a table, view or schema.
    Grants { target: Target },
    /// What the server's caches hold.
    Caches,
    /// The executors of this server.
    Executors,
    /// One setting of the session, or all.
    Settings { name: Option<String> },
}

/// Which rows are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All of them.
    None,
    /// Those whose name matches.
    Like(String),
    /// Those whose name matches in any case.
    ILike(String),
    /// Those for which the condition, in SQL, holds.
    Where(String),
}

impl Show {
    /// What a statement shows, or nothing when it is another statement or one that the engine answers itself.
    pub(super) fn parse(statement: &Parsed) -> Result<Option<Self>> {
        let Parsed::Statement(statement) = statement else {
            return Ok(None);
        };
        let show = match statement.as_ref() {
            Statement::ShowCatalogs {
                terse: false,
                history: false,
                show_options,
            } if show_options.show_in.is_none() => Show::Catalogs {
                filter: filter(statement, show_options)?,
            },
            Statement::ShowDatabases {
                terse: false,
                history: false,
                show_options,
            }
            | Statement::ShowSchemas {
                terse: false,
                history: false,
                show_options,
            } => Self::schemas(&within(show_options)?, filter(statement, show_options)?)?,
            Statement::ShowTables {
                terse: false,
                history: false,
                extended: false,
                full: false,
                external: false,
                show_options,
            } => Self::tables(&within(show_options)?, filter(statement, show_options)?)?,
            Statement::ShowViews {
                terse: false,
                materialized: false,
                show_options,
            } => Self::tables(&within(show_options)?, filter(statement, show_options)?)?.views(),
            Statement::ShowCreate {
                obj_type: ShowCreateObject::View,
                obj_name,
            } => {
                let mut parts = name_parts(obj_name)?;
                let name = parts.pop().unwrap_or_default();
                let schema = parts.pop();
                Show::Views {
                    catalog: parts.pop(),
                    schema,
                    filter: Filter::Where(format!("table_name = {}", quoted(&name))),
                }
            }
            Statement::ShowFunctions { filter } => Show::Functions {
                filter: filter.as_ref().map_or(Filter::None, Filter::from),
            },
            Statement::ShowVariable { variable } => {
                let words: Vec<_> = variable.iter().map(|word| word.value.to_lowercase()).collect();
                match words.join(".") {
                    name if name == "queries" => Show::Queries,
                    name if name == "caches" => Show::Caches,
                    name if name == executors::TABLE => Show::Executors,
                    name => Show::Settings {
                        name: Some(name).filter(|name| name != "all"),
                    },
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(show))
    }

    /// The views of the schema whose tables it shows.
    fn views(self) -> Self {
        match self {
            Show::Tables {
                catalog,
                schema,
                filter,
            } => Show::Views {
                catalog,
                schema,
                filter,
            },
            other => other,
        }
    }

    fn schemas(within: &[String], filter: Filter) -> Result<Self> {
        match within {
            [] => Ok(Show::Schemas { catalog: None, filter }),
            [catalog] => Ok(Show::Schemas {
                catalog: Some(catalog.clone()),
                filter,
            }),
            _ => Err(Error::statement("SHOW SCHEMAS IN takes a catalog")),
        }
    }

    fn tables(within: &[String], filter: Filter) -> Result<Self> {
        match within {
            [] => Ok(Show::Tables {
                catalog: None,
                schema: None,
                filter,
            }),
            [schema] => Ok(Show::Tables {
                catalog: None,
                schema: Some(schema.clone()),
                filter,
            }),
            [catalog, schema] => Ok(Show::Tables {
                catalog: Some(catalog.clone()),
                schema: Some(schema.clone()),
                filter,
            }),
            _ => Err(Error::statement("SHOW TABLES IN takes a schema or catalog.schema")),
        }
    }

    /// `SHOW COLUMNS IN t` as the `DESCRIBE t` that it is; other statements as they are.
    pub(super) fn describe(statement: Parsed) -> Result<Parsed> {
        let Parsed::Statement(inner) = &statement else {
            return Ok(statement);
        };
        let Statement::ShowColumns {
            extended,
            full,
            show_options,
        } = inner.as_ref()
        else {
            return Ok(statement);
        };
        let within = show_options.show_in.as_ref();
        let table = within.and_then(|within| within.parent_name.clone());
        match table {
            Some(table_name) if !extended && !full && filter(inner, show_options)? == Filter::None => {
                Ok(Parsed::Statement(Box::new(Statement::ExplainTable {
                    describe_alias: DescribeAlias::Describe,
                    hive_format: None,
                    has_table_keyword: false,
                    table_name,
                })))
            }
            _ => Err(refusal(inner)),
        }
    }

    /// Refuses what its user may not ask.
    pub(super) async fn check(&self, guard: &Guard, session: &Session) -> Result<()> {
        let Show::Grants { target } = self else { return Ok(()) };
        guard.access().require_on("SHOW GRANTS")?;
        target.check(session, guard.access().lakehouse(), guard).await
    }

    /// The query that answers it.
    pub(super) fn query(
        &self,
        session: &Session,
        catalogs: &[String],
        running: &[Arc<RunningQuery>],
        caches: &[CacheUse],
    ) -> Result<Parsed> {
        let sql = match self {
            Show::Catalogs { filter } => {
                let rows = catalogs
                    .iter()
                    .map(|name| format!("({})", quoted(name)))
                    .collect::<Vec<_>>()
                    .join(", ");
                let condition = filter.condition("catalog_name");
                format!(
                    "SELECT catalog_name FROM (VALUES {rows}) AS c(catalog_name) WHERE {condition} \
                     ORDER BY catalog_name"
                )
            }
            Show::Schemas { catalog, filter } => format!(
                "SELECT catalog_name, schema_name FROM information_schema.schemata WHERE catalog_name = {} AND {} \
                 ORDER BY schema_name",
                quoted(catalog.as_ref().unwrap_or(&session.catalog)),
                filter.condition("schema_name"),
            ),
            Show::Tables {
                catalog,
                schema,
                filter,
            } => format!(
                "SELECT table_catalog, table_schema, table_name, table_type FROM information_schema.tables \
                 WHERE {} AND {} ORDER BY table_name",
                place(session, catalog.as_ref(), schema.as_ref()),
                filter.condition("table_name"),
            ),
            Show::Views {
                catalog,
                schema,
                filter,
            } => format!(
                "SELECT table_catalog, table_schema, table_name, definition FROM information_schema.views \
                 WHERE {} AND {} ORDER BY table_name",
                place(session, catalog.as_ref(), schema.as_ref()),
                filter.condition("table_name"),
            ),
            Show::Functions { filter } => format!(
                "SELECT DISTINCT routine_name AS function_name, function_type, data_type AS return_type, description, \
                 syntax_example FROM information_schema.routines WHERE {} ORDER BY function_name, return_type",
                filter.condition("routine_name"),
            ),
            Show::Grants { target } => privileges::query(target, session),
            Show::Queries => queries::show(running),
            Show::Caches => self::caches(caches),
            Show::Executors => format!("SELECT * FROM {}.{} ORDER BY name", executors::SCHEMA, executors::TABLE),
            Show::Settings { name } => {
                let name = name.as_deref().map(canonical).transpose()?;
                let rows: Vec<_> = settings(session)
                    .into_iter()
                    .filter(|(setting, ..)| name.is_none_or(|name| name == *setting))
                    .map(|(name, value, about)| format!("({}, {}, {})", quoted(name), quoted(value), quoted(about)))
                    .collect();
                format!(
                    "SELECT * FROM (VALUES {}) AS s(name, value, description) ORDER BY name",
                    rows.join(", ")
                )
            }
        };
        match parse::Statement::parse(&sql)? {
            parse::Statement::Query { query, .. } => Ok(*query),
            _ => Err(Error::statement("the condition of SHOW is no condition")),
        }
    }
}

/// The condition that says where tables and views are shown from: the schema that is asked for, or the session's and what
/// the session has for itself, which are what names without a schema may stand for.
fn place(session: &Session, catalog: Option<&String>, schema: Option<&String>) -> String {
    let told = (catalog.is_some(), schema.is_some());
    let catalog = quoted(catalog.unwrap_or(&session.catalog));
    let schema = quoted(schema.unwrap_or(&session.namespace));
    match told {
        (false, false) if !session.temporaries().is_empty() => {
            format!("table_catalog = {catalog} AND table_schema IN ({schema}, '{TEMPORARY_SCHEMA}')")
        }
        _ => format!("table_catalog = {catalog} AND table_schema = {schema}"),
    }
}

/// The query that answers SHOW CACHES.
fn caches(caches: &[CacheUse]) -> String {
    let rows = caches.iter().map(|cache| {
        let (hits, misses) = match cache.hits_and_misses {
            Some((hits, misses)) => (hits.to_string(), misses.to_string()),
            None => ("NULL".to_owned(), "NULL".to_owned()),
        };
        let (name, entries) = (quoted(cache.name), cache.entries);
        format!(
            "({name}, {entries}, {}, {}, {hits}, {misses})",
            cache.bytes, cache.bytes_max
        )
    });
    let rows = rows.collect::<Vec<_>>().join(", ");
    format!("SELECT * FROM (VALUES {rows}) AS c(name, entries, bytes, bytes_max, hits, misses) ORDER BY name")
}

impl Filter {
    fn condition(&self, column: &str) -> String {
        match self {
            Filter::None => "true".to_owned(),
            Filter::Like(pattern) => format!("{column} LIKE {}", quoted(pattern)),
            Filter::ILike(pattern) => format!("{column} ILIKE {}", quoted(pattern)),
            Filter::Where(condition) => format!("({condition})"),
        }
    }
}

impl From<&ShowStatementFilter> for Filter {
    fn from(filter: &ShowStatementFilter) -> Self {
        match filter {
            ShowStatementFilter::Like(pattern) | ShowStatementFilter::NoKeyword(pattern) => {
                Filter::Like(pattern.clone())
            }
            ShowStatementFilter::ILike(pattern) => Filter::ILike(pattern.clone()),
            ShowStatementFilter::Where(condition) => Filter::Where(condition.to_string()),
        }
    }
}

/// The name in [`settings`] of what the user calls `name`.
fn canonical(name: &str) -> Result<&'static str> {
    match name {
        "catalog" => Ok("catalog"),
        "schema" => Ok("schema"),
        other => Setting::find(other).map(|setting| setting.name),
    }
}

/// The parts of the name behind IN or FROM.
fn within(options: &ShowStatementOptions) -> Result<Vec<String>> {
    let name = options.show_in.as_ref().and_then(|within| within.parent_name.as_ref());
    name.map_or_else(|| Ok(Vec::new()), name_parts)
}

/// The filter of a SHOW statement; an error for what is not understood, so that nothing is silently left out.
fn filter(statement: &Statement, options: &ShowStatementOptions) -> Result<Filter> {
    let ShowStatementOptions {
        show_in,
        starts_with,
        limit,
        limit_from,
        filter_position,
    } = options;
    let parent = show_in.as_ref().and_then(|within| within.parent_type.as_ref());
    let known_parent = !matches!(
        parent,
        Some(ShowStatementInParentType::Account | ShowStatementInParentType::View)
    );
    if starts_with.is_some() || limit.is_some() || limit_from.is_some() || !known_parent {
        return Err(refusal(statement));
    }
    match filter_position {
        None => Ok(Filter::None),
        Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) => {
            Ok(filter.into())
        }
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn check(sql: &str, expect: &str) {
        let parse::Statement::Show(show) = parse::Statement::parse(sql).unwrap() else {
            panic!("{sql}")
        };
        let session = Session::new("alice", "lake", "o'clock");
        let query = show
            .query(&session, &["delta".to_owned(), "lake".to_owned()], &[], &[])
            .unwrap()
            .to_string();
        assert!(query.contains(expect), "{sql}: {query}");
    }

    #[test]
    fn looks_where_the_session_is_or_where_it_is_told() {
        check("SHOW CATALOGS", "(VALUES ('delta'), ('lake'))");
        check("SHOW CATALOGS LIKE 'd%'", "WHERE catalog_name LIKE 'd%'");
        check("SHOW SCHEMAS", "WHERE catalog_name = 'lake' AND true");
        check(
            "SHOW DATABASES IN Delta LIKE 't%'",
            "WHERE catalog_name = 'delta' AND schema_name LIKE 't%'",
        );
        check(
            "SHOW TABLES",
            "WHERE table_catalog = 'lake' AND table_schema = 'o''clock' AND true",
        );
        check(
            "SHOW TABLES FROM tpch",
            "table_catalog = 'lake' AND table_schema = 'tpch'",
        );
        check(
            "SHOW TABLES IN delta.tpch LIKE 'o%'",
            "table_schema = 'tpch' AND table_name LIKE 'o%'",
        );
        check("SHOW TABLES WHERE table_name = '{}'", "AND (table_name = '{}')");
    }

    #[test]
    fn what_the_session_made_is_shown_beside_its_schema() {
        let mut session = Session::new("alice", "lake", "shop");
        let query = |sql: &str, session: &Session| {
            let parse::Statement::Show(show) = parse::Statement::parse(sql).unwrap() else {
                panic!("{sql}")
            };
            show.query(session, &[], &[], &[]).unwrap().to_string()
        };
        assert!(!query("SHOW TABLES", &session).contains(TEMPORARY_SCHEMA));
        let table = crate::session::temporary_name("lake");
        session.tables.insert("big".to_owned(), table);
        for sql in ["SHOW TABLES", "SHOW VIEWS LIKE 'b%'", "SHOW CREATE VIEW v"] {
            let query = query(sql, &session);
            assert!(
                query.contains("table_schema IN ('shop', 'lakewing_temporary')"),
                "{query}"
            );
        }
        for sql in ["SHOW TABLES IN shop", "SHOW VIEWS IN lake.shop"] {
            assert!(!query(sql, &session).contains(TEMPORARY_SCHEMA), "{sql}");
        }
    }

    #[test]
    fn shows_one_setting_or_all() {
        check("SHOW ALL", "('catalog', 'lake', ");
        check("SHOW ALL", "('time_zone', 'UTC', ");
        check("SHOW schema", "(VALUES ('schema', 'o''clock', ");
        check("SHOW TIME ZONE", "(VALUES ('time_zone', 'UTC', ");
        check(
            "SHOW datafusion.execution.batch_size",
            "(VALUES ('batch_size', '8192', ",
        );
        let parse::Statement::Show(show) = parse::Statement::parse("SHOW nonsense").unwrap() else {
            panic!()
        };
        assert!(show.query(&Session::new("a", "b", "c"), &[], &[], &[]).is_err());
    }

    #[test]
    fn refuses_what_it_would_have_to_leave_out() {
        for sql in [
            "SHOW FULL TABLES",
            "SHOW TERSE SCHEMAS",
            "SHOW TABLES LIMIT 3",
            "SHOW EXTENDED COLUMNS FROM t",
        ] {
            let error = parse::Statement::parse(sql).unwrap_err();
            assert_eq!(error.kind(), proto::ErrorKind::Unsupported, "{sql}: {error}");
        }
    }
}
