//! Substrait plans (substrait.io) in the place of SQL. Their tables are found as those of SQL are, views among them, and
//! pinned for the one statement.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, Result as PlanResult, TableReference, not_impl_err};
use datafusion::error::DataFusionError;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion_substrait::extensions::Extensions;
use datafusion_substrait::logical_plan::consumer::{
    DefaultSubstraitConsumer, SubstraitConsumer, from_read_rel, from_substrait_plan_with_consumer,
};
use datafusion_substrait::substrait::proto::read_rel::ReadType;
use datafusion_substrait::substrait::proto::rel::RelType;
use datafusion_substrait::substrait::proto::{DynamicParameter, Plan as EncodedPlan, ReadRel, Type, plan_rel};
use prost::Message;
use proto::TablePin;

use super::{Naming, Plan, Planner, only_reads, slot};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::sql::parse::PARAMETERS_MAX;

impl Planner {
    /// Plans an encoded Substrait plan as [`Planner::plan_text`] plans SQL.
    pub(crate) async fn plan_substrait(&self, session: &Session, encoded: &[u8], pins: &[TablePin]) -> Result<Plan> {
        let encoded = EncodedPlan::decode(encoded)
            .map_err(|error| Error::request(format!("the Substrait plan cannot be read: {error}")))?;
        readable(&encoded)?;
        let (state, catalogs) = self.pinned(session, pins)?;
        let tables = Arc::clone(catalogs.tables());
        let extensions = Extensions::try_from(&encoded.extensions)?;
        let reader = Reader {
            naming: Naming::new((session, &self.engines), catalogs, None),
            state: &state,
            inner: DefaultSubstraitConsumer::new(&extensions, &state),
        };
        let plan = from_substrait_plan_with_consumer(&reader, &encoded).await?;
        only_reads().verify_plan(&plan)?;
        let highest = plan.get_parameter_names()?.iter().filter_map(|id| slot(id)).max();
        Ok(Plan {
            state,
            plan,
            parameters: highest.map_or(0, |slot| slot + 1),
            creates: None,
            copies: None,
            partitions: None,
            tables,
        })
    }
}

/// Refuses by name what the library would refuse with the whole plan in its message, or panic about.
fn readable(plan: &EncodedPlan) -> Result<()> {
    let [relation] = plan.relations.as_slice() else {
        let detail = format!(
            "a Substrait plan has one relation, and this has {}",
            plan.relations.len()
        );
        return Err(Error::statement(detail));
    };
    let root = match &relation.rel_type {
        Some(plan_rel::RelType::Root(root)) => root.input.as_ref(),
        Some(plan_rel::RelType::Rel(rel)) => Some(rel),
        None => None,
    };
    match root.and_then(|rel| rel.rel_type.as_ref()) {
        Some(RelType::Write(_) | RelType::Ddl(_) | RelType::Update(_)) => Err(Error::unsupported(
            "a Substrait plan that changes something",
            ": write with SQL",
        )),
        Some(_) => Ok(()),
        None => Err(Error::statement("the Substrait plan has no relation")),
    }
}

/// Reads plans over the tables of a session. Everything but tables and parameters is read as DataFusion does.
struct Reader<'a> {
    naming: Naming<'a>,
    state: &'a SessionState,
    inner: DefaultSubstraitConsumer<'a>,
}

#[async_trait]
impl SubstraitConsumer for Reader<'_> {
    async fn resolve_table_ref(&self, reference: &TableReference) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let found = self.naming.relation(self.state, reference).await;
        found.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn get_extensions(&self) -> &Extensions {
        self.inner.get_extensions()
    }

    fn get_function_registry(&self) -> &impl FunctionRegistry {
        self.state
    }

    /// A name of a file in a plan would be looked up as a table of that name.
    async fn consume_read(&self, read: &ReadRel) -> PlanResult<LogicalPlan> {
        match &read.read_type {
            Some(ReadType::NamedTable(_) | ReadType::VirtualTable(_)) => from_read_rel(self, read).await,
            _ => not_impl_err!("a Substrait plan that reads neither named tables nor values is not supported"),
        }
    }

    async fn consume_dynamic_parameter(&self, parameter: &DynamicParameter, input: &DFSchema) -> PlanResult<Expr> {
        match usize::try_from(parameter.parameter_reference) {
            Ok(index) if index < PARAMETERS_MAX => self.inner.consume_dynamic_parameter(parameter, input).await,
            _ => not_impl_err!("a statement of more than {PARAMETERS_MAX} parameters is not supported"),
        }
    }

    fn push_outer_schema(&self, schema: Arc<DFSchema>) {
        self.inner.push_outer_schema(schema);
    }

    fn pop_outer_schema(&self) {
        self.inner.pop_outer_schema();
    }

    fn get_outer_schema(&self, steps_out: usize) -> Option<Arc<DFSchema>> {
        self.inner.get_outer_schema(steps_out)
    }

    fn push_lambda_parameters(&self, parameters: &[Type], input: &DFSchema) -> PlanResult<Vec<String>> {
        self.inner.push_lambda_parameters(parameters, input)
    }

    fn pop_lambda_parameters(&self) {
        self.inner.pop_lambda_parameters();
    }

    fn lambda_variable(&self, steps_out: usize, field: usize) -> PlanResult<Expr> {
        self.inner.lambda_variable(steps_out, field)
    }
}
