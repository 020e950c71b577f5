//! Scans before and after the wire: the same rows, or a refusal.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_expr_adapter::DefaultPhysicalExprAdapterFactory;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_proto::physical_plan::DefaultPhysicalProtoConverter;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use proto::ColumnMatch;

use super::*;
use crate::scan::deletes::{DeleteSource, VectorFrame};
use crate::scan::source::SortKey;
use crate::snapshot::{ColumnMapping, Pruned};

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
    let context = SessionContext::new();
    let access = Access {
        runtime: &context.runtime_env(),
        store_url: &ObjectStoreUrl::local_filesystem(),
        deletes: &Arc::default(),
    };
    let columns = Arc::new(ColumnMapping::by(ColumnMatch::FieldId));
    let source = LakeParquetSource::try_new(ParquetSource::new(table), "lake.s.t", columns, access).unwrap();
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
    LakeCodec::default()
        .try_encode(Arc::clone(&plan), &mut wire, &converter)
        .unwrap();
    let decoded = LakeCodec::default()
        .try_decode(&wire, &[], &context.task_ctx(), &converter)
        .unwrap();

    let expect = rows(plan, &context).await;
    assert!(expect.contains("| x | 1 |") && expect.contains("| z | 3 |"), "{expect}");
    assert_eq!(rows(Arc::clone(&decoded), &context).await, expect);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Every kind of delete.
fn every_delete(store_url: &ObjectStoreUrl) -> RowDeletes {
    let elsewhere = ObjectStoreUrl::parse("s3://deletes").unwrap();
    let vector = |frame| DeleteSource::Vector {
        store_url: elsewhere.clone(),
        path: "t/100%25 v.bin".into(),
        offset: 1 << 40,
        size_bytes: 44,
        cardinality: 3,
        frame,
    };
    RowDeletes {
        data_file: "s3a://data/t/a b.parquet".to_owned(),
        sources: vec![
            DeleteSource::Positions {
                store_url: store_url.clone(),
                path: "t/p.parquet".into(),
                size_bytes: u64::MAX,
            },
            vector(VectorFrame::Puffin),
            vector(VectorFrame::Delta),
            DeleteSource::Inline {
                bitmap: vec![0, 255, 1],
                cardinality: 7,
            },
        ],
    }
}

/// Every kind of delete, and everything else that a scan of ours may carry.
fn rich_scan(context: &SessionContext) -> FileScanConfig {
    let store_url = ObjectStoreUrl::parse("s3://data").unwrap();
    let deletes = Arc::new(every_delete(&store_url));
    let part = |start, end| {
        with_deletes(
            PartitionedFile::new("t/a.parquet", 90).with_range(start, end),
            Arc::clone(&deletes),
        )
    };
    let columns = ColumnMapping {
        column_match: ColumnMatch::FieldId,
        name_mapping: Some("[]".to_owned()),
        defaults: BTreeMap::from([
            (3, ScalarValue::Decimal128(Some(-5), 9, 2)),
            (4, ScalarValue::Utf8View(Some("x".to_owned()))),
            (5, ScalarValue::Int64(None)),
        ]),
    };
    let access = Access {
        runtime: &context.runtime_env(),
        store_url: &store_url,
        deletes: &Arc::default(),
    };
    let pruned = Pruned {
        manifests_total: 4,
        manifests_read: 3,
        files_total: 2,
        files_read: 1,
    };
    let table = Arc::new(Schema::new(vec![
        field("a", 2, DataType::Utf8View),
        field("b", 1, DataType::Int64),
    ]));
    let order = ["b", "a"].map(|column| SortKey {
        column: column.to_owned(),
        options: SortOptions::new(column == "b", column == "a"),
    });
    let source = LakeParquetSource::try_new(ParquetSource::new(table), "lake.s.t", Arc::new(columns), access)
        .and_then(|source| source.with_pruned(pruned).with_read_order(&order))
        .unwrap();
    FileScanConfigBuilder::new(store_url, Arc::new(source))
        .with_file_groups(vec![
            vec![part(0, 50), PartitionedFile::new("t/b.parquet", 5)].into(),
            vec![part(50, 90)].into(),
        ])
        .with_limit(Some(5_000_000_000))
        .with_preserve_order(true)
        .build()
}

fn context() -> SessionContext {
    let context = SessionContext::new();
    let store = Arc::new(object_store::memory::InMemory::new());
    context.register_object_store(&"s3://data".parse().unwrap(), store);
    context
}

fn encode(config: FileScanConfig) -> Result<Vec<u8>> {
    let mut wire = Vec::new();
    let plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
    let encoded = LakeCodec::default().try_encode(plan, &mut wire, &DefaultPhysicalProtoConverter {});
    assert!(encoded.is_ok() || wire.is_empty(), "a refusal leaves no bytes behind");
    encoded.map(|()| wire)
}

fn decode(wire: &[u8], context: &SessionContext) -> Result<Arc<dyn ExecutionPlan>> {
    LakeCodec::default().try_decode(wire, &[], &context.task_ctx(), &DefaultPhysicalProtoConverter {})
}

#[test]
fn everything_of_a_scan_arrives() {
    let context = context();
    let sent = rich_scan(&context);
    let plan = decode(&encode(sent.clone()).unwrap(), &context).unwrap();
    let scan = plan.downcast_ref::<DataSourceExec>().unwrap();
    let (arrived, source) = scan.downcast_to_file_source::<LakeParquetSource>().unwrap();
    let sent_scan = DataSourceExec::from_data_source(sent.clone());
    let (_, sent_source) = sent_scan.downcast_to_file_source::<LakeParquetSource>().unwrap();

    assert_eq!(source.columns().table(), "lake.s.t");
    assert_eq!(source.columns().columns(), sent_source.columns().columns());
    assert_eq!(source.pruned(), sent_source.pruned());
    assert_eq!(source.read_order(), sent_source.read_order());
    assert_eq!(source.read_order().len(), 2);
    assert_eq!((arrived.limit, arrived.preserve_order), (sent.limit, true));
    let files = |config: &FileScanConfig| -> Vec<_> {
        let files = config.file_groups.iter().flat_map(FileGroup::iter);
        files
            .map(|file| {
                (
                    file.path().clone(),
                    file.range.clone(),
                    file.extensions.get_arc::<RowDeletes>(),
                )
            })
            .collect()
    };
    assert_eq!(files(arrived), files(&sent));
    let deletes = files(arrived)
        .into_iter()
        .filter_map(|(_, _, deletes)| deletes)
        .collect::<Vec<_>>();
    assert!(
        deletes.len() == 2 && Arc::ptr_eq(&deletes[0], &deletes[1]),
        "parts share an entry"
    );
}

#[test]
fn another_format_is_refused() {
    let context = context();
    let mut message = LakeScan::decode(encode(rich_scan(&context)).unwrap().as_slice()).unwrap();
    for format in [0, FORMAT + 1] {
        message.format = format;
        let error = decode(&message.encode_to_vec(), &context).unwrap_err().to_string();
        assert!(
            error.contains(&format!("a lake scan in format {format} arrived")),
            "{error}"
        );
    }
}

#[test]
fn deletes_of_an_unknown_kind_are_refused() {
    let context = context();
    let message = LakeScan::decode(encode(rich_scan(&context)).unwrap().as_slice()).unwrap();
    let mut unknown = message.clone();
    unknown.deletes.get_mut("t/a.parquet").unwrap().sources[0].source = None;
    let error = decode(&unknown.encode_to_vec(), &context).unwrap_err().to_string();
    assert!(error.contains("row deletes of an unknown kind"), "{error}");
    let mut lost = message;
    let deletes = lost.deletes.remove("t/a.parquet").unwrap();
    lost.deletes.insert("t/c.parquet".to_owned(), deletes);
    let error = decode(&lost.encode_to_vec(), &context).unwrap_err().to_string();
    assert!(
        error.contains("deletes rows of t/c.parquet, which it does not read"),
        "{error}"
    );
}

#[test]
fn what_the_wire_would_drop_is_refused() {
    let context = context();
    let check = |change: &dyn Fn(&mut FileScanConfig), expect: &str| {
        let mut config = rich_scan(&context);
        change(&mut config);
        let error = encode(config).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    let second_file = |change: &dyn Fn(PartitionedFile) -> PartitionedFile, config: &mut FileScanConfig| {
        let files = config.file_groups[0].files();
        config.file_groups[0] = vec![files[0].clone(), change(files[1].clone())].into();
    };
    let extension = |file: PartitionedFile| file.with_extension("more deleted rows".to_owned());
    check(&|config| second_file(&extension, config), "a file extension");
    let first = |config: &mut FileScanConfig| {
        let file = extension(config.file_groups[1].files()[0].clone());
        config.file_groups[1] = vec![file].into();
    };
    check(&first, "a file extension");
    let ordered = |file: PartitionedFile| {
        let column = PhysicalSortExpr::new_default(Arc::new(Column::new("b", 1)));
        file.with_ordering(LexOrdering::new(vec![column]))
    };
    check(&|config| second_file(&ordered, config), "a file ordering");
    check(
        &|config| config.expr_adapter_factory = Some(Arc::new(DefaultPhysicalExprAdapterFactory)),
        "an expression adapter",
    );
    let whole =
        |config: &mut FileScanConfig| config.file_groups[1] = vec![PartitionedFile::new("t/a.parquet", 90)].into();
    check(&whole, "two parts of t/a.parquet have different rows deleted");
}
