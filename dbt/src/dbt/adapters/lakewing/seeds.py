"""The rows of a seed as an Arrow table. The server casts them to the types of the table's columns."""

from decimal import Decimal
from typing import Any, List

import agate
import pyarrow as pa

_TYPES = (
    (agate.Boolean, pa.bool_()),
    (agate.DateTime, pa.timestamp("us")),
    (agate.Date, pa.date32()),
)


def arrow_table(table: agate.Table) -> pa.Table:
    """All columns, named by their position. Numbers keep all of their digits."""
    columns = [_column(column.data_type, list(column.values())) for column in table.columns]
    return pa.table(columns, names=[f"c{position}" for position in range(len(columns))])


def _column(kind: agate.DataType, values: List[Any]) -> pa.Array:
    if isinstance(kind, agate.Number):
        return _numbers(values)
    for known, arrow in _TYPES:
        if isinstance(kind, known):
            return pa.array(values, arrow)
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _numbers(values: List[Any]) -> pa.Array:
    """Whole numbers, or texts: a decimal point in binary would lose digits before the server knows the type."""
    whole = [int(value) for value in values if value is not None and Decimal(value) == int(value)]
    if len(whole) == sum(value is not None for value in values) and all(abs(value) < 2**63 for value in whole):
        return pa.array([None if value is None else int(value) for value in values], pa.int64())
    return pa.array([None if value is None else format(value, "f") for value in values], pa.string())
