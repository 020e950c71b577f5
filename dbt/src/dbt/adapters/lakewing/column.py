"""Columns with the SQL names of their Arrow types."""

from dataclasses import dataclass
from typing import Any, ClassVar, Dict

import pyarrow as pa

from dbt.adapters.base.column import Column


@dataclass
class LakewingColumn(Column):
    """A column. `dtype` is the whole type as the server reads it in a CAST, such as `DECIMAL(10, 2)`."""

    TYPE_LABELS: ClassVar[Dict[str, str]] = {"STRING": "VARCHAR", "TEXT": "VARCHAR"}

    @property
    def data_type(self) -> str:
        if self.numeric_precision is not None and self.numeric_scale is not None:
            return self.numeric_type(self.dtype, self.numeric_precision, self.numeric_scale)
        return self.dtype

    def is_string(self) -> bool:
        return self.dtype.upper().split("(")[0] in ("VARCHAR", "TEXT", "STRING", "CHARACTER VARYING", "CHAR")

    def is_integer(self) -> bool:
        return self.dtype.upper() in ("TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT")

    def is_float(self) -> bool:
        return self.dtype.upper() in ("REAL", "FLOAT", "DOUBLE", "DOUBLE PRECISION")

    def is_numeric(self) -> bool:
        return self.dtype.upper().split("(")[0] in ("DECIMAL", "NUMERIC")

    def string_size(self) -> int:
        """A text has no limit; dbt asks for one only to compare two columns."""
        return 2**31 - 1

    def can_expand_to(self, other_column: Column) -> bool:
        """Texts have no length that could grow."""
        return False

    @classmethod
    def string_type(cls, size: int) -> str:
        return "VARCHAR"

    @classmethod
    def numeric_type(cls, dtype: str, precision: Any, scale: Any) -> str:
        if precision is None or scale is None:
            return dtype
        return f"{dtype}({precision}, {scale})"

    @classmethod
    def from_arrow(cls, field: pa.Field) -> "LakewingColumn":
        """The column that an Arrow field stands for."""
        return cls(field.name, sql_type(field.type))


_PLAIN = (
    (pa.types.is_boolean, "BOOLEAN"),
    (pa.types.is_int8, "TINYINT"),
    (pa.types.is_uint8, "SMALLINT"),
    (pa.types.is_int16, "SMALLINT"),
    (pa.types.is_uint16, "INTEGER"),
    (pa.types.is_int32, "INTEGER"),
    (pa.types.is_uint32, "BIGINT"),
    (pa.types.is_integer, "BIGINT"),
    (pa.types.is_float16, "REAL"),
    (pa.types.is_float32, "REAL"),
    (pa.types.is_float64, "DOUBLE"),
    (pa.types.is_date, "DATE"),
    (pa.types.is_time, "TIME"),
    (pa.types.is_duration, "INTERVAL"),
    (pa.types.is_interval, "INTERVAL"),
)


def sql_type(arrow: pa.DataType) -> str:
    """The server's SQL name of an Arrow type. Texts, and what has no name, are VARCHAR, as in a NULL without a type."""
    for is_one, name in _PLAIN:
        if is_one(arrow):
            return name
    if pa.types.is_decimal(arrow):
        return f"DECIMAL({arrow.precision}, {arrow.scale})"
    if pa.types.is_timestamp(arrow):
        return "TIMESTAMP" if arrow.tz is None else "TIMESTAMP WITH TIME ZONE"
    if any(
        is_one(arrow)
        for is_one in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    ):
        return "VARBINARY"
    if pa.types.is_map(arrow):
        return f"MAP<{sql_type(arrow.key_type)}, {sql_type(arrow.item_type)}>"
    if pa.types.is_struct(arrow):
        fields = [arrow.field(index) for index in range(arrow.num_fields)]
        return f"STRUCT<{', '.join(f'{field.name} {sql_type(field.type)}' for field in fields)}>"
    if hasattr(arrow, "value_type") and not pa.types.is_dictionary(arrow):
        return f"ARRAY<{sql_type(arrow.value_type)}>"
    return "VARCHAR"
