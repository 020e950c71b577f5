//! temporary
use std::collections::BTreeMap;
use std::sync::Arc;
use arrow::array::*;
use arrow::datatypes::*;
use catalog::write::{NewTable, create_table};
use catalog::{CatalogConfig, Config, Lakehouse, Secret, StorageProfile, Stores, TableName};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures::stream;
use url::Url;

fn batch(n: i32, time: bool) -> RecordBatch {
    let r = 0..n;
    let mut cols: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from_iter_values(r.clone()))),
        ("big", Arc::new(Int64Array::from_iter(r.clone().map(|i| (i % 7 != 0).then_some(i64::from(i) << 33))))),
        ("flag", Arc::new(BooleanArray::from_iter(r.clone().map(|i| Some(i % 2 == 0))))),
        ("f", Arc::new(Float32Array::from_iter_values(r.clone().map(|i| i as f32 / 3.0)))),
        ("d", Arc::new(Float64Array::from_iter_values(r.clone().map(|i| if i == 5 { f64::NAN } else { f64::from(i) / 3.0 })))),
        ("small", Arc::new(Decimal128Array::from_iter_values(r.clone().map(|i| i128::from(i) - 50)).with_precision_and_scale(9, 2).unwrap())),
        ("price", Arc::new(Decimal128Array::from_iter_values(r.clone().map(|i| i128::from(i) * 1001 - 50)).with_precision_and_scale(15, 2).unwrap())),
        ("huge", Arc::new(Decimal128Array::from_iter_values(r.clone().map(|i| i128::from(i) << 90)).with_precision_and_scale(38, 10).unwrap())),
        ("day", Arc::new(Date32Array::from_iter_values(r.clone().map(|i| i * 100 - 3000)))),
        ("ts", Arc::new(TimestampMicrosecondArray::from_iter_values(r.clone().map(|i| i64::from(i) * 86_400_123_457 - 1)))),
        ("tz", Arc::new(TimestampMicrosecondArray::from_iter_values(r.clone().map(|i| i64::from(i) * 86_400_123_457 - 1)).with_timezone("UTC"))),
        ("s", Arc::new(StringViewArray::from_iter(r.clone().map(|i| (i % 5 != 0).then(|| format!("text {i} üöä {}", "x".repeat(40))))))),
        ("b", Arc::new(BinaryArray::from_iter_values(r.clone().map(|i| vec![i as u8; 20])))),
        ("nothing", Arc::new(Int64Array::from_iter(r.clone().map(|_| None::<i64>)))),
    ];
    if time {
        cols.push(("t", Arc::new(Time64MicrosecondArray::from_iter_values(r.clone().map(|i| i64::from(i) * 1_000_001)))));
        cols.push(("fixed", Arc::new(FixedSizeBinaryArray::try_from_iter(r.map(|i| [i as u8; 4])).unwrap())));
    }
    let fields: Vec<Field> = cols.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), *n != "id")).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), cols.into_iter().map(|(_, c)| c).collect()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn manual() {
    let dir = std::path::Path::new("/tmp/wr/out");
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();
    let url = |s: &str| Url::parse(s).unwrap();
    let mut profile = StorageProfile::new("s3://lake");
    profile.endpoint = Some("http://127.0.0.1:29000".into());
    profile.access_key_id = Some(Secret::new("lakewing"));
    profile.secret_access_key = Some(Secret::new("lakewing-secret"));
    profile.allow_http = true;
    let sql = |uri: &str, wh: &str| CatalogConfig::IcebergSql { uri: Secret::new(uri), name: None, warehouse: url(wh) };
    let rest = |credential: Option<&str>| CatalogConfig::IcebergRest { uri: url("http://127.0.0.1:28181/"), warehouse: None, credential: credential.map(Secret::new), token: None, oauth2_server_uri: None, scope: None };
    let catalogs = BTreeMap::from([
        ("lake".to_owned(), sql("sqlite:///tmp/wr/out/catalog.db", "file:///tmp/wr/out/lake")),
        ("pg".to_owned(), sql("postgresql://lake:lake@127.0.0.1:25432/postgres", "s3://lake/pg")),
        ("pgbad".to_owned(), sql("postgresql://lake:wrong@127.0.0.1:25432/postgres", "s3://lake/pg")),
        ("pgdown".to_owned(), sql("postgresql://lake:wrong@127.0.0.1:25431/postgres", "s3://lake/pg")),
        ("rest".to_owned(), rest(Some("lakewing:rest-secret"))),
        ("restbad".to_owned(), rest(Some("lakewing:nope"))),
        ("restnone".to_owned(), rest(None)),
        ("restdown".to_owned(), CatalogConfig::IcebergRest { uri: url("http://user:pw@127.0.0.1:1/x"), warehouse: None, credential: None, token: None, oauth2_server_uri: None, scope: None }),
        ("delta".to_owned(), CatalogConfig::Delta { root: url("file:///tmp/wr/out/delta%20root") }),
        ("s3delta".to_owned(), CatalogConfig::Delta { root: url("s3://lake/delta") }),
    ]);
    let stores = Stores::new(std::slice::from_ref(&profile)).unwrap();
    let config = Config { catalogs, storage: vec![profile] };
    let lakehouse = Lakehouse::new(&config, stores.clone()).unwrap();
    for (cat, ns) in [("lake", "ns"), ("pg", "n.s"), ("rest", "deep.er"), ("rest", "ns"), ("delta", "ns"), ("s3delta", "n s")] {
        let client = lakehouse.client(cat).unwrap();
        let b = batch(100, !cat.contains("delta"));
        if ns == "deep.er" { let _ = client.create_namespace("deep").await; }
        match client.create_namespace(ns).await { Ok(()) => {}, Err(e) => eprintln!("{cat}: {e}") }
        for table in ["types", "empty"] {
            let name = TableName::new(cat, ns, format!("{table}{}", std::process::id()));
            let new = NewTable { schema: b.schema(), properties: vec![("comment".into(), "hello".into())], file_rows_max: 30 };
            let rows: Vec<_> = if table == "types" { vec![Ok(b.slice(0, 40)), Ok(b.slice(40, 60))] } else { vec![] };
            let make = || Box::pin(RecordBatchStreamAdapter::new(b.schema(), stream::iter(rows.iter().map(|r: &Result<RecordBatch, datafusion::error::DataFusionError>| Ok(r.as_ref().unwrap().clone())).collect::<Vec<_>>())));
            let n = create_table(&lakehouse, &name, &new, make()).await;
            eprintln!("{name}: {n:?}");
            eprintln!("  again: {}", create_table(&lakehouse, &name, &new, make()).await.unwrap_err());
            eprintln!("  list: {:?} {:?}", lakehouse.list_namespaces(cat).await, lakehouse.list_tables(cat, ns).await);
            let ctx = SessionContext::new_with_config_rt(Default::default(), Arc::new(datafusion::execution::runtime_env::RuntimeEnvBuilder::new().with_object_store_registry(stores.clone()).build().unwrap()));
            let t = lakehouse.table(&name).await.unwrap();
            ctx.register_table("t", Arc::new(t)).unwrap();
            let got = ctx.sql("select count(*), sum(id), count(big), sum(price), min(day), max(ts), max(s), count(*) filter (where d > 30) from t").await.unwrap().collect().await.unwrap();
            eprintln!("{}", arrow::util::pretty::pretty_format_batches(&got).unwrap());
        }
    }
    for cat in ["pgbad", "pgdown", "restbad", "restnone", "restdown", "rest", "pg", "lake", "delta"] {
        let t = std::time::Instant::now();
        match lakehouse.table(&TableName::new(cat, "ns", "nope")).await { Err(e) => eprintln!("{cat}: {:?} {e} | hint {:?} | {:?}", e.kind(), e.hint(), t.elapsed()), Ok(_) => panic!() }
        match lakehouse.list_tables(cat, "no.such").await { Err(e) => eprintln!("   {:?} {e}", e.kind()), Ok(l) => eprintln!("   {l:?}") }
    }
}
