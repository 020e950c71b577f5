//! The SQL types that columns can have, as ODBC and JDBC number them. Data only.

use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

/// Every type by name.
pub(super) fn xdbc_types() -> XdbcTypeInfoDataBuilder {
    use XdbcDataType as T;
    let mut types = XdbcTypeInfoDataBuilder::new();
    for info in [
        plain("BOOLEAN", T::XdbcBit, 1),
        integer("TINYINT", T::XdbcTinyint, 3),
        integer("SMALLINT", T::XdbcSmallint, 5),
        integer("INTEGER", T::XdbcInteger, 10),
        integer("BIGINT", T::XdbcBigint, 19),
        number("REAL", T::XdbcReal, 7),
        number("DOUBLE", T::XdbcDouble, 15),
        decimal(),
        quoted("VARCHAR", T::XdbcVarchar, i32::MAX, "'"),
        quoted("VARBINARY", T::XdbcVarbinary, i32::MAX, "X'"),
        moment("DATE", T::XdbcDate, XdbcDatetimeSubcode::XdbcSubcodeYear, 10),
        moment("TIME", T::XdbcTime, XdbcDatetimeSubcode::XdbcSubcodeTime, 18),
        moment(
            "TIMESTAMP",
            T::XdbcTimestamp,
            XdbcDatetimeSubcode::XdbcSubcodeTimestamp,
            29,
        ),
        moment(
            "TIMESTAMP WITH TIME ZONE",
            T::XdbcTimestamp,
            XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone,
            35,
        ),
        quoted("INTERVAL", T::XdbcInterval, 64, "INTERVAL '"),
    ] {
        types.append(info);
    }
    types
}

fn plain(name: &str, data_type: XdbcDataType, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        local_type_name: Some(name.to_owned()),
        data_type,
        sql_data_type: data_type,
        column_size: Some(size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Full,
        auto_increment: Some(false),
        ..XdbcTypeInfo::default()
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        ..plain(name, data_type, digits)
    }
}

fn integer(name: &str, data_type: XdbcDataType, digits: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        minimum_scale: Some(0),
        maximum_scale: Some(0),
        ..number(name, data_type, digits)
    }
}

fn decimal() -> XdbcTypeInfo {
    XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        minimum_scale: Some(0),
        maximum_scale: Some(38),
        ..number("DECIMAL", XdbcDataType::XdbcDecimal, 38)
    }
}

fn quoted(name: &str, data_type: XdbcDataType, size: i32, prefix: &str) -> XdbcTypeInfo {
    XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        case_sensitive: matches!(data_type, XdbcDataType::XdbcVarchar),
        ..plain(name, data_type, size)
    }
}

fn moment(name: &str, data_type: XdbcDataType, subcode: XdbcDatetimeSubcode, size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        sql_data_type: XdbcDataType::XdbcDatetime,
        datetime_subcode: Some(subcode),
        ..quoted(name, data_type, size, &format!("{name} '"))
    }
}
