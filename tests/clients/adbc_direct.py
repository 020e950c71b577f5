"""Fetches a result whose parts executors offer: {"uri", "user", "password", "sql"}; answers rows, the sum of the first
column, and the places of the parts."""

import json
import re
import sys

import adbc_driver_flightsql.dbapi as flight_sql

request = json.loads(sys.argv[1])
login = {"username": request["user"], "password": request["password"]}
with flight_sql.connect(request["uri"], db_kwargs=login, autocommit=True) as connection:
    with connection.cursor() as cursor:
        cursor.execute("SET direct_results = 'on'")
        cursor.execute(request["sql"])
        table = cursor.fetch_arrow_table()
        partitions, _ = cursor.adbc_execute_partitions(request["sql"])
        places = [re.findall(rb"(?:grpc\+\w+|arrow-flight[\w-]*)://[\w.:?]*", partition) for partition in partitions]
total = sum(table.column(0).to_pylist())
print(json.dumps({"rows": table.num_rows, "sum": total, "places": [[p.decode() for p in part] for part in places]}))
