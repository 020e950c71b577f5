"""The suite's module python_model."""

import pytest
from dbt.tests.adapter.python_model.test_python_model import (
    BasePythonModelTests,
    BasePythonIncrementalTests,
    BasePythonMetaGetTests,
    BasePythonEmptyTests,
    BasePythonSampleTests,
)

#: The suite's has a time zone `-0`, which is none.
INPUT = """
{{ config(materialized='table', event_time='event_time') }}
select 1 as id, timestamp '2025-01-01 01:25:00' as event_time
union all
select 2 as id, timestamp '2025-01-02 13:47:00' as event_time
union all
select 3 as id, timestamp '2025-01-03 01:32:00' as event_time
"""


class Input:
    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return INPUT


class TestPythonModelTests(BasePythonModelTests):
    pass


class TestPythonIncrementalTests(BasePythonIncrementalTests):
    pass


class TestPythonMetaGetTests(BasePythonMetaGetTests):
    pass


class TestPythonEmptyTests(Input, BasePythonEmptyTests):
    pass


class TestPythonSampleTests(Input, BasePythonSampleTests):
    pass
