//! A logical plan in, record batches out: which engine runs a plan, and the sessions plans are made in.
//!
//! An engine is chosen by [`Config`]; nothing above knows which. Table snapshots are pinned in the plan, so running it
//! twice reads the same data.

pub(crate) mod direct;
mod local;
mod null_safe;
mod parts;
mod progress;
mod read_once;
mod retry;
mod scan;
mod streaming;
mod temporal;
mod windows;
mod yielding;

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use async_trait::async_trait;
use catalog::write::plan::LakePlanner;
use catalog::{CacheUse, Stores};
use datafusion::catalog::CatalogProviderList;
use datafusion::config::ConfigNonZeroUsize;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::{Analyzer, Optimizer, OptimizerRule};
use datafusion::prelude::SessionConfig;

use crate::cluster::members::Peer;
use crate::cluster::{Cluster, ExecutorInfo, SetInfo};
use crate::config::{Config, Mode};
use crate::error::Result;
use crate::functions;
use crate::process::memory::{Memory, MemoryUse};

use local::LocalEngine;
use null_safe::NullSafeKeys;
use parts::OnePart;
use retry::{Attempt, Loss, Started};
use streaming::StreamingEngine;
use temporal::DatesAsTimestamps;
use windows::WholeSorts;
use yielding::Yielding;

pub use parts::Part;
pub use progress::Progress;
pub(crate) use streaming::{Tasks, task_routes};

/// One way to run plans.
#[async_trait]
trait Engine: Send + Sync {
    /// The session `base` describes, made fit for this engine's [`Engine::execute`].
    fn session_state(&self, base: SessionStateBuilder) -> Result<SessionState>;

    /// Optimises and runs a plan once. Dropping the stream ends its work everywhere.
    async fn start(&self, attempt: &Attempt) -> Result<Started>;

    /// The executor of `peers`, which ran a plan that failed with `error`, that it is about; none where it is the query
    /// that failed.
    async fn find_loss(&self, peers: &[Peer], error: &DataFusionError) -> Option<Loss>;
}

/// What one query may use, and how it is run.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Bytes it may hold on each machine, where that is less than `query_memory_bytes_max`.
    pub memory_bytes_max: Option<u64>,
    /// Bytes of data files it may read, counted before it begins.
    pub scan_bytes_max: Option<u64>,
    /// The set of executors it runs on unless its session names one ([`ExecutorSet`]); the first where neither does. Of
    /// no effect where there are no sets.
    pub executor_set: Option<String>,
    /// Hands out the first row when the last has come: the query can be run again until then. For results that fit into
    /// memory.
    pub hold_rows: bool,
    /// Gives a part of the rows of a plan that [`Engines::divisible_bytes`] tells the bytes of.
    pub part: Option<Part>,
    /// Runs in this process: the plan has rows that are nowhere else.
    pub here: bool,
}

/// The set of executors that the plans of a session run on: an extension of its `SessionConfig`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorSet(pub String);

/// That each stage of the plans of a session gets as many tasks as the rows of the stages below ask for, once these have
/// begun to come, instead of as many as statistics foresaw: an extension of its `SessionConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveTasks;

/// A plan that runs.
pub struct Execution {
    /// Its rows. Dropping it ends the work everywhere.
    pub stream: SendableRecordBatchStream,
    /// How far it is.
    pub progress: Progress,
}

/// The engines of one process, with the memory and the executors they use.
pub struct Engines {
    engine: Arc<dyn Engine>,
    memory: Arc<Memory>,
    target_partitions: usize,
    cluster: Option<Arc<Cluster>>,
}

impl Engines {
    /// Starts what `config` asks for; reads data files through `stores`. Does not wait for executors elsewhere.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config), [`Error::Spill`](crate::Error::Spill), or
    /// [`Error::Listen`](crate::Error::Listen) for executors inside this process.
    pub async fn start(config: &Config, stores: Arc<Stores>) -> Result<Self> {
        config.validate()?;
        let memory = Memory::start(&config.memory(), stores)?;
        let cluster = Cluster::start(config, &memory).await?.map(Arc::new);
        let engine: Arc<dyn Engine> = match &cluster {
            None => Arc::new(LocalEngine),
            Some(cluster) => Arc::new(StreamingEngine::new(Arc::clone(cluster), config)),
        };
        Ok(Self {
            engine,
            memory,
            target_partitions: target_partitions(config),
            cluster,
        })
    }

    /// The session for the statements of one client: `config` as the client set it, names of tables from `catalogs`,
    /// names of types that DataFusion lacks from `types`, everything else from this process. The number of partitions is
    /// that of an executor, whatever `config` says.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) where `config` contradicts the engine.
    pub fn session_state(
        &self,
        mut config: SessionConfig,
        catalogs: Arc<dyn CatalogProviderList>,
        types: Arc<dyn TypePlanner>,
    ) -> Result<SessionState> {
        let options = &mut config.options_mut().execution;
        options.target_partitions = self.target_partitions;
        // One file per spilled batch: two open files of one output can wait for each other without end
        // (apache/datafusion#24883).
        options.max_spill_file_size_bytes = ConfigNonZeroUsize::try_new(1)?;
        let dates: Arc<dyn AnalyzerRule + Send + Sync> = Arc::new(DatesAsTimestamps);
        let keys: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(NullSafeKeys);
        let base = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_analyzer_rules(std::iter::once(dates).chain(Analyzer::new().rules).collect())
            .with_optimizer_rules(std::iter::once(keys).chain(Optimizer::new().rules).collect())
            .with_runtime_env(Arc::clone(self.memory.runtime()))
            .with_query_planner(Arc::new(LakePlanner))
            .with_physical_optimizer_rule(Arc::new(Yielding))
            .with_physical_optimizer_rule(Arc::new(WholeSorts))
            .with_catalog_list(catalogs)
            .with_type_planner(types);
        self.engine.session_state(functions::register(base))
    }

    /// Runs `plan` in a session made by [`Engines::session_state`], without limits of its own. Dropping the stream ends
    /// its work everywhere. A plan whose executors are lost before its first row is handed out is run again.
    ///
    /// Errors in the stream that concern executors carry [`Error`](crate::Error) as `DataFusionError::External`.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) where the plan cannot be optimised or started.
    pub async fn execute(&self, state: &SessionState, plan: LogicalPlan) -> Result<Execution> {
        self.execute_within(state, plan, Limits::default()).await
    }

    /// [`Engines::execute`] within `limits`.
    ///
    /// # Errors
    /// Also [`Error::ScanTooLarge`](crate::Error::ScanTooLarge).
    pub async fn execute_within(&self, state: &SessionState, plan: LogicalPlan, limits: Limits) -> Result<Execution> {
        let mut state = match limits.part {
            None => state.clone(),
            Some(part) => SessionStateBuilder::new_from_existing(state.clone())
                .with_physical_optimizer_rule(Arc::new(OnePart(part)))
                .build(),
        };
        let options = &mut state.config_mut().options_mut().execution;
        options.sort_spill_reservation_bytes = self.memory.merge_bytes(limits.memory_bytes_max);
        let attempt = Attempt {
            state,
            plan,
            runtime: self.memory.of_query(limits.memory_bytes_max),
            limits,
            excluded: HashSet::new(),
        };
        retry::run(Arc::clone(&self.engine), attempt).await
    }

    /// The bytes of the files that `plan` reads, where its scan can be divided ([`Limits::part`]). Whether its rows can be,
    /// each of them made of one row of the scan, its owner knows.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) where the plan cannot be optimised.
    pub async fn divisible_bytes(&self, state: &SessionState, plan: &LogicalPlan) -> Result<Option<u64>> {
        let state = SessionStateBuilder::new_from_existing(state.clone())
            .with_query_planner(Arc::new(LakePlanner))
            .build();
        parts::divisible_bytes(&state.create_physical_plan(plan).await?)
    }

    /// The footers of Parquet files that this process keeps.
    pub fn footer_cache(&self) -> CacheUse {
        let footers = self.memory.runtime().cache_manager.get_file_metadata_cache();
        let entries = footers.list_entries();
        let bytes: usize = entries.values().map(|entry| entry.size_bytes).sum();
        CacheUse {
            name: "Parquet footers",
            entries: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
            bytes_max: u64::try_from(footers.cache_limit()).unwrap_or(u64::MAX),
            hits_and_misses: None,
        }
    }

    /// All executors and how they are; none where plans run in this process only.
    pub fn executors(&self) -> Vec<ExecutorInfo> {
        self.cluster.iter().flat_map(|cluster| cluster.executors()).collect()
    }

    /// The sets of executors that this process starts; none where somebody else does.
    pub fn executor_sets(&self) -> Vec<SetInfo> {
        self.cluster.iter().flat_map(|cluster| cluster.sets()).collect()
    }

    /// What plans hold in this process now.
    pub fn memory_use(&self) -> MemoryUse {
        self.memory.used()
    }

    /// Ends the executors that this process started, once their queries ended or the grace period is over.
    pub async fn shutdown(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.shutdown().await;
        }
    }
}

fn target_partitions(config: &Config) -> usize {
    let machine = available_parallelism().map_or(1, NonZero::get);
    let default = match config.mode {
        Mode::Embedded => machine,
        // A scan of one partition stays in one task.
        Mode::InProcess { .. }
        | Mode::Static { .. }
        | Mode::Dns { .. }
        | Mode::Process { .. }
        | Mode::Kubernetes(_) => machine.max(2),
    };
    config.target_partitions.unwrap_or(default)
}
