"""Times the project on Lakewing, DuckDB and Spark, over the same rows on the same machine, and compares what they built.

python -m sixty [--scale 0.1] [--format iceberg]; LAKEWING_BIN is the program, LAKEWING_PARTS has Spark.
"""

import argparse
import os
import subprocess
import tempfile
from pathlib import Path

from adbc_driver_flightsql import dbapi
from cluster import Cluster
from sixty import lake
from sixty.build import ROUNDS, build, compare
from sixty.project import MODELS


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--scale", default="0.1")
    arguments.add_argument("--format", default="iceberg", choices=("iceberg", "delta"))
    arguments.add_argument("--without-spark", action="store_true")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="lakewing-sixty-") as folder:
        folder = Path(folder)
        cluster = Cluster(os.environ["LAKEWING_BIN"], folder)
        demo = ["demo", "--exit", "--scale", chosen.scale, "--data-dir", cluster.data, "--listen", "127.0.0.1:0"]
        subprocess.run([cluster.program, *demo], check=True, capture_output=True)
        cluster.start()
        try:
            figures = run(folder, cluster.port, chosen)
        finally:
            cluster.stop()
    print(f"\n`dbt build --threads 8` of {MODELS} models, scale {chosen.scale}, {os.cpu_count()} cores; seconds\n")
    print("| | first build | second build |\n|---|---|---|")
    for name, seconds in figures.items():
        print(f"| {name} | " + " | ".join(f"{second:.0f}" for second in seconds) + " |")


def run(folder, port, chosen):
    """The seconds of each round, by what was measured."""
    names = {1: "dbt-lakewing, one build", 2: "dbt-lakewing, two at once"}
    figures = {name: [] for name in (*names.values(), "dbt-duckdb", "dbt-spark")}
    with dbapi.connect(f"grpc://127.0.0.1:{port}", autocommit=True) as connection:
        ours = {
            count: [lake.lakewing(folder / f"{count}_{n}", port, f"build_{count}_{n}", chosen.format) for n in range(count)]
            for count in names
        }
        theirs = lake.duckdb(folder / "duckdb", connection)
        if chosen.without_spark:
            del figures["dbt-spark"]
        else:
            spark, environment, setup = lake.spark(folder / "spark", connection)
            subprocess.run(setup, check=True, cwd=spark, env=os.environ | environment, capture_output=True)
        for number, through in enumerate(ROUNDS):
            name = f"round{number}"
            for count, label in names.items():
                waits = [build(each, through, name=name) for each in ours[count]]
                figures[label].append(max(wait() for wait in waits))
            figures["dbt-duckdb"].append(build(theirs, through, name=name)())
            expected = lake.read_duckdb(theirs)
            for each in (each for folders in ours.values() for each in folders):
                checked = compare(expected, lake.read_lakewing(connection, f"build_{each.name}"), each.name)
                print(f"round {number}, {each.name}: {checked} rows are those of DuckDB", flush=True)
            if not chosen.without_spark:
                figures["dbt-spark"].append(build(spark, through, environment, name)())
                print(f"round {number}: Spark has built", flush=True)
    return figures


main()
