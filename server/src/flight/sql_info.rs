//! What this server can do, code by code, as Flight SQL asks it. Data only; it must tell the truth, since drivers and
//! tools choose their statements by it.
//!
//! Where the protocol's text says int32 ordinal, the JDBC and ODBC drivers read otherwise, and the values are as they read
//! them: the cases of names, the order of nulls and the default isolation as int64, and outer joins as a bit mask.

use std::collections::BTreeMap;

use arrow::compute::can_cast_types;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use arrow_flight::sql::metadata::SqlInfoDataBuilder;
use arrow_flight::sql::{
    SqlInfo, SqlNullOrdering, SqlOuterJoinsSupportLevel, SqlSupportedCaseSensitivity, SqlSupportedGroupBy,
    SqlSupportedResultSetConcurrency, SqlSupportedResultSetType, SqlSupportedSubqueries, SqlSupportedTransaction,
    SqlSupportedUnions, SqlSupportsConvert, SqlTransactionIsolationLevel, SupportedSqlGrammar,
};
use datafusion::execution::SessionStateDefaults;

/// Words that need quotes to be a name and are not reserved by SQL:2003.
const KEYWORDS: &[&str] = &[
    "EXPLAIN", "ILIKE", "LIMIT", "OFFSET", "PIVOT", "QUALIFY", "RLIKE", "SEMI", "ANTI", "UNPIVOT",
];

/// The oldest version of plans that tests read.
const SUBSTRAIT_VERSION_MIN: &str = "0.50.0";

/// Bit 0 of the ANSI92 levels: entry.
const ANSI92_ENTRY: i32 = 1;

/// Every code.
pub(super) fn sql_info() -> SqlInfoDataBuilder {
    let mut info = SqlInfoDataBuilder::new();
    server(&mut info);
    names(&mut info);
    functions(&mut info);
    grammar(&mut info);
    limits(&mut info);
    changes(&mut info);
    results(&mut info);
    info
}

fn server(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::FlightSqlServerName, "Lakewing");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, true);
    info.append(SqlInfo::FlightSqlServerSubstraitMinVersion, SUBSTRAIT_VERSION_MIN);
    info.append(
        SqlInfo::FlightSqlServerSubstraitMaxVersion,
        substrait_version().as_str(),
    );
    info.append(
        SqlInfo::FlightSqlServerTransaction,
        SqlSupportedTransaction::None as i32,
    );
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    // Prepared statements work until they are closed.
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0_i32);
    info.append(SqlInfo::FlightSqlServerTransactionTimeout, 0_i32);
}

/// The newest version of Substrait plans that the library knows.
fn substrait_version() -> String {
    use datafusion_substrait::substrait::version;
    format!(
        "{}.{}.{}",
        version::SUBSTRAIT_MAJOR_VERSION,
        version::SUBSTRAIT_MINOR_VERSION,
        version::SUBSTRAIT_PATCH_VERSION
    )
}

fn names(info: &mut SqlInfoDataBuilder) {
    info.append(
        SqlInfo::SqlIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i64,
    );
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    // Quoted names are case-sensitive, for which there is no value.
    info.append(
        SqlInfo::SqlQuotedIdentifierCase,
        SqlSupportedCaseSensitivity::SqlCaseSensitivityUnknown as i64,
    );
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlSearchStringEscape, "\\");
    info.append(SqlInfo::SqlExtraNameCharacters, "");
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlProcedureTerm, "procedure");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    info.append(SqlInfo::SqlSchemasSupportedActions, 0_i32);
    info.append(SqlInfo::SqlCatalogsSupportedActions, 0_i32);
}

/// The functions are those the engine has, so the lists cannot fall behind.
fn functions(info: &mut SqlInfoDataBuilder) {
    let all = SessionStateDefaults::default_scalar_functions();
    let of_section = |section: &str| -> Vec<String> {
        let found = all.iter().filter(|function| {
            function
                .documentation()
                .is_some_and(|documentation| documentation.doc_section.label == section)
        });
        let mut names: Vec<_> = found.map(|function| function.name().to_uppercase()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    info.append(SqlInfo::SqlKeywords, KEYWORDS);
    info.append(SqlInfo::SqlNumericFunctions, of_section("Math Functions"));
    info.append(SqlInfo::SqlStringFunctions, of_section("String Functions"));
    info.append(SqlInfo::SqlSystemFunctions, of_section("Other Functions"));
    info.append(SqlInfo::SqlDatetimeFunctions, of_section("Time and Date Functions"));
}

fn grammar(info: &mut SqlInfoDataBuilder) {
    use SqlSupportedSubqueries as Subqueries;
    info.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i64);
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSupportsConvert, conversions());
    info.append(SqlInfo::SqlSupportsTableCorrelationNames, true);
    info.append(SqlInfo::SqlSupportsDifferentTableCorrelationNames, false);
    info.append(SqlInfo::SqlSupportsExpressionsInOrderBy, true);
    info.append(SqlInfo::SqlSupportsOrderByUnrelated, true);
    info.append(
        SqlInfo::SqlSupportedGroupBy,
        bits(&[
            SqlSupportedGroupBy::SqlGroupByUnrelated as i32,
            SqlSupportedGroupBy::SqlGroupByBeyondSelect as i32,
        ]),
    );
    info.append(SqlInfo::SqlSupportsLikeEscapeClause, true);
    info.append(SqlInfo::SqlSupportsNonNullableColumns, true);
    info.append(
        SqlInfo::SqlSupportedGrammar,
        bits(&[
            SupportedSqlGrammar::SqlMinimumGrammar as i32,
            SupportedSqlGrammar::SqlCoreGrammar as i32,
        ]),
    );
    info.append(SqlInfo::SqlAnsi92SupportedLevel, ANSI92_ENTRY);
    info.append(SqlInfo::SqlSupportsIntegrityEnhancementFacility, false);
    info.append(
        SqlInfo::SqlOuterJoinsSupportLevel,
        bits(&[
            SqlOuterJoinsSupportLevel::SqlLimitedOuterJoins as i32,
            SqlOuterJoinsSupportLevel::SqlFullOuterJoins as i32,
        ]),
    );
    info.append(SqlInfo::SqlStoredProceduresSupported, false);
    info.append(
        SqlInfo::SqlSupportedSubqueries,
        bits(&[
            Subqueries::SqlSubqueriesInComparisons as i32,
            Subqueries::SqlSubqueriesInExists as i32,
            Subqueries::SqlSubqueriesInIns as i32,
        ]),
    );
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    info.append(
        SqlInfo::SqlSupportedUnions,
        bits(&[
            SqlSupportedUnions::SqlUnion as i32,
            SqlSupportedUnions::SqlUnionAll as i32,
        ]),
    );
    info.append(SqlInfo::SqlNamedParametersSupported, false);
    info.append(SqlInfo::SqlStoredFunctionsUsingCallSyntaxSupported, false);
}

/// Zero stands for no limit, or none that is known.
fn limits(info: &mut SqlInfoDataBuilder) {
    for unlimited in [
        SqlInfo::SqlMaxBinaryLiteralLength,
        SqlInfo::SqlMaxCharLiteralLength,
        SqlInfo::SqlMaxColumnNameLength,
        SqlInfo::SqlMaxColumnsInGroupBy,
        SqlInfo::SqlMaxColumnsInIndex,
        SqlInfo::SqlMaxColumnsInOrderBy,
        SqlInfo::SqlMaxColumnsInSelect,
        SqlInfo::SqlMaxColumnsInTable,
        SqlInfo::SqlMaxConnections,
        SqlInfo::SqlMaxCursorNameLength,
        SqlInfo::SqlMaxIndexLength,
        SqlInfo::SqlDbSchemaNameLength,
        SqlInfo::SqlMaxProcedureNameLength,
        SqlInfo::SqlMaxCatalogNameLength,
        SqlInfo::SqlMaxRowSize,
        SqlInfo::SqlMaxStatementLength,
        SqlInfo::SqlMaxStatements,
        SqlInfo::SqlMaxTableNameLength,
        SqlInfo::SqlMaxTablesInSelect,
        SqlInfo::SqlMaxUsernameLength,
    ] {
        info.append(unlimited, 0_i64);
    }
    info.append(SqlInfo::SqlMaxRowSizeIncludesBlobs, false);
}

/// Nothing can be changed, and every statement stands alone.
fn changes(info: &mut SqlInfoDataBuilder) {
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlSupportedPositionedCommands, 0_i32);
    info.append(SqlInfo::SqlSelectForUpdateSupported, false);
    info.append(
        SqlInfo::SqlDefaultTransactionIsolation,
        SqlTransactionIsolationLevel::SqlTransactionNone as i64,
    );
    info.append(SqlInfo::SqlTransactionsSupported, false);
    info.append(
        SqlInfo::SqlSupportedTransactionsIsolationLevels,
        bits(&[SqlTransactionIsolationLevel::SqlTransactionNone as i32]),
    );
    info.append(SqlInfo::SqlDataDefinitionCausesTransactionCommit, false);
    info.append(SqlInfo::SqlDataDefinitionsInTransactionsIgnored, false);
    info.append(SqlInfo::SqlBatchUpdatesSupported, false);
    info.append(SqlInfo::SqlSavepointsSupported, false);
    info.append(SqlInfo::SqlLocatorsUpdateCopy, false);
}

/// Results are read once, forwards.
fn results(info: &mut SqlInfoDataBuilder) {
    let read_only = bits(&[SqlSupportedResultSetConcurrency::SqlResultSetConcurrencyReadOnly as i32]);
    info.append(
        SqlInfo::SqlSupportedResultSetTypes,
        bits(&[SqlSupportedResultSetType::SqlResultSetTypeForwardOnly as i32]),
    );
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetUnspecified, 0_i32);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetForwardOnly, read_only);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollSensitive, 0_i32);
    info.append(SqlInfo::SqlSupportedConcurrenciesForResultSetScrollInsensitive, 0_i32);
}

/// From each type to those it can be cast to, as the engine casts.
fn conversions() -> BTreeMap<i32, Vec<i32>> {
    use SqlSupportsConvert as C;
    let decimal = DataType::Decimal128(38, 10);
    let types = [
        (C::SqlConvertBigint, DataType::Int64),
        (C::SqlConvertBinary, DataType::Binary),
        (C::SqlConvertBit, DataType::Boolean),
        (C::SqlConvertChar, DataType::Utf8),
        (C::SqlConvertDate, DataType::Date32),
        (C::SqlConvertDecimal, decimal.clone()),
        (C::SqlConvertFloat, DataType::Float64),
        (C::SqlConvertInteger, DataType::Int32),
        (C::SqlConvertIntervalDayTime, DataType::Interval(IntervalUnit::DayTime)),
        (
            C::SqlConvertIntervalYearMonth,
            DataType::Interval(IntervalUnit::YearMonth),
        ),
        (C::SqlConvertLongvarbinary, DataType::LargeBinary),
        (C::SqlConvertLongvarchar, DataType::LargeUtf8),
        (C::SqlConvertNumeric, decimal),
        (C::SqlConvertReal, DataType::Float32),
        (C::SqlConvertSmallint, DataType::Int16),
        (C::SqlConvertTime, DataType::Time64(TimeUnit::Nanosecond)),
        (C::SqlConvertTimestamp, DataType::Timestamp(TimeUnit::Nanosecond, None)),
        (C::SqlConvertTinyint, DataType::Int8),
        (C::SqlConvertVarbinary, DataType::Binary),
        (C::SqlConvertVarchar, DataType::Utf8),
    ];
    let targets = |from: &DataType| {
        types
            .iter()
            .filter(|(_, to)| can_cast_types(from, to))
            .map(|(code, _)| *code as i32)
            .collect()
    };
    types.iter().map(|(code, from)| (*code as i32, targets(from))).collect()
}

/// The bit mask that Flight SQL builds from the numbers of an enumeration.
fn bits(numbers: &[i32]) -> i32 {
    numbers.iter().fold(0, |mask, number| mask | 1 << number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use arrow::array::{AsArray, UnionArray};
    use arrow::datatypes::{Int32Type, Int64Type, UInt32Type};

    use super::*;

    #[test]
    fn every_code_is_answered() {
        let rows = sql_info().build().unwrap().record_batch([]).unwrap();
        let codes: Vec<_> = rows.column(0).as_primitive::<UInt32Type>().values().to_vec();
        let expect: Vec<u32> = (0..=11).chain(100..=101).chain(500..=576).collect();
        assert_eq!(codes, expect);
    }

    #[test]
    fn one_code_is_one_row() {
        let rows = sql_info().build().unwrap().record_batch([8]).unwrap();
        assert_eq!(rows.num_rows(), 1);
        let values = rows.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        assert_eq!(values.type_id(0), 3, "an int32");
        assert_eq!(values.value(0).as_primitive::<Int32Type>().value(0), 0);
    }

    #[test]
    fn ordinals_are_wide_enough_for_drivers() {
        let rows = sql_info()
            .build()
            .unwrap()
            .record_batch([503, 505, 507, 528, 562])
            .unwrap();
        let values = rows.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        let types: Vec<_> = (0..rows.num_rows()).map(|row| values.type_id(row)).collect();
        assert_eq!(types, [2, 2, 2, 3, 2]);
        assert_eq!(values.value(0).as_primitive::<Int64Type>().value(0), 3, "lower case");
        assert_eq!(
            values.value(3).as_primitive::<Int32Type>().value(0),
            0b110,
            "limited and full"
        );
    }

    #[test]
    fn functions_are_listed() {
        let rows = sql_info().build().unwrap().record_batch([509, 510, 512]).unwrap();
        let values = rows.column(1).as_any().downcast_ref::<UnionArray>().unwrap();
        for (row, expect) in [(0, "ABS"), (1, "LOWER"), (2, "DATE_TRUNC")] {
            let list = values.value(row);
            let names = list.as_list::<i32>().value(0);
            assert!(
                names.as_string::<i32>().iter().any(|name| name == Some(expect)),
                "{expect}: {names:?}"
            );
        }
    }
}
