"""What the ADBC driver lists, at every depth and with every filter. Argument and answer are JSON objects."""

import json
import sys

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_manager import Error

uri = json.loads(sys.argv[1])["uri"]
answer = {}


def flat(connection, **arguments):
    """Every object as a path, as deep as it was asked for."""
    paths = []
    for catalog in connection.adbc_get_objects(**arguments).read_all().to_pylist():
        schemas = catalog["catalog_db_schemas"]
        paths += [catalog["catalog_name"]] if schemas is None else []
        for schema in schemas or []:
            tables = schema["db_schema_tables"]
            path = f"{catalog['catalog_name']}.{schema['db_schema_name']}"
            paths += [path] if tables is None else []
            for table in tables or []:
                columns = table["table_columns"]
                paths += [f"{path}.{table['table_name']}"] if columns is None else []
                paths += [f"{path}.{table['table_name']}.{column['column_name']}" for column in columns or []]
    return paths


with flight_sql.connect(uri, autocommit=True) as connection:
    depths = ["catalogs", "db_schemas", "tables", "columns", "all"]
    answer["depths"] = {depth: len(flat(connection, depth=depth)) for depth in depths}
    answer["catalogs"] = flat(connection, depth="catalogs")
    filters = {
        "catalog pattern": {"depth": "db_schemas", "catalog_filter": "lak_"},
        "catalog": {"depth": "db_schemas", "catalog_filter": "lake"},
        "no catalog": {"depth": "db_schemas", "catalog_filter": ""},
        "schema": {"depth": "db_schemas", "db_schema_filter": "t_ped"},
        "table": {"depth": "tables", "catalog_filter": "lake", "table_name_filter": "part%"},
        "escape": {"depth": "tables", "catalog_filter": "lake", "table_name_filter": "part\\%"},
        "escaped": {"depth": "db_schemas", "db_schema_filter": "typ\\ed"},
        "column": {"depth": "columns", "db_schema_filter": "typed", "column_name_filter": "a_b%"},
        "type": {"depth": "tables", "catalog_filter": "lake", "table_types_filter": ["VIEW"]},
        "types": {"depth": "tables", "db_schema_filter": "typed", "table_types_filter": ["VIEW", "BASE TABLE"]},
    }
    answer["filters"] = {name: flat(connection, **arguments) for name, arguments in filters.items()}

    schema = connection.adbc_get_table_schema("every", catalog_filter="delta", db_schema_filter="typed")
    answer["schema"] = [[field.name, str(field.type), field.nullable] for field in schema]
    answer["types"] = [field.metadata[b"ARROW:FLIGHT:SQL:TYPE_NAME"].decode() for field in schema]
    try:
        connection.adbc_get_table_schema("nobody", catalog_filter="delta")
    except Error as error:
        answer["no table"] = error.status_code.name
    answer["table types"] = connection.adbc_get_table_types()
    info = connection.adbc_get_info()
    answer["info"] = {name: info[name] for name in ["vendor_name", "vendor_arrow_version"]}

print(json.dumps(answer))
