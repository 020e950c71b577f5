//! A function of the lake and what stands in the place of its calls: its body with their arguments.

use std::collections::HashMap;
use std::ops::ControlFlow;

use catalog::TableName;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function as Call, FunctionArg, FunctionArgExpr, FunctionArguments, Visit, VisitMut,
    Visitor, VisitorMut,
};

use super::functions::normal;
use crate::error::{Error, Result};
use crate::sql::ddl::function::{Argument, Function, FunctionKind};
use crate::sql::parse::name_parts;

/// A function that stands ready to take the place of its calls.
pub(super) struct Ready {
    pub(super) name: TableName,
    pub(super) function: Function,
    pub(super) types: Vec<DataType>,
    pub(super) defaults: Vec<Option<Expr>>,
    pub(super) returns: DataType,
    /// With the functions in it written out.
    pub(super) body: Expr,
}

impl Ready {
    /// The body with the arguments of a call.
    pub(super) fn applied(&self, call: &Call, state: &SessionState) -> Result<Expr> {
        let values = self.values(call)?;
        let arguments = self.function.arguments.iter().zip(&self.types).zip(values);
        let values = arguments.map(|((Argument { name, .. }, sql_type), value)| {
            let is_volatile = is_volatile(&value, state);
            (&**name, (cast(value, sql_type.clone()), is_volatile, 0))
        });
        let mut substitute = Substitute(values.collect());
        let mut body = self.body.clone();
        let done = VisitMut::visit(&mut body, &mut substitute);
        debug_assert!(done.is_continue(), "the visitor never breaks");
        let twice = substitute
            .0
            .iter()
            .find(|(_, (_, is_volatile, uses))| *is_volatile && *uses > 1);
        if let Some((argument, _)) = twice {
            return Err(Error::Statement {
                detail: format!(
                    "the function {} uses its argument {argument} more than once, and here it is another value each time",
                    self.name
                ),
                hint: Some("compute the argument in a subquery".to_owned()),
            });
        }
        Ok(cast(body, self.returns.clone()))
    }

    /// What a call has for each argument.
    fn values(&self, call: &Call) -> Result<Vec<Expr>> {
        let takes = || Error::statement(format!("the function {} takes {}", self.name, self.function));
        let FunctionArguments::List(list) = &call.args else {
            return Err(takes());
        };
        let is_plain = list.duplicate_treatment.is_none()
            && list.clauses.is_empty()
            && call.parameters == FunctionArguments::None
            && call.filter.is_none()
            && call.null_treatment.is_none()
            && call.over.is_none()
            && call.within_group.is_empty();
        if !is_plain {
            let kind = match self.function.kind {
                FunctionKind::Scalar => "scalar",
                FunctionKind::Aggregate => "aggregate",
            };
            return Err(Error::Unsupported {
                what: format!(
                    "DISTINCT, FILTER, ORDER BY or OVER of the {kind} function {}",
                    self.name
                ),
                reason: "",
            });
        }
        let mut values: Vec<Option<Expr>> = vec![None; self.function.arguments.len()];
        let mut named = false;
        for (index, argument) in list.args.iter().enumerate() {
            let (slot, value) = match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if !named => (index, value),
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    ..
                }
                | FunctionArg::ExprNamed {
                    name: Expr::Identifier(name),
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => {
                    named = true;
                    let name = normal(name);
                    let mut arguments = self.function.arguments.iter();
                    let slot = arguments.position(|argument| argument.name == name);
                    (slot.ok_or_else(takes)?, value)
                }
                _ => return Err(takes()),
            };
            match values.get_mut(slot) {
                Some(empty) if empty.is_none() => *empty = Some(value.clone()),
                _ => return Err(takes()),
            }
        }
        let values = values.into_iter().zip(&self.defaults);
        values
            .map(|(value, default)| value.or_else(|| default.clone()).ok_or_else(takes))
            .collect()
    }
}

/// Puts values in the place of arguments: each with whether it is another one every time, and how often it stands there.
struct Substitute<'a>(HashMap<&'a str, (Expr, bool, usize)>);

impl VisitorMut for Substitute<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(ident) = expr
            && let Some((value, _, uses)) = self.0.get_mut(&*normal(ident))
        {
            *uses += 1;
            *expr = value.clone();
        }
        ControlFlow::Continue(())
    }
}

/// Whether two copies of an expression may have two values.
fn is_volatile(expr: &Expr, state: &SessionState) -> bool {
    struct Finds<'a>(&'a SessionState);

    impl Visitor for Finds<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(call) = expr
                && let Ok(parts) = name_parts(&call.name)
                && let [name] = &parts[..]
                && let Some(function) = self.0.scalar_functions().get(name)
                && function.signature().volatility == Volatility::Volatile
            {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }

    expr.visit(&mut Finds(state)).is_break()
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}
