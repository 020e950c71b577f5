"""deltalake and DuckDB as the other engines: writes or reads one Delta table. Argument and answer are JSON objects.

{"uri": folder, "storage": {options of deltalake}, "do": "write" | "read" | "duckdb"}
"""

import glob
import importlib
import json
import sys

import duckdb
from deltalake import DeltaTable, write_deltalake

from sample import end, sample, summary


def duckdb_rows(uri):
    connection = duckdb.connect()
    (folder,) = importlib.import_module("duckdb_extension_delta").__path__
    (extension,) = glob.glob(f"{folder}/extensions/*/delta.duckdb_extension")
    connection.sql(f"LOAD '{extension}'")
    return connection.sql(f"SELECT * FROM delta_scan('{uri}')").to_arrow_table()


request = json.loads(sys.argv[1])
uri, storage = request["uri"], request.get("storage")
if request["do"] == "write":
    rows = sample()
    for part in (rows.slice(0, 400), rows.slice(400)):
        write_deltalake(uri, part, mode="append", partition_by=["name"], storage_options=storage)
if request["do"] == "duckdb":
    rows = duckdb_rows(uri)
else:
    rows = DeltaTable(uri, storage_options=storage).to_pyarrow_table()
end(summary(rows))
