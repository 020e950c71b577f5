//! Calls of functions in other dialects' words: what only the text shows, such as a unit of time without quotes.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    ObjectName, Value, VisitMut, VisitorMut,
};

/// Functions whose first argument is a unit of time.
const TAKE_UNIT: [&str; 6] = [
    "dateadd",
    "date_add",
    "timestampadd",
    "datediff",
    "date_diff",
    "timestampdiff",
];

/// Writes calls of functions as the engine knows them: `dateadd(day, 1, d)` with its unit as a text, and
/// `LISTAGG(x, ',') WITHIN GROUP (ORDER BY y)` as `string_agg(x, ',' ORDER BY y)`, and `date(x)` as a cast.
pub(super) fn translate(statement: &mut Parsed) {
    let broken = match statement {
        Parsed::Statement(statement) => statement.visit(&mut Calls),
        Parsed::Explain(explain) => {
            translate(&mut explain.statement);
            return;
        }
        _ => return,
    };
    debug_assert!(broken.is_continue(), "the visitor never breaks");
}

struct Calls;

impl VisitorMut for Calls {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(argument) = of_date(expr) {
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(argument),
                data_type: DataType::Date,
                array: false,
                format: None,
            };
        }
        if let Expr::Function(call) = expr
            && let [part] = &call.name.0[..]
            && let Some(name) = part.as_ident().filter(|name| name.quote_style.is_none())
        {
            match name.value.to_ascii_lowercase().as_str() {
                "listagg" => string_agg(call),
                name if TAKE_UNIT.contains(&name) => quote_unit(call),
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// The argument of `date(x)`.
fn of_date(expr: &Expr) -> Option<Expr> {
    let Expr::Function(call) = expr else {
        return None;
    };
    let [part] = &call.name.0[..] else {
        return None;
    };
    let is_date = part
        .as_ident()
        .is_some_and(|name| name.value.eq_ignore_ascii_case("date"));
    match &call.args {
        FunctionArguments::List(list) if is_date && call.over.is_none() && call.filter.is_none() => {
            match &list.args[..] {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument.clone()),
                _ => None,
            }
        }
        _ => None,
    }
}

fn quote_unit(call: &mut Function) {
    if let FunctionArguments::List(list) = &mut call.args
        && let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(unit))) = list.args.first_mut()
        && let Expr::Identifier(word) = unit
        && word.quote_style.is_none()
    {
        *unit = text(&word.value);
    }
}

/// Leaves the call alone where it has a clause that STRING_AGG lacks: LISTAGG is then a function that does not exist.
fn string_agg(call: &mut Function) {
    let FunctionArguments::List(list) = &mut call.args else {
        return;
    };
    if !list.clauses.is_empty() || call.null_treatment.is_some() {
        return;
    }
    if !call.within_group.is_empty() {
        let order = std::mem::take(&mut call.within_group);
        list.clauses.push(FunctionArgumentClause::OrderBy(order));
    }
    if list.args.len() == 1 {
        list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(text(""))));
    }
    call.name = ObjectName::from(vec![Ident::new("string_agg")]);
}

fn text(value: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(value.to_owned()).into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use datafusion::sql::parser::DFParserBuilder;

    use super::*;

    #[test]
    fn calls_become_those_of_the_engine() {
        let check = |sql: &str, expect: &str| {
            let mut statement = DFParserBuilder::new(sql).build().unwrap().parse_statement().unwrap();
            translate(&mut statement);
            assert_eq!(statement.to_string(), expect);
        };
        check("SELECT DATEADD(Day, 1, d)", "SELECT DATEADD('Day', 1, d)");
        check(
            "SELECT datediff('day', a, timestampadd(hour, 1, b))",
            "SELECT datediff('day', a, timestampadd('hour', 1, b))",
        );
        check("SELECT datediff(\"day\", a, b)", "SELECT datediff(\"day\", a, b)");
        check(
            "EXPLAIN SELECT date_add(week, 1, d)",
            "EXPLAIN SELECT date_add('week', 1, d)",
        );
        check(
            "SELECT LISTAGG(DISTINCT x, ', ') WITHIN GROUP (ORDER BY y DESC) FROM t",
            "SELECT string_agg(DISTINCT x, ', ' ORDER BY y DESC) FROM t",
        );
        check("SELECT listagg(x) FROM t", "SELECT string_agg(x, '') FROM t");
        check(
            "SELECT date('2024-01-02'), date(x)",
            "SELECT CAST('2024-01-02' AS DATE), CAST(x AS DATE)",
        );
        check("SELECT my.listagg(x) FROM t", "SELECT my.listagg(x) FROM t");
        check(
            "DELETE FROM t WHERE datediff(day, a, b) > 1",
            "DELETE FROM t WHERE datediff('day', a, b) > 1",
        );
    }
}
