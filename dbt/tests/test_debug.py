"""The suite's module dbt_debug."""

from pathlib import Path

import yaml
from dbt.tests.adapter.dbt_debug.test_dbt_debug import BaseDebug, BaseDebugProfileVariable
from dbt.tests.util import run_dbt


class TestDebug(BaseDebug):
    def test_ok(self, project):
        run_dbt(["debug"])
        assert "ERROR" not in self.capsys.readouterr().out

    def test_an_address_where_nobody_listens(self, project):
        profiles = Path(project.profiles_dir) / "profiles.yml"
        written = profiles.read_text()
        profile = yaml.safe_load(written)
        profile["test"]["outputs"]["default"] |= {"port": 1, "connect_retries": 0}
        profiles.write_text(yaml.safe_dump(profile))
        try:
            run_dbt(["debug"], expect_pass=False)
        finally:
            profiles.write_text(written)
        assert "Connection test: [\x1b[31mERROR" in self.capsys.readouterr().out


class TestDebugProfileVariable(BaseDebugProfileVariable):
    def test_ok(self, project):
        run_dbt(["debug"])
        assert "ERROR" not in self.capsys.readouterr().out
