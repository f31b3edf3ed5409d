"""What the optimizers with a line search have beyond the others: a result."""

import numpy as np

from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._result import result_of


class DirectionOptimizer(MachineOptimizer):
    """An optimizer whose machine has a line search: abstract."""

    @property
    def result(self):
        """How the run stands: a `tfopt.Result` of the last iterate; None before the first evaluation."""
        if not self.state_value("evaluations"):
            return None
        return result_of(self.machine, self.state_value, self._iterate())

    def _iterate(self):
        weights = self.trained_variables
        if bool(self.state_value("exposed")):
            return [np.asarray(weight) for weight in weights]
        vector = self.state_value("iterate")
        pieces = np.split(vector, np.cumsum([np.prod(w.shape, dtype=int) for w in weights])[:-1])
        return [piece.reshape(w.shape) for piece, w in zip(pieces, weights, strict=True)]
