//! The nodes of a write on the wire.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use prost::Message;
use proto::lake_write::Node;
use proto::{LakeWrite, PartitionValues, WriteFiles};

use super::{external, refused};
use crate::write::exec::{LakeWriteExec, PartitionValuesExec, WriteTask};
use crate::write::message::{target_from_proto, target_to_proto};

/// Number of the message's form. It changes with every field that a reader must not overlook.
const FORMAT: u32 = 1;

/// The message of a node of a write; `None` of any other.
pub(super) fn encode(node: &Arc<dyn ExecutionPlan>) -> Result<Option<LakeWrite>> {
    let (target, node) = if let Some(write) = node.downcast_ref::<LakeWriteExec>() {
        let task = write.task();
        let files = WriteFiles {
            write_id: task.write_id,
            with_actions: task.with_actions,
            gather: task.gather,
        };
        (target_to_proto(&task.target)?, Node::Files(files))
    } else if let Some(values) = node.downcast_ref::<PartitionValuesExec>() {
        (
            target_to_proto(values.target())?,
            Node::PartitionValues(PartitionValues {}),
        )
    } else {
        return Ok(None);
    };
    Ok(Some(LakeWrite {
        format: FORMAT,
        target: Some(target),
        node: Some(node),
    }))
}

/// The inverse of [`encode`].
pub(super) fn decode(bytes: &[u8], inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    let message = LakeWrite::decode(bytes).map_err(external)?;
    if message.format != FORMAT {
        let format = message.format;
        return Err(refused(format!(
            "a lake write in format {format} arrived where only format {FORMAT} is known: coordinator and executor must \
             be of one version"
        )));
    }
    let (Some(target), Some(node), [input]) = (&message.target, message.node, inputs) else {
        return Err(refused(
            "a lake write arrived without its target or its input".to_owned(),
        ));
    };
    let (target, input) = (Arc::new(target_from_proto(target)?), Arc::clone(input));
    Ok(match node {
        Node::PartitionValues(PartitionValues {}) => Arc::new(PartitionValuesExec::new(input, target)),
        Node::Files(files) => {
            let task = WriteTask {
                target,
                write_id: files.write_id,
                with_actions: files.with_actions,
                gather: files.gather,
            };
            Arc::new(LakeWriteExec::try_new(input, task)?)
        }
    })
}
