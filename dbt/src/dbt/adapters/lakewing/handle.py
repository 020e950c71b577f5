"""One connection over ADBC with the shape of a database driver that dbt expects.

Statements run one by one: the server takes one statement for each call, and each stands alone.
"""

import re
from typing import Any, Iterator, List, Literal, Optional, Sequence, Tuple

import pyarrow as pa
from adbc_driver_flightsql import dbapi

#: Rows that are converted to Python, or sent, at once.
PAGE_ROWS = 10_000


class Cursor:
    """Runs statements and gives their rows as Python values."""

    def __init__(self, handle: "Handle") -> None:
        self._handle = handle
        self._cursor = handle.connection.cursor()
        self._rows: Optional[Iterator[Tuple[Any, ...]]] = None
        self._schema: Optional[pa.Schema] = None

    def execute(self, sql: str, bindings: Optional[Sequence[Any]] = None) -> None:
        """Runs each statement of `sql`; the last one's rows are those of the cursor. `bindings` go with every one."""
        for statement in split(sql):
            self._execute(statement, bindings)

    def _execute(self, sql: str, bindings: Optional[Sequence[Any]]) -> None:
        self._rows = self._schema = None
        self._handle.running = self._cursor
        try:
            self._cursor.execute(sql, tuple(bindings) if bindings else None)
            if self._cursor.description:
                reader = self._cursor.fetch_record_batch()
                self._schema = reader.schema
                self._rows = _rows(reader)
        finally:
            self._handle.running = None

    def ingest(self, name: Tuple[str, str, str], rows: pa.Table, mode: Literal["append", "replace"]) -> None:
        """Sends rows into the table of that catalog, schema and name, as one commit: `append` takes its columns by their
        names and casts to their types, `replace` makes the table, in the place of one that there may be."""
        self._rows = self._schema = None
        catalog, schema, table = name
        pages = pa.Table.from_batches(rows.combine_chunks().to_batches(PAGE_ROWS), rows.schema)
        self._cursor.adbc_ingest(table, pages, mode=mode, catalog_name=catalog, db_schema_name=schema)

    def fetch_arrow(self, sql: str) -> pa.Table:
        """All rows of one query."""
        self._cursor.execute(sql)
        return self._cursor.fetch_arrow_table()

    @property
    def schema(self) -> Optional[pa.Schema]:
        """The columns of the last statement; none where it gave no rows."""
        return self._schema

    @property
    def description(self) -> Optional[List[Tuple[Any, ...]]]:
        if self._schema is None:
            return None
        return [(field.name, field.type, None, None, None, None, field.nullable) for field in self._schema]

    @property
    def rowcount(self) -> int:
        return int(self._cursor.rowcount)

    def fetchone(self) -> Optional[Tuple[Any, ...]]:
        return next(self._rows, None) if self._rows is not None else None

    def fetchmany(self, size: int) -> List[Tuple[Any, ...]]:
        rows = self._rows if self._rows is not None else iter(())
        return [row for row, _ in zip(rows, range(size))]

    def fetchall(self) -> List[Tuple[Any, ...]]:
        return list(self._rows) if self._rows is not None else []

    def close(self) -> None:
        self._cursor.close()


class Handle:
    """A connection of one dbt thread. There are no transactions: every statement is one commit."""

    def __init__(self, connection: dbapi.Connection) -> None:
        self.connection = connection
        self.running: Optional[dbapi.Cursor] = None

    def cursor(self) -> Cursor:
        return Cursor(self)

    def cancel(self) -> None:
        """Ends the statement that runs, if one does; called from another thread."""
        running = self.running
        if running is not None:
            running.adbc_cancel()

    def commit(self) -> None:
        """Nothing waits for a commit."""

    def rollback(self) -> None:
        """Nothing can be taken back."""

    def close(self) -> None:
        self.connection.close()


#: What hides a semicolon, the semicolon itself, and everything else, in this order.
_TOKEN = re.compile(
    r"""
    (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
    |(?P<comment>--[^\n]*|/\*.*?\*/)
    |(?P<end>;)
    |(?P<space>\s+)
    |(?P<text>[^'"\-/;\s$]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


def split(sql: str) -> List[str]:
    """The statements of a text, without those that are empty or only comments."""
    statements, start, has_text = [], 0, False
    for token in _TOKEN.finditer(sql):
        if token.lastgroup == "end":
            if has_text:
                statements.append(sql[start : token.start()].strip())
            start, has_text = token.end(), False
        elif token.lastgroup in ("quoted", "text"):
            has_text = True
    if has_text:
        statements.append(sql[start:].strip())
    return statements


def _rows(reader: pa.RecordBatchReader) -> Iterator[Tuple[Any, ...]]:
    for batch in reader:
        for start in range(0, batch.num_rows, PAGE_ROWS):
            page = batch.slice(start, PAGE_ROWS)
            yield from zip(*(_values(column) for column in page.columns))


def _values(column: pa.Array) -> List[Any]:
    """Python has no nanoseconds: they are cut."""
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    elif pa.types.is_time64(column.type) and column.type.unit == "ns":
        column = column.cast(pa.time64("us"), safe=False)
    return list(column.to_pylist())
