"""What the optimizers with a line search have beyond the others: a result."""

import numpy as np

from tfopt.optimizers._glue import MachineOptimizer
from tfopt.optimizers._result import Result, status_of


class DirectionOptimizer(MachineOptimizer):
    """An optimizer whose machine is a direction with a line search: abstract."""

    @property
    def result(self):
        """How the run stands: a `tfopt.Result` of the last iterate accepted; None before the first step."""
        if not self.built or not self.train_steps:
            return None
        parts = self._parts.value
        return Result(
            x=self._iterate(),
            fun=float(self.state_value("value")),
            grad_norm=float(np.max(np.abs(parts["gradient"].numpy()))),
            iterations=int(self.state_value("iterations")),
            evaluations=self.train_steps // (self.gradient_accumulation_steps or 1),
            products=int(self.state_value("products")),
            status=status_of(self.state_value("phase")),
        )

    def _iterate(self):
        weights = self.trained_variables
        if bool(self.state_value("exposed")):
            return [np.asarray(weight) for weight in weights]
        vector = self._parts.value["iterate"].numpy()
        pieces = np.split(vector, np.cumsum([np.prod(w.shape, dtype=int) for w in weights])[:-1])
        return [piece.reshape(w.shape) for piece, w in zip(pieces, weights, strict=True)]
