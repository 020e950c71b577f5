"""A real server with two executor processes for all tests, and the profile that reaches it.

LAKEWING_BIN is the program, LAKEWING_DBT_FORMAT the format of tables, `iceberg` without it. With LAKEWING_DBT_SERVER, the
port of a server of yours on this machine, none is started.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

pytest_plugins = ["dbt.tests.fixtures.project"]

PORT = "LAKEWING_DBT_SERVER"
EXECUTORS = 2
START_SECONDS = 60


def pytest_configure(config):
    """Starts the server in the first process; those of pytest-xdist find its port in their environment."""
    if PORT in os.environ or hasattr(config, "workerinput"):
        return
    folder = tempfile.TemporaryDirectory(prefix="lakewing-dbt-")
    cluster = Cluster(Path(os.environ.get("LAKEWING_BIN", "lakewing")), Path(folder.name))
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(cluster.stop)
    os.environ[PORT] = cluster.start()


def pytest_terminal_summary(terminalreporter):
    """The line that tests/run counts."""
    counts = {name: len(terminalreporter.stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    failed = counts["failed"] + counts["error"]
    verdict = "FAILED" if failed else "ok"
    line = f"test result: {verdict}. {counts['passed']} passed; {failed} failed; {counts['skipped']} skipped"
    terminalreporter.write_line(line)


class Cluster:
    """A server and its executors, with a lake of their own in a folder."""

    def __init__(self, program, folder):
        self.program, self.folder, self.running = program, folder, []

    def start(self):
        """Starts all of them; the server's port."""
        (self.folder / "executor.toml").write_text("")
        addresses = [
            self.run(f"executor-{number}", "executor", "ready: executor on ", "executor.toml")
            for number in range(EXECUTORS)
        ]
        urls = ", ".join(f'"http://{address}"' for address in addresses)
        (self.folder / "server.toml").write_text(
            f'data_dir = "{self.folder / "data"}"\n'
            '[executor]\nscan_bytes_per_partition = 65536\nmode = { type = "static", addresses = [' + urls + "] }\n"
        )
        return self.run("server", "serve", "ready: grpc://", "server.toml").rpartition(":")[2]

    def run(self, name, role, ready, config):
        """Starts one process and waits until it prints a line with `ready`; the rest of that line."""
        log = self.folder / f"{name}.log"
        command = [self.program, role, "--log", "warn", "--listen", "127.0.0.1:0", "--config", self.folder / config]
        with open(log, "w") as output:
            self.running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.running[-1].poll() is None:
            for line in log.read_text().splitlines():
                if ready in line:
                    return line.partition(ready)[2].strip()
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"{name} does not start: {log.read_text()}")

    def stop(self):
        for process in self.running:
            process.kill()
            process.wait()
        self.running = []


@pytest.fixture(scope="class")
def dbt_profile_target():
    return {
        "type": "lakewing",
        "host": "127.0.0.1",
        "port": int(os.environ[PORT]),
        "catalog": "lake",
        "threads": 4,
        "table_format": os.environ.get("LAKEWING_DBT_FORMAT", "iceberg"),
    }
