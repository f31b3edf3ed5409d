"""From weights that were shown back to the point to train on, in place.

Every train step has this in a branch that hardly ever runs, so it must not cost the step anything: one
resource instead of a list of handles, one node instead of a few for each variable.
"""

from tfopt.kernels._bundle import bundle_of


def swap(ops, weights, averages):
    """Exchange the values of `weights` and `averages`; whether that was done, which takes bundles."""
    bundled = _bundled(ops, weights, [averages])
    for bundle, rows in bundled:
        ops.tfopt_swap_bundled(bundle=bundle, N=len(rows), T=weights[rows[0]].dtype)
    return bool(bundled)


def displace(ops, rule, weights, slots, scalars_of):
    """Move `weights` from the iterate to where the rule wants its gradient; whether that was done.

    Args:
        ops: TensorFlow's wrappers of the library's ops.
        rule: Name of the rule.
        weights: Native variables.
        slots: A list of native variables for each slot.
        scalars_of: ``scalars_of(rows)``: the rule's scalars as a matrix, and the row of it for each weight.
    """
    bundled = _bundled(ops, weights, slots)
    for bundle, rows in bundled:
        matrix, groups = scalars_of(rows)
        ops.tfopt_displace_bundled(
            bundle=bundle,
            scalars=matrix,
            rule=rule,
            groups=groups,
            N=len(rows),
            S=len(rows) * len(slots),
            T=weights[rows[0]].dtype,
        )
    return bool(bundled)


def _bundled(ops, weights, columns):
    """For each type of weights a bundle of them and of what is beside them in `columns`, and their places."""
    kinds: dict = {}
    for i, weight in enumerate(weights):
        kinds.setdefault(weight.dtype, []).append(i)
    made = [
        (bundle_of(ops.tfopt_bundle, [column[i] for column in (weights, *columns) for i in rows]), rows)
        for rows in kinds.values()
    ]
    return [] if any(bundle is None for bundle, _ in made) else made
