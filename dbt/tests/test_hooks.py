"""The suite's module hooks."""

import pytest
from dbt.tests.adapter.hooks.test_model_hooks import (
    MODEL_POST_HOOK,
    MODEL_PRE_HOOK,
    BasePrePostModelHooks,
    BaseHookRefs,
    BasePrePostModelHooksOnSeeds,
    BaseHooksRefsOnSeeds,
    BasePrePostModelHooksOnSeedsPlusPrefixed,
    BasePrePostModelHooksOnSeedsPlusPrefixedWhitespace,
    BasePrePostModelHooksOnSnapshots,
    BasePrePostModelHooksInConfig,
    BasePrePostModelHooksInConfigWithCount,
    BasePrePostModelHooksInConfigKwargs,
    BasePrePostSnapshotHooksInConfigKwargs,
    BaseDuplicateHooksInConfigs,
)
from dbt.tests.adapter.hooks.test_run_hooks import BasePrePostRunHooks, BaseAfterRunHooks


class OurTarget:
    """The suite expects the profile of Postgres."""

    def check_hooks(self, state, project, host, count=1):
        found = self.get_ctx_vars(state, project) if self.ONE else self.get_ctx_vars(state, count, project)
        for row in [found] if self.ONE else found:
            threads, started, invocation, thread = (
                row.pop(name) for name in ("target_threads", "run_started_at", "invocation_id", "thread_id")
            )
            assert row == {
                "test_state": state,
                # What Postgres has in its profiles.
                "target_dbname": "",
                "target_host": host,
                "target_name": "default",
                "target_schema": project.test_schema,
                "target_type": "lakewing",
                "target_user": "dbt",
                "target_pass": "",
            }
            assert int(threads) == 4 and started and invocation and thread

    ONE = False


class WithoutVacuum:
    """The server has no VACUUM."""

    @pytest.fixture(scope="class")
    def project_config_update(self):
        outside = {"sql": "select 1", "transaction": False}
        hooks = {"pre-hook": [MODEL_PRE_HOOK, outside], "post-hook": [outside, MODEL_POST_HOOK]}
        return {"models": {"test": hooks}}


class TestPrePostModelHooks(WithoutVacuum, OurTarget, BasePrePostModelHooks):
    pass


class TestHookRefs(OurTarget, BaseHookRefs):
    pass


class TestPrePostModelHooksOnSeeds(BasePrePostModelHooksOnSeeds):
    pass


class TestHooksRefsOnSeeds(BaseHooksRefsOnSeeds):
    pass


class TestPrePostModelHooksOnSeedsPlusPrefixed(BasePrePostModelHooksOnSeedsPlusPrefixed):
    pass


class TestPrePostModelHooksOnSeedsPlusPrefixedWhitespace(BasePrePostModelHooksOnSeedsPlusPrefixedWhitespace):
    pass


class TestPrePostModelHooksOnSnapshots(BasePrePostModelHooksOnSnapshots):
    pass


class TestPrePostModelHooksInConfig(OurTarget, BasePrePostModelHooksInConfig):
    pass


class TestPrePostModelHooksInConfigWithCount(WithoutVacuum, OurTarget, BasePrePostModelHooksInConfigWithCount):
    pass


class TestPrePostModelHooksInConfigKwargs(OurTarget, BasePrePostModelHooksInConfigKwargs):
    pass


class TestPrePostSnapshotHooksInConfigKwargs(BasePrePostSnapshotHooksInConfigKwargs):
    pass


class TestDuplicateHooksInConfigs(BaseDuplicateHooksInConfigs):
    pass


class TestPrePostRunHooks(OurTarget, BasePrePostRunHooks):
    ONE = True


class TestAfterRunHooks(BaseAfterRunHooks):
    pass
