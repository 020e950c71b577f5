"""The suite's module simple_copy."""

import pytest
from dbt.tests.adapter.simple_copy.test_copy_uppercase import BaseSimpleCopyUppercase
from dbt.tests.adapter.simple_copy.test_simple_copy import SimpleCopyBase, EmptyModelsArentRunBase


class TestSimpleCopyUppercase(BaseSimpleCopyUppercase):
    """Its own profile is that of another database."""

    @pytest.fixture(scope="class")
    def dbt_profile_target(self, lakewing_profile):
        return lakewing_profile


class TestSimpleCopy(SimpleCopyBase):
    @pytest.mark.skip(reason="the server has no materialized views")
    def test_simple_copy_with_materialized_views(self):
        pass


class TestEmptyModelsArentRun(EmptyModelsArentRunBase):
    pass
