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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;
    use crate::write::target::{PartitionField, SortField, Transform, WriteTarget};

    fn target() -> WriteTarget {
        let fields = vec![
            Field::new("id", DataType::Int64, false).with_metadata([("PARQUET:field_id".into(), "1".into())].into()),
            Field::new("at", DataType::Date32, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        WriteTarget {
            file_schema: Arc::new(schema.project(&[0]).unwrap()),
            file_columns: vec![0],
            partition: vec![
                PartitionField {
                    column: 0,
                    transform: Transform::Bucket(8),
                    name: "b".to_owned(),
                },
                PartitionField {
                    column: 1,
                    transform: Transform::Month,
                    name: "m".to_owned(),
                },
            ],
            spec_id: 3,
            sort_order: vec![SortField {
                column: 1,
                descending: true,
                nulls_first: false,
            }],
            sort_order_id: 7,
            bloom_columns: vec![0],
            file_bytes_target: 5,
            row_group_bytes: 6,
            ..WriteTarget::new("lake.s.t", "s3://bucket/a b/data", schema)
        }
    }

    #[test]
    fn both_nodes_are_the_same_after_the_wire() {
        let target = Arc::new(target());
        let rows: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&target.table_schema)));
        let values: Arc<dyn ExecutionPlan> = Arc::new(PartitionValuesExec::new(Arc::clone(&rows), Arc::clone(&target)));
        let message = encode(&values).unwrap().unwrap().encode_to_vec();
        let decoded = decode(&message, &[Arc::clone(&rows)]).unwrap();
        assert_eq!(decoded.schema(), values.schema());
        assert_eq!(
            decoded.downcast_ref::<PartitionValuesExec>().unwrap().target(),
            target.as_ref()
        );

        let task = WriteTask {
            target: Arc::clone(&target),
            write_id: "w".to_owned(),
            with_actions: false,
            gather: true,
        };
        let write: Arc<dyn ExecutionPlan> = Arc::new(LakeWriteExec::try_new(Arc::clone(&values), task).unwrap());
        let message = encode(&write).unwrap().unwrap().encode_to_vec();
        let decoded = decode(&message, &[Arc::clone(&values)]).unwrap();
        let task = decoded.downcast_ref::<LakeWriteExec>().unwrap().task();
        assert_eq!((task.target.as_ref(), task.write_id.as_str()), (target.as_ref(), "w"));
        assert!(task.gather && !task.with_actions);

        assert!(encode(&rows).unwrap().is_none(), "other nodes are not ours");
        assert!(decode(&message, &[]).is_err(), "a write needs rows");
    }

    #[test]
    fn another_form_is_refused() {
        let message = LakeWrite {
            format: FORMAT + 1,
            target: Some(target_to_proto(&target()).unwrap()),
            node: Some(Node::PartitionValues(PartitionValues {})),
        };
        let rows: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(target().table_schema));
        let error = decode(&message.encode_to_vec(), &[rows]).unwrap_err().to_string();
        assert!(error.contains("must be of one version"), "{error}");
        let mut framed = vec![super::super::WRITE];
        framed.extend(message.encode_to_vec());
        assert!(
            proto::LakeScan::decode(framed.as_slice()).is_err(),
            "whoever knows scans alone refuses it"
        );
    }
}
