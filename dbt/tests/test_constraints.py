"""The suite's module constraints."""

import pytest
from dbt.tests.adapter.constraints import fixtures
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


# A number without a point is a BIGINT here, not an INTEGER; and time zones have another setting.
for name, text in list(vars(fixtures).items()):
    if isinstance(text, str):
        text = text.replace("data_type: integer", "data_type: bigint").replace("type_int()", "type_bigint()")
        text = text.replace("set session time zone 'Asia/Kolkata'", "set time_zone = 'Asia/Kolkata'")
        setattr(fixtures, name, text.replace("current_setting('timezone')", "arrow_typeof(now())"))


class Types:
    """The server's names of types."""

    @pytest.fixture
    def string_type(self):
        return "VARCHAR"

    @pytest.fixture
    def int_type(self):
        return "INTEGER"

    @pytest.fixture
    def data_types(self):
        """A value, its type in a contract, and the type that a complaint names."""
        return [
            ["cast(1 as int)", "INTEGER", "INTEGER"],
            ["'1'", "VARCHAR", "VARCHAR"],
            ["true", "boolean", "BOOLEAN"],
            ["cast('2013-11-03 00:00:00' as timestamp)", "timestamp", "TIMESTAMP"],
            ["date '2013-11-03'", "date", "DATE"],
            ["array['a', 'b']", "array<varchar>", "ARRAY<VARCHAR>"],
            ["array[1, 2]", "array<bigint>", "ARRAY<BIGINT>"],
            ["cast(1 as decimal(10, 2))", "decimal(10, 2)", "DECIMAL(10, 2)"],
        ]


def expected_sql(table_format):
    """What the formats cannot enforce is left out."""
    return f"""
        create or replace table <model_identifier> (id bigint not null, color varchar, date_day varchar)
        using {table_format};
        insert into <model_identifier> (id, color, date_day)
        select id, color, date_day from (
            -- depends_on: <foreign_key_model_identifier>
            select 'blue' as color, 1 as id, '2019-01-01' as date_day
        ) as model_subq
    """


class TestConstraintsRuntimeDdlEnforcement(BaseConstraintsRuntimeDdlEnforcement):
    @pytest.fixture(scope="class")
    def expected_sql(self, table_format):
        return expected_sql(table_format)


class TestConstraintsRollback(BaseConstraintsRollback):
    @pytest.fixture(scope="class")
    def expected_error_messages(self):
        return ["id", "NULL"]


class TestTableConstraintsColumnsEqual(Types, BaseTableConstraintsColumnsEqual):
    pass


class TestViewConstraintsColumnsEqual(Types, BaseViewConstraintsColumnsEqual):
    pass


class TestIncrementalConstraintsColumnsEqual(Types, BaseIncrementalConstraintsColumnsEqual):
    pass


class TestIncrementalConstraintsRuntimeDdlEnforcement(BaseIncrementalConstraintsRuntimeDdlEnforcement):
    @pytest.fixture(scope="class")
    def expected_sql(self, table_format):
        return expected_sql(table_format)


class TestIncrementalConstraintsRollback(BaseIncrementalConstraintsRollback):
    @pytest.fixture(scope="class")
    def expected_error_messages(self):
        return ["id", "NULL"]


class TestTableContractSqlHeader(BaseTableContractSqlHeader):
    pass


class TestIncrementalContractSqlHeader(BaseIncrementalContractSqlHeader):
    pass


class TestModelConstraintsRuntimeEnforcement(BaseModelConstraintsRuntimeEnforcement):
    @pytest.fixture(scope="class")
    def expected_sql(self, table_format):
        return expected_sql(table_format)


class TestConstraintQuotedColumn(BaseConstraintQuotedColumn):
    @pytest.fixture(scope="class")
    def expected_sql(self, table_format):
        return f"""
            create or replace table <model_identifier> (
                id bigint not null, "from" varchar not null, date_day varchar
            ) using {table_format};
            insert into <model_identifier> (id, "from", date_day)
            select id, "from", date_day from (
                select 'blue' as "from", 1 as id, '2019-01-01' as date_day
            ) as model_subq
        """


class TestIncrementalForeignKeyConstraint(BaseIncrementalForeignKeyConstraint):
    pass
