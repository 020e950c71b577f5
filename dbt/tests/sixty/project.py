"""Writes the project: 8 views over the sources, 12 views, 26 tables and 14 incremental models upon them; 3 snapshots, a
seed, and tests of all of them.

The variable `through` is a date: orders and lines from then on are not seen yet. A second build with a later one has new
rows for incremental models and snapshots. Numbers are exact: decimals, and counts.
"""

import json
from pathlib import Path

#: Of each staging model: its table, its key, and its columns.
STAGED = {
    "region": ("r_regionkey", "r_regionkey, r_name"),
    "nation": ("n_nationkey", "n_nationkey, n_name, n_regionkey"),
    "supplier": ("s_suppkey", "s_suppkey, s_name, s_nationkey, s_acctbal"),
    "customer": ("c_custkey", "c_custkey, c_name, c_nationkey, c_mktsegment, c_acctbal"),
    "part": ("p_partkey", "p_partkey, p_name, p_brand, p_type, p_size, p_container, p_retailprice"),
    "partsupp": (None, "ps_partkey, ps_suppkey, ps_availqty, ps_supplycost"),
    "orders": ("o_orderkey", "o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority"),
    "lineitem": (
        None,
        "l_orderkey, l_linenumber, l_partkey, l_suppkey, l_quantity, l_extendedprice, l_discount, l_shipdate, "
        "l_returnflag, l_shipmode",
    ),
}

REVENUE = "l_extendedprice * (1 - l_discount)"

#: Views upon the staging models.
JOINED = {
    "places": "select n_nationkey, n_name, r_name from {nation} join {region} on n_regionkey = r_regionkey",
    "customers": "select c.*, n_name, r_name from {customer} c join {places} on c_nationkey = n_nationkey",
    "suppliers": "select s.*, n_name, r_name from {supplier} s join {places} on s_nationkey = n_nationkey",
    "order_lines": "select l.*, o_custkey, o_orderdate, o_orderpriority, " + REVENUE + " as revenue"
    " from {lineitem} l join {orders} on l_orderkey = o_orderkey",
    "order_totals": "select l_orderkey, count(*) as lines, sum(" + REVENUE + ") as revenue from {lineitem}"
    " group by l_orderkey",
    "orders_of_customers": "select o.*, c_mktsegment, n_name, r_name from {orders} o join {customers} on o_custkey = c_custkey",
    "late_lines": "select l_orderkey, l_linenumber, l_shipdate, o_orderdate from {order_lines}"
    " where l_shipdate > {ninety_days}",
    "stock": "select ps.*, p_brand, p_type, s_name from {partsupp} ps join {part} on ps_partkey = p_partkey"
    " join {supplier} on ps_suppkey = s_suppkey",
    "first_orders": "select o_custkey, min(o_orderdate) as first_on from {orders} group by o_custkey",
    "returned": "select l_orderkey, l_partkey, revenue from {order_lines} where l_returnflag = 'R'",
    "lines_of_nations": "select n_name, r_name, o_orderdate, revenue from {order_lines} join {customers}"
    " on o_custkey = c_custkey",
    "lines_of_parts": "select l_partkey, p_brand, p_container, l_quantity, revenue from {order_lines}"
    " join {part} on l_partkey = p_partkey",
}

#: Tables by what they group, which of it, and what of it.
GROUPED = {
    "revenue_by_nation": ("{lines_of_nations}", "n_name", "revenue"),
    "revenue_by_region": ("{lines_of_nations}", "r_name", "revenue"),
    "revenue_by_brand": ("{lines_of_parts}", "p_brand", "revenue"),
    "revenue_by_container": ("{lines_of_parts}", "p_container", "revenue"),
    "revenue_by_mode": ("{order_lines}", "l_shipmode", "revenue"),
    "revenue_by_flag": ("{order_lines}", "l_returnflag", "revenue"),
    "revenue_by_customer": ("{order_lines}", "o_custkey", "revenue"),
    "revenue_by_supplier": ("{order_lines}", "l_suppkey", "revenue"),
    "revenue_by_part": ("{order_lines}", "l_partkey", "revenue"),
    "revenue_by_day": ("{order_lines}", "o_orderdate", "revenue"),
    "quantity_by_brand": ("{lines_of_parts}", "p_brand", "l_quantity"),
    "quantity_by_part": ("{lineitem}", "l_partkey", "l_quantity"),
    "returns_by_part": ("{returned}", "l_partkey", "revenue"),
    "orders_by_priority": ("{orders}", "o_orderpriority", "o_totalprice"),
    "orders_by_status": ("{orders}", "o_orderstatus", "o_totalprice"),
    "orders_by_segment": ("{orders_of_customers}", "c_mktsegment", "o_totalprice"),
    "orders_by_nation": ("{orders_of_customers}", "n_name", "o_totalprice"),
    "customers_by_nation": ("{customers}", "n_name", "c_acctbal"),
    "customers_by_segment": ("{customers}", "c_mktsegment", "c_acctbal"),
    "suppliers_by_nation": ("{suppliers}", "n_name", "s_acctbal"),
    "stock_by_brand": ("{stock}", "p_brand", "ps_availqty"),
    "stock_by_supplier": ("{stock}", "s_name", "ps_availqty"),
}

#: Other tables.
TABLES = {
    "best_customers": "select o_custkey, rows_in, total, place from (select t.*, row_number() over"
    " (order by total desc, o_custkey) as place from {revenue_by_customer} t) ranked where place <= 100",
    "shares_of_nations": "select n.n_name, n.total as revenue, o.total as orders_total, o.rows_in as orders"
    " from {revenue_by_nation} n join {orders_by_nation} o on n.n_name = o.n_name",
    "customers_without_orders": "select c_custkey, c_name from {customers}"
    " where c_custkey not in (select o_custkey from {orders})",
    "cohorts": "select first_on, count(*) as customers from {first_orders} group by first_on",
}

#: Incremental models by their strategy: what they are made of, their keys, and the column that tells new rows.
INCREMENTAL = {
    "append": {
        "orders_seen": ("select o_orderkey, o_custkey, o_totalprice, o_orderdate from {orders}", "o_orderdate"),
        "lines_seen": ("select l_orderkey, l_linenumber, revenue, o_orderdate from {order_lines}", "o_orderdate"),
        "late_seen": ("select l_orderkey, l_linenumber, l_shipdate, o_orderdate from {late_lines}", "o_orderdate"),
        "returns_seen": (
            "select l_orderkey, l_linenumber, l_partkey, o_orderdate from {order_lines} where l_returnflag = 'R'",
            "o_orderdate",
        ),
    },
    "merge": {
        "orders_now": ("select o_orderkey, o_orderstatus, o_totalprice from {orders}", ["o_orderkey"]),
        "totals_now": ("select l_orderkey, lines, revenue from {order_totals}", ["l_orderkey"]),
        "customers_now": ("select o_custkey, rows_in, total from {revenue_by_customer}", ["o_custkey"]),
        "parts_now": ("select l_partkey, rows_in, total from {revenue_by_part}", ["l_partkey"]),
        "brands_now": ("select p_brand, rows_in, total from {quantity_by_brand}", ["p_brand"]),
        "nations_now": ("select n_name, revenue, orders from {shares_of_nations}", ["n_name"]),
        "days_now": ("select o_orderdate, rows_in, total from {revenue_by_day}", ["o_orderdate"]),
        "modes_now": ("select l_shipmode, rows_in, total from {revenue_by_mode}", ["l_shipmode"]),
        "lines_now": ("select l_orderkey, l_linenumber, revenue from {order_lines}", ["l_orderkey", "l_linenumber"]),
        "first_now": ("select o_custkey, first_on from {first_orders}", ["o_custkey"]),
    },
}

SNAPSHOTS = {
    "customers_then": ("c_custkey", "select c_custkey, c_name, coalesce(total, 0) as total from {customer}"
    " left join {revenue_by_customer} on c_custkey = o_custkey"),
    "nations_then": ("n_name", "select n_name, revenue, orders from {shares_of_nations}"),
    "statuses_then": ("o_orderstatus", "select o_orderstatus, rows_in, total from {orders_by_status}"),
}

MODELS = len(STAGED) + len(JOINED) + len(GROUPED) + len(TABLES) + sum(map(len, INCREMENTAL.values()))
assert MODELS == 60, MODELS


def models():
    """The names of all models, snapshots and seeds that have rows of their own, and views."""
    staged = [f"stg_{name}" for name in STAGED]
    incremental = [name for kind in INCREMENTAL.values() for name in kind]
    return [*staged, *JOINED, *GROUPED, *TABLES, *incremental]


def write(folder, kind, settings):
    """The project for an adapter of that `kind`, and its profile with `settings`."""
    folder = Path(folder)
    for name in ("models", "snapshots", "seeds", "tests"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    on_spark = kind == "spark"
    # What a later statement changes is a table of Delta there.
    delta = ", file_format='delta'" if on_spark else ""
    project = {
        "name": "sixty", "version": "1.0", "profile": "sixty", "config-version": 2,
        "model-paths": ["models"], "snapshot-paths": ["snapshots"], "seed-paths": ["seeds"], "test-paths": ["tests"],
        "vars": {"through": "1999-01-01"},
        "flags": {"send_anonymous_usage_stats": False},
    }
    dump(folder / "dbt_project.yml", project)
    dump(folder / "profiles.yml", {"sixty": {"target": "run", "outputs": {"run": {"type": kind, "threads": 8, **settings}}}})
    columns, docs = [], []
    source_tables = [{"name": name} for name in STAGED]
    for name, (key, wanted) in STAGED.items():
        seen = {"orders": " where o_orderdate < cast('{{ var(\"through\") }}' as date)", "lineitem": (
            " where l_orderkey in (select o_orderkey from {{ ref('stg_orders') }})")}.get(name, "")
        model(folder, f"stg_{name}", "view", f"select {wanted} from {{{{ source('tpch', '{name}') }}}}{seen}")
        tests = [{"not_null": {}}, {"unique": {}}] if key else []
        columns = [{"name": key, "data_tests": [next(iter(test)) for test in tests]}] if key else []
        docs.append({"name": f"stg_{name}", "description": f"The table {name}", "columns": columns})
    for name, sql in JOINED.items():
        model(folder, name, "view", sql)
    for name, (source, by, of) in GROUPED.items():
        model(folder, name, "table", f"select {by}, count(*) as rows_in, sum({of}) as total from {source} group by {by}")
        docs.append({"name": name, "columns": [{"name": by, "data_tests": ["unique", "not_null"]}]})
    for name, sql in TABLES.items():
        model(folder, name, "table", sql)
    for name, (sql, newest) in INCREMENTAL["append"].items():
        more = f"\n{{% if is_incremental() %}} where {newest} > (select max({newest}) from {{{{ this }}}}) {{% endif %}}"
        model(folder, name, f"incremental', incremental_strategy='append'{delta}, on_schema_change='ignore",
              f"select * from ({sql}) s{more}")
    strategy = "delete+insert" if kind == "duckdb" else "merge"
    for name, (sql, keys) in INCREMENTAL["merge"].items():
        model(folder, name, f"incremental', incremental_strategy='{strategy}', unique_key={keys}{delta}, on_schema_change='ignore", sql)
        if len(keys) == 1:
            docs.append({"name": name, "columns": [{"name": keys[0], "data_tests": ["unique", "not_null"]}]})
    for name, (key, sql) in SNAPSHOTS.items():
        text = f"{{% snapshot {name} %}}\n{{{{ config(target_schema=target.schema, unique_key='{key}', strategy='check'," \
               f" check_cols='all'{delta}) }}}}\n{named(sql)}\n{{% endsnapshot %}}\n"
        (folder / "snapshots" / f"{name}.sql").write_text(text)
    (folder / "seeds" / "flags.csv").write_text("flag,meaning\nA,accepted\nN,none\nR,returned\n")
    (folder / "tests" / "lines_count_once.sql").write_text(
        "select 1 as wrong from (select sum(rows_in) as n from {{ ref('revenue_by_day') }}) a,"
        " (select count(*) as n from {{ ref('stg_lineitem') }}) b where a.n <> b.n\n")
    (folder / "tests" / "seen_as_often_as_there.sql").write_text(
        "select 1 as wrong from (select count(*) as n from {{ ref('lines_seen') }}) a,"
        " (select count(*) as n from {{ ref('stg_lineitem') }}) b where a.n <> b.n\n")
    sources = [{"name": "tpch", "schema": "tpch", "tables": source_tables}]
    dump(folder / "models" / "project.yml", {"version": 2, "sources": sources, "models": docs})


def model(folder, name, materialized, sql):
    head = f"{{{{ config(materialized='{materialized}') }}}}"
    (folder / "models" / f"{name}.sql").write_text(f"{head}\n{named(sql)}\n")


def named(sql):
    """The names in braces as references: to a model, or else to the staging model of a table."""
    for name in [*JOINED, *GROUPED, *TABLES]:
        sql = sql.replace(f"{{{name}}}", f"{{{{ ref('{name}') }}}}")
    for name in STAGED:
        sql = sql.replace(f"{{{name}}}", f"{{{{ ref('stg_{name}') }}}}")
    return sql.replace("{ninety_days}", "{{ dbt.dateadd('day', 90, 'o_orderdate') }}")


def dump(path, content):
    """JSON is YAML."""
    path.write_text(json.dumps(content, indent=2))
