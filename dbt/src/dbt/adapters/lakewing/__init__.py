"""The dbt adapter for Lakewing, a lakehouse SQL server that speaks Arrow Flight SQL."""

from dbt.adapters.base import AdapterPlugin
from dbt.adapters.lakewing.__version__ import version as __version__
from dbt.adapters.lakewing.column import LakewingColumn
from dbt.adapters.lakewing.connections import LakewingConnectionManager, LakewingCredentials
from dbt.adapters.lakewing.impl import LakewingAdapter
from dbt.adapters.lakewing.relation import LakewingRelation
from dbt.include import lakewing

Plugin = AdapterPlugin(
    adapter=LakewingAdapter,  # type: ignore[arg-type]
    credentials=LakewingCredentials,
    include_path=lakewing.PACKAGE_PATH,
)

__all__ = [
    "LakewingAdapter",
    "LakewingColumn",
    "LakewingConnectionManager",
    "LakewingCredentials",
    "LakewingRelation",
    "Plugin",
    "__version__",
]
