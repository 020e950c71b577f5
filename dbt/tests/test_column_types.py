"""The suite's module column_types."""

from dbt.tests.adapter.column_types.test_column_types import BaseColumnTypes

class TestColumnTypes(BaseColumnTypes):
    pass
