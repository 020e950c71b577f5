"""The suite's module sample_mode."""

import pytest
from dbt.tests.adapter.sample_mode import fixtures
from dbt.tests.adapter.sample_mode.test_sample_mode import BaseSampleModeTest


class TestSampleModeTest(BaseSampleModeTest):
    """The suite writes the zone UTC as -0, which is no zone elsewhere."""

    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return fixtures.input_model_sql.replace("00-0'", "00'")
