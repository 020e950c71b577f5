//! One text to one [`Statement`]. What this server does not offer is refused here by name, before anything is planned:
//! the parser decides what a statement is, never its first word.

mod depth;
mod functions;
mod limits;
mod patterns;
mod versions;

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, ExplainStatement, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{self, ObjectName, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};
use uuid::Uuid;

use super::command::Command;
use super::ddl::grant::Target;
use super::ddl::{CreateTable, Ddl, Maintain, copy, optimized};
use super::queries;
use super::show::Show;
use super::write::{self, PartitionClause};
use crate::error::{Error, Result};

pub(super) use versions::check_constant;
pub(crate) use versions::{Version, VersionedTable};

/// Deeper nesting of expressions and queries is refused, so that no text can exhaust the stack.
const NESTING_MAX: usize = 50;

/// Longer chains of operators are refused for the same reason. The stack of a thread holds about twice as many.
const DEPTH_MAX: usize = 1000;

/// A higher number of a parameter is a mistake: every number below it would need a value.
pub(super) const PARAMETERS_MAX: usize = 1000;

const ALONE: &str = " inside another statement";
const NO_VIEWS: &str = " of this kind: write CREATE VIEW, CREATE TEMPORARY VIEW or CREATE TABLE AS";
const NO_TRANSACTIONS: &str = ": every statement stands alone";

/// What a text asks for.
#[derive(Debug)]
pub(crate) enum Statement {
    /// Rows: a query, EXPLAIN or DESCRIBE.
    Query {
        /// The query with its parameters numbered from `$1`.
        query: Box<Parsed>,
        /// How many parameters it takes.
        parameters: usize,
        /// The tables that it names at a certain version.
        versions: Vec<VersionedTable>,
    },
    /// Rows that a table of the lake gets or loses: INSERT, UPDATE, DELETE, MERGE, TRUNCATE, CREATE TABLE AS.
    Write {
        /// The statement with its parameters numbered from `$1`; of CREATE TABLE AS the query.
        statement: Box<Parsed>,
        /// The table that gets the rows of the query.
        creation: Option<Box<CreateTable>>,
        /// The table that the rows of the query join by the names of their columns: COPY INTO.
        copies: Option<Vec<String>>,
        /// The partitions that the rows of an INSERT OVERWRITE replace; all where it names none.
        partitions: Option<PartitionClause>,
        /// How many parameters it takes.
        parameters: usize,
        /// The tables that it reads at a certain version.
        versions: Vec<VersionedTable>,
    },
    /// Rows about the lake or the session.
    Show(Show),
    /// A change to the session; gives no rows.
    Command(Command),
    /// A change of tables or schemas; gives no rows.
    Ddl(Ddl),
    /// What keeps a table small; tells what was done.
    Maintain(Maintain),
    /// The end of a query; gives no rows.
    Kill(Uuid),
}

impl Statement {
    /// Reads exactly one statement. `?` and `$1` are both understood, not in one statement.
    pub(crate) fn parse(sql: &str) -> Result<Self> {
        let (tokens, parameters) = tokenize(sql)?;
        if depth::depth(&tokens) > DEPTH_MAX {
            return Err(Error::Statement {
                detail: format!("the statement chains more than {DEPTH_MAX} operators or brackets"),
                hint: Some("write a IN (1, 2, 3) instead of a = 1 OR a = 2 OR a = 3".to_owned()),
            });
        }
        if let Some(id) = queries::parse(&tokens)? {
            return Ok(Statement::Kill(id));
        }
        if let Some(statement) = Self::of_table(&tokens, sql, parameters)? {
            return Ok(statement);
        }
        let (tokens, creation) = match Ddl::parse(&tokens, sql)? {
            None => (tokens, None),
            Some(Ddl::CreateTable(mut table)) if table.query.is_some() => {
                (table.query.take().unwrap_or_default(), Some(table))
            }
            Some(_) if parameters > 0 => return Err(Error::statement("only queries take parameters")),
            Some(ddl) => return Ok(Statement::Ddl(ddl)),
        };
        Self::of_tokens(tokens, creation, sql, parameters)
    }

    /// SHOW GRANTS, COPY INTO, OPTIMIZE, and what else keeps a table small; nothing where the statement is another.
    fn of_table(tokens: &[TokenWithSpan], sql: &str, parameters: usize) -> Result<Option<Self>> {
        let first = tokens.iter().find_map(|token| match &token.token {
            Token::Whitespace(_) => None,
            Token::Word(word) => Some(word.value.to_uppercase()),
            _ => Some(String::new()),
        });
        // Most statements are queries, whose tokens are looked at once.
        if !matches!(
            first.as_deref(),
            Some("COPY" | "OPTIMIZE" | "VACUUM" | "ANALYZE" | "ALTER" | "SHOW")
        ) {
            return Ok(None);
        }
        if let Some(target) = Target::shown(tokens)? {
            return Ok(Some(Statement::Show(Show::Grants { target })));
        }
        if let Some(maintain) = Maintain::parse(tokens)? {
            return Ok(Some(Statement::Maintain(maintain)));
        }
        if let Some(of) = optimized(tokens)? {
            let of = Self::of_tokens(of, None, sql, parameters)?;
            return Ok(Some(Statement::Maintain(Maintain::optimize(of)?)));
        }
        let Some(copy) = copy::parse(tokens)? else {
            return Ok(None);
        };
        match Self::of_tokens(copy.rows, None, sql, parameters)? {
            Statement::Query {
                query,
                parameters: 0,
                versions,
            } => Ok(Some(Statement::Write {
                statement: query,
                creation: None,
                copies: Some(copy.into),
                partitions: None,
                parameters: 0,
                versions,
            })),
            _ => Err(Error::statement("COPY INTO takes no parameters")),
        }
    }

    /// What the parser makes of the tokens.
    fn of_tokens(
        tokens: Vec<TokenWithSpan>,
        creation: Option<Box<CreateTable>>,
        sql: &str,
        parameters: usize,
    ) -> Result<Self> {
        let (tokens, branch) = write::branch::take(tokens)?;
        let (tokens, versions) = versions::extract(tokens)?;
        let mut parser = DFParserBuilder::new(tokens)
            .with_dialect(&GenericDialect {})
            .with_recursion_limit(NESTING_MAX)
            .build()?;
        let mut statements = parser.parse_statements().map_err(|error| with_position(error, sql))?;
        match (statements.pop_front(), statements.len()) {
            (None, _) => Err(Error::statement("the statement is empty")),
            (Some(mut statement), 0) => {
                functions::translate(&mut statement);
                if let Some(inner) = written_or_explained(&mut statement) {
                    limits::translate(inner)?;
                    patterns::translate(inner)?;
                }
                let classified = Self::classify((statement, branch), sql, parameters, versions)?;
                match creation {
                    None => Ok(classified),
                    Some(table) => classified.creating(table),
                }
            }
            (Some(_), more) => Err(Error::statement(format!(
                "a call takes one statement, and this one has {}",
                more + 1
            ))),
        }
    }

    /// Whether it changes something and gives no rows.
    pub(crate) fn is_update(&self) -> bool {
        matches!(
            self,
            Statement::Command(_)
                | Statement::Ddl(_)
                | Statement::Kill(_)
                | Statement::Maintain(_)
                | Statement::Write { .. }
        )
    }

    /// CREATE TABLE AS, of a query.
    fn creating(self, table: Box<CreateTable>) -> Result<Self> {
        match self {
            Statement::Query {
                query,
                parameters,
                versions,
            } if matches!(&*query, Parsed::Statement(inner) if matches!(**inner, ast::Statement::Query(_))) => {
                Ok(Statement::Write {
                    statement: query,
                    creation: Some(table),
                    copies: None,
                    partitions: None,
                    parameters,
                    versions,
                })
            }
            _ => Err(Error::statement("CREATE TABLE takes its rows from a query")),
        }
    }

    fn classify(
        (statement, branch): (Parsed, Option<String>),
        sql: &str,
        parameters: usize,
        versions: Vec<Version>,
    ) -> Result<Self> {
        let found = match Command::parse(&statement, sql)? {
            // Their parameters and versions are those of the query in them, which is read by itself.
            Some(command @ Command::Define(_)) => return Ok(Statement::Command(command)),
            Some(command) => Some(Statement::Command(command)),
            None => Show::parse(&statement)?.map(Statement::Show),
        };
        match found {
            Some(_) if parameters > 0 => Err(Error::statement("only queries take parameters")),
            Some(_) if !versions.is_empty() => Err(Error::statement("only queries name versions of tables")),
            Some(found) => Ok(found),
            None => {
                let mut query = Show::describe(statement)?;
                let (mut partitions, mut written) = (None, None);
                if let Some(inner) = written_or_explained(&mut query) {
                    if let Some(branch) = &branch {
                        written = Some(write::branch::name_target(inner, branch)?);
                    }
                    write::rewrite(inner)?;
                    partitions = write::partitions::take(inner)?;
                    write::alias::spell_out(inner)?;
                }
                if let Parsed::Statement(inner) = &query
                    && write::is_one(inner)
                {
                    write::check(inner)?;
                    let mut versions = versions::name_versions(&mut query, versions)?;
                    versions.extend(written);
                    return Ok(Statement::Write {
                        statement: Box::new(query),
                        creation: None,
                        copies: None,
                        partitions,
                        parameters,
                        versions,
                    });
                }
                let explains_write = written_or_explained(&mut query).is_some_and(|inner| write::is_one(inner));
                if !explains_write {
                    refuse_all_but_queries(&query)?;
                }
                let versions = versions::name_versions(&mut query, versions)?;
                Ok(Statement::Query {
                    query: Box::new(query),
                    parameters,
                    versions,
                })
            }
        }
    }
}

/// The statement itself, or the one that is explained.
fn written_or_explained(statement: &mut Parsed) -> Option<&mut ast::Statement> {
    match statement {
        Parsed::Statement(inner) => Some(inner.as_mut()),
        Parsed::Explain(explain) => match explain.statement.as_mut() {
            Parsed::Statement(inner) => Some(inner.as_mut()),
            _ => None,
        },
        _ => None,
    }
}

/// The parts of a name, in lower case unless quoted.
pub(super) fn name_parts(name: &ObjectName) -> Result<Vec<String>> {
    let part = |part: &ast::ObjectNamePart| match part.as_ident() {
        Some(ident) if ident.quote_style.is_some() => Ok(ident.value.clone()),
        Some(ident) => Ok(ident.value.to_lowercase()),
        None => Err(Error::statement(format!("\"{name}\" is no name"))),
    };
    name.0.iter().map(part).collect()
}

/// The tokens, with every `?` replaced by `$1`, `$2` and so on, and the number of parameters.
fn tokenize(sql: &str) -> Result<(Vec<TokenWithSpan>, usize)> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location();
    let mut tokens =
        tokens.map_err(|error| Error::from(DataFusionError::from(ParserError::from(error))).located(sql))?;
    let (mut positional, mut highest) = (0, 0);
    for token in &mut tokens {
        let Token::Placeholder(name) = &mut token.token else {
            continue;
        };
        if name == "?" {
            positional += 1;
            *name = format!("${positional}");
        } else {
            let number = name
                .strip_prefix('$')
                .and_then(|number| number.parse().ok())
                .filter(|number| *number > 0);
            let number: usize = number.ok_or_else(|| {
                Error::statement(format!("\"{name}\" is no parameter: write ? or number them from $1"))
            })?;
            highest = highest.max(number);
        }
    }
    if positional.max(highest) > PARAMETERS_MAX {
        return Err(Error::statement(format!(
            "a statement takes at most {PARAMETERS_MAX} parameters"
        )));
    }
    if positional > 0 && highest > 0 {
        return Err(Error::statement(
            "a statement writes its parameters as ? or as $1, not both",
        ));
    }
    Ok((tokens, positional.max(highest)))
}

/// The parser says where it stopped, except at the end of the text.
fn with_position(error: DataFusionError, sql: &str) -> Error {
    match &error {
        DataFusionError::SQL(inner, _) => match inner.as_ref() {
            ParserError::ParserError(message) if message.ends_with("EOF") => {
                let line = sql.split('\n').count();
                let column = sql.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
                let message = format!("{message} at Line: {line}, Column: {column}");
                Error::from(DataFusionError::from(ParserError::ParserError(message)))
            }
            _ => error.into(),
        },
        _ => error.into(),
    }
    .located(sql)
}

fn refuse_all_but_queries(statement: &Parsed) -> Result<()> {
    match statement {
        Parsed::Statement(statement) => match statement.visit(&mut OnlyQueries) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        },
        Parsed::Explain(ExplainStatement { statement, .. }) => refuse_all_but_queries(statement),
        Parsed::CreateExternalTable(_) => Err(Error::unsupported("CREATE EXTERNAL TABLE", ": use CREATE TABLE")),
        Parsed::CopyTo(_) => Err(Error::unsupported("COPY", ": use INSERT and CREATE TABLE AS")),
        Parsed::Reset(_) => Err(Error::unsupported("RESET inside another statement", "")),
    }
}

/// Stops at the first thing that is not a query, however deep: `WITH ... INSERT` and `SELECT ... INTO` are writes.
struct OnlyQueries;

impl Visitor for OnlyQueries {
    type Break = Error;

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<Error> {
        use ast::Statement::{Execute, Explain, ExplainTable, Query};
        match statement {
            Query(_) | Explain { .. } | ExplainTable { .. } | Execute { .. } => ControlFlow::Continue(()),
            refused => ControlFlow::Break(refusal(refused)),
        }
    }

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<Error> {
        match select.into {
            Some(_) => ControlFlow::Break(Error::unsupported("SELECT INTO", ": use CREATE TABLE AS")),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Names a statement by the words it begins with once it is printed again, without comments.
pub(super) fn refusal(statement: &ast::Statement) -> Error {
    use ast::Statement as S;
    let text = statement.to_string();
    let mut words = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    let first = words.next().unwrap_or("this statement").to_uppercase();
    let name = match (first.as_str(), words.next().map(str::to_uppercase)) {
        ("CREATE" | "DROP" | "ALTER" | "SHOW" | "SET" | "START", Some(second)) if second != "OR" => {
            format!("{first} {second}")
        }
        _ => first,
    };
    let reason = match statement {
        S::StartTransaction { .. } | S::Commit { .. } | S::Rollback { .. } | S::Savepoint { .. } => NO_TRANSACTIONS,
        S::CreateView(_) => NO_VIEWS,
        _ => match name.split(' ').next() {
            Some("INSERT" | "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE") => ALONE,
            _ => "",
        },
    };
    Error::unsupported(name, reason)
}

#[cfg(test)]
mod tests;
