//! The nodes of this crate on the wire: from the coordinator that plans to the executor that runs.
//!
//! A node that cannot be shipped whole is refused while it is encoded: what is lost silently comes back as wrong rows.

mod message;
mod write;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder, ParquetSource};
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

use super::deletes::RowDeletes;
use super::deletes::cache::DeleteCache;
use super::source::{Access, LakeParquetSource, with_deletes};

/// Number of the message's form. It changes with every field that a reader must not overlook.
const FORMAT: u32 = 2;

/// The byte before the message of a write: no scan's message can begin with it, so that whoever knows scans alone
/// refuses it.
const WRITE: u8 = 0;

/// Encodes and decodes lake scans and writes. Both ends must be of one build. Scans that one codec or its clones decode share what
/// they load of row deletes: a process needs one.
#[derive(Debug, Clone, Default)]
pub struct LakeCodec {
    deletes: Arc<DeleteCache>,
}

impl PhysicalExtensionCodec for LakeCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(message) = write::encode(&node)? {
            buf.push(WRITE);
            return message.encode(buf).map_err(external);
        }
        let scan = node.downcast_ref::<DataSourceExec>();
        let Some((config, source)) = scan.and_then(DataSourceExec::downcast_to_file_source::<LakeParquetSource>) else {
            return Err(refused(format!("{} is no node of the lake", node.name())));
        };
        refuse_what_the_wire_drops(config)?;
        let deletes = deletes_by_path(config)?;
        let limit = config.limit.map(u64::try_from).transpose().map_err(external)?;
        let plain = FileScanConfigBuilder::from(config.clone())
            .with_source(Arc::clone(source.parquet()))
            .with_limit(None)
            .build();
        let plain: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(plain);
        let columns = source.columns();
        let message = LakeScan {
            parquet_scan: converter.execution_plan_to_proto(&plain, self)?.encode_to_vec(),
            table: columns.table().to_owned(),
            column_match: columns.columns().column_match.into(),
            format: FORMAT,
            name_mapping: columns.columns().name_mapping.clone(),
            defaults: message::defaults_to_proto(&columns.columns().defaults)?,
            deletes,
            pruned: Some(message::pruned_to_proto(source.pruned())),
            read_order: source.read_order().iter().map(message::sort_key_to_proto).collect(),
            limit,
            preserve_order: config.preserve_order,
        };
        message.encode(buf).map_err(external)
    }

    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some((&WRITE, message)) = buf.split_first() {
            return write::decode(message, inputs);
        }
        let scan = LakeScan::decode(buf).map_err(external)?;
        if scan.format != FORMAT {
            let format = scan.format;
            return Err(refused(format!(
                "a lake scan in format {format} arrived where only format {FORMAT} is known: coordinator and executor \
                 must be of one version"
            )));
        }
        let plain = PhysicalPlanNode::decode(scan.parquet_scan.as_slice()).map_err(external)?;
        let plain = converter.proto_to_execution_plan(&plain, &PhysicalPlanDecodeContext::new(ctx, self))?;
        let plain_scan = plain.downcast_ref::<DataSourceExec>();
        let Some((config, parquet)) = plain_scan.and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>)
        else {
            let found = plain.name();
            return Err(refused(format!("a lake scan holds {found}, not a Parquet scan")));
        };
        let columns = Arc::new(message::columns_from_proto(&scan)?);
        let access = Access {
            runtime: &ctx.runtime_env(),
            store_url: &config.object_store_url,
            deletes: &self.deletes,
        };
        let order: Vec<_> = scan.read_order.into_iter().map(message::sort_key_from_proto).collect();
        let source = LakeParquetSource::try_new(parquet.clone(), &scan.table, columns, access)?
            .with_pruned(scan.pruned.map(message::pruned_from_proto).unwrap_or_default())
            .with_read_order(&order)?;
        let limit = scan.limit.map(usize::try_from).transpose().map_err(external)?;
        let config = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(attach(&config.file_groups, scan.deletes)?)
            .with_source(Arc::new(source))
            .with_limit(limit)
            .with_preserve_order(scan.preserve_order)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// The deleted rows of every file that has some, by its key. Files are split and regrouped: their parts share an entry.
fn deletes_by_path(config: &FileScanConfig) -> Result<HashMap<String, proto::RowDeletes>> {
    let mut seen: HashMap<&str, Option<&RowDeletes>> = HashMap::new();
    for file in config.file_groups.iter().flat_map(FileGroup::iter) {
        let deletes = file.extensions.get::<RowDeletes>();
        match seen.entry(file.object_meta.location.as_ref()) {
            Entry::Vacant(entry) => {
                entry.insert(deletes);
            }
            Entry::Occupied(entry) if *entry.get() == deletes => {}
            Entry::Occupied(entry) => {
                let path = entry.key();
                return Err(refused(format!("two parts of {path} have different rows deleted")));
            }
        }
    }
    let one = |(path, deletes): (&str, Option<&RowDeletes>)| {
        deletes.map(|deletes| (path.to_owned(), message::deletes_to_proto(deletes)))
    };
    Ok(seen.into_iter().filter_map(one).collect())
}

/// The files with their deleted rows. Every entry must find its file.
fn attach(groups: &[FileGroup], deletes: HashMap<String, proto::RowDeletes>) -> Result<Vec<FileGroup>> {
    let decode = |(path, deletes)| Ok((path, Arc::new(message::deletes_from_proto(deletes)?)));
    let deletes: HashMap<String, Arc<RowDeletes>> = deletes.into_iter().map(decode).collect::<Result<_>>()?;
    let files = groups.iter().flat_map(FileGroup::iter);
    let read: HashSet<&str> = files.map(|file| file.object_meta.location.as_ref()).collect();
    if let Some(path) = deletes.keys().find(|path| !read.contains(path.as_str())) {
        return Err(refused(format!(
            "a lake scan deletes rows of {path}, which it does not read"
        )));
    }
    let group = |group: &FileGroup| {
        let file = |file: &PartitionedFile| match deletes.get(file.object_meta.location.as_ref()) {
            Some(deletes) => with_deletes(file.clone(), Arc::clone(deletes)),
            None => file.clone(),
        };
        group.iter().map(file).collect::<Vec<_>>().into()
    };
    Ok(groups.iter().map(group).collect())
}

/// DataFusion's wire form keeps none of these; the scan has none of them.
fn refuse_what_the_wire_drops(config: &FileScanConfig) -> Result<()> {
    let files = || config.file_groups.iter().flat_map(FileGroup::iter);
    let known = |file: &PartitionedFile| usize::from(file.extensions.contains::<RowDeletes>());
    let lost = if files().any(|file| file.extensions.len() > known(file)) {
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

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests;
