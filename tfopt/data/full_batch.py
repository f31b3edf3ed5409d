"""The full batch, whole or in parts."""

import keras
import tensorflow as tf

from tfopt._batches import is_endless, untuned
from tfopt._check import require


def full_batch(batches):
    """Repeat a pass over `batches` for ever, with sample weights that make their mean exact.

    A method that needs the loss of all n samples takes them in N parts, with `gradient_accumulation_steps=N`,
    and averages what N train steps give. Where a part has bₖ samples and Keras divides its loss by bₖ, every
    sample of it gets the weight::

        wₖ = N bₖ / n,        so that (1/N) Σₖ wₖ Jₖ = (1/n) Σᵢ Jᵢ

    which is 1 where all parts are of one size, and less for a shorter last one. Weights the data brings along
    are multiplied by it. Losses of the model itself (regularisers, `add_loss`) belong to no sample and stay
    as they are. Losses with `reduction="sum"` need no such weights. Under a strategy of several replicas each
    part should divide evenly among them. One part that holds everything, ``Dataset.from_tensors((x, y))``,
    serves as well.

    TensorFlow's tuning of pipelines is switched off for the result, unless the options of `batches` say
    otherwise: its thread costs such a step about a millisecond, and can hold up the end of `fit` for as long
    again as it ran.

    Args:
        batches: A finite `tf.data.Dataset` of batches (x, y) or (x, y, sample_weight), with parts of the same
            sizes in every pass. Read once to count.

    Returns:
        An endless `tf.data.Dataset` of (x, y, sample_weight), the weights of shape [bₖ]: float64 where y, the
        weights of `batches` or Keras' floatx are, else float32.

    Raises:
        ValueError: If `batches` is no such dataset, or holds no samples.

    Example:
        >>> import tensorflow as tf, tfopt
        >>> parts = tf.data.Dataset.from_tensor_slices(([1.0, 2.0, 3.0], [0.0, 1.0, 2.0])).batch(2)
        >>> for _, _, weights in tfopt.data.full_batch(parts).take(2).as_numpy_iterator():
        ...     print(weights.round(2))
        [1.33 1.33]
        [0.67]

    Source: chapter section 3.1, the gradient of the full batch as the mean over all samples.
    """
    expected = "a finite tf.data.Dataset of (x, y) or (x, y, sample_weight)"
    sound = isinstance(batches, tf.data.Dataset) and isinstance(batches.element_spec, tuple)
    require(sound and len(batches.element_spec) in (2, 3), "full_batch", "batches", batches, expected)
    require(not is_endless(batches), "full_batch", "batches", batches, expected)
    count, samples = batches.reduce(
        (tf.constant(0, tf.int64), tf.constant(0, tf.int64)),
        lambda total, *batch: (total[0] + 1, total[1] + _size(batch)),
    )
    require(int(samples) > 0, "full_batch", "batches", batches, "at least one sample")

    dtype = _dtype_of(batches.element_spec[1:])

    def weighted(x, y, sample_weight=None):
        size = _size((x,))
        weight = tf.fill([size], tf.cast(count * size / samples, dtype))
        return x, y, weight if sample_weight is None else weight * tf.cast(sample_weight, dtype)

    return untuned(batches.map(weighted).repeat())


def _dtype_of(targets):
    """float32, unless digits would be lost with it."""
    wide = any(part.dtype == tf.float64 for part in tf.nest.flatten(targets))
    return tf.float64 if wide or keras.config.floatx() == "float64" else tf.float32


def _size(batch):
    return tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
