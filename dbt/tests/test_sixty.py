"""Two builds of the project of 60 models at once, and again with more rows, against DuckDB's."""

import subprocess

import pytest
from adbc_driver_flightsql import dbapi
from cluster import Cluster
from conftest import program
from sixty import lake
from sixty.build import ROUNDS, build, compare
from sixty.project import MODELS


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(program(), tmp_path_factory.mktemp("sixty"))
    demo = [program(), "demo", "--exit", "--scale", "0.01", "--data-dir", cluster.data, "--listen", "127.0.0.1:0"]
    subprocess.run(demo, check=True, capture_output=True)
    yield cluster.start()
    cluster.stop()


def test_two_builds_at_once_are_right(cluster, tmp_path, table_format):
    with dbapi.connect(f"grpc://127.0.0.1:{cluster.port}", autocommit=True) as connection:
        theirs = lake.duckdb(tmp_path / "duckdb", connection)
        ours = [lake.lakewing(tmp_path / name, cluster.port, name, table_format) for name in ("first", "second")]
        for number, through in enumerate(ROUNDS):
            for wait in [build(folder, through, name=f"round{number}") for folder in ours]:
                wait()
            build(theirs, through, name=f"round{number}")()
            expected = lake.read_duckdb(theirs)
            for folder in ours:
                checked = compare(expected, lake.read_lakewing(connection, folder.name), f"{folder.name}, round {number}")
                print(f"{folder.name}, round {number}: {checked} rows of {MODELS} models are those of DuckDB")
