//! Filters over columns that changed since their Parquet files were written: the right rows, and no more row groups
//! read than for a file of the same types.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::functions::core::expr_ext::FieldAccessor;
use datafusion::functions::core::get_field;
use datafusion::functions_nested::expr_fn::array_has;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::filter_pushdown::PushedDown;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::tests::{batch, by_id, field, lines, list, plain, structure, with_defaults};
use crate::scan::source::{Access, LakeParquetSource};
use crate::snapshot::ColumnMapping;

/// Rows of each row group of the files.
const GROUP: usize = 2;

/// One Parquet file in memory, and the table that it is read as.
struct Lake {
    columns: ColumnMapping,
    table: SchemaRef,
    file: RecordBatch,
}

/// What a scan gave, and what it dropped before it decoded anything.
struct Scanned {
    rows: Vec<String>,
    /// The scan promised to apply the filter.
    taken: bool,
    groups_pruned: usize,
    groups_bloomed: usize,
}

impl Lake {
    fn new(columns: ColumnMapping, table: Vec<Field>, file: RecordBatch) -> Self {
        let table = Arc::new(Schema::new(table));
        Self { columns, table, file }
    }

    /// The rows that pass `filter`, as a plan gets them: filters that the scan takes over are nowhere else.
    async fn scan(&self, filter: &Expr, pushdown: bool, select: &[&str]) -> Scanned {
        let context = SessionContext::new();
        let url = ObjectStoreUrl::parse("memory://lake").unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let bytes = self.parquet();
        let file = PartitionedFile::new("file.parquet", u64::try_from(bytes.len()).unwrap());
        store.put(&Path::from("file.parquet"), bytes.into()).await.unwrap();
        context.register_object_store(url.as_ref(), store);

        let schema = DFSchema::try_from(Arc::clone(&self.table)).unwrap();
        let filter = context.state().create_physical_expr(filter.clone(), &schema).unwrap();
        let parquet = ParquetSource::new(Arc::clone(&self.table));
        let access = Access {
            runtime: &context.runtime_env(),
            store_url: &url,
            deletes: &Arc::default(),
        };
        let source = LakeParquetSource::try_new(parquet, "lake.s.t", Arc::new(self.columns.clone()), access).unwrap();
        let source: Arc<dyn FileSource> = Arc::new(source);
        let mut config = context.state().config_options().as_ref().clone();
        config.execution.parquet.pushdown_filters = pushdown;
        let pushed = source.try_pushdown_filters(vec![Arc::clone(&filter)], &config).unwrap();
        let taken = matches!(pushed.filters[..], [PushedDown::Yes]);
        let source = pushed.updated_node.unwrap_or(source);
        let config = FileScanConfigBuilder::new(url, source).with_file(file).build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let plan: Arc<dyn ExecutionPlan> = match taken {
            true => Arc::clone(&scan),
            false => Arc::new(FilterExec::try_new(filter, Arc::clone(&scan)).unwrap()),
        };
        let batches = collect(plan, context.task_ctx()).await.unwrap();
        let selected = batches.iter().map(|batch| {
            let wanted = select.iter().map(|name| self.table.index_of(name).unwrap());
            batch.project(&wanted.collect::<Vec<_>>()).unwrap()
        });
        let pruned = |name: &str| {
            let metrics = scan.metrics().unwrap();
            metrics.iter().find_map(|metric| match metric.value() {
                datafusion::physical_plan::metrics::MetricValue::PruningMetrics {
                    name: found,
                    pruning_metrics,
                } if found == name => Some(pruning_metrics.pruned()),
                _ => None,
            })
        };
        Scanned {
            taken,
            rows: lines(&selected.collect::<Vec<_>>()),
            groups_pruned: pruned("row_groups_pruned_statistics").unwrap_or(0),
            groups_bloomed: pruned("row_groups_pruned_bloom_filter").unwrap_or(0),
        }
    }

    fn parquet(&self) -> Vec<u8> {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(GROUP))
            .set_bloom_filter_enabled(true)
            .build();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, self.file.schema(), Some(properties)).unwrap();
        writer.write(&self.file).unwrap();
        writer.close().unwrap();
        bytes
    }

    /// Checks the rows, with the filter in the scan and above it, and the number of row groups without any.
    async fn check(&self, filter: Expr, select: &[&str], expect: &[&str], groups_pruned: usize) {
        for pushdown in [false, true] {
            let scanned = self.scan(&filter, pushdown, select).await;
            assert_eq!(scanned.rows, expect, "{filter}, pushdown {pushdown}");
            let pruned = scanned.groups_pruned + scanned.groups_bloomed;
            assert_eq!(pruned, groups_pruned, "{filter}, pushdown {pushdown}");
        }
    }
}

/// Three row groups: n from 0 to 5.
fn numbers() -> Lake {
    let rows = (0..6).map(|n| format!(r#"{{"old":{n},"b":"b{n}","gone":{}}}"#, 10 - n));
    let file = vec![
        field("old", 1, DataType::Int32),
        field("b", 2, DataType::Utf8),
        field("gone", 3, DataType::Int32),
    ];
    let file = batch(file, &rows.collect::<String>());
    let table = vec![
        field("b", 1, DataType::Int64),
        field("old", 2, DataType::Utf8View),
        field("gone", 4, DataType::Int32),
        field("nothing", 5, DataType::Int32),
    ];
    Lake::new(with_defaults([(4, ScalarValue::Int32(Some(7)))]), table, file)
}

#[tokio::test]
async fn renamed_and_promoted_columns_prune_row_groups() {
    let lake = numbers();
    lake.check(col("b").gt(lit(3_i64)), &["b"], &[r#"{"b":4}"#, r#"{"b":5}"#], 2)
        .await;
    lake.check(col("b").eq(lit(2_i64)), &["old"], &[r#"{"old":"b2"}"#], 2)
        .await;
    lake.check(col("b").eq(lit(1_i64 << 40)), &["b"], &[], 3).await;
    lake.check(col("old").eq(lit("b5")), &["b", "old"], &[r#"{"b":5,"old":"b5"}"#], 2)
        .await;
    // Between the least and the greatest of a row group: bloom filters alone tell.
    lake.check(col("old").eq(lit("b2x")), &["b"], &[], 3).await;
}

#[tokio::test]
async fn missing_columns_are_their_default_in_filters() {
    let lake = numbers();
    let all = [
        "{\"b\":0}",
        "{\"b\":1}",
        "{\"b\":2}",
        "{\"b\":3}",
        "{\"b\":4}",
        "{\"b\":5}",
    ];
    lake.check(col("gone").eq(lit(7)), &["b"], &all, 0).await;
    lake.check(col("gone").is_not_null(), &["b"], &all, 0).await;
    lake.check(col("nothing").is_null(), &["b"], &all, 0).await;
    for none in [
        col("gone").is_null(),
        col("gone").eq(lit(8)),
        col("nothing").is_not_null(),
        col("nothing").eq(lit(7)),
    ] {
        for pushdown in [false, true] {
            assert!(lake.scan(&none, pushdown, &["b"]).await.rows.is_empty(), "{none}");
        }
    }
    let both = col("gone").eq(lit(7)).and(col("b").lt(lit(1_i64)));
    lake.check(both, &["gone", "nothing"], &[r#"{"gone":7,"nothing":null}"#], 2)
        .await;
    let either = col("nothing").is_not_null().or(col("b").eq(lit(5_i64)));
    for pushdown in [false, true] {
        assert_eq!(lake.scan(&either, pushdown, &["b"]).await.rows, [r#"{"b":5}"#]);
    }
}

/// A struct whose fields were renamed, promoted, dropped and added, and lists of numbers and of such structs.
fn nested() -> Lake {
    let fields = |old: bool| {
        let (x, y) = if old {
            (DataType::Int32, DataType::Utf8)
        } else {
            (DataType::Int64, DataType::Utf8View)
        };
        let mut inner = match old {
            true => vec![
                field("x", 2, x.clone()),
                field("gone", 3, DataType::Int32),
                field("y", 4, y),
            ],
            false => vec![
                field("y", 2, x.clone()),
                field("x", 4, y),
                field("new", 5, DataType::Int32),
            ],
        };
        let lists = structure(vec![field("numbers", 12, list(field("element", 13, x.clone())))]);
        let structs = list(field("element", 7, structure(inner.clone())));
        inner.push(field("l", 14, lists));
        vec![
            field("id", 1, DataType::Int32),
            field("s", 10, structure(inner)),
            field("numbers", 11, list(field(if old { "item" } else { "element" }, 6, x))),
            field("structs", 15, structs),
        ]
    };
    let rows = r#"
        {"id":1,"s":{"x":10,"gone":3,"y":"a","l":{"numbers":[4]}},"numbers":[1,2],"structs":[{"x":1,"y":"e"},null]}
        {"id":2,"s":null,"numbers":null,"structs":[]}
        {"id":3,"s":{"x":null,"gone":4,"y":"c","l":{"numbers":null}},"numbers":[],"structs":null}
        {"id":4,"s":{"x":40,"gone":5,"y":null,"l":null},"numbers":[2,null],"structs":[{"x":2}]}"#;
    let file = batch(fields(true), rows);
    Lake::new(with_defaults([(5, ScalarValue::Int32(Some(9)))]), fields(false), file)
}

#[tokio::test]
async fn fields_of_structs_filter() {
    let lake = nested();
    let ids = |ids: &[i32]| ids.iter().map(|id| format!(r#"{{"id":{id}}}"#)).collect::<Vec<_>>();
    let numbers = get_field().call(vec![col("s"), lit("l"), lit("numbers")]);
    for (filter, expect) in [
        (col("s").field("y").gt(lit(9_i64)), ids(&[1, 4])),
        (col("s").field("y").is_null(), ids(&[2, 3])),
        (col("s").field("x").eq(lit("c")), ids(&[3])),
        (col("s").field("new").eq(lit(9)), ids(&[1, 3, 4])),
        (col("s").field("new").is_null(), ids(&[2])),
        (col("s").is_null(), ids(&[2])),
        (col("s").is_not_null().and(col("s").field("y").is_null()), ids(&[3])),
        (array_has(col("numbers"), lit(2_i64)), ids(&[1, 4])),
        (col("numbers").is_null(), ids(&[2])),
        (array_has(numbers, lit(4_i64)), ids(&[1])),
        (col("structs").is_null(), ids(&[3])),
    ] {
        let whole_struct = filter.to_string().starts_with("s IS");
        assert_eq!(lake.scan(&filter, true, &["id"]).await.taken, !whole_struct, "{filter}");
        lake.check(
            filter,
            &["id"],
            &expect.iter().map(String::as_str).collect::<Vec<_>>(),
            0,
        )
        .await;
    }
}

#[tokio::test]
async fn evolved_columns_come_out_of_files() {
    let lake = nested();
    let expect = [
        r#"{"s":{"y":10,"x":"a","new":9,"l":{"numbers":[4]}},"numbers":[1,2],"structs":[{"y":1,"x":"e","new":9},null]}"#,
        r#"{"s":null,"numbers":null,"structs":[]}"#,
        r#"{"s":{"y":null,"x":"c","new":9,"l":{"numbers":null}},"numbers":[],"structs":null}"#,
        r#"{"s":{"y":40,"x":null,"new":9,"l":null},"numbers":[2,null],"structs":[{"y":2,"x":null,"new":9}]}"#,
    ];
    let filter = col("id").gt(lit(0));
    lake.check(filter.clone(), &["s", "numbers", "structs"], &expect, 0)
        .await;
    lake.check(
        filter.and(col("s").field("y").eq(lit(40_i64))),
        &["numbers"],
        &[r#"{"numbers":[2,null]}"#],
        0,
    )
    .await;
}

#[tokio::test]
async fn swapped_names_of_text_and_bytes_are_told_apart() {
    // DataFusion decodes columns under the types that the table has for their names, here the wrong ones.
    let file = vec![field("a", 1, DataType::Binary), field("b", 2, DataType::Utf8)];
    let file = batch(file, r#"{"a":"41","b":"x"} {"a":"42","b":null}"#);
    let table = vec![field("b", 1, DataType::BinaryView), field("a", 2, DataType::Utf8View)];
    let lake = Lake::new(by_id(), table, file);
    lake.check(col("a").eq(lit("x")), &["b", "a"], &[r#"{"b":"41","a":"x"}"#], 0)
        .await;
    lake.check(col("a").is_null(), &["b", "a"], &[r#"{"b":"42","a":null}"#], 0)
        .await;
}

#[tokio::test]
async fn a_name_mapping_finds_columns_of_files_without_ids() {
    let inner = |id: fn(&str, i32) -> Field| structure(vec![id("x", 3)]);
    let file = vec![
        plain("a", DataType::Int32),
        plain("s", inner(|name, _| plain(name, DataType::Int32))),
        plain("unnamed", DataType::Int32),
    ];
    let file = batch(file, r#"{"a":1,"s":{"x":5},"unnamed":3} {"a":2} {"a":3,"s":{"x":6}}"#);
    let table = vec![
        field("renamed", 1, DataType::Int64),
        field("t", 2, inner(|_, id| field("y", id, DataType::Int32))),
        field("unnamed", 4, DataType::Int32),
    ];
    let names = r#"[{"field-id":1,"names":["z","a"]},
        {"field-id":2,"names":["s"],"fields":[{"field-id":3,"names":["x"]}]}]"#;
    let columns = ColumnMapping {
        name_mapping: Some(names.to_owned()),
        ..by_id()
    };
    let lake = Lake::new(columns, table, file);
    let expect = [r#"{"renamed":3,"t":{"y":6},"unnamed":null}"#];
    lake.check(col("renamed").gt(lit(2_i64)), &["renamed", "t", "unnamed"], &expect, 1)
        .await;
    lake.check(col("t").field("y").eq(lit(6)), &["renamed", "t", "unnamed"], &expect, 0)
        .await;
}
