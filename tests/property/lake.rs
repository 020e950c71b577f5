//! One table opened twice: by the lake, and by the model as rows in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use catalog::{Config, LakeCodec, LakeTable, Lakehouse, StorageProfile, Stores};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use harness::Random;

use crate::coverage::Coverage;
use crate::model::{Style, columns, fields};
use crate::query::Query;
use crate::table::Table;

/// A table on disk and in memory.
pub(crate) struct Opened {
    lake: Arc<LakeTable>,
    stores: Arc<Stores>,
    model: Arc<MemTable>,
    files: usize,
}

/// Rows as text, with how often each is there.
type Rows = BTreeMap<String, usize>;

impl Opened {
    pub(crate) async fn new(table: &Table) -> Result<Self> {
        let schema: SchemaRef = Arc::new(Schema::new(fields(&table.nodes, Style::Logical)));
        let arrays = columns(&table.nodes, table.rows.iter(), Style::Logical)?;
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
        let model = Arc::new(MemTable::try_new(schema, vec![vec![batch]])?);
        let stores = Stores::new(&[StorageProfile::new("file:///")])?;
        let lakehouse = Lakehouse::new(&Config::default(), Arc::clone(&stores))?;
        let lake = Arc::new(lakehouse.table_at(table.format, &table.location).await?);
        let (columns, expected) = (described(&lake.schema()), described(&model.schema()));
        ensure!(columns == expected, "the columns are {columns:?}, not {expected:?}");
        Ok(Self {
            lake,
            stores,
            model,
            files: table.files,
        })
    }

    /// Fails where the lake's answer is not the model's.
    pub(crate) async fn check(&self, query: &Query, random: &mut Random, coverage: &mut Coverage) -> Result<()> {
        let model = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let over_model = query.over(model.read_table(Arc::clone(&self.model) as _)?)?;
        let expected = over_model.collect().await.context("the model cannot answer")?;
        let expected = rows(&expected)?;

        let context = self.context(random, coverage)?;
        let over_lake = query.over(context.read_table(Arc::clone(&self.lake) as _)?)?;
        let over_lake = match query.limit() {
            Some(limit) => over_lake.limit(0, Some(limit))?,
            None => over_lake,
        };
        let mut plan = over_lake.create_physical_plan().await?;
        if random.percent(40) {
            let codec = LakeCodec::default();
            let bytes = physical_plan_to_bytes_with_extension_codec(plan, &codec)?;
            plan = physical_plan_from_bytes_with_extension_codec(&bytes, &context.task_ctx(), &codec)?;
            coverage.met("plan over the wire");
        }
        let (mut files, mut ranges) = (0, 0);
        count_files(&plan, &mut files, &mut ranges);
        if files < self.files {
            coverage.met("files pruned");
        }
        if ranges > 0 {
            coverage.met("files split");
        }
        let found = collect(Arc::clone(&plan), context.task_ctx()).await?;
        let found = rows(&found)?;
        let compared = match query.limit() {
            Some(limit) => {
                let (count, all): (usize, usize) = (found.values().sum(), expected.values().sum());
                ensure!(count == limit.min(all), "{count} rows, not {}", limit.min(all));
                compare(&found, &expected, true)
            }
            None => compare(&found, &expected, false),
        };
        compared.with_context(|| displayable(plan.as_ref()).indent(true).to_string())
    }

    /// A session with settings that a server may have.
    fn context(&self, random: &mut Random, coverage: &mut Coverage) -> Result<SessionContext> {
        let mut config = SessionConfig::new()
            .with_target_partitions(1 + random.below(4))
            .with_batch_size([3, 50, 8192][random.below(3)]);
        let options = config.options_mut();
        options.execution.parquet.pushdown_filters = random.percent(50);
        options.execution.parquet.reorder_filters = random.percent(30);
        options.optimizer.repartition_file_min_size = if random.percent(60) { 1 } else { 10 << 20 };
        if options.execution.parquet.pushdown_filters {
            coverage.met("filters in the scan");
        }
        let runtime = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::clone(&self.stores) as _)
            .build_arc()?;
        Ok(SessionContext::new_with_config_rt(config, runtime))
    }
}

fn count_files(plan: &Arc<dyn ExecutionPlan>, files: &mut usize, ranges: &mut usize) {
    let scan = plan.downcast_ref::<DataSourceExec>();
    if let Some(config) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>()) {
        let scanned = || config.file_groups.iter().flat_map(|group| group.iter());
        *files += scanned().count();
        *ranges += scanned().filter(|file| file.range.is_some()).count();
    }
    plan.children()
        .iter()
        .for_each(|child| count_files(child, files, ranges));
}

/// Names and types, without what plans may choose: views or not, whether a field can be NULL, metadata.
fn described(schema: &Schema) -> Vec<(String, String)> {
    let described = schema
        .fields()
        .iter()
        .map(|field| (field.name().clone(), type_name(field.data_type())));
    described.collect()
}

fn type_name(data_type: &DataType) -> String {
    let of = |field: &Field| format!("{}: {}", field.name(), type_name(field.data_type()));
    match data_type {
        DataType::Utf8View | DataType::Utf8 => "text".to_owned(),
        DataType::BinaryView | DataType::Binary => "binary".to_owned(),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(inner) if inner.len() == 2 => {
                format!(
                    "map<{}, {}>",
                    type_name(inner[0].data_type()),
                    type_name(inner[1].data_type())
                )
            }
            other => other.to_string(),
        },
        DataType::Struct(inner) => format!("struct<{}>", inner.iter().map(|f| of(f)).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn rows(batches: &[RecordBatch]) -> Result<Rows> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Rows::new();
    for batch in batches {
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column.value(row).try_to_string());
            let text = cells.collect::<Result<Vec<_>, _>>()?.join(" | ");
            *rows.entry(text).or_default() += 1;
        }
    }
    Ok(rows)
}

/// Fails where the lake has more of a row than the model, or less unless it need not have all.
fn compare(found: &Rows, expected: &Rows, partial: bool) -> Result<()> {
    const SHOWN: usize = 5;
    let mut wrong = Vec::new();
    for (row, count) in found {
        let allowed = expected.get(row).copied().unwrap_or(0);
        if *count > allowed {
            wrong.push(format!("+ {count} instead of {allowed}: {row}"));
        }
    }
    for (row, count) in expected.iter().filter(|_| !partial) {
        let there = found.get(row).copied().unwrap_or(0);
        if there < *count {
            wrong.push(format!("- {there} instead of {count}: {row}"));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let more = wrong.len().saturating_sub(SHOWN);
    wrong.truncate(SHOWN);
    bail!("wrong rows, and {more} more:\n  {}", wrong.join("\n  "))
}
