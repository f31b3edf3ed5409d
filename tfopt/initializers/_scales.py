"""Kernels whose scale is searched, and one trial of that search."""

import math
import sys

import numpy as np

from tfopt._check import require
from tfopt.initializers._init_scales import InitScales, scalable


def chosen_kernels(owner, model, layers):
    """{layer: its kernels} of the layers that are searched, in the model's order."""
    known = scalable(model)
    require(known, owner, "model", model, "a model with a kernel")
    if layers is None:
        return known
    expected = f"names among {', '.join(known)}"
    require(layers and set(layers) <= set(known), owner, "layers", layers, expected)
    return {name: kernels for name, kernels in known.items() if name in layers}


class Trial:
    """Trains a model for a short while from scaled kernels, as often as it is called."""

    def __init__(self, model, kernels, objective, fit):
        again = not hasattr(fit["x"], "__next__")
        require(again, "tune_init_scale", "x", fit["x"], "data that can be read more than once")
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        self.model = model
        self.kernels = kernels
        self.objective = objective
        self.fit = fit
        self.start = [(v, np.array(v.numpy())) for v in (*model.variables, *model.optimizer.variables)]
        self.records: list = []

    def restore(self):
        """Put back all that training changes."""
        for variable, value in self.start:
            variable.assign(value)

    def __call__(self, scales):
        """The objective after training from these scales, the largest number if it is not finite."""
        self.restore()
        for name, kernels in self.kernels.items():
            for kernel in kernels:
                kernel.assign(kernel * scales[name])
        logs = self.model.fit(**self.fit, verbose=0).history
        value = float(logs[self._key(logs)][-1])
        self.records.append((scales, value if math.isfinite(value) else math.inf))
        return min(self.records[-1][1], sys.float_info.max)

    def _key(self, logs):
        key = self.objective or ("val_loss" if "val_loss" in logs else "loss")
        require(key in logs, "tune_init_scale", "objective", key, f"one of {', '.join(logs)}")
        return key

    @property
    def lowest(self):
        """The lowest value so far."""
        return min(value for _, value in self.records)

    def best(self, owner):
        """What the search found."""
        if not math.isfinite(self.lowest):
            raise ValueError(
                f"{owner}: no trial ended with a finite value; lower `high` or the learning rate."
            )
        scales, value = min(self.records, key=lambda record: record[1])
        return InitScales(scales, value, self.records[0][1], tuple(self.records))
