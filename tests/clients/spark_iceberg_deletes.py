"""Iceberg tables with row-level deletes: position deletes, deletion vectors, and equality deletes of Iceberg's own writer."""

from spark_case import MERGE_ON_READ, iceberg, rows

V2 = {"format-version": "2"}
V3 = {"format-version": "3"}
MERGE = """MERGE INTO {t} USING (SELECT id + 150 AS id, CAST(id % 5 AS int) AS what FROM range(200)) n ON {t}.id = n.id
  WHEN MATCHED AND n.what = 0 THEN DELETE WHEN MATCHED AND n.what = 1 THEN UPDATE SET s = concat('merged', n.id), x = NULL
  WHEN NOT MATCHED THEN INSERT (id, k, s) VALUES (n.id + 5000, n.what, 'inserted')"""
LOOK = (
    "SELECT k, count(*), sum(id), min(s), max(ts) FROM t GROUP BY k",
    "SELECT count(*), sum(id) FROM t WHERE k = 3 AND id > 100",
    "SELECT count(*), sum(id) FROM t WHERE id BETWEEN 148 AND 171 OR s = 'inserted'",
)


def rounds(t):
    """Inserts, deletes, updates and merges in turn: files with no, with few, with many and with only deleted rows."""
    t.run(f"INSERT INTO {{t}} {rows(0, 300, 2)}", f"INSERT INTO {{t}} {rows(300, 400, 1)}")
    t.run("DELETE FROM {t} WHERE id % 7 = 0")
    t.keep()
    t.run("UPDATE {t} SET k = k + 1, amt = -amt WHERE id % 7 = 1", "DELETE FROM {t} WHERE id >= 300")
    t.run(f"INSERT INTO {{t}} {rows(400, 500, 2)}", MERGE)
    t.keep()
    t.run("DELETE FROM {t} WHERE k IN (-3, 2)", "DELETE FROM {t} WHERE id = 499")
    t.ask(*LOOK)


def deletes(name, layout="", more=(), **version):
    def write(t):
        t.create(layout=layout, **version, **MERGE_ON_READ, **dict(more))
        rounds(t)

    write.__name__ = name
    iceberg(write)


BY_FILE, BY_PARTITION = ({"write.delete.granularity": kind}.items() for kind in ("file", "partition"))
deletes("position_deletes_by_file", "", BY_FILE, **V2)
deletes("position_deletes_by_partition", "", BY_PARTITION, **V2)
deletes("position_deletes_in_partitions", "PARTITIONED BY (truncate(3, k))", BY_PARTITION, **V2)
deletes("position_deletes_in_small_partitions", "PARTITIONED BY (bucket(2, id), truncate(5, k))", BY_FILE, **V2)
deletes("deletion_vectors", **V3)
deletes("deletion_vectors_in_partitions", "PARTITIONED BY (truncate(3, k))", **V3)


@iceberg
def copy_on_write(t):
    t.create(layout="PARTITIONED BY (truncate(3, k))", **V2)
    rounds(t)


@iceberg
def position_deletes_rewritten(t):
    t.create(layout="PARTITIONED BY (truncate(3, k))", **V2, **MERGE_ON_READ)
    rounds(t)
    t.run("CALL ice.system.rewrite_position_delete_files(table => 'db.position_deletes_rewritten', options => map('rewrite-all', 'true'))")
    t.keep()
    t.run("CALL ice.system.rewrite_data_files(table => 'db.position_deletes_rewritten', where => 'k < 0')")
    t.run("DELETE FROM {t} WHERE id % 7 = 2")


@iceberg
def vectors_over_position_deletes(t):
    t.create(layout="PARTITIONED BY (truncate(3, k))", **V2, **MERGE_ON_READ, **{"write.delete.granularity": "partition"})
    rounds(t)
    t.run("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')")
    t.keep()
    # Some data files get a vector that replaces their position deletes, others keep them.
    t.run("DELETE FROM {t} WHERE id % 7 = 2 AND k < 0", "UPDATE {t} SET s = 'third' WHERE id % 7 = 3 AND k < 5")
    t.run(f"INSERT INTO {{t}} {rows(600, 700)}")


@iceberg
def many_deletes(t):
    t.create(**V3, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {rows(0, 4000, 2)}", "DELETE FROM {t} WHERE id % 2 = 0 OR id BETWEEN 500 AND 900 OR id > 3900")
    t.ask("SELECT count(*), sum(id) FROM t WHERE id > 1990 AND id < 2010", "SELECT id, s FROM t ORDER BY id DESC LIMIT 5")


def delete_equal(t, columns, deleted, partition_of=None, unpartitioned=False):
    """Commits one equality delete file: `deleted` are rows of these columns. It is scoped to the partition of the data
    files whose path holds `partition_of`, or global in a table that was not partitioned when it began."""
    jvm, table = t.spark._jvm, t.java()
    data, io = jvm.org.apache.iceberg.data, table.io()
    names = jvm.java.util.ArrayList()
    for name in columns:
        names.add(name)
    schema = table.schema().select(names)
    ids = t.spark.sparkContext._gateway.new_array(jvm.int, len(columns))
    for number, name in enumerate(columns):
        ids[number] = table.schema().findField(name).fieldId()
    spec, partition = (table.specs().get(0) if unpartitioned else table.spec()), None
    if partition_of is not None:
        tasks = table.newScan().planFiles().iterator()
        while tasks.hasNext():
            file = tasks.next().file()
            if partition_of in file.location():
                partition = file.partition()
    output = jvm.org.apache.iceberg.io.OutputFileFactory.builderFor(table, 1, 1)
    output = output.format(jvm.org.apache.iceberg.FileFormat.PARQUET).defaultSpec(spec).build().newOutputFile(spec, partition)
    factory = data.GenericAppenderFactory(table.schema(), spec, ids, schema)
    writer = factory.newEqDeleteWriter(output, jvm.org.apache.iceberg.FileFormat.PARQUET, partition)
    for values in deleted:
        record = data.GenericRecord.create(schema)
        for name, value in zip(columns, values):
            record.setField(name, value)
        writer.write(record)
    writer.close()
    table.newRowDelta().addDeletes(writer.toDeleteFile()).commit()


# A Python number reaches Java as a long only where it needs one.
BIG = 10_000_000_000


def big_rows(start, end, files=2):
    return f"SELECT id + {BIG} AS id, k, s, d, ts, amt, x FROM ({rows(start, end, files)})"


@iceberg
def equality_deletes(t):
    t.create(**V2, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {big_rows(0, 300)}")
    delete_equal(t, ["id"], [[BIG + id] for id in range(0, 300, 7)])
    t.keep()
    # The same keys again, later: these rows live.
    t.run(f"INSERT INTO {{t}} {big_rows(0, 50, 1)}")
    t.keep()
    delete_equal(t, ["id"], [[BIG + id] for id in (0, 1, 3, 299, 100_000)])
    t.run("DELETE FROM {t} WHERE id % 10 = 5", f"INSERT INTO {{t}} {big_rows(298, 310, 1)}")
    t.ask("SELECT count(*), sum(k) FROM t WHERE k = 4", "SELECT id, count(*) FROM t GROUP BY id HAVING count(*) > 1",
          "SELECT x, s FROM t WHERE s IS NULL", "SELECT k FROM t ORDER BY id, k LIMIT 20")  # fmt: skip


@iceberg
def equality_deletes_with_nulls(t):
    t.create(**V2)
    t.run(f"INSERT INTO {{t}} {rows(0, 400)}")
    t.keep()
    delete_equal(t, ["s", "k"], [[None, 4], ["row3", 2], ["row5", None], [None, None], ["ÄÖ-12", 4]])
    t.keep()
    t.run(f"INSERT INTO {{t}} {rows(400, 500)}", "INSERT INTO {t} (id, s, k) VALUES (900, NULL, NULL), (901, 'row5', NULL)")
    delete_equal(t, ["s"], [[None], ["row1"]])
    t.run("INSERT INTO {t} (id, s, k) VALUES (902, NULL, NULL), (903, 'row1', 1)")
    t.ask("SELECT s, count(*) FROM t GROUP BY s", "SELECT count(*) FROM t WHERE k = 4", "SELECT amt FROM t WHERE s IS NULL")


@iceberg
def equality_deletes_in_partitions(t):
    t.create(layout="PARTITIONED BY (k)", **V2)
    t.run(f"INSERT INTO {{t}} {rows(0, 300)}")
    delete_equal(t, ["s"], [["row1"], ["row2"], [None]], partition_of="k=3/")
    delete_equal(t, ["s", "k"], [["row4", 4], ["row5", 5]], partition_of="k=4/")
    t.keep()
    t.run(f"INSERT INTO {{t}} {rows(300, 500)}")
    delete_equal(t, ["k"], [[-2], [3]], partition_of="k=-2/")
    t.ask("SELECT k, count(*), sum(id) FROM t GROUP BY k", "SELECT count(*) FROM t WHERE k = 3", "SELECT count(*) FROM t WHERE s = 'row1'")


@iceberg
def equality_deletes_everywhere(t):
    t.create(**V2, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {rows(0, 100)}", "ALTER TABLE {t} ADD PARTITION FIELD truncate(4, k)", f"INSERT INTO {{t}} {rows(100, 400)}")
    delete_equal(t, ["s"], [["row1"], ["row2"], [None]], unpartitioned=True)
    t.keep()
    t.run("ALTER TABLE {t} RENAME COLUMN s TO text", f"INSERT INTO {{t}} {rows(400, 500)}", "DELETE FROM {t} WHERE id % 9 = 4")
    delete_equal(t, ["k", "text"], [[3, "row3"], [4, None]], unpartitioned=True)
    t.keep()
    t.run("ALTER TABLE {t} DROP COLUMN text", "INSERT INTO {t} (id, k) VALUES (1000, 3)")
    t.ask("SELECT count(*), sum(id) FROM t WHERE k = 3", "SELECT amt FROM t WHERE k = 4")


@iceberg
def equality_deletes_and_vectors(t):
    t.create(**V3, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {rows(0, 300)}")
    jvm = t.spark._jvm
    days = [[jvm.java.time.LocalDate.parse(day)] for day in ("1969-12-31", "1970-01-01", "1969-11-15")]
    delete_equal(t, ["d"], days)
    t.run("DELETE FROM {t} WHERE id % 5 = 0", f"INSERT INTO {{t}} {rows(300, 400)}")
    delete_equal(t, ["k"], [[4], [-4]])
    t.run("DELETE FROM {t} WHERE id % 7 = 1")
    t.ask("SELECT d, count(*) FROM t GROUP BY d", "SELECT count(*), sum(id) FROM t WHERE d = DATE '1970-01-01'")


def lineage(name, layout):
    def write(t):
        t.create(layout=layout, **V3, **MERGE_ON_READ)
        t.run(f"INSERT INTO {{t}} {rows(0, 300)}", "DELETE FROM {t} WHERE id % 10 = 3", f"INSERT INTO {{t}} {rows(300, 420, 1)}")
        t.keep()
        t.run("UPDATE {t} SET s = 'changed' WHERE id % 7 = 5", "DELETE FROM {t} WHERE id BETWEEN 310 AND 330")
        t.keep()
        t.run("ALTER TABLE {t} SET TBLPROPERTIES ('write.update.mode' = 'copy-on-write', 'write.delete.mode' = 'copy-on-write')")
        t.run("UPDATE {t} SET x = 0.5 WHERE id % 50 = 1", "DELETE FROM {t} WHERE id = 40", f"INSERT INTO {{t}} {rows(420, 440, 1)}")
        t.keep()
        t.run(f"CALL ice.system.rewrite_data_files(table => '{t.name[4:]}', options => map('rewrite-all', 'true'))")
        t.run(f"CALL ice.system.rewrite_manifests('{t.name[4:]}')", f"INSERT INTO {{t}} {rows(440, 450, 1)}")
        t.ask_of_rows("id", "s", "x", "_file", "_pos", "_row_id", "_last_updated_sequence_number")
        t.ask(
            "SELECT count(DISTINCT _row_id), count(*) FROM t",
            "SELECT id, _row_id FROM t WHERE _row_id BETWEEN 100 AND 120 AND id > 90",
            "SELECT _last_updated_sequence_number AS seq, count(*) FROM t WHERE _pos < 20 GROUP BY 1",
            "SELECT _row_id, _pos FROM t WHERE s = 'changed' ORDER BY _row_id LIMIT 7",
        )

    write.__name__ = name
    iceberg(write)


lineage("row_lineage", "")
lineage("row_lineage_in_partitions", "PARTITIONED BY (k)")


@iceberg
def row_lineage_later(t):
    t.create(**{"format-version": "2"}, **MERGE_ON_READ)
    t.run(f"INSERT INTO {{t}} {rows(0, 100)}", "DELETE FROM {t} WHERE id % 10 = 3")
    t.run("ALTER TABLE {t} SET TBLPROPERTIES ('format-version' = '3')", f"INSERT INTO {{t}} {rows(100, 150)}")
    t.run("UPDATE {t} SET s = 'changed' WHERE id % 9 = 5", "DELETE FROM {t} WHERE id % 10 = 4")
    delete_equal(t, ["s"], [["row3"], [None]])
    t.run(f"INSERT INTO {{t}} {rows(150, 160, 1)}")
    t.ask_of_rows("id", "s", "_file", "_pos", "_row_id", "_last_updated_sequence_number")
