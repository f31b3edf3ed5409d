"""CurvatureMonitor: whether curvature, not a missing gradient, limits the steps."""

import numpy as np

from tfopt._figure import panels
from tfopt.analysis.gradient_curvature import along
from tfopt.callbacks._probe import ProbeCallback, rate_of


class CurvatureMonitor(ProbeCallback):
    """Measures every n steps how strongly the loss curves along its gradient, and what the step makes of it.

    With J the loss of `x` and `y`, g its gradient and H its Hessian at the weights before a train step, ε the
    optimizer's learning rate and Δ the step the optimizer takes::

        squared_gradient_norm  gᵀg
        gradient_curvature     gᵀHg
        critical_rate          2gᵀg/gᵀHg, infinite where the curvature is not positive
        ill_conditioned        1 where ½ε gᵀHg > gᵀg, else 0: the step −εg would raise J
        predicted_change       gᵀΔ + ½ΔᵀHΔ
        actual_change          J(θ + Δ) − J(θ)

    These names stand in the logs at the end of each epoch, as means over the measurements in it, but for
    `critical_rate`, the least of them, and `ill_conditioned`, then a share; hence in `History`,
    `EarlyStopping` and `CSVLogger`; each measurement is in `history`. Put it before `TensorBoard` in the list
    of callbacks, which then writes the epochs' means, and each measurement as ``batch_…`` if its
    `update_freq` is not "epoch".

    ε is that of plain gradient descent: with momentum or Adam, which scale the gradient, look at the two
    changes, which are about their own step. With ``gradient_accumulation_steps`` a train step without an
    update has Δ = 0.

    Cost: a measurement takes one gradient of the data given, two Hessian products and one further value,
    together about 5½ gradients of these data; an epoch of s steps takes s/n measurements. Give a few hundred
    samples. The products are exact, whatever the model's `jit_compile`; under a strategy they run on the
    first device. Nothing of the model, its seeds, moving statistics and metrics changes.

    Args:
        x: Inputs the loss is measured on, as for `tfopt.curvature.hessian_operator`.
        y: Targets, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        every: n >= 1: measure at every n-th train step, from the first on; with `steps_per_execution`, at the
            beginning of the next execution, whose steps together then are the step Δ.
        batch_size: Samples per batch of arrays; None takes all at once.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the measurement.

    Attributes:
        history: Every measurement, as a dictionary of arrays, with "step", "loss" and "learning_rate".
        findings: What the last measurement has to say.

    Raises:
        ValueError: If `every` is out of its range; at the start of `fit`, if the model has no loss or the
            data do not fit.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(tfopt.SGD(0.01), "mse")
        >>> x = np.random.default_rng(0).normal(size=(32, 2))
        >>> monitor = tfopt.callbacks.CurvatureMonitor(x, x[:, :1], every=2)
        >>> log = model.fit(x, x[:, :1], batch_size=8, epochs=2, verbose=0, callbacks=[monitor]).history
        >>> log["ill_conditioned"], len(monitor.history["critical_rate"])
        ([0.0, 0.0], 4)

    Source: chapter section 2.1.
    """

    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        *,
        every=100,
        batch_size=None,
        training=False,
        jit_compile=False,
    ):
        options = dict(batch_size=batch_size, training=training, jit_compile=jit_compile)
        super().__init__((x, y, sample_weight), every, options)
        self._before: tuple = ()

    def begin_step(self):
        """Gradient and product at the weights before the step."""
        start, gradient = self._loss.value_and_gradient()
        rate = rate_of(self.model.optimizer)
        self._before = self._loss.vector(), start, gradient, self._loss.hessian @ gradient, rate

    def end_step(self):
        """What the step did."""
        weights, start, gradient, product, rate = self._before
        step, end = self._loss.vector() - weights, self._loss.value()
        with self._loss.at(weights):
            bent = self._loss.hessian @ step
        self.note(along(start, gradient, product, rate, (step, bent, end - start)))

    def scalars(self, record):
        """Names and numbers of one measurement."""
        return {
            "squared_gradient_norm": record.squared_norm,
            "gradient_curvature": record.curvature,
            "critical_rate": record.critical_rate,
            "ill_conditioned": float(record.ill_conditioned),
            "predicted_change": record.predicted_change,
            "actual_change": record.actual_change,
        }

    def combine(self, records):
        """Means, and the least critical rate."""
        least = min(record.critical_rate for record in records)
        return super().combine(records) | {"critical_rate": least}

    @property
    def history(self):
        """Every measurement: a dictionary of arrays."""
        further = ("loss", "learning_rate") if self.records else ()
        rows = {name: np.array([getattr(record, name) for _, record in self.records]) for name in further}
        return super().history | rows

    def plot(self):
        """Draw gradient and curvature, rate and critical rate, predicted and actual change, against steps.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ValueError: If nothing was measured yet.
            ImportError: If matplotlib is not installed.
        """
        self.require_records("plot")
        seen = self.history
        left, middle, right = panels("CurvatureMonitor", 3)
        _lines(left, seen, {"gᵀg": seen["squared_gradient_norm"], "gᵀHg": seen["gradient_curvature"]})
        left.set(
            title="Gradient and curvature", yscale="symlog" if min(seen["gradient_curvature"]) < 0 else "log"
        )
        rates = {"learning rate ε": seen["learning_rate"], "critical ε": seen["critical_rate"]}
        _lines(middle, seen, rates)
        middle.set(title="Learning rate and its bound", yscale="log")
        flagged = seen["ill_conditioned"] > 0
        middle.plot(
            seen["step"][flagged], seen["learning_rate"][flagged], "kx", label="½ε gᵀHg > gᵀg: too long"
        )
        changes = {"predicted": seen["predicted_change"], "actual": seen["actual_change"]}
        _lines(right, seen, changes)
        right.axhline(0.0, color="0.6", linewidth=1)
        right.set(title="Change of the loss by the step")
        for axes in (left, middle, right):
            axes.set_xlabel("train step")
            axes.legend()
        return left.figure


def _lines(axes, seen, curves):
    for (label, values), style in zip(curves.items(), ("-", "--"), strict=True):
        finite = np.where(np.isfinite(values), values, np.nan)
        axes.plot(seen["step"], finite, style, marker="o", markersize=3, label=label)
