"""Apache Spark on tables that Lakewing wrote: {"folder": for scratch, "tables": {name: ["iceberg", metadata file] or
["delta", folder]}, "columns": [names], "append": a row, "lineage": {name: [columns that tell of rows]}} to {name: rows as texts, sorted,
"lineage": {name: ids and these columns, sorted}, "sketches": {name: by column, what Lakewing and what Spark itself
kept of the distinct values of an Iceberg table, as hexadecimal digits}}. A Delta table also gets the row."""

import json
import sys

from spark_plain import session

request = json.loads(sys.argv[1])
spark = session(request["folder"])
jvm = spark._jvm
iceberg = jvm.org.apache.iceberg


def sketches(table):
    """The blobs of the table's statistics, by column."""
    kept = {}
    for file in table.statisticsFiles():
        reader = iceberg.puffin.Puffin.read(table.io().newInputFile(file.path())).build()
        blobs = reader.readAll(reader.fileMetadata().blobs()).iterator()
        while blobs.hasNext():
            blob = blobs.next()
            buffer = blob.second().duplicate()
            content = bytes(buffer.get() & 0xFF for _ in range(buffer.remaining()))
            column = table.schema().findColumnName(blob.first().inputFields()[0])
            # Bytes 12 to 15 mean nothing in a compact sketch; Java leaves there what the sketch was made with.
            content = content[:12] + content[16:]
            kept[column] = [blob.first().type(), blob.first().properties()["ndv"], content.hex()]
    return kept


def sketched(name, location):
    """What Lakewing kept of a table, and what Spark keeps of a table with the same rows."""
    io = iceberg.hadoop.HadoopFileIO(spark._jsc.hadoopConfiguration())
    own = iceberg.BaseTable(iceberg.StaticTableOperations(location, io), name)
    spark.sql(f"CREATE TABLE ice.s.{name} AS SELECT * FROM rows_of_{name}")
    spark.sql(f"CALL ice.system.compute_table_stats(table => 's.{name}')").collect()
    other = iceberg.spark.Spark3Util.loadIcebergTable(spark._jsparkSession, f"ice.s.{name}")
    return [sketches(own), sketches(other)]


answer = {"lineage": {}, "sketches": {}}
for name, (format, location) in request["tables"].items():
    if format == "delta" and request.get("append"):
        spark.sql(f"INSERT INTO delta.`{location}` VALUES ({request['append']})")
    read = spark.read.format(format).load(location).select(*request["columns"])
    if format == "iceberg":
        read.createOrReplaceTempView(f"rows_of_{name}")
        answer["sketches"][name] = sketched(name, location)
    if columns := request["lineage"].get(name):
        found = spark.read.format(format).load(location).select("id", *columns).collect()
        answer["lineage"][name] = sorted([str(value) for value in row] for row in found)
    rows = read.collect()
    answer[name] = sorted([("NULL" if value is None else str(value)) for value in row] for row in rows)
spark.stop()
print(json.dumps(answer))
