//! Statistics of files: JSON as the log has them, parsed when a query needs them. Parsing is most of the work of listing
//! a large table, and a query of one partition needs those of few files.
//!
//! Source: the Delta protocol, "Per-file Statistics".

pub(super) mod bounds;

use std::num::NonZero;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StructArray};
use arrow::compute::{concat, nullif};
use arrow::datatypes::{Field, FieldRef, Schema};
use arrow::error::ArrowError;
use delta_kernel::engine::arrow_data::{ArrowEngineData, EngineDataArrowExt};
use delta_kernel::expressions::{Expression, column_expr};
use delta_kernel::scan::StatsOptions;
use delta_kernel::schema::{DataType as KernelType, StructField, StructType};
use delta_kernel::{Engine, ExpressionEvaluator, KernelError, SnapshotRef};

/// The column of the JSON.
const STATS: &str = "stats";
/// The column of what was parsed of it.
pub(crate) const PARSED: &str = "stats_parsed";
/// Fewer files than this are parsed on one thread.
const PIECE_FILES_MIN: usize = 4096;

/// Live files of a version, as [`super::replay`] makes them. Their statistics are JSON in [`STATS`] until all of them are
/// needed, and then in [`PARSED`], the last column.
#[derive(Debug)]
pub(crate) struct FileBatch(RwLock<RecordBatch>);

impl FileBatch {
    pub(crate) fn new(files: RecordBatch) -> Self {
        Self(RwLock::new(files))
    }

    /// The files, their statistics parsed or not.
    pub(crate) fn files(&self) -> RecordBatch {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The files with their statistics. What is parsed once stays.
    pub(crate) fn with_stats(&self, parser: &StatsParser) -> Result<RecordBatch, KernelError> {
        let files = parser.parsed(self.files())?;
        // Another query may have been faster: its statistics are the same.
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&files);
        Ok(files)
    }
}

/// True where the statistics of `files` are parsed, if there are any.
pub(crate) fn are_parsed(files: &RecordBatch) -> bool {
    files.schema().index_of(STATS).is_err()
}

/// Parses the statistics of one version of a table.
pub(crate) struct StatsParser {
    /// Absent where the table has no column with statistics.
    evaluator: Option<Arc<dyn ExpressionEvaluator>>,
}

impl StatsParser {
    /// The parser for the columns that the version keeps statistics of.
    pub(crate) fn new(engine: &dyn Engine, kernel: &SnapshotRef) -> Result<Self, KernelError> {
        let scan = Arc::clone(kernel).scan_builder().with_stats(StatsOptions::all_struct());
        let Some(schemas) = scan.stats_output_schemas()? else {
            return Ok(Self { evaluator: None });
        };
        let physical = schemas.physical;
        let input = StructType::try_new([StructField::nullable(STATS, KernelType::STRING)])?;
        let parse = Expression::parse_json(column_expr!("stats"), Arc::clone(&physical));
        let output = KernelType::from(physical.as_ref().clone());
        let handler = engine.evaluation_handler();
        let evaluator = handler.new_expression_evaluator(Arc::new(input), Arc::new(parse), output)?;
        Ok(Self {
            evaluator: Some(evaluator),
        })
    }

    /// `files` with their statistics parsed, on as many threads as there are cores.
    pub(crate) fn parsed(&self, mut files: RecordBatch) -> Result<RecordBatch, KernelError> {
        let Ok(at) = files.schema().index_of(STATS) else {
            return Ok(files);
        };
        let json = files.remove_column(at);
        let Some(evaluator) = &self.evaluator else {
            return Ok(files);
        };
        let mut fields: Vec<FieldRef> = files.schema().fields().to_vec();
        let mut columns = files.columns().to_vec();
        let stats = parse(evaluator.as_ref(), &json)?;
        fields.push(Arc::new(Field::new(PARSED, stats.data_type().clone(), true)));
        columns.push(stats);
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
    }
}

fn parse(evaluator: &dyn ExpressionEvaluator, json: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let piece = json.len().div_ceil(threads).max(PIECE_FILES_MIN);
    let pieces = (0..json.len()).step_by(piece);
    let pieces: Vec<ArrayRef> = pieces.map(|at| json.slice(at, piece.min(json.len() - at))).collect();
    if pieces.len() < 2 {
        return parse_piece(evaluator, json);
    }
    let parsed = thread::scope(|scope| {
        let parse = |piece| scope.spawn(move || parse_piece(evaluator, piece));
        let threads: Vec<_> = pieces.iter().map(parse).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<ArrayRef, KernelError>>| {
            let panicked = |_| KernelError::generic("statistics of files cannot be parsed");
            thread.join().map_err(panicked)?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    let parsed: Vec<&dyn Array> = parsed.iter().map(AsRef::as_ref).collect();
    Ok(concat(&parsed)?)
}

/// Statistics without those of nested columns.
fn parse_piece(evaluator: &dyn ExpressionEvaluator, json: &ArrayRef) -> Result<ArrayRef, KernelError> {
    let input = RecordBatch::try_from_iter_with_nullable([(STATS, Arc::clone(json), true)])?;
    let output = evaluator.evaluate(&ArrowEngineData::new(input))?;
    Ok(Arc::new(flat(&StructArray::from(output.try_into_record_batch()?), 1)?))
}

/// The statistics without those of nested columns; what is NULL as a whole is NULL in each part. `depth` counts the
/// structs that are the statistics' own.
fn flat(stats: &StructArray, depth: usize) -> Result<StructArray, ArrowError> {
    let mut kept: (Vec<Field>, Vec<ArrayRef>) = Default::default();
    let absent = stats.nulls().map(|nulls| BooleanArray::new(!nulls.inner(), None));
    for (field, values) in stats.fields().iter().zip(stats.columns()) {
        let values = match &absent {
            Some(absent) => nullif(values, absent)?,
            None => Arc::clone(values),
        };
        let values: ArrayRef = match values.as_struct_opt() {
            Some(section) if depth > 0 => Arc::new(flat(section, depth - 1)?),
            Some(_) => continue,
            None if values.data_type().is_nested() => continue,
            None => values,
        };
        kept.0.push(Field::new(field.name(), values.data_type().clone(), true));
        kept.1.push(values);
    }
    StructArray::try_new_with_length(kept.0.into(), kept.1, stats.nulls().cloned(), stats.len())
}
