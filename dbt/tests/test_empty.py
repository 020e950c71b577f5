"""The suite's module empty."""

import pytest
from dbt.tests.adapter.empty import _models
from dbt.tests.adapter.empty.test_empty import BaseTestEmpty, BaseTestEmptyInlineSourceRef, MetadataWithEmptyFlag

# The seed's column, as the seed calls it.
_models.ALTER_COLUMN_TYPE = _models.ALTER_COLUMN_TYPE.replace("MY_VALUE", "my_value")


class TestEmpty(BaseTestEmpty):
    pass


class TestEmptyInlineSourceRef(BaseTestEmptyInlineSourceRef):
    pass


class TestMetadataWithEmptyFlag(MetadataWithEmptyFlag):
    @pytest.fixture(scope="class")
    def project_config_update(self, columns_may_change):
        return columns_may_change
