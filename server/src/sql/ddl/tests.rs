//! What statements about tables mean, in the words of several engines.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use catalog::write::TableFormat;
use catalog::write::alter::{Existing, NewPartitionField, PartitionFieldRef, Position, SortKey};
use catalog::write::target::Transform;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

use super::*;

fn try_parse(sql: &str) -> Result<Option<Ddl>> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql)
        .tokenize_with_location()
        .unwrap();
    Ddl::parse(&tokens, sql)
}

fn parse(sql: &str) -> Ddl {
    try_parse(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .unwrap_or_else(|| panic!("{sql}: no DDL"))
}

fn path(name: &str) -> Path {
    name.split('.').map(str::to_owned).collect()
}

fn create(sql: &str) -> CreateTable {
    match parse(sql) {
        Ddl::CreateTable(table) => *table,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn types_are_those_of_several_engines() {
    let check = |named: &str, expect: DataType| {
        let table = create(&format!("CREATE TABLE t (c {named} NOT NULL, d INT)"));
        assert_eq!(*table.definition.columns[0].field.data_type(), expect, "{named}");
        assert!(!table.definition.columns[0].field.is_nullable());
        assert_eq!(table.definition.columns.len(), 2);
    };
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    check("boolean", DataType::Boolean);
    check("int", DataType::Int32);
    check("BIGINT", DataType::Int64);
    check("long", DataType::Int64);
    check("float", DataType::Float32);
    check("double precision", DataType::Float64);
    check("decimal(10, 2)", DataType::Decimal128(10, 2));
    check("NUMERIC(7)", DataType::Decimal128(7, 0));
    check("string", DataType::Utf8);
    check("varchar(10)", DataType::Utf8);
    check("varbinary", DataType::Binary);
    check("fixed(5)", DataType::FixedSizeBinary(5));
    check("uuid", DataType::FixedSizeBinary(16));
    check("date", DataType::Date32);
    check("time", DataType::Time64(TimeUnit::Microsecond));
    check("timestamp", micros(None));
    check("timestamp(6)", micros(None));
    check("timestamp_ntz", micros(None));
    check("timestamp with time zone", micros(Some("UTC")));
    check("timestamptz", micros(Some("UTC")));
    let list = |item| DataType::List(Arc::new(Field::new("element", item, true)));
    check("array<int>", list(DataType::Int32));
    check("int[]", list(DataType::Int32));
    check("array<array<string>>", list(list(DataType::Utf8)));
    let fields = vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", list(DataType::Utf8), true),
    ];
    let of = DataType::Struct(fields.into());
    check("struct<a int, b array<string>>", of.clone());
    check("struct<a: int, b: array<string>>", of.clone());
    check("array<struct<a int, b array<string>>>", list(of.clone()));
    let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", of, true)];
    let entries = Field::new("key_value", DataType::Struct(entries.into()), false);
    check(
        "map<string, struct<a int, b array<string>>>",
        DataType::Map(Arc::new(entries), false),
    );
    for wrong in ["nothing", "decimal(39, 2)", "decimal(5, 7)", "array<int", "interval"] {
        assert!(try_parse(&format!("CREATE TABLE t (c {wrong})")).is_err(), "{wrong}");
    }
}

#[test]
fn tables_are_described_in_many_words() {
    let table = create(
        "CREATE TABLE IF NOT EXISTS Lake.\"S\".t (
            id BIGINT NOT NULL COMMENT 'the key', at TIMESTAMP, n INT DEFAULT -7, s STRING DEFAULT 'it''s'
        ) USING iceberg PARTITIONED BY (bucket(8, id), day(at) AS d, truncate(s, 4), n)
        SORTED BY (at DESC, id NULLS LAST) COMMENT 'rows' LOCATION 's3://b/t'
        TBLPROPERTIES ('format-version' = '3', write.format.default = 'parquet')",
    );
    assert_eq!(table.name, ["lake", "S", "t"]);
    assert!(table.if_not_exists && !table.or_replace);
    assert_eq!(table.definition.format, Some(TableFormat::Iceberg));
    let definition = &table.definition;
    assert_eq!(definition.columns[0].comment.as_deref(), Some("the key"));
    assert_eq!(definition.columns[2].default, Some(ScalarValue::Int32(Some(-7))));
    assert_eq!(
        definition.columns[3].default,
        Some(ScalarValue::Utf8(Some("it's".to_owned())))
    );
    let field = |column: &str, transform, name: Option<&str>| NewPartitionField {
        column: path(column),
        transform,
        name: name.map(str::to_owned),
    };
    let fields = [
        field("id", Transform::Bucket(8), None),
        field("at", Transform::Day, Some("d")),
        field("s", Transform::Truncate(4), None),
        field("n", Transform::Identity, None),
    ];
    assert_eq!(definition.partition, fields);
    let key = |column: &str, descending, nulls_first| SortKey {
        column: path(column),
        transform: Transform::Identity,
        descending,
        nulls_first,
    };
    assert_eq!(definition.sort_order, [key("at", true, false), key("id", false, false)]);
    let properties = [("format-version", "3"), ("write.format.default", "parquet")];
    let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(definition.properties, properties);
    let new = definition.new_table(definition.schema().unwrap()).unwrap();
    assert_eq!(new.partition[1], (1, Transform::Day, Some("d".to_owned())));
    assert_eq!(new.location.as_deref(), Some("s3://b/t"));
    assert_eq!(new.defaults.len(), 2);
    let trino = create("CREATE TABLE t (a INT) WITH (format_version = 2)");
    assert_eq!(
        trino.definition.properties,
        [("format-version".to_owned(), "2".to_owned())]
    );
    let from_query = create("CREATE OR REPLACE TABLE t PARTITIONED BY (day(d)) AS SELECT 1 AS d;");
    assert!(from_query.or_replace && from_query.query.is_some() && from_query.definition.columns.is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn tables_are_changed_in_many_words() {
    let check = |sql: &str, expect: Alteration| {
        let expect = Ddl::AlterTable {
            name: path("s.t"),
            if_exists: false,
            change: Change::Alter(vec![expect]),
        };
        assert_eq!(parse(sql), expect, "{sql}");
    };
    let add = |parent: Path, field: Field, position| Alteration::AddColumn {
        parent,
        field: Arc::new(field),
        comment: None,
        default: None,
        position,
        if_not_exists: false,
    };
    let int = |name: &str| Field::new(name, DataType::Int32, true);
    check(
        "ALTER TABLE s.t ADD COLUMN a INT",
        add(Vec::new(), int("a"), Position::Last),
    );
    check(
        "alter table s.t add columns (a int first)",
        add(Vec::new(), int("a"), Position::First),
    );
    check(
        "ALTER TABLE s.t ADD COLUMN p.q.a INT AFTER b",
        add(path("p.q"), int("a"), Position::After("b".to_owned())),
    );
    let column = path("p.a");
    check(
        "ALTER TABLE s.t DROP COLUMN IF EXISTS p.a",
        Alteration::DropColumn {
            column: column.clone(),
            if_exists: true,
        },
    );
    check(
        "ALTER TABLE s.t RENAME COLUMN p.a TO b",
        Alteration::RenameColumn {
            column: column.clone(),
            to: "b".to_owned(),
        },
    );
    for sql in [
        "ALTER COLUMN p.a TYPE BIGINT",
        "ALTER p.a SET DATA TYPE BIGINT",
        "CHANGE COLUMN p.a TYPE BIGINT",
    ] {
        check(
            &format!("ALTER TABLE s.t {sql}"),
            Alteration::WidenColumn {
                column: column.clone(),
                to: DataType::Int64,
            },
        );
    }
    check(
        "ALTER TABLE s.t ALTER COLUMN p.a SET NOT NULL",
        Alteration::SetNullable {
            column: column.clone(),
            nullable: false,
        },
    );
    check(
        "ALTER TABLE s.t ALTER COLUMN p.a FIRST",
        Alteration::MoveColumn {
            column: column.clone(),
            position: Position::First,
        },
    );
    check(
        "COMMENT ON COLUMN s.t.a IS NULL",
        Alteration::CommentColumn {
            column: path("a"),
            comment: None,
        },
    );
    check(
        "ALTER TABLE s.t UNSET TBLPROPERTIES IF EXISTS ('a.b', c.d)",
        Alteration::UnsetProperties {
            keys: vec!["a.b".to_owned(), "c.d".to_owned()],
            if_exists: true,
        },
    );
    check(
        "ALTER TABLE s.t REPLACE PARTITION FIELD bucket(8, id) WITH bucket(16, id) AS more",
        Alteration::ReplacePartitionField {
            old: PartitionFieldRef::Source(path("id"), Transform::Bucket(8)),
            new: NewPartitionField {
                column: path("id"),
                transform: Transform::Bucket(16),
                name: Some("more".to_owned()),
            },
        },
    );
    check(
        "ALTER TABLE s.t WRITE UNORDERED",
        Alteration::SetSortOrder { keys: Vec::new() },
    );
    check(
        "ALTER TABLE s.t CREATE BRANCH IF NOT EXISTS audit AS OF VERSION 7",
        Alteration::CreateRef {
            name: "audit".to_owned(),
            branch: true,
            version: Some(7),
            existing: Existing::Keep,
        },
    );
    check(
        "ALTER TABLE s.t DROP TAG old",
        Alteration::DropRef {
            name: "old".to_owned(),
            branch: false,
            if_exists: false,
        },
    );
    check(
        "ALTER TABLE s.t FAST FORWARD main TO audit",
        Alteration::FastForward {
            branch: "main".to_owned(),
            to: "audit".to_owned(),
        },
    );
    check(
        "ALTER TABLE s.t ADD CONSTRAINT positive CHECK (a > 0)",
        Alteration::AddConstraint {
            name: "positive".to_owned(),
            expression: "a > 0".to_owned(),
        },
    );
    let rename = Ddl::AlterTable {
        name: path("s.t"),
        if_exists: true,
        change: Change::Rename(path("u")),
    };
    assert_eq!(parse("ALTER TABLE IF EXISTS s.t RENAME TO u"), rename);
}

#[test]
fn schemas_come_and_go() {
    let schema = Ddl::CreateSchema {
        name: path("lake.s"),
        if_not_exists: true,
        properties: vec![("location".to_owned(), "s3://b/s".to_owned())],
    };
    assert_eq!(parse("CREATE SCHEMA IF NOT EXISTS lake.s LOCATION 's3://b/s'"), schema);
    assert_eq!(
        parse("create namespace if not exists lake.s with (location = 's3://b/s');"),
        schema
    );
    let drop = |if_exists, cascade| Ddl::DropSchema {
        name: path("s"),
        if_exists,
        cascade,
    };
    assert_eq!(parse("DROP SCHEMA IF EXISTS s RESTRICT"), drop(true, false));
    assert_eq!(parse("DROP SCHEMA s CASCADE"), drop(false, true));
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    let check = |sql: &str, expect: &str| {
        let error = try_parse(sql).unwrap_err().to_string();
        assert!(error.contains(expect), "{sql}: {error}");
    };
    check("CREATE TABLE t (a INT) STORED AS orc", "\"STORED\" stands there");
    check("DROP TABLE t u", "\"u\" stands there");
    check("ALTER TABLE t MAKE IT SO", "\"MAKE\" stands there");
    check("CREATE TABLE t (a INT DEFAULT now())", "DEFAULT takes a constant");
    check("CREATE TABLE t (a INT DEFAULT 'x')", "is no Int32");
    check("CREATE TABLE t (a INT PRIMARY KEY)", "\"PRIMARY\" stands there");
    check(
        "ALTER TABLE t ADD PARTITION FIELD nearly(a)",
        "no partition transform nearly",
    );
    for other in [
        "SELECT 1",
        "CREATE TEMPORARY VIEW v AS SELECT 1",
        "DROP VIEW v",
        "INSERT INTO t SELECT 1",
    ] {
        assert!(try_parse(other).unwrap().is_none(), "{other}");
    }
}

#[test]
fn views_keep_the_text_of_their_query() {
    type Columns<'a> = &'a [(&'a str, Option<&'a str>)];
    let check = |sql: &str, expect: (&str, bool, bool, Columns<'_>, Option<&str>, &str)| {
        let Ddl::CreateView(view) = parse(sql) else {
            panic!("{sql}")
        };
        let columns: Vec<_> = view
            .columns
            .iter()
            .map(|(name, comment)| (name.as_str(), comment.as_deref()))
            .collect();
        let name = view.name.join(".");
        let found = (
            name.as_str(),
            view.or_replace,
            view.if_not_exists,
            columns.as_slice(),
            view.comment.as_deref(),
            view.sql.as_str(),
        );
        assert_eq!(found, expect, "{sql}");
    };
    check("CREATE VIEW v AS SELECT 1;", ("v", false, false, &[], None, "SELECT 1"));
    check(
        "create or replace view Lake.s.\"V as\" (a COMMENT 'x', \"B\")\nCOMMENT 'as' AS\n WITH c AS (SELECT 1) SELECT * FROM c -- ü",
        (
            "lake.s.V as",
            true,
            false,
            &[("a", Some("x")), ("B", None)],
            Some("as"),
            "WITH c AS (SELECT 1) SELECT * FROM c -- ü",
        ),
    );
    check(
        "CREATE VIEW IF NOT EXISTS v TBLPROPERTIES ('k' = 'v') AS TABLE t",
        ("v", false, true, &[], None, "TABLE t"),
    );
    assert_eq!(
        parse("ALTER VIEW IF EXISTS a.v RENAME TO w"),
        Ddl::RenameView {
            name: path("a.v"),
            if_exists: true,
            to: path("w")
        }
    );
    for wrong in [
        "CREATE VIEW v SELECT 1",
        "CREATE VIEW v () AS SELECT 1",
        "CREATE OR REPLACE VIEW IF NOT EXISTS v AS SELECT 1",
    ] {
        assert!(try_parse(wrong).is_err(), "{wrong}");
    }
}
