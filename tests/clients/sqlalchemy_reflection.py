"""What SQLAlchemy's inspector sees through the dialect of flightsql-dbapi: {"lake": HOST:PORT of Flight SQL}."""

import json
import sys

import sqlalchemy

request = json.loads(sys.argv[1])
engine = sqlalchemy.create_engine(f"datafusion://{request['lake']}?insecure=True")
inspector = sqlalchemy.inspect(engine)
answer = {
    # The dialect asks for all catalogs, so that a name is there once for each.
    "schemas": sorted(inspector.get_schema_names()),
    "tables": sorted(set(inspector.get_table_names(schema="tpch"))),
    "views": inspector.get_view_names(schema="tpch"),
    "keys": [inspector.get_pk_constraint("nation", schema="tpch"), inspector.get_foreign_keys("nation", schema="tpch")],
    "indexes": inspector.get_indexes("nation", schema="tpch"),
    "exists": [inspector.has_table(name, schema="tpch") for name in ["nation", "nobody"]],
}
nation = sqlalchemy.Table("nation", sqlalchemy.MetaData(), schema="tpch", autoload_with=engine)
answer["columns"] = [[column.name, str(column.type), column.nullable] for column in nation.columns]
region = sqlalchemy.Table("region", sqlalchemy.MetaData(), schema="tpch", autoload_with=engine)
query = (
    sqlalchemy.select(region.c.r_name, sqlalchemy.func.count().label("nations"))
    .join(nation, nation.c.n_regionkey == region.c.r_regionkey)
    .where(region.c.r_name.like("A%"), nation.c.n_nationkey > 0)
    .group_by(region.c.r_name)
    .order_by(region.c.r_name)
)
with engine.connect() as connection:
    answer["query"] = [list(row) for row in connection.execute(query)]
    answer["value"] = connection.execute(sqlalchemy.text("SELECT 6 * 7")).scalar()
print(json.dumps(answer))
