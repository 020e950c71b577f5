//! `year(time)`, `month(time)` and so on, as Spark, Trino, ODBC and Power BI have them: the numbers that DataFusion
//! gives as `date_part('year', time)`.

use datafusion::arrow::compute::kernels::numeric::add;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::functions::datetime::date_part::DatePartFunc;
use datafusion::functions::datetime::expr_fn::date_part;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::physical_expr_common::datum::apply;

use super::dates::point_in_time;

/// The names, what DataFusion calls these parts, and what is added to its numbers.
const PARTS: [(&str, &str, i32); 11] = [
    ("year", "year", 0),
    ("quarter", "quarter", 0),
    ("month", "month", 0),
    ("week", "week", 0),
    ("day", "day", 0),
    ("dayofmonth", "day", 0),
    ("dayofyear", "doy", 0),
    // Sunday is 1, as in ODBC and Spark.
    ("dayofweek", "dow", 1),
    ("hour", "hour", 0),
    ("minute", "minute", 0),
    ("second", "second", 0),
];

/// Every function of this file.
pub(super) fn functions() -> impl Iterator<Item = ScalarUDF> {
    PARTS.into_iter().map(|(name, part, added)| {
        ScalarUDF::new_from_impl(Part {
            name,
            part,
            added,
            signature: Signature::user_defined(Volatility::Immutable),
            parts: DatePartFunc::new(),
        })
    })
}

/// A part of a date or time.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Part {
    name: &'static str,
    part: &'static str,
    added: i32,
    signature: Signature,
    parts: DatePartFunc,
}

impl ScalarUDFImpl for Part {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [time @ (DataType::Time32(_) | DataType::Time64(_) | DataType::Interval(_))] => Ok(vec![time.clone()]),
            [time] => Ok(vec![point_in_time(self.name, time)?]),
            _ => plan_err!("{} takes one date or time", self.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int32)
    }

    /// For constants; see [`Part::simplify`].
    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let part = ColumnarValue::Scalar(ScalarValue::from(self.part));
        arguments.args.insert(0, part);
        let number = self.parts.invoke_with_args(arguments)?;
        let added = ColumnarValue::Scalar(ScalarValue::from(self.added));
        apply(&number, &added, add)
    }

    /// DataFusion knows which files a condition on `date_part('year', day)` needs.
    fn simplify(&self, arguments: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let [time] = take_function_args(self.name, arguments)?;
        let part = date_part(lit(self.part), time);
        Ok(ExprSimplifyResult::Simplified(match self.added {
            0 => part,
            added => part + lit(added),
        }))
    }
}
