"""What the ADBC driver gets for Substrait plans of other engines, and for SQL that asks the same. Argument and answer are
JSON objects.

{"uri": a server with the demo's tables}

The plans in plans/ name their tables alone, as they were when their engines made them: q6.duckdb by DuckDB 1.1.3 with its
extension substrait (`CALL get_substrait(..., enable_optimizer=false)`), nations.ibis by ibis-substrait 4.0.1.
"""

import json
import pathlib
import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow
from adbc_driver_manager import AdbcStatement

from sample import end

PLANS = {
    "q6.duckdb": """
        SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem
        WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
          AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24""",
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


def failure(work):
    try:
        work()
    except Exception as error:
        return str(error)
    return None


uri = json.loads(sys.argv[1])["uri"]
answer = {}
for catalog in ["lake", "delta"]:
    place = {"adbc.connection.catalog": catalog, "adbc.connection.db_schema": "tpch"}
    with flight_sql.connect(uri, conn_kwargs=place, autocommit=True) as connection, connection.cursor() as cursor:
        for name, sql in PLANS.items():
            plan = (pathlib.Path(__file__).parent / "plans" / name).read_bytes()
            cursor.execute(sql)
            asked = {"sql": rows(cursor.fetch_arrow_table())}
            cursor.execute(plan)
            prepared = cursor.fetch_arrow_table()
            asked["prepared"] = rows(prepared)
            asked["columns"] = prepared.column_names
            asked["at_once"] = rows(at_once(connection, plan))
            answer[f"{catalog} {name}"] = asked
        answer["cut"] = failure(lambda: at_once(connection, plan[: len(plan) // 2]))
with flight_sql.connect(uri, autocommit=True) as connection:
    answer["no such table"] = failure(lambda: at_once(connection, plan))

end(answer)
