//! Scans before and after the wire: the same rows, or a refusal.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::DefaultPhysicalProtoConverter;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use proto::ColumnMatch;

use super::*;

fn field(name: &str, id: i32, data_type: DataType) -> Field {
    let id = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
    Field::new(name, data_type, true).with_metadata(HashMap::from(id))
}

/// A file written as (a: 1, b: 2) and scanned as a table whose columns swapped their names since.
fn scan(folder: &Path) -> Arc<FileScanConfig> {
    let written = Schema::new(vec![field("a", 1, DataType::Int32), field("b", 2, DataType::Utf8)]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![1, 2, 3])),
        Arc::new(StringArray::from(vec!["x", "y", "z"])),
    ];
    let batch = RecordBatch::try_new(Arc::new(written), columns).unwrap();
    let path = folder.join("file.parquet");
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let table = Arc::new(Schema::new(vec![
        field("a", 2, DataType::Utf8View),
        field("b", 1, DataType::Int64),
    ]));
    let source = LakeParquetSource::new(
        ParquetSource::new(table),
        "lake.s.t",
        Arc::new(ColumnMapping::by(ColumnMatch::FieldId)),
    );
    let size = std::fs::metadata(&path).unwrap().len();
    let file = PartitionedFile::new(path.to_str().unwrap().trim_start_matches('/'), size);
    let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source)).with_file(file);
    Arc::new(config.build())
}

async fn rows(plan: Arc<dyn ExecutionPlan>, context: &SessionContext) -> String {
    let batches = collect(plan, context.task_ctx()).await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn a_scan_reads_the_same_rows_after_the_wire() {
    let folder = std::env::temp_dir().join(format!("lakewing-codec-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = scan(&folder);
    let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config.as_ref().clone());
    let context = SessionContext::new();
    let converter = DefaultPhysicalProtoConverter {};
    let mut wire = Vec::new();
    LakeCodec.try_encode(Arc::clone(&plan), &mut wire, &converter).unwrap();
    let decoded = LakeCodec
        .try_decode(&wire, &[], &context.task_ctx(), &converter)
        .unwrap();

    let expect = rows(plan, &context).await;
    assert!(expect.contains("| x | 1 |") && expect.contains("| z | 3 |"), "{expect}");
    assert_eq!(rows(Arc::clone(&decoded), &context).await, expect);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_the_wire_would_drop_is_refused() {
    let folder = std::env::temp_dir().join(format!("lakewing-codec-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut config = scan(&folder).as_ref().clone();
    let file = config.file_groups[0].files()[0]
        .clone()
        .with_extension("deleted rows".to_owned());
    config.file_groups = vec![vec![file].into()];
    let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
    let mut wire = Vec::new();
    let error = LakeCodec
        .try_encode(plan, &mut wire, &DefaultPhysicalProtoConverter {})
        .unwrap_err();
    assert!(
        error.to_string().contains("a file extension") && wire.is_empty(),
        "{error}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}
