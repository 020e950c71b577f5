"""PyIceberg and deltalake as writers of tables with a history of three versions. Argument and answer are JSON objects.

{"folder": folder of the Iceberg catalog, its warehouse and the Delta table}
->
{"iceberg" | "delta": [{"version": id, "rows": count, "sum": of id, "at": a time when it was the newest}]}

The oldest Iceberg version has the tag "first" and the branch "7", and the second version of each table deletes rows.
"""

import json
import sys
import time
from datetime import datetime, timezone

import pyarrow
from deltalake import DeltaTable, write_deltalake
from pyiceberg.catalog import load_catalog

from sample import end


def rows(first, last):
    return pyarrow.table({"id": pyarrow.array(range(first, last), pyarrow.int64())})


def now():
    """A time that lies between two commits, whose times have milliseconds."""
    time.sleep(0.02)
    at = datetime.now(timezone.utc).isoformat()
    time.sleep(0.02)
    return at


def version(number, table):
    ids = table["id"].to_pylist()
    return {"version": number, "rows": len(ids), "sum": sum(ids), "at": now()}


def iceberg(folder):
    catalog = load_catalog(
        "old", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/lake"
    )
    catalog.create_namespace("ns")
    table = catalog.create_table("ns.t", schema=rows(0, 0).schema)
    answers = []

    def committed():
        table.refresh()
        answers.append(version(table.current_snapshot().snapshot_id, table.scan().to_arrow()))

    table.append(rows(0, 100))
    committed()
    table.overwrite(rows(10, 30))
    committed()
    table.append(rows(1000, 1003))
    committed()
    first = answers[0]["version"]
    table.manage_snapshots().create_tag(first, "first").create_branch(first, "7").commit()
    return answers


def delta(folder):
    uri = f"{folder}/delta/ns/t"
    answers = []

    def committed():
        table = DeltaTable(uri)
        answers.append(version(table.version(), table.to_pyarrow_table()))

    write_deltalake(uri, rows(0, 100))
    committed()
    DeltaTable(uri).delete("id >= 40")
    committed()
    write_deltalake(uri, rows(1000, 1003), mode="append")
    committed()
    return answers


request = json.loads(sys.argv[1])
end({"iceberg": iceberg(request["folder"]), "delta": delta(request["folder"])})
