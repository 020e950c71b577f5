"""The suite's module incremental."""

import pytest
from dbt.tests.util import relation_from_name, run_dbt
from dbt.tests.adapter.incremental import test_incremental_microbatch
from dbt.tests.adapter.incremental.test_incremental_merge_exclude_columns import BaseMergeExcludeColumns
from dbt.tests.adapter.incremental.test_incremental_microbatch import BaseMicrobatch
from dbt.tests.adapter.incremental.test_incremental_on_schema_change import BaseIncrementalOnSchemaChange
from dbt.tests.adapter.incremental.test_incremental_predicates import BaseIncrementalPredicates
from dbt.tests.adapter.incremental.test_incremental_unique_id import BaseIncrementalUniqueKey


class TestMergeExcludeColumns(BaseMergeExcludeColumns):
    pass


class TestMicrobatch(BaseMicrobatch):
    """The suite writes the zone UTC as -0, which is no zone elsewhere."""

    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return test_incremental_microbatch._input_model_sql.replace("00-0'", "00'")

    @pytest.fixture(scope="class")
    def insert_two_rows_sql(self, project):
        table = project.adapter.Relation.create(
            database=project.database, schema=project.test_schema, identifier="input_model"
        )
        return f"insert into {table} (id, event_time) values (4, '2020-01-04 00:00:00'), (5, '2020-01-05 00:00:00')"


class TestIncrementalOnSchemaChange(BaseIncrementalOnSchemaChange):
    @pytest.fixture(scope="class")
    def project_config_update(self, columns_may_change):
        return columns_may_change


class TestIncrementalPredicates(BaseIncrementalPredicates):
    pass


class TestIncrementalUniqueKey(BaseIncrementalUniqueKey):
    pass


MODEL = """
{{{{ config(materialized='incremental', incremental_strategy='insert_overwrite', {config}) }}}}
select cast(id as int) as id, cast(day as date) as day, cast(kind as varchar) as kind from (values
{{% if is_incremental() %}} (10, '2024-01-02', 'b'), (11, '2024-02-01', null)
{{% else %}} (1, '2024-01-01', 'a'), (2, '2024-01-02', 'b'), (3, '2024-02-01', null), (4, '2024-01-02', 'c') {{% endif %}}
) as t(id, day, kind)
"""


class TestInsertOverwrite:
    """Our own: the suite has no class for this strategy."""

    EXPECTED = {"whole": [10, 11], "by_day": [1, 10, 11], "by_kind": [1, 4, 10, 11], "by_both": [1, 4, 10, 11]}

    @pytest.fixture(scope="class")
    def models(self, table_format):
        by_day = "partition_by='day(day)'" if table_format == "iceberg" else "partition_by='day'"
        return {
            "whole.sql": MODEL.format(config="table_properties={}"),
            "by_day.sql": MODEL.format(config=by_day),
            "by_kind.sql": MODEL.format(config="partition_by='kind'"),
            "by_both.sql": MODEL.format(config="partition_by=['kind', 'day']"),
        }

    def test_the_partitions_of_new_rows_are_replaced(self, project):
        run_dbt(["run"])
        run_dbt(["run"])
        for model, expected in self.EXPECTED.items():
            table = relation_from_name(project.adapter, model)
            rows = project.run_sql(f"select id from {table} order by id", fetch="all")
            assert [row[0] for row in rows] == expected, model
