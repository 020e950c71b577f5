"""How long Spark takes to make lineitem a table: {"folder" with lineitem.parquet, "runs"} to the least seconds by format."""

import json
import sys
import time

from spark_plain import session

request = json.loads(sys.argv[1])
folder = request["folder"]
spark = session(f"{folder}/spark")
rows = f"SELECT * FROM parquet.`{folder}/lineitem.parquet`"
least = {}
for run in range(request["runs"]):
    for format, table, using in [
        ("iceberg", f"ice.b.t{run}", "iceberg"),
        ("delta", f"delta.`{folder}/spark/delta{run}`", "delta"),
    ]:
        start = time.monotonic()
        spark.sql(f"CREATE TABLE {table} USING {using} AS {rows}")
        least[format] = min(least.get(format, float("inf")), time.monotonic() - start)
spark.stop()
print(json.dumps(least))
