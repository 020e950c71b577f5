"""The project in examples/tpch over the tables of `lakewing demo`, twice, and once more while an executor dies."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from adbc_driver_flightsql import dbapi
from cluster import Cluster
from conftest import program

PROJECT = Path(__file__).parent.parent / "examples" / "tpch"

#: What the marts must have, computed without them.
EXPECTED = {
    "select nation, year, orders, revenue from lake.shop.revenue_by_nation": """
        select n_name, cast(extract(year from o_orderdate) as integer), count(*), sum(o_totalprice)
        from lake.tpch.orders, lake.tpch.customer, lake.tpch.nation
        where o_custkey = c_custkey and c_nationkey = n_nationkey group by 1, 2""",
    "select cast(month as text), cast(ends_on as text), label, orders, revenue from lake.shop.orders_by_month": """
        select to_char(o_orderdate, '%Y-%m-01'),
            cast(cast(date_trunc('month', o_orderdate) + interval '1 month' - interval '1 day' as date) as text),
            case o_orderpriority when '1-URGENT' then 'urgent' when '2-HIGH' then 'high' when '5-LOW' then 'low'
                else 'normal' end,
            count(*), sum(o_totalprice)
        from lake.tpch.orders group by 1, 2, 3""",
    "select count(*), count(dbt_valid_to) from lake.shop.customers_over_time": """
        select count(*), 0 from lake.tpch.customer""",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    cluster = Cluster(program(), folder)
    demo = [program(), "demo", "--exit", "--scale", "0.01", "--data-dir", cluster.data, "--listen", "127.0.0.1:0"]
    subprocess.run(demo, check=True, capture_output=True)
    yield cluster.start()
    cluster.stop()


def build(cluster, tmp_path, table_format):
    """`dbt build` as its user runs it; fails with what it printed."""
    environment = os.environ | {
        "LAKEWING_PORT": cluster.port,
        "LAKEWING_DBT_FORMAT": table_format,
        "DBT_LOG_PATH": str(tmp_path / "logs"),
        "DBT_TARGET_PATH": str(tmp_path / "target"),
    }
    command = [Path(sys.executable).with_name("dbt"), "build", "--profiles-dir", "."]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ERROR=0" in done.stdout and "SKIP=0" in done.stdout


def check(cluster):
    """Compares what was built with the tables that it was built from, row by row."""
    with dbapi.connect(f"grpc://127.0.0.1:{cluster.port}", autocommit=True) as connection, connection.cursor() as cursor:
        for built, expected in EXPECTED.items():
            rows = []
            for query in (built, expected):
                cursor.execute(query)
                rows.append(sorted(cursor.fetchall(), key=str))
            assert len(rows[0]) > 0 and rows[0] == rows[1], built


def test_the_example_is_built_and_built_again(cluster, tmp_path, table_format):
    build(cluster, tmp_path, table_format)
    check(cluster)
    build(cluster, tmp_path, table_format)
    check(cluster)


def test_an_executor_that_dies_fails_nothing(cluster, tmp_path, table_format):
    killer = threading.Timer(4, cluster.executors[0].kill)
    killer.start()
    build(cluster, tmp_path, table_format)
    killer.join()
    assert cluster.executors[0].wait() != 0
    check(cluster)
