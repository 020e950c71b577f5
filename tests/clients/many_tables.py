"""Adds tables to an Iceberg SQL catalog, each with a metadata file of its own.

{"file": SQLite file, "template": metadata file, "folder": folder for their metadata, "tables": count}.
"""

import json
import pathlib
import sqlite3
import sys
import uuid

request = json.loads(sys.argv[1])
metadata = pathlib.Path(request["template"]).read_bytes()
folder = pathlib.Path(request["folder"])
folder.mkdir(parents=True)
with sqlite3.connect(request["file"]) as connection:
    (catalog,) = connection.execute("SELECT DISTINCT catalog_name FROM iceberg_tables").fetchone()
    rows = []
    for number in range(request["tables"]):
        file = folder / f"00000-{uuid.uuid4()}.metadata.json"
        file.write_bytes(metadata)
        rows.append((catalog, "many", f"t{number:05}", f"file://{file}"))
    connection.executemany(
        "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location) VALUES (?, ?, ?, ?)",
        rows,
    )
print(json.dumps(len(rows)))
