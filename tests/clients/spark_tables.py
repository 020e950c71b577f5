"""Apache Spark as the other engine: writes Iceberg and Delta tables, and what it reads from them itself.

{"folder": an empty folder, "tables": optional list of names} fills folder/iceberg, folder/delta and folder/answers. The
answer is a list with one object per table: "table", "format", "location", "suffix" (of the location, where the rows of a
metadata table are meant), "selected" (its columns), "queries" (over a table named t), and "reads": per clause of time travel ("" for none) the folder of Parquet files with what Spark selected.
"""

import concurrent.futures
import json
import pathlib
import subprocess
import sys
import threading
import time

import pyspark
from pyspark.sql import SparkSession

import spark_delta
import spark_iceberg
import spark_iceberg_deletes
from spark_case import CASES, Table

# Small data: compiling queries and optimising byte code would take longer than interpreting them.
SETTINGS = {
    "spark.driver.memory": "2g",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseParallelGC",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions,"
    "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.catalog.ice": "org.apache.iceberg.spark.SparkCatalog",
    "spark.sql.catalog.ice.type": "hadoop",
    # Another session has made the commit that this one shall read.
    "spark.sql.catalog.ice.cache-enabled": "false",
    "spark.databricks.delta.snapshotPartitions": "1",
    # VACUUM lists folders in 10,000 tasks otherwise.
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.databricks.delta.writeChecksumFile.enabled": "false",
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
    "spark.databricks.delta.properties.defaults.enableDeletionVectors": "false",
    "spark.hadoop.fs.file.impl": "LocalFiles",
    # char(5) as it is in the files.
    "spark.sql.readSideCharPadding": "false",
    # Plain Parquet files, those of Delta included, get several row groups and pages.
    "spark.hadoop.parquet.block.size": "8192",
    "spark.hadoop.parquet.block.size.row.check.min": "50",
    "spark.hadoop.parquet.block.size.row.check.max": "50",
    "spark.hadoop.parquet.page.row.count.limit": "40",
    "spark.hadoop.parquet.summary.metadata.level": "none",
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def session(folder, jars):
    """A session with the jars of Iceberg and Delta, and with LocalFiles.java, which is compiled here."""
    classes = folder / "classes"
    hadoop = f"{pathlib.Path(pyspark.__file__).parent}/jars/*"
    source = pathlib.Path(__file__).with_name("LocalFiles.java")
    subprocess.run(["javac", "-cp", hadoop, "-proc:none", "-d", classes, source], check=True)
    builder = SparkSession.builder.master("local[2]").appName("lakewing")
    own = {
        "spark.driver.extraClassPath": f"{classes}:{jars}/*",
        "spark.sql.catalog.ice.warehouse": (folder / "iceberg").as_uri(),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "scratch"),
    }
    for name, value in {**SETTINGS, **own}.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def write(spark, reader, folder, name, case):
    """Fills one table, and asks Spark for its rows in every version that the case keeps."""
    start = time.monotonic()
    table = Table(spark, folder, case.format, name)
    case.write(table)
    written = time.monotonic()
    reads = []
    for number, clause in enumerate(["", *table.clauses]):
        answer = folder / "answers" / f"{case.format}-{name}-{number}"
        reader.sql(table.text(f"SELECT {table.selected} FROM {{t}} {clause}")).coalesce(1).write.parquet(str(answer))
        reads.append({"clause": clause, "rows": str(answer)})
    took = f"{written - start:.1f} s, read in {time.monotonic() - written:.1f} s"
    print(f"{case.format} {name}: written in {took}", file=sys.stderr, flush=True)
    return {
        "table": name,
        "format": case.format,
        "location": table.folder.as_uri(),
        "selected": table.selected,
        "suffix": table.suffix,
        "queries": table.queries,
        "reads": reads,
    }


def main():
    request = json.loads(sys.argv[1])
    folder = pathlib.Path(request["folder"]).resolve()
    start = time.monotonic()
    spark = session(folder, pathlib.Path(sys.prefix).parent / "jars")
    print(f"Spark started in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    reader = spark.newSession()
    reader.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    wanted = request.get("tables") or CASES
    answers, failures = [], []
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        writing = {
            pool.submit(write, spark, reader, folder, name, case): name for name, case in CASES.items() if name in wanted
        }
        for future, name in writing.items():
            try:
                answers.append(future.result())
            except Exception as error:
                failures.append(f"{name}: {error}"[:3000])
                print(failures[-1], file=sys.stderr, flush=True)
    spark.stop()
    print(f"Spark ran for {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    if failures:
        sys.exit(f"{len(failures)} tables could not be written")
    print(json.dumps(answers))


main()
