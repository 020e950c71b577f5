"""The suite's module dbt_clone."""

from dbt.tests.adapter.dbt_clone.test_dbt_clone import (
    BaseCloneNotPossible,
    BaseCloneSameSourceAndTarget,
    BaseCloneSameTargetAndState,
)

class TestCloneNotPossible(BaseCloneNotPossible):
    pass

class TestCloneSameSourceAndTarget(BaseCloneSameSourceAndTarget):
    pass

class TestCloneSameTargetAndState(BaseCloneSameTargetAndState):
    pass
