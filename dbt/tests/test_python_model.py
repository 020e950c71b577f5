"""The suite's module python_model."""

import pytest
from dbt.tests.adapter.python_model.test_python_model import (
    BasePythonModelTests,
    BasePythonIncrementalTests,
    BasePythonMetaGetTests,
    BasePythonEmptyTests,
    BasePythonSampleTests,
)

pytestmark = pytest.mark.skip(reason="models are SQL: the adapter runs no Python")


class TestPythonModelTests(BasePythonModelTests):
    pass


class TestPythonIncrementalTests(BasePythonIncrementalTests):
    pass


class TestPythonMetaGetTests(BasePythonMetaGetTests):
    pass


class TestPythonEmptyTests(BasePythonEmptyTests):
    pass


class TestPythonSampleTests(BasePythonSampleTests):
    pass
