"""The lowering of every rule, and of the norm, compiled for a TPU v5e ahead of time."""

import pytest
import tensorflow as tf

# Compiled in place of SHAPE: too large for the memory on the chip, which would hide what goes to and fro.
SHAPE, LARGE = (48, 64), (8192, 8192)
SIZE = LARGE[0] * LARGE[1]
DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16}
# Of a rule's own count. In a loop of its own for each result, Adam's update would access 1.4 times it.
SLACK = 1.01
# AdaDelta's step goes into two results and is none itself: the compiler makes two loops and a copy of a slot.
SLACKS = {"adadelta": 1.85}


def count(kernel, dtype):
    """Bytes that an update must access: the gradient read, weight and slots read and written."""
    return SIZE * (3 * dtype.size + 8 * len(kernel.slots))


def updated(kernel, dtype):
    """Bytes that an update overwrites."""
    return SIZE * (dtype.size + 4 * len(kernel.slots))


def enlarged(text):
    """The program with LARGE in SHAPE's place."""
    small, large = (f"{rows}x{columns}x" for rows, columns in (SHAPE, LARGE))
    return text.replace(small, large)


def exported(program_of, kernel, dtype):
    """StableHLO of one update of one weight."""
    weight = tf.Variable(tf.zeros(SHAPE, dtype))
    slots = [tf.Variable(tf.zeros(SHAPE)) for _ in kernel.slots]
    numbers = tf.zeros((1, len(kernel.scalars)), tf.float64)
    one = tf.constant(1.0, tf.float64)

    def step(gradient, scalars, following):
        kernel.ops.tfopt_fused_update(
            weights=[weight.handle],
            slots=[slot.handle for slot in slots],
            averages=[],
            accumulators=[],
            gradients=[gradient],
            rows=[],
            scalars=scalars,
            following=following,
            keep=tf.ones(1, tf.float64),
            factors=one,
            bound=one * float("inf"),
            average_rate=one,
            rule=kernel.rule,
            groups=[0],
            sparse=[],
            T=dtype,
        )

    following = numbers if kernel.looks_ahead else tf.zeros((0, 0), tf.float64)
    return enlarged(program_of(step, tf.zeros(SHAPE, dtype), numbers, following))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_rule_compiles_and_moves_what_it_must(compiled, program_of, loaded, dtype):
    kernels = loaded.kernels
    texts = {rule: exported(program_of, kernel, DTYPES[dtype]) for rule, kernel in kernels.items()}
    reports = compiled(texts)
    assert set(reports) == set(kernels)
    ratios = {rule: report["bytes"] / count(kernels[rule], DTYPES[dtype]) for rule, report in reports.items()}
    assert {rule: r for rule, r in ratios.items() if not 1 <= r <= SLACKS.get(rule, SLACK)} == {}
    for rule, report in reports.items():
        assert report["in place"] >= updated(kernels[rule], DTYPES[dtype]), rule


def test_the_norm_compiles(compiled, program_of, loaded):
    op = loaded.kernels["adam"].ops.tfopt_global_norm

    def norms(gradient):
        return op(accumulators=[], gradients=[gradient], rows=[], sparse=[])

    text = enlarged(program_of(norms, tf.zeros(SHAPE)))
    assert compiled({"norm": text})["norm"]["bytes"] < SLACK * 4 * SIZE
