"""The diagnostics, each as a function from a subject to a section."""

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np

from tfopt import analysis, curvature, symmetry
from tfopt._check import require
from tfopt.analysis._finding import Finding
from tfopt.analysis._taps import recurrent_layers
from tfopt.analysis.output_marginals import kind_of, losses_of
from tfopt.callbacks._probe import rate_of
from tfopt.curvature.classify_critical_point import Kind
from tfopt.diagnose.section import Check, Picture, Section
from tfopt.optimizers._glue import MachineOptimizer


@dataclasses.dataclass(frozen=True)
class Subject:
    """A compiled model with data.

    Attributes:
        model: The model.
        data: x, y and sample weights.
        batch: Samples in a training batch.
        samples: Samples in an epoch of training, where that is known.
        rate: Learning rate.
        steps: Lanczos steps of the spectrum.
    """

    model: Any
    data: tuple
    batch: int
    samples: int | None
    rate: float
    steps: int


def flow(subject):
    """Norms of the gradient by layer and by time step."""
    found = analysis.gradient_flow(subject.model, *subject.data)
    facts = [("Through depth", _growth(found.depth))]
    facts += [(f"Through time, {name}", _growth(growth)) for name, growth in found.time.items()]
    names, norms = [row.name for row in found.layers], [row.signal for row in found.layers]
    pictures = [_norms("Gradient by layer", names, norms, ("layer", "‖∂J/∂h‖"))]
    pictures += [
        _norms(f"Gradient by time step, {name}", None, list(steps), ("time step", "‖∂J/∂s‖"))
        for name, steps in found.times.items()
    ]
    findings = list(found.findings)
    if recurrent_layers(subject.model):
        for radius in analysis.recurrent_spectral_radius(subject.model):
            facts.append((f"Spectral radius at rest, {radius.name}", f"{radius.radius:.3g}"))
            # What the data show goes before what rest promises.
            findings += [] if radius.name in found.time else radius.findings
    return Section("Gradient by layer and by time step", tuple(facts), tuple(findings), tuple(pictures))


def steepness(subject):
    """Curvature along the gradient and the critical learning rate."""
    found = analysis.gradient_curvature(subject.model, *subject.data, learning_rate=subject.rate)
    facts = (
        ("Loss", f"{found.loss:.4g}"),
        ("gᵀg", f"{found.squared_norm:.3g}"),
        ("gᵀHg", f"{found.curvature:.3g}"),
        ("Learning rate ε", f"{subject.rate:.3g}"),
        ("Critical ε = 2gᵀg/gᵀHg", _number(found.critical_rate)),
        (
            "Change of the loss by −εg",
            f"{found.predicted_change:.3g} predicted, {found.actual_change:.3g} real",
        ),
    )
    return Section("Curvature and critical learning rate", facts, tuple(found.findings))


def spectrum(subject):
    """Eigenvalues of the Hessian, condition number and kind of point."""
    hessian = Remembered(curvature.hessian_operator(subject.model, *subject.data))
    values = curvature.lanczos_spectrum(hessian, subject.steps)
    condition = curvature.condition_number(hessian, subject.steps)
    point = curvature.classify_critical_point(hessian, steps=subject.steps, probes=1)
    facts = (
        ("Eigenvalues", f"from {values.smallest:.3g} to {values.largest:.3g}, {values.size} in all"),
        ("Condition number", f"{_number(condition.value)} at least"),
        ("Largest ε along the steepest direction, 2/λ", _number(_bound(values.largest))),
        ("Kind of point", point.sentence),
    )
    known = "all eigenvalues" if values.is_complete else f"Ritz values of {len(values.values)} Lanczos steps"
    alt = f"{known}, from {values.smallest:.3g} to {values.largest:.3g}"
    axes = ("number", "eigenvalue")
    picture = Picture(f"Spectrum: {known}", alt, None, values.values.tolist(), axes, "symlog")
    return Section("Spectrum of the Hessian", facts, tuple(_of_point(point)), (picture,))


def noise(subject):
    """Noise scale and suggested batch."""
    found = analysis.gradient_noise_scale(subject.model, *subject.data)
    facts = (
        ("tr Σ", f"{found.variance:.3g}"),
        ("‖G‖²", f"{found.squared_norm:.3g}"),
        ("Noise scale", f"{_number(found.noise_scale)} samples"),
        ("Suggested batch", str(found.suggested_batch)),
        (
            f"Efficiency of a batch of {subject.batch}",
            f"{100 * found.efficiency(subject.batch):.0f} % per sample",
        ),
    )
    findings = found.findings or found.findings_for(subject.batch)
    return Section("Noise of the gradient", facts, tuple(findings))


def units(subject):
    """Dead and saturated units."""
    found = analysis.unit_activity(subject.model, subject.data[0], batch_size=256)
    facts = tuple(
        (
            layer.name,
            (
                f"{layer.units} units of {layer.activation}: {len(layer.dead)} dead, {len(layer.saturated)} "
                f"saturated; mean slope {np.mean(layer.slopes):.2f}"
            ),
        )
        for layer in found.layers
    )
    none = (("Layers", "none whose activation has flat parts"),)
    return Section("Dead and saturated units", facts or none, tuple(found.findings))


def identical(subject):
    """Units that stay equal."""
    found = symmetry.find_identical_units(subject.model)
    facts = [("Groups of identical units", str(len(found.groups)))]
    facts += [(f"Not looked at: {name}", reason) for name, reason in found.skipped.items()]
    return Section("Identical units", tuple(facts), tuple(found.findings))


def biases(subject):
    """Biases before batch normalisation."""
    found = analysis.redundant_biases(subject.model)
    facts = (("Redundant biases", ", ".join(bias.layer for bias in found.biases) or "none"),)
    return Section("Biases before batch normalisation", facts, tuple(found.findings))


def batch(subject):
    """Batches of batch normalisation."""
    found = analysis.normalization_batch(subject.model, subject.batch, subject.samples)
    if not found.layers:
        return Section("Batch of batch normalisation", (("Layers", "none"),))
    facts = (
        ("Layers", ", ".join(found.layers)),
        ("Batch", str(found.batch)),
        (
            "Error of a batch's deviation",
            f"{100 * found.deviation_error:.0f} %" if found.batch > 1 else "any",
        ),
    )
    return Section("Batch of batch normalisation", facts, tuple(found.findings))


def marginals(subject):
    """Mean output against the labels."""
    x, y, _ = subject.data
    found = analysis.output_marginals(subject.model, x, y, batch_size=256)
    facts = [(f"Gap of {one.name}", f"{one.gap:.3g} ({one.activation})") for one in found.outputs]
    facts += [(f"Not looked at: {name}", reason) for name, reason in found.skipped.items()]
    if not facts:
        facts = [("Outputs", "none with a compiled loss")]
    return Section("Output and the labels' marginals", tuple(facts), tuple(found.findings))


def interaction(subject):
    """Orders of a simultaneous update."""
    found = analysis.layer_interaction(subject.model, *subject.data, learning_rate=subject.rate)
    facts = (
        ("Change of the outputs by −εg", f"{found.change:.3g}"),
        ("First, second, higher orders", f"{found.first:.3g}, {found.second:.3g}, {found.higher:.3g}"),
    )
    return Section("Interaction of the layers", facts, tuple(found.findings))


def surrogate(subject):
    """The loss against the 0–1 error."""
    x, y, _ = subject.data
    kinds = [kind_of(loss) for loss in losses_of(subject.model).values()]
    require("softmax" in kinds or "sigmoid" in kinds, "surrogate_gap", "loss", kinds, "that of a classifier")
    found = analysis.surrogate_gap(subject.model, x, y)
    facts = (
        ("Loss, norm of its gradient", f"{found.surrogate:.4g}, {found.surrogate_gradient:.3g}"),
        ("Expected 0–1 error, norm of its gradient", f"{found.true:.4g}, {found.true_gradient:.3g}"),
        ("0–1 error", f"{100 * found.zero_one:.1f} %"),
    )
    return Section("Surrogate and true cost", facts, tuple(found.findings))


CHECKS = (
    Check("Gradient by layer and by time step", flow),
    Check("Curvature and critical learning rate", steepness),
    Check("Spectrum of the Hessian", spectrum),
    Check("Noise of the gradient", noise),
    Check("Dead and saturated units", units),
    Check("Identical units", identical),
    Check("Biases before batch normalisation", biases),
    Check("Batch of batch normalisation", batch),
    Check("Output and the labels' marginals", marginals),
    Check("Interaction of the layers", interaction),
    Check("Surrogate and true cost", surrogate),
)


def learning_rate_of(model, given):
    """The learning rate given, else that of the model's optimizer, else 0.01.

    A method with a line search has none: its 1.0 is the first trial of each search.
    """
    if given is not None:
        return float(given)
    optimizer = model.optimizer
    known = isinstance(optimizer, keras.optimizers.Optimizer) and hasattr(optimizer, "learning_rate")
    known = known and not (isinstance(optimizer, MachineOptimizer) and optimizer.machine.flat)
    rate = rate_of(optimizer) if known else 0.0
    return rate if math.isfinite(rate) and rate > 0 else 0.01


class Remembered:
    """An operator that takes each product once: the spectral tools start from the same vector."""

    def __init__(self, operator):
        self.operator, self.shape, self.dtype = operator, operator.shape, operator.dtype
        self.gradient = functools.cache(operator.gradient)
        self.products: dict = {}

    def __matmul__(self, vector):
        key = hash(np.asarray(vector).tobytes())
        if key not in self.products:
            self.products[key] = self.operator @ vector
        return self.products[key]


def _of_point(point):
    if point.kind is Kind.SADDLE:
        yield Finding(
            name="saddle point",
            sentence=point.sentence,
            reason="Near a saddle point the gradient is small, so that steps along it are small, and methods "
            "that look for a zero gradient, such as Newton's, are drawn to it.",
            advice="The noise of small batches, momentum, or adaptive rates, which leave it; `NewtonCG`, "
            "which follows negative curvature; not `Newton` without damping.",
        )
    if point.kind in (Kind.FLAT, Kind.MAXIMUM):
        yield Finding(
            name="flat region" if point.kind is Kind.FLAT else "local maximum",
            sentence=point.sentence,
            reason="Gradient and curvature vanish, or lead nowhere: no local method is told where to go.",
            advice="If the loss is not yet as it should be: another start (`tune_init_scale`), a "
            "normalisation layer, `GaussianSmoothing` or `losses.Continuation`.",
        )


def _norms(title, labels, values, axes):
    alt = f"{title}: from {values[0]:.3g} at the first to {values[-1]:.3g} at the last."
    return Picture(title, alt, labels, [float(value) for value in values], axes)


def _growth(growth):
    return f"factor {growth.factor:.3g} on the way back, {growth.rate:.3g} per step"


def _number(value):
    return f"{value:.3g}" if math.isfinite(value) else "infinite"


def _bound(largest):
    return 2 / largest if largest > 0 else math.inf
