"""What a case of spark_tables.py is: a function that fills one table. The folder of a table is named after the case."""

import dataclasses
import datetime
import time
import typing

# Per table: every property that makes small files have several row groups and pages.
SMALL_ROW_GROUPS = {
    "write.parquet.row-group-size-bytes": "8192",
    "write.parquet.row-group-check-min-record-count": "50",
    "write.parquet.row-group-check-max-record-count": "50",
    "write.parquet.page-row-limit": "40",
}
MERGE_ON_READ = {
    "write.delete.mode": "merge-on-read",
    "write.update.mode": "merge-on-read",
    "write.merge.mode": "merge-on-read",
}
# Columns of rows(): negative numbers, dates and times before 1970, NULLs, NaN, letters beyond ASCII.
COLUMNS = "id bigint, k int, s string, d date, ts timestamp, amt decimal(9,2), x double"
ROWS = """
  SELECT id, CAST(id % 9 - 4 AS int) AS k,
    CASE WHEN id % 11 = 0 THEN NULL WHEN id % 7 = 0 THEN concat('ÄÖ-', id % 23) ELSE concat('row', id % 23) END AS s,
    date_add(DATE'1969-11-15', CAST(id % 90 AS int)) AS d,
    timestamp_micros(id * 7654321000 - 2000000000001) AS ts,
    CAST((id % 1000 - 500) * 1.37 AS decimal(9,2)) AS amt,
    CASE WHEN id % 13 = 0 THEN NULL WHEN id % 17 = 0 THEN double('NaN') ELSE id / 8.0D - 20 END AS x
  FROM range({start}, {end}, 1, {files})
"""


@dataclasses.dataclass
class Case:
    format: str
    write: typing.Callable


CASES: dict[str, Case] = {}


def iceberg(function):
    CASES[function.__name__] = Case("iceberg", function)
    return function


def delta(function):
    CASES["delta_" + function.__name__] = Case("delta", function)
    return function


def rows(start, end, files=2):
    """A query of the rows whose ids lie in [start, end), in that many tasks."""
    return ROWS.format(start=start, end=end, files=files)


def properties(*sets, **more):
    """TBLPROPERTIES of these dictionaries."""
    merged = {name: value for one in (*sets, more) for name, value in one.items()}
    return "TBLPROPERTIES (" + ", ".join(f"'{name}' = '{value}'" for name, value in merged.items()) + ")"


class Table:
    """The table of one case; {t} in a statement is its name in Spark."""

    def __init__(self, spark, folder, format, name):
        self.spark, self.format = spark, format
        self.place = folder
        if format == "iceberg":
            self.folder, self.name = folder / "iceberg/db" / name, f"ice.db.{name}"
        else:
            self.folder = folder / "delta" / name
            self.name = f"delta.`{self.folder}`"
        self.clauses, self.queries, self.selected, self.suffix = [], [], "*", ""

    def text(self, statement):
        return statement.replace("{t}", self.name)

    def run(self, *statements):
        for statement in statements:
            self.spark.sql(self.text(statement))

    def create(self, columns=COLUMNS, layout="", **more):
        """Creates it; `layout` is what stands between the columns and the properties."""
        if self.format == "iceberg":
            own = properties(SMALL_ROW_GROUPS, more)
        else:
            own = properties(more) if more else ""
        self.run(f"CREATE TABLE {{t}} ({columns}) USING {self.format} {layout} {own}")

    def ask(self, *queries):
        """Queries whose answers shall be those that the rows of Spark give."""
        self.queries.extend(queries)

    def ask_of_rows(self, *columns):
        """Spark's rows are compared with what t$rows tells: `columns` are those of the table and Spark's of each row."""
        self.selected, self.suffix = ", ".join(columns), "$rows"

    def keep(self, clause=None):
        """Spark's rows are compared under this clause too; without one, under the present version."""
        self.clauses.append(clause or f"FOR VERSION AS OF {self.version()}")

    def moment(self):
        """Spark's rows are compared under the present time too, which lies between two commits."""
        time.sleep(0.02)
        now = datetime.datetime.now(datetime.timezone.utc)
        self.keep(f"FOR TIMESTAMP AS OF '{now:%Y-%m-%d %H:%M:%S.%f}'")
        time.sleep(0.02)

    def version(self):
        if self.format == "iceberg":
            return self.java().currentSnapshot().snapshotId()
        return max(int(file.stem) for file in (self.folder / "_delta_log").glob("*.json") if file.stem.isdigit())

    def java(self):
        """The table as an object of Iceberg's own library."""
        jvm = self.spark._jvm
        return jvm.org.apache.iceberg.spark.Spark3Util.loadIcebergTable(self.spark._jsparkSession, self.name)
