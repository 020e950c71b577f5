"""Iceberg tables without deletes in the foreground: partitions, schemas, types, branches, versions, file layouts."""

from spark_case import COLUMNS, MERGE_ON_READ, iceberg, rows

V2 = {"format-version": "2"}


@iceberg
def partition_evolution(t):
    t.create(**V2, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {rows(0, 300)}")
    t.run("DELETE FROM {t} WHERE id % 10 = 3", "ALTER TABLE {t} ADD PARTITION FIELD k", f"INSERT INTO {{t}} {rows(300, 500)}")
    t.run("ALTER TABLE {t} REPLACE PARTITION FIELD k WITH bucket(4, id)", f"INSERT INTO {{t}} {rows(500, 800)}")
    t.keep()
    t.run("DELETE FROM {t} WHERE id % 10 = 4 OR k = 4", "ALTER TABLE {t} ADD PARTITION FIELD months(d)")
    t.run(f"INSERT INTO {{t}} {rows(800, 1100)}", "ALTER TABLE {t} DROP PARTITION FIELD bucket(4, id)")
    t.run(f"INSERT INTO {{t}} {rows(1100, 1300)}", "UPDATE {t} SET s = 'changed' WHERE id % 10 = 5")
    t.ask(
        "SELECT count(*), sum(id) FROM t WHERE k = 3 AND d < DATE '1970-01-01'",
        "SELECT count(*), sum(id) FROM t WHERE id = 555",
        "SELECT k, count(*), min(id) FROM t WHERE s = 'changed' GROUP BY k",
    )


@iceberg
def dropped_partition_source(t):
    t.create(layout="PARTITIONED BY (k, truncate(3, s))", **V2)
    t.run(f"INSERT INTO {{t}} {rows(0, 100)}")
    t.run("ALTER TABLE {t} DROP PARTITION FIELD k", "ALTER TABLE {t} DROP PARTITION FIELD truncate(3, s)")
    t.run("ALTER TABLE {t} DROP COLUMN k", "ALTER TABLE {t} ADD COLUMN k string", "ALTER TABLE {t} DROP COLUMN s")
    t.run("INSERT INTO {t} SELECT id, d, ts, amt, x, concat('k', k) FROM (" + rows(100, 200) + ")")
    t.ask("SELECT count(*), min(id) FROM t WHERE k = 'k3'", "SELECT count(*) FROM t WHERE k IS NULL AND id < 50")


@iceberg
def schema_evolution(t):
    t.create(
        "id int, a int, f float, n decimal(9,2), p struct<x: int, y: string, z: struct<q: float>>, l array<struct<e: int>>,"
        " m map<string, struct<v: int, w: string>>, gone string",
        **V2,
    )
    values = """SELECT CAST(id AS int), CAST(id %% 50 AS int), CAST(id / 4 AS float), CAST(id * 1.25 AS decimal(9,2)),
      named_struct('x', CAST(id AS int), 'y', concat('y', id), 'z', named_struct('q', CAST(id / 2 AS float))),
      array(named_struct('e', CAST(id AS int)), named_struct('e', NULL)),
      map(concat('m', id %% 3), named_struct('v', CAST(id AS int), 'w', 'w')), concat('old', id) FROM range(%s, %s, 1, 2)"""
    t.run("INSERT INTO {t} " + values % (0, 200))
    t.keep()
    for change in (
        "ALTER COLUMN id TYPE bigint", "ALTER COLUMN f TYPE double", "ALTER COLUMN n TYPE decimal(18,2)",
        "ALTER COLUMN p.x TYPE bigint", "ALTER COLUMN p.z.q TYPE double", "ALTER COLUMN l.element.e TYPE bigint",
        "DROP COLUMN gone", "RENAME COLUMN a TO b", "ADD COLUMN a string AFTER id", "ADD COLUMN p.new int",
    ):  # fmt: skip
        t.run(f"ALTER TABLE {{t}} {change}")
    later = """SELECT id + 3000000000, concat('a', id), CAST(id AS int), id / 3.0D, CAST(id * 12345678901.25 AS decimal(18,2)),
      named_struct('x', id * 3000000000, 'y', 'later', 'z', named_struct('q', id / 7.0D), 'new', CAST(id AS int)),
      array(named_struct('e', id * 3000000000)), map('m', named_struct('v', CAST(id AS int), 'w', NULL))
      FROM range(%s, %s, 1, 2)"""
    t.run("INSERT INTO {t} " + later % (200, 400))
    t.keep()
    for change in (
        "RENAME COLUMN p.y TO label", "DROP COLUMN p.x", "ADD COLUMN p.x string", "ADD COLUMN m.value.more int",
        "RENAME COLUMN l.element.e TO first", "ALTER COLUMN n FIRST", "ADD COLUMN gone string", "DROP COLUMN m.value.v",
    ):  # fmt: skip
        t.run(f"ALTER TABLE {{t}} {change}")
    t.run(
        """INSERT INTO {t} (id, a, p, gone) SELECT id, 'again',
        named_struct('label', 'l', 'z', named_struct('q', 1.5D), 'new', 1, 'x', 'text'), 'new gone' FROM range(400, 500)"""
    )
    t.ask(
        "SELECT count(*), min(id) FROM t WHERE b > 20", "SELECT count(*), sum(id) FROM t WHERE gone IS NULL",
        "SELECT p['label'], count(*) FROM t GROUP BY p['label']", "SELECT id, p['x'], m FROM t WHERE p['z']['q'] = 1.5",
        "SELECT count(*), max(f) FROM t WHERE f > 90 AND n > 100", "SELECT l[1]['first'], count(*) FROM t GROUP BY 1",
    )  # fmt: skip


def transformed(name, layout, *queries, step=1):
    def write(t):
        t.create(layout=f"PARTITIONED BY ({layout})", **V2, **MERGE_ON_READ)
        first, second = rows(0, 200 // step), rows(200 // step, 300 // step)
        t.run(f"INSERT INTO {{t}} {first}", "DELETE FROM {t} WHERE id % 9 = 2", f"INSERT INTO {{t}} {second}")
        t.ask(*queries)

    write.__name__ = name
    iceberg(write)


transformed("truncated_text", "truncate(3, s), truncate(3, k)", "SELECT k, s, count(*) FROM t WHERE k < -1 AND s >= 'row2' GROUP BY k, s")
transformed("truncated_decimal", "truncate(20000, amt)", "SELECT count(*), sum(amt) FROM t WHERE amt < -0.5")
transformed("buckets", "bucket(3, s), bucket(2, amt)", "SELECT count(*), sum(id) FROM t WHERE s = 'row7'")
transformed("bucketed_times", "bucket(3, d), bucket(2, ts)", "SELECT count(*), sum(id) FROM t WHERE d = DATE '1969-12-31'")
transformed("months", "months(d), years(ts)", "SELECT count(*) FROM t WHERE d BETWEEN DATE '1969-12-15' AND DATE '1970-01-01'")
transformed("days", "days(ts)", "SELECT count(*), min(ts) FROM t WHERE ts < TIMESTAMP '1969-12-12T00:00:00Z'", step=3)
transformed("hours", "hours(ts), truncate(4, k)", "SELECT count(*), max(ts) FROM t WHERE ts >= TIMESTAMP '1969-12-10T23:00:00Z' AND k > 2", step=10)


@iceberg
def partition_values(t):
    columns = "id bigint, s string, b boolean, d date, n decimal(20,3), v binary, f double"
    t.create(columns, "PARTITIONED BY (s, b, d, n, v, f)", **V2, **MERGE_ON_READ)
    t.run(
        """INSERT INTO {t} SELECT id, element_at(array('', 'a/b=c', 'ü %41+&?#', NULL, 'null', 'a b'), CAST(id % 6 AS int) + 1),
        CASE WHEN id % 6 < 3 THEN true ELSE NULL END, CASE WHEN id % 6 = 1 THEN NULL ELSE date_add(DATE'1969-12-31', CAST(id % 6 AS int)) END,
        CAST(id % 6 - 3 AS decimal(20,3)) * 1000000000.125, CASE WHEN id % 6 = 5 THEN NULL ELSE CAST(concat('v', id % 6) AS binary) END,
        CASE WHEN id % 6 = 4 THEN double('NaN') WHEN id % 6 = 3 THEN NULL ELSE -0.5D END FROM range(0, 300)"""
    )
    t.run("DELETE FROM {t} WHERE id % 5 = 1")
    t.ask(
        "SELECT count(*), sum(id) FROM t WHERE s = 'a/b=c'", "SELECT count(*), sum(id) FROM t WHERE s IS NULL OR s = ''",
        "SELECT count(*), sum(id) FROM t WHERE b IS NULL AND n >= 0", "SELECT count(*) FROM t WHERE f > 0",
        "SELECT s, b, d, n, v, f, count(*), min(id) FROM t GROUP BY s, b, d, n, v, f",
    )  # fmt: skip


@iceberg
def branches_and_tags(t):
    t.create(**V2, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {rows(0, 200)}", "ALTER TABLE {t} CREATE TAG first", "ALTER TABLE {t} CREATE BRANCH work")
    t.keep()
    t.moment()
    t.run(f"INSERT INTO {{t}}.branch_work {rows(200, 300)}", "DELETE FROM {t}.branch_work WHERE id % 3 = 0")
    t.run("DELETE FROM {t} WHERE id < 50", "ALTER TABLE {t} CREATE TAG `second tag`")
    t.moment()
    t.run("ALTER TABLE {t} RENAME COLUMN s TO text", "ALTER TABLE {t} DROP COLUMN d", "ALTER TABLE {t} ADD COLUMN d string")
    t.run("INSERT INTO {t} (id, text, d) SELECT id, 'text', 'd' FROM range(300, 350)")
    t.keep()
    for name in ("first", "second tag", "work"):
        t.keep(f"FOR VERSION AS OF '{name}'")


@iceberg
def upgraded(t):
    t.create(layout="PARTITIONED BY (truncate(3, k))", **{"format-version": "1"})
    t.run(f"INSERT INTO {{t}} {rows(0, 300)}", "DELETE FROM {t} WHERE id % 10 = 3")
    t.keep()
    merge = ", ".join(f"'{name}' = '{value}'" for name, value in MERGE_ON_READ.items())
    t.run(f"ALTER TABLE {{t}} SET TBLPROPERTIES ('format-version' = '2', {merge})", "DELETE FROM {t} WHERE id % 10 = 4")
    t.run(f"INSERT INTO {{t}} {rows(300, 400)}", "ALTER TABLE {t} DROP PARTITION FIELD truncate(3, k)")
    t.keep()
    t.run("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')", "DELETE FROM {t} WHERE id % 10 = 5")
    t.run(f"INSERT INTO {{t}} {rows(400, 500)}", "UPDATE {t} SET s = NULL WHERE id % 10 = 6")
    t.keep()


@iceberg
def every_type(t):
    columns = """id bigint, b boolean, i int, l bigint, f float, x double, d1 decimal(4,1), d2 decimal(18,9), d3 decimal(38,10),
      s string, v binary, day date, ts timestamp, tn timestamp_ntz, a array<int>, aa array<array<string>>,
      m map<int, string>, mm map<string, map<string, double>>, p struct<a: int, b: struct<c: string, d: decimal(9,3)>>,
      ap array<struct<a: bigint, t: timestamp>>"""
    t.create(columns, **V2)
    t.run(
        """INSERT INTO {t} SELECT id, id % 3 = 0, CAST(id - 100 AS int), id * -3000000000, CAST(id / 3 AS float),
        CASE id % 5 WHEN 0 THEN double('Infinity') WHEN 1 THEN double('-Infinity') WHEN 2 THEN double('NaN') WHEN 3 THEN -0.0D ELSE id / 3.0D END,
        CAST(id - 100 AS decimal(4,1)) / 2, CAST(id * -1.000000001 AS decimal(18,9)), CAST(id AS decimal(38,10)) * 12345678901234567890.5,
        concat('text', id, repeat('ß', CAST(id % 30 AS int))), CAST(concat('v', id) AS binary), date_add(DATE'0001-01-03', CAST(id * 3000 AS int)),
        timestamp_micros(id * 123456789012345 - 5000000000000001), CAST(timestamp_micros(id * 123456789012345) AS timestamp_ntz),
        array(CAST(id AS int), NULL), array(array(), array('a', concat('b', id)), NULL), map(CAST(id AS int), 'one', -1, NULL),
        map('k', map('j', id / 2.0D)), named_struct('a', CAST(id AS int), 'b', named_struct('c', 'c', 'd', CAST(id AS decimal(9,3)))),
        array(named_struct('a', id, 't', timestamp_micros(id)), NULL) FROM range(0, 300, 1, 2)"""
    )
    nulls = ", ".join(["NULL"] * 19)
    t.run(f"INSERT INTO {{t}} SELECT id, {nulls} FROM range(300, 330, 1, 1)")
    t.run("INSERT INTO {t} (id, a, m, p) VALUES (330, array(), map(), named_struct('a', NULL, 'b', NULL))")


@iceberg
def codecs(t):
    t.create(**V2)
    for number, codec in enumerate(("zstd", "gzip", "snappy", "lz4", "uncompressed")):
        t.run(f"ALTER TABLE {{t}} SET TBLPROPERTIES ('write.parquet.compression-codec' = '{codec}')")
        t.run(f"INSERT INTO {{t}} {rows(number * 100, number * 100 + 100, 1)}")


@iceberg
def migrated_files(t):
    source = t.place / "warehouse/hive_style"
    t.spark.sql(f"SELECT *, id % 2 AS part FROM ({rows(0, 400)})").write.partitionBy("part", "k").parquet(str(source))
    t.create(COLUMNS.replace("k int, ", "") + ", part bigint, k int", "PARTITIONED BY (part, k)", **V2, **MERGE_ON_READ)
    t.run(f"CALL ice.system.add_files(table => 'db.migrated_files', source_table => '`parquet`.`{source}`')")
    t.keep()
    t.run("ALTER TABLE {t} RENAME COLUMN s TO text", "ALTER TABLE {t} ADD COLUMN later int")
    t.run("INSERT INTO {t} SELECT id, s, d, ts, amt, x, 9, k, 1 FROM (" + rows(400, 450) + ")", "DELETE FROM {t} WHERE id % 10 = 1")
    t.ask("SELECT count(*), sum(id) FROM t WHERE part = 1", "SELECT k, part, count(*) FROM t GROUP BY k, part",
          "SELECT count(*) FROM t WHERE k IS NULL OR later IS NULL")  # fmt: skip


@iceberg
def sorted_rows(t):
    t.create(layout="PARTITIONED BY (bucket(2, id))", **V2, **MERGE_ON_READ)
    t.run("ALTER TABLE {t} WRITE ORDERED BY k, s DESC NULLS LAST", f"INSERT INTO {{t}} {rows(0, 1500)}")
    t.run("DELETE FROM {t} WHERE k BETWEEN 2 AND 3", f"INSERT INTO {{t}} {rows(1500, 2000)}")
    t.ask("SELECT k, s, id FROM t ORDER BY k, s DESC NULLS LAST, id LIMIT 25", "SELECT count(*), min(id) FROM t WHERE k = 4 AND s < 'row2'")


@iceberg
def file_layouts(t):
    modes = {"write.metadata.metrics.default": "none", "write.metadata.metrics.column.id": "counts"}
    t.create(**V2, **modes, **{"write.object-storage.enabled": "true", "write.metadata.compression-codec": "gzip"})
    t.run(f"INSERT INTO {{t}} {rows(0, 200, 1)}")
    for name, value in (
        ("write.metadata.metrics.default", "truncate(2)"), ("write.parquet.bloom-filter-enabled.column.s", "true"),
        ("write.parquet.dict-size-bytes", "1"), ("write.metadata.metrics.default", "full"),
    ):  # fmt: skip
        t.run(f"ALTER TABLE {{t}} SET TBLPROPERTIES ('{name}' = '{value}')")
        version = t.version() % 1000
        t.run(f"INSERT INTO {{t}} {rows(version * 200, version * 200 + 200, 1)}")
    t.ask("SELECT count(*), sum(id) FROM t WHERE s = 'row22'", "SELECT count(*) FROM t WHERE s > 'row9'")


@iceberg
def overwritten(t):
    t.create(layout="PARTITIONED BY (k)", **V2)
    t.run(f"INSERT INTO {{t}} {rows(0, 200)}")
    t.keep()
    t.run("DELETE FROM {t} WHERE k = 4", "INSERT OVERWRITE {t} PARTITION (k = 1) SELECT id, s, d, ts, amt, x FROM (" + rows(900, 905) + ")")
    t.keep()
    t.run("TRUNCATE TABLE {t}")
    t.keep()
    t.run(f"INSERT INTO {{t}} {rows(300, 400)}", "CALL ice.system.rewrite_data_files(table => 'db.overwritten')")
    t.run("CALL ice.system.rewrite_manifests(table => 'db.overwritten')")


@iceberg
def never_written(t):
    t.create(**V2)


@iceberg
def odd_names(t):
    names = "`a b` int, `c.d` string, `E` int, `e\"f` int, `ß` struct<`x.y`: int, `Z`: int>, `select` int"
    t.create(names, **V2)
    t.run("INSERT INTO {t} SELECT CAST(id AS int), concat('c', id), 1, 2, named_struct('x.y', 3, 'Z', CAST(id AS int)), 4 FROM range(100)")
    t.ask('SELECT "a b", "c.d", "ß"[\'Z\'] FROM t WHERE "c.d" = \'c7\'', 'SELECT count("e""f"), sum("select") FROM t WHERE "E" = 1')


@iceberg
def uuid_and_fixed(t):
    jvm = t.spark._jvm
    types, field = jvm.org.apache.iceberg.types.Types, jvm.org.apache.iceberg.types.Types.NestedField
    fields = jvm.java.util.ArrayList()
    for number, (name, kind) in enumerate((("id", types.LongType.get()), ("u", types.UUIDType.get()), ("f", types.FixedType.ofLength(5)))):
        fields.add(field.optional(number + 1, name, kind))
    schema = jvm.org.apache.iceberg.Schema(fields)
    spec = jvm.org.apache.iceberg.PartitionSpec.builderFor(schema).bucket("u", 3).build()
    place = jvm.org.apache.iceberg.catalog.TableIdentifier.parse("db.uuid_and_fixed")
    catalog = t.spark._jsparkSession.sessionState().catalogManager().catalog("ice").icebergCatalog()
    catalog.createTable(place, schema, spec)
    t.run(
        """INSERT INTO {t} SELECT id, CASE WHEN id % 7 = 0 THEN NULL ELSE
        concat(lpad(hex(id * 77777), 8, '0'), '-1234-4abc-8def-0123456789ab') END, CAST(lpad(id, 5, 'f') AS binary) FROM range(200)"""
    )
    t.selected = "id, unhex(replace(u, '-', '')) AS u, f"


@iceberg
def v3_defaults(t):
    t.create("id bigint, s string, p struct<a: int>", **{"format-version": "3"})
    t.run("INSERT INTO {t} SELECT id, concat('s', id), named_struct('a', CAST(id AS int)) FROM range(0, 200, 1, 2)")
    jvm = t.spark._jvm
    types, value = jvm.org.apache.iceberg.types.Types, jvm.org.apache.iceberg.expressions.Expressions.lit
    change = t.java().updateSchema()
    change.addColumn("n", types.IntegerType.get(), "", value(42)).addColumn("w", types.StringType.get(), "", value("dflt"))
    change.addRequiredColumn("r", types.DoubleType.get(), "", value(1.5))
    change.addColumn("day", types.DateType.get(), "", value("1969-12-30").to(types.DateType.get()))
    change.addColumn("dec", types.DecimalType.of(9, 2), "", value("-1.25").to(types.DecimalType.of(9, 2)))
    change.addColumn("ts", types.TimestampType.withZone(), "", value("2024-01-01T00:00:01.000001+00:00").to(types.TimestampType.withZone()))
    change.addColumn("ok", types.BooleanType.get(), "", value(True)).addColumn("p", "b", types.IntegerType.get(), "", value(-7))
    change.commit()
    t.keep()
    t.run(
        """INSERT INTO {t} (id, s, p, n, w, r, day, dec, ts, ok) SELECT id, 'new', named_struct('a', 1, 'b', 2), NULL, 'w', 2.5D,
        DATE'2020-01-01', 0.5, TIMESTAMP'2020-01-01 00:00:00', NULL FROM range(200, 300, 1, 1)"""
    )
    t.run("ALTER TABLE {t} RENAME COLUMN n TO number")
    t.ask("SELECT count(*), sum(id) FROM t WHERE number = 42", "SELECT count(*) FROM t WHERE w = 'dflt' AND r < 2",
          "SELECT p['b'], count(*) FROM t WHERE day < DATE '1970-01-01' GROUP BY p['b']")  # fmt: skip


@iceberg
def v3_variant(t):
    t.create("id bigint, v variant", **{"format-version": "3"})
    t.run("""INSERT INTO {t} SELECT id, parse_json(concat('{"a": ', id, ', "b": ["x", null]}')) FROM range(100)""")
    t.selected = "id, to_json(v) AS v"


@iceberg
def avro_files(t):
    t.create(**V2, **{"write.format.default": "avro"})
    t.run(f"INSERT INTO {{t}} {rows(0, 50, 1)}")
