"""What the driver's handle does before a server hears of it."""

import datetime
from decimal import Decimal

import agate
import pyarrow as pa
import pytest

from dbt.adapters.lakewing.column import LakewingColumn, sql_type
from dbt.adapters.lakewing.handle import split
from dbt.adapters.lakewing.seeds import arrow_table


@pytest.mark.parametrize(
    "sql, expect",
    [
        ("select 1", ["select 1"]),
        (" select 1 ; ; select 2;\n", ["select 1", "select 2"]),
        ("select ';', 'it''s;' ; select \";\"\"\"", ["select ';', 'it''s;'", 'select ";"""']),
        ("/* a; b */ select 1 -- c; d\n; -- only words;", ["/* a; b */ select 1 -- c; d"]),
        ("select 1 - 2 / 3 - -4; -- x", ["select 1 - 2 / 3 - -4"]),
        ("-- nothing", []),
        ("", []),
    ],
)
def test_statements_are_split_where_semicolons_end_them(sql, expect):
    assert split(sql) == expect


def test_a_long_statement_is_split_at_once():
    sql = "insert into t values " + ", ".join(f"({number}, 'a;b')" for number in range(100_000))
    assert split(sql + ";") == [sql]


@pytest.mark.parametrize(
    "arrow, expect",
    [
        (pa.null(), "VARCHAR"),
        (pa.string_view(), "VARCHAR"),
        (pa.int32(), "INTEGER"),
        (pa.uint32(), "BIGINT"),
        (pa.uint64(), "BIGINT"),
        (pa.decimal128(10, 2), "DECIMAL(10, 2)"),
        (pa.timestamp("ns"), "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), "TIMESTAMP WITH TIME ZONE"),
        (pa.binary_view(), "VARBINARY"),
        (pa.list_(pa.list_(pa.int64())), "ARRAY<ARRAY<BIGINT>>"),
        (pa.struct([("a", pa.float64()), ("b", pa.date32())]), "STRUCT<a DOUBLE, b DATE>"),
        (pa.dictionary(pa.int8(), pa.string()), "VARCHAR"),
    ],
)
def test_types_have_the_servers_names(arrow, expect):
    assert sql_type(arrow) == expect
    assert LakewingColumn.from_arrow(pa.field("x", arrow)).data_type == expect


def test_seeds_keep_every_digit():
    number, text = agate.Number(), agate.Text()
    rows = [(Decimal("1"), Decimal("0.1"), Decimal(2**63), "a", True, datetime.date(2020, 1, 2)), (None,) * 6]
    names = ["whole", "part", "big", "text", "flag", "day"]
    table = arrow_table(agate.Table(rows, names, [number, number, number, text, agate.Boolean(), agate.Date()]))
    assert [str(kind) for kind in table.schema.types] == ["int64", "string", "string", "string", "bool", "date32[day]"]
    assert [column.to_pylist()[0] for column in table.columns] == [1, "0.1", str(2**63), "a", True, rows[0][5]]
    assert all(column.to_pylist()[1] is None for column in table.columns)
