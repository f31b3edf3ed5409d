"""repair_keras: mends faults of Keras for as long as the user wants it."""

from typing import NamedTuple

import keras

from tfopt._check import require_flags
from tfopt.repair._repair import Repair
from tfopt.repair.multi_worker_fit import MULTI_WORKER_FIT
from tfopt.repair.normalization import NORMALIZATION
from tfopt.repair.steps_per_execution import STEPS_PER_EXECUTION

REPAIRS = (NORMALIZATION, MULTI_WORKER_FIT, STEPS_PER_EXECUTION)

# Repair by name, in the order they were applied; each call's own entries, so that a handle undoes no other's.
_applied: dict[str, "_Applied"] = {}


class _Applied(NamedTuple):
    """A repair in force and the call that put it there."""

    repair: Repair
    call: object


class Repairs:
    """What one call of `repair_keras` mended; undone by `undo` or at the end of a ``with`` block.

    Attributes:
        mended: Names of the repairs this call applied; those applied before it are not among them.
    """

    def __init__(self):
        self.mended = tuple(repair.name for repair in REPAIRS if _mend(repair, self))

    def undo(self):
        """Leave Keras as it was before the call; a second time does nothing."""
        _undo(name for name, applied in _applied.items() if applied.call is self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo()

    def __repr__(self):
        return f"Repairs(mended={list(self.mended)})"


def repair_keras(*, undo=False):
    """Mend faults of Keras that tfopt meets, in this process, and print what was mended.

    Mended are, each only where the running Keras has the fault and is a version the repair was tried on:

    * ``normalization``: second derivatives through BatchNormalization in training mode, LayerNormalization
      and GroupNormalization. With the variance as mean((x − stop_gradient(μ))²), as Keras takes it from
      `tf.nn.moments`, first derivatives are right and Hessian-vector products are wrong by 1 to 12 %; every
      Newton step, gradient penalty and loss with derivatives in it is affected. After the repair nothing is
      stopped; values stay the same to the bit and first derivatives to rounding.
    * ``multi_worker_fit``: `fit` and `evaluate` under `MultiWorkerMirroredStrategy`, which raise as they
      come. Keras reduces a whole batch over the workers to learn its shapes, and scalars along an axis that
      they lack. After the repair the model is built from the worker's own share of the first batch, and each
      result is the mean over all replicas.
    * ``steps_per_execution``: above 1, `fit` raises under every strategy that synchronizes replicas by
      TensorFlow's collectives, and `evaluate` on several workers too, since Keras takes the steps within
      branches, where collectives do not run. After the repair they are taken in a plain loop; a last
      execution may be short, as on one device. Keras' `unrolled_steps_per_execution` has no effect then.

    Call it before models are compiled: a function traced earlier keeps what it was traced with. A second call
    changes nothing.

    Args:
        undo: True leaves Keras exactly as it was before any call.

    Returns:
        An object whose ``mended`` names what this call mended and whose ``undo()`` takes just that back; as a
        context manager it does so at the end of the block. None with `undo`.

    Raises:
        ValueError: If `undo` is no bool.
        RuntimeError: On undoing, if something else has replaced what the repair put in place.

    Example:
        >>> import tfopt
        >>> with tfopt.repair_keras() as repairs:
        ...     repairs.mended
        tfopt.repair_keras: mended second derivatives through BatchNormalization, LayerNormalization and ...
        tfopt.repair_keras: mended fit and evaluate under MultiWorkerMirroredStrategy.
        tfopt.repair_keras: mended steps_per_execution > 1 on several replicas.
        ('normalization', 'multi_worker_fit', 'steps_per_execution')
        tfopt.repair_keras: undid the repair of steps_per_execution > 1 on several replicas.
        ...

    Source: the derivative of the variance with respect to the mean is zero, that derivative's own is not.
    """
    require_flags("repair_keras", undo=undo)
    if not undo:
        return Repairs()
    _undo(_applied)
    return None


def _mend(repair, call):
    """Apply a repair where it is needed, and say what came of it."""
    reason = _reason_not_to(repair, keras.__version__)
    if reason:
        _say(f"left alone {repair.subject}: {reason}.")
        return False
    repair.apply()
    _applied[repair.name] = _Applied(repair, call)
    _say(f"mended {repair.subject}.")
    return True


def _undo(names):
    for name in reversed(list(names)):
        repair = _applied[name].repair
        repair.undo()
        del _applied[name]
        _say(f"undid the repair of {repair.subject}.")


def _reason_not_to(repair, version):
    if repair.name in _applied:
        return "mended by an earlier call"
    if not repair.applies(version):
        return f"the repair was not tried on Keras {version}"
    return "" if repair.present() else f"Keras {version} has it right"


def _say(sentence):
    print(f"tfopt.repair_keras: {sentence}")
