"""Builds the project and reads what was built."""

import datetime
import decimal
import os
import subprocess
import sys
import time
from pathlib import Path

from sixty import project

#: Orders that a first and a second build see.
ROUNDS = ("1996-01-01", "1999-01-01")


def build(folder, through, environment=None, name="build"):
    """Starts `dbt build` in `folder`; a function that waits for its end and gives the seconds that it took."""
    command = [sys.executable, "-m", "dbt.cli.main", "build", "--threads", "8", "--profiles-dir", ".", "--vars",
               f"{{through: '{through}'}}", "--log-path", f"logs-{name}"]
    log = Path(folder) / f"{name}.txt"
    start = time.monotonic()
    with open(log, "w") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, env=os.environ | (environment or {}))

    def wait():
        status = process.wait()
        took = time.monotonic() - start
        text = log.read_text()
        assert status == 0 and "ERROR=0 SKIP=0" in text, text[-8000:]
        return took

    return wait


def rows(columns, values):
    """Rows as sets compare them: columns by name, numbers and dates without their types."""
    order = sorted(range(len(columns)), key=lambda place: columns[place].lower())
    kept = [place for place in order if not columns[place].lower().startswith("dbt_")]
    names = tuple(columns[place].lower() for place in kept)
    return names, sorted((tuple(plain(row[place]) for place in kept) for row in values), key=repr)


def plain(value):
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        exact = decimal.Decimal(str(value)).normalize()
        return f"{exact:f}"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat()
    return None if value is None else str(value)


def compare(theirs, ours, where):
    """Fails where one of all models, snapshots and seeds has other rows. `theirs` and `ours` read a query."""
    checked = 0
    for name in [*project.models(), *project.SNAPSHOTS, "flags"]:
        filters = [""]
        if name in project.SNAPSHOTS:
            filters = [" where dbt_valid_to is null", " where dbt_valid_to is not null"]
        for condition in filters:
            expected, found = theirs(f"{name}{condition}"), ours(f"{name}{condition}")
            assert found == expected, f"{where}: {name}{condition}: {len(found[1])} rows, {len(expected[1])} expected: " + str(
                list(zip(found[1], expected[1]))[:3]
            )
            checked += len(found[1])
    return checked
