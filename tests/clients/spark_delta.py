"""Delta tables: deletion vectors, column mapping, type widening, kinds of checkpoints, partition values, table features."""

from spark_case import COLUMNS, delta, rows

VECTORS = {"delta.enableDeletionVectors": "true"}
MERGE = """MERGE INTO {t} t USING (SELECT id + 150 AS id, CAST(id % 5 AS int) AS what FROM range(200)) n ON t.id = n.id
  WHEN MATCHED AND n.what = 0 THEN DELETE WHEN MATCHED AND n.what = 1 THEN UPDATE SET s = concat('merged', n.id), x = NULL
  WHEN NOT MATCHED THEN INSERT (id, k, s) VALUES (n.id + 5000, n.what, 'inserted')"""


def rounds(t):
    t.run(f"INSERT INTO {{t}} {rows(0, 300, 2)}", f"INSERT INTO {{t}} {rows(300, 400, 1)}", "DELETE FROM {t} WHERE id % 7 = 0")
    t.keep()
    t.run("UPDATE {t} SET k = k + 1, amt = -amt WHERE id % 7 = 1", "DELETE FROM {t} WHERE id >= 300", MERGE)
    t.keep()
    t.run("DELETE FROM {t} WHERE k IN (-3, 2)")
    t.ask(
        "SELECT k, count(*), sum(id), min(s), max(ts) FROM t GROUP BY k",
        "SELECT count(*), sum(id) FROM t WHERE k = 3 AND id > 100",
        "SELECT count(*), sum(id) FROM t WHERE id BETWEEN 148 AND 171 OR s = 'inserted'",
    )


@delta
def deletion_vectors(t):
    t.create(**VECTORS)
    rounds(t)


@delta
def deletion_vectors_in_partitions(t):
    t.create(layout="PARTITIONED BY (k)", **VECTORS)
    rounds(t)
    t.run("OPTIMIZE {t}", "DELETE FROM {t} WHERE id % 7 = 3")


@delta
def many_deletes(t):
    t.create(**VECTORS)
    t.run(f"INSERT INTO {{t}} {rows(0, 4000, 2)}", "DELETE FROM {t} WHERE id % 2 = 0 OR id BETWEEN 500 AND 900 OR id > 3900")
    t.keep()
    t.run("REORG TABLE {t} APPLY (PURGE)")
    t.ask("SELECT count(*), sum(id) FROM t WHERE id > 1990 AND id < 2010", "SELECT id, s FROM t ORDER BY id DESC LIMIT 5")


@delta
def without_vectors(t):
    t.create()
    rounds(t)


def mapped(mode):
    def write(t):
        columns = "id bigint, k int, s string, p struct<a: int, b: string>, l array<struct<e: int>>, m map<string, struct<v: int>>"
        t.create(columns, "PARTITIONED BY (k)", **VECTORS, **{"delta.columnMapping.mode": mode})
        values = """SELECT id, CAST(id %% 4 AS int), %s, named_struct('a', CAST(id AS int), 'b', concat('b', id)),
          array(named_struct('e', CAST(id AS int))), map('key', named_struct('v', CAST(id AS int))) %s FROM range(%d, %d, 1, 2)"""
        t.run("INSERT INTO {t} " + values % ("concat('s', id)", "", 0, 200), "DELETE FROM {t} WHERE id % 10 = 3")
        t.keep()
        for change in (
            "RENAME COLUMN s TO `the text`", "RENAME COLUMN k TO part", "RENAME COLUMN p.a TO first", "DROP COLUMN p.b",
            "ADD COLUMN s int", "ADD COLUMN p.b int", "RENAME COLUMN l.element.e TO `x y`", "ADD COLUMN m.value.w string",
        ):  # fmt: skip
            t.run(f"ALTER TABLE {{t}} {change}")
        t.run(
            """INSERT INTO {t} SELECT id, CAST(id % 4 AS int), concat('t', id), named_struct('first', 1, 'b', 2), array(), map(), 7
            FROM range(200, 300, 1, 1)""",
            "UPDATE {t} SET s = 8 WHERE id % 10 = 4",
        )
        t.ask("SELECT count(*), sum(id) FROM t WHERE part = 2", 'SELECT count(*), min(id) FROM t WHERE "the text" > \'s5\'',
              "SELECT s, count(*) FROM t GROUP BY s", "SELECT p['first'], p['b'] FROM t WHERE id < 5")  # fmt: skip

    write.__name__ = f"mapped_by_{mode}"
    delta(write)


mapped("name")
mapped("id")


@delta
def mapped_later(t):
    t.create()
    t.run(f"INSERT INTO {{t}} {rows(0, 200)}")
    t.run("ALTER TABLE {t} SET TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.minReaderVersion' = '2', 'delta.minWriterVersion' = '5')")
    t.run("ALTER TABLE {t} RENAME COLUMN s TO text", "ALTER TABLE {t} DROP COLUMN d", "ALTER TABLE {t} ADD COLUMN d int")
    t.run("INSERT INTO {t} SELECT id, k, s, ts, amt, x, 5 FROM (" + rows(200, 250) + ")")


@delta
def widened(t):
    t.create(
        "id bigint, a tinyint, b smallint, c int, f float, n decimal(6,2), i int, j int, day date, p struct<x: int>, l array<smallint>",
        **{"delta.enableTypeWidening": "true", "delta.feature.timestampNtz": "supported"},
    )
    t.run(
        """INSERT INTO {t} SELECT id, CAST(id % 100 - 50 AS tinyint), CAST(id - 100 AS smallint), CAST(id AS int), CAST(id / 4 AS float),
        CAST(id * 1.25 AS decimal(6,2)), CAST(id AS int), CAST(-id AS int), date_add(DATE'1969-12-01', CAST(id AS int)),
        named_struct('x', CAST(id AS int)), array(CAST(id AS smallint), NULL) FROM range(0, 200, 1, 2)"""
    )
    t.keep()
    for column, kind in (
        ("a", "smallint"), ("b", "int"), ("c", "bigint"), ("f", "double"), ("n", "decimal(12,4)"), ("i", "double"),
        ("j", "decimal(14,2)"), ("day", "timestamp_ntz"), ("p.x", "bigint"), ("l.element", "int"),
    ):  # fmt: skip
        t.run(f"ALTER TABLE {{t}} ALTER COLUMN {column} TYPE {kind}")
    t.run(
        """INSERT INTO {t} SELECT id, 30000, 100000, id * 3000000000, id / 3.0D, 12345678.1234, 0.5D, 1.25, TIMESTAMP_NTZ'2024-01-01 00:00:01',
        named_struct('x', id * 3000000000), array(100000) FROM range(200, 300, 1, 1)"""
    )
    t.run("ALTER TABLE {t} ALTER COLUMN a TYPE bigint", "UPDATE {t} SET a = 5000000000 WHERE id = 250")
    t.ask("SELECT count(*), sum(id) FROM t WHERE a < -45", "SELECT count(*), max(f) FROM t WHERE n > 200 AND n < 300",
          "SELECT count(*) FROM t WHERE day < TIMESTAMP '1970-01-01T00:00:00'", "SELECT count(*) FROM t WHERE j < -190")  # fmt: skip


def checkpointed(name, layout="", **more):
    def write(t):
        t.create(layout=layout, **VECTORS, **more, **{"delta.checkpointInterval": "3"})
        t.run(f"INSERT INTO {{t}} {rows(0, 200)}", f"INSERT INTO {{t}} {rows(200, 300, 1)}", "DELETE FROM {t} WHERE id % 10 = 3")
        t.run("DELETE FROM {t} WHERE k = -1", f"INSERT INTO {{t}} {rows(300, 500)}", f"INSERT INTO {{t}} {rows(500, 520, 1)}")
        t.run("UPDATE {t} SET s = 'changed' WHERE id = 511")
        # What a cleanup leaves: the newest checkpoint and what follows it.
        for version in range(6):
            (t.folder / "_delta_log" / f"{version:020}.json").unlink()
        if name == "classic_checkpoint":
            t.run("VACUUM {t} RETAIN 0 HOURS")
        t.ask("SELECT count(*), sum(id) FROM t WHERE k = 2", "SELECT k, count(*) FROM t WHERE id > 450 GROUP BY k")

    write.__name__ = name
    delta(write)


checkpointed("classic_checkpoint", "PARTITIONED BY (k)")
checkpointed("v2_checkpoint", **{"delta.checkpointPolicy": "v2"})
checkpointed("struct_checkpoint", **{"delta.checkpoint.writeStatsAsStruct": "true", "delta.checkpoint.writeStatsAsJson": "false"})


@delta
def clustered(t):
    t.create(layout="CLUSTER BY (k, d)", **VECTORS)
    t.run(f"INSERT INTO {{t}} {rows(0, 400)}", f"INSERT INTO {{t}} {rows(400, 600)}", "OPTIMIZE {t}", "DELETE FROM {t} WHERE k = 3")
    t.run("ALTER TABLE {t} CLUSTER BY (s)", f"INSERT INTO {{t}} {rows(600, 700)}")


@delta
def local_times(t):
    t.create("id bigint, n timestamp_ntz, z timestamp, p timestamp_ntz", "PARTITIONED BY (p)")
    t.run(
        """INSERT INTO {t} SELECT id, CASE WHEN id % 9 = 0 THEN NULL ELSE CAST(timestamp_micros(id * 7654321000001 - 1000000000000003) AS timestamp_ntz) END,
        timestamp_micros(id * 7654321000001 - 1000000000000003), CAST(timestamp_micros((id % 5 - 2) * 86400000001) AS timestamp_ntz) FROM range(0, 300, 1, 2)"""
    )
    t.ask("SELECT count(*), sum(id) FROM t WHERE p < TIMESTAMP '1970-01-01T00:00:00'", "SELECT p, count(*) FROM t GROUP BY p")


@delta
def travelled(t):
    t.create(**{"delta.enableInCommitTimestamps": "true"})
    for start in range(0, 400, 100):
        t.moment()
        t.run(f"INSERT INTO {{t}} {rows(start, start + 100, 1)}")
    t.moment()
    t.keep()
    t.run("DELETE FROM {t} WHERE id < 150", "ALTER TABLE {t} ADD COLUMN later int", "RESTORE TABLE {t} TO VERSION AS OF 3")
    t.keep("FOR VERSION AS OF 0")
    t.run(f"INSERT INTO {{t}} (id) VALUES (999)")


@delta
def travelled_by_file_times(t):
    t.create()
    for start in range(0, 300, 100):
        t.run(f"INSERT INTO {{t}} {rows(start, start + 100, 1)}")
        t.moment()
    t.run("ALTER TABLE {t} ADD COLUMN later int", "UPDATE {t} SET later = 1 WHERE k = 0")


@delta
def tracked_rows(t):
    t.create(**VECTORS, **{"delta.enableRowTracking": "true"})
    t.run(f"INSERT INTO {{t}} {rows(0, 300)}", "UPDATE {t} SET k = k + 1 WHERE id % 7 = 1", "DELETE FROM {t} WHERE id % 7 = 0")
    t.run("OPTIMIZE {t}")


@delta
def partition_values(t):
    columns = "id bigint, s string, b boolean, d date, n decimal(20,3), ts timestamp, i tinyint, f double"
    t.create(columns, "PARTITIONED BY (s, b, d, n, ts, i, f)", **VECTORS)
    t.run(
        """INSERT INTO {t} SELECT id, element_at(array('x', 'a/b=c', 'ü %41+&?#:', NULL, 'null', 'a b'), CAST(id % 6 AS int) + 1),
        CASE WHEN id % 6 < 3 THEN true ELSE NULL END, CASE WHEN id % 6 = 1 THEN NULL ELSE date_add(DATE'1969-12-31', CAST(id % 6 AS int)) END,
        CAST(id % 6 - 3 AS decimal(20,3)) * 1000000000.125, timestamp_micros((id % 6 - 2) * 3600000001), CAST(id % 6 - 3 AS tinyint),
        CASE WHEN id % 6 = 3 THEN NULL ELSE -0.5D END FROM range(0, 300)""",
        "DELETE FROM {t} WHERE id % 5 = 1",
    )
    t.ask(
        "SELECT count(*), sum(id) FROM t WHERE s = 'a/b=c'", "SELECT count(*), sum(id) FROM t WHERE s IS NULL OR s = 'x'",
        "SELECT count(*), sum(id) FROM t WHERE b IS NULL AND n >= 0", "SELECT s, b, d, n, ts, i, f, count(*) FROM t GROUP BY s, b, d, n, ts, i, f",
    )  # fmt: skip


@delta
def every_type(t):
    columns = """id bigint, b boolean, y tinyint, h smallint, i int, f float, x double, d1 decimal(4,1), d2 decimal(18,9), d3 decimal(38,10),
      s string, v binary, day date, ts timestamp, tn timestamp_ntz, a array<int>, aa array<array<string>>,
      m map<int, string>, p struct<a: int, b: struct<c: string, d: decimal(9,3)>>, ap array<struct<a: bigint, t: timestamp>>,
      c char(5), w varchar(9)"""
    t.create(columns)
    t.run(
        """INSERT INTO {t} SELECT id, id % 3 = 0, CAST(id - 120 AS tinyint), CAST(id * -100 AS smallint), CAST(id - 100 AS int), CAST(id / 3 AS float),
        CASE id % 5 WHEN 0 THEN double('Infinity') WHEN 1 THEN double('-Infinity') WHEN 2 THEN double('NaN') WHEN 3 THEN -0.0D ELSE id / 3.0D END,
        CAST(id - 100 AS decimal(4,1)) / 2, CAST(id * -1.000000001 AS decimal(18,9)), CAST(id AS decimal(38,10)) * 12345678901234567890.5,
        concat('text', id, repeat('ß', CAST(id % 40 AS int))), CAST(concat('v', id) AS binary), date_add(DATE'0001-01-03', CAST(id * 3000 AS int)),
        timestamp_micros(id * 12345678901234 - 1000000000000001), CAST(timestamp_micros(id * 123456789012345) AS timestamp_ntz),
        array(CAST(id AS int), NULL), array(array(), array('a', concat('b', id)), NULL), map(CAST(id AS int), 'one', -1, NULL),
        named_struct('a', CAST(id AS int), 'b', named_struct('c', 'c', 'd', CAST(id AS decimal(9,3)))),
        array(named_struct('a', id, 't', timestamp_micros(id)), NULL), 'ab', concat('w', id) FROM range(0, 240, 1, 2)"""
    )
    t.run(f"INSERT INTO {{t}} SELECT id, {', '.join(['NULL'] * 21)} FROM range(300, 330, 1, 1)")


@delta
def constrained(t):
    columns = """id bigint NOT NULL, k int, twice bigint GENERATED ALWAYS AS (id * 2), month int GENERATED ALWAYS AS (month(d)), d date,
      number bigint GENERATED BY DEFAULT AS IDENTITY"""
    t.create(columns, "PARTITIONED BY (month)")
    t.run("ALTER TABLE {t} ADD CONSTRAINT small CHECK (k < 100)")
    t.run("INSERT INTO {t} (id, k, d) SELECT id, CAST(id % 90 AS int), date_add(DATE'2024-01-01', CAST(id AS int)) FROM range(0, 300, 1, 2)")
    t.run("ALTER TABLE {t} SET TBLPROPERTIES ('delta.feature.allowColumnDefaults' = 'supported')", "ALTER TABLE {t} ALTER COLUMN k SET DEFAULT 9")
    t.run("INSERT INTO {t} (id, d) SELECT id, DATE'2025-05-05' FROM range(300, 320)")
    t.ask("SELECT month, count(*), sum(twice) FROM t GROUP BY month", "SELECT count(*) FROM t WHERE month = 3 AND d > DATE '2024-03-15'")


@delta
def change_feed(t):
    t.create(**VECTORS, **{"delta.enableChangeDataFeed": "true"})
    t.run(f"INSERT INTO {{t}} {rows(0, 300)}", MERGE, "DELETE FROM {t} WHERE id % 7 = 0")


@delta
def few_statistics(t):
    t.create(**VECTORS, **{"delta.dataSkippingNumIndexedCols": "2"})
    t.run(f"INSERT INTO {{t}} {rows(0, 200)}", "ALTER TABLE {t} SET TBLPROPERTIES ('delta.dataSkippingStatsColumns' = 'd, s')")
    t.run(f"INSERT INTO {{t}} {rows(200, 400)}", "DELETE FROM {t} WHERE id % 3 = 0")


@delta
def converted(t):
    t.spark.sql(f"SELECT *, id % 3 AS part FROM ({rows(0, 300)})").write.partitionBy("part").parquet(str(t.folder))
    t.run(f"CONVERT TO DELTA parquet.`{t.folder}` NO STATISTICS PARTITIONED BY (part bigint)", "DELETE FROM {t} WHERE id % 10 = 3")
    t.ask("SELECT part, count(*) FROM t GROUP BY part")


@delta
def cloned(t):
    source = t.folder.with_name("cloned_source")
    t.spark.sql(f"CREATE TABLE delta.`{source}` ({COLUMNS}) USING delta TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
    t.spark.sql(f"INSERT INTO delta.`{source}` {rows(0, 300)}")
    t.spark.sql(f"DELETE FROM delta.`{source}` WHERE id % 10 = 3")
    t.run(f"CREATE TABLE {{t}} SHALLOW CLONE delta.`{source}`", "DELETE FROM {t} WHERE id % 10 = 4", f"INSERT INTO {{t}} {rows(300, 350)}")


@delta
def odd_names(t):
    t.create("`a b` int, `E` int, `e\"f` int, `ß` struct<`x y`: int, `Z`: int>", **{"delta.columnMapping.mode": "name"})
    t.run("INSERT INTO {t} SELECT CAST(id AS int), 1, 2, named_struct('x y', 3, 'Z', CAST(id AS int)) FROM range(100)")
    t.ask('SELECT "a b", "ß"[\'Z\'] FROM t WHERE "a b" = 7', 'SELECT count("e""f"), sum("a b") FROM t WHERE "E" = 1')


@delta
def emptied(t):
    t.create(**VECTORS)
    t.keep()
    t.run(f"INSERT INTO {{t}} {rows(0, 100)}", "DELETE FROM {t}")


@delta
def variant(t):
    t.create("id bigint, v variant")
    t.run("""INSERT INTO {t} SELECT id, parse_json(concat('{"a": ', id, ', "b": ["x", null]}')) FROM range(100)""")
    # Lakewing reads a variant as the struct that it is in the file, which Spark does not show.
    t.selected = "id"


def tracked(name, layout, **more):
    def write(t):
        t.create(layout=layout, **VECTORS, **{"delta.enableRowTracking": "true"}, **more)
        t.run(f"INSERT INTO {{t}} {rows(0, 200)}", "DELETE FROM {t} WHERE id % 10 = 3", f"INSERT INTO {{t}} {rows(200, 260, 1)}")
        t.run("UPDATE {t} SET s = 'changed' WHERE id % 7 = 5")
        t.keep()
        t.run("OPTIMIZE {t}", f"INSERT INTO {{t}} {rows(260, 280, 1)}", "DELETE FROM {t} WHERE id = 40")
        t.run("UPDATE {t} SET x = 0.5 WHERE id % 50 = 1")
        t.ask_of_rows(
            "id", "k", "s", "x", "_metadata.row_index AS _pos", "_metadata.row_id AS _row_id",
            "_metadata.row_commit_version AS _last_updated_sequence_number",
        )  # fmt: skip
        t.ask("SELECT count(DISTINCT _row_id), count(*) FROM t", "SELECT id, _row_id FROM t WHERE _row_id < 20 AND _pos > 3")

    write.__name__ = name
    delta(write)


tracked("row_tracking", "")
tracked("row_tracking_mapped", "PARTITIONED BY (k)", **{"delta.columnMapping.mode": "id"})
