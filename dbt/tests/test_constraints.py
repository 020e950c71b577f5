"""The suite's module constraints."""

from dbt.tests.adapter.constraints.test_constraints import (
    BaseConstraintsRuntimeDdlEnforcement,
    BaseConstraintsRollback,
    BaseTableConstraintsColumnsEqual,
    BaseViewConstraintsColumnsEqual,
    BaseIncrementalConstraintsColumnsEqual,
    BaseIncrementalConstraintsRuntimeDdlEnforcement,
    BaseIncrementalConstraintsRollback,
    BaseTableContractSqlHeader,
    BaseIncrementalContractSqlHeader,
    BaseModelConstraintsRuntimeEnforcement,
    BaseConstraintQuotedColumn,
    BaseIncrementalForeignKeyConstraint,
)

class TestConstraintsRuntimeDdlEnforcement(BaseConstraintsRuntimeDdlEnforcement):
    pass

class TestConstraintsRollback(BaseConstraintsRollback):
    pass

class TestTableConstraintsColumnsEqual(BaseTableConstraintsColumnsEqual):
    pass

class TestViewConstraintsColumnsEqual(BaseViewConstraintsColumnsEqual):
    pass

class TestIncrementalConstraintsColumnsEqual(BaseIncrementalConstraintsColumnsEqual):
    pass

class TestIncrementalConstraintsRuntimeDdlEnforcement(BaseIncrementalConstraintsRuntimeDdlEnforcement):
    pass

class TestIncrementalConstraintsRollback(BaseIncrementalConstraintsRollback):
    pass

class TestTableContractSqlHeader(BaseTableContractSqlHeader):
    pass

class TestIncrementalContractSqlHeader(BaseIncrementalContractSqlHeader):
    pass

class TestModelConstraintsRuntimeEnforcement(BaseModelConstraintsRuntimeEnforcement):
    pass

class TestConstraintQuotedColumn(BaseConstraintQuotedColumn):
    pass

class TestIncrementalForeignKeyConstraint(BaseIncrementalForeignKeyConstraint):
    pass
