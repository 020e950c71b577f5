//! A new Delta table with its rows: the first commit of its log, made by the kernel.
//!
//! The commit is one object that must not exist yet; the store decides who created the table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::Utc;
use datafusion::common::runtime::SpawnedTask;
use delta_kernel::KernelError;
use delta_kernel::committer::FileSystemCommitter;
use delta_kernel::engine::arrow_conversion::TryIntoKernel;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::schema::StructType;
use delta_kernel::transaction::CommitResult;
use delta_kernel::transaction::create_table::{CreateTableTransaction, create_table};

use super::log::{Engine, Log};
use super::metrics;
use crate::client::StagedTable;
use crate::error::{Error, Result};
use crate::name::TableName;
use crate::stores::Stores;
use crate::write::WrittenFile;

const ENGINE_INFO: &str = concat!("Lakewing/", env!("CARGO_PKG_VERSION"));

/// A first commit with a few files is small; this bounds what is read of another writer's.
const COMMIT_BYTES_MAX: u64 = 1 << 30;

/// What became of a commit.
enum Outcome {
    Committed,
    /// There is a table already.
    Exists,
    /// The kernel gave up before or after the commit.
    Failed(KernelError),
}

/// The columns of the table's data files: the table's own, in types that Delta has, without metadata of another
/// format.
pub(crate) fn file_schema(name: &TableName, schema: &Schema) -> Result<SchemaRef> {
    let field = |field: &Arc<Field>| match file_type(field.data_type()) {
        Some(file_type) => Ok(Field::new(field.name(), file_type, field.is_nullable())),
        None => {
            let feature = format!("the type {} (column {})", field.data_type(), field.name());
            Err(Error::Unsupported {
                table: name.to_string(),
                feature,
            })
        }
    };
    Ok(Arc::new(Schema::new(
        schema.fields().iter().map(field).collect::<Result<Vec<_>>>()?,
    )))
}

/// The Delta type that holds every value of an Arrow type. Delta counts microseconds.
fn file_type(arrow: &DataType) -> Option<DataType> {
    Some(match arrow {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, 0..)
        | DataType::Date32 => arrow.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => return None,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::BinaryView,
        _ => return None,
    })
}

/// Creates the table in its folder, with all of `files`.
pub(crate) async fn create(
    stores: &Stores,
    name: &TableName,
    staged: &StagedTable,
    properties: Vec<(String, String)>,
    files: &[WrittenFile],
) -> Result<()> {
    let log = Log::new(stores, &name.to_string(), &staged.target.data_folder)?;
    if let Ok(folder) = log.root_url.to_file_path() {
        // The kernel wants a local folder to be there; without rows no file has made it.
        let made = tokio::fs::create_dir_all(&folder).await;
        made.map_err(|error| failed(name, format!("the folder {} cannot be made: {error}", folder.display())))?;
    }
    let (url, engine) = (log.root_url.to_string(), log.engine());
    let (schema, added) = (Arc::clone(&staged.target.file_schema), files.to_vec());
    let commit = move || {
        let transaction = match begin(&url, &schema, properties, &engine) {
            Err(KernelError::TableAlreadyExistsAtPath(_)) => return Ok(Outcome::Exists),
            begun => begun?,
        };
        commit(transaction, &schema, &added, &engine)
    };
    match SpawnedTask::spawn_blocking(commit).await {
        Ok(Ok(Outcome::Committed)) => Ok(()),
        Ok(Ok(Outcome::Exists)) => Err(Error::AlreadyExists {
            what: "table",
            name: name.to_string(),
        }),
        Ok(Ok(Outcome::Failed(error))) => settle(stores, name, staged, files, error).await,
        Ok(Err(error)) => Err(refused(name, staged, error)),
        Err(panic) => Err(Error::CommitUnknown {
            table: name.to_string(),
            detail: panic.to_string(),
        }),
    }
}

fn begin(
    url: &str,
    schema: &Schema,
    properties: Vec<(String, String)>,
    engine: &Engine,
) -> Result<CreateTableTransaction, KernelError> {
    let columns: StructType = schema.try_into_kernel()?;
    let builder = create_table(url, Arc::new(columns), ENGINE_INFO, true).with_table_properties(properties);
    builder.build(engine, Box::new(FileSystemCommitter::new()))
}

fn commit(
    mut transaction: CreateTableTransaction,
    schema: &Schema,
    files: &[WrittenFile],
    engine: &Engine,
) -> Result<Outcome, KernelError> {
    if !files.is_empty() {
        let wanted = transaction.stats_columns();
        let wanted = wanted
            .iter()
            .filter_map(|column| schema.index_of(column.first()?).ok())
            .collect::<Vec<_>>();
        let added = metrics::add_files(files, schema, &wanted, Utc::now().timestamp_millis())?;
        transaction.add_files(Box::new(ArrowEngineData::new(added)));
    }
    Ok(match transaction.commit(engine) {
        Ok(CommitResult::Committed(_)) => Outcome::Committed,
        Ok(CommitResult::Conflicted(_)) => Outcome::Exists,
        Ok(CommitResult::Retryable(retryable)) => Outcome::Failed(retryable.error),
        Err(error) => Outcome::Failed(error),
    })
}

/// Finds out whether a commit that failed took place: the kernel may fail after the store has taken it, and a store may
/// lose its answer.
async fn settle(
    stores: &Stores,
    name: &TableName,
    staged: &StagedTable,
    files: &[WrittenFile],
    error: KernelError,
) -> Result<()> {
    let location = format!("{}/_delta_log/{:020}.json", staged.target.data_folder, 0);
    let lost = matches!(
        error.without_backtrace(),
        KernelError::ObjectStore(_) | KernelError::IOError(_)
    );
    match (stores.read(&location, COMMIT_BYTES_MAX).await, files.first()) {
        (Ok(found), Some(file)) if names(&found, file) => Ok(()),
        (Ok(_), Some(_)) => Err(Error::AlreadyExists {
            what: "table",
            name: name.to_string(),
        }),
        (
            Err(Error::Storage {
                source: object_store::Error::NotFound { .. },
                ..
            }),
            _,
        ) if !lost => Err(refused(name, staged, error)),
        _ => Err(Error::CommitUnknown {
            table: name.to_string(),
            detail: error.to_string(),
        }),
    }
}

/// True where a commit adds `file`, whose name nobody else uses.
fn names(commit: &[u8], file: &WrittenFile) -> bool {
    let name = file.location.rsplit('/').next().unwrap_or_default().as_bytes();
    commit.windows(name.len()).any(|window| window == name)
}

fn refused(name: &TableName, staged: &StagedTable, error: KernelError) -> Error {
    match error {
        KernelError::Backtraced { source, .. } => refused(name, staged, *source),
        KernelError::ObjectStore(source) => Error::storage(&staged.target.data_folder, source),
        other => failed(name, other),
    }
}

fn failed(name: &TableName, error: impl std::fmt::Display) -> Error {
    Error::Write {
        table: name.to_string(),
        detail: error.to_string(),
        source: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_get_types_that_delta_has() {
        let utc = || Some("UTC".into());
        let check = |arrow: DataType, expect: Option<DataType>| assert_eq!(file_type(&arrow), expect, "{arrow}");
        check(DataType::UInt32, Some(DataType::Int64));
        check(DataType::LargeUtf8, Some(DataType::Utf8View));
        check(DataType::Decimal128(15, 2), Some(DataType::Decimal128(15, 2)));
        check(DataType::Decimal128(15, -2), None);
        check(
            DataType::Timestamp(TimeUnit::Millisecond, Some("+01:00".into())),
            Some(DataType::Timestamp(TimeUnit::Microsecond, utc())),
        );
        check(DataType::Timestamp(TimeUnit::Nanosecond, None), None);
        check(DataType::UInt64, None);
        check(DataType::Time64(TimeUnit::Microsecond), None);
    }
}
