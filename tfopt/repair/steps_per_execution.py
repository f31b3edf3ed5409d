"""The repair of `steps_per_execution` above 1 on several replicas."""

from tfopt._require_host import is_within
from tfopt.repair import _glue
from tfopt.repair._repair import Repair
from tfopt.version import KERAS

STEPS_PER_EXECUTION = Repair(
    name="steps_per_execution",
    subject="steps_per_execution > 1 on several replicas",
    applies=lambda version: is_within(version, KERAS),
    present=_glue.steps_within_branches,
    apply=_glue.MAKE_FUNCTION.apply,
    undo=_glue.MAKE_FUNCTION.undo,
)
