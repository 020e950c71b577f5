"""Models in Python. They run in the process of dbt; what they say about tables of the lake runs on the server.

A model gets tables as a `Frame`, which is a query that has not run, and returns one, or anything that speaks Arrow: a
table of pyarrow, a data frame of pandas or polars, a relation of DuckDB.
"""

from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import pyarrow as pa
from dbt_common.exceptions import DbtRuntimeError

#: Runs a query and gives all of its rows.
Fetch = Callable[[str], pa.Table]


class Expression:
    """A value in SQL, with the operators of Python."""

    def __init__(self, sql: str) -> None:
        self.sql = sql

    def _with(self, operator: str, other: Any) -> "Expression":
        return Expression(f"({self.sql} {operator} {literal(other)})")

    def __eq__(self, other: object) -> "Expression":  # type: ignore[override]
        return self._with("=", other)

    def __ne__(self, other: object) -> "Expression":  # type: ignore[override]
        return self._with("<>", other)

    def __lt__(self, other: Any) -> "Expression":
        return self._with("<", other)

    def __le__(self, other: Any) -> "Expression":
        return self._with("<=", other)

    def __gt__(self, other: Any) -> "Expression":
        return self._with(">", other)

    def __ge__(self, other: Any) -> "Expression":
        return self._with(">=", other)

    def __and__(self, other: Any) -> "Expression":
        return self._with("and", other)

    def __or__(self, other: Any) -> "Expression":
        return self._with("or", other)

    def __add__(self, other: Any) -> "Expression":
        return self._with("+", other)

    def __sub__(self, other: Any) -> "Expression":
        return self._with("-", other)

    def __mul__(self, other: Any) -> "Expression":
        return self._with("*", other)

    def __truediv__(self, other: Any) -> "Expression":
        return self._with("/", other)

    def __invert__(self) -> "Expression":
        return Expression(f"(not {self.sql})")

    def is_null(self) -> "Expression":
        return Expression(f"({self.sql} is null)")

    def alias(self, name: str) -> "Expression":
        return Expression(f"{self.sql} as {quoted(name)}")

    def __bool__(self) -> bool:
        raise DbtRuntimeError(f"{self.sql} is known by the server only: write & | ~ instead of and, or, not")

    __hash__ = None  # type: ignore[assignment]


class Frame:
    """The rows of a query, which runs on the server, and not before they are asked for."""

    def __init__(self, sql: str, fetch: Fetch) -> None:
        self.sql, self._fetch = sql, fetch

    def _of(self, sql: str) -> "Frame":
        return Frame(sql, self._fetch)

    @property
    def columns(self) -> List[str]:
        """The names of the columns."""
        return list(self._fetch(f"select * from ({self.sql}\n) as frame limit 0").column_names)

    def __getitem__(self, name: str) -> Expression:
        return Expression(quoted(name))

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_"):
            raise AttributeError(name)
        return Expression(quoted(name))

    def select(self, *columns: Union[str, Expression]) -> "Frame":
        """These columns, by name or computed."""
        chosen = (column.sql if isinstance(column, Expression) else quoted(column) for column in columns)
        return self._of(f"select {', '.join(chosen)} from ({self.sql}\n) as frame")

    def filter(self, condition: Union[str, Expression]) -> "Frame":
        """The rows that meet the condition; a text is SQL."""
        text = condition.sql if isinstance(condition, Expression) else condition
        return self._of(f"select * from ({self.sql}\n) as frame where {text}")

    def limit(self, count: int) -> "Frame":
        """At most so many rows."""
        return self._of(f"select * from ({self.sql}\n) as frame limit {int(count)}")

    def arrow(self) -> pa.Table:
        """All rows, here."""
        return self._fetch(self.sql)

    def df(self) -> Any:
        """All rows, here, as a data frame of pandas."""
        return self.arrow().to_pandas()


class Session:
    """What a model knows as `session`."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def sql(self, query: str) -> Frame:
        """The rows of a query."""
        return Frame(query, self._fetch)

    def table(self, name: str) -> Frame:
        """The rows of a table, named as in SQL."""
        return self.sql(f"select * from {name}")

    def createDataFrame(  # noqa: N802
        self, data: Sequence[Sequence[Any]], schema: Optional[Union[Sequence[str], pa.Schema]] = None
    ) -> pa.Table:
        """Rows of Python values; `schema` has the names of their columns, or a schema of pyarrow."""
        if schema is None:
            raise DbtRuntimeError("createDataFrame takes the names of the columns")
        names = list(schema.names if isinstance(schema, pa.Schema) else schema)
        if any(len(row) != len(names) for row in data):
            raise DbtRuntimeError(f"createDataFrame takes {len(names)} values in each row: {', '.join(names)}")
        columns = {name: [row[place] for row in data] for place, name in enumerate(names)}
        return pa.table(columns, schema=schema if isinstance(schema, pa.Schema) else None)


def run(code: str, fetch: Fetch) -> Union[Frame, pa.Table]:
    """Runs the function `model` in `code` and gives what it returns: a query, or rows."""
    names: Dict[str, Any] = {"__name__": "dbt_python_model"}
    exec(compile(code, "<python model>", "exec"), names)  # noqa: S102
    session = Session(fetch)
    returned = names["model"](names["dbtObj"](session.table), session)
    return returned if isinstance(returned, Frame) else rows_of(returned)


def rows_of(returned: Any) -> pa.Table:
    """The rows that an object has."""
    if isinstance(returned, pa.Table):
        return returned
    if hasattr(returned, "__arrow_c_stream__"):
        return pa.table(returned)
    if type(returned).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(returned, preserve_index=False)
    raise DbtRuntimeError(
        f"a model returns a table that dbt.ref, dbt.source or session gave, or one that speaks Arrow, and not {type(returned)}"
    )


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """A value of Python in SQL."""
    if isinstance(value, Expression):
        return value.sql
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value).replace("'", "''")
    return f"'{text}'"
