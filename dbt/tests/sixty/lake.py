"""Where the project is built: on a server, in a file of DuckDB, in a folder of Spark; all over the same rows."""

import os
import sys
from pathlib import Path

from sixty import project
from sixty.build import rows


def lakewing(folder, port, schema, table_format):
    """The project for a server; its catalog `lake` has the tables in the schema `tpch`."""
    settings = {"host": "127.0.0.1", "port": int(port), "catalog": "lake", "schema": schema, "table_format": table_format}
    project.write(folder, "lakewing", settings)
    return Path(folder)


def read_lakewing(connection, schema):
    def read(name):
        with connection.cursor() as cursor:
            cursor.execute(f"select * from lake.{schema}.{name}")
            return rows([column[0] for column in cursor.description], cursor.fetchall())

    return read


def duckdb(folder, connection):
    """The project for DuckDB, in a file with the tables of the server behind `connection`."""
    import duckdb as engine

    project.write(folder, "duckdb", {"path": "sixty.duckdb", "schema": "main"})
    with engine.connect(str(Path(folder) / "sixty.duckdb")) as file, connection.cursor() as cursor:
        file.execute("create schema tpch")
        for table in project.STAGED:
            cursor.execute(f"select * from lake.tpch.{table}")
            copied = cursor.fetch_arrow_table()  # noqa: F841: DuckDB finds it by its name
            file.execute(f"create table tpch.{table} as select * from copied")
    return Path(folder)


def read_duckdb(folder):
    import duckdb as engine

    def read(name):
        with engine.connect(str(folder / "sixty.duckdb"), read_only=True) as file:
            found = file.execute(f"select * from main.{name}")
            return rows([column[0] for column in found.description], found.fetchall())

    return read


def spark(folder, connection):
    """The project for Spark in the process of dbt, with the tables as Parquet files; and the environment to run it in."""
    import pyarrow.parquet as parquet

    folder = Path(folder)
    parts = Path(os.environ["LAKEWING_PARTS"]) / "spark"
    (packages,) = (parts / "venv" / "lib").glob("python3*/site-packages")
    sources = folder / "sources"
    sources.mkdir(parents=True)
    with connection.cursor() as cursor:
        for table in project.STAGED:
            cursor.execute(f"select * from lake.tpch.{table}")
            parquet.write_table(cursor.fetch_arrow_table(), sources / f"{table}.parquet")
    jars = ",".join(str(jar) for jar in (parts / "jars").glob("*.jar"))
    settings = {
        "spark.jars": jars,
        "spark.master": "local[2]",
        "spark.driver.memory": "4g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder / 'metastore'};create=true",
    }
    profile = {"method": "session", "host": "none", "schema": "main", "server_side_parameters": settings}
    project.write(folder, "spark", profile)
    environment = {"PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(packages)])}
    tables = "\n".join(
        f"spark.sql(\"create table tpch.{table} using parquet location '{sources / table}.parquet'\")"
        for table in project.STAGED
    )
    setup = f"""
from pyspark.sql import SparkSession
builder = SparkSession.builder.enableHiveSupport()
for name, value in {settings!r}.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
spark.sql("create database tpch")
spark.sql("create database main")
{tables}
"""
    return folder, environment, [sys.executable, "-c", setup]
