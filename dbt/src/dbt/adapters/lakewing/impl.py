"""The adapter: what differs from other SQL databases, and what macros call."""

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Tuple, Union

import agate
from dbt_common.contracts.constraints import ConstraintType
from dbt_common.contracts.metadata import CatalogTable, ColumnMetadata, TableMetadata
from dbt_common.exceptions import DbtRuntimeError

from dbt.adapters.base import AdapterConfig, ConstraintSupport, available
from dbt.adapters.base.impl import log_code_execution
from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.capability import Capability, CapabilityDict, CapabilitySupport, Support
from dbt.adapters.catalogs import CatalogRelation
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.contracts.relation import RelationConfig
from dbt.adapters.lakewing.catalogs import DeltaCatalog, IcebergCatalog
from dbt.adapters.lakewing.column import LakewingColumn
from dbt.adapters.lakewing.connections import FORMATS, MAIN, LakewingConnectionManager
from dbt.adapters.lakewing.python_models import Frame, run
from dbt.adapters.lakewing.relation import LakewingRelation
from dbt.adapters.lakewing.seeds import arrow_table
from dbt.adapters.sql import SQLAdapter
from dbt.adapters.sql.impl import LIST_RELATIONS_MACRO_NAME

#: What stands between the code of a Python model and the statement that builds its table, and in that for its rows.
BUILD = "# lakewing: the statement that builds the table"
ROWS = "__rows_of_the_model__"

_PARTITION = re.compile(
    r"""(?:(?P<unit>years?|months?|days?|hours?)\(\s*(?=.*\)$))?(?P<column>\w+|"[^"]+")\s*\)?$""", re.IGNORECASE
)


@dataclass
class LakewingConfig(AdapterConfig):
    """What a model may say besides dbt's own configuration."""

    table_format: Optional[str] = None
    partition_by: Optional[Union[str, List[str]]] = None
    sort_by: Optional[Union[str, List[str]]] = None
    location: Optional[str] = None
    table_properties: Optional[Dict[str, Any]] = None


class LakewingAdapter(SQLAdapter):
    """dbt's way to a Lakewing server."""

    ConnectionManager = LakewingConnectionManager
    Relation = LakewingRelation
    Column = LakewingColumn
    AdapterSpecificConfigs = LakewingConfig

    CATALOG_INTEGRATIONS = [IcebergCatalog, DeltaCatalog]
    CONSTRAINT_SUPPORT = {
        ConstraintType.check: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.not_null: ConstraintSupport.ENFORCED,
        ConstraintType.unique: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.primary_key: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.foreign_key: ConstraintSupport.NOT_SUPPORTED,
    }

    _capabilities = CapabilityDict(
        {
            Capability.SchemaMetadataByRelations: CapabilitySupport(support=Support.Full),
            Capability.TableLastModifiedMetadata: CapabilitySupport(support=Support.Full),
            Capability.TableLastModifiedMetadataBatch: CapabilitySupport(support=Support.Full),
            Capability.GetCatalogForSingleRelation: CapabilitySupport(support=Support.Full),
            Capability.MicrobatchConcurrency: CapabilitySupport(support=Support.Full),
        }
    )

    @available
    def is_on_branch(self) -> bool:
        """Whether the target writes to a branch, beside what others read."""
        on_branch: bool = self.config.credentials.branch != MAIN
        return on_branch

    def standardize_grants_dict(self, grants_table: agate.Table) -> dict:
        """The grants by privilege, as a project writes them; what an owner may do is none of them."""
        owned = "OWNERSHIP"
        grants: dict = super().standardize_grants_dict(grants_table.where(lambda row: row["privilege_type"] != owned))
        return grants

    @classmethod
    def date_function(cls) -> str:
        return "now()"

    @classmethod
    def convert_text_type(cls, agate_table: agate.Table, col_idx: int) -> str:
        return "varchar"

    @classmethod
    def convert_number_type(cls, agate_table: agate.Table, col_idx: int) -> str:
        if agate_table.aggregate(agate.MaxPrecision(col_idx)):
            return "double"
        return cls.convert_integer_type(agate_table, col_idx)

    @classmethod
    def convert_integer_type(cls, agate_table: agate.Table, col_idx: int) -> str:
        values = (value for value in agate_table.columns[col_idx].values() if value is not None)
        return "integer" if all(-(2**31) <= value < 2**31 for value in values) else "bigint"

    @classmethod
    def convert_datetime_type(cls, agate_table: agate.Table, col_idx: int) -> str:
        return "timestamp"

    def timestamp_add_sql(self, add_to: str, number: int = 1, interval: str = "hour") -> str:
        return f"{add_to} + interval '{number} {interval}'"

    @classmethod
    def quote(cls, identifier: str) -> str:
        return '"' + identifier.replace('"', '""') + '"'

    def valid_incremental_strategies(self) -> List[str]:
        return ["append", "merge", "delete+insert", "insert_overwrite", "microbatch"]

    def list_relations_without_caching(self, schema_relation: BaseRelation) -> List[BaseRelation]:
        rows = self.execute_macro(LIST_RELATIONS_MACRO_NAME, kwargs={"schema_relation": schema_relation})
        return [
            self.Relation.create(
                database=database,
                schema=schema,
                identifier=name,
                quote_policy={"database": True, "schema": True, "identifier": True},
                type=self.Relation.type_of(table_type),
            )
            for database, schema, name, table_type in rows
        ]

    @available.parse(lambda *args, **kwargs: [])
    def relations_in(self, schema_relation: BaseRelation) -> List[BaseRelation]:
        """The tables and views of a schema, as the server has them now; none where it does not exist."""
        # One that names no catalog is in that of the connection.
        database = schema_relation.database or self.config.credentials.database
        if not self.check_schema_exists(database, schema_relation.schema or ""):
            return []
        return self.list_relations_without_caching(schema_relation.incorporate(path={"database": database}))

    @available.parse(lambda *args, **kwargs: [])
    def describe_columns(self, relation: BaseRelation) -> List[LakewingColumn]:
        """The columns of a table or view, none where it does not exist."""
        exists = self.get_relation(relation.database, relation.schema, relation.identifier)
        query = f"select * from {relation.render()} limit 0"
        try:
            _, cursor = self.connections.add_query(query, auto_begin=False)
        except DbtRuntimeError:
            if exists is None:
                return []
            raise
        with_schema = cursor.schema
        cursor.close()
        return [LakewingColumn.from_arrow(field) for field in with_schema or []]

    def get_catalog_for_single_relation(self, relation: BaseRelation) -> Optional[CatalogTable]:
        """What `docs` knows of one table or view; nothing where it does not exist."""
        rows = self.execute_macro("get_catalog_for_single_relation", kwargs={"relation": relation})
        if len(rows) == 0:
            return None
        first = rows[0]
        metadata = TableMetadata(
            type=first["table_type"],
            schema=first["table_schema"],
            name=first["table_name"],
            database=first["table_database"],
            comment=first["table_comment"],
            owner=first["table_owner"],
        )
        columns = {
            row["column_name"]: ColumnMetadata(
                type=row["column_type"],
                index=int(row["column_index"]),
                name=row["column_name"],
                comment=row["column_comment"],
            )
            for row in rows
        }
        return CatalogTable(metadata=metadata, columns=columns, stats={})

    @available
    def partition_values(self, partition_by: Union[str, List[str]], table: str) -> List[str]:
        """The values, as texts in SQL, by which rows of `table` are divided."""
        names = [partition_by] if isinstance(partition_by, str) else partition_by
        values = []
        for name in names:
            found = _PARTITION.match(name.strip())
            if found is None:
                raise DbtRuntimeError(
                    f"insert_overwrite knows the rows of partitions by column, year, month, day and hour, not by {name!r}"
                )
            column = f"{table}.{found['column']}"
            unit = found["unit"]
            value = f"date_trunc('{unit.lower().rstrip('s')}', {column})" if unit else column
            values.append(f"cast({value} as varchar)")
        return values

    @available
    def table_format(self, config: Any) -> str:
        """The format of a model: its own, that of its catalog integration, or the profile's."""
        named = config.get("table_format")
        if named is None and config.get("catalog_name") and config.model is not None:
            named = self.get_catalog_integration(config.get("catalog_name")).table_format
        named = (named or self.config.credentials.table_format).lower()
        if named not in FORMATS:
            raise DbtRuntimeError(f"table_format is {' or '.join(FORMATS)}, not {named!r}")
        return str(named)

    @available
    def insert_seed(self, relation: BaseRelation, columns: List[str], table: agate.Table) -> None:
        """Appends the rows of a seed as one commit. `columns` are the names as they stand in SQL."""
        names = [name[1:-1].replace('""', '"') if name.startswith('"') else name.lower() for name in columns]
        rows = arrow_table(table).rename_columns(names)
        cursor = self.connections.get_thread_connection().handle.cursor()
        with self.connections.exception_handler(f"bulk ingest into {relation.render()}"):
            cursor.ingest(_parts(relation), rows, "append")
            cursor.close()

    @log_code_execution  # type: ignore[untyped-decorator]
    def submit_python_job(self, parsed_model: Dict[str, Any], compiled_code: str) -> AdapterResponse:
        """Runs a model in Python here, and has the server build its table: of a query, or of rows that go there."""
        target = parsed_model["schema"], parsed_model["alias"] + "__dbt_rows"
        rows = self.Relation.create(database=parsed_model["database"], schema=target[0], identifier=target[1])
        code, _, build = compiled_code.rpartition(BUILD)
        cursor = self.connections.get_thread_connection().handle.cursor()
        with self.connections.exception_handler(code):
            try:
                returned = run(code, cursor.fetch_arrow)
                if isinstance(returned, Frame):
                    query = returned.sql
                else:
                    cursor.ingest(_parts(rows), returned, "replace")
                    query = f"select * from {rows.render()}"
                cursor.execute(build.replace(ROWS, f"{query}\n"))
                response = self.connections.get_response(cursor)
                if not isinstance(returned, Frame):
                    cursor.execute(f"drop table if exists {rows.render()} purge")
            finally:
                cursor.close()
        return response

    def build_catalog_relation(self, model: RelationConfig) -> Optional[CatalogRelation]:
        """What a model's catalog integration says about it; nothing where it names none."""
        name = model.config.get("catalog_name") if model.config else None
        return self.get_catalog_integration(name).build_relation(model) if name else None


def _parts(relation: BaseRelation) -> Tuple[str, str, str]:
    """The catalog, the schema and the name of a relation."""
    return relation.database or "", relation.schema or "", relation.identifier or ""
