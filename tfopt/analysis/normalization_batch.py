"""normalization_batch: whether a batch is large enough for batch normalisation."""

import math
from typing import NamedTuple

import keras

from tfopt._check import require, require_integer
from tfopt.analysis._finding import Finding
from tfopt.analysis.redundant_biases import NORMALIZATIONS
from tfopt.repair._glue import layers_within


class NormalizationBatch(NamedTuple):
    """The batches that batch normalisation takes its statistics from.

    Attributes:
        layers: Names of the trainable batch normalisation layers.
        batch: Samples in a batch.
        last: Samples in the last batch of an epoch; None where that is not known.
        least: Samples below which a batch counts as too small.
    """

    layers: tuple
    batch: int
    last: int | None
    least: int

    @property
    def mean_error(self):
        """Standard error of a batch's mean, in standard deviations: 1/√n."""
        return 1 / math.sqrt(self.batch)

    @property
    def deviation_error(self):
        """Relative standard error of a batch's standard deviation: 1/√(2(n − 1)), infinite for n = 1."""
        return 1 / math.sqrt(2 * (self.batch - 1)) if self.batch > 1 else math.inf

    @property
    def findings(self):
        """What there is to say, as a list of `Finding`."""
        if not self.layers:
            return []
        many = f"{len(self.layers)} layer{'s' if len(self.layers) > 1 else ''} of batch normalisation"
        if self.batch < self.least:
            return [
                Finding(
                    name="batch too small for batch normalisation",
                    sentence=f"{many} take statistics of {self.batch} samples, which miss the standard "
                    f"deviation by {_percent(self.deviation_error)}, the mean by {self.mean_error:.2g}σ.",
                    reason="Batch normalisation takes a batch's mean and variance for those of all data. Of "
                    "few samples they are mostly chance, another one in each step, and not those that the "
                    "model is used with.",
                    advice=f"Batches of {self.least} samples or more, well shuffled; GroupNormalization or "
                    "LayerNormalization, which do not look at the batch; under replicas `synchronized=True`.",
                )
            ]
        if self.last is not None and self.last < self.least:
            return [
                Finding(
                    name="last batch too small for batch normalisation",
                    sentence=f"The last batch of an epoch has {self.last} of {self.batch} samples, of which "
                    f"{many} take statistics.",
                    reason="The few samples left over are normalised by chance, and move the running "
                    "statistics as much as a full batch does.",
                    advice="Leave it out (`drop_remainder=True`), or a batch size that goes into the number "
                    "of samples.",
                )
            ]
        return []


def normalization_batch(model, batch, samples=None, *, least=16):
    """Whether batches are large enough for the statistics that batch normalisation takes of them.

    Of n independent samples with deviation σ a batch shows the mean to σ/√n and, where they are normally
    distributed, the deviation to a share 1/√(2(n − 1)) of it: 18 % for 16 samples, 71 % for 2, and nothing
    for one. Positions within a sample resemble each other, and do not count as samples here. Looked at are
    BatchNormalization layers of Keras and of tfopt that are trainable, wherever in the model; frozen ones
    take running statistics. Needs no data.

    Args:
        model: A Keras model.
        batch: Samples in a batch, n >= 1; of one replica, unless the layers are synchronized.
        samples: Samples in an epoch, >= 1, to tell the size of its last batch; None leaves that out.
        least: Samples below which a batch counts as too small, >= 2.

    Returns:
        A `NormalizationBatch`, with ``layers``, ``batch``, ``last``, ``mean_error``, ``deviation_error`` and
        ``findings``.

    Raises:
        ValueError: If an argument lies outside its range.

    Example:
        >>> import keras, tfopt
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
        >>> found = tfopt.analysis.normalization_batch(model, 3)
        >>> found.deviation_error, found.findings[0].name
        (0.5, 'batch too small for batch normalisation')

    Source: Ioffe, Batch Renormalization, 2017, section 1; chapter section 10.1.5.
    """
    owner = "normalization_batch"
    require(isinstance(model, keras.Model), owner, "model", model, "a keras.Model")
    require_integer(owner, 1, batch=batch)
    require_integer(owner, 2, least=least)
    if samples is not None:
        require_integer(owner, 1, samples=samples)
    layers = [
        layer.name for layer in layers_within(model) if isinstance(layer, NORMALIZATIONS) and layer.trainable
    ]
    last = None if samples is None else samples % batch or batch
    return NormalizationBatch(tuple(layers), min(batch, samples or batch), last, least)


def _percent(share):
    return f"{100 * share:.0f} %" if math.isfinite(share) else "any amount"
