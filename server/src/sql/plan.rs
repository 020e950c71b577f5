//! Statements to logical plans: names become tables pinned for this one statement, parameters become values.

mod applied;
mod batch;
pub(in crate::sql) mod functions;
mod naming;
mod substrait;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use catalog::{Lakehouse, TableName};
use datafusion::catalog::{CatalogProviderList, MemoryCatalogProviderList};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::{SessionState, SessionStateDefaults};
use datafusion::logical_expr::expr::{Cast, Placeholder, TryCast};
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::prelude::SQLOptions;
use executor::Engines;
use proto::TablePin;

use self::naming::Naming;
use super::ddl::{CreateTable, table_name};
use super::execute;
use super::parse::Statement;
use super::pinned::{PinnedCatalogs, PinnedTables};
use super::type_names::TypeNames;
use super::write::{Creation, PartitionClause, Write, Written, explain, rights, upload};
use crate::access::{Access, Guard, Viewer};
use crate::error::{Error, Result};
use crate::query::Registry;
use crate::session::Session;

/// A statement that is ready to run: all of its tables are pinned.
#[derive(Clone)]
pub(crate) struct Plan {
    /// The engine's view of the session and of the pinned tables.
    pub(crate) state: SessionState,
    /// What to run, not yet optimised.
    pub(crate) plan: LogicalPlan,
    /// How many parameters the statement takes.
    pub(crate) parameters: usize,
    /// The table that its rows shall make.
    creates: Option<Box<CreateTable>>,
    /// The table that they join by the names of their columns.
    copies: Option<Vec<String>>,
    /// The partitions of a table that its rows replace.
    partitions: Option<PartitionClause>,
    tables: Arc<PinnedTables>,
}

/// Plans statements that give rows.
#[derive(Clone)]
pub(crate) struct Planner {
    lakehouse: Arc<Lakehouse>,
    engines: Arc<Engines>,
    table_functions: HashSet<String>,
    registry: Registry,
    access: Arc<Access>,
}

impl Planner {
    /// `registry` is what SHOW QUERIES shows, `access` what users may do.
    pub(crate) fn new(
        lakehouse: Arc<Lakehouse>,
        engines: Arc<Engines>,
        registry: Registry,
        access: Arc<Access>,
    ) -> Self {
        let table_functions = SessionStateDefaults::default_table_functions();
        let table_functions = table_functions
            .iter()
            .map(|function| function.name().to_owned())
            .collect();
        Self {
            lakehouse,
            engines,
            table_functions,
            registry,
            access,
        }
    }

    /// What users may do, as one statement finds it.
    pub(crate) fn guard(&self) -> Arc<Guard> {
        self.access.guard()
    }

    /// The lake as the user of `session` may know it.
    pub(crate) fn viewer(&self, session: &Session) -> Viewer {
        Viewer::new(self.guard(), &session.user)
    }

    /// Plans the statement in `sql`, which must not be a command, over the versions in `pins` and the newest of other
    /// tables. Runs nothing.
    pub(crate) async fn plan_text(&self, session: &Session, sql: &str, pins: &[TablePin]) -> Result<Plan> {
        let statement = Statement::parse(sql)?;
        // What SHOW and EXECUTE stand for is not what the user wrote.
        let is_written = match &statement {
            Statement::Query { query, .. } => !execute::is_one(query),
            Statement::Write { .. } => true,
            _ => false,
        };
        let planned = self.plan(session, statement, pins).await;
        match is_written {
            true => planned.map_err(|error| error.located(sql)),
            false => planned,
        }
    }

    /// Plans `statement` as [`Planner::plan_text`] does.
    pub(crate) async fn plan(&self, session: &Session, statement: Statement, pins: &[TablePin]) -> Result<Plan> {
        self.plan_within(session, statement, pins, None).await
    }

    /// Plans the query of the view `name`, which is to be made: temporary views and tables mean nothing in it.
    pub(crate) async fn plan_view(&self, session: &Session, statement: Statement, name: &TableName) -> Result<Plan> {
        let session = Session {
            tables: BTreeMap::new(),
            views: BTreeMap::new(),
            ..session.clone()
        };
        self.plan_within(&session, statement, &[], Some(name)).await
    }

    async fn plan_within(
        &self,
        session: &Session,
        statement: Statement,
        pins: &[TablePin],
        view: Option<&TableName>,
    ) -> Result<Plan> {
        let changes_rows = matches!(statement, Statement::Write { creation: None, .. });
        let (mut creates, mut copies, mut partitions) = (None, None, None);
        let (mut query, parameters, mut versions) = match statement {
            Statement::Query {
                query,
                parameters,
                versions,
            } => (*query, parameters, versions),
            Statement::Write {
                statement,
                creation,
                copies: into,
                partitions: replaced,
                parameters,
                versions,
            } => {
                (creates, copies, partitions) = (creation, into, replaced);
                (*statement, parameters, versions)
            }
            Statement::Show(show) => {
                show.check(&self.guard(), session).await?;
                let queries = match self.access.is_admin(&session.user) {
                    true => self.registry.of_everybody(),
                    false => self.registry.of_user(&session.user),
                };
                let mut caches = self.lakehouse.caches();
                caches.push(self.engines.footer_cache());
                (
                    show.query(session, &self.lakehouse.catalog_names(), &queries, &caches)?,
                    0,
                    Vec::new(),
                )
            }
            Statement::Command(_) | Statement::Ddl(_) | Statement::Kill(_) | Statement::Maintain(_) => {
                return Err(Error::statement("this statement gives no rows"));
            }
        };
        execute::expand(&mut query, &mut versions, session)?;
        let (state, catalogs) = self.pinned(session, pins)?;
        let tables = Arc::clone(catalogs.tables());
        let plan = Naming::new((session, &self.engines), catalogs, view)
            .plan(&state, query, versions)
            .await?;
        let targets = rights::Targets {
            creates: creates.as_deref(),
            copies: copies.as_deref(),
        };
        rights::check(&plan, &targets, &tables, session).await?;
        let plan = explain::with_writers(plan, &tables, (session, &state))?;
        only_reads().with_allow_dml(changes_rows).verify_plan(&plan)?;
        Ok(Plan {
            state,
            plan,
            parameters,
            creates,
            copies,
            partitions,
            tables,
        })
    }

    /// A session for one statement, and the tables in it: those in `pins` have the version that stands there.
    fn pinned(&self, session: &Session, pins: &[TablePin]) -> Result<(SessionState, Arc<PinnedCatalogs>)> {
        let tables = Arc::new(PinnedTables::new(
            (Arc::clone(&self.lakehouse), self.guard()),
            self.table_functions.clone(),
            (session.newest(), pins),
        ));
        let place = (session.catalog.as_str(), session.namespace.as_str());
        let catalogs = PinnedCatalogs::new(Arc::clone(&tables), &session.user, (place, session.temporaries()));
        let list = Arc::clone(&catalogs) as Arc<dyn CatalogProviderList>;
        let config = session.config()?;
        let types = Arc::new(TypeNames::of(&config));
        let mut state = self.engines.session_state(config, list, types)?;
        // What now() means for the whole statement.
        state.mark_start_execution();
        tables.begin((state.config().clone(), Arc::clone(state.runtime_env())));
        Ok((state, catalogs))
    }

    /// A session for plans that name no table.
    pub(crate) fn state(&self, session: &Session) -> Result<SessionState> {
        let nothing = Arc::new(MemoryCatalogProviderList::new());
        let config = session.config()?;
        let types = Arc::new(TypeNames::of(&config));
        let mut state = self.engines.session_state(config, nothing, types)?;
        state.mark_start_execution();
        Ok(state)
    }

    /// The lake that statements are about.
    pub(crate) fn lakehouse(&self) -> &Lakehouse {
        &self.lakehouse
    }
}

impl Plan {
    /// Whether it writes rows and gives none.
    pub(crate) fn is_write(&self) -> bool {
        self.creates.is_some() || self.copies.is_some() || matches!(self.plan, LogicalPlan::Dml(_))
    }

    /// What the statement writes.
    pub(crate) async fn into_write(self, session: &Session, lakehouse: &Lakehouse) -> Result<(SessionState, Written)> {
        if let Some(into) = &self.copies {
            let name = table_name(into, session);
            let table = lakehouse.table_as_of(&name, &session.newest_of(&name)).await?;
            let rows = upload::append(upload::named(self.plan)?, &table, &self.state)?;
            let write = Write::append(name, table, rows, session)?;
            return Ok((self.state, Written::Rows(write)));
        }
        if let Some(table) = self.creates.clone() {
            let schema = self.schema()?;
            let creation = Creation {
                name: table_name(&table.name, session),
                branch: session
                    .settings
                    .branch()
                    .filter(|_| !table.temporary)
                    .map(str::to_owned),
                table,
                schema,
                rows: self.plan,
            };
            return Ok((self.state, Written::New(creation)));
        }
        match self.plan {
            LogicalPlan::Dml(dml) => {
                let write = Write::of(dml, self.partitions.as_ref(), &self.tables, (session, &self.state))?;
                Ok((self.state, Written::Rows(write)))
            }
            _ => Err(Error::statement(
                "this statement gives rows: run it as a query, not as an update",
            )),
        }
    }

    /// Puts rows of values in the place of the parameters, so that the statement writes once for each of them; `None`
    /// where it has to run once for each. Only INSERT of one row of VALUES can take them together.
    pub(crate) fn bind_rows(mut self, rows: &[RecordBatch]) -> Result<Option<Self>> {
        let expected = self.parameter_schema()?;
        let LogicalPlan::Dml(dml) = &self.plan else {
            return Ok(None);
        };
        match batch::together(dml, &expected, rows)? {
            Some(input) => {
                let input = Arc::new(input);
                self.plan = LogicalPlan::Dml(DmlStatement { input, ..dml.clone() });
                self.parameters = 0;
                Ok(Some(self))
            }
            None => Ok(None),
        }
    }

    /// The columns of the result.
    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        match &self.plan {
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_) => {
                Ok(Arc::clone(self.plan.schema().inner()))
            }
            // Only the analysed plan has the types that coercion decides on, such as those of a UNION, and only with
            // constants folded those that an argument's value decides on, such as the scale of round(x, 2).
            plan => {
                let analyzer = self.state.analyzer();
                let plan = analyzer.execute_and_check(plan.clone(), self.state.config_options(), |_, _| {})?;
                let folding = Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new())]);
                let plan = folding.optimize(plan, &self.state, |_, _| {})?;
                let plan = plan
                    .transform_up(|node| node.recompute_schema().map(Transformed::yes))?
                    .data;
                Ok(Arc::clone(plan.schema().inner()))
            }
        }
    }

    /// The versions of its tables: planned with them, the statement reads the same rows.
    pub(crate) fn pins(&self) -> Vec<TablePin> {
        self.tables.pins()
    }

    /// Asks again whether its user may read what it reads: it was planned a while ago.
    pub(crate) async fn recheck(&self) -> Result<()> {
        self.tables.guard().recheck().await
    }

    /// Whether the statement asks for its rows in an order.
    pub(crate) fn is_ordered(&self) -> bool {
        let mut plan = &self.plan;
        loop {
            match plan {
                LogicalPlan::Sort(_) => return true,
                LogicalPlan::Projection(_)
                | LogicalPlan::Limit(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::SubqueryAlias(_) => {}
                _ => return false,
            }
            match plan.inputs().first() {
                Some(input) => plan = input,
                None => return false,
            }
        }
    }

    /// As [`Plan::schema`], and a best guess where the columns depend on parameters that are not bound yet.
    pub(crate) fn schema_before_binding(&self) -> Result<SchemaRef> {
        match self.schema() {
            Err(_) if self.parameters > 0 => Ok(Arc::clone(self.plan.schema().inner())),
            schema => schema,
        }
    }

    /// Whether it reads anything that lies somewhere: what does not needs no executor and hardly any memory.
    pub(crate) fn reads_tables(&self) -> Result<bool> {
        let mut reads = false;
        self.plan.apply_with_subqueries(|plan| {
            reads |= matches!(plan, LogicalPlan::TableScan(_) | LogicalPlan::RecursiveQuery(_));
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(reads)
    }

    /// How many steps it has.
    pub(crate) fn size(&self) -> Result<usize> {
        let mut nodes = 0;
        self.plan.apply_with_subqueries(|_| {
            nodes += 1;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(nodes)
    }

    /// One nullable field per parameter, named `$1` and so on; of type Null where nothing shows what is expected.
    pub(crate) fn parameter_schema(&self) -> Result<Schema> {
        let mut types = vec![DataType::Null; self.parameters];
        self.plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::Limit(limit) = plan {
                let counts = [&limit.skip, &limit.fetch].into_iter().flatten();
                for id in counts.filter_map(|count| placeholder(count)) {
                    if let Some(slot) = slot(id).and_then(|slot| types.get_mut(slot)) {
                        *slot = DataType::Int64;
                    }
                }
            }
            plan.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Some((id, field)) = expected(expr)
                        && let Some(slot) = slot(id).and_then(|slot| types.get_mut(slot))
                        && slot.is_null()
                    {
                        slot.clone_from(field.data_type());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        let field = |(number, data_type)| Field::new(format!("${number}"), data_type, true);
        Ok(Schema::new((1..).zip(types).map(field).collect::<Vec<_>>()))
    }

    /// Puts `values` in the place of the parameters. There must be one for each.
    pub(crate) fn bind(mut self, values: Vec<ScalarValue>) -> Result<Self> {
        if values.len() != self.parameters {
            let detail = format!(
                "the statement takes {} parameters, and {} are bound",
                self.parameters,
                values.len()
            );
            return Err(Error::statement(detail));
        }
        if !values.is_empty() {
            let expected = self.parameter_schema()?;
            let values = values.into_iter().zip(expected.fields());
            let values = values
                .map(|(value, field)| typed(value, field.data_type()))
                .collect::<Result<Vec<_>>>()?;
            self.plan = self.plan.with_param_values(ParamValues::from(values))?;
            self.parameters = 0;
        }
        Ok(self)
    }
}

/// The second guard behind the parser: no plan that writes or changes anything leaves this room.
fn only_reads() -> SQLOptions {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
}

/// The parameter that `expr` is, or casts, and what it is expected to be.
fn expected(expr: &Expr) -> Option<(&str, &FieldRef)> {
    match expr {
        Expr::Placeholder(Placeholder { id, field }) => Some((id, field.as_ref()?)),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => Some((placeholder(expr)?, field)),
        _ => None,
    }
}

/// The parameter that `expr` is, where nothing within it shows what is expected.
fn placeholder(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => Some(id),
        _ => None,
    }
}

/// A text in the place of another type is read as that type: the engine would compare numbers as texts. Every other
/// value is left to the engine's own coercion, which loses nothing.
fn typed(value: ScalarValue, expected: &DataType) -> Result<ScalarValue> {
    if !value.data_type().is_string() || expected.is_null() || expected.is_string() {
        return Ok(value);
    }
    Ok(value.cast_to(expected)?)
}

/// The index of the parameter `$n`.
fn slot(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}
