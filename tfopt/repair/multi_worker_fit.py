"""The repair of `fit` and `evaluate` on several workers."""

from tfopt._require_host import is_within
from tfopt.repair import _glue
from tfopt.repair._repair import Repair
from tfopt.version import KERAS


def _present():
    return _glue.reduces_whole_batches() or _glue.reduces_scalars_along_an_axis()


MULTI_WORKER_FIT = Repair(
    name="multi_worker_fit",
    subject="fit and evaluate under MultiWorkerMirroredStrategy",
    applies=lambda version: is_within(version, KERAS),
    present=_present,
    apply=_glue.WORKERS.apply,
    undo=_glue.WORKERS.undo,
)
