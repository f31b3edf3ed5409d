"""diagnose: all diagnostics on one model and its data."""

import dataclasses
import pathlib

import keras
import tensorflow as tf

from tfopt._check import require, require_integer, require_positive
from tfopt.analysis._loss import require_loss
from tfopt.curvature._batches import Batches
from tfopt.curvature._model import call_model
from tfopt.diagnose.checks import CHECKS, Subject, learning_rate_of
from tfopt.diagnose.section import Section

OWNER = "diagnose"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What all diagnostics found.

    Attributes:
        name: Name of the model.
        facts: (name, text) of what was diagnosed.
        sections: A section of each diagnostic, with ``title``, ``facts``, ``findings``, ``pictures`` and
            ``skipped``.

    Example:
        >>> from tfopt.diagnose import Diagnosis
        >>> Diagnosis("net", (), ()).findings  # nothing looked at, nothing found: what a page would say too
        []

    Source: chapter sections 1 to 10, each finding from the one that its diagnostic names.
    """

    name: str
    facts: tuple
    sections: tuple

    @property
    def findings(self):
        """Every `Finding`, in the order of the sections."""
        return [finding for section in self.sections for finding in section.findings]

    def save(self, path):
        """Write the page and return its path.

        Args:
            path: Name of an HTML file. Its folder must be there.

        Raises:
            ImportError: If jinja2 or matplotlib are not installed.
            ValueError: If the file cannot be written.
        """
        from tfopt.compare.export import write_text
        from tfopt.diagnose.page import render_page

        path = pathlib.Path(path).absolute()
        try:
            return write_text(path, render_page(self))
        except OSError as error:
            said = error.strerror
            raise ValueError(
                f"{OWNER}(output={str(path)!r}): expected a file that can be written; {said}."
            ) from None


def diagnose(
    model,
    x,
    y=None,
    sample_weight=None,
    *,
    batch_size=32,
    samples=None,
    learning_rate=None,
    steps=24,
    progress=None,
):
    """Run all diagnostics on a compiled model: why it does not train, and what to try.

    Looked at are the gradient by layer and by time step, the curvature along it and the critical learning
    rate, the spectrum of the Hessian and the kind of point, the noise of the gradient and the batch that
    suits it, dead, saturated and identical units, biases that batch normalisation takes off, batches too
    small for it, the mean output against the labels, the interaction of the layers, and the 0–1 error beside
    the loss. A diagnostic that does not fit the model, such as one that needs a graph of layers, is skipped
    and says why. Nothing of the model changes.

    Cost: about 20 gradients and `steps` Hessian products of the data, each about two gradients: give some
    hundred samples. Everything runs in inference mode, so that dropout plays no part.

    Args:
        model: A built and compiled Keras model.
        x: Its inputs, arrays; at least two samples.
        y: Targets.
        sample_weight: Weights of the samples.
        batch_size: Samples in a batch of training, >= 1.
        samples: Samples in an epoch of training, to tell its last batch; None leaves that out.
        learning_rate: ε > 0 that the steps are judged by; None takes that of the model's optimizer.
        steps: Lanczos steps of the spectrum, >= 1.
        progress: None, or a function that is called with the title of each diagnostic before it.

    Returns:
        A `Diagnosis`, with ``sections``, ``findings`` and ``save(path)``, which writes it as a page.

    Raises:
        ValueError: If the model has no loss, the data do not fit it, or an argument lies outside its range.

    Example:
        >>> import keras, numpy as np
        >>> from tfopt.diagnose import diagnose
        >>> layers = [keras.layers.Dense(3, name="a"), keras.layers.BatchNormalization()]
        >>> model = keras.Sequential([keras.Input((2,)), *layers, keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x = np.random.default_rng(0).normal(size=(32, 2))
        >>> found = diagnose(model, x, x[:, :1], batch_size=4, steps=2)
        >>> [finding.name for finding in found.findings if finding.name.startswith(("redundant", "batch"))]
        ['redundant bias in a', 'batch too small for batch normalisation']

    Source: chapter sections 1 to 4, 9 and 10.
    """
    good = isinstance(model, keras.Model) and model.built
    require(good, OWNER, "model", getattr(model, "name", model), "a built keras.Model")
    require_loss(OWNER, model)
    require_integer(OWNER, 1, batch_size=batch_size, steps=steps)
    if samples is not None:
        require_integer(OWNER, 1, samples=samples)
    if learning_rate is not None:
        require_positive(OWNER, learning_rate=learning_rate)
    require_fit(model, (x, y, sample_weight))
    rate = learning_rate_of(model, learning_rate)
    subject = Subject(model, (x, y, sample_weight), batch_size, samples, rate, steps)
    sections = []
    for check in CHECKS:
        if progress is not None:
            progress(check.title)
        sections.append(_made(check, subject))
    return Diagnosis(model.name, tuple(_facts(subject)), tuple(sections))


def require_fit(model, data):
    """Require data that the model takes and its loss can be computed on."""
    count = len(tf.nest.flatten(data[0])[0])
    require(count >= 2, OWNER, "x", f"{count} samples", "two samples or more")
    x, y, sample_weight = next(iter(Batches(OWNER, data, 2)))
    held = [*model.non_trainable_variables, *model.metrics_variables]
    before = [tf.identity(variable.value) for variable in held]
    try:
        outputs = call_model(model, x, False)
        model.compute_loss(x, y, outputs, sample_weight, training=False)
    except Exception as error:  # every layer and loss has its own way to refuse
        raise ValueError(
            f"{OWNER}(data=x of {_shapes(x)}, y of {_shapes(y)}): expected data that fit the model "
            f"{model.name!r}; Keras says: {_first_line(error)}"
        ) from error
    finally:
        for variable, value in zip(held, before, strict=True):
            variable.assign(value)


def _made(check, subject):
    try:
        return check.run(subject)._replace(title=check.title)
    except (ValueError, NotImplementedError, tf.errors.OpError) as error:
        return Section(check.title, skipped=_first_line(error))


def _facts(subject):
    model = subject.model
    yield "Model", f"{model.name}, {model.count_params():,} parameters in {len(model.layers)} layers"
    yield "Optimizer", type(model.optimizer).__name__
    yield "Samples looked at", f"{len(tf.nest.flatten(subject.data[0])[0]):,}"
    yield "Batch of training", str(subject.batch)
    yield "Learning rate", f"{subject.rate:g}"


def _shapes(nest):
    return (
        ", ".join(str(tuple(part.shape)) for part in tf.nest.flatten(nest) if part is not None) or "nothing"
    )


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
