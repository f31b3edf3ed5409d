"""Every rule and type against float64, element by element, on tensors of awkward sizes and addresses."""

import math
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.device import _references
from benchmarks.device._library import Numbers

SIZES = (0, 1, 3, 7, 8, 9, 1000, 4095, 4096, 4097, 0, 20_001)
SLOT_DTYPES = {torch.float64: torch.float64}
# What one rounding of the weights, or a few of float32, may make.
ROUNDINGS = {torch.float32: 2e-5, torch.float64: 1e-12, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
TYPES = [
    (torch.float32, torch.float32),
    (torch.float64, torch.float64),
    (torch.float16, torch.float16),
    (torch.float16, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.bfloat16, torch.float32),
]


class Case(NamedTuple):
    """What a step has beside weights, gradients and slots."""

    extras: bool  # average, accumulators, bound, factors on the device
    shifted: bool  # buffers one element away from an address that wide accesses could take


CASES = [Case(False, False), Case(False, True), Case(True, False), Case(True, True)]


class Column(NamedTuple):
    """One tensor per variable, and what they hold in float64."""

    tensors: list
    values: list

    @classmethod
    def draw(cls, rng, dtype, case, device, positive=False):
        """Random numbers; of several decades, so that no error hides behind a large one."""
        tensors = []
        for size in SIZES:
            x = rng.normal(size=size) * 10.0 ** rng.integers(-2, 1, size=size)
            buffer = torch.empty(size + case.shifted, dtype=dtype, device=device)
            buffer[int(case.shifted) :] = torch.tensor(abs(x) + 0.1 if positive else x, device=device)
            tensors.append(buffer[int(case.shifted) :])
        return cls(tensors, [np.array(t.double().cpu()) for t in tensors])


def run(library, device):
    """Rows of the table: the largest error of each rule, in units of what is allowed."""
    for rule in library.rules():
        worst = {}
        for weight, gradient in TYPES:
            name = f"{_name(weight)}/{_name(gradient)}"
            worst[name] = max(check(library, device, rule, weight, gradient, case) for case in CASES)
        yield {"rule": rule.name, **worst}


def check(library, device, rule, weight_dtype, gradient_dtype, case):
    """The largest error of one step.

    Raises:
        RuntimeError: If it is more than roundings explain.
    """
    rng = np.random.default_rng(1)
    state_dtype = SLOT_DTYPES.get(weight_dtype, torch.float32)
    gradients = Column.draw(rng, gradient_dtype, case, device)
    weights = Column.draw(rng, weight_dtype, case, device)
    slots = [Column.draw(rng, state_dtype, case, device, positive=True) for _ in rule.slots]
    extra = [Column.draw(rng, state_dtype, case, device) for _ in range(2 * case.extras)]
    count = len(rule.scalars)
    numbers = Numbers(
        list(rng.uniform(0.1, 0.9, count)),
        list(rng.uniform(0.1, 0.9, count)),
        keep=0.97,
        factor=0.7,
        average_rate=0.3,
        bound=0.5 if case.extras else math.inf,
    )
    factors = (
        torch.linspace(0.5, 1.0, len(SIZES), dtype=torch.float64, device=device) if case.extras else None
    )
    columns = [c.tensors for c in extra] or [(), ()]
    step = library.update(
        rule.name, gradients.tensors, weights.tensors, [s.tensors for s in slots], numbers, *columns, factors
    )
    step()
    scale = [1.0] * len(SIZES) if factors is None else factors.tolist()
    largest = 0.0
    for i in range(len(SIZES)):
        expected = expect(rule, numbers, scale[i], i, gradients, weights, slots, extra)
        got = [weights.tensors[i], *(s.tensors[i] for s in slots), *(e.tensors[i] for e in extra)]
        dtypes = [weight_dtype] + [state_dtype] * (len(got) - 1)
        errors = [error(g, e, dtype) for g, e, dtype in zip(got, expected, dtypes, strict=True)]
        largest = max(largest, *errors)
    if not largest <= 1:
        raise RuntimeError(
            f"{rule.name}, {weight_dtype}, {gradient_dtype}, {case}: "
            f"{largest:.3g} times what roundings explain"
        )
    return largest


def expect(rule, numbers, scale, i, gradients, weights, slots, extra):
    """Weight, slots, average and accumulator of variable i after the step, in float64."""
    g = gradients.values[i] + (extra[1].values[i] if extra else 0)
    g = np.clip(g * (numbers.factor * scale), -numbers.bound, numbers.bound)
    now, following = (
        dict(zip(rule.scalars, row, strict=True)) for row in (numbers.scalars, numbers.following)
    )
    state = {name: slot.values[i] for name, slot in zip(rule.slots, slots, strict=True)}
    iterate, point, state = _references.step(
        rule.name, g, weights.values[i], state, now, following, numbers.keep
    )
    expected = [point, *(state[name] for name in rule.slots)]
    if extra:
        mean = extra[0].values[i]
        expected += [mean + (iterate - mean) * numbers.average_rate, np.zeros_like(mean)]
    return expected


def error(got, expected, dtype):
    """The largest difference, in units of what is allowed; infinite where something is not finite."""
    if not expected.size:
        return 0.0
    difference = np.abs(got.double().cpu().numpy() - expected) / (ROUNDINGS[dtype] * (1 + np.abs(expected)))
    return float(difference.max()) if np.isfinite(difference).all() else math.inf


def check_norms(library, device):
    """Rows of the table: the relative error of the norm of all tensors of a type."""
    for dtype in ROUNDINGS:
        values = Column.draw(np.random.default_rng(2), dtype, Case(False, True), device)
        measure, norm, each, factor = library.norms(values.tensors, limit=1.0)
        measure()
        exact = np.sqrt(sum((v**2).sum() for v in values.values))
        errors = [abs(norm.item() / exact - 1), abs(factor.item() * exact - 1)]
        errors += [
            abs(e - np.linalg.norm(v)) / exact for e, v in zip(each.tolist(), values.values, strict=True)
        ]
        if not max(errors) < 1e-12:
            raise RuntimeError(f"the norm of {dtype} is {norm.item()}, expected {exact}")
        yield {"type": _name(dtype), "relative error": max(errors)}


def _name(dtype):
    return str(dtype).removeprefix("torch.")
