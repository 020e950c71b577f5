//! `now()` in microseconds, the unit of both table formats: beside nanoseconds their timestamps would become nanoseconds
//! too, which end in the year 2262.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::functions::datetime::now::NowFunc;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// DataFusion's function, in another unit.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Now {
    nanoseconds: NowFunc,
}

/// The type of the same moments in microseconds.
fn coarser(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        self.nanoseconds.name()
    }

    fn aliases(&self) -> &[String] {
        self.nanoseconds.aliases()
    }

    fn signature(&self) -> &Signature {
        self.nanoseconds.signature()
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let nanoseconds = NowFunc::new_with_config(config);
        Some(ScalarUDF::new_from_impl(Self { nanoseconds }))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("the type of now() depends on the session")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = self.nanoseconds.return_field_from_args(args)?;
        Ok(Arc::new(Field::new(
            self.name(),
            coarser(field.data_type()),
            field.is_nullable(),
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.nanoseconds.invoke_with_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match self.nanoseconds.simplify(args, context)? {
            ExprSimplifyResult::Simplified(Expr::Literal(value, metadata)) => {
                let value = value.cast_to(&coarser(&value.data_type()))?;
                ExprSimplifyResult::Simplified(Expr::Literal(value, metadata))
            }
            other => other,
        })
    }
}
