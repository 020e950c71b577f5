//! The nodes of this crate on the wire: from the coordinator that plans to the executor that runs.
//!
//! A node that cannot be shipped whole is refused while it is encoded: what is lost silently comes back as wrong rows.

use std::sync::Arc;

use datafusion::datasource::physical_plan::{FileScanConfig, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalPlanNode;
use prost::Message;
use proto::LakeScan;

use super::source::{LakeParquetSource, with_footer_cache};
use crate::snapshot::ColumnMapping;

/// Encodes and decodes lake scans. Both ends must be of one build.
#[derive(Debug, Clone, Copy, Default)]
pub struct LakeCodec;

impl PhysicalExtensionCodec for LakeCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let scan = node.downcast_ref::<DataSourceExec>();
        let Some((config, source)) = scan.and_then(DataSourceExec::downcast_to_file_source::<LakeParquetSource>) else {
            return Err(refused(format!("{} is no node of the lake", node.name())));
        };
        refuse_what_the_wire_drops(config)?;
        let plain = FileScanConfigBuilder::from(config.clone())
            .with_source(Arc::clone(source.parquet()))
            .build();
        let plain: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(plain);
        let columns = source.columns();
        let message = LakeScan {
            parquet_scan: converter.execution_plan_to_proto(&plain, self)?.encode_to_vec(),
            table: columns.table().to_owned(),
            column_match: columns.columns().column_match.into(),
        };
        message
            .encode(buf)
            .map_err(|error| DataFusionError::External(error.into()))
    }

    fn try_decode(
        &self,
        buf: &[u8],
        _inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let message = LakeScan::decode(buf).map_err(|error| DataFusionError::External(error.into()))?;
        let plain = PhysicalPlanNode::decode(message.parquet_scan.as_slice())
            .map_err(|error| DataFusionError::External(error.into()))?;
        let plain = converter.proto_to_execution_plan(&plain, &PhysicalPlanDecodeContext::new(ctx, self))?;
        let scan = plain.downcast_ref::<DataSourceExec>();
        let Some((config, parquet)) = scan.and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>) else {
            return Err(refused(format!(
                "a lake scan holds {}, not a Parquet scan",
                plain.name()
            )));
        };
        let parquet = with_footer_cache(parquet.clone(), &ctx.runtime_env(), &config.object_store_url)?;
        let columns = Arc::new(ColumnMapping::by(message.column_match()));
        let source = LakeParquetSource::new(parquet, &message.table, columns);
        let config = FileScanConfigBuilder::from(config.clone())
            .with_source(Arc::new(source))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// DataFusion's wire form keeps none of these; the scan has none of them.
fn refuse_what_the_wire_drops(config: &FileScanConfig) -> Result<()> {
    let files = || config.file_groups.iter().flat_map(|group| group.iter());
    let lost = if files().any(|file| !file.extensions.is_empty()) {
        "a file extension"
    } else if files().any(|file| file.ordering.is_some()) {
        "a file ordering"
    } else if config.expr_adapter_factory.is_some() {
        "an expression adapter"
    } else if !config.file_source().table_schema().virtual_columns().is_empty() {
        "a virtual column"
    } else {
        return Ok(());
    };
    Err(refused(format!(
        "a lake scan with {lost} cannot be sent to an executor"
    )))
}

fn refused(detail: String) -> DataFusionError {
    DataFusionError::Plan(detail)
}

#[cfg(test)]
mod tests;
