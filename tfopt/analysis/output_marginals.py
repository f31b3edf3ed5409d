"""output_marginals: whether a model's mean output is that of the labels."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require, require_positive
from tfopt.analysis._finding import Finding
from tfopt.curvature._batches import Batches, size_of
from tfopt.curvature._model import call_model
from tfopt.initializers import OutputBias

# What the loss takes the outputs for.
KINDS = {
    "sparse_categorical_crossentropy": "softmax",
    "categorical_crossentropy": "softmax",
    "categorical_focal_crossentropy": "softmax",
    "binary_crossentropy": "sigmoid",
    "binary_focal_crossentropy": "sigmoid",
    "mean_squared_error": "linear",
}


class OutputMarginal(NamedTuple):
    """One output beside its labels.

    Attributes:
        name: Name of the output.
        activation: "softmax", "sigmoid" or "linear": what the loss takes it for.
        labels: Share of each class, of yes in each unit, or mean of each component.
        predicted: The same of the outputs.
        gap: How far apart they are: in nats, or in variances of the labels.
        bias: The bias with which small weights start at the labels' marginals.
    """

    name: str
    activation: str
    labels: np.ndarray
    predicted: np.ndarray
    gap: float
    bias: np.ndarray


class OutputMarginals(NamedTuple):
    """All outputs.

    Attributes:
        outputs: An `OutputMarginal` for each.
        skipped: Name of each output that was not looked at -> why.
        bound: Gap above which there is something to say.
    """

    outputs: tuple
    skipped: dict
    bound: float

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        return [self._finding(one) for one in self.outputs if one.gap > self.bound]

    def _finding(self, one):
        worst = int(np.argmax(abs(one.labels - one.predicted)))
        unit = "variances" if one.activation == "linear" else "nats"
        what = "mean" if one.activation == "linear" else "share"
        return Finding(
            name=f"output bias of {one.name} far from the labels' marginals",
            sentence=f"The mean output is {one.gap:.2g} {unit} off the labels': in unit {worst} "
            f"{one.predicted[worst]:.3g} against a {what} of {one.labels[worst]:.3g}.",
            reason="While the weights are small the output is what its bias says, so that the first steps "
            "go into learning how frequent the labels are; later the bias alone could still make it right.",
            advice="Start the output's bias at the marginals: `initializers.OutputBias(y)`, here "
            f"{_listed(one.bias)}.",
        )


def output_marginals(model, x, y=None, *, bound=0.1, batch_size=None):
    """The mean output of a model against the marginal statistics of its labels.

    The output's bias alone can make the mean output right, and at small weights it does so from the start.
    With p the labels' marginals and q the mean over all samples of the outputs, probabilities through softmax
    or sigmoid where the loss says ``from_logits``::

        softmax   gap = Σ p_c log(p_c/q_c)                                in nats
        sigmoid   gap = Σ p_u log(p_u/q_u) + (1 − p_u) log((1 − p_u)/(1 − q_u))   in nats, over units u
        linear    gap = mean over components of (q − ȳ)²/Var(y), or (q − ȳ)² where y does not vary

    which is what the loss still has to gain from the bias at small weights. What an output stands for is told
    by the compiled loss: categorical and binary cross-entropy, focal ones, and the mean squared error;
    outputs with other losses are named in ``skipped``. In ``bias`` classes that never occur count half a
    sample, as in `OutputBias`. Sample weights are not counted. Takes one forward pass of the data, in
    inference mode.

    Args:
        model: A built and compiled Keras model.
        x: Its inputs: arrays, or a finite `tf.data.Dataset` or `keras.utils.PyDataset` with the labels.
        y: Labels, where `x` is arrays; as the loss takes them.
        bound: Gap above which there is a finding, > 0.
        batch_size: Samples per batch of arrays; None takes all at once.

    Returns:
        An `OutputMarginals`, with ``outputs``, each with ``name``, ``activation``, ``labels``,
        ``predicted``, ``gap`` and ``bias``, with ``skipped`` and ``findings``.

    Raises:
        ValueError: If the model is not built and compiled, there are no labels, or they do not fit the
            outputs.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> out = keras.layers.Dense(2, "softmax", kernel_initializer="zeros", name="out")
        >>> model = keras.Sequential([keras.Input((1,)), out])
        >>> model.compile(loss="sparse_categorical_crossentropy")
        >>> found = tfopt.analysis.output_marginals(model, np.ones((10, 1)), np.array([0] * 9 + [1]))
        >>> found.outputs[0].labels.tolist(), found.outputs[0].predicted.round(4).tolist()
        ([0.9, 0.1], [0.5, 0.5])
        >>> round(found.outputs[0].gap, 4)  # log 2 less the entropy of the labels
        0.3681

    Source: Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.4; chapter section 9.2.
    """
    owner = "output_marginals"
    good = isinstance(model, keras.Model) and model.built and model.compiled
    require(good, owner, "model", model, "a built and compiled keras.Model")
    require_positive(owner, bound=bound)
    losses = losses_of(model)
    labels, outputs = _seen(model, Batches(owner, (x, y, None), batch_size), losses)
    found, skipped = [], {}
    for name, loss in losses.items():
        kind = kind_of(loss)
        if kind is None:
            skipped[name] = f"its loss is {_name_of(loss)}, of which the marginals are not known"
        else:
            found.append(_marginal(name, kind, labels[name], outputs[name]))
    return OutputMarginals(tuple(found), skipped, bound)


def losses_of(model):
    """Name of each output -> its loss, a function or an object, or None; {} where the model has its own."""
    given = model.loss
    if given is None:
        return {}
    if isinstance(given, dict):
        return {name: keras.losses.get(loss) for name, loss in given.items()}
    names = list(getattr(model, "output_names", None) or [model.name])
    listed = list(given) if isinstance(given, (list, tuple)) else [given] * len(names)
    return {name: keras.losses.get(loss) for name, loss in zip(names, listed, strict=False)}


def kind_of(loss):
    """What a loss takes its output for: "softmax", "sigmoid", "linear", or None."""
    return KINDS.get(_name_of(loss))


def _name_of(loss):
    function = getattr(loss, "fn", loss)
    return getattr(function, "__name__", type(function).__name__)


def _from_logits(loss):
    return bool(getattr(loss, "from_logits", False))


def _seen(model, batches, losses):
    """Labels of each output, and the mean of what it says."""
    run = tf.function(lambda x: _means(call_model(model, x, False), losses), autograph=False)
    labels: dict = {name: [] for name in losses}
    sums: dict = dict.fromkeys(losses, 0.0)
    samples = 0
    held = list(model.non_trainable_variables)
    before = [tf.identity(variable.value) for variable in held]
    for x, y, _ in batches:
        require(y is not None, "output_marginals", "y", y, "labels")
        samples += size_of(x)
        for (name, part), mean in zip(_by_name(y, losses).items(), run(x), strict=True):
            labels[name].append(np.asarray(part))
            sums[name] = sums[name] + size_of(x) * mean.numpy()
    for variable, value in zip(held, before, strict=True):
        variable.assign(value)
    joined = {name: np.concatenate(parts) for name, parts in labels.items()}
    return joined, {name: total / samples for name, total in sums.items()}


def _by_name(nest, losses):
    """Parts of a nest of labels or outputs by the outputs' names."""
    if isinstance(nest, dict) and set(losses) <= set(nest):
        return {name: nest[name] for name in losses}
    parts = tf.nest.flatten(nest)
    fits = len(parts) == len(losses)
    require(fits, "output_marginals", "y", f"{len(parts)} parts", f"one for each of {', '.join(losses)}")
    return dict(zip(losses, parts, strict=True))


def _means(outputs, losses):
    """The mean over samples and positions of what each output says."""
    found = []
    for name, output in _by_name(outputs, losses).items():
        loss, output = losses[name], tf.cast(output, tf.float64)
        kind = kind_of(loss)
        if _from_logits(loss) and kind == "softmax":
            output = tf.nn.softmax(output)
        elif _from_logits(loss) and kind == "sigmoid":
            output = tf.sigmoid(output)
        units = output.shape[-1] if output.shape.rank > 1 else 1
        found.append(tf.reduce_mean(tf.reshape(output, [-1, units]), axis=0))
    return found


def _marginal(name, kind, y, predicted):
    start = OutputBias(y, activation=kind)
    bias = np.asarray(start((len(predicted),), dtype="float64"))
    if kind == "linear":
        rows = y.reshape(-1, len(predicted)).astype(float)
        labels, variance = rows.mean(axis=0), rows.var(axis=0)
        gap = float(np.mean((labels - predicted) ** 2 / np.where(variance > 0, variance, 1.0)))
        return OutputMarginal(name, kind, labels, predicted, gap, bias)
    if kind == "softmax":
        labels = np.pad(start.statistics, (0, len(bias) - len(start.statistics))) / start.statistics.sum()
        return OutputMarginal(name, kind, labels, predicted, _divergence(labels, predicted), bias)
    labels = start.statistics[:, 1] / start.statistics.sum(axis=1)
    gap = _divergence(labels, predicted) + _divergence(1 - labels, 1 - predicted)
    return OutputMarginal(name, kind, labels, predicted, gap, bias)


def _divergence(p, q):
    """Σ p log(p/q)."""
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], np.finfo(float).tiny))))


def _listed(bias):
    return ", ".join(f"{value:.3g}" for value in bias[:8]) + (", …" if len(bias) > 8 else "")
