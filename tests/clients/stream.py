"""Reads one result as fast as the ADBC driver can: {"uri": Flight SQL server, "sql": query, "set": what is SET before};
answers rows and seconds."""

import json
import sys
import time

import adbc_driver_flightsql.dbapi as flight_sql

request = json.loads(sys.argv[1])
login = {key: request[key] for key in ("username", "password") if key in request}
with (
    flight_sql.connect(request["uri"], db_kwargs=login, autocommit=True) as connection,
    connection.cursor() as cursor,
):
    if "set" in request:
        cursor.execute("SET " + request["set"])
    began = time.perf_counter()
    cursor.execute(request["sql"])
    rows = bytes = 0
    for batch in cursor.fetch_record_batch():
        rows += batch.num_rows
        bytes += batch.nbytes
    seconds = time.perf_counter() - began
print(json.dumps({"rows": rows, "bytes": bytes, "seconds": seconds}))
