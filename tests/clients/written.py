"""Rows of tables as independent readers see them, each value as text, sorted. Argument and answer are JSON objects.

{"data": folder of an embedded lake, "table": "namespace.name", "columns": [names], "readers": [names]}, or for Delta
tables wherever they are {"folders": {name: URL}, "columns": [names]}.
"""

import glob
import importlib
import json
import sys

import duckdb
from deltalake import DeltaTable
from pyiceberg.catalog import load_catalog

from sample import end


def texts(table, columns):
    rows = [[("NULL" if row[name] is None else str(row[name])) for name in columns] for row in table.to_pylist()]
    return sorted(rows)


def duckdb_delta(uri):
    connection = duckdb.connect()
    (folder,) = importlib.import_module("duckdb_extension_delta").__path__
    (extension,) = glob.glob(f"{folder}/extensions/*/delta.duckdb_extension")
    connection.sql(f"LOAD '{extension}'")
    return connection.sql(f"SELECT * FROM delta_scan('{uri}')").to_arrow_table()


request = json.loads(sys.argv[1])
if folders := request.get("folders"):
    end({name: texts(DeltaTable(uri).to_pyarrow_table(), request["columns"]) for name, uri in folders.items()})
data, table, columns = request["data"], request["table"], request["columns"]
catalog = load_catalog("lake", type="sql", uri=f"sqlite:///{data}/catalog.db", warehouse=f"file://{data}/lake")
folder = f"{data}/delta/{table.replace('.', '/')}"
answer = {}
for reader in request["readers"]:
    if reader == "pyiceberg":
        rows = catalog.load_table(table).scan().to_arrow()
    elif reader == "deltalake":
        rows = DeltaTable(folder).to_pyarrow_table()
    else:
        rows = duckdb_delta(folder)
    answer[reader] = texts(rows, columns)
end(answer)
