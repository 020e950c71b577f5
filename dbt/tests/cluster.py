"""A real Lakewing: a server and its executors, with a folder of their own."""

import subprocess
import time

START_SECONDS = 120


class Cluster:
    """Processes of `program`, with their files in `folder` and the embedded lake in its folder `data`."""

    def __init__(self, program, folder, settings=""):
        """`settings` are further lines of the server's configuration."""
        self.program, self.folder, self.data, self.settings = program, folder, folder / "data", settings
        self.executors, self.server, self.port = [], None, None

    def start(self, executors=2):
        """Starts all of them."""
        (self.folder / "executor.toml").write_text("")
        addresses = []
        for number in range(executors):
            process, address = self._run(f"executor-{number}", "executor", "ready: executor on ")
            self.executors.append(process)
            addresses.append(f'"http://{address}"')
        # Small scans are spread too: the tables of tests are small.
        (self.folder / "server.toml").write_text(
            f'data_dir = "{self.data}"\n{self.settings}\n[executor]\nscan_bytes_per_partition = 65536\n'
            f'mode = {{ type = "static", addresses = [{", ".join(addresses)}] }}\n'
        )
        self.server, address = self._run("server", "serve", "ready: grpc://")
        self.port = address.rpartition(":")[2]
        return self

    def stop(self):
        for process in [*self.executors, self.server]:
            if process is not None:
                process.kill()
                process.wait()

    def _run(self, name, role, ready):
        """Starts one process and waits until it prints a line with `ready`; the rest of that line."""
        config = self.folder / f"{'server' if role == 'serve' else role}.toml"
        log = self.folder / f"{name}.log"
        command = [self.program, role, "--log", "warn", "--listen", "127.0.0.1:0", "--config", config]
        with open(log, "w") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            for line in log.read_text().splitlines():
                if ready in line:
                    return process, line.partition(ready)[2].strip()
            time.sleep(0.05)
        process.kill()
        raise RuntimeError(f"{name} does not start: {log.read_text()}")
