"""Apache Spark on tables that Lakewing wrote: {"folder": for scratch, "tables": {name: ["iceberg", metadata file] or
["delta", folder]}, "columns": [names], "append": a row} to {name: rows as texts, sorted}. A Delta table also gets the row."""

import json
import sys

from spark_plain import session

request = json.loads(sys.argv[1])
spark = session(request["folder"])
answer = {}
for name, (format, location) in request["tables"].items():
    if format == "delta" and request.get("append"):
        spark.sql(f"INSERT INTO delta.`{location}` VALUES ({request['append']})")
    rows = spark.read.format(format).load(location).select(*request["columns"]).collect()
    answer[name] = sorted([("NULL" if value is None else str(value)) for value in row] for row in rows)
spark.stop()
print(json.dumps(answer))
