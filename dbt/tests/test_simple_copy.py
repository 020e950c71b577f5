"""The suite's module simple_copy."""

from dbt.tests.adapter.simple_copy.test_copy_uppercase import BaseSimpleCopyUppercase
from dbt.tests.adapter.simple_copy.test_simple_copy import SimpleCopyBase, EmptyModelsArentRunBase

class TestSimpleCopyUppercase(BaseSimpleCopyUppercase):
    pass

class TestSimpleCopy(SimpleCopyBase):
    pass

class TestEmptyModelsArentRun(EmptyModelsArentRunBase):
    pass
