"""What ADBC writes into a table with executemany and ingest. Argument and answer are JSON objects."""

import json
import sys

import adbc_driver_flightsql.dbapi as flight_sql

request = json.loads(sys.argv[1])
answer = {}
with flight_sql.connect(request["uri"], autocommit=True) as connection, connection.cursor() as cursor:
    table = request["table"]
    rows = [(number, f"name {number}" if number % 3 else None) for number in range(10_000)]
    cursor.executemany(f"INSERT INTO {table} (id, name) VALUES (?, ?)", rows)
    answer["rowcount"] = cursor.rowcount
    cursor.execute(f"INSERT INTO {table} (id, name) VALUES (-1, 'by execute')")
    cursor.execute(f"SELECT count(*), count(name), sum(id) FROM {table}")
    answer["rows"] = list(cursor.fetchone())
    cursor.execute(f"UPDATE {table} SET name = ? WHERE id = ?", ("changed", 7))
    cursor.execute(f"SELECT name FROM {table} WHERE id = 7")
    answer["changed"] = cursor.fetchone()[0]
end = json.dumps(answer)
print(end)
