"""Apache Superset over its REST API: a database of the lake, its schemas and tables, SQL Lab, a dataset and a chart.

{"superset": URL of its server, "lake": HOST:PORT of Flight SQL}; needs Python's standard library only.
"""

import json
import sys
import urllib.error
import urllib.request

request = json.loads(sys.argv[1])
token = None


def call(method, path, body=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    url = request["superset"] + path
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{method} {path}: {error.code} {error.read().decode()[:2000]}") from error


login = {"username": "admin", "password": "admin", "provider": "db", "refresh": False}
token = call("POST", "/api/v1/security/login", login)["access_token"]
answer = {}

lake = {
    "database_name": "lake",
    "sqlalchemy_uri": f"datafusion://{request['lake']}?insecure=True",
}
answer["connection"] = call("POST", "/api/v1/database/test_connection/", lake)["message"]
database = call("POST", "/api/v1/database/", lake | {"expose_in_sqllab": True})["id"]
answer["schemas"] = call("GET", f"/api/v1/database/{database}/schemas/")["result"]
tables = call("GET", f"/api/v1/database/{database}/tables/?q=(schema_name:tpch)")["result"]
answer["tables"] = sorted({table["value"] for table in tables})
columns = call("GET", f"/api/v1/database/{database}/table/nation/tpch/")["columns"]
answer["columns"] = [[column["name"], column["type"]] for column in columns]

sql = "SELECT r_name, count(*) AS nations FROM tpch.nation JOIN tpch.region ON n_regionkey = r_regionkey GROUP BY 1 ORDER BY 1"
run = {"database_id": database, "sql": sql, "schema": "tpch", "runAsync": False, "client_id": "lab1", "queryLimit": 100}
answer["lab"] = call("POST", "/api/v1/sqllab/execute/", run)["data"]

dataset = call("POST", "/api/v1/dataset/", {"database": database, "schema": "tpch", "table_name": "orders"})["id"]
described = call("GET", f"/api/v1/dataset/{dataset}")["result"]["columns"]
answer["times"] = sorted(column["column_name"] for column in described if column["is_dttm"])
query = {
    "columns": ["o_orderpriority"],
    "metrics": [{"label": "total", "expressionType": "SQL", "sqlExpression": "SUM(o_totalprice)"}, "count"],
    "filters": [{"col": "o_orderstatus", "op": "IN", "val": ["F", "O"]}],
    "time_range": "1995-01-01 : 1996-01-01",
    "granularity": "o_orderdate",
    "orderby": [["o_orderpriority", True]],
    "row_limit": 10,
}
chart = {"datasource": {"id": dataset, "type": "table"}, "queries": [query], "result_format": "json", "result_type": "full"}
result = call("POST", "/api/v1/chart/data", chart)["result"][0]
answer["chart"] = {"error": result["error"], "rows": result["data"]}
print(json.dumps(answer))
