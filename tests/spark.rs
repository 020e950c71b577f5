//! Tables that Apache Spark writes during the test: Lakewing reads every row, filters every column and goes back to every
//! version, and gets what Spark itself reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use harness::{Cell, Client, Lake, LakeBuilder, rows, same_rows, spark};
use serde_json::{Value, json};

/// Tables that are refused by name, and what the refusal speaks of.
const REFUSED: [(&str, &str); 2] = [
    ("v3_variant", "variant"),
    // Data files are Parquet.
    ("avro_files", "avro"),
];
/// What is written and read in every run, within a minute or two: each way to delete, to evolve and to travel.
const CHOICE: [&str; 28] = [
    "branches_and_tags",
    "codecs",
    "deletion_vectors",
    "delta_constrained",
    "delta_emptied",
    "delta_few_statistics",
    "delta_local_times",
    "delta_mapped_later",
    "delta_partition_values",
    "delta_row_tracking",
    "delta_row_tracking_mapped",
    "equality_deletes",
    "equality_deletes_and_vectors",
    "equality_deletes_everywhere",
    "equality_deletes_in_partitions",
    "equality_deletes_with_nulls",
    "every_type",
    "file_layouts",
    "migrated_files",
    "partition_evolution",
    "position_deletes_by_file",
    "row_lineage",
    "row_lineage_later",
    "schema_evolution",
    "upgraded",
    "uuid_and_fixed",
    "v3_defaults",
    "v3_variant",
];
/// Differences that are told of one table.
const TOLD: usize = 3;

/// A statement on a table of Spark, with the rows that it must give.
struct Question {
    sql: String,
    columns: Vec<String>,
    expected: Vec<Vec<Cell>>,
    ordered: bool,
}

/// A table of Spark and all that is asked of it.
struct Asked {
    table: String,
    questions: Vec<Question>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_of_tables() -> Result<()> {
    tables_that_spark_writes_now(&CHOICE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table() -> Result<()> {
    tables_that_spark_writes_now(&[]).await
}

/// Spark reads the tables that Lakewing wrote, maintained ones too, and goes on writing; Lakewing reads that.
#[tokio::test(flavor = "multi_thread")]
async fn what_lakewing_wrote() -> Result<()> {
    let (data, scratch) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let lake = Lake::embedded().data(data.path()).start().await?;
    let mut client = lake.client().await?;
    let mut tables = serde_json::Map::new();
    let kinds = [
        ("v2", "lake", "TBLPROPERTIES ('write.delete.mode' = 'merge-on-read')"),
        ("v3", "lake", "TBLPROPERTIES ('format-version' = '3')"),
        ("plain", "delta", ""),
        (
            "vectors",
            "delta",
            "TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')",
        ),
        ("tracked", "delta", "TBLPROPERTIES ('delta.enableRowTracking' = 'true')"),
    ];
    for (name, catalog, rest) in kinds {
        let location = written_by_lakewing(&mut client, data.path(), (name, catalog, rest)).await?;
        let format = if catalog == "lake" { "iceberg" } else { "delta" };
        tables.insert(name.to_owned(), json!([format, location]));
    }
    let request = json!({
        "folder": scratch.path(), "tables": tables, "columns": ["id", "text", "day"],
        "append": "11L, 'spark', DATE'2026-01-03'", "lineage": {
            "v3": ["_row_id", "_last_updated_sequence_number"],
            "tracked": ["_metadata.row_id", "_metadata.row_commit_version"],
        },
    });
    let read = spark("spark_reads.py", request).await?;
    for (name, catalog, _) in kinds {
        let own = sorted(
            &mut client,
            &format!("SELECT id, text, day FROM {catalog}.spark.{name}"),
        )
        .await?;
        let count = 7 + usize::from(catalog == "delta");
        ensure!(own.len() == count, "{name}: {own:?}");
        ensure!(
            read[name] == json!(own),
            "{name}: Spark reads {}, Lakewing {own:?}",
            read[name]
        );
    }
    // Whoever changed them, rows are the same rows.
    for (name, catalog) in [("v3", "lake"), ("tracked", "delta")] {
        let rows = format!("SELECT id, _row_id, _last_updated_sequence_number FROM {catalog}.spark.{name}$rows");
        let own = sorted(&mut client, &rows).await?;
        let spark = &read["lineage"][name];
        ensure!(*spark == json!(own), "{name}: Spark reads {spark}, Lakewing {own:?}");
    }
    // Both hash values alike, so that what they keep of the same rows is the same to the last bit.
    for name in ["v2", "v3"] {
        let sketches = &read["sketches"][name];
        let columns = sketches[0].as_object().map_or(0, serde_json::Map::len);
        ensure!(columns == 3 && sketches[0] == sketches[1], "{name}: {sketches}");
    }
    Ok(())
}

/// The rows of a query as texts, sorted.
async fn sorted(client: &mut Client, sql: &str) -> Result<Vec<Vec<String>>> {
    let text = |cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Float(number) => number.to_string(),
        Cell::Text(text) => text,
    };
    let own = rows(&client.query(sql).await?)?.into_iter();
    let mut own: Vec<Vec<String>> = own.map(|row| row.into_iter().map(text).collect()).collect();
    own.sort();
    Ok(own)
}

/// Makes a table of that name in a catalog, with these properties: where it lies, for Spark.
async fn written_by_lakewing(
    client: &mut Client,
    data: &Path,
    (name, catalog, rest): (&str, &str, &str),
) -> Result<PathBuf> {
    let table = format!("{catalog}.spark.{name}");
    let mut statements = vec![
        format!("CREATE SCHEMA IF NOT EXISTS {catalog}.spark"),
        format!("CREATE TABLE {table} (id BIGINT, text STRING, day DATE) PARTITIONED BY (day) {rest}"),
    ];
    for id in 0..6 {
        statements.push(format!(
            "INSERT INTO {table} VALUES ({id}, 'r{id}', DATE '2026-01-0{}')",
            id % 2 + 1
        ));
    }
    statements.push(format!("OPTIMIZE {table}"));
    statements.push(format!("DELETE FROM {table} WHERE id = 3"));
    statements.push(format!("UPDATE {table} SET text = 'u' || text WHERE id = 4"));
    statements.push(format!(
        "MERGE INTO {table} USING (SELECT 5 AS i UNION ALL SELECT 6) AS s ON id = i WHEN MATCHED THEN UPDATE SET text = 'm' \
         WHEN NOT MATCHED THEN INSERT VALUES (i, 'new', DATE '2026-01-02')"
    ));
    statements.push(format!("INSERT INTO {table} VALUES (10, NULL, NULL)"));
    if catalog == "lake" {
        statements.push(format!("ANALYZE TABLE {table} COMPUTE STATISTICS"));
    }
    for sql in statements {
        client.query(&sql).await.with_context(|| sql.clone())?;
    }
    Ok(match catalog {
        "lake" => {
            let folder = data.join("lake/spark").join(name).join("metadata");
            let files = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
            let files = files.collect::<Result<Vec<_>>>()?;
            let metadata = files
                .into_iter()
                .filter(|file| file.to_string_lossy().ends_with(".metadata.json"));
            metadata.max().context("no metadata file")?
        }
        _ => data.join("delta/spark").join(name),
    })
}

/// `names` may be empty, for all tables.
async fn tables_that_spark_writes_now(names: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let written = spark("spark_tables.py", json!({"folder": folder.path(), "tables": names})).await?;
    let mut tables = Vec::new();
    for table in written.as_array().context("no list of tables")? {
        tables.push(asked(table).await?);
    }
    let embedded = check("embedded", Lake::embedded(), folder.path(), &tables).await?;
    let lake = Lake::processes(3).split_files();
    let split = check("three executor processes", lake, folder.path(), &tables).await?;
    let wrong = [embedded, split].concat();
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong with each table.
async fn check(what: &str, lake: LakeBuilder, folder: &Path, tables: &[Asked]) -> Result<Vec<String>> {
    let storage = format!(
        "[[storage]]\nprefix = \"file://{}\"\n[[storage]]\nprefix = \"file:///tmp/spark_out\"\n",
        folder.display()
    );
    let lake = lake.section(&storage).start().await?;
    let mut client = lake.client().await?;
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for table in tables {
        let refused = REFUSED.iter().find(|(name, _)| *name == table.table);
        let differences = match refused {
            Some((_, feature)) => refusal(&mut client, table, feature).await.err().into_iter().collect(),
            None => differences(&mut client, table).await,
        };
        asked += table.questions.len();
        let shown = differences.iter().take(TOLD);
        wrong.extend(shown.map(|error| format!("{what}, {}: {error:#}", table.table)));
        if differences.len() > TOLD {
            wrong.push(format!(
                "{what}, {}: {} of {} answers are wrong",
                table.table,
                differences.len(),
                table.questions.len()
            ));
        }
    }
    eprintln!("{what}: {} tables, {asked} questions", tables.len());
    Ok(wrong)
}

async fn differences(client: &mut Client, table: &Asked) -> Vec<anyhow::Error> {
    let mut differences = Vec::new();
    for question in &table.questions {
        let answered = answer(client, question).await;
        differences.extend(answered.err().map(|error| error.context(question.sql.clone())));
    }
    differences
}

async fn answer(client: &mut Client, question: &Question) -> Result<()> {
    let batches = client.query(&question.sql).await?;
    let schema = batches.first().context("no schema")?.schema();
    let columns = schema.fields().iter().map(|field| field.name()).collect::<Vec<_>>();
    ensure!(
        columns.iter().eq(&question.columns.iter().collect::<Vec<_>>()),
        "columns {columns:?}, expected {:?}",
        question.columns
    );
    same_rows("rows", &question.expected, &rows(&batches)?, question.ordered)
}

/// The table is refused as unsupported, and the message names table and feature.
async fn refusal(client: &mut Client, table: &Asked, feature: &str) -> Result<()> {
    let sql = &table.questions.first().context("no question")?.sql;
    let status = client.failure(sql).await?;
    let message = status.message().to_lowercase();
    ensure!(
        status.code() == tonic::Code::Unimplemented && message.contains(feature) && message.contains(&table.table),
        "not refused for {feature}: {status:?}"
    );
    Ok(())
}

/// All questions on one table, answered by DataFusion from the rows that Spark read, which lie in memory: no file is
/// pruned and no statistics are used.
async fn asked(table: &Value) -> Result<Asked> {
    let text = |name: &str| table[name].as_str().context("no text");
    let (name, format, location) = (text("table")?, text("format")?, text("location")?);
    let (selected, suffix) = (text("selected")?, text("suffix")?);
    let own = table["queries"].as_array().context("no queries")?;
    let mut questions = Vec::new();
    for read in table["reads"].as_array().context("no reads")? {
        let clause = read["clause"].as_str().context("no clause")?;
        let context = SessionContext::new();
        let place = read["rows"].as_str().context("no place")?;
        let files = context.read_parquet(place, ParquetReadOptions::default()).await?;
        let schema = Arc::new(files.schema().as_arrow().clone());
        let batches = files.collect().await?;
        let rows = arrow::compute::concat_batches(&schema, &batches)?;
        context.register_table("t", Arc::new(MemTable::try_new(schema, vec![vec![rows.clone()]])?))?;

        let mut statements = general(&rows, selected == "*");
        if clause.is_empty() {
            statements.extend(filters(&rows)?);
            statements.extend(own.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        let reference = format!("{format}.\"{location}{suffix}\" {clause}");
        for statement in statements {
            questions.push(question(&context, &statement, &reference).await?);
        }
    }
    Ok(Asked {
        table: name.to_owned(),
        questions,
    })
}

async fn question(context: &SessionContext, statement: &str, reference: &str) -> Result<Question> {
    let frame = context.sql(statement).await.with_context(|| statement.to_owned())?;
    let columns = frame
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let answer = frame.collect().await.with_context(|| statement.to_owned())?;
    Ok(Question {
        sql: statement.replace("FROM t", &format!("FROM {reference} AS t")),
        columns,
        expected: rows(&answer)?,
        ordered: statement.contains("ORDER BY"),
    })
}

fn quoted(field: &FieldRef) -> String {
    format!("\"{}\"", field.name().replace('"', "\"\""))
}

/// What is asked of every version: all rows, their number, the smallest and largest value of each column, a LIMIT.
/// The columns of `rows` are the table's where they are `whole`.
fn general(rows: &RecordBatch, whole: bool) -> Vec<String> {
    let schema = rows.schema();
    let columns = match whole {
        true => "*".to_owned(),
        false => schema.fields().iter().map(quoted).collect::<Vec<_>>().join(", "),
    };
    let mut counted = vec!["count(*)".to_owned()];
    for field in schema.fields() {
        let name = quoted(field);
        counted.push(format!("count({name})"));
        if !field.data_type().is_nested() && *field.data_type() != DataType::Boolean {
            counted.push(format!("min({name}), max({name})"));
        }
        if field.data_type().is_integer() || matches!(field.data_type(), DataType::Decimal128(..)) {
            counted.push(format!("sum({name})"));
        }
    }
    let first = schema.fields().first().map(quoted).unwrap_or_default();
    vec![
        format!("SELECT {columns} FROM t"),
        "SELECT count(*) FROM t".to_owned(),
        format!("SELECT {} FROM t", counted.join(", ")),
        "SELECT count(*) FROM (SELECT * FROM t LIMIT 13) AS few".to_owned(),
        format!("SELECT {first} FROM t ORDER BY {first} DESC NULLS LAST LIMIT 9"),
    ]
}

/// Rows around a value in the middle of each column, which many files, row groups and pages cannot hold.
fn filters(rows: &RecordBatch) -> Result<Vec<String>> {
    let schema = rows.schema();
    let first = schema.fields().first().map(quoted).unwrap_or_default();
    let mut filters = Vec::new();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let name = quoted(field);
        let mut conditions = vec![format!("{name} IS NULL"), format!("{name} IS NOT NULL")];
        if let Some(value) = middle(column)? {
            conditions.extend(["=", "<", ">="].map(|operator| format!("{name} {operator} {value}")));
        }
        let columns = if name == first {
            first.clone()
        } else {
            format!("{first}, {name}")
        };
        let filtered = conditions
            .into_iter()
            .map(|condition| format!("SELECT {columns} FROM t WHERE {condition}"));
        filters.extend(filtered);
    }
    Ok(filters)
}

/// A value of the column as a literal, where the type has one.
fn middle(column: &Arc<dyn Array>) -> Result<Option<String>> {
    let sorted = match column.data_type() {
        kind if kind.is_nested() => return Ok(None),
        _ => arrow::compute::sort(column, None)?,
    };
    let values = sorted.slice(sorted.null_count(), sorted.len() - sorted.null_count());
    if values.is_empty() {
        return Ok(None);
    }
    let options = FormatOptions::default();
    let text = ArrayFormatter::try_new(&values, &options)?
        .value(values.len() / 2)
        .to_string();
    let cast = |kind: &str| Some(format!("arrow_cast('{text}', '{kind}')"));
    Ok(match column.data_type() {
        kind if kind.is_integer() => Some(text),
        DataType::Utf8 | DataType::Utf8View => Some(format!("'{}'", text.replace('\'', "''"))),
        DataType::Date32 => cast("Date32"),
        DataType::Float32 => cast("Float32"),
        DataType::Float64 => cast("Float64"),
        DataType::Boolean => Some(text),
        DataType::Decimal128(precision, scale) => cast(&format!("Decimal128({precision}, {scale})")),
        DataType::Timestamp(TimeUnit::Microsecond, None) => cast("Timestamp(Microsecond, None)"),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => cast("Timestamp(Microsecond, Some(\"UTC\"))"),
        DataType::Binary | DataType::BinaryView => Some(format!("X'{text}'")),
        _ => None,
    })
}
