"""What ADBC loads in bulk, in every mode, and how it fails. Argument and answer are JSON objects.

{"uri": server, "catalog": where the tables go}
"""

import datetime
import decimal
import json
import subprocess
import sys
import time
import zoneinfo

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa

from sample import end

ROWS = 50_000
UTC = zoneinfo.ZoneInfo("UTC")


def every_type(rows):
    """Rows of the types that pandas, polars and DuckDB hand over, a seventh of the values NULL."""

    def column(kind, value):
        return pa.array([None if i % 7 == 6 else value(i) for i in range(rows)], kind)

    day, moment = datetime.date(2024, 2, 28), datetime.datetime(2024, 2, 28, 23, 59, 58, 123_000)
    return pa.table(
        {
            "id": pa.array(range(rows), pa.int64()),
            "tiny": column(pa.int8(), lambda i: i % 256 - 128),
            "small": column(pa.uint16(), lambda i: i % 65_536),
            "wide": column(pa.uint32(), lambda i: 4_294_967_295 - i),
            "large": column(pa.uint64(), lambda i: 18_446_744_073_709_551_615 - i),
            "half": column(pa.float32(), lambda i: i / 8),
            "double": column(pa.float64(), lambda i: i / 3),
            "money": column(pa.decimal128(12, 2), lambda i: decimal.Decimal(i).scaleb(-2)),
            "flag": column(pa.bool_(), lambda i: i % 2 == 0),
            "day": column(pa.date32(), lambda i: day + datetime.timedelta(days=i % 1000)),
            "seconds": column(pa.timestamp("s"), lambda i: moment.replace(microsecond=0)),
            "millis": column(pa.timestamp("ms", "UTC"), lambda i: moment.replace(tzinfo=UTC)),
            "micros": column(pa.timestamp("us"), lambda i: moment + datetime.timedelta(microseconds=i)),
            "text": column(pa.large_string(), lambda i: f"ä{i % 100}"),
            "viewed": column(pa.string_view(), lambda i: f"a longer text, number {i}"),
            "colour": column(pa.dictionary(pa.int32(), pa.string()), lambda i: ["red", "green"][i % 2]),
            "bytes": column(pa.binary(), lambda i: i.to_bytes(4, "big")),
            "items": column(pa.list_(pa.int32()), lambda i: [i, None, i + 1]),
            "point": column(pa.struct([("x", pa.float64()), ("y", pa.string())]), lambda i: {"x": i / 2, "y": None}),
        }
    )


def failure(work):
    try:
        work()
    except Exception as error:
        return str(error)
    return "no failure"


def reader(schema, batches):
    return pa.RecordBatchReader.from_batches(schema, batches)


def breaks_off(table):
    batches = table.to_batches(1000)
    yield from batches[:10]
    raise ValueError("the source is gone")


def endless(schema):
    while True:
        yield pa.RecordBatch.from_pydict({"id": list(range(1000))}, schema)
        time.sleep(0.01)


request = json.loads(sys.argv[1])
catalog, answer = request["catalog"], {}
where = {"catalog_name": catalog, "db_schema_name": "loads"}
with flight_sql.connect(request["uri"], autocommit=True) as connection, connection.cursor() as cursor:

    def ingest(name, data, mode):
        return cursor.adbc_ingest(name, data, mode, **where)

    def count(name):
        cursor.execute(f'SELECT count(*), sum(id) FROM {catalog}.loads."{name}"')
        return list(cursor.fetchone())

    if request.get("endless"):
        schema = pa.schema([("id", pa.int64())])
        ingest("killed", reader(schema, endless(schema)), "create")
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {catalog}.loads")
    table = every_type(ROWS)
    answer["create"] = [ingest("Everything", reader(table.schema, table.to_batches(7000)), "create")]
    cursor.execute(f'SELECT * FROM {catalog}.loads."Everything" ORDER BY id')
    back = cursor.fetch_arrow_table()
    answer["different"] = [name for name in table.column_names if back[name].to_pylist() != table[name].to_pylist()]
    answer["create"] += [failure(lambda: ingest("Everything", table, "create")), count("Everything")]

    few = pa.table({"money": [decimal.Decimal("0.50")] * 3, "id": pa.array([-1, -2, -3], pa.int32())})
    answer["append"] = [ingest("Everything", few, "append"), count("Everything")]
    cursor.execute(f'SELECT id, money, text FROM {catalog}.loads."Everything" WHERE id < 0 ORDER BY id')
    answer["append"].append([[str(value) for value in row] for row in cursor.fetchall()])
    strange = pa.table({"id": [1], "colur": ["red"]})
    answer["refused"] = [
        failure(lambda: ingest("Everything", strange, "append")),
        failure(lambda: ingest("Everything", pa.table({"id": ["no number"]}), "append")),
        failure(lambda: ingest("missing", few, "append")),
        failure(lambda: ingest("Everything", reader(table.schema, breaks_off(table)), "append")),
        failure(lambda: ingest("broken", reader(table.schema, breaks_off(table)), "create")),
        failure(lambda: cursor.execute(f"SELECT 1 FROM {catalog}.loads.broken")),
        count("Everything"),
    ]

    answer["replace"] = [ingest("Everything", few, "replace"), count("Everything"), ingest("fresh", few, "replace")]
    answer["create_append"] = [ingest("both", few, "create_append"), ingest("both", few, "create_append"), count("both")]
    schema = pa.schema([("id", pa.int64())])
    nothing = [pa.RecordBatch.from_pylist([], schema)]
    answer["empty"] = [ingest("nothing", reader(schema, nothing), mode) for mode in ("create", "append")] + [count("nothing")]
    cursor.execute(f"CREATE TABLE {catalog}.loads.parts (id bigint, colour varchar) PARTITIONED BY (colour)")
    answer["parts"] = [ingest("parts", table.select(["id", "colour"]), "append"), count("parts")]

    # A client that dies in the middle leaves no table, and no query.
    other = subprocess.Popen([sys.executable, __file__, json.dumps({**request, "endless": True})])
    running = []
    for _ in range(200):
        cursor.execute("SHOW QUERIES")
        running = [row[7] for row in cursor.fetchall() if "killed" in row[7]]
        if running:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    other.kill()
    other.wait()
    answer["killed"] = [len(running)]
    for _ in range(200):
        cursor.execute("SHOW QUERIES")
        if not any("killed" in row[7] for row in cursor.fetchall()):
            break
        time.sleep(0.1)
    else:
        answer["killed"].append("still runs")
    answer["killed"].append(failure(lambda: cursor.execute(f"SELECT 1 FROM {catalog}.loads.killed")))
end(answer)
