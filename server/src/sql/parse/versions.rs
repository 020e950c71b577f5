//! `t FOR VERSION AS OF 7`, `t FOR TIMESTAMP AS OF '2026-01-01'` and their relatives. The parser's dialect has none of
//! them, so they are taken out of the tokens before it runs, and the table's name in its tree becomes one of its own:
//!
//! ```text
//! tokens  t FOR VERSION AS OF 7 AS x  ─►  t PARTITION ("·0") AS x      what stands in the brackets: which clause it was
//! tree    t PARTITION ("·0") AS x     ─►  "t FOR VERSION AS OF 7" AS x
//! ```

#[cfg(test)]
#[path = "versions_tests.rs"]
mod tests;

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::{ExplainStatement, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, ObjectName, ObjectNamePart, TableAlias, TableFactor, Value, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{NESTING_MAX, name_parts};
use crate::error::{Error, Result};

/// A point in time takes no more tokens than this, blanks included.
const EXPRESSION_TOKENS_MAX: usize = 1000;

/// Begins the text in the brackets; no name that a user writes does.
const MARK: char = '\0';

/// A version of a table that a statement names, such as `t FOR VERSION AS OF 7`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VersionedTable {
    /// The last part of the name that stands for it in the statement; unlike every other name in it.
    pub(crate) name: String,
    /// The last part of the table's own name.
    pub(crate) table: String,
    /// Which version.
    pub(crate) version: Version,
}

/// Which version of a table is meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Version {
    /// An Iceberg snapshot id or a Delta version.
    Number(i64),
    /// An Iceberg branch or tag.
    Ref(String),
    /// The version that was current at a point in time, which is an expression of constants.
    At(Box<Expr>),
}

impl Version {
    /// As it is written behind a table's name.
    fn clause(&self) -> String {
        match self {
            Version::Number(number) => format!("FOR VERSION AS OF {number}"),
            Version::Ref(name) => format!("FOR VERSION AS OF '{}'", name.replace('\'', "''")),
            Version::At(expr) => format!("FOR TIMESTAMP AS OF {expr}"),
        }
    }
}

/// Takes the clauses out of the tokens of a statement. [`name_versions`] puts them into its tree.
pub(super) fn extract(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Vec<Version>)> {
    if !tokens.iter().any(|token| keyword(&token.token) == Keyword::OF) {
        return Ok((tokens, Vec::new()));
    }
    let (mut kept, mut versions) = (Vec::with_capacity(tokens.len()), Vec::new());
    let mut rest = tokens.as_slice();
    while let Some((token, tail)) = rest.split_first() {
        let Some(head) = Head::read(rest) else {
            kept.push(token.clone());
            rest = tail;
            continue;
        };
        if !ends_with_table(&kept) {
            if head.is_certain {
                return Err(Error::Statement {
                    detail: format!("{} does not stand behind the name of a table", head.words),
                    hint: Some(format!(
                        "it stands in FROM, JOIN or USING, before the alias: FROM t {} ... AS x",
                        head.words
                    )),
                });
            }
            kept.push(token.clone());
            rest = tail;
            continue;
        }
        rest = &rest[head.tokens..];
        let (version, used) = if head.is_time {
            point_in_time(rest, &head.words)?
        } else {
            version(rest, &head.words)?
        };
        let marker = format!("{MARK}{}", versions.len());
        let carrier = [
            Token::make_keyword("PARTITION"),
            Token::LParen,
            Token::make_word(&marker, Some('"')),
            Token::RParen,
        ];
        kept.extend(carrier.map(|carrier| TokenWithSpan {
            token: carrier,
            span: token.span,
        }));
        versions.push(version);
        rest = &rest[used..];
    }
    Ok((kept, versions))
}

/// The words that begin a clause.
struct Head {
    /// In capitals.
    words: String,
    /// How many tokens they take.
    tokens: usize,
    /// A point in time follows, not a version.
    is_time: bool,
    /// They can be nothing else, such as `version AS of` in `SELECT version AS of`.
    is_certain: bool,
}

impl Head {
    fn read(tokens: &[TokenWithSpan]) -> Option<Self> {
        let first = word(tokens.first()?)?;
        let mut words = significant(tokens).map_while(|(index, token)| Some((index, word(token)?)));
        let mut text = String::new();
        let is_certain = first == "FOR";
        if is_certain {
            words.next();
            text.push_str("FOR ");
        }
        let (_, kind) = words.next()?;
        let is_time = match kind.as_str() {
            "VERSION" | "SYSTEM_VERSION" => false,
            "TIMESTAMP" | "SYSTEM_TIME" => true,
            _ => return None,
        };
        let (_, r#as) = words.next()?;
        let (last, of) = words.next()?;
        (r#as == "AS" && of == "OF").then(|| Self {
            words: format!("{text}{kind} AS OF"),
            tokens: last + 1,
            is_time,
            is_certain,
        })
    }
}

/// Whether these tokens end with `FROM a.b.c`, `JOIN c`, `USING c`, `, c` or `(c`.
fn ends_with_table(tokens: &[TokenWithSpan]) -> bool {
    let mut back = tokens
        .iter()
        .rev()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)));
    loop {
        match back.next() {
            Some(Token::Word(word)) if !is_no_name(word.keyword) => {}
            _ => return false,
        }
        match back.next() {
            Some(Token::Period) => {}
            Some(Token::Comma | Token::LParen) => return true,
            Some(token) => return matches!(keyword(token), Keyword::FROM | Keyword::JOIN | Keyword::USING),
            None => return false,
        }
    }
}

/// Keywords that may stand behind a bracket and before a column called `version`.
fn is_no_name(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::SELECT
            | Keyword::FROM
            | Keyword::DISTINCT
            | Keyword::ALL
            | Keyword::NOT
            | Keyword::CASE
            | Keyword::TABLE
            | Keyword::LATERAL
    )
}

/// Reads a number or a text, and says how many tokens it took.
fn version(tokens: &[TokenWithSpan], words: &str) -> Result<(Version, usize)> {
    let mut values = significant(tokens);
    let wrong = |found: &str| Error::Statement {
        detail: format!("{words} takes a number, or the name of a branch or tag in single quotes, and not {found}"),
        hint: None,
    };
    let (mut at, mut value) = values.next().ok_or_else(|| wrong("the end of the statement"))?;
    let is_negative = value.token == Token::Minus;
    if is_negative {
        (at, value) = values.next().ok_or_else(|| wrong("-"))?;
    }
    let version = match &value.token {
        Token::Number(digits, _) => {
            let number = digits.parse::<i64>().map_err(|_| wrong(digits))?;
            Version::Number(if is_negative { -number } else { number })
        }
        Token::SingleQuotedString(name) if !is_negative => Version::Ref(name.clone()),
        Token::Placeholder(_) => return Err(no_parameter(words)),
        other => return Err(wrong(&other.to_string())),
    };
    Ok((version, at + 1))
}

/// Reads an expression of constants, and says how many tokens it took.
fn point_in_time(tokens: &[TokenWithSpan], words: &str) -> Result<(Version, usize)> {
    let head = &tokens[..tokens.len().min(EXPRESSION_TOKENS_MAX)];
    let mut parser = Parser::new(&GenericDialect {})
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(head.to_vec());
    let expr = parser.parse_expr().map_err(DataFusionError::from)?;
    match expr.visit(&mut OnlyConstants) {
        ControlFlow::Continue(()) => Ok((Version::At(Box::new(expr)), parser.index())),
        ControlFlow::Break(NotConstant::Parameter) => Err(no_parameter(words)),
        ControlFlow::Break(NotConstant::Other(what)) => Err(Error::Statement {
            detail: format!("{words} takes a point in time made of constants, and not {what}"),
            hint: Some("write for example TIMESTAMP '2026-01-31 12:00:00' or now() - INTERVAL '1 day'".to_owned()),
        }),
    }
}

fn no_parameter(words: &str) -> Error {
    Error::unsupported(
        format!("a parameter behind {words}"),
        ": which version is read is decided before parameters have values",
    )
}

/// Stops at what is not known before rows are read.
struct OnlyConstants;

enum NotConstant {
    Parameter,
    Other(String),
}

impl Visitor for OnlyConstants {
    type Break = NotConstant;

    fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<NotConstant> {
        ControlFlow::Break(NotConstant::Other("a query".to_owned()))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<NotConstant> {
        match expr {
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                ControlFlow::Break(NotConstant::Parameter)
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                ControlFlow::Break(NotConstant::Other(format!("the column {expr}")))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Refuses an argument of EXECUTE that is not known before rows are read.
pub(in crate::sql) fn check_constant(argument: &Expr) -> Result<()> {
    match argument.visit(&mut OnlyConstants) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(NotConstant::Parameter) => Err(Error::statement(
            "EXECUTE takes constants: a parameter cannot stand for another",
        )),
        ControlFlow::Break(NotConstant::Other(what)) => {
            Err(Error::statement(format!("EXECUTE takes constants, and {what} is none")))
        }
    }
}

/// Gives every table with a clause its own name, and the alias that its columns are known by. Refuses clauses behind
/// anything else, and what the planner would leave out of a table in silence.
pub(super) fn name_versions(statement: &mut Parsed, versions: Vec<Version>) -> Result<Vec<VersionedTable>> {
    let mut statement = statement;
    loop {
        match statement {
            Parsed::Explain(ExplainStatement { statement: inner, .. }) => statement = inner,
            Parsed::Statement(inner) => {
                let mut naming = Naming {
                    versions: versions.into_iter().map(Some).collect(),
                    ..Naming::default()
                };
                return match inner.visit(&mut naming) {
                    ControlFlow::Break(error) => Err(error),
                    ControlFlow::Continue(()) => naming.finish(),
                };
            }
            _ => return Ok(Vec::new()),
        }
    }
}

#[derive(Default)]
struct Naming {
    /// The clauses that no table has claimed yet.
    versions: Vec<Option<Version>>,
    tables: Vec<VersionedTable>,
    /// Last parts of the names of tables without a clause.
    plain: HashSet<String>,
    /// The queries around the current place.
    scopes: Vec<Scope>,
}

/// One query with its common table expressions. They are visited before the rest of it.
struct Scope {
    names: Vec<String>,
    /// How many of them are behind us; those are visible.
    visited: usize,
    is_recursive: bool,
}

impl Scope {
    fn sees(&self, name: &str) -> bool {
        let visible = if self.is_recursive {
            self.names.len()
        } else {
            self.visited
        };
        self.names.iter().take(visible).any(|known| known == name)
    }
}

impl Naming {
    fn finish(self) -> Result<Vec<VersionedTable>> {
        if self.versions.iter().any(Option::is_some) {
            return Err(Error::statement(
                "a version stands behind something that is not a table",
            ));
        }
        match self.tables.iter().find(|table| self.plain.contains(&table.name)) {
            Some(table) => Err(Error::statement(format!(
                "\"{}\" is both a table and a version of a table: name them in two statements",
                table.name
            ))),
            None => Ok(self.tables),
        }
    }

    fn table(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            partitions,
            with_ordinality,
            json_path,
            sample,
            index_hints,
            ..
        } = factor
        else {
            return Ok(());
        };
        let ignored = [
            (sample.is_some(), "TABLESAMPLE"),
            (*with_ordinality, "WITH ORDINALITY"),
            (
                !with_hints.is_empty() || !index_hints.is_empty(),
                "a hint behind a table",
            ),
            (json_path.is_some(), "a path into a table"),
        ];
        if let Some((_, what)) = ignored.iter().find(|(is_there, _)| *is_there) {
            return Err(Error::unsupported(*what, ""));
        }
        let parts = name_parts(name)?;
        let Some(table) = parts.last().cloned() else {
            return Ok(());
        };
        let marker = match partitions.as_slice() {
            [] => {
                self.plain.insert(table);
                return Ok(());
            }
            [marker] => marker
                .value
                .strip_prefix(MARK)
                .and_then(|index| index.parse::<usize>().ok()),
            _ => None,
        };
        let version = marker.and_then(|index| self.versions.get_mut(index)?.take());
        let version = version.ok_or_else(|| Error::unsupported("PARTITION behind a table", ""))?;
        partitions.clear();
        let is_view = parts
            .iter()
            .rev()
            .nth(1)
            .is_some_and(|schema| schema == INFORMATION_SCHEMA);
        let is_cte = parts.len() == 1 && self.scopes.iter().any(|scope| scope.sees(&table));
        if args.is_some() || is_view || is_cte {
            return Err(Error::statement(format!(
                "{} stands behind \"{name}\", which is no table: only tables have versions",
                version.clause()
            )));
        }
        let versioned = VersionedTable {
            name: format!("{table} {}", version.clause()),
            table,
            version,
        };
        rename(name, alias, &versioned);
        if !self.tables.contains(&versioned) {
            self.tables.push(versioned);
        }
        Ok(())
    }
}

fn rename(name: &mut ObjectName, alias: &mut Option<TableAlias>, versioned: &VersionedTable) {
    let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() else {
        return;
    };
    let quoted = |value: &str| Ident {
        value: value.to_owned(),
        quote_style: Some('"'),
        span: last.span,
    };
    alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: quoted(&versioned.table),
        columns: Vec::new(),
        at: None,
    });
    *last = quoted(&versioned.name);
}

impl VisitorMut for Naming {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        let with = query.with.as_ref();
        self.scopes.push(Scope {
            names: with.map_or_else(Vec::new, |with| {
                with.cte_tables.iter().map(|cte| ident(&cte.alias.name)).collect()
            }),
            visited: 0,
            is_recursive: with.is_some_and(|with| with.recursive),
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut ast::Query) -> ControlFlow<Error> {
        self.scopes.pop();
        // The first queries inside a query are those of its WITH, one for each name.
        if let Some(scope) = self.scopes.last_mut() {
            scope.visited += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.table(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The tokens that are not blanks, with their positions.
fn significant(tokens: &[TokenWithSpan]) -> impl Iterator<Item = (usize, &TokenWithSpan)> {
    let blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_));
    tokens.iter().enumerate().filter(move |(_, token)| !blank(token))
}

/// A word without quotes, in capitals.
fn word(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
        _ => None,
    }
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// In lower case unless quoted.
fn ident(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}
