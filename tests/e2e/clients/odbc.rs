//! What the Arrow Flight SQL ODBC driver calls, at protocol level: the driver itself cannot be installed by a package's
//! name. It reads each SqlInfo code from one fixed child of the union, whatever is in it.

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch, UnionArray};
use arrow::datatypes::{DataType, Int32Type, Schema, UInt32Type};
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, CommandGetXdbcTypeInfo, SqlInfo as I, XdbcDataType};
use arrow_flight::{FlightInfo, IpcMessage};
use futures::TryStreamExt;
use harness::Client;

use super::demo_lake;

/// Codes by the child of the union that the driver reads: text, bool, int64, int32, list of texts, and map.
const CHILDREN: [(i8, &[I]); 6] = [(0, TEXTS), (1, BOOLS), (2, LONGS), (3, INTS), (4, LISTS), (5, MAPS)];
const TEXTS: &[I] = &[
    I::FlightSqlServerName,
    I::FlightSqlServerVersion,
    I::FlightSqlServerArrowVersion,
    I::SqlSearchStringEscape,
    I::SqlIdentifierQuoteChar,
    I::SqlExtraNameCharacters,
    I::SqlSchemaTerm,
    I::SqlProcedureTerm,
    I::SqlCatalogTerm,
];
const BOOLS: &[I] = &[
    I::FlightSqlServerReadOnly,
    I::SqlDdlSchema,
    I::SqlDdlTable,
    I::SqlAllTablesAreSelectable,
    I::SqlSupportsColumnAliasing,
    I::SqlNullPlusNullIsNull,
    I::SqlSupportsTableCorrelationNames,
    I::SqlSupportsDifferentTableCorrelationNames,
    I::SqlSupportsExpressionsInOrderBy,
    I::SqlSupportsOrderByUnrelated,
    I::SqlSupportsLikeEscapeClause,
    I::SqlSupportsNonNullableColumns,
    I::SqlSupportsIntegrityEnhancementFacility,
    I::SqlCatalogAtStart,
    I::SqlStoredProceduresSupported,
    I::SqlMaxRowSizeIncludesBlobs,
    I::SqlTransactionsSupported,
    I::SqlDataDefinitionCausesTransactionCommit,
    I::SqlDataDefinitionsInTransactionsIgnored,
    I::SqlBatchUpdatesSupported,
];
const LONGS: &[I] = &[
    I::SqlIdentifierCase,
    I::SqlQuotedIdentifierCase,
    I::SqlNullOrdering,
    I::SqlMaxBinaryLiteralLength,
    I::SqlMaxCharLiteralLength,
    I::SqlMaxColumnNameLength,
    I::SqlMaxColumnsInGroupBy,
    I::SqlMaxColumnsInIndex,
    I::SqlMaxColumnsInOrderBy,
    I::SqlMaxColumnsInSelect,
    I::SqlMaxColumnsInTable,
    I::SqlMaxConnections,
    I::SqlMaxCursorNameLength,
    I::SqlMaxIndexLength,
    I::SqlDbSchemaNameLength,
    I::SqlMaxProcedureNameLength,
    I::SqlMaxCatalogNameLength,
    I::SqlMaxRowSize,
    I::SqlMaxStatementLength,
    I::SqlMaxStatements,
    I::SqlMaxTableNameLength,
    I::SqlMaxTablesInSelect,
    I::SqlMaxUsernameLength,
    I::SqlDefaultTransactionIsolation,
];
const INTS: &[I] = &[
    I::SqlSupportedGroupBy,
    I::SqlSupportedGrammar,
    I::SqlAnsi92SupportedLevel,
    I::SqlOuterJoinsSupportLevel,
    I::SqlSchemasSupportedActions,
    I::SqlCatalogsSupportedActions,
    I::SqlSupportedPositionedCommands,
    I::SqlSupportedSubqueries,
    I::SqlSupportedUnions,
    I::SqlSupportedTransactionsIsolationLevels,
    I::SqlSupportedResultSetTypes,
];
const LISTS: &[I] = &[
    I::SqlKeywords,
    I::SqlNumericFunctions,
    I::SqlStringFunctions,
    I::SqlSystemFunctions,
    I::SqlDatetimeFunctions,
];
const MAPS: &[I] = &[I::SqlSupportsConvert];

#[tokio::test(flavor = "multi_thread")]
async fn info_is_read_from_the_expected_children() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let mut client = lake.client().await?;
    let info = client.raw().get_sql_info(vec![]).await?;
    let rows = fetch(&mut client, info).await?;
    let codes = rows.column(0).as_primitive::<UInt32Type>();
    let values = rows
        .column(1)
        .as_any()
        .downcast_ref::<UnionArray>()
        .context("no union")?;
    for (child, expected) in CHILDREN {
        for code in expected.iter().copied() {
            let row = codes.values().iter().position(|found| *found == code as u32);
            let row = row.with_context(|| format!("{} is missing", code.as_str_name()))?;
            assert_eq!(values.type_id(row), child, "{}", code.as_str_name());
        }
    }
    Ok(())
}

/// SQLTables, SQLColumns and SQLGetTypeInfo.
#[tokio::test(flavor = "multi_thread")]
async fn catalog_functions_answer() -> Result<()> {
    let (lake, _data) = demo_lake().await?;
    let mut client = lake.client().await?;
    let info = client.raw().get_catalogs().await?;
    assert_eq!(fetch(&mut client, info).await?.num_rows(), 2);
    let info = client.raw().get_db_schemas(CommandGetDbSchemas::default()).await?;
    assert_eq!(fetch(&mut client, info).await?.num_rows(), 3);
    let info = client.raw().get_table_types().await?;
    assert_eq!(fetch(&mut client, info).await?.num_rows(), 3);
    let named = CommandGetTables {
        catalog: Some("lake".to_owned()),
        db_schema_filter_pattern: Some("tp_h".to_owned()),
        table_name_filter_pattern: Some("n%".to_owned()),
        table_types: vec!["TABLE".to_owned(), "BASE TABLE".to_owned()],
        include_schema: true,
    };
    let info = client.raw().get_tables(named).await?;
    let tables = fetch(&mut client, info).await?;
    assert_eq!(tables.num_rows(), 1);
    let columns = Schema::try_from(IpcMessage(tables.column(4).as_binary::<i32>().value(0).to_vec().into()))?;
    assert_eq!(columns.fields().len(), 4);

    let all = CommandGetXdbcTypeInfo { data_type: None };
    let info = client.raw().get_xdbc_type_info(all).await?;
    let types = fetch(&mut client, info).await?;
    let numbers = types.column_by_name("data_type").context("no data_type")?;
    let numbers = numbers.as_primitive::<Int32Type>().values().to_vec();
    assert!(
        numbers.is_sorted(),
        "rows come in the order of their numbers: {numbers:?}"
    );
    for wanted in [
        XdbcDataType::XdbcBigint,
        XdbcDataType::XdbcVarchar,
        XdbcDataType::XdbcDecimal,
    ] {
        let one = CommandGetXdbcTypeInfo {
            data_type: Some(wanted as i32),
        };
        let info = client.raw().get_xdbc_type_info(one).await?;
        assert_eq!(
            fetch(&mut client, info).await?.num_rows(),
            1,
            "{}",
            wanted.as_str_name()
        );
    }
    Ok(())
}

/// SQLExecDirect, then SQLPrepare and SQLExecute twice.
#[tokio::test(flavor = "multi_thread")]
async fn statements_run_directly_and_prepared() -> Result<()> {
    const SQL: &str = "SELECT n_name, CAST(NULL AS VARBINARY) AS nothing FROM lake.tpch.nation WHERE n_regionkey = 3";
    let (lake, _data) = demo_lake().await?;
    let mut client = lake.client().await?;
    let info = client.raw().execute(SQL.to_owned(), None).await?;
    let told = info.clone().try_decode_schema()?;
    let direct = fetch(&mut client, info).await?;
    assert_eq!(direct.num_rows(), 5);
    assert_eq!(direct.schema().field(1).data_type(), &DataType::Binary);
    assert_eq!(direct.schema().fields(), told.fields());

    let mut prepared = client.raw().prepare(SQL.to_owned(), None).await?;
    assert_eq!(prepared.dataset_schema()?.fields(), told.fields());
    for _ in 0..2 {
        let info = prepared.execute().await?;
        assert_eq!(fetch(&mut client, info).await?, direct);
    }
    Ok(prepared.close().await?)
}

/// All rows of all endpoints as one batch.
async fn fetch(client: &mut Client, info: FlightInfo) -> Result<RecordBatch> {
    let schema = info.clone().try_decode_schema()?;
    let mut batches = Vec::new();
    for ticket in info.endpoint.into_iter().filter_map(|endpoint| endpoint.ticket) {
        batches.extend(client.raw().do_get(ticket).await?.try_collect::<Vec<_>>().await?);
    }
    Ok(arrow::compute::concat_batches(&schema.into(), &batches)?)
}
