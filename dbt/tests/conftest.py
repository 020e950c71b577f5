"""A server with two executor processes for all tests, and the profile that reaches it.

LAKEWING_BIN is the program, LAKEWING_DBT_FORMAT the format of tables, `iceberg` without it. With LAKEWING_DBT_PORT, the
port of a server of yours on this machine, none is started. `-m choice` runs the classes of CHOICE and what is no part of
dbt's suite.
"""

import os
import tempfile
from pathlib import Path

import pytest
from cluster import Cluster

pytest_plugins = ["dbt.tests.fixtures.project"]

PORT = "LAKEWING_DBT_PORT"

#: The users that projects grant something to, as the suite asks for them.
READERS = {f"DBT_TEST_USER_{number}": f"reader {number}" for number in (1, 2, 3)}

#: Only a login has a session, which settings need. The user of all tests owns the schemas that it makes in `lake`, and
#: everything in the other catalog, and is no administrator.
LOGIN = """
[auth]
mode = "basic"
users = { dbt = "not a secret", root = "not a secret", %s }
[access]
enabled = true
admins = ["root"]
[access.catalogs]
lake = { create = ["dbt"] }
delta = { own = ["dbt"] }
""" % ", ".join(f'"{name}" = "not a secret"' for name in READERS.values())

#: At least one class for each thing that a project does.
CHOICE = {
    "TestSimpleMaterializations",
    "TestEphemeral",
    "TestGenericTests",
    "TestDocsGenerate",
    "TestAdapterMethod",
    "TestIncrementalUniqueKey",
    "TestIncrementalOnSchemaChange",
    "TestMicrobatch",
    "TestMergeExcludeColumns",
    "TestDateAdd",
    "TestDateDiff",
    "TestListagg",
    "TestPersistDocsColumnMissing",
    "TestBasicSeedTests",
    "TestSimpleSeedColumnOverride",
    "TestUDFsBasic",
    "TestBasicSQLUDAF",
    "TestPythonModelTests",
    "TestSnapshotCheck",
    "TestSnapshotEphemeralHardDeletes",
    "TestStoreTestFailures",
    "TestUnitTestingTypes",
    "TestTableConstraintsColumnsEqual",
    "TestConstraintsRollback",
    "TestPrePostModelHooks",
    "TestChangeRelationTypeValidator",
    "TestConcurrency",
    "TestCalculateFreshnessMethod",
    "TestAliases",
    "TestShowLimit",
    "TestModelGrants",
    "TestInvalidGrants",
}


def program():
    return Path(os.environ.get("LAKEWING_BIN", "lakewing"))


def pytest_configure(config):
    """Starts the server in the first process; those of pytest-xdist find its port in their environment."""
    config.addinivalue_line("markers", "choice: what runs where all tests would take too long")
    os.environ.update(READERS)
    if PORT in os.environ or hasattr(config, "workerinput") or config.option.collectonly:
        return
    folder = tempfile.TemporaryDirectory(prefix="lakewing-dbt-")
    config.add_cleanup(folder.cleanup)
    cluster = Cluster(program(), Path(folder.name), LOGIN)
    config.add_cleanup(cluster.stop)
    os.environ[PORT] = cluster.start().port


def pytest_collection_modifyitems(items):
    for item in items:
        # The project of 60 models takes minutes.
        is_own = item.cls is None and item.path.name != "test_sixty.py"
        if is_own or (item.cls is not None and item.cls.__name__ in CHOICE):
            item.add_marker(pytest.mark.choice)


def pytest_terminal_summary(terminalreporter):
    """The line that tests/run counts."""
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    failed = counts["failed"] + counts["error"]
    verdict = "FAILED" if failed else "ok"
    line = f"test result: {verdict}. {counts['passed']} passed; {failed} failed; {counts['skipped']} skipped"
    terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def table_format():
    return os.environ.get("LAKEWING_DBT_FORMAT", "iceberg")


@pytest.fixture(scope="session")
def columns_may_change(table_format):
    """The configuration of a project whose columns are dropped and widened, which Delta tables must be made for."""
    if table_format == "iceberg":
        return {}
    made_for = {"delta.columnMapping.mode": "name", "delta.enableTypeWidening": "true"}
    return {kind: {"+table_properties": made_for} for kind in ("models", "seeds")}


@pytest.fixture(scope="class")
def dbt_profile_target(lakewing_profile):
    return lakewing_profile


@pytest.fixture(scope="class")
def lakewing_profile(table_format):
    return {
        "type": "lakewing",
        "host": "127.0.0.1",
        "port": int(os.environ[PORT]),
        "user": "dbt",
        "password": "not a secret",
        "catalog": "lake",
        "threads": 4,
        "table_format": table_format,
    }


@pytest.fixture(scope="class")
def logs_dir(tmp_path_factory):
    """Where dbt logs: the suite's own folder would lie in this checkout."""
    folder = tmp_path_factory.mktemp("logs")
    os.environ["DBT_LOG_PATH"] = str(folder)
    yield str(folder)
    del os.environ["DBT_LOG_PATH"]
