//! Files as they are written, read back.

use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::Field;

use super::*;
use crate::stores::Stores;

fn staged(folder: &tempfile::TempDir, fields: Vec<Field>) -> WriteTarget {
    let folder = format!("file://{}", folder.path().display());
    WriteTarget::new("lake.ns.t", folder, Arc::new(Schema::new(fields)))
}

async fn write_all(target: &WriteTarget, batches: &[RecordBatch], file_rows_max: usize) -> Result<Vec<WrittenFile>> {
    let store = Stores::new(&[])?.locate(&target.data_folder)?.store;
    let target = target.clone().with_rows_max(file_rows_max);
    let mut writer = Writer::new(store, Arc::new(target), "w")?;
    for batch in batches {
        writer.write(batch).await?;
    }
    writer.finish().await?;
    Ok(writer.into_files())
}

#[tokio::test]
async fn files_end_at_their_row_limit() {
    let folder = tempfile::tempdir().unwrap();
    let staged = staged(&folder, vec![Field::new("id", DataType::Int64, false)]);
    let batch = |ids: std::ops::Range<i64>| {
        RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from_iter_values(ids)) as ArrayRef)]).unwrap()
    };
    let files = write_all(&staged, &[batch(0..7), batch(7..8), batch(8..25)], 10)
        .await
        .unwrap();
    let seen: Vec<(u64, Option<ScalarValue>, Option<ScalarValue>)> = files
        .iter()
        .map(|f| (f.rows, f.columns[0].min.clone(), f.columns[0].max.clone()))
        .collect();
    let id = |id| Some(ScalarValue::Int64(Some(id)));
    assert_eq!(seen, [(10, id(0), id(9)), (10, id(10), id(19)), (5, id(20), id(24))]);
    let stores = Stores::new(&[]).unwrap();
    for file in &files {
        let at = stores.locate(&file.location).unwrap();
        assert_eq!(at.store.head(&at.path).await.unwrap().size, file.size_bytes);
        assert_eq!(file.row_group_offsets, [4]);
    }
    assert!(write_all(&staged, &[batch(0..0)], 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn columns_know_their_nulls_and_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let fields = vec![
        Field::new("text", DataType::Utf8View, true),
        Field::new("price", DataType::Decimal128(15, 2), true),
        Field::new("rate", DataType::Float64, true),
        Field::new("nothing", DataType::Int64, true),
    ];
    let staged = staged(&folder, fields);
    let prices = Decimal128Array::from(vec![Some(-5), None, Some(1234)])
        .with_precision_and_scale(15, 2)
        .unwrap();
    let columns: [(&str, ArrayRef); 4] = [
        ("text", Arc::new(StringArray::from(vec![Some("b"), Some("ü"), None]))),
        ("price", Arc::new(prices)),
        ("rate", Arc::new(Float64Array::from(vec![1.5, f64::NAN, f64::NAN]))),
        ("nothing", Arc::new(Int64Array::from(vec![None, None, None]))),
    ];
    let files = write_all(&staged, &[RecordBatch::try_from_iter(columns).unwrap()], 10)
        .await
        .unwrap();
    let text = |text: &str| Some(ScalarValue::Utf8View(Some(text.to_owned())));
    let price = |unscaled| Some(ScalarValue::Decimal128(Some(unscaled), 15, 2));
    let [texts, prices, rates, nothing] = files[0].columns.as_slice() else {
        panic!("four columns")
    };
    assert_eq!((texts.values, texts.nulls, texts.nans), (3, Some(1), None));
    assert_eq!((texts.min.clone(), texts.max.clone()), (text("b"), text("ü")));
    assert_eq!((prices.min.clone(), prices.max.clone()), (price(-5), price(1234)));
    assert_eq!(
        (rates.nulls, rates.nans, &rates.min, &rates.max),
        (Some(0), Some(2), &None, &None)
    );
    assert_eq!((nothing.nulls, &nothing.min, &nothing.max), (Some(3), &None, &None));
}

#[tokio::test]
async fn values_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let staged = staged(&folder, vec![Field::new("id", DataType::Int32, false)]);
    let check = async |ids: Int64Array, expect: &str| {
        let batch = RecordBatch::try_from_iter([("id", Arc::new(ids) as ArrayRef)]).unwrap();
        let error = write_all(&staged, &[batch], 10).await.unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(
        Int64Array::from(vec![i64::MAX]),
        "Can't cast value 9223372036854775807 to type Int32",
    )
    .await;
    check(Int64Array::from(vec![None, Some(1)]), "is NOT NULL").await;
}

#[test]
fn one_unknown_bound_makes_the_whole_unknown() {
    let bounds: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(1)]));
    let check = |only_nulls: [bool; 3], keep, expect: Option<i64>| {
        assert_eq!(
            extreme(&bounds, &only_nulls, keep),
            expect.map(|value| ScalarValue::Int64(Some(value)))
        );
    };
    check([false, true, false], Ordering::Less, Some(1));
    check([false, true, false], Ordering::Greater, Some(3));
    check([false, false, false], Ordering::Less, None);
    check([true, true, true], Ordering::Less, None);
}
