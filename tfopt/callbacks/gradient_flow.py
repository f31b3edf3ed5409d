"""GradientFlow: the gradient layer by layer and time step by time step while training goes on."""

import numpy as np

from tfopt._figure import panels
from tfopt.analysis._trend import Trend
from tfopt.analysis.gradient_flow import FlowMeter, require_bound
from tfopt.callbacks._probe import ProbeCallback


class GradientFlow(ProbeCallback):
    """Measures every n steps how the gradient fares through depth and time, and names what goes wrong.

    What is measured is `tfopt.analysis.gradient_flow` of `x` and `y`, at the weights before the step. The
    logs hold at the end of each epoch, as geometric means over the measurements in it::

        gradient_depth_factor   ‖∂J/∂h₁‖/‖∂J/∂h_L‖, first layer against last, by a fit through all
        gradient_time_factor    ‖∂J/∂s₁‖/‖∂J/∂s_T‖ likewise, of the recurrent layer where it is most extreme;
                                only where there is one

    1 is ideal; below 1/`bound` the gradient vanishes, above `bound` it explodes, and `findings` says so.
    Norms by layer and step are in `records`. Put it before `TensorBoard` in the list of callbacks, which then
    writes the epochs' means, and each measurement as ``batch_…`` if its `update_freq` is not "epoch".

    Cost: one gradient of the data given per measurement; an epoch of s steps takes s/n measurements. Nothing
    of the model changes; under a strategy it runs on the first device.

    Args:
        x: Inputs, as for `tfopt.analysis.gradient_flow`.
        y: Targets, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        every: n >= 1: measure at every n-th train step, from the first on; with `steps_per_execution`, at the
            beginning of the next execution.
        bound: Change over the whole way that has a name, > 1.
        batch_size: Samples per batch of arrays; None takes all at once.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the measurement.

    Attributes:
        records: (train step, `Flow`) of every measurement.
        history: The two factors at every measurement, as a dictionary of arrays, with "step".
        findings: What the last measurement has to say.

    Raises:
        ValueError: If an argument is out of its range; at the start of `fit`, if the model has no loss or the
            data do not fit.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> deep = [keras.layers.Dense(8, "sigmoid") for _ in range(12)]
        >>> model = keras.Sequential([keras.Input((4,)), *deep, keras.layers.Dense(1)])
        >>> model.compile(tfopt.SGD(0.01), "mse")
        >>> x = np.random.default_rng(0).normal(size=(32, 4))
        >>> flow = tfopt.callbacks.GradientFlow(x, x[:, :1], every=4)
        >>> _ = model.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[flow])
        >>> flow.findings[0].name
        'vanishing gradient through the depth of 13 layers'

    Source: Pascanu, Mikolov and Bengio, On the Difficulty of Training Recurrent Neural Networks, 2013;
    chapter sections 2.4 and 2.5.
    """

    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        *,
        every=100,
        bound=1e3,
        batch_size=None,
        training=False,
        jit_compile=False,
    ):
        super().__init__((x, y, sample_weight), every, dict(batch_size=batch_size, training=training))
        require_bound("GradientFlow", bound)
        self.bound, self.jit_compile = bound, jit_compile

    def make_loss(self):
        """The loss, and what measures its gradient."""
        loss = super().make_loss()
        self._meter = FlowMeter(loss, self.jit_compile)
        return loss

    def measure(self):
        """One measurement."""
        return self._meter.flow(self.bound)

    def scalars(self, record):
        """Names and numbers of one measurement."""
        found = {"gradient_depth_factor": record.depth.factor}
        if record.time:
            worst = max(record.time.values(), key=lambda growth: abs(np.log(growth.factor)))
            found["gradient_time_factor"] = worst.factor
        return found

    def combine(self, records):
        """Geometric means, as factors have."""
        rows = [self.scalars(record) for record in records]
        return {name: float(np.exp(np.mean([np.log(row[name]) for row in rows]))) for name in rows[-1]}

    def plot(self):
        """Draw the gradient's norm by layer, and by time step where the model is recurrent.

        The first measurement is dotted, the last one solid, those between grey.

        Returns:
            A `matplotlib.figure.Figure`, which notebooks show and `savefig` writes.

        Raises:
            ValueError: If nothing was measured yet.
            ImportError: If matplotlib is not installed.
        """
        self.require_records("plot")
        _, last = self.records[-1]
        depth, *times = panels("GradientFlow", 1 + len(last.times))
        self._draw(depth, lambda flow: [row.signal for row in flow.layers])
        depth.set(title=_title("depth", last.depth), ylabel="‖∂J/∂h‖")
        names = [row.name for row in last.layers]
        depth.set_xticks(np.arange(len(names)), names, rotation=90 if len(names) > 4 else 0)
        for axes, name in zip(times, last.times, strict=True):
            self._draw(axes, lambda flow, name=name: flow.times[name])
            axes.set(title=_title(f"time, {name}", last.time[name]), xlabel="time step", ylabel="‖∂J/∂s‖")
        return depth.figure

    def _draw(self, axes, norms):
        axes.set_yscale("log")
        for _, flow in self.records[1:-1]:
            axes.plot(_positive(norms(flow)), color="0.8", linewidth=0.8)
        styles = (("k:", "o"), ("k-", "s")) if len(self.records) > 1 else (("k-", "s"),)
        for (step, flow), (line, marker) in zip(
            (self.records[0], self.records[-1])[-len(styles) :], styles, strict=True
        ):
            axes.plot(_positive(norms(flow)), line, marker=marker, markersize=4, label=f"step {step}")
        axes.legend()


def _positive(norms):
    norms = np.asarray(norms, float)
    return np.where(norms > 0, norms, np.nan)


def _title(through, growth):
    named = "" if growth.trend is Trend.STEADY else f": {growth.trend.name.lower()}"
    return f"Gradient through {through}{named}"
