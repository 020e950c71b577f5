"""Names of tables and views."""

from dataclasses import dataclass, field
from typing import FrozenSet, Optional

from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.relation import RelationType


@dataclass(frozen=True, eq=False, repr=False)
class LakewingRelation(BaseRelation):
    """A table or view, quoted in all three parts: catalog, schema, identifier."""

    renameable_relations: FrozenSet[RelationType] = field(
        default_factory=lambda: frozenset({RelationType.Table, RelationType.View})
    )
    replaceable_relations: FrozenSet[RelationType] = field(
        default_factory=lambda: frozenset({RelationType.Table, RelationType.View})
    )

    # A query in FROM needs no alias, and projects may give it one.
    require_alias: bool = False

    @classmethod
    def type_of(cls, table_type: str) -> Optional[RelationType]:
        """The kind that `information_schema.tables.table_type` names, and `routines.routine_type`."""
        kinds = {
            "BASE TABLE": RelationType.Table,
            "LOCAL TEMPORARY": RelationType.Table,
            "VIEW": RelationType.View,
            "MATERIALIZED VIEW": RelationType.MaterializedView,
            "FUNCTION": RelationType.Function,
        }
        return kinds.get(table_type.upper())
