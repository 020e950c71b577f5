"""TPC-DS as DuckDB's generator makes it: tables as Parquet files, and the 99 queries. Argument and answer are JSON objects.

{"folder": where TABLE.parquet goes, "scale": scale factor}
"""

import glob
import importlib
import json
import pathlib
import sys

import duckdb

from sample import end

request = json.loads(sys.argv[1])
folder = pathlib.Path(request["folder"])
(package,) = importlib.import_module("duckdb_extension_tpcds").__path__
(extension,) = glob.glob(f"{package}/extensions/*/tpcds.duckdb_extension")
database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
database.execute(f"LOAD '{extension}'")
database.execute(f"CALL dsdgen(sf = {request['scale']})")
tables = [name for (name,) in database.execute("SHOW TABLES").fetchall()]
for name in tables:
    database.execute(f"COPY {name} TO '{folder / name}.parquet' (FORMAT parquet)")
queries = [sql.rstrip().rstrip(";") for (sql,) in database.execute("SELECT query FROM tpcds_queries()").fetchall()]
end({"tables": tables, "queries": queries})
