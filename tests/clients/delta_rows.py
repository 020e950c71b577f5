"""deltalake and DuckDB as independent readers and writers of one Delta table, value by value. Argument and answer
are JSON objects.

{"uri": folder, "do": "deltalake" | "duckdb", "sql": a query of the table t}
{"uri": folder, "do": "append", "from": first id, "to": id behind the last, "times": commits}
"""

import importlib
import json
import sys

from delta_rows_writer import rows
from sample import end

request = json.loads(sys.argv[1])
uri, do = request["uri"], request["do"]
if do == "append":
    from deltalake import write_deltalake

    step = (request["to"] - request["from"]) // request["times"]
    for first in range(request["from"], request["to"], step):
        write_deltalake(uri, rows(first, first + step), mode="append")
    end({})
if do == "deltalake":
    import pyarrow as pa
    from deltalake import DeltaTable, QueryBuilder

    found = QueryBuilder().register("t", DeltaTable(uri)).execute(request["sql"])
    answer = [list(row.values()) for batch in found for row in pa.record_batch(batch).to_pylist()]
elif do == "duckdb":
    import glob

    import duckdb

    connection = duckdb.connect()
    (folder,) = importlib.import_module("duckdb_extension_delta").__path__
    (extension,) = glob.glob(f"{folder}/extensions/*/delta.duckdb_extension")
    connection.sql(f"LOAD '{extension}'")
    connection.sql("SET TimeZone = 'UTC'")
    connection.sql(f"CREATE VIEW t AS SELECT * FROM delta_scan('{uri}')")
    answer = connection.sql(request["sql"]).fetchall()
end([[None if value is None else str(value) for value in row] for row in answer])
