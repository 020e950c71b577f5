"""What the ADBC driver gets for Substrait plans of other engines, and for SQL that asks the same. Argument and answer are
JSON objects.

{"uri": a server whose default catalog and namespace have TPC-H tables}

The plans in plans/ name their tables alone, as they were when their engines made them: those of Ibis by ibis-substrait
4.0.1, q6.duckdb by DuckDB 1.1.3 with its extension substrait, whose projections do not say that they drop columns: such a
plan means something else than it was made from.
"""

import base64
import json
import pathlib
import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow
from adbc_driver_manager import AdbcStatement

from sample import end

PLANS = {
    "q6.duckdb": "",
    "flags.ibis": """
        SELECT l_returnflag, l_linestatus, sum(l_quantity) AS quantity, sum(l_extendedprice * l_discount) AS discounts,
               max(l_extendedprice) AS largest, count(*) AS "rows"
        FROM lineitem WHERE l_shipdate <= DATE '1998-09-02' GROUP BY 1, 2 ORDER BY 1, 2""",
    "nations.ibis": """
        SELECT n_name, count(c_custkey) AS customers, sum(c_acctbal) AS balance
        FROM customer JOIN nation ON c_nationkey = n_nationkey
        WHERE c_acctbal > 0 GROUP BY n_name ORDER BY customers DESC, n_name LIMIT 5""",
}


def rows(table):
    return [[str(value) for value in row.values()] for row in table.to_pylist()]


def at_once(connection, plan):
    """Without a prepared statement."""
    with AdbcStatement(connection.adbc_connection) as statement:
        statement.set_substrait_plan(plan)
        stream, _ = statement.execute_query()
        return pyarrow.RecordBatchReader._import_from_c(stream.address).read_all()


answer = {}
with flight_sql.connect(json.loads(sys.argv[1])["uri"], autocommit=True) as connection, connection.cursor() as cursor:
    for name, sql in PLANS.items():
        plan = base64.b64decode((pathlib.Path(__file__).parent / "plans" / f"{name}.base64").read_text())
        try:
            cursor.execute(plan)
        except Exception as error:
            answer[name] = str(error)
            continue
        prepared = cursor.fetch_arrow_table()
        cursor.execute(sql)
        answer[name] = {
            "prepared": rows(prepared),
            "columns": prepared.column_names,
            "at_once": rows(at_once(connection, plan)),
            "sql": rows(cursor.fetch_arrow_table()),
        }
    try:
        at_once(connection, plan[: len(plan) // 2])
    except Exception as error:
        answer["cut"] = str(error)

end(answer)
