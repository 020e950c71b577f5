//! SQL functions that clients of other engines expect and DataFusion lacks, or has in a form that does not fit tables.
//! Sessions that plan and executors that run have the same ones: a plan names a function, and carries none.

mod calendar;
mod dates;
mod modulo;
mod now;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions::{math, string};
use datafusion::logical_expr::ScalarUDF;

/// `builder` with these functions beside those that it has.
pub(crate) fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let functions = dates::functions().map(|function| Arc::new(ScalarUDF::new_from_shared_impl(function)));
    let all = builder.scalar_functions().get_or_insert_default();
    all.extend(functions);
    all.extend(calendar::functions().map(Arc::new));
    all.push(Arc::new(ScalarUDF::new_from_impl(modulo::Modulo::default())));
    for (function, name) in [
        (math::signum(), "sign"),
        (string::chr(), "char"),
        (string::starts_with(), "startswith"),
        (string::ends_with(), "endswith"),
    ] {
        all.push(Arc::new(ScalarUDF::clone(&function).with_aliases([name])));
    }
    // In the place of DataFusion's: the last one of a name holds.
    all.push(Arc::new(ScalarUDF::new_from_impl(now::Now::default())));
    let aggregates = builder.aggregate_functions().get_or_insert_default();
    aggregates.push(Arc::new(catalog::theta_sketch()));
    builder
}
