//! Alterations of real logs, read back by the reader.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field};

use super::*;
use crate::delta::fixture::{Table, add, created, field, stats};
use crate::write::alter::Position;

fn table(configuration: Value, features: &[&str]) -> Table {
    let table = Table::new();
    let fields = [field("x", "long", json!({})), field("small", "integer", json!({}))];
    let mut actions = created(&fields, &[], configuration, features);
    actions.push(add("a", json!({}), stats(10, json!(0), json!(9), 0)));
    table.commit(0, &actions);
    table
}

fn path(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

fn set(key: &str, value: &str) -> Alteration {
    Alteration::SetProperties {
        properties: vec![(key.to_owned(), value.to_owned())],
    }
}

fn added(name: &str, position: Position) -> Alteration {
    Alteration::AddColumn {
        parent: Vec::new(),
        field: Arc::new(Field::new(name, DataType::Utf8, true)),
        comment: Some("what it is".to_owned()),
        default: None,
        position,
        if_not_exists: false,
    }
}

async fn altered(table: &Table, alterations: &[Alteration]) -> Result<Vec<(String, DataType)>> {
    alter(&table.latest().await?, alterations).await?;
    let snapshot = table.latest().await?;
    let fields = snapshot.schema().fields().iter();
    Ok(fields
        .map(|field| (field.name().clone(), field.data_type().clone()))
        .collect())
}

fn names(columns: &[(String, DataType)]) -> Vec<&str> {
    columns.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_added_where_they_are_wanted() {
    let table = table(json!({}), &[]);
    let columns = altered(&table, &[added("b", Position::Last), added("c", Position::First)])
        .await
        .unwrap();
    assert_eq!(names(&columns), ["c", "x", "small", "b"]);
    let to_second = Alteration::MoveColumn {
        column: path("b"),
        position: Position::After("c".to_owned()),
    };
    let columns = altered(&table, &[to_second]).await.unwrap();
    assert_eq!(names(&columns), ["c", "b", "x", "small"]);
    let again = altered(&table, &[added("X", Position::Last)]).await;
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
    assert_eq!(table.latest().await.unwrap().version(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_renamed_and_dropped_under_column_mapping() {
    let table = table(json!({}), &[]);
    let rename = Alteration::RenameColumn {
        column: path("x"),
        to: "y z".to_owned(),
    };
    let refused = altered(&table, std::slice::from_ref(&rename)).await.unwrap_err();
    assert!(refused.to_string().contains("delta.columnMapping.mode"), "{refused}");
    let columns = altered(&table, &[set("delta.columnMapping.mode", "name"), rename])
        .await
        .unwrap();
    assert_eq!(names(&columns), ["y z", "small"]);
    let snapshot = table.latest().await.unwrap();
    let physical: HashMap<_, _> = snapshot
        .version
        .columns
        .physical
        .iter()
        .zip(snapshot.schema().fields())
        .collect();
    assert_eq!(physical[&"x".to_owned()].name(), "y z");
    // The statistics are those of the old name.
    assert!(table.files("\"y z\" > 100").await.unwrap().is_empty());
    let drop = Alteration::DropColumn {
        column: path("small"),
        if_exists: false,
    };
    let columns = altered(&table, &[added("more", Position::Last), drop]).await.unwrap();
    assert_eq!(names(&columns), ["y z", "more"]);
    let ids = &table.latest().await.unwrap().property(MAX_COLUMN_ID);
    assert_eq!(ids.as_deref(), Some("3"));
    let drop = |name: &str| Alteration::DropColumn {
        column: path(name),
        if_exists: false,
    };
    assert!(altered(&table, &[drop("more"), drop("y z")]).await.is_err());
    assert!(matches!(
        altered(&table, &[drop("none")]).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn types_widen_where_the_table_lets_them() {
    let widen = |name: &str, to: DataType| Alteration::WidenColumn { column: path(name), to };
    let plain = table(json!({}), &[]);
    assert!(altered(&plain, &[widen("small", DataType::Int64)]).await.is_err());
    let columns = altered(&plain, &[set("delta.enableTypeWidening", "true")])
        .await
        .unwrap();
    assert_eq!(columns[1].1, DataType::Int32);
    let columns = altered(&plain, &[widen("small", DataType::Int64)]).await.unwrap();
    assert_eq!(columns[1].1, DataType::Int64);
    let protocol = plain.latest().await.unwrap();
    let features = protocol
        .version
        .kernel
        .table_configuration()
        .protocol()
        .writer_features()
        .unwrap()
        .to_vec();
    assert!(
        features.iter().any(|feature| feature.as_ref() == "typeWidening"),
        "{features:?}"
    );
    assert!(altered(&plain, &[widen("x", DataType::Int16)]).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_null_needs_statistics_without_nulls() {
    let table = table(json!({}), &[]);
    let tighten = |name: &str| Alteration::SetNullable {
        column: path(name),
        nullable: false,
    };
    altered(&table, &[tighten("x")]).await.unwrap();
    assert!(!table.latest().await.unwrap().schema().field(0).is_nullable());
    let unknown = altered(&table, &[tighten("small")]).await;
    assert!(matches!(unknown, Err(Error::Write { .. })), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_and_comments_are_kept() {
    let table = table(json!({"delta.constraints.small": "small > 0"}), &[]);
    let comment = Alteration::CommentColumn {
        column: path("X"),
        comment: Some("the x".to_owned()),
    };
    let describe = Alteration::CommentTable {
        comment: Some("a table".to_owned()),
    };
    let default = Alteration::SetDefault {
        column: path("small"),
        value: Some(ScalarValue::Int32(Some(7))),
    };
    altered(&table, &[set("owner", "me"), comment, describe, default])
        .await
        .unwrap();
    let snapshot = table.latest().await.unwrap();
    assert_eq!(snapshot.property("owner").as_deref(), Some("me"));
    let schema = snapshot.schema_json().unwrap();
    assert_eq!(schema["fields"][0]["metadata"]["comment"], "the x");
    assert_eq!(schema["fields"][1]["metadata"]["CURRENT_DEFAULT"], "7");
    let metadata = snapshot.version.kernel.table_configuration().metadata().clone();
    assert_eq!(metadata.description(), Some("a table"));
    // What changes nothing is no version.
    altered(&table, &[set("owner", "me")]).await.unwrap();
    assert_eq!(table.latest().await.unwrap().version(), 1);
    let rename = Alteration::RenameColumn {
        column: path("small"),
        to: "b".to_owned(),
    };
    assert!(
        altered(&table, &[rename]).await.is_err(),
        "a constraint uses the column"
    );
    assert!(
        altered(&table, &[set("delta.enableRowTracking", "true")])
            .await
            .is_err()
    );
    let drop = Alteration::DropConstraint {
        name: "SMALL".to_owned(),
        if_exists: false,
    };
    altered(&table, &[drop]).await.unwrap();
    assert_eq!(table.latest().await.unwrap().property("delta.constraints.small"), None);
}
