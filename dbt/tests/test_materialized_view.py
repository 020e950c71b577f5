"""The suite's module materialized_view."""

import pytest
from dbt.tests.adapter.materialized_view.basic import MaterializedViewBasic

pytestmark = pytest.mark.skip(reason="the server has no materialized views")


class TestMaterializedViewBasic(MaterializedViewBasic):
    pass
