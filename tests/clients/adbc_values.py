"""Values both ways through the ADBC driver, and what its cursor can do beyond them; answers what is wrong, by name.

The argument is a JSON object with the server's uri, which has the table delta.typed.every.
"""

import datetime
import decimal
import json
import sys
import threading
import time

import adbc_driver_flightsql.dbapi as flight_sql
import pandas
import polars
import pyarrow
from adbc_driver_manager import Error

uri = json.loads(sys.argv[1])["uri"]
wrong = {}


def check(name, found, expect):
    if found != expect or type(found) is not type(expect):
        wrong[name] = f"{found!r} instead of {expect!r}"


def failure(action):
    try:
        action()
    except Error as error:
        return error.status_code.name
    return "no error"


EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
VALUES = {
    "a_boolean": True,
    "a_tinyint": -5,
    "a_smallint": -300,
    "an_integer": -70000,
    "a_bigint": 9007199254740993,
    "a_real": 1.5,
    "a_double": 0.1,
    "a_decimal": decimal.Decimal("12345678901234567890.12"),
    "a_text": "h\u00e9llo \"\u6f22\" '",
    "a_binary": b"\x00\xff\x10",
    "a_date": datetime.date(1969, 7, 20),
    "a_timestamp": datetime.datetime(2024, 7, 1, 2, 30, 0, 789000),
    "a_moment": datetime.datetime(2024, 3, 1, 5, 4, 56, 789000, EAST),
}
OTHERS = [
    datetime.time(12, 34, 56, 789),
    datetime.timedelta(days=1, seconds=3),
    [1, None, 3],
    {"a": 1, "b": [{"c": "x"}]},
    None,
]


def values(cursor):
    cursor.execute("SELECT * FROM delta.typed.every ORDER BY id")
    full, empty = cursor.fetch_arrow_table().to_pylist()
    for name, value in VALUES.items():
        check(f"read {name}", full[name], value)
        check(f"read null {name}", empty[name], None)
        cursor.execute(f"SELECT id, ? AS back FROM delta.typed.every WHERE {name} = ?", (value, value))
        check(f"bind {name}", cursor.fetchall(), [(1, value)])
        cursor.execute(f"SELECT id FROM delta.typed.every WHERE {name} = ?", (None,))
        check(f"bind null {name}", cursor.fetchall(), [])
    for value in OTHERS:
        cursor.execute("SELECT ?", (value,))
        check(f"bind {value!r}", cursor.fetchone(), (value,))
    # A text in the place of a number is read as one.
    cursor.execute("SELECT id FROM delta.typed.every WHERE a_bigint = ?", ("+9007199254740993",))
    check("text for a number", cursor.fetchall(), [(1,)])
    check("no number", failure(lambda: cursor.execute("SELECT 1 FROM delta.typed.every WHERE id = ?", ("x",))), "INVALID_ARGUMENT")
    check("too few", failure(lambda: cursor.execute("SELECT ?, ?", (1,))), "INVALID_ARGUMENT")


def statements(connection, cursor):
    prepared = cursor.adbc_prepare("SELECT CAST(? AS SMALLINT) AS a, n_name FROM lake.tpch.nation WHERE n_nationkey = ? LIMIT ?")
    check("parameters", [str(field.type) for field in prepared], ["int16", "int64", "int64"])
    for key in (3, 4, 3):
        cursor.execute("SELECT n_nationkey FROM lake.tpch.nation WHERE n_nationkey = ?", (key,))
        check(f"prepared {key}", cursor.fetchall(), [(key,)])
    schema = cursor.adbc_execute_schema("SELECT 1 AS one, 'x' AS two")
    check("schema", [(field.name, str(field.type)) for field in schema], [("one", "int64"), ("two", "string")])
    cursor.execute("SELECT n_name FROM lake.tpch.nation ORDER BY 1")
    check("rows by and by", [len(cursor.fetchmany(10)) for _ in range(4)], [10, 10, 5, 0])
    check("description", [column[0] for column in cursor.description], ["n_name"])
    # Rows that are changed many times wait for statements that change rows.
    check("many", failure(lambda: cursor.executemany("SELECT ?", [(1,), (2,)])), "INVALID_ARGUMENT")
    check("ingest", failure(lambda: cursor.adbc_ingest("t", pyarrow.table({"a": [1]}))), "NOT_FOUND")
    check("no such table", failure(lambda: cursor.execute("SELECT * FROM lake.tpch.nobody")), "NOT_FOUND")
    check("syntax", failure(lambda: cursor.execute("SELEC 1")), "INVALID_ARGUMENT")


def partitions(connection, cursor):
    tickets, schema = cursor.adbc_execute_partitions("SELECT * FROM delta.tpch.lineitem")
    rows = 0
    with flight_sql.connect(uri, autocommit=True) as other, other.cursor() as reader:
        for ticket in tickets:
            reader.adbc_read_partition(ticket)
            rows += reader.fetch_arrow_table().num_rows
    check("rows of partitions", rows, 60175)
    check("columns of partitions", len(schema), 16)


def cancelling(connection):
    with connection.cursor() as cursor:
        began = time.monotonic()
        threading.Timer(0.3, cursor.adbc_cancel).start()
        cancelled = failure(lambda: (cursor.execute("SELECT count(*) FROM range(1, 1000000000000)"), cursor.fetchall()))
        check("cancel", cancelled, "CANCELLED")
        check("cancelled soon", time.monotonic() - began < 5, True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        check("after cancel", cursor.fetchall(), [(1,)])


def frames(connection):
    sql = "SELECT n_name, n_regionkey FROM lake.tpch.nation ORDER BY n_nationkey"
    frame = polars.read_database(sql, connection)
    check("polars", (frame.shape, frame["n_name"][0], str(frame.schema["n_regionkey"])), ((25, 2), "ALGERIA", "Int64"))
    frame = polars.read_database("SELECT n_name FROM lake.tpch.nation WHERE n_nationkey = ?", connection, execute_options={"parameters": (8,)})
    check("polars with parameters", frame["n_name"].to_list(), ["INDIA"])
    # Polars names the driver by the scheme of the address; the driver itself takes TLS where the address names no transport.
    address = uri.replace("grpc://", "flightsql://") + "?transport=tcp"
    for query, options in [
        (sql, None),
        ("SELECT n_name FROM lake.tpch.nation WHERE n_nationkey > ? ORDER BY 1", {"parameters": (20,)}),
        ("SELECT * FROM delta.typed.every ORDER BY id", None),
    ]:
        one = polars.read_database(query, connection, execute_options=options)
        two = polars.read_database_uri(query, address, engine="adbc", execute_options=options)
        check(f"polars by address {query}", (two.schema, two.equals(one), two.is_empty()), (one.schema, True, False))
    frame = pandas.read_sql(sql, connection)
    check("pandas", (frame.shape, frame["n_name"][24]), ((25, 2), "UNITED STATES"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM delta.typed.every")
        check("data frame", cursor.fetch_df().shape, (2, 14))
        cursor.execute("SELECT * FROM delta.typed.every")
        check("polars frame", cursor.fetch_polars().shape, (2, 14))


with flight_sql.connect(uri, autocommit=True) as connection:
    with connection.cursor() as cursor:
        values(cursor)
        statements(connection, cursor)
        partitions(connection, cursor)
    cancelling(connection)
    frames(connection)

print(json.dumps(wrong))
