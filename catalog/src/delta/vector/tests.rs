//! Deletion vectors as the log spells them.

use object_store::path::Path;
use serde_json::{Value, json};

use super::*;
use crate::delta::fixture::{Table, add, created, field, list, stats};

/// What the log says of the vector -> where it is, or the error.
async fn check(vector: Value, expect: Result<&dyn Fn(&Table) -> DeleteSource, &str>) {
    let table = Table::new();
    let mut file = add("f%20g", json!({}), stats(100, json!(1), json!(2), 0));
    file["add"]["deletionVector"] = vector.clone();
    let mut actions = created(&[field("x", "long", json!({}))], &[], json!({}), &["deletionVectors"]);
    actions.push(file);
    table.commit(0, &actions);
    let snapshot = table.latest().await.unwrap();
    match (list(&snapshot, "").await, expect) {
        (Ok(list), Ok(expect)) => {
            let file = &list.sets[0].files[0];
            let deletes = file.deletes.as_ref().unwrap();
            assert_eq!(deletes.data_file, "f%20g");
            assert_eq!(deletes.sources, [expect(&table)], "{vector}");
            assert_eq!(file.rows, Some(100));
        }
        (Err(error), Err(expect)) => {
            assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(expect), "{error}");
        }
        (found, _) => panic!("{vector}: {found:?}"),
    }
}

fn inside(table: &Table, name: &str) -> Path {
    Path::parse(format!("{}/{name}", table.location())).unwrap()
}

fn in_file(path: Path, offset: u64) -> DeleteSource {
    DeleteSource::Vector {
        store_url: datafusion::datasource::object_store::ObjectStoreUrl::parse("file:///").unwrap(),
        path,
        offset,
        size_bytes: 36,
        cardinality: 2,
        frame: VectorFrame::Delta,
    }
}

fn vector(storage_type: &str, path: &str, offset: Option<i32>, cardinality: i64) -> Value {
    json!({"storageType": storage_type, "pathOrInlineDv": path, "offset": offset, "sizeInBytes": 36,
           "cardinality": cardinality})
}

const FILE: &str = "deletion_vector_61d16c75-6994-46b7-a15b-8b538852e50e.bin";

#[tokio::test(flavor = "multi_thread")]
async fn vectors_in_files_are_located() {
    let encoded = "vBn[lx{q8@P<9BNH/isA";
    check(vector("u", encoded, Some(1), 2), Ok(&|t| in_file(inside(t, FILE), 1))).await;
    check(vector("u", encoded, None, 2), Ok(&|t| in_file(inside(t, FILE), 1))).await;
    let prefixed = format!("ab{encoded}");
    check(
        vector("u", &prefixed, Some(43), 2),
        Ok(&|t| in_file(inside(t, &format!("ab/{FILE}")), 43)),
    )
    .await;
    let absolute = "file:///other/dir%20x/dv.bin";
    check(
        vector("p", absolute, Some(1), 2),
        Ok(&|_| in_file(Path::parse("other/dir x/dv.bin").unwrap(), 1)),
    )
    .await;
}

/// The example of the protocol: rows 3, 4, 7, 11, 18 and 29.
const INLINE: &str = "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";

#[tokio::test(flavor = "multi_thread")]
async fn vectors_in_the_log_are_decoded() {
    let portable = |_: &Table| {
        // One 32-bit bitmap of key 0: cookie without runs, one array container of six values.
        let mut bitmap = vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bitmap.extend([0x3a, 0x30, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 16, 0, 0, 0]);
        bitmap.extend([3, 0, 4, 0, 7, 0, 11, 0, 18, 0, 29, 0]);
        DeleteSource::Inline { bitmap, cardinality: 6 }
    };
    check(vector("i", INLINE, None, 6), Ok(&portable)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_vectors_are_reported() {
    check(vector("i", INLINE, None, 5), Err("6 rows, not 5")).await;
    check(vector("i", "^Bg9", None, 1), Err("deletion vector")).await;
    check(vector("i", "\u{e4}", None, 1), Err("deletion vector")).await;
    check(vector("u", "short", Some(1), 2), Err("deletion vector")).await;
    check(vector("u", "vBn[lx{q8@P<9BNH/isA", Some(-1), 2), Err("deletion vector")).await;
    check(vector("z", "x", None, 2), Err("deletion vector")).await;
}
