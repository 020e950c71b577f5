//! SQL functions that clients of other engines expect and DataFusion lacks, or has in a form that does not fit tables.
//! Sessions that plan and executors that run have the same ones: a plan names a function, and carries none.

mod calendar;
mod dates;
mod locate;
mod modulo;
mod now;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::functions::{math, string};
use datafusion::functions_aggregate::approx_distinct::approx_distinct_udaf;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// `builder` with these functions beside those that it has.
pub(crate) fn register(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let functions = dates::functions().map(|function| Arc::new(ScalarUDF::new_from_shared_impl(function)));
    let all = builder.scalar_functions().get_or_insert_default();
    all.extend(functions);
    all.extend(calendar::functions().map(Arc::new));
    all.push(Arc::new(ScalarUDF::new_from_impl(modulo::Modulo::default())));
    all.push(Arc::new(ScalarUDF::new_from_impl(locate::Locate::default())));
    for (function, name) in [
        (math::signum(), "sign"),
        (string::chr(), "char"),
        (string::starts_with(), "startswith"),
        (string::ends_with(), "endswith"),
        (string::upper(), "ucase"),
        (string::lower(), "lcase"),
        (math::ceil(), "ceiling"),
    ] {
        all.push(Arc::new(ScalarUDF::clone(&function).with_aliases([name])));
    }
    // In the place of DataFusion's: the last one of a name holds.
    all.push(Arc::new(ScalarUDF::new_from_impl(now::Now::default())));
    let aggregates = builder.aggregate_functions().get_or_insert_default();
    aggregates.push(Arc::new(catalog::theta_sketch()));
    let approx_distinct = AggregateUDF::clone(&approx_distinct_udaf());
    aggregates.push(Arc::new(approx_distinct.with_aliases(["approx_count_distinct"])));
    builder
}
