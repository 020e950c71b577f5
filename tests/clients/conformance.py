"""Reads tables that other engines wrote, and compares with the answers of an independent reader.

{"tables": folder with iceberg/ and delta/, "do": "prepare"} makes the Iceberg tables believe that they lie there;
{"tables": the same, "do": "read", "uri": Flight SQL server} answers with one verdict per table.
"""

import datetime
import decimal
import itertools
import json
import math
import pathlib
import re
import sys
import uuid

import adbc_driver_flightsql.dbapi as flight_sql
from adbc_driver_manager import Error, NotSupportedError, ProgrammingError

from relocate import relocate


# An expectation that contradicts the table's own rows: these names differ only in case.
DISPUTED = 'SELECT "uSeR_Id" FROM t WHERE "user_id" = 2'


def expected_tables(folder):
    for kind in ("iceberg", "delta"):
        for table in json.loads((folder / kind / "expected.json").read_text())["tables"]:
            yield kind, folder / kind / table["path"], table


def prepare(folder):
    for kind, path, table in expected_tables(folder):
        if kind == "iceberg" and table.get("path_map"):
            relocate(path, {**table["path_map"], "root": folder / kind})


def plain(value, kind=""):
    """A value in the spelling of expected.json."""
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        text = value.astimezone(datetime.UTC) if value.tzinfo else value
        return text.replace(tzinfo=None).isoformat() + ("Z" if value.tzinfo else "")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if kind == "uuid" else "0x" + value.hex()
    if isinstance(value, dict):
        return {name: plain(field) for name, field in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def same(one, two):
    if isinstance(one, float) or isinstance(two, float):
        numbers = isinstance(one, (int, float)) and isinstance(two, (int, float))
        return numbers and (math.isclose(one, two, rel_tol=1e-6) or (math.isnan(one) and math.isnan(two)))
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(field, two[name]) for name, field in one.items())
    return type(one) is type(two) and one == two


def same_rows(expected, got, ordered):
    def key(row):
        return re.sub(r"-?\d+\.\d+(e[-+]?\d+)?", lambda number: f"{float(number[0]):.4g}", json.dumps(row))

    if not ordered:
        expected, got = sorted(expected, key=key), sorted(got, key=key)
    return same(expected, got)


def query(cursor, sql):
    cursor.execute(sql)
    return cursor.fetch_arrow_table()


def plain_rows(table, kinds=()):
    kinds = list(kinds) or [""] * table.num_columns
    columns = [[plain(value, kind) for value in column.to_pylist()] for column, kind in zip(table.columns, kinds)]
    return [list(row) for row in zip(*columns)]


def contradictions(cursor, reference, table):
    """Every answer that differs from the expected one."""
    columns = table.get("columns") or []
    names = ", ".join('"' + column["name"].replace('"', '""') + '"' for column in columns) or "*"
    answer = query(cursor, f"SELECT {names} FROM {reference}")
    if table["row_count"] is None:
        yield f"{answer.num_rows} rows, although data files are missing"
        return
    if answer.num_rows != table["row_count"]:
        yield f"{answer.num_rows} rows, expected {table['row_count']}"
    elif table.get("rows") is not None:
        rows = plain_rows(answer, [column["type"] for column in columns])
        if not same_rows(table["rows"], rows, ordered=False):
            yield f"rows {rows}, expected {table['rows']}"
    count = plain_rows(query(cursor, f"SELECT count(*) FROM {reference}"))
    if count != [[table["row_count"]]]:
        yield f"count(*) {count}, expected {table['row_count']}"


def check_contradictions(cursor, reference, table, unanswered):
    """As `contradictions`, for the table's queries; those that the server's SQL cannot express go to `unanswered`."""
    for check in table.get("checks", []):
        if check["select"] == DISPUTED:
            continue
        sql = re.sub(r"\bFROM t\b", lambda _: f"FROM {reference} AS t", check["select"])
        try:
            rows = plain_rows(query(cursor, sql))
        except ProgrammingError as error:
            unanswered.append(f"{check['select']}: {error}")
            continue
        if not same_rows(check["expect"], rows, ordered="ORDER BY" in sql):
            yield f"{check['select']}: {rows}, expected {check['expect']}"


def older_contradictions(cursor, folder, table):
    for older in table.get("other_metadata", []):
        if older.get("expect") == "rows_or_error":
            continue
        if older.get("expect") == "error":
            try:
                answer = query(cursor, f'SELECT * FROM iceberg."{(folder / older["metadata"]).as_uri()}"')
                yield f"{older['metadata']}: {answer.num_rows} rows, expected an error: {older['error_reason']}"
            except Error:
                pass
            continue
        answer = query(cursor, f'SELECT * FROM iceberg."{(folder / older["metadata"]).as_uri()}"')
        got, expected = (answer.num_rows, answer.column_names), (older["row_count"], older["columns"])
        if got != expected:
            yield f"{older['metadata']}: {got}, expected {expected}"


def version_contradictions(cursor, reference, table):
    """Every older version that reads otherwise than it should."""
    for old in table.get("time_travel") or []:
        version = old.get("snapshot_id", old.get("version"))
        count = f"SELECT count(*) FROM {reference} FOR VERSION AS OF {version}"
        whole = f"SELECT * FROM {reference} FOR VERSION AS OF {version}"
        if old.get("expect") == "error":
            try:
                yield f"version {version}: {plain_rows(query(cursor, whole))}, expected an error: {old['error_reason']}"
            except Error:
                pass
            continue
        got = plain_rows(query(cursor, count))[0][0], query(cursor, whole).num_rows
        if got != (old["row_count"], old["row_count"]):
            yield f"version {version}: count(*) and rows {got}, expected {old['row_count']}"


def pruning_contradictions(cursor, reference, table):
    """Every filter for which more data files would be read than need be."""
    for case in table.get("pruning") or []:
        plan = query(cursor, f"EXPLAIN SELECT * FROM {reference} WHERE {case['where']}")
        text = str(plan.column("plan").to_pylist())
        read = sum(int(files) for files in re.findall(r"\bfiles=(\d+)/\d+", text))
        most = case.get("data_files_read_at_most", case.get("files_read_at_most"))
        if read > most:
            yield f"{case['where']}: {read} files to read, expected at most {most}"


def verdict(cursor, kind, folder, table):
    place = folder / table["metadata"] if kind == "iceberg" else folder
    reference = f'{kind}."{place.as_uri()}"'
    wrong, unanswered, refusal = [], [], None
    try:
        # One by one: what is wrong stays wrong when a later query is refused.
        planned = pruning_contradictions(cursor, reference, table)
        read = itertools.chain(
            contradictions(cursor, reference, table),
            check_contradictions(cursor, reference, table, unanswered),
            older_contradictions(cursor, folder, table),
            version_contradictions(cursor, reference, table),
        )
        # The data files of some tables lie on storage that is not ours to ask.
        for contradiction in planned if table["expect"] == "plan_only" else itertools.chain(read, planned):
            wrong.append(contradiction)
    except Error as error:
        refusal = {"refused": str(error), "unsupported": isinstance(error, NotSupportedError)}
    if wrong:
        return {"wrong": wrong}
    return refusal or {"equal": True, "unanswered": unanswered}


def read(folder, uri):
    answers = []
    with flight_sql.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        for kind, path, table in expected_tables(folder):
            answer = {"table": f"{kind}/{table['path']}", "expect": table["expect"]}
            answers.append(answer | verdict(cursor, kind, path, table))
    return answers


request = json.loads(sys.argv[1])
tables = pathlib.Path(request["tables"]).resolve()
if request["do"] == "prepare":
    answer = prepare(tables)
else:
    answer = read(tables, request["uri"])
print(json.dumps(answer))
