"""gradient_flow: how the gradient fares on its way back, through depth and through time."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import is_number, require, require_flags
from tfopt.analysis._finding import Finding
from tfopt.analysis._loss import loss_of
from tfopt.analysis._taps import Taps, recurrent_layers, weighted_layers
from tfopt.analysis._trend import Growth, Trend, growth_of

ADVICE = {
    Trend.VANISHING: "Gates (LSTM, GRU) for long sequences; ReLU units, larger initial weights "
    "(`tune_init_scale`), normalisation layers or shortcuts for depth; `GreedyPretraining`. A larger "
    "learning rate does not help: it scales the noise as well.",
    Trend.EXPLODING: "Clipping (`global_clipnorm`, `transforms.AdaptiveClip`), which leaves the direction; "
    "smaller initial weights; normalisation layers.",
}
REASONS = {
    Trend.VANISHING: "The product of many factors below 1 leaves next to nothing for what lies far from the "
    "loss, which then learns very slowly or from noise alone.",
    Trend.EXPLODING: "The product of many factors above 1 makes cliffs: one step there is so long that it "
    "throws the weights out of the region that was found.",
}


class LayerFlow(NamedTuple):
    """The gradient at one layer.

    Attributes:
        name: Name of the layer.
        signal: ‖∂J/∂h‖, h its output over all samples.
        gradient: ‖∂J/∂W‖, W its trainable weights.
        weights: ‖W‖.
    """

    name: str
    signal: float
    gradient: float
    weights: float


class Flow(NamedTuple):
    """The gradient layer by layer, and time step by time step.

    Attributes:
        layers: A `LayerFlow` for each layer with weights, from input to output.
        depth: `Growth` of the signal from the last layer back to the first.
        times: Name of each recurrent layer -> ‖∂J/∂s_t‖ by time step, s_t its state.
        time: Name of each recurrent layer -> `Growth` from the last time step back to the first.
    """

    layers: tuple
    depth: Growth
    times: dict
    time: dict

    @property
    def findings(self):
        """Where the gradient vanishes or explodes, as a list of `Finding`."""
        return [
            Finding(
                name=f"{growth.trend.name.lower()} gradient through {through}",
                sentence=f"{growth.trend.value} Through {through} its norm changes by a factor of "
                f"{growth.factor:.2g}, {growth.rate:.3g} per {unit}.",
                reason=REASONS[growth.trend],
                advice=ADVICE[growth.trend],
            )
            for growth, through, unit in self._ways()
            if growth.trend is not Trend.STEADY
        ]

    def _ways(self):
        yield self.depth, f"the depth of {len(self.layers)} layers", "layer"
        for name, growth in self.time.items():
            yield growth, f"the time of {name}", "time step"


def gradient_flow(
    model, x, y=None, sample_weight=None, *, bound=1e3, batch_size=None, training=False, jit_compile=False
):
    """Norms of the gradient by layer and by time step, and whether it vanishes or explodes on its way.

    Back-propagation multiplies by one Jacobian per layer, and through time t steps by the same one again and
    again: with W = VΛV⁻¹, (Wᵗ) = VΛᵗV⁻¹, which shrinks to 0 or grows without bound as |λ| is below or above
    1. With h_l the output of layer l over all samples and s_t the state of a recurrent layer after step t::

        signal    ‖∂J/∂h_l‖        through depth
        times     ‖∂J/∂s_t‖        through time, all later paths included; h and c of an LSTM together;
                                   steps in the order in which the layer reads them
        growth    rate = factor per step back, by least squares on the logarithms; factor = rate^steps

    More than `bound`, or less than 1/bound, over the whole way is called exploding or vanishing. Weight
    gradients ∂J/∂W, which depend on the activations as well, are beside it. Masked time steps, and steps
    behind the last one that the loss looks at, are left out of the fit.

    Layers are the model's layers with trainable weights in the order of their calls; a layer called several
    times counts all its calls together. Where the model is a subclass, what its `layers` lists.

    Takes one gradient of the data.

    Args:
        model: A built and compiled Keras model.
        x: Its inputs, as for `tfopt.curvature.hessian_operator`.
        y: Targets, where `x` is arrays.
        sample_weight: Weights of the samples, where `x` is arrays.
        bound: Change over the whole way that has a name, > 1.
        batch_size: Samples per batch of arrays; None takes all at once.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the gradient.

    Returns:
        A `Flow`, with ``layers``, ``depth``, ``times``, ``time`` and ``findings``.

    Raises:
        ValueError: If the model has no loss or an argument lies outside its range.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> half = keras.initializers.Identity(0.5)
        >>> chain = [keras.layers.Dense(2, kernel_initializer=half) for _ in range(12)]
        >>> model = keras.Sequential([keras.Input((2,)), *chain])
        >>> model.compile(loss="mse")
        >>> flow = tfopt.analysis.gradient_flow(model, np.ones((4, 2)), np.ones((4, 2)))
        >>> round(flow.depth.rate, 4), flow.depth.trend.name  # ½ per layer, 2⁻¹¹ in all
        (0.5, 'VANISHING')
        >>> flow.findings[0].name
        'vanishing gradient through the depth of 12 layers'

    Source: Bengio, Simard and Frasconi, Learning Long-Term Dependencies with Gradient Descent is Difficult,
    1994; Pascanu, Mikolov and Bengio, On the Difficulty of Training Recurrent Neural Networks, 2013; chapter
    sections 2.4 and 2.5.
    """
    owner = "gradient_flow"
    require(isinstance(model, keras.Model), owner, "model", model, "a built and compiled keras.Model")
    require_bound(owner, bound)
    options = dict(batch_size=batch_size, training=training)
    loss = loss_of(owner, model, (x, y, sample_weight), **options)
    return FlowMeter(loss, jit_compile).flow(bound)


def require_bound(owner, bound):
    """Require a number above 1."""
    require(is_number(bound) and bound > 1, owner, "bound", bound, "a finite number with bound > 1")


class FlowMeter:
    """Measures the flow of a model's loss; traced once."""

    def __init__(self, loss, jit_compile):
        require_flags(loss.owner, jit_compile=jit_compile)
        self.loss, self.subject = loss, loss.subject
        self.layers = weighted_layers(self.subject.model)
        self.recurrent = recurrent_layers(self.subject.model)
        self.order: list = []
        self._squares = tf.function(self._traced, jit_compile=jit_compile, autograph=False)

    def flow(self, bound):
        """The `Flow` at the weights as they are."""
        signals, times = np.zeros(len(self.layers)), dict[str, np.ndarray]()
        gradients = [0.0] * len(self.subject.sources)
        with self.subject.unchanged():
            for share, batch in self.subject.batches():
                signal, time, parts = self._squares(batch)
                signals += share**2 * signal.numpy()
                for name, steps in time.items():
                    scaled = steps.numpy() * [[share**2], [1.0]]
                    times[name] = _added(times.get(name, np.zeros((2, 0))), scaled)
                gradients = [g + share * part.numpy() for g, part in zip(gradients, parts, strict=True)]
        layers = self._rows(np.sqrt(signals), gradients)
        depth = growth_of([row.signal for row in layers], bound)
        time = {name: growth_of(np.sqrt(steps[0][steps[1] > 0]), bound) for name, steps in times.items()}
        return Flow(layers, depth, {name: np.sqrt(steps[0]) for name, steps in times.items()}, time)

    def _traced(self, batch):
        sources = self.subject.sources
        with tf.GradientTape() as tape:
            tape.watch(sources)
            taps = Taps(tape)
            with taps.on(self.layers, self.recurrent):
                value = self.subject.value(sources, *batch)
        outputs, states = [o for _, o in taps.outputs], [s for _, s, _ in taps.states]
        found = tape.gradient(value, [*outputs, *states, *sources], unconnected_gradients="zero")
        found = [tf.cast(tf.convert_to_tensor(part), tf.float64) for part in found]
        self.order = list(dict.fromkeys(self.layers.index(layer) for layer, _ in taps.outputs))
        by_layer = [tf.zeros((), tf.float64) for _ in self.layers]
        for (layer, _), part in zip(taps.outputs, found, strict=False):
            by_layer[self.layers.index(layer)] += tf.reduce_sum(part**2)
        time: dict = {}
        for (layer, _, present), part in zip(taps.states, found[len(outputs) :], strict=False):
            steps = tf.stack([tf.reduce_sum(part**2, axis=[0, 2]), present])
            steps = tf.reverse(steps, axis=[1]) if layer.go_backwards else steps
            time[layer.name] = time[layer.name] + steps if layer.name in time else steps
        return tf.stack(by_layer), time, found[len(outputs) + len(states) :]

    def _rows(self, signals, gradients):
        rows = []
        places = {id(v): index for index, v in enumerate(self.subject.model.trainable_variables)}
        for index in self.order:
            layer = self.layers[index]
            own = [places[id(v)] for v in layer.trainable_variables if id(v) in places]
            gradient = _norm(gradients[place] for place in own)
            weights = _norm(self.subject.sources[place].numpy() for place in own)
            rows.append(LayerFlow(layer.name, float(signals[index]), gradient, weights))
        return tuple(rows)


def _norm(arrays):
    return float(np.sqrt(sum(np.sum(np.asarray(array, float) ** 2) for array in arrays)))


def _added(left, right):
    """The sum of two tables by time step, of which one may be shorter."""
    total = np.zeros((2, max(left.shape[1], right.shape[1])))
    for part in (left, right):
        total[:, : part.shape[1]] += part
    return total
