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

no_javascript = pytest.mark.skip(reason="functions are written in SQL, not in JavaScript")
no_python = pytest.mark.skip(reason="functions are written in SQL, not in Python")


@no_javascript
class TestBasicJSUDF(BasicJSUDF):
    pass


@no_javascript
class TestJSUDFMultiLineBody(JSUDFMultiLineBody):
    pass


@no_javascript
class TestJSUDFDeterministicVolatility(JSUDFDeterministicVolatility):
    pass


@no_javascript
class TestJSUDFNonDeterministicVolatility(JSUDFNonDeterministicVolatility):
    pass


@no_javascript
class TestJSUDFStableVolatilityWarns(JSUDFStableVolatilityWarns):
    pass


@no_javascript
class TestJSUDFDefaultArgSupport(JSUDFDefaultArgSupport):
    pass


@no_javascript
class TestBasicJSAggregateUDF(BasicJSAggregateUDF):
    pass


@no_javascript
class TestJSAggregateUDFVolatilityIgnored(JSAggregateUDFVolatilityIgnored):
    pass


@no_python
class TestBasicPythonUDAF(BasicPythonUDAF):
    pass


class TestBasicSQLUDAF(BasicSQLUDAF):
    pass


@no_python
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


@no_python
class TestPythonUDFSupported(PythonUDFSupported):
    pass


class TestPythonUDFNotSupported(PythonUDFNotSupported):
    pass


class TestPythonUDFRuntimeVersionRequired(PythonUDFRuntimeVersionRequired):
    pass


class TestPythonUDFEntryPointRequired(PythonUDFEntryPointRequired):
    pass


class TestSqlUDFDefaultArgSupport(SqlUDFDefaultArgSupport):
    expect_default_arg_support = True


@no_python
class TestPythonUDFDefaultArgSupport(PythonUDFDefaultArgSupport):
    pass


@no_python
class TestPythonUDFVolatilitySupport(PythonUDFVolatilitySupport):
    pass


class TestCanFindScalarFunctionRelation(CanFindScalarFunctionRelation):
    pass


@no_python
class TestPythonUDFWithPackagesSupported(PythonUDFWithPackagesSupported):
    pass
