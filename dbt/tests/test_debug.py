"""The suite's module dbt_debug."""

from dbt.tests.adapter.dbt_debug.test_dbt_debug import BaseDebug, BaseDebugProfileVariable

class TestDebug(BaseDebug):
    pass

class TestDebugProfileVariable(BaseDebugProfileVariable):
    pass
