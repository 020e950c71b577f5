"""The suite's module ephemeral."""

import re
from pathlib import Path

from dbt.tests.adapter.ephemeral.test_ephemeral import (
    BaseEphemeralErrorHandling,
    BaseEphemeralMulti,
    BaseEphemeralNested,
)
from dbt.tests.util import check_relations_equal, run_dbt


def check_view(project, name, query):
    """What was run for the view `name`, without white space and numbers, has `query`."""
    text = Path(project.project_root, f"target/run/test/models/{name}.sql").read_text()
    text = "".join(re.sub(r"\d+", "", text).split())
    assert text.startswith(f'createorreplaceview"{project.database}"."test_test_ephemeral"."{name}"as')
    assert "".join(query.split()) in text


class TestEphemeralMulti(BaseEphemeralMulti):
    """The statement of a view is another one here."""

    def test_ephemeral_multi(self, project):
        run_dbt(["seed"])
        assert len(run_dbt(["run"])) == 3
        for name in ("dependent", "double_dependent", "super_dependent"):
            check_relations_equal(project.adapter, ["seed", name])
        check_view(
            project,
            "double_dependent",
            """
            with __dbt__cte__base as (select * from test_test_ephemeral.seed),
            __dbt__cte__base_copy as (select * from __dbt__cte__base)
            -- base_copy just pulls from base. Make sure the listed
            -- graph of CTEs all share the same dbt_cte__base cte
            select * from __dbt__cte__base where gender = 'Male'
            union all
            select * from __dbt__cte__base_copy where gender = 'Female'
            """,
        )


class TestEphemeralNested(BaseEphemeralNested):
    """The statement of a view is another one here."""

    def test_ephemeral_nested(self, project):
        assert len(run_dbt(["run"])) == 2
        check_view(
            project,
            "root_view",
            f"""
            with __dbt__cte__ephemeral_level_two as (
                select * from "{project.database}"."test_test_ephemeral"."source_table"
            ),
            __dbt__cte__ephemeral as (select * from __dbt__cte__ephemeral_level_two)
            select * from __dbt__cte__ephemeral
            """,
        )


class TestEphemeralErrorHandling(BaseEphemeralErrorHandling):
    pass
