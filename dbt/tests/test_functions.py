"""The suite's module functions."""

import pytest
from dbt.tests.adapter.functions.test_js_udfs import (
    BasicJSUDF,
    JSUDFMultiLineBody,
    JSUDFDeterministicVolatility,
    JSUDFNonDeterministicVolatility,
    JSUDFStableVolatilityWarns,
    JSUDFDefaultArgSupport,
    BasicJSAggregateUDF,
    JSAggregateUDFVolatilityIgnored,
)
from dbt.tests.adapter.functions.test_udafs import BasicPythonUDAF, BasicSQLUDAF, PythonUDAFDefaultArgSupport
from dbt.tests.adapter.functions.test_udfs import (
    UDFsBasic,
    DeterministicUDF,
    StableUDF,
    NonDeterministicUDF,
    ErrorForUnsupportedType,
    PythonUDFSupported,
    PythonUDFNotSupported,
    PythonUDFRuntimeVersionRequired,
    PythonUDFEntryPointRequired,
    SqlUDFDefaultArgSupport,
    PythonUDFDefaultArgSupport,
    PythonUDFVolatilitySupport,
    CanFindScalarFunctionRelation,
    PythonUDFWithPackagesSupported,
)

pytestmark = pytest.mark.skip(reason="the server has no CREATE FUNCTION")


class TestBasicJSUDF(BasicJSUDF):
    pass


class TestJSUDFMultiLineBody(JSUDFMultiLineBody):
    pass


class TestJSUDFDeterministicVolatility(JSUDFDeterministicVolatility):
    pass


class TestJSUDFNonDeterministicVolatility(JSUDFNonDeterministicVolatility):
    pass


class TestJSUDFStableVolatilityWarns(JSUDFStableVolatilityWarns):
    pass


class TestJSUDFDefaultArgSupport(JSUDFDefaultArgSupport):
    pass


class TestBasicJSAggregateUDF(BasicJSAggregateUDF):
    pass


class TestJSAggregateUDFVolatilityIgnored(JSAggregateUDFVolatilityIgnored):
    pass


class TestBasicPythonUDAF(BasicPythonUDAF):
    pass


class TestBasicSQLUDAF(BasicSQLUDAF):
    pass


class TestPythonUDAFDefaultArgSupport(PythonUDAFDefaultArgSupport):
    pass


class TestUDFsBasic(UDFsBasic):
    pass


class TestDeterministicUDF(DeterministicUDF):
    pass


class TestStableUDF(StableUDF):
    pass


class TestNonDeterministicUDF(NonDeterministicUDF):
    pass


class TestErrorForUnsupportedType(ErrorForUnsupportedType):
    pass


class TestPythonUDFSupported(PythonUDFSupported):
    pass


class TestPythonUDFNotSupported(PythonUDFNotSupported):
    pass


class TestPythonUDFRuntimeVersionRequired(PythonUDFRuntimeVersionRequired):
    pass


class TestPythonUDFEntryPointRequired(PythonUDFEntryPointRequired):
    pass


class TestSqlUDFDefaultArgSupport(SqlUDFDefaultArgSupport):
    pass


class TestPythonUDFDefaultArgSupport(PythonUDFDefaultArgSupport):
    pass


class TestPythonUDFVolatilitySupport(PythonUDFVolatilitySupport):
    pass


class TestCanFindScalarFunctionRelation(CanFindScalarFunctionRelation):
    pass


class TestPythonUDFWithPackagesSupported(PythonUDFWithPackagesSupported):
    pass
