"""Normalisation: both passes against float64, and their time beside a copy's and PyTorch's."""

import numpy as np
import torch

from benchmarks.device._check import error
from benchmarks.device._normalize import EPSILON, Normalization, Shape
from benchmarks.device._speed import copy

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LAYER, GROUP, BATCH = "layer", "group", "batch"
# A shape, and the one of PyTorch's input, for which the last axis is the second.
TIMED = {
    LAYER: (Shape(8192, 1, 1, 1024, 1024), (8192, 1024)),
    GROUP: (Shape(32, 3136, 32, 2, 64), (32, 56, 56, 64)),
    BATCH: (Shape(1, 100_352, 64, 1, 64), (32, 56, 56, 64)),
}
TINY = {
    LAYER: (Shape(12, 1, 1, 40, 40), (12, 40)),
    GROUP: (Shape(2, 12, 32, 2, 64), (2, 3, 4, 64)),
    BATCH: (Shape(1, 24, 64, 1, 64), (2, 3, 4, 64)),
}
# Rows that threads hold, tiles of columns and of stretches; γ and β for each element, run, or row.
CHECKED = {
    "rows": Shape(37, 1, 1, 70, 70),
    "long rows": Shape(9, 1, 1, 8192, 8192),
    "rows of runs": Shape(40, 1, 6, 900, 12, 450),
    "longer rows": Shape(3, 1, 1, 20_001, 20_001),
    "columns": Shape(3, 250, 4, 2, 8),
    "columns by element": Shape(3, 26, 4, 2, 208),
    "one sample": Shape(1, 9000, 5, 1, 5),
    "stretches": Shape(1, 60, 7, 310, 7, 310),
    "one parameter": Shape(1, 70_000, 1, 1, 1),
}


def draw(shape, dtype, device, shifted=False):
    """x, the gradient with respect to y, γ and β; one element away from an address for wide accesses."""
    rng = np.random.default_rng(shape.size)

    def tensor(mean, size, dtype):
        buffer = torch.empty(size + shifted, dtype=dtype, device=device)
        buffer[int(shifted) :] = torch.tensor(rng.normal(mean, 1.0, size), device=device)
        return buffer[int(shifted) :]

    sizes = [(2.0, shape.size), (0.0, shape.size)], [(1.0, shape.parameters), (0.0, shape.parameters)]
    return [tensor(*one, dtype) for one in sizes[0]] + [tensor(*one, torch.float32) for one in sizes[1]]


def expect(shape, x, upstream, gamma, beta):
    """What `Normalization` writes, in float64."""
    x, g, gamma, beta = (t.double().cpu().numpy() for t in (x, upstream, gamma, beta))
    x, g = (a.reshape(shape[:4]) for a in (x, g))
    runs = (-1, shape.parameters, shape.run)

    def spread(a):
        return np.tile(np.repeat(a, shape.run), x[0].size // (a.size * shape.run)).reshape(x.shape[1:])

    over = {"axis": (1, 3), "keepdims": True}
    mean, variance = x.mean(**over), x.var(**over)
    root = np.sqrt(variance + EPSILON)
    normal, h = (x - mean) / root, spread(gamma) * g
    by_x = (h - h.mean(**over) - normal * (h * normal).mean(**over)) / root
    by_gamma, by_beta = (a.reshape(runs).sum((0, 2)) for a in (g * normal, g))
    y = normal * spread(gamma) + spread(beta)
    return [a.ravel() for a in (y, mean, variance, by_x, by_gamma, by_beta)]


def check(library, device):
    """Rows of the table: the largest error of each layout and type, in units of what roundings explain.

    Raises:
        RuntimeError: If one is larger.
    """
    for name, shape in CHECKED.items():
        worst = {}
        for dtype in DTYPES:
            found = [check_one(library, device, shape, dtype, shifted) for shifted in (False, True)]
            worst[str(dtype).removeprefix("torch.")] = max(found)
            if not max(found) <= 1:
                raise RuntimeError(f"normalisation, {name}, {dtype}: {max(found):.3g} times the roundings")
        yield {"layout": name, **worst}


def check_one(library, device, shape, dtype, shifted):
    """The largest error of one."""
    given = draw(shape, dtype, device, shifted)
    run = Normalization(library, shape, *given)
    run()
    # Sums of many terms are of the terms' size times the root of their number.
    many = max(1.0, (shape.size / shape.parameters) ** 0.5)
    found = run.y, run.mean, run.variance, run.by_x, run.by_gamma / many, run.by_beta / many
    expected = expect(shape, *given)
    expected[4:] = [a / many for a in expected[4:]]
    dtypes = dtype, torch.float32, torch.float32, dtype, torch.float32, torch.float32
    return max(error(f, e, d) for f, e, d in zip(found, expected, dtypes, strict=True))


def speed(bench, smoke):
    """Rows of the table: forward and backward together, beside a copy of the bytes that they must move."""
    for name, (shape, input_shape) in (TINY if smoke else TIMED).items():
        for dtype in (torch.float32, torch.bfloat16):
            # x is read twice, the gradient once; y and a gradient are written.
            total = 5 * shape.size * dtype.itemsize
            given = draw(shape, dtype, bench.device)
            contenders = {
                "copy": copy(bench, total),
                "tfopt": Normalization(bench.library, shape, *given),
                "torch.nn": peer(name, input_shape, dtype, given),
            }
            times = bench.times(contenders)
            lengths = " × ".join(map(str, input_shape))
            yield {
                "normalisation": f"{name} {lengths}, {str(dtype).removeprefix('torch.')}",
                **{f"{c} ms": bench.milliseconds(times, c) for c in contenders},
                "copy GB/s": 1e-6 * total / bench.milliseconds(times, "copy"),
                "tfopt GB/s": 1e-6 * total / bench.milliseconds(times, "tfopt"),
                "copy / tfopt": times.ratio("copy", "tfopt"),
                "torch.nn / tfopt": times.ratio("torch.nn", "tfopt"),
            }


def peer(name, input_shape, dtype, given):
    """PyTorch's module, forward and backward."""
    x, upstream, gamma, beta = given
    module = {
        LAYER: lambda n: torch.nn.LayerNorm(n, EPSILON),
        GROUP: lambda n: torch.nn.GroupNorm(32, n, EPSILON),
        BATCH: lambda n: torch.nn.BatchNorm2d(n, EPSILON),
    }[name](input_shape[-1])
    module.weight.data, module.bias.data = gamma.clone(), beta.clone()
    module = module.to(x.device, dtype)
    x, upstream = (as_input(t, input_shape) for t in (x, upstream))
    wanted = [x.requires_grad_(), *module.parameters()]

    def run():
        y = module(x)
        return y.detach(), *torch.autograd.grad(y, wanted, upstream)

    return run


def as_input(tensor, shape):
    """In PyTorch's order of axes; the memory stays as it is."""
    tensor = tensor.detach().clone().reshape(shape)
    return tensor.movedim(-1, 1) if len(shape) > 2 else tensor


def check_peers(bench):
    """Require that what is compared is the same."""
    for name, (shape, input_shape) in TINY.items():
        given = draw(shape, torch.float32, bench.device)
        run = Normalization(bench.library, shape, *given)
        run()
        y, by_x, by_gamma, by_beta = peer(name, input_shape, torch.float32, given)()
        ours = [as_input(run.y, input_shape), as_input(run.by_x, input_shape), run.by_gamma, run.by_beta]
        for mine, other in zip(ours, (y, by_x, by_gamma, by_beta), strict=True):
            torch.testing.assert_close(mine, other, rtol=2e-5, atol=2e-5)
    return "equal"
