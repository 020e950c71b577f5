"""The suite's module column_types."""

import pytest
from dbt.tests.adapter.column_types.fixtures import model_sql, schema_yml
from dbt.tests.adapter.column_types.test_column_types import BaseColumnTypes


class TestColumnTypes(BaseColumnTypes):
    @pytest.fixture(scope="class")
    def models(self):
        return {"model.sql": model_sql, "schema.yml": schema_yml}

    def test_columns_have_their_types(self, project):
        self.run_and_test()
