//! Functions that catalogs keep: their bodies stand in the place of their calls before anything is planned, so that
//! neither the optimizer nor an executor ever sees one.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use catalog::TableName;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    self, DataType, Expr, Function as Call, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::applied::Ready;
use crate::error::{Error, Result};
use crate::sql::ddl::function::Function;
use crate::sql::parse::{Statement, name_parts};
use crate::sql::pinned::PinnedTables;

/// Functions that may be built on one another.
const NESTING_MAX: usize = 8;
/// Parts that an expression may have, and how deep, once its functions are written out: no short text shall become a
/// plan that never ends.
const PARTS_MAX: usize = 10_000;
const DEPTH_MAX: usize = 200;
/// Parts that all functions of a statement may have.
const STATEMENT_PARTS_MAX: usize = 100_000;

/// What the planner knows by a name of its own, in no list of functions.
const SPECIAL: [&str; 3] = ["unnest", "make_map", "grouping"];

/// The functions of a statement by their names as they stand there.
type Functions = HashMap<Vec<String>, Ready>;

/// Whether the server has a function of that name.
pub(in crate::sql) fn is_built_in(state: &SessionState, name: &str) -> bool {
    SPECIAL.contains(&name)
        || state.scalar_functions().contains_key(name)
        || state.aggregate_functions().contains_key(name)
        || state.window_functions().contains_key(name)
}

/// Puts the bodies of functions of the lake in the place of their calls, those in schemas that the user may know of. The
/// place is where names look that name no catalog or schema.
pub(super) async fn expand(
    query: &mut Parsed,
    state: &SessionState,
    tables: &PinnedTables,
    (user, place): (&str, (&str, &str)),
) -> Result<()> {
    let query = match query {
        Parsed::Statement(statement) => statement.as_mut(),
        Parsed::Explain(explain) => return expand_boxed(&mut explain.statement, state, tables, (user, place)).await,
        _ => return Ok(()),
    };
    let names = names_in(&*query, state)?;
    if names.is_empty() {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for parts in names {
        let name = full_name(&parts, place);
        let is_seen = tables.guard().sees_schema(user, &name.catalog, &name.namespace).await;
        // What names no catalog is told by who looks the function up.
        if is_seen.unwrap_or(false) {
            seen.insert(parts);
        } else if parts.len() > 1 {
            return Err(no_function(&name));
        }
    }
    let functions = ready(seen, state, tables, place, 0).await?;
    write_out(query, &functions, state)
}

fn expand_boxed<'a>(
    query: &'a mut Parsed,
    state: &'a SessionState,
    tables: &'a PinnedTables,
    (user, place): (&'a str, (&'a str, &'a str)),
) -> BoxFuture<'a, Result<()>> {
    expand(query, state, tables, (user, place)).boxed()
}

/// The names of the functions in `part` that are none of the server's.
pub(in crate::sql) fn names_in(part: &impl Visit, state: &SessionState) -> Result<BTreeSet<Vec<String>>> {
    struct Names<'a>(&'a SessionState, BTreeSet<Vec<String>>);

    impl Visitor for Names<'_> {
        type Break = Error;

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
            let Expr::Function(call) = expr else {
                return ControlFlow::Continue(());
            };
            match name_parts(&call.name) {
                Ok(parts) => {
                    let is_own = matches!(&parts[..], [name] if is_built_in(self.0, name));
                    if !is_own {
                        self.1.insert(parts);
                    }
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        }
    }

    let mut names = Names(state, BTreeSet::new());
    match part.visit(&mut names) {
        ControlFlow::Continue(()) => Ok(names.1),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Loads the functions of these names. A name of one part that is none of the lake is left to the planner, which knows
/// what is like it.
fn ready<'a>(
    names: BTreeSet<Vec<String>>,
    state: &'a SessionState,
    tables: &'a PinnedTables,
    place: (&'a str, &'a str),
    nesting: usize,
) -> BoxFuture<'a, Result<Functions>> {
    let load = async move {
        let mut functions = HashMap::with_capacity(names.len());
        for parts in names {
            let name = full_name(&parts, place);
            let function = match tables.namespace_properties(&name.catalog, &name.namespace).await {
                Ok(properties) => Function::read(&name, &properties)?,
                Err(catalog::Error::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let Some(function) = function else {
                if parts.len() == 1 {
                    continue;
                }
                return Err(no_function(&name));
            };
            if nesting == NESTING_MAX {
                return Err(Error::statement(format!(
                    "the function {name} is built on itself or on more than {NESTING_MAX} functions"
                )));
            }
            let mut body = body(&function.body)?;
            let known: Vec<_> = function
                .arguments
                .iter()
                .map(|argument| argument.name.as_str())
                .collect();
            check_names(&body, &known)?;
            let within = (function.catalog.clone(), function.namespace.clone());
            let inner = ready(
                names_in(&body, state)?,
                state,
                tables,
                (&within.0, &within.1),
                nesting + 1,
            )
            .await?;
            write_out(&mut body, &inner, state)?;
            let types = function.arguments.iter().map(|argument| data_type(&argument.sql_type));
            let defaults = function.arguments.iter().map(|argument| {
                let default = argument.default.as_deref();
                default.map(self::body).transpose()
            });
            let ready = Ready {
                name,
                types: types.collect::<Result<_>>()?,
                defaults: defaults.collect::<Result<_>>()?,
                returns: data_type(&function.returns)?,
                function,
                body,
            };
            functions.insert(parts, ready);
        }
        Ok(functions)
    };
    load.boxed()
}

fn no_function(name: &TableName) -> Error {
    catalog::Error::NotFound {
        what: "function",
        name: name.to_string(),
        hint: None,
    }
    .into()
}

fn full_name(parts: &[String], (catalog, namespace): (&str, &str)) -> TableName {
    match parts {
        [catalog, namespace @ .., function] if !namespace.is_empty() => {
            TableName::new(catalog, namespace.join("."), function)
        }
        [namespace, function] => TableName::new(catalog, namespace, function),
        _ => TableName::new(catalog, namespace, parts.join(".")),
    }
}

/// The expression that the body of a function is.
pub(in crate::sql) fn body(text: &str) -> Result<Expr> {
    let no_expression = || Error::Statement {
        detail: format!("{text:?} is no body of a function"),
        hint: Some("write an expression, or SELECT with one expression and nothing else".to_owned()),
    };
    let text = text.trim().trim_end_matches(';');
    let is_select = text.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("select"));
    let statement = match is_select {
        true => Statement::parse(text)?,
        false => Statement::parse(&format!("SELECT {text}\n"))?,
    };
    let Statement::Query {
        query, parameters: 0, ..
    } = statement
    else {
        return Err(no_expression());
    };
    let Parsed::Statement(statement) = *query else {
        return Err(no_expression());
    };
    let ast::Statement::Query(query) = *statement else {
        return Err(no_expression());
    };
    // Printed again, it has no other clause.
    let printed = query.to_string();
    match *query.body {
        SetExpr::Select(mut select) if select.projection.len() == 1 => match select.projection.pop() {
            Some(SelectItem::UnnamedExpr(expr)) if printed == format!("SELECT {expr}") => Ok(expr),
            _ => Err(no_expression()),
        },
        _ => Err(no_expression()),
    }
}

/// Refuses a body that names anything but its arguments: it would mean a column of whoever calls the function.
pub(in crate::sql) fn check_names(body: &Expr, arguments: &[&str]) -> Result<()> {
    struct Check<'a>(&'a [&'a str]);

    impl Visitor for Check<'_> {
        type Break = Error;

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Error> {
            ControlFlow::Break(Error::unsupported("a query inside the body of a function", ""))
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Error> {
            match expr {
                Expr::Identifier(ident) if !self.0.contains(&&*normal(ident)) => ControlFlow::Break(Error::Statement {
                    detail: format!("the body of the function names {ident}, which is none of its arguments"),
                    hint: None,
                }),
                Expr::CompoundIdentifier(_) => ControlFlow::Break(Error::Statement {
                    detail: format!("the body of the function names {expr}, which is none of its arguments"),
                    hint: Some("write argument['field'] for a field of a struct".to_owned()),
                }),
                Expr::Lambda(_) => ControlFlow::Break(Error::unsupported("a lambda inside the body of a function", "")),
                _ => ControlFlow::Continue(()),
            }
        }
    }

    match body.visit(&mut Check(arguments)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn write_out(part: &mut impl VisitMut, functions: &Functions, state: &SessionState) -> Result<()> {
    let mut calls = Calls {
        functions,
        state,
        parts: 0,
    };
    match part.visit(&mut calls) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Writes bodies in the place of calls, the innermost first.
struct Calls<'a> {
    functions: &'a Functions,
    state: &'a SessionState,
    /// Parts of the expressions that came into the statement.
    parts: usize,
}

impl<'a> Calls<'a> {
    fn function(&self, call: &Call) -> Option<&'a Ready> {
        self.functions.get(&name_parts(&call.name).ok()?)
    }

    fn expand(&mut self, call: &Call) -> Result<Option<Expr>> {
        let Some(ready) = self.function(call) else {
            return Ok(None);
        };
        let expr = ready.applied(call, self.state)?;
        let (parts, depth) = size(&expr);
        self.parts += parts;
        if parts > PARTS_MAX || depth > DEPTH_MAX || self.parts > STATEMENT_PARTS_MAX {
            return Err(Error::statement(format!(
                "with the function {} written out, the statement becomes too large",
                ready.name
            )));
        }
        Ok(Some(expr))
    }

    /// What a column is called whose expression has such a call: as it was written, and not as the body.
    fn column_name(&self, expr: &Expr) -> Option<String> {
        struct Finds<'c, 'd>(&'c Calls<'d>);

        impl Visitor for Finds<'_, '_> {
            type Break = ();

            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                match expr {
                    Expr::Function(call) if self.0.function(call).is_some() => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            }
        }

        if let Expr::Function(call) = expr
            && let Some(ready) = self.function(call)
        {
            let mut call = call.clone();
            call.name = ObjectName::from(vec![Ident::new(&ready.name.table)]);
            return Some(call.to_string());
        }
        expr.visit(&mut Finds(self)).is_break().then(|| expr.to_string())
    }
}

impl VisitorMut for Calls<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(name) = self.column_name(expr)
            {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::with_quote('"', name),
                };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        if let Expr::Function(call) = expr {
            match self.expand(call) {
                Ok(Some(body)) => *expr = body,
                Ok(None) => {}
                Err(error) => return ControlFlow::Break(error),
            }
        }
        ControlFlow::Continue(())
    }
}

/// How many parts an expression has, and how deep they lie in one another.
fn size(expr: &Expr) -> (usize, usize) {
    #[derive(Default)]
    struct Size {
        parts: usize,
        depth: usize,
        deepest: usize,
    }

    impl Visitor for Size {
        type Break = ();

        fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
            self.parts += 1;
            self.depth += 1;
            self.deepest = self.deepest.max(self.depth);
            ControlFlow::Continue(())
        }

        fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<()> {
            self.depth -= 1;
            ControlFlow::Continue(())
        }
    }

    let mut size = Size::default();
    let done = expr.visit(&mut size);
    debug_assert!(done.is_continue(), "the visitor never breaks");
    (size.parts, size.deepest)
}

fn data_type(sql: &str) -> Result<DataType> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(sql);
    let read = parser.and_then(|mut parser| parser.parse_data_type());
    read.map_err(|error| Error::statement(format!("the type {sql} of a function cannot be read: {error}")))
}

/// A name in lower case unless it is quoted.
pub(super) fn normal(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
#[path = "functions_tests.rs"]
mod tests;
