"""Times of one update beside a copy of as many bytes, PyTorch's optimizers and the exported StableHLO."""

import functools
import math

import torch

from benchmarks import _shapes
from benchmarks._timing import measure
from benchmarks.device import _exported, _sets
from benchmarks.device._library import Numbers

ADAM = Numbers([0.1, 0.001, 1e-3, 1e-8], [0.1, 0.001, 1e-3, 1e-8], keep=1 - 1e-5)
CLIPPED = ADAM._replace(average_rate=0.01)


class Bench:
    """The library, the device, and how often a contender is called in one measurement."""

    def __init__(self, library, device, rounds, calls):
        self.library, self.device, self.rounds, self.calls = library, device, rounds, calls

    def times(self, contenders):
        """Times of all contenders, in turns; work on the device has ended when a clock is read."""
        return measure(
            {name: functools.partial(self._call, c) for name, c in contenders.items()}, self.rounds
        )

    def milliseconds(self, times, name):
        """Of one call."""
        return times.milliseconds(name) / self.calls

    def _call(self, contender):
        for _ in range(self.calls):
            result = contender()
        _exported.wait(result)
        if self.device == "cuda":
            torch.cuda.synchronize()

    def tensors(self, shapes, dtype=torch.float32, positive=False):
        """Random tensors of these shapes."""
        made = [torch.randn(shape, device=self.device).to(dtype) for shape in shapes]
        return [t.abs_() for t in made] if positive else made


def adam(bench, name, shapes):
    """One row of the table of Adam on one set of variables."""
    total = 28 * _shapes.parameters(shapes)
    contenders = {
        "copy": copy(bench, total),
        "tfopt": updater(bench, "adam", shapes, 2, ADAM),
        "torch fused": torch_adamw(bench, shapes, fused=True),
        "torch foreach": torch_adamw(bench, shapes, foreach=True),
    }
    exported = _exported.load(name, bench.device, shapes)
    if exported:
        contenders["StableHLO"] = exported
    times = bench.times(contenders)
    others = [c for c in contenders if c not in ("copy", "tfopt")]
    return {
        "variables": name,
        **{f"{c} ms": bench.milliseconds(times, c) for c in contenders},
        "copy GB/s": 1e-6 * total / bench.milliseconds(times, "copy"),
        "tfopt GB/s": 1e-6 * total / bench.milliseconds(times, "tfopt"),
        "copy / tfopt": times.ratio("copy", "tfopt"),
        **{f"{c} / tfopt": times.ratio(c, "tfopt") for c in others},
    }


def every_rule(bench, shapes):
    """Rows of the table of all rules, each beside a copy of the bytes that it must move."""
    for rule in bench.library.rules():
        numbers = Numbers([0.01] * len(rule.scalars), [0.01] * len(rule.scalars))
        total = 4 * (3 + 2 * len(rule.slots)) * _shapes.parameters(shapes)
        yield beside_copy(
            bench, rule.name, total, updater(bench, rule.name, shapes, len(rule.slots), numbers)
        )
    for dtype in (torch.bfloat16, torch.float16):
        total = (3 * 2 + 4 * 4) * _shapes.parameters(shapes)
        name = f"adam, weights and gradients {str(dtype).removeprefix('torch.')}"
        yield beside_copy(bench, name, total, updater(bench, "adam", shapes, 2, ADAM, dtype))
    # The norm reads the gradients once more; the average is read and written.
    total = (28 + 4 + 8) * _shapes.parameters(shapes)
    yield beside_copy(
        bench, "adam, clipped by the global norm, decayed, averaged", total, clipped(bench, shapes)
    )


def beside_copy(bench, name, total, contender):
    """A row: one contender beside a copy."""
    times = bench.times({"copy": copy(bench, total), "tfopt": contender})
    return {
        "update": name,
        "copy ms": bench.milliseconds(times, "copy"),
        "tfopt ms": bench.milliseconds(times, "tfopt"),
        "GB/s": 1e-6 * total / bench.milliseconds(times, "tfopt"),
        "copy / tfopt": times.ratio("copy", "tfopt"),
    }


def copy(bench, total):
    """A contender that moves `total` bytes, half of them read and half written."""
    source = torch.randn(max(1, total // 8), device=bench.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def updater(bench, rule, shapes, slots, numbers, dtype=torch.float32):
    """The fused update by one rule."""
    gradients, weights = bench.tensors(shapes, dtype), bench.tensors(shapes, dtype)
    state = [bench.tensors(shapes, positive=True) for _ in range(slots)]
    return bench.library.update(rule, gradients, weights, state, numbers)


def clipped(bench, shapes):
    """Adam with all that goes into its pass, and the norm before it."""
    gradients, weights, averages = (bench.tensors(shapes) for _ in range(3))
    state = [bench.tensors(shapes, positive=True) for _ in range(2)]
    norms, _, _, factor = bench.library.norms(gradients, limit=1.0)
    update = bench.library.update("adam", gradients, weights, state, CLIPPED, averages, factors=factor)

    def both():
        norms()
        update()

    return both


def torch_adamw(bench, shapes, **how):
    """PyTorch's AdamW in one of its implementations."""
    weights = [torch.nn.Parameter(t) for t in bench.tensors(shapes)]
    for weight, gradient in zip(weights, bench.tensors(shapes), strict=True):
        weight.grad = gradient
    return torch.optim.AdamW(weights, lr=1e-3, **how).step


def check_peers(bench, shapes):
    """Require that what is compared is the same: the kernel, PyTorch's AdamW and the exported update."""
    torch.manual_seed(0)
    weights, gradients = bench.tensors(shapes), bench.tensors(shapes)
    first, second = (bench.tensors(shapes, positive=True) for _ in range(2))
    for slot in (*first, *second):
        slot.zero_()
    ours = [w.clone() for w in weights]
    decay, rate, steps = 0.01, 1e-3, 3
    theirs = [torch.nn.Parameter(w.clone()) for w in weights]
    peer = torch.optim.AdamW(theirs, lr=rate, weight_decay=decay, fused=True)
    for weight, gradient in zip(theirs, gradients, strict=True):
        weight.grad = gradient
    for t in range(1, steps + 1):
        root = math.sqrt(1 - 0.999**t)
        scalars = [0.1, 0.001, rate * root / (1 - 0.9**t), 1e-8 * root]
        bench.library.update(
            "adam", gradients, ours, [first, second], Numbers(scalars, scalars, keep=1 - rate * decay)
        )()
        peer.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other.detach(), rtol=2e-6, atol=2e-6)
    exported = _exported.check(bench.device)
    return {"torch.optim.AdamW(fused=True)": "equal", "StableHLO through JAX": exported}


def run(bench, smoke):
    """Both tables."""
    chosen = {"smoke": _sets.SMOKE} if smoke else _sets.SETS
    yield "Adam, float32", [adam(bench, name, shapes) for name, shapes in chosen.items()]
    shapes = _sets.SMOKE if smoke else _shapes.resnet50()
    what = "tiny tensors" if smoke else "ResNet-50's tensors"
    yield f"Every rule on {what}, float32 unless said", list(every_rule(bench, shapes))
