"""The compiled loss of a Keras model on given data, as the operators differentiate it."""

import contextlib
import inspect

import keras
import tensorflow as tf

from tfopt._check import require, require_flags
from tfopt.curvature._batches import Batches, size_of, weight_of

MEANS = ("mean", "sum_over_batch_size")


class Model:
    """Loss of a model over all batches, as a function of its trainable weights.

    A batch's compiled loss is a mean over its samples, or their sum, or a mean over their weights; each
    counts so that the batches together give what one batch of all samples gives. Regularizers and `add_loss`
    count by the number of samples in every case: together once.
    """

    points: tuple = ()

    def __init__(self, owner, model, data, batch_size, training):
        require_flags(owner, training=training)
        require(model.compiled, owner, "target", model.name, "a compiled model, one with a loss")
        self.owner, self.name, self.model, self.training = owner, model.name, model, training
        self.sources = [variable.value for variable in model.trainable_variables]
        expected = "a built model with trainable weights: start it with keras.Input or call it once"
        require(self.sources, owner, "target", model.name, expected)
        self.data = Batches(owner, data, batch_size)
        self.reduction = _reduction(owner, model, self.data)

    def batches(self):
        """Each batch's share of the total, and the batch with the parts of its share for its two losses.

        The share stays outside the traced product, where it is not rounded to the precision of the loss.
        """
        _, samples, weights = self.data.totals
        for x, y, sample_weight in self.data:
            further = of_the_loss = size_of(x) / samples
            if self.reduction == "sum":
                of_the_loss = 1.0
            elif self.reduction == "mean_with_sample_weight":
                of_the_loss = weight_of(x, sample_weight) / (weights or 1.0)
            share = max(of_the_loss, further)
            yield (
                share,
                (x, y, sample_weight, *(tf.constant(w / share, tf.float64) for w in (of_the_loss, further))),
            )

    @contextlib.contextmanager
    def unchanged(self):
        """Put moving statistics, seeds, recurrent states and metrics back afterwards.

        Each product then sees the same dropout masks, so that all are products with one matrix.
        """
        held = [*self.model.non_trainable_variables, *self.model.metrics_variables]
        before = [tf.identity(variable.value) for variable in held]
        try:
            yield
        finally:
            for variable, value in zip(held, before, strict=True):
                variable.assign(value)

    def value(self, sources, x, y, sample_weight, of_the_loss, further):
        """The batch's share of the loss."""
        _, loss, rest = self._losses(x, y, sample_weight)
        share = tf.cast(of_the_loss, loss.dtype) * loss
        return share if rest is None else share + tf.cast(further, rest.dtype) * rest

    def parts(self, sources, x, y, sample_weight, of_the_loss, further):
        """The outputs, the share of the compiled loss of them, the share of the further losses or None."""
        outputs, loss, rest = self._losses(x, y, sample_weight)
        rest = None if rest is None else tf.cast(further, rest.dtype) * rest
        return tf.nest.flatten(outputs), tf.cast(of_the_loss, loss.dtype) * loss, rest

    def _losses(self, x, y, sample_weight):
        """Outputs, compiled loss, further losses or None."""
        model = self.model
        outputs = call_model(model, x, self.training)
        arguments = {"x": x, "y": y, "y_pred": outputs, "sample_weight": sample_weight}
        loss = _call(model.compute_loss, model.compute_loss, **arguments, training=self.training)
        good = loss is not None and tf.convert_to_tensor(loss).shape.rank == 0
        require(good, self.owner, "target", model.name, "a model whose compute_loss returns a scalar")
        if not model.losses:
            return outputs, loss, None
        rest = tf.add_n([tf.cast(tf.reduce_sum(term), loss.dtype) for term in model.losses])
        return outputs, loss - rest, rest

    @property
    def has_activity_losses(self):
        """Whether layers add losses of their activations, beside regularizers of their weights."""
        regularized = [
            variable
            for variable in self.model.trainable_variables
            if getattr(variable, "regularizer", None) is not None
        ]
        return len(self.model.losses) > len(regularized)


def call_model(model, x, training):
    """The outputs of a model, in training mode where it has one."""
    return _call(model, model.call, x, training=training)


def _call(function, signature_of, *arguments, training, **named):
    """Call `function`, with `training` where its signature has a place for it."""
    parameters = inspect.signature(signature_of).parameters.values()
    takes = any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)
    return function(*arguments, **named, **({"training": training} if takes else {}))


def _reduction(owner, model, data):
    losses = [loss for loss in tf.nest.flatten(model.loss) if loss is not None]
    found = {_one(loss) for loss in losses} or {"mean"}
    # Each output may have weights of its own, so that no one share of a batch is right for all.
    divided = len(found) > 1 or (len(losses) > 1 and "mean_with_sample_weight" in found)
    if divided and data.totals[0] > 1:
        raise ValueError(
            f"{owner}(target={model.name!r}): expected all samples in one batch, or all losses as means, or "
            f"all as sums; got {', '.join(sorted(found))} of {len(losses)} in {data.totals[0]} batches."
        )
    return min(found)


def _one(loss):
    """How a loss reduces its values; those given by name or as a function take the mean."""
    reduction = loss.reduction if isinstance(loss, keras.losses.Loss) else "mean"
    return "mean" if reduction in MEANS else str(reduction)
