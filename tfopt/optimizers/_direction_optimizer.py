"""What the optimizers with a line search have beyond the others: a result."""

import warnings

import numpy as np

from tfopt.optimizers._descent import Phase
from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._result import result_of


class DirectionOptimizer(MachineOptimizer):
    """An optimizer whose machine has a line search: abstract."""

    _finished_at: tuple | None = None  # evaluations and iterations when the last `fit` ended

    @property
    def result(self):
        """How the run stands: a `tfopt.Result` of the last iterate; None before the first evaluation."""
        if not self.state_value("evaluations"):
            return None
        return result_of(self.machine, self.state_value, self._iterate())

    def finalize_variable_values(self, var_list):
        """Leave the iterate in the model; Keras calls this at the end of `fit`."""
        gives_up = bool(self._rows_held(shown=False))
        super().finalize_variable_values(var_list)
        if self.machine.flat and self.built:
            self._check_progress(gives_up)

    def _check_progress(self, gives_up):
        now = tuple(int(self.state_value(name)) for name in ("evaluations", "iterations"))
        stands = self._finished_at is not None and self._finished_at[1] == now[1]
        unfinished = self.machine.phase(self.state_value) is Phase.SEARCH and self._finished_at != now
        if gives_up and stands and unfinished:
            warnings.warn(
                f"{type(self).__name__}: no step was completed in this `fit`, which began by evaluating the "
                "last iterate once more and gave up its trial point in the end. Give it more train steps, or "
                "put tfopt.callbacks.EvaluationWeights() among its callbacks, which keeps the trial point.",
                stacklevel=2,
            )
        self._finished_at = now

    def _iterate(self):
        weights = self.trained_variables
        if np.any(self.state_value("exposed")):
            return [np.asarray(weight) for weight in weights]
        vector = self.state_value("iterate")
        pieces = np.split(vector, np.cumsum([np.prod(w.shape, dtype=int) for w in weights])[:-1])
        return [piece.reshape(w.shape) for piece, w in zip(pieces, weights, strict=True)]
