//! The executor's side: a plan that arrived, run for the client that asked for it.

use std::sync::Arc;

use catalog::LakeCodec;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion_proto::bytes::physical_plan_from_bytes_with_extension_codec;
use proto::DeliveryPlan;

use crate::engine::Tasks;
use crate::functions;
use crate::process::memory::Memory;
use crate::process::session::TaskSettings;

/// Runs delivered plans.
pub(crate) struct Runner {
    memory: Arc<Memory>,
    tasks: Arc<Tasks>,
    // Plans share what the codec's scans load.
    codec: LakeCodec,
}

impl Runner {
    /// In `memory`; `tasks` knows how far they are.
    pub(crate) fn new(memory: Arc<Memory>, tasks: Arc<Tasks>) -> Self {
        Self {
            memory,
            tasks,
            codec: LakeCodec::default(),
        }
    }

    /// The rows of a plan. Dropping them ends the work.
    pub(crate) fn run(&self, delivery: &DeliveryPlan) -> Result<SendableRecordBatchStream, DataFusionError> {
        let settings = TaskSettings {
            text: delivery.settings.clone(),
            query: delivery.query.clone(),
            memory_bytes_max: delivery.memory_bytes_max,
        };
        let mut config = SessionConfig::new();
        settings.apply(config.options_mut())?;
        let own = (settings.memory_bytes_max > 0).then_some(settings.memory_bytes_max);
        config.options_mut().execution.sort_spill_reservation_bytes = self.memory.merge_bytes(own);
        let session = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_runtime_env(self.memory.of_task(&settings.query, own));
        let context = functions::register(session).build().task_ctx();
        let plan = physical_plan_from_bytes_with_extension_codec(&delivery.plan, &context, &self.codec)?;
        self.tasks.enter(&settings.query, &plan);
        execute_stream(plan, context)
    }
}
