"""Write, audit, publish: a target with a branch builds beside what others read."""

import pytest
from adbc_driver_flightsql import dbapi
from dbt.tests.util import run_dbt, write_file

BRANCH = "LAKEWING_TEST_BRANCH"

SOURCE = "id,amount\n1,10\n2,20\n"

DAILY = """
{{ config(materialized='table') }}
select id, amount * {{ var('factor', 1) }} as amount from {{ ref('orders') }}
"""
SEEN = "select id, amount from {{ ref('daily') }}"
GROWING = """
{{ config(materialized='incremental', unique_key='id') }}
select id, amount + {{ var('factor', 1) }} as amount from {{ ref('daily') }}
{% if is_incremental() %} where id >= 2 {% endif %}
"""
NEW = "{{ config(materialized='table') }} select count(*) as n, sum(amount) as total from {{ ref('seen') }}"
TESTS = """
models:
  - name: daily
    columns:
      - name: amount
        data_tests:
          - accepted_values:
              arguments: {values: [10, 20, 30, 100, 200, 300], quote: false}
"""


@pytest.fixture(autouse=True)
def only_iceberg(table_format):
    if table_format != "iceberg":
        pytest.skip("Delta tables have no branches")


class TestBranch:
    @pytest.fixture(scope="class")
    def dbt_profile_target(self, lakewing_profile):
        return lakewing_profile | {"branch": f"{{{{ env_var('{BRANCH}', 'main') }}}}"}

    @pytest.fixture(scope="class")
    def seeds(self):
        return {"orders.csv": SOURCE}

    @pytest.fixture(scope="class")
    def models(self):
        return {"daily.sql": DAILY, "seen.sql": SEEN, "growing.sql": GROWING, "tests.yml": TESTS}

    @pytest.fixture
    def read(self, project, lakewing_profile):
        """What a connection of its own finds in a relation: dbt's are on the branch."""
        login = {"username": lakewing_profile["user"], "password": lakewing_profile["password"]}
        uri = f"grpc://{lakewing_profile['host']}:{lakewing_profile['port']}"
        with dbapi.connect(uri, db_kwargs=login, autocommit=True) as connection:

            def rows(relation):
                with connection.cursor() as cursor:
                    cursor.execute(f'select * from "lake"."{project.test_schema}"."{relation}" order by 1')
                    return [tuple(map(int, row)) for row in cursor.fetchall()]

            yield rows

    def test_a_build_on_a_branch_is_seen_when_it_is_published(self, project, read, monkeypatch):
        run_dbt(["build"])
        before = {name: read(name) for name in ("orders", "daily", "seen", "growing")}
        assert before["daily"] == [(1, 10), (2, 20)] and before["growing"] == [(1, 11), (2, 21)]

        write_file(SOURCE + "3,30\n", project.project_root, "seeds", "orders.csv")
        write_file(NEW, project.project_root, "models", "new.sql")
        monkeypatch.setenv(BRANCH, "run_1")
        # A test that fails: nothing of it is seen, and it is given up.
        results = run_dbt(["build", "--vars", "factor: 7"], expect_pass=False)
        failed = [result.node.name for result in results if result.status in ("fail", "error")]
        assert len(failed) == 1 and failed[0].startswith("accepted_values_daily"), failed
        assert {name: read(name) for name in before} == before
        run_dbt(["run-operation", "drop_branch"])
        assert {name: read(name) for name in before} == before

        # And again after a run on the same branch.
        for factor in (10, 1, 10):
            run_dbt(["build", "--vars", f"factor: {factor}"])
        assert {name: read(name) for name in before} == before
        assert read("new") == []
        run_dbt(["run-operation", "publish_branch"])
        assert read("orders") == [(1, 10), (2, 20), (3, 30)]
        assert read("daily") == [(1, 100), (2, 200), (3, 300)]
        assert read("seen") == read("daily")
        assert read("growing") == [(1, 11), (2, 210), (3, 310)]
        assert read("new") == [(3, 600)]

        # Columns are those of the table: they are not changed beside it.
        write_file(DAILY.replace("id,", "id, 1 as more,"), project.project_root, "models", "daily.sql")
        results = run_dbt(["run", "--select", "daily"], expect_pass=False)
        assert "columns are not those of a branch" in results[0].message
        monkeypatch.delenv(BRANCH)
        message = run_dbt(["run-operation", "publish_branch"], expect_pass=False)
        assert message is not None
