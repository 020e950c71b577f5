"""What the ADBC Flight SQL driver sees of a server with the demo's tables. Argument and answer are JSON objects."""

import json
import sys
import warnings

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_manager import ProgrammingError

uri = json.loads(sys.argv[1])["uri"]
answer = {}

with flight_sql.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT n_nationkey, n_name FROM lake.tpch.nation WHERE n_regionkey = 3 ORDER BY n_nationkey")
    answer["execute"] = cursor.fetchall()

    cursor.execute("SELECT * FROM delta.tpch.lineitem")
    table = cursor.fetch_arrow_table()
    answer["lineitem_rows"] = table.num_rows
    answer["lineitem_columns"] = table.column_names
    answer["lineitem_quantity"] = str(sum(table["l_quantity"].to_pylist()))

    cursor.execute("SELECT n_name FROM delta.tpch.nation WHERE false")
    empty = cursor.fetch_arrow_table()
    answer["empty"] = [empty.num_rows, empty.column_names]

    parameters = []
    for key, prefix in [(0, "A%"), (8, "I%"), (8, "A%"), (24, "UNITED%")]:
        cursor.execute("SELECT n_name FROM lake.tpch.nation WHERE n_nationkey = ? AND n_name LIKE ?", (key, prefix))
        parameters.append([row[0] for row in cursor.fetchall()])
    answer["parameters"] = parameters

    try:
        cursor.execute("SELECT * FROM lake.tpch.nations")
        answer["failure"] = None
    except ProgrammingError as error:
        answer["failure"] = str(error)

    objects = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    answer["objects"] = {
        catalog["catalog_name"]: {
            schema["db_schema_name"]: {
                table["table_name"]: [table["table_type"], [column["column_name"] for column in table["table_columns"]]]
                for table in schema["db_schema_tables"] or []
            }
            for schema in catalog["catalog_db_schemas"] or []
        }
        for catalog in objects
    }
    filtered = connection.adbc_get_objects(
        depth="tables", catalog_filter="delta", db_schema_filter="tp%", table_name_filter="part%"
    )
    answer["filtered"] = [
        table["table_name"]
        for catalog in filtered.read_all().to_pylist()
        for schema in catalog["catalog_db_schemas"] or []
        for table in schema["db_schema_tables"] or []
    ]
    schema = connection.adbc_get_table_schema("nation", catalog_filter="lake", db_schema_filter="tpch")
    answer["table_schema"] = [[field.name, str(field.type)] for field in schema]
    answer["table_types"] = sorted(connection.adbc_get_table_types())
    info = connection.adbc_get_info()
    answer["vendor"] = info["vendor_name"]

# Python's default is a transaction; the driver must fall back to autocommit, with no more than a warning.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    with flight_sql.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM lake.tpch.region")
        answer["default_connection"] = cursor.fetchall()

print(json.dumps(answer))
