"""surrogate_gap: the surrogate that was minimised beside the cost that was meant."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfopt._check import require
from tfopt.analysis._finding import Finding
from tfopt.analysis._loss import Loss, loss_of
from tfopt.curvature._batches import size_of
from tfopt.curvature._model import call_model


class SurrogateGap(NamedTuple):
    """Surrogate and true cost at one point.

    Attributes:
        surrogate: J, the compiled loss.
        surrogate_gradient: ‖∇J‖.
        true: The true cost: the expected 0–1 error, or the mean of `true_loss`.
        true_gradient: Norm of its gradient.
        cosine: Cosine of the angle between the two gradients; 0 where one is zero.
        zero_one: Share of samples whose most probable label is wrong; NaN with a `true_loss`.
    """

    surrogate: float
    surrogate_gradient: float
    true: float
    true_gradient: float
    cosine: float
    zero_one: float

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        found = []
        if self.true_gradient > 10 * self.surrogate_gradient:
            found.append(
                Finding(
                    name="surrogate converged before the true cost",
                    sentence=f"The surrogate's gradient is {self.surrogate_gradient:.3g}, that of the true "
                    f"cost {self.true_gradient:.3g}.",
                    reason="Training follows the surrogate and stops where its gradient is small; the cost "
                    "that counts could still fall.",
                    advice="Another surrogate, or `losses.Continuation` from the surrogate to the true cost.",
                )
            )
        if self.cosine < 0:
            found.append(
                Finding(
                    name="surrogate works against the true cost",
                    sentence=f"Their gradients have a cosine of {self.cosine:.2f}.",
                    reason="A step down on the surrogate is a step up on the true cost, to first order.",
                    advice="Stop earlier, or choose another surrogate.",
                )
            )
        return found


def surrogate_gap(
    model,
    x,
    y=None,
    *,
    true_loss=None,
    from_logits=None,
    batch_size=None,
    training=False,
    jit_compile=False,
):
    """Gradient of the surrogate against that of the true cost, with the 0–1 error beside it.

    The compiled loss J mostly stands in for a cost that cannot be minimised directly; where training stops
    ∇J may be small while the true cost could still fall, or, after early stopping, be large yet. The 0–1
    error itself has gradient zero almost everywhere, so its expectation stands for it where the label is
    drawn from the model's probabilities p, which is smooth, bounded by 1, and tends to it as p sharpens::

        true cost = mean of 1 − p(y|x)

    or, with `true_loss`, the mean of that. Takes two gradients of the data. Sample weights are not counted.

    Args:
        model: A built and compiled Keras model; without `true_loss` with one output of class scores.
        x: Its inputs, as for `tfopt.curvature.hessian_operator`.
        y: Targets, where `x` is arrays: integer labels (one column of them may be), one-hot rows, or for one
            score per sample labels 0 and 1, or −1 and 1.
        true_loss: A differentiable function (y_true, y_pred) -> losses, whose mean is the true cost.
        from_logits: Whether outputs are logits; None takes it from the compiled loss, else False. Scores with
            labels −1 and 1, as for hinge losses, count as logits.
        batch_size: Samples per batch of arrays; None takes all at once.
        training: Whether the model runs in training mode.
        jit_compile: Whether XLA compiles the gradients.

    Returns:
        A `SurrogateGap`, with ``surrogate``, ``surrogate_gradient``, ``true``, ``true_gradient``, ``cosine``,
        ``zero_one`` and ``findings``.

    Raises:
        ValueError: If the model has no loss, an argument lies outside its range, or labels and outputs do not
            fit each other.

    Example:
        >>> import keras, numpy as np, tfopt
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "softmax")])
        >>> model.compile(loss="sparse_categorical_crossentropy")
        >>> model.set_weights([np.zeros((2, 3)), np.zeros(3)])  # every label with probability ⅓
        >>> gap = tfopt.analysis.surrogate_gap(model, np.ones((6, 2)), np.array([0, 0, 1, 1, 2, 2]))
        >>> round(gap.surrogate, 4), round(gap.true, 4), round(gap.zero_one, 4)
        (1.0986, 0.6667, 0.6667)

    Source: chapter section 1.2; Goodfellow, Bengio and Courville, Deep Learning, 2016, section 8.1.2.
    """
    owner = "surrogate_gap"
    require(isinstance(model, keras.Model), owner, "model", model, "a built and compiled keras.Model")
    options = dict(batch_size=batch_size, training=training, jit_compile=jit_compile)
    loss = loss_of(owner, model, (x, y, None), **options)
    good = true_loss is None or callable(true_loss)
    require(good, owner, "true_loss", true_loss, "None or a function (y_true, y_pred) -> losses")
    good = from_logits is None or isinstance(from_logits, bool)
    require(good, owner, "from_logits", from_logits, "None, True or False")
    if from_logits is None:
        from_logits = _takes_logits(model) or _are_signed(loss.subject.data)
    cost = _TrueCost(loss.subject, true_loss, from_logits)
    surrogate, along = loss.value_and_gradient()
    true, across = Loss(cost, jit_compile).value_and_gradient()
    lengths = float(np.linalg.norm(along)), float(np.linalg.norm(across))
    cosine = float(along @ across) / (lengths[0] * lengths[1]) if all(lengths) else 0.0
    zero_one = float("nan") if true_loss else cost.zero_one()
    return SurrogateGap(surrogate, lengths[0], true, lengths[1], cosine, zero_one)


def _takes_logits(model):
    losses = [loss for loss in tf.nest.flatten(model.loss) if loss is not None]
    return any(getattr(loss, "from_logits", False) for loss in losses)


class _TrueCost:
    """Mean of the true cost over all samples, as a scalar of the weights."""

    points: tuple = ()

    def __init__(self, subject, true_loss, from_logits):
        self.subject, self.true_loss, self.from_logits = subject, true_loss, from_logits
        self.owner, self.name, self.model = subject.owner, subject.name, subject.model
        self.sources = subject.sources

    def unchanged(self):
        """As for the subject."""
        return self.subject.unchanged()

    def batches(self):
        """Each batch with its share of the samples."""
        samples = self.subject.data.totals[1]
        for x, y, _ in self.subject.data:
            require(y is not None, self.owner, "y", y, "labels")
            yield size_of(x) / samples, (x, y)

    def value(self, sources, x, y):
        """The batch's mean cost."""
        outputs = call_model(self.model, x, self.subject.training)
        if self.true_loss is not None:
            return tf.reduce_mean(self.true_loss(y, outputs))
        probabilities = self._probabilities(y, outputs)  # first: it refuses outputs that are not one tensor
        right = tf.reduce_sum(self._labels(y, outputs) * probabilities, axis=-1)
        return tf.reduce_mean(1.0 - right)

    def zero_one(self):
        """Share of wrong labels."""
        total = 0.0
        with self.unchanged():
            for share, (x, y) in self.batches():
                outputs = call_model(self.model, x, self.subject.training)
                probabilities = self._probabilities(y, outputs)
                right = tf.argmax(probabilities, -1) == tf.argmax(self._labels(y, outputs), -1)
                total += share * float(tf.reduce_mean(1.0 - tf.cast(right, tf.float64)))
        return total

    def _probabilities(self, y, outputs):
        """Probabilities of the labels; of 0 and 1 where there is one score."""
        good = isinstance(outputs, tf.Tensor) and outputs.shape.rank >= 2
        require(good, self.owner, "model", self.name, "one output of class scores, or a true_loss")
        if outputs.shape[-1] > 1:
            return tf.nn.softmax(outputs) if self.from_logits else outputs
        one = tf.sigmoid(outputs) if self.from_logits else outputs
        return tf.concat([1.0 - one, one], -1)

    def _labels(self, y, outputs):
        """Labels as rows of 0 and 1, beside the probabilities."""
        y, width = tf.convert_to_tensor(y), outputs.shape[-1]
        if width == 1:
            one = tf.cast(tf.reshape(y, tf.shape(outputs)) > 0, outputs.dtype)
            return tf.concat([1.0 - one, one], -1)
        if y.shape.rank == outputs.shape.rank and y.shape[-1] == width:
            return tf.cast(y, outputs.dtype)
        if y.shape.rank == outputs.shape.rank and y.shape[-1] == 1:
            y = y[..., 0]
        good = y.shape.rank == outputs.shape.rank - 1
        require(
            good, self.owner, "y", y.shape, f"labels for outputs of shape {outputs.shape}, or a true_loss"
        )
        return tf.one_hot(tf.cast(y, tf.int32), width, dtype=outputs.dtype)


def _are_signed(data):
    """Whether any label is negative: −1 beside 1."""
    labels = (leaf for _, y, _ in data for leaf in tf.nest.flatten(y) if leaf is not None)
    return any(bool(tf.reduce_any(leaf < 0)) for leaf in labels if leaf.dtype != tf.bool)
