"""Entries of catalogs.yml: a catalog of the server, with the format of the tables that models make in it."""

from dataclasses import dataclass
from typing import Optional

from dbt.adapters.catalogs import CatalogIntegration
from dbt.adapters.contracts.relation import RelationConfig


@dataclass
class LakewingCatalogRelation:
    """Where a model's table lies, and as what."""

    catalog_name: Optional[str] = None
    table_format: Optional[str] = None
    external_volume: Optional[str] = None
    file_format: Optional[str] = None


class _Catalog(CatalogIntegration):
    allows_writes = True

    def build_relation(self, config: RelationConfig) -> LakewingCatalogRelation:
        return LakewingCatalogRelation(
            catalog_name=self.catalog_name,
            table_format=self.table_format,
            external_volume=self.external_volume,
            file_format=self.file_format,
        )


class IcebergCatalog(_Catalog):
    """Tables of the format Iceberg."""

    catalog_type = "iceberg"
    table_format = "iceberg"
    file_format = "parquet"


class DeltaCatalog(_Catalog):
    """Tables of the format Delta."""

    catalog_type = "delta"
    table_format = "delta"
    file_format = "parquet"
