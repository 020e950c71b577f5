"""PyIceberg and DuckDB on one table that Lakewing shares. Argument and answer are JSON.

{"catalog": {properties with "name"}, "table": "namespace.name", "do": [step, ...]}; the answer has one item per step:
["append", [row, ...]], ["rows"], ["duckdb"], ["columns"], ["spec"], ["order"], ["properties"], ["exists"],
["snapshots"], ["namespace"], ["tables"].
"""

import glob
import importlib
import json
import sys

import pyarrow as pa
from pyiceberg.catalog import load_catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow

from sample import end

request = json.loads(sys.argv[1])
catalog = load_catalog(**request["catalog"])
name = request["table"]


def plain(rows):
    rows = [{key: value if value is None else json.loads(json.dumps(value, default=str)) for key, value in row.items()}
            for row in rows]
    return sorted(rows, key=lambda row: str(row["id"]))


def duckdb_rows(table):
    import duckdb

    connection = duckdb.connect()
    for extension in ("avro", "iceberg"):
        (folder,) = importlib.import_module(f"duckdb_extension_{extension}").__path__
        (path,) = glob.glob(f"{folder}/extensions/*/{extension}.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    location = table.metadata_location.removeprefix("file://")
    return plain(connection.execute(f"SELECT * FROM iceberg_scan('{location}')").to_arrow_table().to_pylist())


answers = []
for step, *arguments in request["do"]:
    if step == "exists":
        answers.append(catalog.table_exists(name))
        continue
    if step == "namespace":
        answers.append(catalog.load_namespace_properties(name.split(".")[0]))
        continue
    if step == "tables":
        answers.append(sorted(table for *_, table in catalog.list_tables(name.split(".")[0])))
        continue
    table = catalog.load_table(name)
    if step == "append":
        table.append(pa.Table.from_pylist(arguments[0], schema=schema_to_pyarrow(table.schema())))
        answers.append(None)
    elif step == "rows":
        answers.append(plain(table.scan().to_arrow().to_pylist()))
    elif step == "duckdb":
        answers.append(duckdb_rows(table))
    elif step == "columns":
        answers.append([[field.name, str(field.field_type), field.required, field.doc] for field in table.schema().fields])
    elif step == "spec":
        answers.append([[field.name, str(field.transform)] for field in table.spec().fields])
    elif step == "order":
        answers.append([[str(field.transform), field.direction.value, field.null_order.value]
                        for field in table.sort_order().fields])
    elif step == "properties":
        answers.append(dict(table.properties))
    elif step == "snapshots":
        answers.append(len(table.snapshots()))
end(answers)
