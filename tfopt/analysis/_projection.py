"""Outputs of a model or function, and their component along given directions as a scalar of the weights."""

import tensorflow as tf

from tfopt.curvature._model import call_model


class Projection:
    """uᵀz(θ), z the outputs over all samples: what the operators can differentiate like a loss."""

    def __init__(self, subject, directions):
        self.subject, self.directions = subject, directions
        self.owner, self.name, self.model = subject.owner, subject.name, subject.model
        self.sources = subject.sources
        if self.model is None:
            self.structure = subject.structure

    @property
    def points(self):
        """Those of the subject."""
        return self.subject.points

    def unchanged(self):
        """As for the subject."""
        return self.subject.unchanged()

    def batches(self):
        """Each batch of inputs with its directions."""
        for inputs, directions in zip(inputs_of(self.subject), self.directions, strict=True):
            yield 1.0, (inputs, [tf.constant(part) for part in directions])

    def value(self, sources, inputs, directions):
        """The batch's part of uᵀz."""
        outputs = _outputs(self.subject, sources, inputs)
        terms = [tf.reduce_sum(tf.cast(u, z.dtype) * z) for u, z in zip(directions, outputs, strict=True)]
        return tf.add_n([tf.cast(term, terms[0].dtype) for term in terms])


def inputs_of(subject):
    """The inputs of each batch; () once for a function."""
    return (() if subject.model is None else batch[0] for _, batch in subject.batches())


def outputs_of(subject):
    """The outputs of each batch, a list of arrays."""
    with subject.unchanged():
        run = tf.function(lambda sources, inputs: _outputs(subject, sources, inputs), autograph=False)
        sources = [] if subject.model is not None else list(subject.sources)
        return [[part.numpy() for part in run(sources, inputs)] for inputs in inputs_of(subject)]


def _outputs(subject, sources, inputs):
    if subject.model is not None:
        found = call_model(subject.model, inputs, subject.training)
    else:
        found = subject.function(tf.nest.pack_sequence_as(subject.structure, sources))
    return [tf.convert_to_tensor(part) for part in tf.nest.flatten(found)]
